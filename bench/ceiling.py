"""How closely can music follow a curve, as the Emotion Predictor hears it? The bound of any model along the presets.

    python -m lara_core bench-emotion --systems four=tries:embedded --grid 7 --seeds 1 --texts "cinematic orchestra with piano" --keep-audio -o runs/pool
    python -m bench.ceiling runs/pool [--slots 2 4]

The first makes pieces whose request stands still. Of those every preset is spliced, slot by slot, 60 s long: each slot is the excerpt that is
nearest to what is asked for at its middle (a) as its whole piece is heard, which is music where every moment is right, and (b) as the predictor
hears the excerpt itself in its place, which is chosen by the ruler that then measures. Prints the medians over the presets that
`bench-emotion --targets arcs` prints of a model.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lara_core.affect import PRESETS
from lara_core.audio import Audio, load
from lara_core.benchmark.report import MOVES
from lara_core.benchmark.run import JOURNAL, read_journal
from lara_core.pipeline import EMBEDDED, Lara
from lara_core.predictor import DIMENSIONS
from lara_core.score_predictor import in_reach

SECONDS, JOINT_SECONDS, LEVEL_RMS = 60.0, 0.1, 0.05
MEASURES = ("pearson", "windowed_r", "bars off")


class Pool:
    """Pieces at one level, and what of them was heard where, in the measure of requests: `heard` [M,2] at `seconds` [M] of the piece `number`
    [M], and in the whole of that piece, `of_piece` [M,2]."""

    def __init__(self, files: list[Path], reach: tuple[np.ndarray, np.ndarray]):
        self.sounds, self.reach, heard, seconds, number, of_piece = [], reach, [], [], [], []
        for i, path in enumerate(tqdm(files, desc="hearing", unit="piece")):
            sound = load(path)
            self.sounds.append(Audio(sound.samples * np.float32(LEVEL_RMS / np.sqrt(np.mean(sound.samples ** 2))), sound.sample_rate_hz))
            track = Lara.score(self.sounds[-1]).track
            known = np.isfinite(track.values).all(1)
            heard.append(in_reach(track.values[known], *reach))
            seconds.append(track.times_seconds[known])
            number.append(np.full(known.sum(), i))
            of_piece.append(np.repeat(heard[-1].mean(0)[None], known.sum(), 0))
        self.heard, self.seconds, self.number, self.of_piece = map(np.concatenate, (heard, seconds, number, of_piece))

    def spliced(self, curve, slot_seconds: float, by_excerpt: bool) -> Audio:
        rate = self.sounds[0].sample_rate_hz
        slot, joint = round(slot_seconds * rate), round(JOINT_SECONDS * rate)
        fade = np.linspace(0, 1, joint, dtype=np.float32)
        out = np.zeros((2, round(SECONDS * rate) + slot + joint), np.float32)
        for at in range(0, round(SECONDS * rate), slot):
            wanted = curve.at([at / rate + slot_seconds / 2], SECONDS)[0]
            far = np.linalg.norm((self.heard if by_excerpt else self.of_piece) - wanted, axis=1)
            best = int(far.argmin())
            samples = self.sounds[self.number[best]].samples
            middle = self.seconds[best] if by_excerpt else at / rate % (samples.shape[1] / rate)
            first = int(np.clip(round((middle - slot_seconds / 2) * rate), 0, samples.shape[1] - slot - joint))
            excerpt = samples[:, first:first + slot + joint].copy()
            excerpt[:, :joint] *= fade
            excerpt[:, -joint:] *= fade[::-1]
            out[:, at:at + slot + joint] += excerpt
        return Audio(out[:, :round(SECONDS * rate)], rate)


def followed(pool: Pool, slot_seconds: float, by_excerpt: bool, bar_seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """For every preset and dimension how far it moves [N,2], and the MEASURES [N,2,3]."""
    moves, measured = [], []
    for curve in PRESETS.values():
        found = Lara.score(pool.spliced(curve, slot_seconds, by_excerpt), curve, reach=pool.reach).evaluation
        moves.append(curve.at(np.linspace(0, SECONDS, 121), SECONDS).std(0))
        measured.append([(found[d]["pearson"], found[d]["windowed_r"], abs(found[d]["lag_seconds"]) / bar_seconds) for d in DIMENSIONS])
    return np.array(moves), np.array(measured)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of a run with --keep-audio")
    parser.add_argument("--slots", type=float, nargs="+", default=[2.0, 4.0], metavar="SECONDS")
    args = parser.parse_args()
    files = sorted((args.folder / "audio").rglob("*.wav"))
    if not files:
        parser.error(f"{args.folder} holds no audio; give the folder of a bench-emotion run with --keep-audio.")
    bar_seconds = float(np.median([entry["bar_seconds"] for entry in read_journal(args.folder / JOURNAL).values() if entry.get("bar_seconds")]))
    pool = Pool(files, Lara.load(EMBEDDED).reach)
    print(f"{len(files)} pieces, {len(PRESETS)} presets; valence, arousal; medians; a bar of {bar_seconds:.2f} s")
    for by_excerpt, name in enumerate(("whole pieces", "excerpts")):
        for slot in args.slots:
            moves, measured = followed(pool, slot, bool(by_excerpt), bar_seconds)
            moving = np.where((moves > MOVES)[:, :, None], measured, np.nan)
            for what, values in (("all", measured), ("that move", moving)):
                middle = np.nanmedian(values, axis=0)
                print(f"{name}, slots of {slot:g} s, {what}: " + "; ".join(f"{m} {middle[0, i]:.2f}, {middle[1, i]:.2f}" for i, m in enumerate(MEASURES)))


if __name__ == "__main__":
    main()
