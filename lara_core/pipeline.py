"""Lara: a text, a curve of valence and arousal and a length go in; segments of music come out as they are finished. Any sound
goes in, with or without the curve that was asked for; its Score comes out.

Every face (ComfyUI nodes, DAW bridge, command line) calls this and nothing below it.
"""

import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .affect import Curve
from .audio import Audio
from .checkpoint import list_models, load_model
from .choices import EMBEDDED, USUAL_CANDIDATES
from .codec import Request, load_codec
from .decoder import Decoder
from .predictor import EMBEDDED_FOLDER, WINDOW_SECONDS, EmotionPredictor, Track
from .sampling import Sampling, StepWeights
from .score import DIMENSIONS, STEP_SECONDS, evaluate_curve
from .score_predictor import FILE as SCORE_PREDICTOR, ScorePredictor, in_reach
from .take import SegmentMemo, Take, joined, sample_together
from .text import check_prompt, load_text_encoder
from .tries import BestRead, WordsAndTakes
from .weights import fingerprint, hub_folder, is_hub_id

SHIPPED_MODELS = next(folder for folder in (Path(__file__).parent / "models", Path(__file__).parent.parent / "models") if folder.is_dir())

log = logging.getLogger(__name__)


class Lara:
    """A loaded model: decoder, codec and text encoder. folder: where it lies."""

    def __init__(self, name: str, decoder: Decoder, codec, text_encoder, digest: str = "", folder: Path | None = None):
        self.name, self.decoder, self.codec, self.text_encoder, self.digest = name, decoder.eval(), codec, text_encoder, digest
        self.folder = folder
        self.step_weights = StepWeights(self.decoder)
        self._text: tuple | None = None  # a prompt, and what the text encoder made of it

    @functools.cached_property
    def score_predictor(self) -> ScorePredictor | None:
        """What tells how this model's scores are heard, where it has that; read when it is needed."""
        return None if self.folder is None else ScorePredictor.beside(self.folder)

    @property
    def reach(self) -> tuple[np.ndarray, np.ndarray] | None:
        """What is heard, [2] and [2], where -1 and where 1 is asked of this model; None where that is not known."""
        return None if self.score_predictor is None else self.score_predictor.ends

    @property
    def device(self) -> torch.device:
        return self.decoder.norm.weight.device  # not of a property `device`: ComfyUI sets one of that name on what it manages

    @property
    def has_steady_segments(self) -> bool:
        """Whether segments last as long in every take, so that they can be compared, and `takes` samples them in one pass. Bars don't."""
        return not hasattr(self.codec, "live_session")

    def prepare(self) -> None:
        """To be called after the decoder was moved to another device: what is computed from its weights follows."""
        if self.step_weights.table.device != self.device:
            self.step_weights = StepWeights(self.decoder)

    @classmethod
    def load(cls, model: str | Path = EMBEDDED, device: str = "cpu", soundfont: str | Path | None = None,
             folders: Sequence[Path] = (), dtype: torch.dtype = torch.float32, movable: bool = False) -> "Lara":
        """Load a model by the name of its folder in `folders` or among those shipped, by its path, or by its hub id (see weights.hub_folder).

        soundfont: an .sf2 file for score models; None finds one. dtype: of the decoder's weights and arithmetic; codec and text
        encoder stay as they are. torch.int8, on the CPU only, rounds the weights and computes in float32. movable: the decoder may be
        moved to another device later, which weights that are packed for the CPU can't. Raises ValueError or OSError in one sentence.
        """
        folder = find_model(model, folders)
        packed = torch.device(device).type == "cpu" and dtype == torch.float32 and not movable
        decoder, config = load_model(folder, device, dtype, packed)
        return cls(folder.name, decoder, load_codec(config.codec, folder, soundfont), load_text_encoder(config.text, folder), fingerprint(folder), folder)

    def stream(self, prompt: str, curve: Curve | None, request: Request, sampling: Sampling = Sampling(),
               kept: Sequence[np.ndarray] = (), seeds: Mapping[int, int] | None = None,
               on_progress: Callable[[float], None] | None = None, memo: SegmentMemo | None = None,
               begin: np.ndarray | None = None, candidates: int = 0) -> Take:
        """Begin a piece; iterate over the Take to generate it.

        curve: None leaves the emotion to the model. kept: codes of the first segments, which are used as they are, so that a
        piece can be made again from a later segment on. seeds: other seeds for single segments. on_progress(0..1) is called
        after every frame and may raise to cancel. memo: segments that it has met with the same past, emotion and seed are not
        sampled again. begin: codes [K,F] of the first frames, as `after` gives them. candidates: so many tries for each segment, of
        which the nearest to the curve is kept (see tries); 0 leaves it to the model: USUAL_CANDIDATES of a score model that can judge them by their notes, else 1.
        For a MusicGen checkpoint they are words+takes, which without an emotion encoder alone lead it along a curve.
        """
        return Take(self, check_prompt(prompt), curve, request, sampling, kept, seeds or {}, on_progress, memo, begin,
                    control=self._control(curve, candidates))

    def takes(self, prompt: str, curve: Curve | None, requests: Sequence[Request], sampling: Sampling = Sampling(),
              kept: Sequence[np.ndarray] = (), seeds: Sequence[Mapping[int, int]] = (), on_progress: Callable[[float], None] | None = None,
              memo: SegmentMemo | None = None, begin: np.ndarray | None = None) -> list[Take]:
        """Several takes, one for each request, sampled now and together, which costs less than one after the other; iterating over
        one of them then only makes its sound. Arguments as for `stream`; seeds: one mapping for each request, or none at all."""
        def make(request: Request, own: Mapping[int, int], codes: Sequence[np.ndarray]) -> Take:
            return Take(self, check_prompt(prompt), curve, request, sampling, codes, own, None, memo, begin)

        self._control(curve, 0)
        each = list(zip(requests, seeds or [{}] * len(requests), strict=True))
        sampled = sample_together([make(request, own, kept) for request, own in each], on_progress)
        return [make(request, own, codes) for (request, own), codes in zip(each, sampled)]

    def _control(self, curve: Curve | None, candidates: int) -> BestRead | WordsAndTakes | None:
        """What brings the emotion about where the decoder alone doesn't. Raises ValueError where the model can't do what is asked."""
        if curve is not None and not candidates and not self.decoder.config.emotion:
            raise ValueError(f"The model {self.name} has no emotion encoder; ask it for no emotion, for candidates (words+takes), or load a LARA model.")
        if curve is not None and not candidates and not self.has_steady_segments and self.score_predictor is not None:
            candidates = USUAL_CANDIDATES
        if candidates < 2 and (curve is None or self.decoder.config.emotion):
            return None
        if self.has_steady_segments:
            return WordsAndTakes(candidates, _predictor())
        if self.score_predictor is None:
            raise ValueError(f"The model {self.name} has no {SCORE_PREDICTOR} to choose candidates by; ask for 1{'' if self.decoder.config.emotion else ', and for no emotion'}.")
        return BestRead(candidates, self.score_predictor)

    def encoded(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A prompt -> features [1,L,width] and mask [1,L]; the last one is remembered."""
        if self._text is None or self._text[0] != prompt:
            self._text = prompt, self.text_encoder.encode([prompt])
        return self._text[1]

    def after(self, sound: Audio, curve: Curve | None, request: Request) -> tuple[Request, Curve | None, np.ndarray]:
        """What makes a piece that begins with any sound and goes on for request.seconds more: its Request, its Curve, and the codes
        [K,F] to begin with. curve: of what is added. Raises ValueError in one sentence where the codec cannot read sound."""
        begin = self.codec.encode(sound)
        whole = replace(request, seconds=sound.seconds + request.seconds)
        if curve is not None:
            curve = joined(None, sound.seconds, None, curve, request.seconds, None if request.tempo is None else request.beats_at)
        return whole, curve, begin

    def live(self, prompt: str, curve: Curve, request: Request, next_tempo: Callable[[], float | None], sampling: Sampling = Sampling(),
             kept: Sequence[np.ndarray] = (), seeds: Mapping[int, int] | None = None, on_progress: Callable[[float], None] | None = None) -> Take:
        """Begin a piece without a known end, a bar at a time: `Take.next_segment` asks next_tempo for the tempo of the next bar (None:
        the piece ends) and then the curve for its emotion. Raises ValueError for a model whose codec knows no bars."""
        if self.has_steady_segments:
            raise ValueError(f"The model {self.name} does not make bars, so it cannot play live; choose a score model, such as {EMBEDDED}.")
        session = self.codec.live_session(request, next_tempo)
        return Take(self, check_prompt(prompt), curve, request, sampling, kept, seeds or {}, on_progress, session=session)

    def generate(self, prompt: str, curve: Curve | None, request: Request, sampling: Sampling = Sampling(), **options) -> tuple[Audio, Take]:
        """The whole piece at once -> its audio, exactly request.seconds long, and the finished Take."""
        take = self.stream(prompt, curve, request, sampling, **options)
        samples = np.concatenate([segment.samples for segment in take], axis=1)
        return Audio(samples, self.codec.sample_rate_hz), take

    @staticmethod
    def score(sound: str | Path | Audio, curve: Curve | None = None, tempo: float | Callable[[np.ndarray], np.ndarray] | None = None,
              reach: tuple[np.ndarray, np.ndarray] | None = None) -> "Score":
        """Measure a sound file of any length (at constant memory) or Audio with the shipped predictor; needs no loaded model.

        curve: what was asked for, compared over the time it has in common with the sound; a normalized one stretches. tempo: as
        `Curve.at` needs it for a curve in beats. reach: of the model that made the sound; pictures then show what is measured as its share of
        that. Raises ValueError in one sentence for sound that cannot be heard.
        """
        track, seconds = _hear(sound)
        if not track.is_music:
            return Score(seconds, track, remarks=("The predictor hears no music here (silence, speech or noise), so it gives no emotion.",))
        if curve is None:
            return Score(seconds, track, reach=reach)
        last = _last_seconds(curve, seconds, tempo)
        end, measured, remarks = min(last, seconds), _heard_as_music(track, seconds), []
        if math.isfinite(last) and abs(last - seconds) > STEP_SECONDS:
            remarks.append(f"The curve lasts {last:.1f} s and the sound {seconds:.1f} s: they are compared over the first {end:.1f} s.")
        if min(end, measured[0][-1]) - measured[0][0] < 2 * STEP_SECONDS:
            remarks.append(f"Curve and music share less than {2 * STEP_SECONDS:g} s, too little to compare.")
            return Score(seconds, track, remarks=tuple(remarks), reach=reach)
        times = np.linspace(0, end, math.ceil(end / 0.05) + 1)  # finely: evaluate_curve interpolates, also where a curve jumps
        return Score(seconds, track, evaluate_curve((times, curve.at(times, seconds, tempo)), measured), tuple(remarks), reach)


@dataclass(frozen=True, eq=False)
class Score:
    """What was measured in `seconds` of sound: its `track`; its `evaluation` against the curve as score.evaluate_curve gives it,
    None where nothing was asked for or comparable; `remarks`, sentences on what was left out and why; and the `reach` of the model that
    made it, None where that is not known."""

    seconds: float
    track: Track
    evaluation: dict | None = None
    remarks: tuple[str, ...] = ()
    reach: tuple[np.ndarray, np.ndarray] | None = None

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

    @property
    def shown(self) -> np.ndarray:
        """The track's values [M,2] as pictures show them beside a request: in the measure of requests where the reach is known."""
        return self.track.values if self.reach is None else in_reach(self.track.values, *self.reach)

    def drawn(self) -> dict:
        """The options of plot.plot_piece that draw what was measured, none where nothing was."""
        if not self.track.is_music:
            return {}
        known = {"uncertainty": self.track.uncertainty} if self.reach is None else {"measured_as": "measured, of its reach"}
        return {"measured": (self.track.times_seconds, self.shown)} | known

    def to_dict(self) -> dict:
        """JSON values, four decimals, None for NaN, without the track; `predictor` tells the weights that measured."""
        return json_values({
            "predictor": fingerprint(EMBEDDED_FOLDER), "seconds": self.seconds, "music_share": float(np.mean(self.track.music >= 0.5)),
            "point": dict(zip(DIMENSIONS, self.track.point)), "uncertainty": dict(zip(DIMENSIONS, self.uncertainty)),
            "reach": None if self.reach is None else dict(zip(DIMENSIONS, np.transpose(self.reach))),
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


def find_model(model: str | Path, folders: Sequence[Path] = ()) -> Path:
    if Path(model).is_dir():
        return Path(model)
    known = list_models([*folders, SHIPPED_MODELS])
    if is_hub_id(str(model)) and not Path(model).parent.is_dir():  # else it is a path with a mistake in it
        name = Path(model).name
        return known[name] if name in known else hub_folder(str(model), SHIPPED_MODELS / name)
    if str(model) not in known:
        raise FileNotFoundError(f"There is no model {str(model)!r}; give the path of a model folder, a hub id such as facebook/musicgen-small, or one "
                                f"of: {', '.join(known) or 'none installed'}.")
    return known[str(model)]
