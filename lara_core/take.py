"""A Take: one piece being made, segment by segment. Its plan, the codes sampled for it, their sound, and the record from which it
can be made again.
"""

import base64
import hashlib
import json
import math
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from .affect import Curve
from .codec import Plan, Request
from .codec.score import CLOSING_BARS
from .conditioning import Conditioning
from .sampling import Sampling, generate
from .tries import BestRead, WordsAndTakes

MAX_TOGETHER = 8  # takes in one pass: each has its own cache of keys and values
BEGINNINGS = 4  # that are tried in place of a silent one
MAX_WAITING = 2  # segments that are sampled and not yet sound: memory stays constant


@dataclass(frozen=True)
class Segment:
    """One finished part of a piece: codes [K,F], the emotion asked for [F,2] at its frames, and the samples [C,T] that became
    final with it (they may lag behind the codes by a codec's look-ahead; the last of them come with the last segment)."""

    index: int
    start_seconds: float
    seconds: float
    seed: int
    codes: np.ndarray
    emotion: np.ndarray
    samples: np.ndarray
    is_last: bool = False


class SegmentMemo:
    """Codes that were sampled, by everything that decides them; of `size` segments, the oldest of which is forgotten.

    The same inputs give the same codes, so a piece whose curve has changed near its end is sampled anew only from there.
    """

    def __init__(self, size: int = 2000):
        self.size, self.codes = size, {}

    @staticmethod
    def key(facts: tuple, arrays: Sequence[np.ndarray]) -> bytes:
        digest = hashlib.sha256(repr((facts, [array.shape for array in arrays])).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.digest()

    def keep(self, key: bytes, sampled: tuple) -> None:
        if key not in self.codes and len(self.codes) >= self.size:
            del self.codes[next(iter(self.codes))]
        self.codes[key] = sampled


@dataclass(frozen=True, eq=False)
class Ask:
    """All that a segment is sampled from: the emotion [Fc+F+A,2] (NaN: none), A frames of it beyond the segment, and codes [K,Fc] of what
    was before, forced [K,F]."""

    prompt: str
    emotion: np.ndarray
    context: np.ndarray
    forced: np.ndarray
    seed: int

    @property
    def wanted(self) -> np.ndarray:
        """The emotion [F,2] of the segment."""
        return self.emotion[self.context.shape[1]:][:self.forced.shape[1]]

    @property
    def told(self) -> np.ndarray:
        """What the model is told [Fc+F,2]: valence A frames ahead."""
        frames = self.context.shape[1] + self.forced.shape[1]
        return np.column_stack([self.emotion[-frames:, 0], self.emotion[:frames, 1]])


class Take:
    """One piece being made: iterate once for its segments. Afterwards `session` and `record()` tell what was made."""

    def __init__(self, lara: "Lara", prompt: str, curve: Curve | None, request: Request, sampling: Sampling,
                 kept: Sequence[np.ndarray], seeds: Mapping[int, int], on_progress, memo: SegmentMemo | None = None,
                 begin: np.ndarray | None = None, session=None, control: BestRead | WordsAndTakes | None = None):
        self.lara, self.prompt, self.curve, self.request, self.sampling = lara, prompt, curve, request, sampling
        self.kept, self.seeds, self.memo, self.on_progress, self.begin = kept, seeds, memo, on_progress, begin
        self.session, self.control = session or lara.codec.session(request), None if curve is None else control
        self.segments: list[dict] = []
        self._past_codes, self._past_emotion = np.zeros((lara.codec.n_codebooks, 0), np.int64), np.zeros((0, 2), np.float32)
        self._frames = 0  # of the segments so far
        self._own_start, self._own_prompt = 0 if begin is None else begin.shape[1], prompt  # the frame from which all was made for the prompt of now

    def __iter__(self) -> Iterator[Segment]:
        """The first segment comes as soon as it can; later ones are made into sound while those after them are sampled."""
        with ThreadPoolExecutor(1, "lara-sound") as sound:
            waiting: deque[tuple[Segment, Future]] = deque()
            for segment, render in self._written():
                waiting.append((segment, sound.submit(render)))
                while waiting and not waiting[0][0].is_last and (waiting[0][0].index == 0 or waiting[0][1].done() or len(waiting) > MAX_WAITING):
                    ready, samples = waiting.popleft()
                    yield replace(ready, samples=samples.result())
            for ready, samples in waiting:
                final = samples.result()
                yield replace(ready, samples=np.concatenate([final, self.session.finish()], axis=1) if ready.is_last else final)

    def next_segment(self) -> Segment | None:
        """In place of iterating, for live use: the next segment is planned, sampled and made into sound now, and nothing ahead of it;
        None where the session has ended. A changed `prompt` holds from here on."""
        plan = self.plan()
        if plan is None:
            return None
        segment, render = self._segment(plan)
        return replace(segment, samples=render())

    def write(self) -> list[Segment]:
        """In place of iterating, where no sound is wanted: all segments, without their samples."""
        segments = [segment for segment, _ in self._written()]
        self.session.finish()  # closes the last notes
        return segments

    def _written(self) -> Iterator[tuple[Segment, Callable[[], np.ndarray]]]:
        """Segments without their samples, and what renders them."""
        plan = self.plan()
        while plan is not None:
            segment, render = self._segment(plan)
            plan = self.plan()
            yield replace(segment, is_last=plan is None), render

    def _segment(self, plan: Plan) -> tuple[Segment, Callable[[], np.ndarray]]:
        ask = self.ask(plan)
        sampled = self.known(plan, ask)
        if sampled is None:
            sampled = self.sample([ask])[0] if self.control is None else self.control.sample(self, ask)
        return self.accept(plan, ask, *sampled)

    def ask(self, plan: Plan) -> Ask:
        """What the planned segment, the next one, is sampled from."""
        index = len(self.segments)
        context = self._past_codes[:, self._past_codes.shape[1] - plan.context_frames:]
        to_come = self._emotion(plan)
        emotion = np.concatenate([self._past_emotion[len(self._past_emotion) - plan.context_frames:], to_come])
        return Ask(self.prompt, emotion, context, self.session.given(plan, to_come[:plan.frames]), self.seeds.get(index, segment_seed(self.request.seed, index)))

    def known(self, plan: Plan, ask: Ask) -> tuple[np.ndarray, dict] | None:
        """The codes [K,F] of a segment that were given or met before, and what the record says of them; None where there are none."""
        index = len(self.segments)
        if index < len(self.kept):
            codes = np.asarray(self.kept[index], np.int64)
            if codes.shape == plan.forced.shape:  # else the session says what is wrong; what is given goes before what was
                codes = np.where(plan.forced < 0, codes, plan.forced)
            return codes, {}
        if not (plan.forced < 0).any():
            return plan.forced, {}
        return None if self.memo is None else self.memo.codes.get(self._key(ask))

    def _key(self, ask: Ask) -> bytes:
        facts = self.lara.digest, str(self.lara.device), ask.prompt, self.sampling, ask.seed, self._is_new_text(ask), self.control and self.control.candidates
        return self.memo.key(facts, (ask.emotion, ask.context, ask.forced))

    def accept(self, plan: Plan, ask: Ask, codes: np.ndarray, facts: dict) -> tuple[Segment, Callable[[], np.ndarray]]:
        """Take codes [K,F] for the planned segment -> it, without its samples, and what renders them."""
        index, start = len(self.segments), self.session.position_seconds
        if self.memo is not None and index >= len(self.kept):
            self.memo.keep(self._key(ask), (codes, facts))
        render = self.session.push(codes)
        seconds = self.session.position_seconds - start
        self.segments.append({"start_seconds": start, "seconds": seconds, "seed": ask.seed, "codes": pack_codes(codes)} | facts)
        self._past_codes = np.concatenate([ask.context, codes], axis=1)
        self._past_emotion = ask.emotion[:self._past_codes.shape[1]]
        if self.prompt != self._own_prompt:
            self._own_start, self._own_prompt = max(self._own_start, self._frames), self.prompt
        self._frames += codes.shape[1]
        no_samples = np.zeros((self.lara.codec.channels, 0), np.float32)
        return Segment(index, start, seconds, ask.seed, codes, ask.wanted, no_samples), render

    def plan(self) -> Plan | None:
        """The session's next segment, with what the piece begins with."""
        plan, frames = self.session.plan(), self._frames
        self._planned_seconds = 0.0 if plan is None else plan.seconds[-1] - plan.seconds[0]
        if plan is None or self.begin is None or frames >= self.begin.shape[1]:
            return plan
        given, forced = self.begin[:, frames:frames + plan.frames], plan.forced.copy()
        free = forced[:, :given.shape[1]]
        forced[:, :given.shape[1]] = np.where(free < 0, given, free)  # bars count down to another end
        return replace(plan, forced=forced)

    def _emotion(self, plan: Plan) -> np.ndarray:
        """Of a segment's frames and of those ahead of it [F+A,2]."""
        if self.curve is None:
            return np.full((plan.frames + plan.ahead_frames, 2), np.nan, np.float32)
        onward = lambda x: np.concatenate([x, x[-1] + np.arange(1, plan.ahead_frames + 1) * (x[-1] - x[-2])]) if plan.ahead_frames else x
        beats = None if plan.beats is None else lambda _: onward(plan.beats)
        return self.curve.at(onward(plan.seconds), self.request.seconds, beats)

    def sample(self, asks: Sequence[Ask], show: Callable[[float], None] | None = None, beginnings: int = BEGINNINGS,
               plainly: bool = False) -> list[tuple[np.ndarray, dict]]:
        """Sample B segments of one prompt and as many frames in one pass -> codes [K,F] and an empty record for each. show(share of it done).
        beginnings: how many more of the piece are sampled where one is silent. plainly: the emotion leads no farther than the model has learnt."""
        text, text_mask = (x.expand(len(asks), *x.shape[1:]) for x in self.lara.encoded(asks[0].prompt))
        emotion = torch.from_numpy(np.stack([ask.told for ask in asks]))
        cond = Conditioning(text, text_mask, emotion.nan_to_num(0.0), ~emotion.isnan().any(-1))
        device, frames = self.lara.device, asks[0].forced.shape[1]
        cond = Conditioning(*(x.to(device) for x in (cond.text, cond.text_mask, cond.emotion, cond.emotion_mask)))
        context, forced = (torch.from_numpy(np.stack([getattr(ask, name) for ask in asks])).to(device) for name in ("context", "forced"))
        show = show or self._show
        sampling = replace(self.sampling, emotion_strength=min(self.sampling.emotion_strength, 1.0)) if plainly else self.sampling
        codes = generate(self.lara.decoder, cond, context, forced, sampling, [ask.seed for ask in asks], lambda done: show(done / frames),
                         self.lara.step_weights, self.lara.codec.text_led, self.lara.codec.emotion_shares, self.lara.codec.likely_only)
        return [(self._mended(ask, row, show, beginnings, plainly), {}) for ask, row in zip(asks, codes.cpu().numpy())]

    def _mended(self, ask: Ask, sampled: np.ndarray, show: Callable[[float], None], beginnings: int, plainly: bool) -> np.ndarray:
        """Sampled codes [K,F] -> what becomes of them. A piece that would begin with silence is begun otherwise, so many times."""
        codes = np.where(ask.forced < 0, self.lara.codec.mended(ask.context, sampled, ask.told, self._is_new_text(ask)), ask.forced)
        if beginnings and not ask.context.shape[1] and self.lara.codec.is_silent(codes):
            return self.sample([replace(ask, seed=ask.seed + 1)], show, beginnings - 1, plainly)[0][0]
        return codes

    def _is_new_text(self, ask: Ask) -> bool:
        """Whether what was before was not all made for the prompt of now: it was changed, or the piece goes on from another."""
        return self.prompt != self._own_prompt or self._frames - ask.context.shape[1] < self._own_start

    def _show(self, share: float) -> None:
        """Tell of the share of the next segment that is done."""
        if self.on_progress is not None:
            seconds = self.session.position_seconds + share * self._planned_seconds
            self.on_progress(min(seconds / self.request.seconds, 1.0))

    @property
    def beats_at(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Seconds -> beats, as a curve in beats needs it: by the bars that were played, or by the tempo asked for."""
        performer = getattr(self.session, "performer", None)
        return performer.beats if performer is not None else None if self.request.tempo is None else self.request.beats_at

    def continued(self, seconds: float, curve: Curve | None, seed: int) -> tuple[Request, Curve | None, np.ndarray]:
        """What makes a piece that begins as this finished one and goes on for `seconds` more: its Request, Curve and the codes [K,F] it
        begins with. Bars keep their tempo, but those that close the piece are not kept; where the music chose its tempo it goes on to
        choose. curve: of what is added; None goes on as the piece ended."""
        performer = getattr(self.session, "performer", None)
        tempo, begin = self.request.tempo, np.concatenate([unpack_codes(segment["codes"]) for segment in self.segments], axis=1)
        if performer is not None:
            kept = max(len(performer.bars) - CLOSING_BARS, 1)
            begin = begin[:, :performer.starts_frames[kept]]
            if self.request.free_from_beat < np.inf:
                bars = zip(performer.starts_frames, performer.bars[:kept])
                tempo = (*((start / 4, bar.tempo_bpm) for start, bar in bars), (performer.starts_frames[kept] / 4, None))
        request = replace(self.request, seconds=self.request.seconds + seconds, tempo=tempo, seed=seed,
                          tonic=getattr(self.session, "tonic", self.request.tonic))
        if curve is not None or self.curve is not None:
            curve = joined(self.curve, self.request.seconds, self.beats_at, curve, seconds, None if request.tempo is None else request.beats_at)
        return request, curve, begin

    def record(self) -> dict:
        """Everything needed to make the piece again, as JSON values; codes of every segment are in it."""
        font = getattr(self.lara.codec, "soundfont", None)
        return {"format": "lara-piece", "version": 1, "model": {"name": self.lara.name, "digest": self.lara.digest},
                "soundfont": None if font is None else {"name": font.name, "digest": font.digest},
                "prompt": self.prompt, "curve": None if self.curve is None else json.loads(self.curve.to_json()),
                "control": self._control_record(), "request": asdict(self.request), "sampling": asdict(self.sampling),
                "begin": None if self.begin is None else pack_codes(self.begin),
                "segments": self.segments}

    @property
    def candidates(self) -> int:
        """As Lara.stream takes it, for what is made again."""
        return 0 if self.curve is None else self._control_record()["candidates"]

    def _control_record(self) -> dict | None:
        """How the emotion was brought about."""
        if self.curve is None:
            return None
        return {"kind": "lara", "candidates": 1} if self.control is None else self.control.record()


def sample_together(takes: Sequence[Take], on_progress: Callable[[float], None] | None = None) -> list[list[np.ndarray]]:
    """Sample all segments of takes of one model and sampling, those whose next segments have the same frames in one pass of at
    most MAX_TOGETHER -> the codes of every take, without sound. Packed for the CPU, they are those of each take alone, to the bit.
    """
    codes: list[list[np.ndarray]] = [[] for _ in takes]
    plans = {number: take.plan() for number, take in enumerate(takes)}
    while plans := {number: plan for number, plan in plans.items() if plan is not None}:
        asks = {number: takes[number].ask(plan) for number, plan in plans.items()}
        sampled = {number: takes[number].known(plan, asks[number]) for number, plan in plans.items()}
        shapes: dict[tuple, list[int]] = {}
        for number, ask in asks.items():
            if sampled[number] is None:
                shapes.setdefault((ask.forced.shape, ask.context.shape), []).append(number)
        for alike in shapes.values():
            for group in (alike[i:i + MAX_TOGETHER] for i in range(0, len(alike), MAX_TOGETHER)):
                ends = [(takes[number].session.position_seconds, plans[number].seconds[-1] - plans[number].seconds[0]) for number in group]

                def show(share: float) -> None:
                    if on_progress is not None:
                        on_progress(min(max((start + share * seconds) / takes[0].request.seconds for start, seconds in ends), 1.0))

                sampled |= zip(group, takes[group[0]].sample([asks[number] for number in group], show))
        for number, plan in plans.items():
            takes[number].accept(plan, asks[number], *sampled[number])
            codes[number].append(sampled[number][0])
            plans[number] = takes[number].plan()
    return codes


def joined(first: Curve | None, first_seconds: float, first_beats, second: Curve | None, second_seconds: float, second_beats) -> Curve:
    """Two curves one after the other, as one in seconds. Where one of them is None, the other holds; both None is an error. beats:
    seconds -> beats, as `Curve.at` needs it."""
    steps = 2  # points a second
    before = np.linspace(0, first_seconds, math.ceil(first_seconds * steps) + 1)
    after = np.linspace(0, second_seconds, math.ceil(second_seconds * steps) + 1)
    old = None if first is None else first.at(before, first_seconds, first_beats)
    new = None if second is None else second.at(after, second_seconds, second_beats)
    old = np.tile(new[0], (len(before), 1)) if old is None else old
    new = np.tile(old[-1], (len(after), 1)) if new is None else new
    times = np.concatenate([before, first_seconds + 1e-3 + after])
    points = np.column_stack([times, np.concatenate([old, new])]).tolist()
    return Curve(tuple(map(tuple, points)), "seconds", "linear")


def segment_seed(seed: int, index: int) -> int:
    """A segment's own seed, so that one can be made again without touching those before it."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


def pack_codes(codes: np.ndarray) -> dict:
    """Codes [K,F] -> JSON values: shape and zlib-compressed 16-bit numbers in base64."""
    data = zlib.compress(np.ascontiguousarray(codes, "<u2").tobytes(), 9)
    return {"shape": list(codes.shape), "zlib_u16": base64.b64encode(data).decode()}


def unpack_codes(packed: dict) -> np.ndarray:
    """The inverse of pack_codes; raises ValueError for what it did not make."""
    try:
        shape = [int(n) for n in packed["shape"]]
        if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] > 1_000_000:
            raise ValueError(shape)
        room = 2 * shape[0] * shape[1]
        data = zlib.decompressobj().decompress(base64.b64decode(packed["zlib_u16"], validate=True), room + 1)
        return np.frombuffer(data, "<u2").astype(np.int64).reshape(shape)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError("The segment's codes cannot be read; use the JSON file as it was written with the piece.") from error
