"""Does the Emotion Predictor hear what the rule-based composer writes? The bound of a model that learns from it.

    python -m bench.composed [--styles "solo piano" strings electronic] [--points 7] [--seconds 20]
    python -m bench.composed --cues                                         # what does each cue do by itself?

For each style a grid of valence and arousal, composed, rendered and judged. r of requested with heard, and both cross terms, with 95 %
intervals by bootstrap over the grid points. --cues: how far what is heard moves where one cue is driven from end to end and all others
stand still, means over all styles. The training data is our own, so it may be looked at and tuned on.
"""

import argparse
import itertools

import numpy as np
import torch
from tqdm import tqdm

from lara_core.audio import Audio
from lara_core.codec import score
from lara_core.codec.score_codec import ScoreCodec
from lara_core.pipeline import Lara
from lara_core.score import bootstrap, pearson
from training.composer import CUES, Composer
from training.styles import STYLES

EXTREME, CUE_BARS = 0.9, 10


def judged(piece: score.Score, codec: ScoreCodec) -> np.ndarray:
    """The predictor's (valence, arousal) [2] of a piece; NaN where it hears no music."""
    return Lara.score(Audio(codec.decode(score.encode(piece)), codec.sample_rate_hz)).track.point


def heard(style, valence: float, arousal: float, seconds: float, seed: int, codec: ScoreCodec) -> np.ndarray:
    """One composed piece of about `seconds` -> the predictor's (valence, arousal) [2]; NaN where it hears no music."""
    composer = Composer(style, np.random.default_rng(seed))
    n_bars = max(4, round(seconds / (score.METRES[composer.metre][0] * 15 / composer.tempo(valence, arousal))))
    piece = composer.compose(np.full(n_bars, valence), np.full(n_bars, arousal))
    return judged(piece, codec)


class OneCue(Composer):
    """Whose cues all stand at 0 but the one that is driven."""

    driven, at = "", (0.0, 0.0)

    def asked(self, cue: str, valence: float, arousal: float) -> tuple[float, float]:
        return self.at if self.driven in (cue, "all of them") else (0.0, 0.0)


def swing(style, cue: str, dimension: int, seed: int, codec: ScoreCodec) -> np.ndarray:
    """How far a cue moves what is heard [2] from one end of valence (0) or arousal (1) to the other."""
    ends = []
    for value in (-EXTREME, EXTREME):
        composer = OneCue(style, np.random.default_rng(seed))
        composer.driven, composer.at = cue, (value, 0.0) if dimension == 0 else (0.0, value)
        piece = composer.compose(np.zeros(CUE_BARS), np.zeros(CUE_BARS))
        ends.append(judged(piece, codec))
    return ends[1] - ends[0]


def cue_table(codec: ScoreCodec) -> None:
    print("| cue | valence driven: heard valence | heard arousal | arousal driven: heard valence | heard arousal |\n" + "|---" * 5 + "|")
    for cue in ("all of them", *CUES):
        moved = np.array([[swing(style, cue, dimension, seed, codec) for seed, style in enumerate(tqdm(STYLES, desc=cue))] for dimension in (0, 1)])
        moved = moved[:, np.isfinite(moved).all((0, 2))]  # where music is heard at all
        cells = [bootstrap(np.mean, (moved[dimension, :, heard],)) for dimension in (0, 1) for heard in (0, 1)]
        print(f"| {cue} | " + " | ".join(f"{r.value:+.2f} [{r.low:+.2f}, {r.high:+.2f}]" for r in cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--styles", nargs="+", default=["solo piano", "strings", "electronic"], choices=[style.name for style in STYLES], metavar="STYLE")
    parser.add_argument("--points", type=int, default=7, help="values of each dimension")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--cues", action="store_true", help="what each cue does by itself, in place of the grid")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.cues:
        return cue_table(ScoreCodec())
    codec, axis = ScoreCodec(), np.linspace(-EXTREME, EXTREME, args.points)
    asked = np.array(list(itertools.product(axis, axis)))
    print("| style | valence | arousal | heard valence ~ arousal | heard arousal ~ valence |\n" + "|---" * 5 + "|")
    for style in (style for style in STYLES if style.name in args.styles):
        got = np.array([heard(style, v, a, args.seconds, seed, codec) for seed, (v, a) in enumerate(tqdm(asked, desc=style.name, unit="piece"))])
        music = np.isfinite(got[:, 0])
        results = (bootstrap(pearson, (asked[music, i], got[music, j])) for i, j in ((0, 0), (1, 1), (1, 0), (0, 1)))
        print(f"| {style.name} | " + " | ".join(f"{r.value:+.2f} [{r.low:+.2f}, {r.high:+.2f}]" for r in results) + " |", flush=True)


if __name__ == "__main__":
    main()
