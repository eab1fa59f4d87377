"""LARA's alignment loss: hidden states H [B,F,D] against the features of a frozen listener on the same audio.

arXiv 2510.05875, section 2: a proxy network predicts, from the decoder's last hidden states, what a music-understanding model
hears in the audio that the codes decode to; L = L_CE + lambda * L_LARA. The proxy is dropped at inference.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class ProxyNetwork(nn.Module):
    """H [B,F,D] -> predicted listener features [B,F,D']."""

    def __init__(self, width: int, feature_width: int):
        super().__init__()
        self.net = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, feature_width))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.net(hidden)


def pool_windows(x: Tensor, mask: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Mean over windows of `window` frames: x [B,F,D], mask [B,F] -> means [B,M,D], whole windows [B,M] (no frame masked)."""
    frames = x.shape[1] // window * window
    x, mask = x[:, :frames].unflatten(1, (-1, window)), mask[:, :frames].unflatten(1, (-1, window))
    return x.mean(2), mask.all(2)


def lara_loss(predicted: Tensor, features: Tensor, mask: Tensor, window: int, kind: str = "cosine") -> Tensor:
    """L_LARA between the proxy's output and the listener's features, both [B,F,D'], pooled over windows of frames.

    mask [B,F] is True where the features are known; kind is "cosine" (1 - cosine similarity) or "l2" (mean squared error).
    Where no window is whole the loss is zero.
    """
    if predicted.shape != features.shape:
        raise ValueError(f"The proxy predicts {list(predicted.shape)} but the listener gave {list(features.shape)}; build the proxy for this listener.")
    a, whole = pool_windows(predicted, mask, window)
    b, _ = pool_windows(features, mask, window)
    if kind == "cosine":
        distance = 1 - F.cosine_similarity(a, b, dim=-1)
    elif kind == "l2":
        distance = (a - b).square().mean(-1)
    else:
        raise ValueError(f"Alignment loss {kind!r} is unknown; choose 'cosine' or 'l2'.")
    return (distance * whole).sum() / whole.sum().clamp_min(1)
