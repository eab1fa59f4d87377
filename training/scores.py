"""Real scores for training: the music21 corpus, or a checkout of POP909 -> one .npz of codes.

    python -m training.scores -o runs/scores.npz                       # music21 corpus; needs `pip install music21`
    python -m training.scores -o runs/scores_pop909.npz --pop909 PATH  # a clone of github.com/music-x-lab/POP909-Dataset

The file holds `codes` uint8 [K, total frames], `offsets` int64 [N+1] (piece n is codes[:, offsets[n]:offsets[n+1]]) and `meta`,
a JSON list with title, source, family, licence, mode, tonic, metre, bars, tempo_bpm (None: the score states none, and the
codes hold 100) and losses for each piece. `load(path)` reads it back. None of this data is part of the repository.
"""

import argparse
import json
import logging
import os
import re
import zipfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from lara_core.codec.harmony import estimate_key
from lara_core.codec.parts import Part, PartNote, last_bass_pitch, measured_from_parts, pitch_class_weights
from lara_core.codec.score import QUALITIES, encode

log = logging.getLogger(__name__)
MAX_BARS = 96

# Folder of the music21 corpus -> (family, licence class, what is known of the encoding). All compositions are in the public
# domain. 'explicit': the file itself is dedicated to the public domain or under CC0, CC BY or CC BY-SA. 'unrestricted': the
# encoding ships with music21 by permission of its encoder and states no condition (corpus/license.txt).
SOURCES = {
    "bach": ("chorale", "unrestricted", "Bach chorales encoded by Margaret Greentree, used by permission"),
    "beethoven": ("quartet", "unrestricted", "Beethoven string quartets, public domain works"),
    "haydn": ("quartet", "unrestricted", "Haydn string quartets, public domain works"),
    "mozart": ("quartet", "unrestricted", "Mozart string quartets, public domain works"),
    "schumann_robert/opus41no1": ("quartet", "unrestricted", "Schumann string quartet op. 41 no. 1"),
    "mozart/k545": ("piano", "unrestricted", "Mozart sonata K. 545"),
    "joplin": ("piano", "unrestricted", "Joplin, Maple Leaf Rag"),
    "chopin": ("piano", "unrestricted", "Chopin mazurka op. 6 no. 2, encoded by Craig Stuart Sapp"),
    "cpebach": ("piano", "unrestricted", "C. P. E. Bach, sonata H. 186"),
    "schumann_clara": ("piano", "explicit", "C. Schumann, polonaises, CC BY-SA 4.0 (Cypressdome, IMSLP)"),
    "schumann_clara/opus17": ("ensemble", "unrestricted", "C. Schumann, piano trio op. 17"),
    "schumann_robert": ("ensemble", "unrestricted", "R. Schumann, Dichterliebe no. 2"),
    "schubert": ("ensemble", "unrestricted", "Schubert, Der Lindenbaum"),
    "handel": ("ensemble", "unrestricted", "Handel, Lascia ch'io pianga"),
    "verdi": ("ensemble", "unrestricted", "Verdi, La donna e mobile"),
    "weber": ("ensemble", "explicit", "Weber, clarinet concertino, public domain (Oliver Seely)"),
    "corelli": ("ensemble", "explicit", "Corelli, op. 3 no. 1, CC BY"),
    "beach": ("ensemble", "explicit", "Beach, Prayer of a Tired Child, CC BY-SA (M. S. Cuthbert)"),
    "johnson_j_r": ("ensemble", "explicit", "Johnson, Lift Every Voice, CC0 (M. S. Cuthbert)"),
    "liliuokalani": ("ensemble", "explicit", "Liliuokalani, Aloha Oe, CC0 (M. S. Cuthbert)"),
    "lusitano": ("madrigal", "explicit", "Lusitano, Allor che ignuda, CC0 (M. S. Cuthbert)"),
    "ryansMammoth": ("folk", "unrestricted", "Ryan's Mammoth Collection (1883), transcribed by volunteers"),
    "oneills1850": ("folk", "unrestricted", "O'Neill's Music of Ireland (1903), transcribed by volunteers"),
    "airdsAirs": ("folk", "unrestricted", "Aird's Airs (1778-1801), transcribed by Jack Campin"),
}
# Left out: essenFolksong (non-commercial), josquin (GPL), palestrina and Humdrum files of CCARH (licence agreement),
# nottingham-dataset (GPL), monteverdi (scans of a modern edition, some under its copyright), leadSheet (all rights reserved),
# trecento and ciconia (mensural rhythm), schoenberg and webern (no tonic), demos and exercises.
RESERVED_RIGHTS = re.compile(r"Rights to all derivative electronic formats reserved|All Rights Reserved|UT ?ORPHEUS", re.I)
FOLK_TUNES = 350
DENSE = 0.06  # share of notes that a grid of sixteenths may merge
FALLBACK_PROGRAM = {"chorale": 52, "folk": 40, "madrigal": 52}
QUARTET_PROGRAMS = (40, 40, 41, 42)


def save(path: str | Path, codes: list[np.ndarray], meta: list[dict]):
    """Write pieces [K,F] and their descriptions atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    offsets = np.cumsum([0] + [c.shape[1] for c in codes]).astype(np.int64)
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial.npz")
    np.savez_compressed(partial, codes=np.concatenate(codes, axis=1), offsets=offsets, meta=json.dumps(meta))
    os.replace(partial, path)


def load(path: str | Path) -> tuple[list[np.ndarray], list[dict]]:
    """-> codes of each piece, uint8 [K,F], and their descriptions."""
    with np.load(path) as file:
        codes, offsets = file["codes"], file["offsets"]
        return [codes[:, a:b] for a, b in zip(offsets, offsets[1:])], json.loads(str(file["meta"]))


def piece(parts, tempo_map, metres, title, source, family, licence, sharps=None, key=None, chords=None, articulations=None,
          pedal=(), max_bars=MAX_BARS) -> tuple[np.ndarray, dict]:
    """Parts -> codes [K,F] and description; key (tonic, mode) is estimated if None. ValueError as `from_parts`."""
    tonic, mode = key or estimate_key(pitch_class_weights(parts), sharps, last_bass_pitch(parts))
    score, losses = measured_from_parts(parts, tempo_map or ((0.0, 100.0),), metres, title, tonic=tonic, chords=chords,
                                        articulations=articulations, pedal=pedal, max_bars=max_bars)
    metre = Counter(bar.metre for bar in score.bars).most_common(1)[0][0]
    return encode(score), dict(
        title=title, source=source, family=family, licence=licence, mode=mode, tonic=tonic, metre=metre, bars=len(score.bars),
        tempo_bpm=round(score.bars[len(score.bars) // 2].tempo_bpm, 1) if tempo_map else None, losses=losses._asdict())


# music21 ---------------------------------------------------------------------------------------------------------------


def corpus_files() -> list[tuple[str, int | None]]:
    """(path within the music21 corpus, tune number in a tune book or None), in a fixed order; of folk tunes a selection."""
    root = _corpus_root()
    found = {"chorale": [], "folk": [], "other": []}
    for folder in SOURCES:
        family = SOURCES[folder][0]
        for path in sorted((root / folder).iterdir()):
            if path.suffix not in (".mxl", ".xml", ".musicxml", ".krn", ".abc"):
                continue
            if path.suffix == ".krn" and path.with_suffix(".mxl").exists():
                continue
            name = str(path.relative_to(root))
            if path.suffix == ".abc" and folder != "ryansMammoth":
                numbers = [int(n) for n in re.findall(r"^X: *(\d+)", path.read_text("utf8", "replace"), re.M)]
                found["folk"] += [(name, n) for n in numbers]
            else:
                found[family if family in found else "other"].append((name, None))
        for path in sorted(p for p in (root / folder).glob("*/*.*") if f"{folder}/{p.parent.name}" not in SOURCES):
            if path.suffix in (".mxl", ".xml") or path.suffix == ".krn" and not path.with_suffix(".mxl").exists():
                found["other"].append((str(path.relative_to(root)), None))
    books = {}  # tunes from every book in turn, spread over each
    for name, number in found["folk"]:
        books.setdefault(name.split("/")[0], []).append((name, number))
    each = FOLK_TUNES // len(books)
    folk = [tunes[i * len(tunes) // each] for tunes in books.values() for i in range(each)]
    return found["chorale"] + folk + found["other"]


def _corpus_root() -> Path:
    import music21
    return Path(music21.__file__).parent / "corpus"


def source_of(name: str) -> str:
    """The most specific folder of SOURCES that holds a corpus path."""
    return max((s for s in SOURCES if name.startswith(s + "/")), key=len)


def import_music21(name: str, number: int | None) -> tuple[np.ndarray, dict]:
    """One piece of the music21 corpus -> codes [K,F] and description. ValueError if it does not make a score."""
    arguments = read_music21(name, number)
    codes, description = piece(**arguments)
    if description["losses"]["merged"] > DENSE * description["losses"]["notes"]:  # an adagio in 32nds: read it in longer values
        slower = piece(**in_longer_values(arguments))
        if slower[1]["losses"]["merged"] < description["losses"]["merged"] / 2:
            return slower
    return codes, description


def in_longer_values(arguments: dict) -> dict:
    """The arguments of `piece` with every value doubled and the tempo with it: 3/8 becomes 3/4, a 32nd a sixteenth."""
    parts = [part._replace(notes=[n._replace(start=2 * n.start, duration=2 * n.duration) for n in part.notes])
             for part in arguments["parts"]]
    tempi = arguments["tempo_map"]
    return {**arguments, "parts": parts, "tempo_map": tempi and [(2 * q, min(2 * bpm, 144.0)) for q, bpm in tempi],
            "metres": [(2 * q, n, d / 2) for q, n, d in arguments["metres"]],
            "articulations": [(2 * q, name) for q, name in arguments["articulations"]]}


def read_music21(name: str, number: int | None) -> dict:
    """One piece of the music21 corpus -> the arguments of `piece`. ValueError if it reserves rights or has too few parts."""
    source = source_of(name)
    family, licence, _ = SOURCES[source]
    stream = parse_music21(name, number)
    parts, tempo_map, metres, sharps, key, articulations = parts_of_stream(stream, family)
    if family == "chorale" and len(parts) < 4:
        raise ValueError(f"{name} has {len(parts)} parts, a chorale has four or more; left out.")
    title = (stream.metadata.bestTitle if stream.metadata else None) or name
    return dict(parts=parts, tempo_map=tempo_map, metres=metres, title=f"{title} ({name}{'' if number is None else f' {number}'})",
                source=f"music21/{source}", family=family, licence=licence, sharps=sharps, key=key,
                chords=[] if family == "folk" else None, articulations=articulations)


def parse_music21(name: str, number: int | None):
    """-> a music21 Score at sounding pitch. ValueError for files that reserve rights."""
    import music21
    path = _corpus_root() / name
    if path.suffix == ".krn" and RESERVED_RIGHTS.search(path.read_text("utf8", "replace")):
        raise ValueError(f"{name} reserves rights; left out.")
    try:
        if path.suffix in (".mxl", ".xml", ".musicxml"):
            stream = music21.converter.parseData(first_measures(path), format="musicxml")
        else:
            stream = music21.converter.parse(path, number=number, forceSource=True, storePickle=False)
    except (music21.exceptions21.Music21Exception, AttributeError, IndexError, TypeError, KeyError) as error:
        raise ValueError(f"{name} cannot be parsed by music21 ({error}); left out.") from error
    if isinstance(stream, music21.stream.Opus):
        stream = stream.scores[0]
    if stream.metadata and RESERVED_RIGHTS.search(str(stream.metadata.copyright or "")):
        raise ValueError(f"{name} reserves rights; left out.")
    stream.toSoundingPitch(inPlace=True)
    return stream


def first_measures(path: Path) -> str:
    """MusicXML without the measures that are cut anyway: whole quartets are parsed ten times faster."""
    if path.suffix == ".mxl":
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if not n.startswith("META-INF") and n.endswith("ml"))
            data = archive.read(name)
    else:
        data = path.read_bytes()
    root = ElementTree.fromstring(data)
    for part in root.findall("part"):
        for measure in part.findall("measure")[MAX_BARS + 8:]:
            part.remove(measure)
    return ElementTree.tostring(root, encoding="unicode")


def parts_of_stream(stream, family: str):
    """music21 Score -> parts, tempo map, metres, sharps, (tonic, mode) or None, articulations: what `piece` wants."""
    from music21 import articulations as marks, dynamics, harmony, key as keys, meter, spanner, tempo
    parts = []
    staves = list(stream.parts) or [stream]
    slurred = {id(n) for s in stream.recurse().getElementsByClass(spanner.Slur) for n in s.getSpannedElements()}
    bar_marks = Counter(), Counter(), Counter()  # notes, staccato, slurred, by position of the measure
    for staff in staves:
        instrument = staff.getInstrument(returnDefault=False)
        program = instrument.midiProgram if instrument is not None and instrument.midiProgram is not None else None
        if program is None:
            program = FALLBACK_PROGRAM.get(family, 0)
        loud = sorted((float(d.getOffsetInHierarchy(staff)), d.volumeScalar) for d in
                      staff.recurse().getElementsByClass(dynamics.Dynamic))
        notes = []
        staff.stripTies(inPlace=True)
        for element in staff.flatten().notes:
            if isinstance(element, harmony.Harmony) or element.duration.isGrace or element.duration.quarterLength == 0:
                continue
            at = float(element.offset)
            velocity = int(np.clip(127 * next((v for q, v in reversed(loud) if q <= at), 0.63), 16, 127))
            for pitch in element.pitches:
                notes.append(PartNote(at, float(element.duration.quarterLength), int(pitch.midi), velocity))
            bar = int(at // 4)
            bar_marks[0][bar] += 1
            bar_marks[1][bar] += any(isinstance(a, (marks.Staccato, marks.Staccatissimo)) for a in element.articulations)
            bar_marks[2][bar] += id(element) in slurred
        if notes:
            parts.append(Part(int(program), False, notes))
    if family == "quartet" and len(parts) == 4:  # half of the files name no instruments
        parts = [part._replace(program=program) for part, program in zip(parts, QUARTET_PROGRAMS)]
    first = staves[0]
    signatures = [(float(k.getOffsetInHierarchy(first)), k) for k in first.recurse().getElementsByClass(keys.KeySignature)]
    sharps = signatures[0][1].sharps if signatures else None
    key = None
    if family == "folk" and signatures and isinstance(signatures[0][1], keys.Key):
        k = signatures[0][1]
        key = k.tonic.pitchClass, "minor" if k.mode in ("minor", "dorian", "phrygian", "aeolian") else "major"
    tempi = sorted({float(m.getOffsetInHierarchy(stream)): float(m.getQuarterBPM()) for m in
                    stream.recurse().getElementsByClass(tempo.MetronomeMark) if m.getQuarterBPM()}.items())
    stated = tempi and [bpm for _, bpm in tempi] != [120.0]  # 120 alone is the default of notation programs
    tempo_map = [(0.0, tempi[0][1]), *tempi[1:]] if stated else None
    articulations = []
    for bar in sorted(bar_marks[0]):
        n = bar_marks[0][bar]
        name = "staccato" if bar_marks[1][bar] > 0.4 * n else "legato" if bar_marks[2][bar] > 0.4 * n else "detached"
        articulations.append((bar * 4.0, name))
    return parts, tempo_map, metres_of_staff(first), sharps, key, articulations


def metres_of_staff(staff) -> list[tuple[float, int, int]]:
    """The measures of a staff -> metres for `from_parts`; measures cut in two by repeats are taken together, and a new entry is
    made wherever the bar line departs from a steady count."""
    bars = []  # [start, length, numerator, denominator]
    signature = (4, 4)
    for measure in staff.getElementsByClass("Measure"):
        if measure.timeSignature is not None:
            signature = (measure.timeSignature.numerator, measure.timeSignature.denominator)
        at, nominal = float(measure.offset), signature[0] * 4 / signature[1]
        if bars and bars[-1][2:] == list(signature) and bars[-1][1] < nominal - 1e-6 and len(bars) > 1:
            previous = bars[-1]
            whole = previous[1] + float(measure.highestTime)
            if abs(whole - nominal) < 1e-6:
                previous[1] = whole
                continue
        if bars:
            bars[-1][1] = min(bars[-1][1], at - bars[-1][0]) if bars[-1][1] else at - bars[-1][0]
        bars.append([at, float(measure.highestTime), *signature])
    if not bars:
        return [(0.0, 4, 4)]
    metres = []
    if len(bars) > 1 and bars[0][1] < bars[0][2] * 4 / bars[0][3] - 1e-6:  # a pickup
        bars = bars[1:]
    expected = None
    for start, _, numerator, denominator in bars:
        if not metres or metres[-1][1:] != (numerator, denominator) or abs(start - expected) > 1e-4:
            metres.append((start, numerator, denominator))
        expected = start + numerator * 4 / denominator
    return metres


# POP909 ----------------------------------------------------------------------------------------------------------------

POP_TRACKS = {"MELODY": "lead", "BRIDGE": "second", "PIANO": "accompaniment"}
POP_QUALITY = {"maj6": "maj", "min6": "min", "minmaj7": "min", "hdim7": "m7b5", "dim7": "dim", "sus4(b7)": "sus4"}
PITCH_CLASS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
SHORTEST_BARS = 8


def pop909_jobs(repository: str) -> list:
    """One job for every song of a clone. ValueError where there is none."""
    root = Path(repository) / "POP909"
    if not (root / "001" / "001.mid").exists():
        raise ValueError(f"{repository} holds no POP909/001/001.mid; give the path of a POP909-Dataset clone.")
    compound = compound_songs(root / "index.xlsx")
    return [(import_pop909, (str(path), path.name in compound)) for path in sorted(root.iterdir()) if path.is_dir()]


def compound_songs(index_xlsx: Path) -> set[str]:
    """Ids of songs whose beat has three quavers."""
    with zipfile.ZipFile(index_xlsx) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    rows = [re.findall(r"<(?:t|v)(?: [^>]*)?>(.*?)</(?:t|v)>", row) for row in re.findall(r"<row.*?</row>", sheet, re.S)]
    return {row[0] for row in rows[1:] if row[-1] == "3"}


def import_pop909(folder: str, compound: bool) -> list[tuple[np.ndarray, dict]]:
    """One song -> a piece for each of its keys. The beats of the annotation are the grid; downbeats are smoothed by `downbeats`.

    ValueError where the annotation is too irregular to bar the song.
    """
    import mido
    folder = Path(folder)
    song = folder.name
    annotation = np.loadtxt(folder / "beat_midi.txt")  # seconds, downbeat in two, downbeat in four (or three)
    times = annotation[:, 0]
    beat_quarters = 1.5 if compound else 1.0

    def quarters(seconds):
        beat = np.interp(seconds, times, np.arange(len(times)))
        beat += np.maximum(seconds - times[-1], 0) / (times[-1] - times[-2]) + np.minimum(seconds - times[0], 0) / (times[1] - times[0])
        return beat * beat_quarters

    chords = [line.split() for line in (folder / "chord_midi.txt").read_text().splitlines() if line.strip()]
    chord_beats = [round(float(quarters(float(start))) / beat_quarters) for start, _, _ in chords]
    flags = annotation[:, 2].copy()
    per_bar = 3 if np.median(np.diff(np.flatnonzero(annotation[:, 1]))) == 3 else 2 if compound else 4
    firsts = downbeats(flags, chord_beats, per_bar)
    if len(firsts) > 5:
        raise ValueError(f"POP909 {song} changes its bar line {len(firsts) - 1} times; left out.")
    numerator, denominator = (3 * per_bar, 8) if compound else (per_bar, 4)
    metres = [(first * beat_quarters, numerator, denominator) for first in firsts]

    parts, pedal = [], []
    midi = mido.MidiFile(folder / f"{song}.mid")
    for name, role in POP_TRACKS.items():
        track = next((t for t in midi.tracks if t.name == name), None)
        notes, spans = ([], []) if track is None else notes_in_seconds(midi, track)
        if name == "PIANO":
            pedal = [(float(quarters(down)), float(quarters(up))) for down, up in spans]
        starts = quarters(np.array([n[0] for n in notes]))
        ends = quarters(np.array([n[1] for n in notes]))
        parts.append(Part(0, False, [PartNote(float(a), float(max(b - a, 0.05)), n[2], n[3])
                                     for a, b, n in zip(starts, ends, notes)], role))
    tempo_map = [(i * beat_quarters, float(60 * beat_quarters / step)) for i, step in enumerate(np.diff(times))]
    chords = [(beat * beat_quarters, *pop_chord(label)) for beat, (_, _, label) in zip(chord_beats, chords)]
    bar_quarters = per_bar * beat_quarters
    pieces = []
    for n, (start, end, key) in enumerate(key_sections(folder / "key_audio.txt", quarters, times[-1])):
        start, end = (metres[0][0] + round((q - metres[0][0]) / bar_quarters) * bar_quarters for q in (start, end))
        pieces += section(parts, tempo_map, metres, chords, pedal, max(start, 0.0), end, key, f"POP909 {song}.{n + 1}")
    if not pieces:
        raise ValueError(f"POP909 {song} has no section of {SHORTEST_BARS} bars in one key; left out.")
    return pieces


def section(parts, tempo_map, metres, chords, pedal, start, end, key, title) -> list[tuple[np.ndarray, dict]]:
    """The part of a song between two positions in quarters as a piece from quarter 0; [] if it is shorter than eight bars.

    What follows is read a little further, so that a change of key does not pass for an ending.
    """
    bar_quarters = metres[0][1] * 4 / metres[0][2]
    until = end + 10 * bar_quarters
    cut = [part._replace(notes=[n._replace(start=n.start - start) for n in part.notes if start - 0.13 <= n.start < until])
           for part in parts]
    notes = [n for part in cut for n in part.notes]
    bars = min(MAX_BARS, round((end - start) / bar_quarters))
    if not notes or bars < SHORTEST_BARS or max(n.start for n in notes) < SHORTEST_BARS * bar_quarters:
        return []
    before = [m for m in metres if m[0] <= start + 1e-6]
    within = [(q - start, *m) for q, *m in metres if start + 1e-6 < q < until]
    if before:  # the bar line that runs at the start
        late = (start - before[-1][0]) % bar_quarters
        within = [((bar_quarters - late) % bar_quarters, *before[-1][1:]), *within]
    tempi = [(q - start, bpm) for q, bpm in tempo_map if q < until]
    tempi = [(0.0, [b for q, b in tempi if q <= 1e-6][-1] if tempi[0][0] <= 0 else tempi[0][1]), *[t for t in tempi if t[0] > 1e-6]]
    around = [(max(q - start, 0.0), *c) for q, *c in chords if q < until]
    around = [c for i, c in enumerate(around) if c[0] > 0 or i + 1 == len(around) or around[i + 1][0] > 0]
    return [piece(cut, tempi, within, title, "POP909", "pop", "explicit", key=key, chords=around,
                  pedal=[(down - start, up - start) for down, up in pedal if up > start], max_bars=bars)]


def downbeats(flags: np.ndarray, chord_beats: list[int], per_bar: int) -> list[int]:
    """Downbeat flags per beat [N] and the beats on which chords change -> the beats from which bars of per_bar are counted.

    The tracker's flags stumble; the best path over bar phases makes a shift of phase cost as much as about three bars of
    evidence, so that a true odd bar shifts the count and a stumble does not.
    """
    n = len(flags)
    evidence = np.zeros(n)
    evidence[flags > 0] += 1.0
    for beat in set(chord_beats):
        if 0 <= beat < n:
            evidence[beat] += 0.4
    score = np.zeros((n, per_bar))
    score[np.arange(n), np.arange(n) % per_bar] = evidence
    total, came = np.zeros(per_bar), np.zeros((n, per_bar), int)
    for beat in range(n):
        best = int(total.argmax())
        stay = total >= total[best] - 4.0
        came[beat] = np.where(stay, np.arange(per_bar), best)
        total = np.where(stay, total, total[best] - 4.0) + score[beat]
    phases = [int(total.argmax())]
    for beat in range(n - 1, 0, -1):
        phases.append(int(came[beat, phases[-1]]))
    phases.reverse()
    firsts = [phases[0]]
    for beat in range(1, n):
        if phases[beat] != phases[beat - 1]:
            firsts.append(beat + (phases[beat] - beat) % per_bar)
    return firsts


def key_sections(key_txt: Path, quarters, end_seconds: float) -> list[tuple[float, float, tuple[int, str]]]:
    """key_audio.txt -> (start, end in quarters, (tonic, mode)); the first key reaches back to the start."""
    lines = [line.split() for line in key_txt.read_text().splitlines() if line.strip()]
    sections = []
    for start, end, label in lines:
        tonic, mode = label.split(":")
        key = pitch_class(tonic), "minor" if mode.startswith("min") else "major"
        if sections and sections[-1][2] == key:
            continue
        sections.append((float(quarters(float(start))), 0.0, key))
    starts = [0.0, *[s[0] for s in sections[1:]], float(quarters(end_seconds)) + 64]
    return [(a, b, s[2]) for a, b, s in zip(starts, starts[1:], sections)]


def pitch_class(name: str) -> int:
    """'Bb' -> 10."""
    return (PITCH_CLASS[name[0]] + name.count("#") - name.count("b")) % 12


def pop_chord(label: str) -> tuple[int, str]:
    """'Eb:min7/b7' -> (3, 'min7'); 'N' -> (-1, 'maj'). The bass of an inversion is left to the bass lane."""
    if label in ("N", "X"):
        return -1, "maj"
    root, _, quality = label.partition(":")
    quality = quality.split("/")[0]
    quality = POP_QUALITY.get(quality, quality)
    return pitch_class(root), quality if quality in QUALITIES else "maj"


def notes_in_seconds(midi, track) -> tuple[list[tuple[float, float, int, int]], list[tuple[float, float]]]:
    """(start, end, pitch, velocity) of one track, by the file's tempo map, and when the sustain pedal is down."""
    import mido
    tempi, tick = [], 0
    for message in midi.tracks[0]:
        tick += message.time
        if message.type == "set_tempo":
            tempi.append((tick, message.tempo))
    ticks = [0] + [t for t, _ in tempi]
    micros = [500000] + [m for _, m in tempi]
    seconds = np.cumsum([0.0] + [mido.tick2second(b - a, midi.ticks_per_beat, m) for a, b, m in zip(ticks, ticks[1:], micros)])

    def at(tick):
        i = int(np.searchsorted(ticks, tick, "right")) - 1
        return float(seconds[i] + mido.tick2second(tick - ticks[i], midi.ticks_per_beat, micros[i]))

    notes, sounding, pedal, pressed, tick = [], {}, [], None, 0
    for message in track:
        tick += message.time
        if message.type == "control_change" and message.control == 64:
            if message.value >= 64 and pressed is None:
                pressed = tick
            elif message.value < 64 and pressed is not None:
                pedal.append((at(pressed), at(tick)))
                pressed = None
        if message.type in ("note_on", "note_off"):
            if message.note in sounding:
                start, velocity = sounding.pop(message.note)
                notes.append((at(start), at(tick), message.note, velocity))
            if message.type == "note_on" and message.velocity:
                sounding[message.note] = tick, message.velocity
    return sorted(notes), pedal


# both ------------------------------------------------------------------------------------------------------------------


def _attempt(job):
    function, args = job
    try:
        result = function(*args)
    except ValueError as error:
        return [], str(error)
    return result if isinstance(result, list) else [result], None


def collect(jobs, workers: int) -> tuple[list[np.ndarray], list[dict]]:
    """Import in parallel; pieces that cannot be imported are named in the log."""
    codes, meta = [], []
    with ProcessPoolExecutor(workers) as pool:
        for n, (result, problem) in enumerate(pool.map(_attempt, jobs, chunksize=4)):
            if problem:
                log.warning(problem)
            for piece_codes, description in result:
                codes.append(piece_codes)
                meta.append(description)
            if (n + 1) % 100 == 0:
                log.info("%d of %d", n + 1, len(jobs))
    return codes, meta


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--pop909", help="path of a POP909 clone; without it the music21 corpus is read")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    jobs = pop909_jobs(options.pop909) if options.pop909 else [(import_music21, job) for job in corpus_files()]
    codes, meta = collect(jobs, options.workers)
    save(options.output, codes, meta)
    print(f"{len(codes)} pieces, {sum(c.shape[1] for c in codes)} frames -> {options.output}")
    for key in ("family", "licence", "source", "mode", "metre"):
        print(f"  {key}: " + ", ".join(f"{name} {n}" for name, n in Counter(m[key] for m in meta).most_common()))


if __name__ == "__main__":
    main()
