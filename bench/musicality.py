"""Is it well-formed music? Scores of the model beside scores by people, measure by measure.

    python -m bench.musicality --human runs/scores.npz runs/scores_pop909.npz [--corpus runs/corpus.npz] [--still] [--model NAME|PATH]

The human files are made by training.scores and training.pop909, the corpus by training.corpus. Everything is measured on notes, not
on sound, over pieces cut to the same number of bars. A measure agrees where the model's median lies between the quartiles of the
human scores. With a corpus, the longest run of bars that a piece shares with any training piece, whatever the key, is reported.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lara_core.affect import PRESETS, Curve
from lara_core.codec import Request, score
from lara_core.codec.score import METRES, Score
from lara_core.pipeline import EMBEDDED, Lara
from training.musicality import cut, measures, pieces_of

TEXTS = ("solo piano", "string quartet", "cinematic orchestra", "jazz trio", "electronic dance", "folk tune", "acoustic guitar", "waltz")
CHANCE_BARS = 2  # a run of so many equal bars may be chance: an alberti bass on I is nobody's
STILL = [Curve.constant(valence, arousal) for valence in (-0.5, 0.5) for arousal in (-0.5, 0.5)]
FEW_NOTES = 4  # bars with fewer are in every piece


def ending(piece: Score) -> dict[str, bool]:
    """What a last bar should do: the bass on the tonic, and notes that are held to the end of the bar."""
    last = piece.bar_starts()[-1]
    return {"ends on the tonic": score.rests_on_tonic(piece),
            "the last notes are held": any(note.start + note.duration >= piece.frames for note in piece.notes),
            "begins in its first beat": min(note.start for note in piece.notes) < METRES[piece.bars[0].metre][1]}


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
        cells = ["{1:.2f} [{0:.2f}, {2:.2f}]".format(*np.nanpercentile([row[key] for row in group], (25, 50, 75))) for group in rows.values()]
        low, high = np.nanpercentile([row[key] for row in people], (25, 75))
        inside = low <= np.nanmedian([row[key] for row in rows[lara.name]]) <= high
        print(f"| {key} | " + " | ".join(cells) + f" | {'yes' if inside else 'no'} [{low:.2f}, {high:.2f}] |")
    for what, where in (("bars in which three voices or more strike nearly every frame", score.hammered), ("pairs of bars whose melody goes nowhere", score.stuck)):
        shares = {name: np.concatenate([where(codes) for codes in pieces]).mean() for name, pieces in groups.items()}
        print(f"\n{what}: " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
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
