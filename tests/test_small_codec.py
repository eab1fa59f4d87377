"""The small EnCodec of the reduced audio path: it learns, and it is a codec like any other."""

import numpy as np
import torch

from lara_core.audio import Audio
from lara_core.codec.encodec import EncodecCodec
from training.small_codec import small_encodec, spectral_loss, train_codec


def test_the_spectral_loss_is_zero_for_the_same_sound_and_grows_with_the_difference():
    x = torch.sin(torch.arange(8000) * 0.3)[None]
    assert spectral_loss(x, x) == 0 < spectral_loss(x, 0.8 * x) < spectral_loss(x, torch.zeros_like(x))


def test_a_codec_learns_and_is_a_codec():
    torch.manual_seed(0)
    rng, t = np.random.default_rng(0), np.arange(2 * 8000) / 8000
    sounds = np.stack([0.3 * np.sin(2 * np.pi * f * t) * np.exp(-2 * (t * r % 1)) for f, r in rng.uniform((150, 1), (900, 5), (6, 2))]).astype(np.float32)
    model = small_encodec(8000, n_filters=4, width=16, codebook_size=32)
    losses = train_codec(model, sounds, 40, batch=2)
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    codec = EncodecCodec(model)
    codes = codec.encode(Audio(sounds[:1], 8000))
    assert codec.frame_rate_hz == 50 and codes.shape == (4, 100)
    assert codec.decode(codes).shape == (1, 16000)
