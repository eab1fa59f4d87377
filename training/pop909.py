"""POP909 (Wang et al. 2020, arXiv 2008.07142; MIT): melody, bridge and piano of its songs with annotated beats, keys and chords -> codes.

    python -m training.pop909 POP909-Dataset -o runs/scores_pop909.npz    # a clone of github.com/music-x-lab/POP909-Dataset

The file is as training.scores describes it.
"""

import re
import zipfile
from pathlib import Path

import numpy as np

from lara_core.codec.parts import Part
from lara_core.codec.score import QUALITIES
from lara_core.codec.timeline import PartNote

from .scores import MAX_BARS, options, piece, write_scores

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


def main():
    parser = options(__doc__)
    parser.add_argument("clone", help="path of a POP909-Dataset clone")
    args = parser.parse_args()
    write_scores(pop909_jobs(args.clone), args.output, args.workers)


if __name__ == "__main__":
    main()
