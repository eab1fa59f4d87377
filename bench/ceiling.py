"""How closely can music follow a curve, as the Emotion Predictor hears it? The bound of any model along the arcs of the benchmark.

    python -m lara_core bench-emotion --systems four=tries:embedded --grid 7 --seeds 1 --texts "cinematic orchestra with piano" --keep-audio -o runs/pool
    python -m bench.ceiling runs/pool [--targets drawn] [--slots 2 4]

The first makes pieces whose request stands still. Of those every arc is spliced, slot by slot, 60 s long: each slot is the excerpt that is
nearest to what is asked for at its middle (a) as its whole piece is heard, which is music where every moment is right, and (b) as the predictor
hears the excerpt itself in its place, which is chosen by the ruler that then measures. Prints the medians over the arcs that
`bench-emotion --targets` prints of a model.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lara_core.affect import Curve
from lara_core.audio import Audio, load
from lara_core.benchmark.plan import ARCS, MOVES, make_targets
from lara_core.benchmark.report import followed
from lara_core.benchmark.run import JOURNAL, read_journal
from lara_core.pipeline import EMBEDDED, Lara
from lara_core.predictor import DIMENSIONS, EmotionPredictor
from lara_core.score_predictor import in_reach

SECONDS, JOINT_SECONDS, LEVEL_RMS = 60.0, 0.1, 0.05
MEASURES = ("pearson", "windowed_r", "lag_bars")


class Pool:
    """Pieces [2,T] at one level, and what was heard of them in the measure of requests: `heard` [M,2] at `seconds` [M] of the piece `number` [M]."""

    def __init__(self, files: list[Path], predictor: EmotionPredictor, reach: tuple[np.ndarray, np.ndarray]):
        sounds = [load(path) for path in files]
        self.rate = sounds[0].sample_rate_hz
        self.pieces = [sound.samples * np.float32(LEVEL_RMS / np.sqrt(np.mean(sound.samples ** 2))) for sound in sounds]
        tracks = [predictor.track(sound) for sound in tqdm(sounds, desc="hearing", unit="piece")]
        known = [np.isfinite(track.values).all(1) for track in tracks]
        self.heard = in_reach(np.concatenate([track.values[k] for track, k in zip(tracks, known)]), *reach)
        self.seconds = np.concatenate([track.times_seconds[k] for track, k in zip(tracks, known)])
        self.number = np.repeat(np.arange(len(tracks)), [k.sum() for k in known])
        self.whole = np.stack([self.heard[self.number == i].mean(0) for i in range(len(tracks))])

    def spliced(self, curve: Curve, slot_seconds: float, by_excerpt: bool) -> Audio:
        slot, joint, length = (round(seconds * self.rate) for seconds in (slot_seconds, JOINT_SECONDS, SECONDS))
        fade = np.linspace(0, 1, joint, dtype=np.float32)
        out = np.zeros((2, length + slot + joint), np.float32)
        for at in range(0, length, slot):
            wanted = curve.at([at / self.rate + slot_seconds / 2], SECONDS)[0]
            best = int(np.linalg.norm((self.heard if by_excerpt else self.whole) - wanted, axis=1).argmin())
            samples = self.pieces[self.number[best] if by_excerpt else best]
            middle = round(self.seconds[best] * self.rate) if by_excerpt else at % samples.shape[1]
            first = min(max(middle - slot // 2, 0), samples.shape[1] - slot - joint)
            excerpt = samples[:, first:first + slot + joint].copy()
            excerpt[:, :joint] *= fade
            excerpt[:, -joint:] *= fade[::-1]
            out[:, at:at + slot + joint] += excerpt
        return Audio(out[:, :length], self.rate)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of a run with --keep-audio")
    parser.add_argument("--targets", choices=ARCS, default=ARCS[0])
    parser.add_argument("--slots", type=float, nargs="+", default=[2.0, 4.0], metavar="SECONDS")
    args = parser.parse_args()
    files = sorted((args.folder / "audio").rglob("*.wav"))
    if not files:
        parser.error(f"{args.folder} holds no audio; give the folder of a bench-emotion run with --keep-audio.")
    bar_seconds = float(np.median([entry["bar_seconds"] for entry in read_journal(args.folder / JOURNAL).values() if entry.get("bar_seconds")]))
    predictor = EmotionPredictor.load()
    pool = Pool(files, predictor, Lara.load(EMBEDDED).reach)
    curves = [target.curve for target in make_targets(args.targets)]
    print(f"{len(files)} pieces; targets {args.targets}, {len(curves)}; valence, arousal; medians; a bar of {bar_seconds:.2f} s")
    for by_excerpt, name in enumerate(("whole pieces", "excerpts")):
        for slot in args.slots:
            rows = []
            for curve in curves:
                track = predictor.track(pool.spliced(curve, slot, bool(by_excerpt)))
                known = np.isfinite(track.values).all(1)
                rows.append(followed(curve, SECONDS, (track.times_seconds[known], track.values[known]), bar_seconds))
            some_stand = min(row[f"{d}_moves"] for row in rows for d in DIMENSIONS) < MOVES
            for what, least in (("all", 0.0), ("that move", MOVES))[:1 + some_stand]:
                middle = {m: [np.nanmedian([row[f"{d}_{m}"] for row in rows if row[f"{d}_moves"] >= least]) for d in DIMENSIONS] for m in MEASURES}
                print(f"{name}, slots of {slot:g} s, {what}: " + "; ".join("{} {:.2f}, {:.2f}".format(m, *values) for m, values in middle.items()))


if __name__ == "__main__":
    main()
