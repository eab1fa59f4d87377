"""The decoder: codes [B,K,F] and a Conditioning go in, hidden states [B,S,D] and logits [B,K,S,V] come out.

The architecture is MusicGen's (Copet et al. 2023, arXiv 2306.05284): a pre-norm transformer over K codebooks whose tokens
are summed, with sinusoidal positions, cross-attention and one linear head per codebook, read in a delay pattern: at step s
codebook k stands at frame s - delay[k], so that within a frame the codebooks are sampled one after the other.
LARA adds the emotion token of each frame to what cross-attention reads (see conditioning.py).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conditioning import AVEncoder, Conditioning


@dataclass(frozen=True)
class DecoderConfig:
    n_codebooks: int
    codebook_size: int  # tokens 0..codebook_size-1; the token codebook_size means "no code here" (MusicGen's padding)
    width: int
    n_layers: int
    n_heads: int
    ffn_width: int
    text_width: int
    delays: tuple[int, ...]
    emotion: bool = True  # False: a stock MusicGen checkpoint, which has no AV encoder

    def __post_init__(self):
        if len(self.delays) != self.n_codebooks:
            raise ValueError(f"delays has {len(self.delays)} entries; give one for each of the {self.n_codebooks} codebooks.")
        if self.width % self.n_heads:
            raise ValueError(f"width {self.width} must be a multiple of n_heads {self.n_heads}.")


def delay(codes: Tensor, delays: tuple[int, ...], pad: int) -> Tensor:
    """codes [B,K,F] -> steps [B,K,F+max(delays)]: codebook k moved right by delays[k], `pad` where it has no code."""
    batch, _, frames = codes.shape
    steps = codes.new_full((batch, len(delays), frames + max(delays)), pad)
    for k, d in enumerate(delays):
        steps[:, k, d:d + frames] = codes[:, k]
    return steps


def undelay(steps: Tensor, delays: tuple[int, ...]) -> Tensor:
    """The inverse of delay: steps [B,K,S,...] -> [B,K,S-max(delays),...]; trailing axes (logits) are kept."""
    frames = steps.shape[2] - max(delays)
    return torch.stack([steps[:, k, d:d + frames] for k, d in enumerate(delays)], dim=1)


def shifted(steps: Tensor, pad: int) -> Tensor:
    """Delayed tokens [B,K,S] -> the decoder's input columns [B,K,S]: a column of `pad` in front, the last step left out.

    The hidden state at column s then scores the tokens of step s, the first step included.
    """
    return F.pad(steps, (1, 0), value=pad)[..., :-1]


def columns_of(codes: Tensor, config: DecoderConfig) -> tuple[Tensor, Tensor]:
    """codes [B,K,F] (-1: none) -> their tokens delayed [B,K,S], -1 where there is none, and the columns [B,K,S] that are read to score them."""
    steps = delay(codes, config.delays, -1)
    return steps, shifted(torch.where(steps < 0, config.codebook_size, steps), config.codebook_size)


def sinusoids(n_positions: int, width: int) -> Tensor:
    """Positions [S,D] as MusicGen has them: cosines, then sines. On the CPU, also where weights are built on "meta"."""
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32, device="cpu") * (-math.log(10000) / (half - 1)))
    angles = torch.arange(n_positions, dtype=torch.float32, device="cpu")[:, None] * rates[None]
    table = torch.cat([angles.cos(), angles.sin()], dim=1)
    return F.pad(table, (0, width % 2))


def bias_of(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """True -> 0, False -> so low that softmax gives exactly 0. Not -inf: a row with everything masked would be NaN, and so
    would its gradient. Such a row spreads its weight over values that Decoder.memory has zeroed: its output is zero."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min / 2)


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)  # [B,S,D] -> [B,H,S,D/H]


@dataclass
class Cross:
    """One layer's cross-attention memory: text keys and values [B,H,L,d], emotion keys and values [B,H,F,d]."""

    text_k: Tensor
    text_v: Tensor
    emotion_k: Tensor | None
    emotion_v: Tensor | None


class KVCache:
    """Self-attention keys and values of all layers, allocated once: [n_layers][B,H,capacity,d]."""

    def __init__(self, decoder: "Decoder", batch: int, capacity: int):
        config = decoder.config
        shape = (config.n_layers, 2, batch, config.n_heads, capacity, config.width // config.n_heads)
        self.both = decoder.norm.weight.new_zeros(shape, dtype=decoder.past_dtype)
        self.keys, self.values = self.both[:, 0], self.both[:, 1]
        self.length = 0  # steps already stored


class Block(nn.Module):
    def __init__(self, config: DecoderConfig):
        super().__init__()
        width = config.width
        self.n_heads = config.n_heads
        self.self_norm, self.cross_norm, self.ffn_norm = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.cross_q = nn.Linear(width, width, bias=False)
        self.cross_kv = nn.Linear(width, 2 * width, bias=False)
        self.cross_out = nn.Linear(width, width, bias=False)
        self.fc1 = nn.Linear(width, config.ffn_width, bias=False)
        self.fc2 = nn.Linear(config.ffn_width, width, bias=False)

    def cross_memory(self, text: Tensor, emotion: Tensor | None) -> Cross:
        text_k, text_v = (split_heads(x, self.n_heads) for x in self.cross_kv(text).chunk(2, dim=-1))
        if emotion is None:
            return Cross(text_k, text_v, None, None)
        return Cross(text_k, text_v, *(split_heads(x, self.n_heads) for x in self.cross_kv(emotion).chunk(2, dim=-1)))

    def self_attention(self, x: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        q, k, v = (split_heads(y, self.n_heads) for y in self.qkv(x).chunk(3, dim=-1))
        steps, causal = x.shape[1], x.shape[1] > 1
        if cache is not None:
            start, end = cache.length, cache.length + steps
            cache.keys[layer][:, :, start:end], cache.values[layer][:, :, start:end] = k, v
            k, v = cache.keys[layer][:, :, :end], cache.values[layer][:, :, :end]
            assert steps == 1 or start == 0, "a cache takes many steps at once only when it is empty"
        y = F.scaled_dot_product_attention(q.to(k.dtype), k, v, is_causal=causal).to(x.dtype)
        return self.out(y.transpose(1, 2).flatten(2))

    def cross_attention(self, x: Tensor, cross: Cross, text_bias: Tensor, emotion_bias: Tensor | None) -> Tensor:
        """Each step attends to all text tokens and to the one emotion token of its own frame; see bias_of for the masks."""
        q = split_heads(self.cross_q(x), self.n_heads) * (x.shape[-1] // self.n_heads) ** -0.5
        scores = q @ cross.text_k.transpose(-1, -2) + text_bias  # [B,H,S,L]
        if cross.emotion_k is not None:
            own = (q * cross.emotion_k).sum(-1, keepdim=True) + emotion_bias  # [B,H,S,1]
            scores = torch.cat([scores, own], dim=-1)
        weights = scores.softmax(-1)
        y = weights[..., :cross.text_k.shape[2]] @ cross.text_v
        if cross.emotion_v is not None:
            y = y + weights[..., -1:] * cross.emotion_v
        return self.cross_out(y.transpose(1, 2).flatten(2))

    def forward(self, x, cross, text_bias, emotion_bias, cache: KVCache | None, layer: int) -> Tensor:
        x = x + self.self_attention(self.self_norm(x), cache, layer)
        x = x + self.cross_attention(self.cross_norm(x), cross, text_bias, emotion_bias)
        return x + self.fc2(F.gelu(self.fc1(self.ffn_norm(x))))


@dataclass
class Memory:
    """Everything the decoder reads of a Conditioning, computed once per segment: per layer Cross, and the masks as biases."""

    layers: list[Cross]
    text_bias: Tensor  # [B,1,1,L]
    emotion_bias: Tensor | None  # [B,1,F,1]

    def steps(self, start: int, end: int) -> "Memory":
        """The memory of steps start..end-1; after the last frame its emotion holds (the delayed codebooks' last steps)."""
        if self.emotion_bias is None:
            return self
        index = torch.arange(start, end, device=self.text_bias.device).clamp_max(self.emotion_bias.shape[2] - 1)
        layers = [Cross(c.text_k, c.text_v, c.emotion_k[:, :, index], c.emotion_v[:, :, index]) for c in self.layers]
        return Memory(layers, self.text_bias, self.emotion_bias[:, :, index])


class Decoder(nn.Module):
    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        K, V, D = config.n_codebooks, config.codebook_size, config.width
        self.embed = nn.ModuleList(nn.Embedding(V + 1, D) for _ in range(K))
        self.text_proj = nn.Linear(config.text_width, D)
        self.av_encoder = AVEncoder(D) if config.emotion else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(D)
        self.heads = nn.Linear(D, K * V, bias=False)
        self.past_dtype: torch.dtype | None = None  # of cached keys and values; None: that of hidden states
        self.positions = sinusoids(2048, D)  # not a weight; grown when a longer window is asked for
        for name, weight in self.named_parameters():
            if weight.dim() == 2:  # GPT-2's initialisation: residual branches start small
                std = 0.02 / math.sqrt(2 * config.n_layers) if name.endswith(("out.weight", "fc2.weight")) else 0.02
                nn.init.normal_(weight, std=std)

    @property
    def dtype(self) -> torch.dtype:
        """Of hidden states."""
        return self.norm.weight.dtype

    def memory(self, cond: Conditioning) -> Memory:
        """Project a Conditioning once: text [B,L,Dt] and emotion [B,F,2] -> keys and values of every layer."""
        dtype = self.dtype
        text = self.text_proj(cond.text.to(dtype)) * cond.text_mask[..., None]
        text_bias = bias_of(cond.text_mask, dtype)[:, None, None]
        if self.av_encoder is None:
            return Memory([block.cross_memory(text, None) for block in self.blocks], text_bias, None)
        emotion = self.av_encoder(cond.emotion.to(dtype)) * cond.emotion_mask[..., None]
        emotion_bias = bias_of(cond.emotion_mask, dtype)[:, None, :, None]
        return Memory([block.cross_memory(text, emotion) for block in self.blocks], text_bias, emotion_bias)

    def positions_of(self, start: int, end: int, like: Tensor) -> Tensor:
        """Positions [S,D] of steps start..end-1, with the device and type of `like`."""
        if end > len(self.positions):
            self.positions = sinusoids(2 * end, self.config.width)
        if self.positions.device != like.device:
            self.positions = self.positions.to(like.device)
        return self.positions[start:end].to(like.dtype)

    def hidden(self, steps: Tensor, memory: Memory, cache: KVCache | None = None) -> Tensor:
        """Delayed tokens [B,K,S] -> hidden states H [B,S,D]. With a cache, steps follow those it holds, and join them."""
        start = cache.length if cache is not None else 0
        end = start + steps.shape[2]
        x = sum(embed(steps[:, k]) for k, embed in enumerate(self.embed))  # [B,K,S] -> [B,S,D]
        x = x + self.positions_of(start, end, like=x)
        here = memory.steps(start, end)
        for layer, block in enumerate(self.blocks):
            x = block(x, here.layers[layer], here.text_bias, here.emotion_bias, cache, layer)
        if cache is not None:
            cache.length = end
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """H [B,S,D] -> logits [B,K,S,V]: of the step after each input column, so of step s at column s of `shifted` input."""
        return self.heads(hidden).unflatten(-1, (self.config.n_codebooks, -1)).transpose(1, 2)
