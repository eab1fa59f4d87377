"""Lara: a text, a curve of valence and arousal and a length go in; segments of music come out as they are finished. Any sound
goes in, with or without the curve that was asked for; its Score comes out.

Every face (ComfyUI nodes, DAW bridge, command line) calls this and nothing below it.
"""

import base64
import functools
import hashlib
import json
import logging
import math
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .affect import Curve
from .audio import Audio
from .checkpoint import list_models, load_model
from .codec import Plan, Request, load_codec
from .conditioning import Conditioning
from .decoder import Decoder
from .predictor import EMBEDDED_FOLDER, WINDOW_SECONDS, EmotionPredictor, Track
from .sampling import Sampling, StepWeights, generate
from .score import DIMENSIONS, STEP_SECONDS, evaluate_curve
from .text import check_prompt, load_text_encoder

EMBEDDED = "embedded"
MAX_WAITING = 2  # segments that are sampled and not yet sound: memory stays constant
SHIPPED_MODELS = next(folder for folder in (Path(__file__).parent / "models", Path(__file__).parent.parent / "models") if folder.is_dir())

log = logging.getLogger(__name__)


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


class Lara:
    """A loaded model: decoder, codec and text encoder."""

    def __init__(self, name: str, decoder: Decoder, codec, text_encoder, digest: str = ""):
        self.name, self.decoder, self.codec, self.text_encoder, self.digest = name, decoder.eval(), codec, text_encoder, digest
        self.step_weights = StepWeights(self.decoder)

    @property
    def device(self) -> torch.device:
        return self.decoder.heads.weight.device

    def prepare(self) -> None:
        """To be called after the decoder was moved to another device: what is computed from its weights follows."""
        if self.step_weights.table.device != self.device:
            self.step_weights = StepWeights(self.decoder)

    @classmethod
    def load(cls, model: str | Path = EMBEDDED, device: str = "cpu", soundfont: str | Path | None = None,
             folders: Sequence[Path] = (), dtype: torch.dtype = torch.float32) -> "Lara":
        """Load a model by the name of its folder in `folders` or among those shipped, or by its path.

        soundfont: an .sf2 file for score models; None finds one. dtype: of the decoder's weights and arithmetic; codec and text
        encoder stay as they are. Raises ValueError or FileNotFoundError in one sentence.
        """
        folder = find_model(model, folders)
        decoder, config = load_model(folder, device, dtype)
        return cls(folder.name, decoder, load_codec(config.codec, folder, soundfont), load_text_encoder(config.text, folder), fingerprint(folder))

    def stream(self, prompt: str, curve: Curve | None, request: Request, sampling: Sampling = Sampling(),
               kept: Sequence[np.ndarray] = (), seeds: Mapping[int, int] | None = None,
               on_progress: Callable[[float], None] | None = None, memo: "SegmentMemo | None" = None,
               begin: np.ndarray | None = None) -> "Take":
        """Begin a piece; iterate over the Take to generate it.

        curve: None leaves the emotion to the model. kept: codes of the first segments, which are used as they are, so that a
        piece can be made again from a later segment on. seeds: other seeds for single segments. on_progress(0..1) is called
        after every frame and may raise to cancel. memo: segments that it has met with the same past, emotion and seed are not
        sampled again. begin: codes [K,F] of the first frames, as `after` gives them.
        """
        return Take(self, check_prompt(prompt), curve, request, sampling, kept, seeds or {}, on_progress, memo, begin)

    def after(self, sound: Audio, curve: Curve | None, request: Request) -> tuple[Request, Curve | None, np.ndarray]:
        """What makes a piece that begins with any sound and goes on for request.seconds more: its Request, its Curve, and the codes
        [K,F] to begin with. curve: of what is added. Raises ValueError in one sentence where the codec cannot read sound."""
        begin = self.codec.encode(sound)
        whole = replace(request, seconds=sound.seconds + request.seconds)
        if curve is not None:
            curve = joined(None, sound.seconds, None, curve, request.seconds, None if request.tempo is None else request.beats_at)
        return whole, curve, begin

    def live(self, prompt: str, curve: Curve, request: Request, next_tempo: Callable[[], float | None], sampling: Sampling = Sampling(),
             kept: Sequence[np.ndarray] = (), seeds: Mapping[int, int] | None = None, on_progress: Callable[[float], None] | None = None) -> "Take":
        """Begin a piece without a known end, a bar at a time: `Take.next_segment` asks next_tempo for the tempo of the next bar (None:
        the piece ends) and then the curve for its emotion. Raises ValueError for a model whose codec knows no bars."""
        if not hasattr(self.codec, "live_session"):
            raise ValueError(f"The model {self.name} does not make bars, so it cannot play live; choose a score model, such as {EMBEDDED}.")
        session = self.codec.live_session(request, next_tempo)
        return Take(self, check_prompt(prompt), curve, request, sampling, kept, seeds or {}, on_progress, session=session)

    def generate(self, prompt: str, curve: Curve | None, request: Request, sampling: Sampling = Sampling(), **options) -> tuple[Audio, "Take"]:
        """The whole piece at once -> its audio, exactly request.seconds long, and the finished Take."""
        take = self.stream(prompt, curve, request, sampling, **options)
        samples = np.concatenate([segment.samples for segment in take], axis=1)
        return Audio(samples, self.codec.sample_rate_hz), take

    @staticmethod
    def score(sound: str | Path | Audio, curve: Curve | None = None, tempo: float | Callable[[np.ndarray], np.ndarray] | None = None) -> "Score":
        """Measure a sound file of any length (at constant memory) or Audio with the shipped predictor; needs no loaded model.

        curve: what was asked for, compared over the time it has in common with the sound; a normalized one stretches. tempo: as
        `Curve.at` needs it for a curve in beats. Raises ValueError in one sentence for sound that cannot be heard.
        """
        track, seconds = _hear(sound)
        if not track.is_music:
            return Score(seconds, track, remarks=("The predictor hears no music here (silence, speech or noise), so it gives no emotion.",))
        if curve is None:
            return Score(seconds, track)
        last = _last_seconds(curve, seconds, tempo)
        end, measured, remarks = min(last, seconds), _heard_as_music(track, seconds), []
        if math.isfinite(last) and abs(last - seconds) > STEP_SECONDS:
            remarks.append(f"The curve lasts {last:.1f} s and the sound {seconds:.1f} s: they are compared over the first {end:.1f} s.")
        if min(end, measured[0][-1]) - measured[0][0] < 2 * STEP_SECONDS:
            remarks.append(f"Curve and music share less than {2 * STEP_SECONDS:g} s, too little to compare.")
            return Score(seconds, track, remarks=tuple(remarks))
        times = np.linspace(0, end, math.ceil(end / 0.05) + 1)  # finely: evaluate_curve interpolates, also where a curve jumps
        return Score(seconds, track, evaluate_curve((times, curve.at(times, seconds, tempo)), measured), tuple(remarks))


@dataclass(frozen=True, eq=False)
class Score:
    """What was measured in `seconds` of sound: its `track`; its `evaluation` against the curve as score.evaluate_curve gives it,
    None where nothing was asked for or comparable; and `remarks`, sentences on what was left out and why."""

    seconds: float
    track: Track
    evaluation: dict | None = None
    remarks: tuple[str, ...] = ()

    @property
    def adherence(self) -> float:
        """The number to rank by, score.adherence: 1 is exact, 0 is chance. NaN without an evaluation."""
        return math.nan if self.evaluation is None else self.evaluation["adherence"]

    @property
    def uncertainty(self) -> np.ndarray:
        """One standard deviation of `track.point`, [2]: that of a typical window, for windows of one piece err alike."""
        heard = self.track.uncertainty[~np.isnan(self.track.uncertainty).any(1)]
        return np.sqrt(np.mean(heard ** 2, axis=0)) if len(heard) else np.full(2, np.nan)

    def curve(self) -> Curve:
        """What was heard, as a normalized curve. Raises ValueError where no music was."""
        if not self.track.is_music:
            raise ValueError(" ".join(self.remarks))
        music = self.track.music >= 0.5
        points = np.column_stack([self.track.times_seconds[music] / self.seconds, self.track.values[music]])
        return Curve(tuple(map(tuple, points.tolist())), "normalized", "smooth")

    def drawn(self) -> dict:
        """The options of plot.plot_piece that draw what was measured, none where nothing was."""
        return {"measured": (self.track.times_seconds, self.track.values), "uncertainty": self.track.uncertainty} if self.track.is_music else {}

    def to_dict(self) -> dict:
        """JSON values, four decimals, None for NaN, without the track; `predictor` tells the weights that measured."""
        return json_values({
            "predictor": fingerprint(EMBEDDED_FOLDER), "seconds": self.seconds, "music_share": float(np.mean(self.track.music >= 0.5)),
            "point": dict(zip(DIMENSIONS, self.track.point)), "uncertainty": dict(zip(DIMENSIONS, self.uncertainty)),
            "evaluation": self.evaluation, "remarks": self.remarks})


def json_values(value):
    """Dicts, sequences, arrays and numbers -> what JSON can hold: four decimals, None for NaN."""
    if isinstance(value, Mapping):
        return {name: json_values(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [json_values(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 4) if math.isfinite(value) else None
    return value


@functools.cache
def _predictor() -> EmotionPredictor:
    return EmotionPredictor.load()


def _hear(sound: str | Path | Audio) -> tuple[Track, float]:
    if isinstance(sound, Audio):
        return _predictor().track(sound), sound.seconds
    import soundfile

    try:
        return _predictor().track(sound), soundfile.info(Path(sound).expanduser()).duration
    except soundfile.LibsndfileError as error:  # a header that was fine, and then no sound
        raise ValueError(f"{sound} is damaged or breaks off ({error.error_string.rstrip('.')}); export it again.") from error


def _heard_as_music(track: Track, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Times [M] and values [M, 2] of the windows that are music. The first and the last speak for the whole of their 3 s, so
    they hold to its ends; stretches that are not music in between are bridged."""
    music = track.music >= 0.5
    times, values = track.times_seconds[music], track.values[music]
    first, last = max(times[0] - WINDOW_SECONDS / 2, 0), min(times[-1] + WINDOW_SECONDS / 2, seconds)
    return np.concatenate([[first], times, [last]]), np.concatenate([values[:1], values, values[-1:]])


def _last_seconds(curve: Curve, seconds: float, tempo) -> float:
    """When the last point of a curve falls; infinity for one that is as long as any sound."""
    last = curve.points[-1][0]
    if curve.unit == "normalized" or len(curve.points) == 1:
        return math.inf
    if curve.unit == "seconds":
        return last
    if not callable(tempo):
        curve.at(np.zeros(1), seconds, tempo)  # says what is wrong with the tempo
        return last * 60 / tempo
    times = np.linspace(0, seconds, 10_000)
    beats = tempo(times)
    return float(np.interp(last, beats, times)) if last <= beats[-1] else seconds * last / beats[-1]


def fingerprint(folder: Path) -> str:
    """16 hex digits that tell weights apart: from the first and last MiB and the size of each file, so gigabytes cost nothing."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            digest.update(f"{path.name} {size}".encode())
            for start in (0, max(size - (1 << 20), 0)):
                file.seek(start)
                digest.update(file.read(1 << 20))
    return digest.hexdigest()[:16]


def find_model(model: str | Path, folders: Sequence[Path] = ()) -> Path:
    if Path(model).is_dir():
        return Path(model)
    known = list_models([*folders, SHIPPED_MODELS])
    if str(model) not in known:
        raise FileNotFoundError(f"There is no model {str(model)!r}; give the path of a model folder or one of: {', '.join(known) or 'none installed'}.")
    return known[str(model)]


class SegmentMemo:
    """Codes that were sampled, by everything that decides them; of `size` segments, the oldest of which is forgotten.

    The same inputs give the same codes, so a piece whose curve has changed near its end is sampled anew only from there.
    """

    def __init__(self, size: int = 2000):
        self.size, self.codes = size, {}

    def get(self, facts: tuple, arrays: Sequence[np.ndarray], sample: Callable[[], np.ndarray]) -> np.ndarray:
        digest = hashlib.sha256(repr((facts, [array.shape for array in arrays])).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        key = digest.digest()
        if key not in self.codes:
            if len(self.codes) >= self.size:
                del self.codes[next(iter(self.codes))]
            self.codes[key] = sample()
        return self.codes[key]


class Take:
    """One piece being made: iterate once for its segments. Afterwards `session` and `record()` tell what was made."""

    def __init__(self, lara: Lara, prompt: str, curve: Curve | None, request: Request, sampling: Sampling,
                 kept: Sequence[np.ndarray], seeds: Mapping[int, int], on_progress, memo: SegmentMemo | None = None,
                 begin: np.ndarray | None = None, session=None):
        self.lara, self.prompt, self.curve, self.request, self.sampling = lara, prompt, curve, request, sampling
        self.kept, self.seeds, self.memo, self.on_progress, self.begin = kept, seeds, memo, on_progress, begin
        self.session = session or lara.codec.session(request)
        self.segments: list[dict] = []
        self._past_codes, self._past_emotion = np.zeros((lara.codec.n_codebooks, 0), np.int64), np.zeros((0, 2), np.float32)
        self._frames = 0  # of the segments so far
        self._text: tuple | None = None  # the prompt, and what the text encoder made of it

    def __iter__(self) -> Iterator[Segment]:
        """The first segment comes as soon as it can; later ones are made into sound while those after them are sampled."""
        with ThreadPoolExecutor(1, "lara-sound") as sound:
            waiting: deque[tuple[Segment, Future]] = deque()
            for segment, render in self._codes():
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
        plan = self._plan()
        if plan is None:
            return None
        segment, render = self._segment(plan)
        return replace(segment, samples=render())

    def _codes(self) -> Iterator[tuple[Segment, Callable[[], np.ndarray]]]:
        """Segments without their samples, and what renders them."""
        plan = self._plan()
        while plan is not None:
            segment, render = self._segment(plan)
            plan = self._plan()
            yield replace(segment, is_last=plan is None), render

    def _segment(self, plan) -> tuple[Segment, Callable[[], np.ndarray]]:
        index, start = len(self.segments), self.session.position_seconds
        seed = self.seeds.get(index, segment_seed(self.request.seed, index))
        emotion = self._emotion(plan)
        context = self._past_codes[:, self._past_codes.shape[1] - plan.context_frames:]
        past_emotion = np.concatenate([self._past_emotion[len(self._past_emotion) - plan.context_frames:], emotion])
        if index < len(self.kept):
            codes = np.asarray(self.kept[index], np.int64)
            if codes.shape == plan.forced.shape:  # else the session says what is wrong; what is given goes before what was
                codes = np.where(plan.forced < 0, codes, plan.forced)
        elif self.memo is None:
            codes = self._sample(past_emotion, context, plan, seed)
        else:
            facts = self.lara.digest, str(self.lara.device), self.prompt, self.sampling, seed
            codes = self.memo.get(facts, (past_emotion, context, plan.forced), lambda: self._sample(past_emotion, context, plan, seed))
        render = self.session.push(codes)
        seconds = self.session.position_seconds - start
        self.segments.append({"start_seconds": start, "seconds": seconds, "seed": seed, "codes": pack_codes(codes)})
        self._past_codes, self._past_emotion = np.concatenate([context, codes], axis=1), past_emotion
        self._frames += codes.shape[1]
        no_samples = np.zeros((self.lara.codec.channels, 0), np.float32)
        return Segment(index, start, seconds, seed, codes, emotion, no_samples), render

    def _plan(self) -> Plan | None:
        """The session's next segment, with what the piece begins with."""
        plan, frames = self.session.plan(), self._frames
        if plan is None or self.begin is None or frames >= self.begin.shape[1]:
            return plan
        given, forced = self.begin[:, frames:frames + plan.frames], plan.forced.copy()
        forced[:, :given.shape[1]] = given
        return replace(plan, forced=forced)

    def _emotion(self, plan) -> np.ndarray:
        if self.curve is None:
            return np.full((plan.frames, 2), np.nan, np.float32)
        beats = None if plan.beats is None else lambda _: plan.beats
        return self.curve.at(plan.seconds, self.request.seconds, beats)

    def _sample(self, wanted: np.ndarray, context: np.ndarray, plan, seed: int) -> np.ndarray:
        decoder, device = self.lara.decoder, self.lara.device
        if self._text is None or self._text[0] != self.prompt:
            self._text = self.prompt, *self.lara.text_encoder.encode([self.prompt])
        _, text, text_mask = self._text
        emotion = torch.from_numpy(wanted)[None]
        cond = Conditioning(text, text_mask, emotion.nan_to_num(0.0), ~emotion.isnan().any(-1))
        cond = Conditioning(*(x.to(device) for x in (cond.text, cond.text_mask, cond.emotion, cond.emotion_mask)))
        start, share = self.session.position_seconds, plan.seconds[-1] - plan.seconds[0]

        def on_frame(done: int) -> None:
            if self.on_progress is not None:
                self.on_progress(min((start + share * done / plan.frames) / self.request.seconds, 1.0))

        codes = generate(decoder, cond, torch.from_numpy(context)[None].to(device), torch.from_numpy(plan.forced).to(device), self.sampling, seed, on_frame, self.lara.step_weights)
        return codes[0].cpu().numpy()

    @property
    def beats_at(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Seconds -> beats, as a curve in beats needs it: by the bars that were played, or by the tempo asked for."""
        performer = getattr(self.session, "performer", None)
        return performer.beats if performer is not None else None if self.request.tempo is None else self.request.beats_at

    def continued(self, seconds: float, curve: Curve | None, seed: int) -> tuple[Request, Curve | None, list[np.ndarray], dict[int, int]]:
        """What makes a piece that begins as this finished one and goes on for `seconds` more: its Request, Curve, kept codes and
        seeds. All segments but the last are kept, for that one ends the piece; bars keep their tempo. curve: of what is added;
        None goes on as the piece ended."""
        performer = getattr(self.session, "performer", None)
        tempo = self.request.tempo
        if performer is not None and tempo is None:
            tempo = tuple((start / 4, bar.tempo_bpm) for start, bar in zip(performer.starts_frames, performer.bars))
        request = replace(self.request, seconds=self.request.seconds + seconds, tempo=tempo, seed=seed,
                          tonic=getattr(self.session, "tonic", self.request.tonic))
        kept = [unpack_codes(segment["codes"]) for segment in self.segments[:-1]]
        if curve is not None or self.curve is not None:
            curve = joined(self.curve, self.request.seconds, self.beats_at, curve, seconds, None if request.tempo is None else request.beats_at)
        return request, curve, kept, {index: segment["seed"] for index, segment in enumerate(self.segments[:-1])}

    def record(self) -> dict:
        """Everything needed to make the piece again, as JSON values; codes of every segment are in it."""
        font = getattr(self.lara.codec, "soundfont", None)
        return {"format": "lara-piece", "version": 1, "model": {"name": self.lara.name, "digest": self.lara.digest},
                "soundfont": None if font is None else {"name": font.name, "digest": font.digest},
                "prompt": self.prompt, "curve": None if self.curve is None else json.loads(self.curve.to_json()),
                "request": asdict(self.request), "sampling": asdict(self.sampling), "segments": self.segments}


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
