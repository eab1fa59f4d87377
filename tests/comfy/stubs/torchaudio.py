"""Stands in for torchaudio, whose wheel on PyPI needs CUDA's torch: what ComfyUI's audio nodes use of it, through soxr."""

import types

import numpy as np
import torch

__version__ = "0"


def _resample(waveform: torch.Tensor, orig_freq: int, new_freq: int, **_options) -> torch.Tensor:
    """[..., T] at one rate -> [..., T'] at another."""
    import soxr

    rows = waveform.reshape(-1, waveform.shape[-1]).cpu().numpy()
    resampled = np.stack([soxr.resample(row, orig_freq, new_freq) for row in rows])
    return torch.from_numpy(resampled).reshape(*waveform.shape[:-1], -1)


functional = types.SimpleNamespace(resample=_resample)
transforms = types.SimpleNamespace(MelSpectrogram=None, MelScale=None)
