"""The maker: the tempo and the song's beat of the next bar go in, and what the DAW says at that moment; a bar of music comes out."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..audio import Audio
from ..codec import Request
from ..codec.score import METRES, Score
from ..pipeline import Lara
from ..take import segment_seed
from ..sampling import Sampling
from ..text import check_prompt
from .recorder import Recorder

CONTEXT_BARS = 10  # that a bar is made again after, as many as the model reads
AGREES = 0.1  # so near to what was recorded here earlier, the DAW is playing that again


class Cancelled(Exception):
    """The bar was dropped before it was finished."""


@dataclass(frozen=True, eq=False)
class MadeBar:
    """Number `number` of those made: samples [C, T], exactly as long as its beats at tempo_bpm; its notes; the emotion [F, 2] that was
    asked for; how it was made."""

    number: int
    samples: np.ndarray
    tempo_bpm: float
    piece: Score
    emotion: np.ndarray
    codes: np.ndarray
    seed: int


class LiveEmotion:
    """Stands in for a Curve: read by the pipeline just before a bar is sampled. start_beat: where in the song that bar lies.

    The value in force holds; where the DAW plays what the recorder knows from an earlier pass, what comes next is read ahead.
    """

    def __init__(self, recorder: Recorder, clock: Callable[[], float]):
        self.recorder, self.clock, self.start_beat = recorder, clock, 0.0

    def at(self, times_seconds: np.ndarray, duration_seconds: float, tempo: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        beats = tempo(times_seconds)
        receiver, known = self.recorder.receiver, self.recorder.known
        now = np.array([receiver.valence, receiver.arousal], np.float32)
        if known is not None:
            here = known.at(np.array([receiver.transport.beat(self.clock())]), tempo=60.0)[0]
            if np.abs(here - now).max() <= AGREES:
                return known.at(self.start_beat + beats - beats[0], tempo=60.0)
        return np.tile(now, (len(beats), 1))


class Maker:
    """One piece of music, made a bar at a time; used from one thread at a time, except `cancel`."""

    def __init__(self, lara: Lara, emotion: LiveEmotion, prompt: str, request: Request, sampling: Sampling = Sampling()):
        self.lara, self.emotion, self.request, self.sampling = lara, emotion, request, sampling
        self.beats_per_bar = METRES[request.metre][0] / 4
        self.sample_rate_hz, self.channels = lara.codec.sample_rate_hz, lara.codec.channels
        self._tempo_bpm, self._cancel, self._told_prompt = 0.0, False, None
        self._bars: list[MadeBar] = []
        self.take = lara.live(prompt, emotion, request, lambda: self._tempo_bpm, sampling, on_progress=self._stop_if_cancelled)

    def make(self, start_beat: float, tempo_bpm: float, prompt: str | None = None, seed: int | None = None) -> MadeBar:
        """The next bar, for this beat of the song. Raises ValueError (once for a prompt that cannot be used), or Cancelled; either
        leaves the piece as it was."""
        self._tempo_bpm, self.emotion.start_beat, self._cancel = tempo_bpm, start_beat, False
        if prompt != self._told_prompt:
            self._told_prompt = prompt
            self.take.prompt = check_prompt(prompt)
        if seed is not None:
            self.take.request = replace(self.take.request, seed=seed)
        bar = _made(self.take, len(self._bars), tempo_bpm)
        self._bars.append(replace(bar, samples=bar.samples[:, :0].copy()))  # hours of sound would not fit
        return bar

    def again(self, number: int, seed: int) -> MadeBar:
        """Bar `number` (in the order they were made) with another seed, after the same bars as before."""
        first = max(number - CONTEXT_BARS, 0)
        bars = self._bars[first:number + 1]
        tempi, emotions = iter([bar.tempo_bpm for bar in bars]), iter([bar.emotion for bar in bars])
        request = replace(self.request, tonic=self.take.session.tonic)
        take = self.lara.live(self.take.prompt, _Stored(emotions), request, lambda: next(tempi), self.sampling,
                              [bar.codes for bar in bars[:-1]], {len(bars) - 1: segment_seed(seed, number)}, self._stop_if_cancelled)
        self._cancel = False
        for bar in bars:
            made = _made(take, bar.number, bar.tempo_bpm)
        return made

    def hear(self, samples: np.ndarray) -> tuple[float, float] | None:
        """Valence and arousal of samples [C, T] as the predictor hears them; None where it hears no music."""
        track = self.lara.score(Audio(samples, self.sample_rate_hz)).track
        return (float(track.point[0]), float(track.point[1])) if track.is_music else None

    def cancel(self) -> None:
        self._cancel = True

    def _stop_if_cancelled(self, _share: float) -> None:
        if self._cancel:
            raise Cancelled


class _Stored:
    """The emotions of bars that are made again, in their order."""

    def __init__(self, emotions):
        self.emotions = emotions

    def at(self, times_seconds, duration_seconds, tempo) -> np.ndarray:
        return next(self.emotions)


def _made(take, number: int, tempo_bpm: float) -> MadeBar:
    segment = take.next_segment()
    return MadeBar(number, segment.samples, tempo_bpm, take.session.last_bar(), segment.emotion, segment.codes, segment.seed)
