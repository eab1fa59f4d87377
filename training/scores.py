"""Real scores for training: the music21 corpus -> one .npz of codes. (training.pop909 makes the same of POP909.)

    python -m training.scores -o runs/scores.npz    # needs `pip install music21`

The file holds `codes` uint8 [K, total frames], `offsets` int64 [N+1] (piece n is codes[:, offsets[n]:offsets[n+1]]) and `meta`,
a JSON list with title, source, family, licence, mode, tonic, metre, bars, tempo_bpm (None: the score states none, and the
codes hold 100) and losses for each piece. `load(path)` reads it back. None of this data is part of the repository.
"""

import argparse
import json
import logging
import re
import zipfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from lara_core.codec.harmony import estimate_key
from lara_core.codec.parts import Part, last_bass_pitch, measured_from_parts, pitch_class_weights
from lara_core.codec.score import encode
from lara_core.codec.timeline import PartNote

from .windows import write_arrays

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
    """Write pieces [K,F] and their descriptions."""
    offsets = np.cumsum([0] + [c.shape[1] for c in codes]).astype(np.int64)
    write_arrays(Path(path), {"codes": np.concatenate(codes, axis=1), "offsets": offsets, "meta": np.array(json.dumps(meta))})


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


def options(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--workers", type=int, default=2)
    return parser


def write_scores(jobs: list, output: str, workers: int) -> None:
    """Import what the jobs name, write it, and say what is in it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    codes, meta = collect(jobs, workers)
    save(output, codes, meta)
    print(f"{len(codes)} pieces, {sum(c.shape[1] for c in codes)} frames -> {output}")
    for key in ("family", "licence", "source", "mode", "metre"):
        print(f"  {key}: " + ", ".join(f"{name} {n}" for name, n in Counter(m[key] for m in meta).most_common()))


def main():
    args = options(__doc__).parse_args()
    write_scores([(import_music21, job) for job in corpus_files()], args.output, args.workers)


if __name__ == "__main__":
    main()
