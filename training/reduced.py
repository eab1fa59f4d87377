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
RENDER_HZ, CODEC_HZ, SECONDS = 16_000, 8_000, 10.0


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
        name = folder / "wav" / f"{i:04}.wav"
        rows.append({"path": f"wav/{name.name}", "text": style.name, "valence": valence, "arousal": arousal,
                     "split": "valid" if i % 8 == 7 else "train"})
        if name.exists():
            continue
        composer = Composer(style, np.random.default_rng((seed, i)))
        n_bars = max(4, int(SECONDS / (score.METRES[composer.metre][0] * 15 / composer.tempo(valence, arousal))) + 2)
        piece = composer.compose(np.full(n_bars, valence), np.full(n_bars, arousal))
        sound = resample(to_mono(Audio(codec.decode(score.encode(piece)), codec.sample_rate_hz)), RATE_HZ)
        save(name, Audio(sound.samples[:, :int(SECONDS * RENDER_HZ)], RENDER_HZ))
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def trained_codec(folder: Path, sounds: np.ndarray, steps: int, seed: int) -> Path:
    """The EnCodec, saved as transformers does -> its folder."""
    place = folder / "encodec"
    if not place.exists():
        torch.manual_seed(seed)
        model = small_encodec(CODEC_HZ)
        losses = train_codec(model, sounds, steps, seed=seed)
        model.save_pretrained(place)
        (folder / "codec.json").write_text(json.dumps({"steps": steps, "spectral_loss": [round(x, 4) for x in losses]}))
    return place
