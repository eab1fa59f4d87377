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
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from safetensors.numpy import save_file
from tqdm import tqdm

from lara_core.listener import RATE_HZ, load_listener
from lara_core.predictor import (
    DIMENSIONS, HARMONY, LEVEL_RMS, RESTS_BELOW, TEXTURE, Heard, combined, hear, kernel, posterior, scaled, smoothed,
)
from lara_core.score import bootstrap, concordance, pearson

from .windows import write_arrays

LISTENER, LAYER, HOP_SECONDS = "musicnn", "pool", 4.0
TRAINING_HOP_SECONDS = 3.0  # ten windows a clip; about 0.6 CPU-seconds
# what inner validation chooses from: texture's and harmony's weights (the listener has the rest), linear share, amplitude
WEIGHTS, LINEAR, AMPLITUDES = tuple(itertools.product((0.0, 0.1, 0.2), repeat=2)), (0.0, 0.5), (4.0, 8.0, 16.0, 32.0, 64.0)
FOLDS, SEEDS = 10, (0, 1, 2)
RIDGE = 2e-5  # of 'is it music'
VOICES = ("en-us", "de", "fr-fr", "es+f3", "it+m4", "en-gb+f2", "pl", "cs+f4", "ru", "pt-br+f5", "hi+m2", "tr+f1", "el+m7", "nl+f4",
          "hu+m5", "en-us+whisper")
TEXT = ("The rain in the valley had stopped by noon, and forty two people walked along the river to the old mill. "
        "Anna, Roberto, Emil and the others spoke of tomorrow, of the market, and of nothing in particular. ")


# ----------------------------------------------------------------------------------------------------------------- data


def heard_clip(path: Path, cache: Path, listener) -> Heard:
    stored = cache / f"{path.stem}.npz"
    if not stored.exists():
        heard = hear(path, None, listener)
        write_arrays(stored, vars(heard))
    with np.load(stored) as data:
        return Heard(**data)


def ratings(path: Path) -> dict[str, dict]:
    """The table of the data set -> by clip name: ratings [2] on [-1, 1], genre, artist."""
    with open(path, encoding="utf-8") as file:
        return {row["CLIP_NAME"]: {"target": (np.array([float(row["valence_M"]), float(row["arousal_M"])]) - 3) / 2,
                                   "genre": row["GENRE"], "artist": row["ARTIST"]} for row in csv.DictReader(file)}


def sounding(heard: Heard) -> np.ndarray:
    """The features [N, D] of single windows that are no rests."""
    return combined(heard.features, heard.descriptors)[heard.levels > LEVEL_RMS * RESTS_BELOW]


def not_music(cache: Path, listener) -> tuple[np.ndarray, np.ndarray]:
    """Synthesised noise and speech -> features [N, D] of single windows, and which noise or voice [N] each is of."""
    stored = cache / "not_music.npz"
    if not stored.exists():
        heard = {f"noise {i}": hear(sound, RATE_HZ, listener) for i, sound in enumerate(noises())}
        for i, voice in enumerate(VOICES):
            with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                subprocess.run(["espeak-ng", "-v", voice, "-s", str(130 + 6 * i), "-w", file.name, TEXT], check=True)
                heard[f"speech {voice}"] = hear(file.name, None, listener)
        rows = [sounding(h) for h in heard.values()]
        write_arrays(stored, {"features": np.concatenate(rows), "kinds": np.repeat(list(heard), [len(r) for r in rows])})
    with np.load(stored) as data:
        return data["features"], data["kinds"]


def noises() -> list[np.ndarray]:
    """White to brown noise, steady and swelling, as it is and through a band: [12 s at 16 kHz] each."""
    random, out = np.random.default_rng(0), []
    t = np.arange(12 * RATE_HZ) / RATE_HZ
    hz = np.maximum(np.fft.rfftfreq(len(t), 1 / RATE_HZ), 3)
    for power, swelling, banded in itertools.product((0.0, 0.5, 1.0, 1.5, 2.0), (False, True), (False, True)):
        centre_hz = random.uniform(200, 4000)
        band = np.exp(-0.5 * np.log2(hz / centre_hz) ** 2) if banded else 1
        noise = np.fft.irfft(np.fft.rfft(random.normal(size=len(t))) * hz ** (-power / 2) * band)
        noise *= 0.6 + 0.4 * swelling * np.sin(2 * np.pi * random.uniform(0.1, 4) * t)
        out.append((0.3 * noise / np.abs(noise).max()).astype(np.float32))
    return out


# ---------------------------------------------------------------------------------------------------------------- heads


def fit_scale(features: np.ndarray, texture: float, harmony: float) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, D] -> centre [D] and scale [2, D]: deviation, and weight such that |x|^2 is 1 on average."""
    widths = (features.shape[1] - len(TEXTURE) - HARMONY, len(TEXTURE), HARMONY)
    weight = np.concatenate([np.full(n, share / n) for n, share in zip(widths, (1 - texture - harmony, texture, harmony), strict=True)])
    return features.mean(0), np.stack([features.std(0) + 1e-6, np.sqrt(weight)])


def fit_heads(features: np.ndarray, targets: np.ndarray) -> list[tuple[dict, dict]]:
    """Features [N, D], targets [N, 2] -> for each dimension the head (numbers) and tensors of its best choice.

    Chosen by leave-one-out error in closed form, r_i = alpha_i / inverse_ii (Rasmussen and Williams 2006, equation 5.12),
    which also sets `spread` so that the leave-one-out errors have the stated deviation. `inverse` is
    axes diag(shrunk) axes', formed for the best alone.
    """
    best, least = [None, None], [np.inf, np.inf]
    for (texture, harmony), share in itertools.product(WEIGHTS, LINEAR):
        centre, scale = fit_scale(features, texture, harmony)
        x = scaled(features, centre, scale)
        powers, axes = np.linalg.eigh(kernel(x, x, {"linear": share, "rbf": 1 - share}))
        for amplitude in AMPLITUDES:
            shrunk = 1 / (amplitude * powers + 1)
            own = axes ** 2 @ shrunk  # the diagonal of the inverse
            weights = axes @ (shrunk * axes.sum(0))
            means = weights @ targets / weights.sum()
            alphas = axes @ (shrunk[:, None] * (axes.T @ (targets - means)))
            residuals = alphas / own[:, None]
            for d, error in enumerate((residuals ** 2).mean(0)):
                if error < least[d]:
                    spread = np.sqrt((residuals[:, d] ** 2 * own).mean())
                    head = {"texture": texture, "harmony": harmony, "linear": share * amplitude, "rbf": (1 - share) * amplitude,
                            "noise": 1.0, "mean": float(means[d]), "spread": float(spread)}
                    tensors = {"centre": centre, "scale": scale, "alpha": alphas[:, d], "inverse": (axes, shrunk)}
                    least[d], best[d] = error, (head, tensors)
    for _, tensors in best:
        axes, shrunk = tensors["inverse"]
        tensors["inverse"] = (axes * shrunk) @ axes.T
    return best


def fit_music(music: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Single windows of both kinds [., D] -> centre, scale, weights, bias of a ridge logistic regression; both kinds weigh
    the same."""
    features = np.concatenate([music, other])
    centre, scale = fit_scale(features, 0.25, 0.25)
    x = torch.from_numpy(scaled(features, centre, scale))
    labels = torch.cat([torch.ones(len(music)), torch.zeros(len(other))]).double()
    balance = torch.where(labels == 1, 0.5 / len(music), 0.5 / len(other))
    beta, bias = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True), torch.zeros(1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([beta, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        solver.zero_grad()
        logits = x @ beta + bias
        value = nnf.binary_cross_entropy_with_logits(logits, labels, balance, reduction="sum") + RIDGE * beta.square().sum()
        value.backward()
        return value

    solver.step(loss)
    return centre, scale, beta.detach().numpy(), bias.item()


# ----------------------------------------------------------------------------------------------------------- validation


def folds_of(groups: list, count: int, seed: int) -> np.ndarray:
    """The fold [N] of each row: a group (an artist, a voice) is never in two."""
    fold = dict(zip(np.random.default_rng(seed).permutation(sorted(set(groups))), itertools.cycle(range(count)), strict=False))
    return np.array([fold[group] for group in groups])


def validate(means: np.ndarray, targets: np.ndarray, artists: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Features of clips [N, D] -> ten folds without an artist on both sides, three seeds: predictions [S, N, 2] and their
    deviations [S, N, 2].

    Everything is fitted within the training folds: scales, weights, kernels, heads.
    """
    predictions, deviations = np.zeros((2, len(SEEDS), *targets.shape))
    for (s, seed), fold in tqdm(list(itertools.product(enumerate(SEEDS), range(FOLDS))), desc="validating"):
        test = folds_of(artists, FOLDS, seed) == fold
        for d, (head, t) in enumerate(fit_heads(means[~test], targets[~test])):
            x, examples = (scaled(rows, t["centre"], t["scale"]) for rows in (means[test], means[~test]))
            predictions[s, test, d], deviations[s, test, d] = posterior(x, examples, head, t["alpha"], t["inverse"])
    return predictions, deviations


def validate_music(music: list[np.ndarray], artists: list[str], other: np.ndarray, kinds: np.ndarray) -> dict:
    """Ten folds, held-out artists against held-out noises and voices -> the shares of windows and clips judged wrong."""
    clip_folds, other_folds = folds_of(artists, FOLDS, 0), folds_of(kinds.tolist(), FOLDS, 0)
    right, wrong = [], np.zeros(len(other), bool)
    for fold in range(FOLDS):
        train = np.concatenate([rows for rows, f in zip(music, clip_folds, strict=True) if f != fold])
        centre, scale, weights, bias = fit_music(train, other[other_folds != fold])
        right += [scaled(rows, centre, scale) @ weights + bias >= 0 for rows, f in zip(music, clip_folds, strict=True) if f == fold]
        held_out = other_folds == fold
        wrong[held_out] = scaled(other[held_out], centre, scale) @ weights + bias >= 0
    missed = {"music_windows_missed": 1 - np.concatenate(right).mean(), "music_clips_missed": np.mean([r.mean() < 0.5 for r in right])}
    return missed | {f"{kind}_windows_called_music": wrong[np.char.startswith(kinds, kind)].mean() for kind in ("noise", "speech")}


def r_with_level(predictions: np.ndarray, levels_db: np.ndarray, targets: np.ndarray) -> float:
    """What loudness, which no head hears, would add: r of the leave-one-out fit of targets [N] by predictions [N] and level [N]."""
    x = np.column_stack([np.ones_like(targets), predictions, levels_db])
    hat = x @ np.linalg.pinv(x)
    own = np.diag(hat)
    return pearson(targets, (hat @ targets - own * targets) / (1 - own))


def figures(predictions, deviations, targets, genres) -> dict:
    """Per dimension: r and CCC, their mean over the seeds with a 95 % bootstrap interval over clips, error, coverage, r by
    genre."""
    out = {}
    for d, name in enumerate(DIMENSIONS):
        def interval(metric, rows=slice(None), d=d):
            over_seeds = lambda p, t: np.mean([metric(t, column) for column in p.T])  # noqa: E731
            found = bootstrap(over_seeds, (predictions[:, rows, d].T, targets[rows, d]), resamples=1000)
            return [found.value, found.low, found.high]

        errors = predictions[..., d] - targets[:, d]
        out[name] = {
            "r": interval(pearson), "ccc": interval(concordance), "rmse": np.sqrt((errors ** 2).mean()),
            "within_one_deviation": (np.abs(errors) < deviations[..., d]).mean(),
            "r_other_dimension": np.mean([pearson(targets[:, 1 - d], p[:, d]) for p in predictions]),
            "r_by_genre": {genre: interval(pearson, np.array(genres) == genre) for genre in sorted(set(genres))},
        }
    return out


# ----------------------------------------------------------------------------------------------------------------- main


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="a checkout of MUSIFEAST-17")
    parser.add_argument("--cache", type=Path, default=Path("runs/musifeast"))
    parser.add_argument("-o", "--output", type=Path, default=Path("models/predictor"))
    args = parser.parse_args()
    if not shutil.which("espeak-ng"):
        parser.error("espeak-ng is not installed; it makes the speech that is 'not music'.")
    torch.set_num_threads(1)
    (args.cache / "clips").mkdir(parents=True, exist_ok=True)
    table = ratings(args.data / "data" / "MUSIFEAST17_all.csv")
    names = sorted(table)
    listener = load_listener(LISTENER, layer=LAYER, hop_seconds=TRAINING_HOP_SECONDS)
    heard = [heard_clip(args.data / "stimuli" / f"{name}.mp3", args.cache / "clips", listener) for name in tqdm(names, desc="hearing")]
    means = np.stack([smoothed(h).mean(0) for h in heard])
    targets, genres, artists = (np.array([table[name][key] for name in names]) for key in ("target", "genre", "artist"))
    predictions, deviations = validate(means, targets, artists.tolist())
    measured = figures(predictions, deviations, targets, genres)
    levels_db = np.array([h.level_db for h in heard])
    measured["arousal"]["r_with_level"] = np.mean([r_with_level(p[:, 1], levels_db, targets[:, 1]) for p in predictions])

    config = {"kind": "emotion-predictor", "listener": LISTENER, "layer": LAYER, "hop_seconds": HOP_SECONDS, "heads": {}}
    tensors = {"examples": means}
    for name, (head, t) in zip(DIMENSIONS, fit_heads(means, targets), strict=True):
        config["heads"][name] = head
        tensors |= {"centre": t["centre"], f"{name}.scale": t["scale"], f"{name}.alpha": t["alpha"], f"{name}.inverse": t["inverse"]}
    single = [sounding(h) for h in heard]
    other, kinds = not_music(args.cache, listener)
    music = fit_music(np.concatenate(single), other)
    tensors["music.centre"], tensors["music.scale"], tensors["music.weights"], config["music_bias"] = music
    measured |= {"music": validate_music(single, artists.tolist(), other, kinds)}
    rounded = json.loads(json.dumps(measured, default=float), parse_float=lambda text: round(float(text), 3))
    config |= {"rated_clips": len(names), "figures": rounded}
    args.output.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(t, np.float32) for name, t in tensors.items()}, args.output / "model.safetensors")
    (args.output / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(config, indent=1))


if __name__ == "__main__":
    main()
