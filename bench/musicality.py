"""Is it well-formed music? Scores of the model beside scores by people, measure by measure.

    python -m bench.musicality --human runs/scores.npz runs/scores_pop909.npz [--corpus runs/corpus.npz] [--still] [--model NAME|PATH]

The human files are made by training.scores and training.pop909, the corpus by training.corpus. Everything is measured on notes, not
on sound, over pieces cut to the same number of bars. A measure agrees where the model's median lies between the quartiles of the
human scores. With a corpus, the longest run of bars that a piece shares with any training piece, whatever the key, is reported.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lara_core.affect import PRESETS, Curve
from lara_core.codec import Request, score
from lara_core.codec.score import METRES, Note, Score
from lara_core.pipeline import EMBEDDED, Lara

TEXTS = ("solo piano", "string quartet", "cinematic orchestra", "jazz trio", "electronic dance", "folk tune", "acoustic guitar", "waltz")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10), "harmonic minor": (0, 2, 3, 5, 7, 8, 11)}
CHANCE_BARS = 2  # a run of so many equal bars may be chance: an alberti bass on I is nobody's
STILL = [Curve.constant(valence, arousal) for valence in (-0.5, 0.5) for arousal in (-0.5, 0.5)]
FEW_NOTES = 4  # bars with fewer are in every piece


def scale_consistency(notes: Sequence[Note]) -> float:
    """The share of notes inside the scale that fits best, of 12 x 3 (Mogren 2016, arXiv 1611.09904)."""
    classes = np.bincount([note.pitch % 12 for note in notes], minlength=12)
    return max(float(classes[[(root + step) % 12 for step in steps]].sum()) for root in range(12) for steps in SCALES.values()) / classes.sum()


def pitch_class_entropy(notes: Sequence[Note]) -> float:
    """Bits (Wu and Yang 2020, arXiv 2008.01307): 3.58 where all twelve are equally frequent."""
    shares = np.bincount([note.pitch % 12 for note in notes], minlength=12) / len(notes)
    return float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())


def groove_consistency(piece: Score) -> float:
    """How alike the onsets of neighbouring bars are (Wu and Yang 2020): 1 - Hamming distance / frames of a bar, on average."""
    struck = np.zeros(piece.frames, bool)
    struck[[note.start for note in piece.notes if note.start < piece.frames]] = True
    struck |= piece.drums > 0
    bars = [struck[at:at + bar.frames] for at, bar in zip(piece.bar_starts(), piece.bars)]
    pairs = [np.mean(a == b) for a, b in zip(bars, bars[1:]) if len(a) == len(b)]
    return float(np.mean(pairs))


def bars_of(piece: Score) -> list[frozenset]:
    """For each bar the notes that start in it: (lane, frame in the bar, semitones above the tonic)."""
    bars, starts = [set() for _ in piece.bars], piece.bar_starts()
    for note in piece.notes:
        bar = score.bar_number(starts, note.start)
        bars[bar].add((note.lane, int(note.start - starts[bar]), note.pitch - score.key_shift(piece.tonic)))
    return [frozenset(bar) for bar in bars]


def repetition(piece: Score) -> float:
    """How much of a bar was heard before: the Jaccard similarity to the likest earlier bar, on average over all but the first four."""
    bars = bars_of(piece)
    likest = [max((len(bar & other) / len(bar | other) for other in bars[:i] if bar | other), default=0.0) for i, bar in enumerate(bars) if i >= 4]
    return float(np.mean(likest))


def polyphony(piece: Score) -> float:
    """Pitches sounding at once, on average over the frames with any."""
    sounding = np.zeros(piece.frames + 1)
    for note in piece.notes:
        sounding[note.start] += 1
        sounding[min(note.start + note.duration, piece.frames)] -= 1
    count = np.cumsum(sounding)[:-1]
    return float(count[count > 0].mean())


def measures(piece: Score) -> dict[str, float]:
    """Every measure of a piece of five bars or more."""
    beats = sum(bar.frames / METRES[bar.metre][1] for bar in piece.bars)
    pitches = [note.pitch for note in piece.notes]
    return {"scale consistency": scale_consistency(piece.notes), "pitch-class entropy (bits)": pitch_class_entropy(piece.notes),
            "groove consistency": groove_consistency(piece), "repetition": repetition(piece),
            "onsets a beat": len({note.start for note in piece.notes}) / beats, "notes at once": polyphony(piece),
            "grinding (semitones at once)": score.grinding(piece),
            "range (semitones, 5 to 95 %)": float(np.subtract(*np.percentile(pitches, (95, 5))))}


def ending(piece: Score) -> dict[str, bool]:
    """What a last bar should do: the bass on the tonic, and notes that are held to the end of the bar."""
    last = piece.bar_starts()[-1]
    return {"ends on the tonic": score.rests_on_tonic(piece),
            "the last notes are held": any(note.start + note.duration >= piece.frames for note in piece.notes),
            "begins in its first beat": min(note.start for note in piece.notes) < METRES[piece.bars[0].metre][1]}


def cut(pieces: Iterable[np.ndarray], n_bars: int) -> Iterator[Score]:
    """The first bars of codes [K,F]; what is shorter, or silent so far, is left out."""
    for codes in pieces:
        starts = np.append(score.bar_starts(codes), codes.shape[1])
        piece = score.decode(codes[:, :starts[min(n_bars, len(starts) - 1)]])
        if len(piece.bars) == n_bars and piece.notes:
            yield piece


def pieces_of(path: Path) -> Iterator[np.ndarray]:
    """Codes [K,F] of every piece in a file of scores or in a corpus."""
    with np.load(path) as data:
        codes, offsets = data["codes"], data["offsets"]
    for start, end in zip(offsets, offsets[1:]):
        yield codes[:, start:end]


def coded_bars(codes: np.ndarray) -> list[bytes | None]:
    """What the pitch lanes of each bar hold, relative to the tonic; None for bars with few notes."""
    bars = [bar[score.PITCH_LANES].astype(np.uint8) for bar in score.bars_of(codes)]
    return [bar.tobytes() if (bar >= score.FIRST_PITCH).sum() >= FEW_NOTES else None for bar in bars]


def longest_copy(pieces: Sequence[np.ndarray], corpus: Path) -> list[int]:
    """For codes [K,F] of each piece the most bars in a row that some training piece has too, note by note in whatever key."""
    wanted, found = defaultdict(list), [0] * len(pieces)  # bar -> (piece, index)
    for number, codes in enumerate(pieces):
        for index, bar in enumerate(coded_bars(codes)):
            if bar is not None:
                wanted[bar].append((number, index))
    for codes in pieces_of(corpus):
        runs: dict[tuple[int, int], int] = {}  # (piece, index of the bar that was equal last) -> how many in a row
        for bar in coded_bars(codes):
            runs = {(number, index): runs.get((number, index - 1), 0) + 1 for number, index in wanted.get(bar, ())}
            for (number, _), length in runs.items():
                found[number] = max(found[number], length)
    return found


def composed(lara: Lara, seconds: float, seeds: int, curves: Sequence[Curve]) -> list[tuple[np.ndarray, Score]]:
    """Codes and Score of pieces by the model: every text with every curve in turn."""
    jobs = [(text, curves[(i + seed) % len(curves)], seed) for i, text in enumerate(TEXTS) for seed in range(1, seeds + 1)]
    made = []
    for text, curve, seed in tqdm(jobs, desc="composing", unit="piece"):
        take = lara.stream(text, curve, Request(seconds, seed=seed))
        codes = [segment.codes for segment in take.write()]
        made.append((np.concatenate(codes, axis=1), take.session.piece))
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--human", type=Path, nargs="+", required=True)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--still", action="store_true", help="requests that stand, one in each quadrant, in place of the preset arcs: few human pieces turn from glad to dark")
    parser.add_argument("--bars", type=int, default=16, help="pieces are cut to so many")
    parser.add_argument("-o", "--output", type=Path, help="all measurements as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)  # more are slower at this size
    lara = Lara.load(args.model)
    made = composed(lara, args.seconds, args.seeds, STILL if args.still else list(PRESETS.values()))
    groups = {lara.name: [codes for codes, _ in made]} | {path.stem: list(pieces_of(path)) for path in args.human}
    rows = {name: [measures(piece) for piece in cut(pieces, args.bars)] for name, pieces in groups.items()}
    people = [row for name in list(rows)[1:] for row in rows[name]]
    print(f"{lara.name} ({lara.digest}): {len(rows[lara.name])} pieces, the first {args.bars} bars; medians [quartiles]\n")
    print("| measure | " + " | ".join(f"{name} (n={len(rows[name])})" for name in rows) + " | within the quartiles of people |\n" + "|---" * (len(rows) + 2) + "|")
    for key in people[0]:
        cells = ["{1:.2f} [{0:.2f}, {2:.2f}]".format(*np.percentile([row[key] for row in group], (25, 50, 75))) for group in rows.values()]
        low, high = np.percentile([row[key] for row in people], (25, 75))
        inside = low <= np.median([row[key] for row in rows[lara.name]]) <= high
        print(f"| {key} | " + " | ".join(cells) + f" | {'yes' if inside else 'no'} [{low:.2f}, {high:.2f}] |")
    hammered = {name: np.concatenate([score.hammered(codes) for codes in pieces]).mean() for name, pieces in groups.items()}
    print("\nbars in which three voices or more strike nearly every frame: " + ", ".join(f"{name} {share:.1%}" for name, share in hammered.items()))
    ends = [ending(piece) for _, piece in made]
    print("\n" + ", ".join(f"{key}: {sum(end[key] for end in ends)} of {len(ends)}" for key in ends[0]))
    copies = longest_copy([codes for codes, _ in made], args.corpus) if args.corpus else []
    if copies:
        print(f"bars in a row that a training piece has too: median {np.median(copies):g}, most {max(copies)}, "
              f"more than {CHANCE_BARS} in {sum(copy > CHANCE_BARS for copy in copies)} of {len(copies)} pieces")
    if args.output:
        args.output.write_text(json.dumps({"rows": rows, "endings": ends, "copies": copies}))


if __name__ == "__main__":
    main()
