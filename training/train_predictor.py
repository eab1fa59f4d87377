"""Rated clips go in, models/predictor comes out: the heads, their figures, a card. The audio stays where it is.

    git clone https://github.com/HazelvdW/MUSIFEAST-17
    python -m training.train_predictor MUSIFEAST-17 --cache runs/musifeast

MUSIFEAST-17 (van der Walle, Wu, Margulis, Jakubowski 2025, Behavior Research Methods 57:7; labels CC0): 356 instrumental
clips of 30 s, rated by 701 people from 1 to 5. What was heard is cached by clip, so an interrupted run goes on. Speech for
'not music' is made with espeak-ng, which must be installed.
"""

import argparse
import csv
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from tqdm import tqdm

from lara_core.listener import RATE_HZ, load_listener
from lara_core.predictor import DIMENSIONS, Heard, combined, hear, kernel, scaled, smoothed

LISTENER, LAYER, HOP_SECONDS = "musicnn", "penultimate", 4.0
TRAINING_HOP_SECONDS = 6.0  # five windows a clip; about 0.35 CPU-seconds
LISTENER_WIDTH = 200
# weight of the listener against the descriptors, linear and RBF parts, noise: what inner validation chooses from
GRID = [{"descriptors": d, "linear": share * amplitude, "rbf": (1 - share) * amplitude, "noise": 1.0}
        for d, share, amplitude in itertools.product((0.0, 0.2, 0.4, 0.7), (0.0, 0.5, 1.0), (0.5, 1.0, 2.0, 4.0, 8.0))]
FOLDS, SEEDS = 10, (0, 1, 2)
VOICES = ("en-us", "de", "fr", "es+f3", "it+m4", "en+f2", "pl", "cs+f4")
TEXT = ("The rain in the valley had stopped by noon, and forty two people walked along the river to the old mill. "
        "Anna, Roberto, Emil and the others spoke of tomorrow, of the market, and of nothing in particular. ")


# ----------------------------------------------------------------------------------------------------------------- data


def heard_clip(path: Path, cache: Path, listener) -> Heard:
    stored = cache / f"{path.stem}.npz"
    if not stored.exists():
        heard = hear(path, None, listener)
        with tempfile.NamedTemporaryFile(suffix=".npz", dir=cache, delete=False) as file:
            np.savez(file, **vars(heard))
        os.replace(file.name, stored)
    with np.load(stored) as data:
        return Heard(**data)


def ratings(path: Path) -> dict[str, dict]:
    """The table of the data set -> by clip name: ratings [2] on [-1, 1], genre, artist."""
    with open(path, encoding="utf-8") as file:
        return {row["CLIP_NAME"]: {"target": (np.array([float(row["valence_M"]), float(row["arousal_M"])]) - 3) / 2,
                                   "genre": row["GENRE"], "artist": row["ARTIST"]} for row in csv.DictReader(file)}


def not_music(cache: Path, listener) -> np.ndarray:
    """Synthesised noise and speech -> features [N, D] of single windows."""
    stored = cache / "not_music.npy"
    if stored.exists():
        return np.load(stored)
    random, rows = np.random.default_rng(0), []
    t = np.arange(12 * RATE_HZ) / RATE_HZ
    for power in (0.0, 0.5, 1.0, 1.5, 2.0):  # white to brown
        spectrum = np.fft.rfft(random.normal(size=len(t)))
        noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 40) ** (power / 2))
        for envelope in (1, 0.6 + 0.4 * np.sin(2 * np.pi * random.uniform(0.1, 4) * t)):
            rows.append(hear((noise * envelope / np.abs(noise).max()).astype(np.float32), RATE_HZ, listener))
    for i, voice in enumerate(VOICES):
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            subprocess.run(["espeak-ng", "-v", voice, "-s", str(130 + 12 * i), "-w", file.name, TEXT], check=True)
            rows.append(hear(file.name, None, listener))
    features = np.concatenate([combined(h.features, h.descriptors) for h in rows])
    np.save(stored, features)
    return features


# ---------------------------------------------------------------------------------------------------------------- heads


def fit_scale(features: np.ndarray, descriptor_weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, D] -> centre [D] and scale [2, D]: deviation, and weight such that |x|^2 is 1 on average."""
    deviation = features.std(0) + 1e-6
    width = features.shape[1] - LISTENER_WIDTH
    weight = np.concatenate([np.full(LISTENER_WIDTH, (1 - descriptor_weight) / LISTENER_WIDTH),
                             np.full(width, descriptor_weight / width)])
    return features.mean(0), np.stack([deviation, np.sqrt(weight)])


def fit_head(features: np.ndarray, targets: np.ndarray) -> tuple[dict, dict]:
    """Features [N, D], targets [N] -> head (numbers) and tensors of the best of GRID.

    Chosen by leave-one-out error in closed form, r_i = alpha_i / inverse_ii (Rasmussen and Williams 2006, equation 5.12),
    which also sets `spread` so that the leave-one-out errors have the stated deviation.
    """
    best = None
    for choice in GRID:
        centre, scale = fit_scale(features, choice["descriptors"])
        x = scaled(features, centre, scale)
        inverse = np.linalg.inv(kernel(x, x, choice) + choice["noise"] * np.eye(len(x)))
        weights = inverse.sum(0) / inverse.sum()
        mean = float(weights @ targets)
        alpha = inverse @ (targets - mean)
        residuals = alpha / np.diag(inverse)
        if best is None or (residuals ** 2).mean() < best[0]:
            spread = float(np.sqrt((residuals ** 2 * np.diag(inverse)).mean()))
            head = choice | {"mean": mean, "spread": spread}
            best = (residuals ** 2).mean(), head, {"centre": centre, "scale": scale, "alpha": alpha, "inverse": inverse}
    return best[1:]


def fit_music(music: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Single windows of both kinds [., D] -> centre, scale, weights, bias of a ridge logistic regression."""
    features, labels = np.concatenate([music, other]), np.r_[np.ones(len(music)), np.zeros(len(other))]
    balance = np.where(labels == 1, 0.5 / len(music), 0.5 / len(other)) * len(labels)
    centre, scale = fit_scale(features, 0.5)
    x = np.column_stack([scaled(features, centre, scale), np.ones(len(labels))])
    ridge = np.r_[np.full(x.shape[1] - 1, 0.1), 1e-6]
    beta = np.zeros(x.shape[1])
    for _ in range(20):  # Newton
        p = 1 / (1 + np.exp(-x @ beta))
        curvature = (x * (balance * p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        beta += np.linalg.solve(curvature, x.T @ (balance * (labels - p)) - ridge * beta)
    return centre, scale, beta[:-1], float(beta[-1])


# ----------------------------------------------------------------------------------------------------------- validation


def validate(clips: list[np.ndarray], targets: np.ndarray, artists: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Ten folds without an artist on both sides, three seeds -> predictions [S, N, 2] and their deviations [S, N, 2].

    Everything is fitted within the training folds: scales, choice of GRID, heads. A clip's prediction is the average over
    its windows, as `track` makes it.
    """
    means = np.stack([rows.mean(0) for rows in clips])
    names = sorted(set(artists))
    predictions, deviations = np.zeros((2, len(SEEDS), len(clips), 2))
    for s, seed in enumerate(SEEDS):
        fold_of = dict(zip(np.random.default_rng(seed).permutation(names), itertools.cycle(range(FOLDS)), strict=False))
        folds = np.array([fold_of[artist] for artist in artists])
        for fold, d in tqdm(itertools.product(range(FOLDS), range(2)), total=2 * FOLDS, desc=f"seed {seed}"):
            train = folds != fold
            head, t = fit_head(means[train], targets[train, d])
            x = scaled(means[train], t["centre"], t["scale"])
            for i in np.flatnonzero(~train):
                y = scaled(clips[i], t["centre"], t["scale"])
                cross = kernel(y, x, head)
                variance = head["linear"] * (y * y).sum(1) + head["rbf"] + head["noise"] - ((cross @ t["inverse"]) * cross).sum(1)
                predictions[s, i, d] = (head["mean"] + cross @ t["alpha"]).mean()
                deviations[s, i, d] = (head["spread"] * np.sqrt(variance)).mean()
    return predictions, deviations


def concordance(a: np.ndarray, b: np.ndarray) -> float:
    """Lin 1989."""
    return float(2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))


def figures(predictions, deviations, targets, genres) -> dict:
    """Per dimension: r and CCC (mean over seeds) with 95 % bootstrap intervals over clips, error, coverage, r by genre."""
    random, out = np.random.default_rng(0), {}
    for d, name in enumerate(DIMENSIONS):
        def both(rows, d=d):
            pairs = [(np.corrcoef(p[rows, d], targets[rows, d])[0, 1], concordance(p[rows, d], targets[rows, d])) for p in predictions]
            return np.mean(pairs, axis=0)

        n = len(targets)
        r, ccc = both(np.arange(n))
        low, high = np.percentile([both(random.integers(0, n, n)) for _ in range(1000)], (2.5, 97.5), axis=0)
        errors = predictions[..., d] - targets[:, d]
        out[name] = {
            "r": r, "r_95": [low[0], high[0]], "ccc": ccc, "ccc_95": [low[1], high[1]], "rmse": np.sqrt((errors ** 2).mean()),
            "within_one_deviation": (np.abs(errors) < deviations[..., d]).mean(),
            "r_other_dimension": np.mean([np.corrcoef(p[:, d], targets[:, 1 - d])[0, 1] for p in predictions]),
            "r_by_genre": {g: both(np.flatnonzero(np.array(genres) == g))[0] for g in sorted(set(genres)) if genres.count(g) > 3},
        }
    return json.loads(json.dumps(out, default=float), parse_float=lambda text: round(float(text), 3))


# ----------------------------------------------------------------------------------------------------------------- main


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="a checkout of MUSIFEAST-17")
    parser.add_argument("--cache", type=Path, default=Path("runs/musifeast"))
    parser.add_argument("-o", "--output", type=Path, default=Path("models/predictor"))
    parser.add_argument("--cached-only", action="store_true", help="train on the clips that are in the cache")
    args = parser.parse_args()
    if not shutil.which("espeak-ng"):
        parser.error("espeak-ng is not installed; it makes the speech that is 'not music'.")
    torch.set_num_threads(1)
    (args.cache / "clips").mkdir(parents=True, exist_ok=True)
    table = ratings(args.data / "data" / "MUSIFEAST17_all.csv")
    names = [n for n in sorted(table) if not args.cached_only or (args.cache / "clips" / f"{n}.npz").exists()]
    listener = load_listener(LISTENER, layer=LAYER, hop_seconds=TRAINING_HOP_SECONDS)
    heard = [heard_clip(args.data / "stimuli" / f"{name}.mp3", args.cache / "clips", listener) for name in tqdm(names, desc="hearing")]
    clips = [smoothed(h) for h in heard]
    targets = np.stack([table[name]["target"] for name in names])
    genres = [table[name]["genre"] for name in names]
    measured = figures(*validate(clips, targets, [table[name]["artist"] for name in names]), targets, genres)

    means = np.stack([rows.mean(0) for rows in clips])
    config = {"kind": "emotion-predictor", "listener": LISTENER, "layer": LAYER, "hop_seconds": HOP_SECONDS, "heads": {}}
    tensors = {"examples": means}
    for d, name in enumerate(DIMENSIONS):
        config["heads"][name], t = fit_head(means, targets[:, d])
        tensors |= {"centre": t["centre"], f"{name}.scale": t["scale"], f"{name}.alpha": t["alpha"], f"{name}.inverse": t["inverse"]}
    single = np.concatenate([combined(h.features, h.descriptors) for h in heard])
    other = not_music(args.cache, listener)
    tensors["music.centre"], tensors["music.scale"], tensors["music.weights"], config["music_bias"] = fit_music(single, other)
    config |= {"rated_clips": len(names), "figures": measured}
    args.output.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(t, np.float32) for name, t in tensors.items()}, args.output / "model.safetensors")
    (args.output / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(config, indent=1))


if __name__ == "__main__":
    main()
