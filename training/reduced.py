"""render"""
import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lara_core.audio import Audio, resample, save, to_mono
from lara_core.codec import score
from lara_core.codec.score_codec import ScoreCodec

from .composer import Composer
from .small_codec import small_encodec, train_codec
from .styles import STYLES

STYLE_NAMES = ("solo piano", "strings", "electronic")
RATE_HZ, SECONDS = 16_000, 10.0


def render(folder: Path, n_pieces: int, seed: int) -> Path:
    """Composed pieces of a constant emotion as WAV files of 10 s, and their manifest -> its path."""
    manifest = folder / "manifest.jsonl"
    if manifest.exists():
        return manifest
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    codec, rng, rows = ScoreCodec(), np.random.default_rng(seed), []
    styles = [style for style in STYLES if style.name in STYLE_NAMES]
    for i in tqdm(range(n_pieces), desc="rendering", unit="piece"):
        style, (valence, arousal) = styles[i % len(styles)], rng.uniform(-0.9, 0.9, 2).round(3).tolist()
        composer = Composer(style, np.random.default_rng((seed, i)))
        n_bars = max(4, int(SECONDS / (score.METRES[composer.metre][0] * 15 / composer.tempo(valence, arousal))) + 2)
        piece = composer.compose(np.full(n_bars, valence), np.full(n_bars, arousal))
        sound = resample(to_mono(Audio(codec.decode(score.encode(piece)), codec.sample_rate_hz)), RATE_HZ)
        name = folder / "wav" / f"{i:04}.wav"
        save(name, Audio(sound.samples[:, :int(SECONDS * RATE_HZ)], RATE_HZ))
        rows.append({"path": f"wav/{i:04}.wav", "text": style.name, "valence": valence, "arousal": arousal,
                     "split": "valid" if i % 8 == 7 else "train"})
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest
