"""Conditioning: text features and one emotion per frame go in, what cross-attention reads comes out.

LARA-Gen (arXiv 2510.05875, section 2) concatenates the text states with the states of an AV encoder. Here the decoder at
frame t reads [E_text ; E_emo(t)]: with a constant curve that is the paper's concatenation, with a moving one the emotion
moves inside a segment. A masked token does not exist for the attention; where everything is masked, its output is zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Conditioning:
    """What a batch is conditioned on.

    text [B,L,Dt] features of a text encoder, text_mask [B,L] True where there is a token;
    emotion [B,F,2] valence and arousal in [-1,1] at every frame, emotion_mask [B,F] True where an emotion is asked for.
    """

    text: Tensor
    text_mask: Tensor
    emotion: Tensor
    emotion_mask: Tensor

    def without_text(self) -> "Conditioning":
        return Conditioning(self.text, torch.zeros_like(self.text_mask), self.emotion, self.emotion_mask)

    def without_emotion(self) -> "Conditioning":
        return Conditioning(self.text, self.text_mask, self.emotion, torch.zeros_like(self.emotion_mask))

    def dropped(self, text: float, emotion: float, both: float, generator: torch.Generator) -> "Conditioning":
        """Drop text, emotion or both from whole rows with the given probabilities, so that guidance has its null branches."""
        draw = torch.rand(len(self.text), generator=generator).to(self.text.device)[:, None]
        no_text = (draw < text) | ((draw >= text + emotion) & (draw < text + emotion + both))
        no_emotion = (draw >= text) & (draw < text + emotion + both)
        return Conditioning(self.text, self.text_mask & ~no_text, self.emotion, self.emotion_mask & ~no_emotion)


def guidance_rows(cond: Conditioning, text_strength: float | Tensor, emotion_strength: float | Tensor) -> tuple[Conditioning, Tensor]:
    """Stack the branches that guidance needs: logits = sum(weight * branch).

    nothing + text_strength * (text - nothing) + emotion_strength * (text and emotion - text); a branch of weight zero, or
    one that equals another, is left out: strengths of 1 cost one row. Returns conditioning [R*B,...], and R weights of sum 1; where
    strengths are one for each codebook [K], weights are [R,K].
    """
    text, emotion = torch.broadcast_tensors(*(torch.as_tensor(strength, dtype=torch.float64) for strength in (text_strength, emotion_strength)))
    has_text, has_emotion = bool(cond.text_mask.any()), bool(cond.emotion_mask.any())
    if not has_text and not has_emotion:
        branches = [(cond, torch.ones_like(emotion))]
    elif not has_emotion:
        branches = [(cond.without_text(), 1 - text), (cond, text)]
    elif not has_text:
        branches = [(cond.without_emotion(), 1 - emotion), (cond, emotion)]
    else:
        branches = [(cond.without_text().without_emotion(), 1 - text), (cond.without_emotion(), text - emotion), (cond, emotion)]
    kept = [(branch, weight) for branch, weight in branches if bool((weight.abs() > 1e-9).any())]
    fields = ("text", "text_mask", "emotion", "emotion_mask")
    stacked = Conditioning(*(torch.cat([getattr(branch, name) for branch, _ in kept]) for name in fields))
    return stacked, torch.stack([weight for _, weight in kept]).float()


class AVEncoder(nn.Module):
    """Valence and arousal [B,F,2] -> one emotion token per frame [B,F,D]. The paper's trainable AV encoder."""

    BUMPS = 9  # radial bumps per axis: a small net then resolves neighbouring emotions from the first steps on

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2 + 2 * self.BUMPS, 128), nn.GELU(), nn.Linear(128, width))
        self.register_buffer("centres", torch.linspace(-1, 1, self.BUMPS, device="cpu"), persistent=False)

    def forward(self, emotion: Tensor) -> Tensor:
        bumps = torch.exp(-8.0 * (emotion[..., None] - self.centres) ** 2).flatten(-2)  # [B,F,2] -> [B,F,2*BUMPS]
        return self.net(torch.cat([emotion, bumps], dim=-1))
