"""What int8 weights do to the music of a trained model, as it is heard: the same texts, emotions and seeds in float32 and in int8.

    python -m bench.int8 [--model NAME|PATH] [--grid 5] [--seconds 20]

Sampling takes another way at the first token that differs, so single pieces are compared as two seeds of float32 are: what the Emotion
Predictor hears, on average and piece by piece, how it follows what was asked, and the Frechet audio distance to float32 with other seeds.
"""

import argparse
import itertools

import numpy as np
import torch
from tqdm import tqdm

from lara_core.benchmark import machine
from lara_core.benchmark.plan import TEXTS, make_targets, piece_seed
from lara_core.benchmark.run import listen
from lara_core.codec import Request
from lara_core.listener import load_listener
from lara_core.pipeline import EMBEDDED, Lara
from lara_core.predictor import EmotionPredictor
from lara_core.score import DIMENSIONS, bootstrap, frechet_audio_distance, pearson


def heard(lara: Lara, asked: list, seed: int, seconds: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Points [N,2] (NaN: no music) and the listener's features [N,D] of a piece for each (text, target)."""
    predictor, listener, rows = EmotionPredictor.load(), load_listener(), []
    for text, target in tqdm(asked, desc=name, unit="piece"):
        audio, _ = lara.generate(text, target.curve, Request(seconds, seed=piece_seed(target.name, text, seed)))
        rows.append(listen(audio, predictor, listener))
    return np.array([row["point"] or (np.nan, np.nan) for row in rows], float), np.array([row["features"] for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--grid", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    asked = list(itertools.product(TEXTS, make_targets("grid", args.grid)))
    exact, rounded = Lara.load(args.model), Lara.load(args.model, dtype=torch.int8)
    sides = {"float32": heard(exact, asked, 1, args.seconds, "float32"), "int8": heard(rounded, asked, 1, args.seconds, "int8"),
             "float32, other seeds": heard(exact, asked, 2, args.seconds, "float32, other seeds")}
    wanted, reference = np.array([target.point for _, target in asked]), sides["float32, other seeds"]
    print(f"{machine()}; {exact.name}, {len(asked)} pieces of {args.seconds:g} s a side\n")
    print("| | follows valence, r | arousal, r | valence, arousal less float32's | piece by piece | FAD to float32, other seeds |\n|---|---|---|---|---|---|")
    for name, (points, features) in sides.items():
        cells = []
        for d in range(2):
            known = ~np.isnan(points[:, d])
            r = bootstrap(pearson, (wanted[known, d], points[known, d]))
            cells.append(f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]")
        away = (points - sides["float32"][0])[~np.isnan(points - sides["float32"][0]).any(1)]
        mean = [bootstrap(lambda rows: float(np.mean(rows)), [away[:, d]]) for d in range(2)]
        cells += [", ".join(f"{m.value:+.3f} [{m.low:+.3f}, {m.high:+.3f}]" for m in mean), ", ".join(f"{x:.3f}" for x in np.abs(away).mean(0))] if away.any() else ["", ""]
        cells.append("" if features is reference[1] else f"{frechet_audio_distance(reference[1], features).fad:.3f}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\npiece by piece: mean absolute difference of heard {' and '.join(DIMENSIONS)}")


if __name__ == "__main__":
    main()
