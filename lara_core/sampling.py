"""Sampling: a Conditioning, codes to continue and codes to keep go in, new codes [B,K,F] come out.

`generate` is the cached way: what is known at the start is read in one pass, then one column at a time is computed by
`Stepper`, all guidance branches in one batch. `generate_naive` reads everything again at every step and is its oracle.
Guidance with two strengths: see conditioning.guidance_rows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Tensor

from .choices import EMOTION_STRENGTH, TEXT_STRENGTH
from .conditioning import Conditioning, guidance_rows
from .decoder import Decoder, KVCache, delay, shifted, undelay
from .linear import fast_linear

FREE = -1  # in forced codes: this one is to be sampled
LIKELY = 0.1  # of the likeliest token's probability without guidance: what guidance may choose where it is held to that
FIRST_TEXT_STRENGTH = 3.0  # at least, of a piece's first segment, where the text leads
LONG_PAST = 2 ** 17  # numbers among the keys of a row: 128 columns of musicgen-small; the embedded model, with 192 a column, has fewer


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. The most likely tokens are kept first by top_k, then by top_p of what is left.

    MusicGen was published with top_k=250, top_p=1 and text_strength=3. top_k=1 always takes the most likely token.
    """

    temperature: float = 1.0
    top_k: int = 0  # 0: off
    top_p: float = 0.98  # 1: off
    text_strength: float = TEXT_STRENGTH
    emotion_strength: float = EMOTION_STRENGTH

    def __post_init__(self):
        if not 0 < self.temperature <= 10:
            raise ValueError(f"temperature is {self.temperature}; give a number above 0, up to 10 (1 leaves the model as it is).")
        if not isinstance(self.top_k, Integral) or self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; give a whole number of tokens from 1 up, or 0 to turn it off.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; give a number above 0, up to 1 (1 turns it off).")
        for name in ("text_strength", "emotion_strength"):
            value = getattr(self, name)
            if not 0 <= value <= 20:
                raise ValueError(f"{name} is {value}; give a number from 0 to 20 (1 is no guidance, 2 to 4 are usual).")


def generate(decoder: Decoder, cond: Conditioning, context: Tensor, forced: Tensor, sampling: Sampling,
             seed: int | Sequence[int], on_frame: Callable[[int], None] | None = None, weights: "StepWeights | None" = None,
             text_led: Sequence[int] = (), emotion_shares: Sequence[float] = (), likely_only: Sequence[int] = ()) -> Tensor:
    """Sample F new frames.

    cond: B rows over Fc + F frames. context [B,K,Fc]: the codes before, Fc may be 0. forced [K,F] or [B,K,F]: tokens that
    are given, FREE (-1) where one is to be sampled. seed: one per row, or one number of which row b uses seed + b; the same
    seed gives the same codes on the same machine, whatever the other rows are. on_frame(frames_done) is called after each
    finished frame and may raise to cancel. weights: the decoder's, where they were prepared for many calls. text_led: codebooks in
    which the text is guided by FIRST_TEXT_STRENGTH or more at the beginning of a piece, where it is guided at all. emotion_shares: of what
    emotion_strength is above 1, how much each codebook is guided by [K], 0 to 1; none: all of it. likely_only: codebooks in which guidance chooses
    among what is LIKELY without it (Li et al. 2022, arXiv 2210.15097), for what hardly ever occurs it can make anything of. Returns codes [B,K,F].
    Raises ValueError for shapes or tokens that don't fit.
    """
    plan = _Plan(decoder, cond, context, forced, sampling, seed, text_led, emotion_shares, likely_only)
    with torch.inference_mode():
        steps, column = plan.steps, None
        stepper = Stepper(decoder, plan.rows, plan.end, weights)
        for s in range(plan.first, plan.end):
            if column is None:
                logits = stepper.prefill(shifted(steps[:, :, :s + 1], decoder.config.codebook_size))
            else:
                logits = stepper.step(column)
            plan.fill(s, logits)
            column = steps[:, :, s]
            if on_frame is not None and plan.frames_done(s) > 0:
                on_frame(plan.frames_done(s))
    return plan.codes()


def generate_naive(decoder: Decoder, cond: Conditioning, context: Tensor, forced: Tensor, sampling: Sampling,
                   seed: int | Sequence[int], on_frame: Callable[[int], None] | None = None, text_led: Sequence[int] = (),
                   emotion_shares: Sequence[float] = (), likely_only: Sequence[int] = ()) -> Tensor:
    """The same codes as `generate` for the same arguments, from a full pass over everything at every step."""
    plan = _Plan(decoder, cond, context, forced, sampling, seed, text_led, emotion_shares, likely_only)
    with torch.inference_mode():
        memory = decoder.memory(plan.rows)
        for s in range(plan.first, plan.end):
            columns = shifted(plan.steps[:, :, :s + 1], decoder.config.codebook_size)
            hidden = decoder.hidden(columns.repeat(plan.n_branches, 1, 1), memory)
            plan.fill(s, decoder.logits(hidden[:, -1:])[:, :, 0])
            if on_frame is not None and plan.frames_done(s) > 0:
                on_frame(plan.frames_done(s))
    return plan.codes()


def choose(logits: Tensor, noise: Tensor, sampling: Sampling) -> Tensor:
    """Logits [...,V] and Gumbel noise [...,V] -> tokens [...]: the largest sum is a draw from the softmax of the logits."""
    logits = logits.float() / sampling.temperature
    if sampling.top_k or sampling.top_p < 1:
        best = logits.topk(min(sampling.top_k or logits.shape[-1], logits.shape[-1]), dim=-1).values  # best first
        if sampling.top_p < 1:
            weight = best.softmax(-1)
            best = best.masked_fill(weight.cumsum(-1) - weight >= sampling.top_p, torch.inf)  # the first always stays
        logits = logits.masked_fill(logits < best.amin(-1, keepdim=True), -torch.inf)
    return (logits + noise).argmax(-1)


class _Plan:
    """Both ways of sampling share this: checked arguments, guidance rows, delayed tokens to fill, and each row's noise."""

    def __init__(self, decoder, cond, context, forced, sampling, seed, text_led, emotion_shares, likely_only):
        config, device = decoder.config, decoder.norm.weight.device
        batch = len(cond.text)
        self.config, self.sampling, self.batch = config, sampling, batch
        codes = _checked_codes(config, batch, context, forced)
        if cond.emotion.shape[1] != codes.shape[2]:
            raise ValueError(f"The conditioning covers {cond.emotion.shape[1]} frames; "
                             f"it must cover the {codes.shape[2]} of context and new frames together.")
        if not config.emotion and bool(cond.emotion_mask.any()):
            raise ValueError("This model has no emotion encoder; ask it for no emotion, or load a LARA model.")
        shares = torch.tensor(emotion_shares or [1.0] * config.n_codebooks)
        emotion_strengths = min(sampling.emotion_strength, 1.0) + max(sampling.emotion_strength - 1.0, 0.0) * shares
        text_strengths = torch.full((config.n_codebooks,), float(sampling.text_strength))
        if context.shape[2] == 0 and sampling.text_strength:  # who begins goes on
            text_strengths[list(text_led)] = max(sampling.text_strength, FIRST_TEXT_STRENGTH)
        cond, weights = guidance_rows(cond, text_strengths, emotion_strengths)
        self.rows = Conditioning(*(x.to(device) for x in (cond.text, cond.text_mask, cond.emotion, cond.emotion_mask)))
        self.likely_only = list(likely_only)
        self.weights, self.n_branches = weights[:, None, :, None].to(device), len(weights)  # [R,1,K,1]
        self.steps = delay(codes, config.delays, config.codebook_size).to(device)
        self.context_frames = context.shape[2]
        unknown = (self.steps == FREE).any(0).any(0).nonzero()[:, 0].tolist()
        self.first, self.end = (unknown[0], unknown[-1] + 1) if unknown else (0, 0)
        self.generators = [torch.Generator().manual_seed(s) for s in _seeds(seed, batch)]
        for _ in range(self.context_frames, self.first):  # so that the noise of a step doesn't depend on what is forced
            self.noise()

    def noise(self) -> Tensor:
        """Gumbel noise [B,K,V] of the next step, each row from its own generator, on the CPU on every device."""
        shape = (self.config.n_codebooks, self.config.codebook_size)
        tiny = torch.finfo(torch.float32).tiny  # an exponential of 0 would be infinite noise
        draws = [torch.empty(shape).exponential_(generator=generator) for generator in self.generators]
        return torch.stack(draws).clamp_min_(tiny).log_().neg_().to(self.steps.device)

    def fill(self, step: int, logits: Tensor) -> None:
        """Sample what is unknown at a step from the logits [R*B,K,V] of all branches."""
        if self.n_branches > 1:
            branches = logits.float().view(self.n_branches, self.batch, *logits.shape[1:])
            logits = (self.weights * branches).sum(0)
            if self.likely_only:
                asked = branches[-1, :, self.likely_only]
                unlikely = asked < asked.amax(-1, keepdim=True) + math.log(LIKELY)
                logits[:, self.likely_only] = logits[:, self.likely_only].masked_fill(unlikely, -torch.inf)
        known = self.steps[:, :, step]
        self.steps[:, :, step] = torch.where(known == FREE, choose(logits, self.noise(), self.sampling), known)

    def frames_done(self, step: int) -> int:
        """New frames of which all codebooks are known after a step."""
        last = self.steps.shape[2] if step == self.end - 1 else step + 1
        return last - max(self.config.delays) - self.context_frames

    def codes(self) -> Tensor:
        return undelay(self.steps, self.config.delays)[:, :, self.context_frames:]


def _checked_codes(config, batch: int, context: Tensor, forced: Tensor) -> Tensor:
    """Context [B,K,Fc] and forced [K,F] or [B,K,F] -> both [B,K,Fc+F], FREE where unknown."""
    forced = forced.expand(batch, -1, -1) if forced.dim() == 2 else forced
    for name, codes, lowest in (("context", context, 0), ("forced", forced, FREE)):
        if codes.dim() != 3 or codes.shape[:2] != (batch, config.n_codebooks):
            raise ValueError(f"{name} has shape {tuple(codes.shape)}; this conditioning and model need "
                             f"[{batch}, {config.n_codebooks}, frames].")
        if codes.is_floating_point() or codes.dtype == torch.bool:
            raise ValueError(f"{name} has type {codes.dtype}; tokens must be whole numbers (torch.long).")
        if codes.numel() and not lowest <= int(codes.min()) <= int(codes.max()) < config.codebook_size:
            raise ValueError(f"{name} has tokens from {int(codes.min())} to {int(codes.max())}; "
                             f"this model allows {lowest} to {config.codebook_size - 1}.")
    if forced.shape[2] == 0:
        raise ValueError("forced has 0 frames; ask for at least one new frame.")
    return torch.cat([context.long().cpu(), forced.long().cpu()], dim=2)


def _seeds(seed: int | Sequence[int], batch: int) -> list[int]:
    seeds = [seed + row for row in range(batch)] if isinstance(seed, Integral) else list(seed)
    if len(seeds) != batch:
        raise ValueError(f"There are {len(seeds)} seeds for {batch} rows; give one for each row, or a single number.")
    if not all(isinstance(s, Integral) and 0 <= s < 2 ** 64 + batch for s in seeds):
        raise ValueError(f"seed is {seed}; give whole numbers from 0 to 2**64 - 1.")
    return [int(s) % 2 ** 64 for s in seeds]


def attention_of_one(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention of one query [B,H,1,d] over keys and values [B,H,S,d] -> [B,H,1,d]. On the CPU, in float32, two products
    over a long past take a quarter less time than torch's own, which is made for many queries."""
    if query.device.type != "cpu" or query.dtype != torch.float32 or keys[0].numel() < LONG_PAST:
        return F.scaled_dot_product_attention(query, keys, values)
    scores = torch.matmul(keys, (query * query.shape[-1] ** -0.5).transpose(2, 3)).transpose(2, 3)
    return torch.matmul(scores.softmax(-1), values)


class StepWeights:
    """A decoder's weights as Stepper reads them: one embedding table for all codebooks, and linear maps for few rows."""

    def __init__(self, decoder: Decoder):
        self.table = torch.cat([embed.weight for embed in decoder.embed])
        self.blocks = [tuple(map(fast_linear, (block.qkv, block.out, block.cross_q, block.cross_out, block.fc1, block.fc2)))
                       for block in decoder.blocks]
        self.heads = fast_linear(decoder.heads)


class Stepper:
    """The decoder's pass for one column at a time, on tensors [R*B,D] and with everything constant prepared.

    Equal to Decoder.hidden and logits with a KVCache (a test holds them together), in about half of the operations: the text
    keys and the emotion key of the current frame lie side by side, so that cross-attention is one call over the paper's
    [E_text ; E_emo]. Rows of guidance that read neither text nor emotion get zeros from it, so it is left out for them.
    """

    def __init__(self, decoder: Decoder, rows: Conditioning, capacity: int, weights: StepWeights | None = None):
        config = decoder.config
        self.decoder, self.n_rows, self.weights = decoder, len(rows.text), weights or StepWeights(decoder)
        self.memory = decoder.memory(rows)
        self.cache = KVCache(decoder, self.n_rows, capacity)
        self.positions = decoder.positions_of(0, capacity, like=self.weights.table)
        self.first_row = torch.arange(config.n_codebooks, device=self.weights.table.device) * (config.codebook_size + 1)
        layers, self.bias, self.emotion = self.memory.layers, self.memory.text_bias, None
        reads = rows.text_mask.any(1)
        if self.memory.emotion_bias is not None:
            reads = reads | rows.emotion_mask.any(1)
        self.n_blank = int(reads.cumsum(0).eq(0).sum())  # such rows come first
        live = slice(self.n_blank, None)
        self.bias = self.bias[live]
        cross = torch.stack([torch.stack([layer.text_k[live], layer.text_v[live]]) for layer in layers])  # [n_layers,2,B,H,L,d]
        if self.memory.emotion_bias is not None:
            self.emotion = torch.stack([torch.stack([layer.emotion_k[live], layer.emotion_v[live]]) for layer in layers])
            self.emotion_bias = self.memory.emotion_bias[live, :, :, 0]  # [B,1,F]
            cross = torch.cat([cross, self.emotion[..., :1, :]], dim=4)
            self.bias = torch.cat([self.bias, self.emotion_bias[..., None, :1]], dim=3)  # [B,1,1,L+1]
        self.cross, self.cross_layers = cross, cross.flatten(0, 1).unbind(0)

    def prefill(self, columns: Tensor) -> Tensor:
        """Input columns [B,K,S] at the start -> logits [R*B,K,V] of the last of them."""
        columns = columns.repeat(self.n_rows // len(columns), 1, 1)
        hidden = self.decoder.hidden(columns, self.memory, self.cache)
        return self.decoder.logits(hidden[:, -1:])[:, :, 0]

    def step(self, column: Tensor) -> Tensor:
        """The next input column [B,K] -> its logits [R*B,K,V]."""
        decoder, config, cache, here = self.decoder, self.decoder.config, self.cache, self.cache.length
        rows, width, heads = self.n_rows, config.width, config.n_heads
        norm_shape, size, blank = (width,), width // heads, self.n_blank
        if self.emotion is not None:
            frame = min(here, self.emotion.shape[4] - 1)  # after the last frame its emotion holds, as in Memory.steps
            self.cross[..., -1, :] = self.emotion[..., frame, :]
            self.bias[..., 0, -1] = self.emotion_bias[..., frame]
        x = F.embedding(column + self.first_row, self.weights.table).sum(1) + self.positions[here]
        x = x.repeat(rows // len(x), 1)
        own = cache.both[..., here, :].unbind(0)  # per layer [2,R*B,H,d]: where this column's keys and values go
        past = cache.both[..., :here + 1, :].flatten(0, 1).unbind(0)
        for layer, (block, (qkv, out, cross_q, cross_out, fc1, fc2)) in enumerate(zip(decoder.blocks, self.weights.blocks)):
            y = F.layer_norm(x, norm_shape, block.self_norm.weight, block.self_norm.bias)
            y = qkv(y).view(rows, 3, heads, size)
            own[layer].copy_(y[:, 1:].transpose(0, 1))
            y = attention_of_one(y[:, 0, :, None].to(cache.both.dtype), past[2 * layer], past[2 * layer + 1]).to(x.dtype)
            x = out(y.reshape(rows, width)).add_(x)
            if blank < rows:
                y = F.layer_norm(x[blank:], norm_shape, block.cross_norm.weight, block.cross_norm.bias)
                y = cross_q(y).view(rows - blank, heads, 1, size)
                y = F.scaled_dot_product_attention(y, self.cross_layers[2 * layer], self.cross_layers[2 * layer + 1], self.bias)
                x[blank:] += cross_out(y.reshape(rows - blank, width))
            y = F.layer_norm(x, norm_shape, block.ffn_norm.weight, block.ffn_norm.bias)
            x = fc2(F.gelu(fc1(y))).add_(x)
        cache.length = here + 1
        y = F.layer_norm(x, norm_shape, decoder.norm.weight, decoder.norm.bias)
        return self.weights.heads(y).view(rows, config.n_codebooks, -1)
