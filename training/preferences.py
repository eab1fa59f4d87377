"""A model's tries, judged: what it is to prefer, learnt by direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290).

    python -m training.preferences models/embedded -o runs/judged.npz --pieces 300 --human runs/scores.npz runs/scores_pop909.npz --jobs 2
    python -m training.train --init models/embedded --judged runs/judged.npz --corpus runs/labelled.npz ... -o runs/model

Prompts and curves are drawn as for composed pieces. Of every segment some tries are sampled, all asked for the same; each is judged as those
of a piece are (lara_core/tries.py), with --human all that people do not write counts against it too, and the best goes on.
The file (npz) holds what each segment was sampled from (prompt, emotion, context, what was given), its tries, and how far from what was
asked each of them lies. With --by-ear the two nearest and the two farthest tries of each segment are rendered as well, and the Emotion
Predictor hears them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from lara_core.audio import Audio
from lara_core.choices import EMOTION_STRENGTH, MAX_CANDIDATES
from lara_core.codec.score import bar_starts
from lara_core.codec.score_codec import ScoreCodec
from lara_core.conditioning import Conditioning
from lara_core.decoder import Decoder, columns_of, delay
from lara_core.pipeline import Lara
from lara_core.score_predictor import EVERY_FRAMES, in_reach
from lara_core.take import Ask
from lara_core.text import TextEncoder
from lara_core.tries import faults, for_players_of

from .features import heard_in_sound
from .musicality import People
from .rehearsal import add_arguments, by_seed, drawn_take, people_given, player
from .windows import write_arrays

UNLIKE = 1.5  # of the distance, for what is unlike people's scores in every way
PAIRS, LEAST_GAP = 3, 0.15  # of a segment: its nearest try and its farthest, and so on inwards, where they lie so far from one another
BY_EAR, HEARD_AFTER = 4, 40  # tries of a segment that are heard, after so many frames of what was before
HEARD_SHARE = 0.75  # of their distance from the curve; the rest is what is read
BETA = 0.1  # how much surer of the better one a model is to be before it is sure enough


class Judged(NamedTuple):
    """A segment: what it was asked for, its tries [N,K,F], and their distances [N]."""

    ask: Ask
    tries: np.ndarray
    distances: np.ndarray


def judged(job: tuple[str, int, int, bool, People | None]) -> tuple[int, list[Judged]]:
    """A model's folder, how many tries a segment has, a seed, whether they are heard too, what people write -> the seed and the segments of one piece."""
    folder, n_tries, seed, heard, people = job
    take = drawn_take(player(folder), np.random.default_rng(seed), seed, n_tries)[0]
    found = []
    while (plan := take.plan()) is not None:
        ask = take.ask(plan)
        row, facts = take.known(plan, ask) or (None, {})
        if row is None:
            if not ask.context.shape[1]:  # who plays is the text's to say, and the same for all
                ask = for_players_of(ask, take.sample([ask])[0][0])
            tries = np.stack([codes for codes, _ in take.sample(take.control.alike(ask))])
            read = np.array([take.control.off_curve(ask, codes) for codes in tries])
            distances = read + [faults(ask, codes) + unlike(ask, codes, people) for codes in tries]
            row = tries[distances.argmin()]
            found.append(by_ear(Judged(ask, tries, distances), read, take.lara) if heard else Judged(ask, tries, distances))
        take.accept(plan, ask, row, facts)
    return seed, found


def unlike(ask: Ask, codes: np.ndarray, people: People | None) -> float:
    """What counts against a try [K,F] after its context that is not as people write; 0 where nothing is known of them."""
    return 0 if people is None else UNLIKE * people.unlike(np.concatenate([ask.context, codes], axis=1))


def by_ear(segment: Judged, read: np.ndarray, lara: Lara) -> Judged:
    """The same with the tries alone that lie nearest and farthest, as many of each; how far they are read to be from the curve [N] gives
    way to how far they are heard to be."""
    order, ask = segment.distances.argsort(), segment.ask
    kept = order[[*range(BY_EAR // 2), *range(-(BY_EAR // 2), 0)]] if len(order) > BY_EAR else order
    starts = bar_starts(ask.context)
    before = ask.context[:, starts[np.searchsorted(starts, ask.context.shape[1] - HEARD_AFTER)] if len(starts) else 0:]
    wanted = ask.wanted.reshape(-1, EVERY_FRAMES, 2).mean(1)
    distances = []
    for n in kept:
        codes = np.concatenate([before, segment.tries[n]], axis=1)
        heard = heard_in_sound(codes, Audio(lara.codec.decode(codes), lara.codec.sample_rate_hz))[-len(wanted):]
        far = np.linalg.norm(in_reach(heard, *lara.score_predictor.ends) - wanted, axis=1)
        distances.append(segment.distances[n] + (HEARD_SHARE * (far.mean() - read[n]) if np.isfinite(far).all() else 0))
    return Judged(ask, segment.tries[kept], np.array(distances))


def packed(segments: list[Judged]) -> dict[str, np.ndarray]:
    flat = lambda arrays: np.concatenate([array.reshape(array.shape[0], -1) for array in arrays], axis=1).astype(np.int8)
    return {"prompts": np.array(json.dumps([s.ask.prompt for s in segments])),
            "frames": np.array([(s.ask.context.shape[1], s.ask.forced.shape[1]) for s in segments]),
            "emotion": np.concatenate([s.ask.told for s in segments]).astype(np.float16),
            "contexts": flat([s.ask.context for s in segments]), "given": flat([s.ask.forced for s in segments]),
            "tries": flat([s.tries.transpose(1, 0, 2) for s in segments]), "distances": np.stack([s.distances for s in segments]).astype(np.float32)}


def unpacked(path: Path) -> list[Judged]:
    """What a file holds; ValueError where it is of another kind."""
    with np.load(path) as data:
        data = dict(data)
    if "distances" not in data:
        raise ValueError(f"{path} holds no judged tries; give a file made by training.preferences.")
    n_tries, at, found = data["distances"].shape[1], np.zeros(4, int), []
    for prompt, (past, new), distances in zip(json.loads(str(data["prompts"])), data["frames"], data["distances"]):
        parts = []
        for number, (name, frames) in enumerate((("emotion", past + new), ("contexts", past), ("given", new), ("tries", n_tries * new))):
            span = slice(at[number], at[number] + frames)
            parts.append(data[name][span].astype(np.float32) if name == "emotion" else data[name][:, span].astype(np.int64))
            at[number] += frames
        emotion, context, given, tries = parts
        found.append(Judged(Ask(prompt, emotion, context, given, 0), tries.reshape(len(tries), n_tries, new).transpose(1, 0, 2), distances))
    return found


class Pairs:
    """Pairs of tries of the same segment, the better first, in batches. text: the model's encoder."""

    def __init__(self, paths: Sequence[Path], text: TextEncoder):
        self.segments = [segment for path in paths for segment in unpacked(path)]
        self.text, self.pairs = text, []  # (segment, the better try, the worse one)
        for number, segment in enumerate(self.segments):
            near = segment.distances.argsort().tolist()
            pairs = zip(near[:min(PAIRS, len(near) // 2)], reversed(near))
            self.pairs += [(number, *pair) for pair in pairs if segment.distances[pair[1]] - segment.distances[pair[0]] >= LEAST_GAP]
        if not self.pairs:
            raise ValueError(f"No two tries of one segment in {', '.join(map(str, paths))} lie {LEAST_GAP} from one another; judge more of them (training.preferences).")
        self._before: dict[tuple[int, int], float] = {}  # how likely a segment's try was to the model that began

    def _batch(self, tries: list[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor, Conditioning]:
        """N tries -> codes [N,K,F] (-1 past the end), which of them were sampled [N,K,F], and what for."""
        rows = [(self.segments[number], which) for number, which in tries]
        longest = max(len(segment.ask.emotion) for segment, _ in rows)
        codes = torch.full((len(rows), len(rows[0][0].ask.forced), longest), -1)
        free, emotion, known = torch.zeros(codes.shape, dtype=torch.bool), torch.zeros(len(rows), longest, 2), torch.zeros(len(rows), longest, dtype=torch.bool)
        for row, (segment, which) in enumerate(rows):
            past, end = segment.ask.context.shape[1], len(segment.ask.emotion)
            codes[row, :, :past], codes[row, :, past:end] = (torch.from_numpy(x) for x in (segment.ask.context, segment.tries[which]))
            free[row, :, past:end] = torch.from_numpy(segment.ask.forced < 0)
            emotion[row, :end], known[row, :end] = torch.from_numpy(segment.ask.emotion), True
        text = self.text.encode([segment.ask.prompt for segment, _ in rows])
        return codes.to(device), free.to(device), Conditioning(*(x.to(device) for x in (*text, emotion, known)))

    @torch.no_grad()
    def drawn(self, rng: np.random.Generator, size: int, began: Decoder, temperature: float, accelerator: Accelerator) -> tuple:
        """Of `size` pairs what `likelihoods` takes, the better ones first, and how likely they were to the model that began [2B]."""
        pairs = [self.pairs[i] for i in rng.integers(len(self.pairs), size=size)]
        tries = [(pair[0], pair[side]) for side in (1, 2) for pair in pairs]
        if lacking := [one for one in tries if one not in self._before]:
            with accelerator.autocast():
                self._before |= zip(lacking, likelihoods(began, *self._batch(lacking, accelerator.device), temperature).tolist())
        return *self._batch(tries, accelerator.device), temperature, torch.tensor([self._before[one] for one in tries], device=accelerator.device)


def likelihoods(decoder: Decoder, codes: Tensor, free: Tensor, cond: Conditioning, temperature: float) -> Tensor:
    """How likely what was sampled [N,K,F] is where the model plays as it usually does, led by the emotion (`guidance_rows`): log
    probabilities [N]. No gradient passes through what it would play without an emotion."""
    steps, inputs = columns_of(codes, decoder.config)
    logits = lambda cond: decoder.logits(decoder.hidden(inputs, decoder.memory(cond))).float()
    led = 1 + (EMOTION_STRENGTH - 1) * torch.tensor(ScoreCodec.emotion_shares, device=codes.device)[:, None, None]
    with torch.no_grad():
        unled = logits(cond.without_emotion())
    guided = (unled + led * (logits(cond) - unled)) / temperature
    surprise = F.cross_entropy(guided.flatten(0, 2), steps.clamp_min(0).flatten(), reduction="none").view(steps.shape)
    return -(surprise * delay(free, decoder.config.delays, False)).sum((1, 2))


def preference_loss(now: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Log probabilities [2B] of tries, the better ones first, to the model and to what it was before -> the loss, and of how many pairs the model
    has come to prefer the better one."""
    better, worse = (BETA * (now - before)).chunk(2)
    return -F.logsigmoid(better - worse).mean(), (better > worse).float().mean().detach()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser, 300, 8, "which are judged", "tries that are unlike them lie farther")
    parser.add_argument("--by-ear", action="store_true", help="hear the tries that lie nearest and farthest too; takes ten times as long")
    args = parser.parse_args()
    if not 2 <= args.candidates <= MAX_CANDIDATES:
        parser.error(f"--candidates is {args.candidates}; give 2 to {MAX_CANDIDATES} tries, of which one can be better than another.")
    if player(str(args.model)).score_predictor is None:
        parser.error(f"{args.model} cannot judge tries; give a score model with a score predictor beside it (training.score_predictor).")
    people = people_given(parser, args.human)
    segments = [segment for piece in by_seed(judged, args, "trying", args.by_ear, people) for segment in piece]
    write_arrays(args.output, packed(segments))
    print(f"{len(segments)} segments of {args.candidates} tries -> {args.output}")


if __name__ == "__main__":
    main()
