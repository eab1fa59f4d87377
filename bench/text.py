"""Does the text choose who plays, and leave the emotion alone? The same texts at nine points of valence and arousal.

    python -m bench.text [--model NAME|PATH] [--seconds 20] [--seeds 1] [--heard]

Named: in how many pieces an instrument that the text names (or one of its family) sounds. Agreement: how alike the ensembles of two
pieces are (cosine of how long each General MIDI program sounds), of one text at different points, and of different texts at one point.
With --heard the Emotion Predictor listens too: how far a text moves what is heard (standard deviation of the texts' means over all
points), beside what the points move (that of the points' means over all texts). 95 % intervals: bootstrap over texts.
"""

import argparse
import itertools
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from lara_core.affect import Curve
from lara_core.benchmark import machine
from lara_core.benchmark.plan import piece_seed
from lara_core.codec import Request
from lara_core.codec.score import Score, sounding
from lara_core.pipeline import EMBEDDED, Lara
from lara_core.score import DIMENSIONS, bootstrap

PIANO, GUITAR, STRINGS, SYNTH, BRASS = range(0, 6), range(24, 29), range(40, 52), range(80, 104), range(56, 64)
DRUMS = (128,)
NAMED = {  # text -> of each instrument that it names or plainly means, the programs that would do
    "lonely cello over a slow piano": ((42, 43), PIANO), "8-bit boss fight": ((80, 81),), "bossa nova guitar at the beach": (GUITAR,),
    "solo piano": (PIANO,), "string quartet": (STRINGS,), "cinematic orchestra with french horn": (STRINGS, BRASS),
    "music box lullaby": (range(8, 15),), "jazz trio with double bass": (PIANO, range(32, 36)), "rock band with distorted guitar": (range(26, 32),),
    "techno": (SYNTH,), "church organ and choir": (range(16, 21), (52, 53, 54)), "ambient pads": (SYNTH,), "irish fiddle and accordion": ((40, 110), (21, 22, 23)),
    "flute and harp": (range(72, 76), (46,)), "drums, bass and guitars": (DRUMS, range(32, 40), range(24, 32)), "qwzx blorp": ()}  # the last means nothing
POINTS = tuple(itertools.product((-0.7, 0.0, 0.7), repeat=2))


class Made(NamedTuple):
    text: str
    point: tuple[float, float]
    ensemble: np.ndarray  # [129] how long each program sounds, drums last
    heard: np.ndarray  # [2], NaN where nobody listened or no music was heard


def ensemble(piece: Score) -> np.ndarray:
    """How long each program sounds [129], drums (in strokes) last, in frames; longer than the piece where many notes sound at once."""
    lengths = sounding(piece)
    return np.append(lengths[:-1].sum(0), lengths[-1].sum())


def make(lara: Lara, text: str, point: tuple[float, float], seconds: float, seed: int, listen: bool) -> Made:
    take, heard = lara.stream(text, Curve.constant(*point), Request(seconds, seed=seed)), np.full(2, np.nan)
    if listen:
        from lara_core.audio import Audio

        heard = lara.score(Audio(np.concatenate([segment.samples for segment in take], axis=1), lara.codec.sample_rate_hz)).track.point
    else:
        take.write()
    return Made(text, point, ensemble(take.session.piece), heard)


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9))


def named_share(pieces: list[Made]) -> dict[str, float]:
    """Text -> in what share of its pieces each instrument sounds that it names, on average over those."""
    return {text: float(np.mean([[piece.ensemble[list(programs)].sum() > 0 for programs in wanted] for piece in pieces if piece.text == text]))
            for text, wanted in NAMED.items() if wanted}


def agreements(pieces: list[Made]) -> tuple[dict[str, float], dict[str, float]]:
    """Text -> mean likeness of its pieces at different points, and to those of other texts at the same point."""
    same, other = {}, {}
    for text in NAMED:
        own = [piece for piece in pieces if piece.text == text]
        same[text] = float(np.mean([likeness(a.ensemble, b.ensemble) for a, b in itertools.combinations(own, 2) if a.point != b.point]))
        other[text] = float(np.mean([likeness(a.ensemble, b.ensemble) for a in own for b in pieces if b.text != text and b.point == a.point]))
    return same, other


def moved(pieces: list[Made]) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations [2] of what is heard: of the means of the texts, and of the points."""
    def spread(groups) -> np.ndarray:
        return np.std([np.nanmean([piece.heard for piece in group], axis=0) for group in groups], axis=0)

    return (spread([[piece for piece in pieces if piece.text == text] for text in NAMED]),
            spread([[piece for piece in pieces if piece.point == point] for point in POINTS]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--heard", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lara = Lara.load(args.model)
    todo = list(itertools.product(NAMED, POINTS, range(args.seeds)))
    pieces = [make(lara, text, point, args.seconds, piece_seed(str(point), text, seed), args.heard) for text, point, seed in tqdm(todo, unit="piece")]
    named, (same, other) = named_share(pieces), agreements(pieces)
    print(f"{machine()}; {lara.name}, {len(NAMED)} texts x {len(POINTS)} points x {args.seeds} seeds of {args.seconds:g} s, n = {len(pieces)}\n")
    print("| text | named instruments that sound | likeness of its ensembles | to those of other texts |\n|---|---|---|---|")
    for text in NAMED:
        print(f"| {text} | {f'{named[text]:.0%}' if text in named else '-'} | {same[text]:.2f} | {other[text]:.2f} |")
    print()
    for what, values in (("named instruments that sound", named), ("likeness within a text", same), ("likeness to other texts", other)):
        found = bootstrap(lambda rows: float(np.mean(rows)), [np.array(list(values.values()))])
        print(f"{what}: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")
    if args.heard:
        for name, by_text, by_point in zip(DIMENSIONS, *moved(pieces)):
            print(f"heard {name}: texts move it by {by_text:.2f}, points by {by_point:.2f} (standard deviations of means)")


if __name__ == "__main__":
    main()
