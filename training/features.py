"""Listener features for a corpus: pieces are rendered, a frozen listener hears them, its features go into the corpus file.

    python -m training.features runs/corpus.npz --pieces 600

Features are kept per HEARD_EVERY_FRAMES frames, interpolated from the listener's windows and standardised over the corpus;
pieces that were not heard take no part in the alignment loss.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lara_core.codec import score
from lara_core.codec.performance import Performer
from lara_core.codec.score_codec import ScoreCodec
from lara_core.listener import load_listener
from .train import HEARD_EVERY_FRAMES


def hear(codes: np.ndarray, codec: ScoreCodec, listener) -> np.ndarray:
    """codes [K,F] of a whole piece -> features [F / HEARD_EVERY_FRAMES, D'] at the middles of those frames."""
    samples = codec.decode(codes)
    heard = listener.features(torch.from_numpy(samples.mean(0))[None], codec.sample_rate_hz)
    clock = Performer()
    for bar in score.decode(codes).bars:
        clock.add(bar)
    middles = np.array([clock.seconds(f) for f in range(HEARD_EVERY_FRAMES // 2, codes.shape[1], HEARD_EVERY_FRAMES)])
    times, values = np.asarray(heard.times_seconds), heard.values[0].numpy()
    return np.stack([np.interp(middles, times, column) for column in values.T], axis=1)


def add_features(path: Path, n_pieces: int, listener_name: str = "musicnn") -> None:
    """Let a listener hear n_pieces, spread evenly over a corpus file, and write its features into the file."""
    with np.load(path) as data:
        corpus = dict(data)
    codec, listener = ScoreCodec(), load_listener(listener_name)
    offsets = corpus["offsets"]
    chosen = np.unique(np.linspace(0, len(offsets) - 2, n_pieces).astype(int))
    features = np.zeros((corpus["codes"].shape[1] // HEARD_EVERY_FRAMES, listener.width), np.float32)
    has = np.zeros(len(offsets) - 1, bool)
    known = np.zeros(len(features), bool)
    for i in tqdm(chosen, desc="listening", unit="piece"):
        rows = slice(offsets[i] // HEARD_EVERY_FRAMES, offsets[i + 1] // HEARD_EVERY_FRAMES)
        features[rows] = hear(corpus["codes"][:, offsets[i]:offsets[i + 1]], codec, listener)
        has[i] = known[rows] = True
    features[known] = (features[known] - features[known].mean(0)) / (features[known].std(0) + 1e-6)
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **corpus | {"features": features.astype(np.float16), "has_features": has})
    os.replace(temporary, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--pieces", type=int, default=600, help="how many, spread evenly over the corpus")
    parser.add_argument("--listener", default="musicnn", help="a listener's name or folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    add_features(args.corpus, args.pieces, args.listener)


if __name__ == "__main__":
    main()
