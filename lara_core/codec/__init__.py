"""Codecs: a Request for a piece goes in; a Session says what to generate next, takes its codes, and gives sound.

The decoder sees codes [K,F] and nothing of what they mean; everything that depends on it stands behind these names, which
both codecs (score_codec.ScoreCodec, encodec.EncodecCodec) have in common.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

MAX_SECONDS = 7200.0
TEMPO_RANGE_BPM = (30.0, 300.0)


@dataclass(frozen=True)
class Request:
    """What is known of a piece before it is generated.

    seconds: its exact length. tempo: quarter notes a minute, or a tempo map of (beat, bpm) pairs that begins at beat 0, or None:
    the music chooses, as it does from the last pair of a map on where that has None for its bpm. metre and tonic (pitch class 0..11) are kept where a codec has them. seed chooses what nobody asked for.
    """

    seconds: float
    tempo: float | tuple[tuple[float, float | None], ...] | None = None
    metre: str = "4/4"
    tonic: int | None = None
    seed: int = 0

    def __post_init__(self):
        if not 0 < self.seconds <= MAX_SECONDS:
            raise ValueError(f"The length is {self.seconds} s; give more than 0 and at most {MAX_SECONDS:g} s.")
        beats = [beat for beat, _ in self.tempo] if isinstance(self.tempo, tuple) else [0]
        if not beats or beats[0] != 0 or any(b <= a for a, b in zip(beats, beats[1:])):
            raise ValueError(f"The tempo map has its beats at {beats}; begin at beat 0 and let every beat be later than the last.")
        low, high = TEMPO_RANGE_BPM
        for _, bpm in self.tempo_steps:
            if bpm is None or not low <= bpm <= high:
                raise ValueError(f"The tempo is {bpm} BPM; give {low:g} to {high:g} BPM.")
        if self.tonic is not None and self.tonic not in range(12):
            raise ValueError(f"The tonic is {self.tonic}; give a pitch class from 0 (C) to 11 (B).")

    @property
    def tempo_steps(self) -> tuple[tuple[float, float], ...]:
        """The tempo asked for, as (beat, bpm) pairs; none where the music chooses."""
        if isinstance(self.tempo, (int, float)):
            return ((0.0, float(self.tempo)),)
        return () if self.tempo is None else self.tempo[:-1] if self.tempo[-1][1] is None else self.tempo

    @property
    def free_from_beat(self) -> float:
        """From where the music chooses its tempo."""
        return 0.0 if self.tempo is None else np.inf if isinstance(self.tempo, (int, float)) or self.tempo[-1][1] is not None else self.tempo[-1][0]

    def _step_seconds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The tempo map as beats, seconds and BPM of its steps."""
        beats, bpm = np.array(self.tempo_steps, float).T
        return beats, np.concatenate([[0], np.cumsum(np.diff(beats) * 60 / bpm[:-1])]), bpm

    def seconds_at(self, beats: np.ndarray | float) -> np.ndarray:
        """When beats fall, by the tempo asked for."""
        at, seconds, bpm = self._step_seconds()
        i = np.searchsorted(at, beats, side="right") - 1
        return seconds[i] + (beats - at[i]) * 60 / bpm[i]

    def beats_at(self, seconds: np.ndarray | float) -> np.ndarray:
        """The inverse of seconds_at."""
        at, starts, bpm = self._step_seconds()
        i = np.searchsorted(starts, seconds, side="right") - 1
        return at[i] + (seconds - starts[i]) * bpm[i] / 60


@dataclass(frozen=True)
class Plan:
    """The next segment: how many frames, which codes are given (forced [K,F], -1: free), when each frame sounds (seconds [F]),
    its beats [F] in quarter notes where the codec or the request has a tempo, how many frames before it to read, and how many frames
    ahead of its time the model is told of valence."""

    forced: np.ndarray
    seconds: np.ndarray
    beats: np.ndarray | None
    context_frames: int
    ahead_frames: int = 0

    @property
    def frames(self) -> int:
        return self.forced.shape[1]


class Session(Protocol):
    """One piece on its way from codes to sound, at constant memory."""

    def plan(self) -> Plan | None:
        """The next segment, or None when the piece is complete."""

    def given(self, plan: Plan, emotion: np.ndarray) -> np.ndarray:
        """What the planned segment is given: plan.forced [K,F], and what returns in it of what was before where this emotion [F,2] (NaN: none) does."""

    def push(self, codes: np.ndarray) -> Callable[[], np.ndarray]:
        """Read the codes [K,F] of the planned segment -> what makes the samples [C,T] that are now final.

        The next segment can be planned at once. Each result is called once, in order, on any one thread.
        """

    def finish(self) -> np.ndarray:
        """After all else, what still sounds; all samples together are exactly request.seconds long."""

    @property
    def position_seconds(self) -> float:
        """Where the next segment begins."""


class Codec(Protocol):
    n_codebooks: int
    codebook_size: int
    frame_rate_hz: float  # nominal: a score's frames follow its tempo
    sample_rate_hz: int
    channels: int
    text_led: tuple[int, ...]  # of this and the next two see sampling.generate
    emotion_shares: tuple[float, ...]
    likely_only: tuple[int, ...]

    def session(self, request: Request) -> Session: ...

    def mended(self, context: np.ndarray, codes: np.ndarray, emotion: np.ndarray, new_text: bool = False) -> np.ndarray:
        """Sampled codes [K,F] after context [K,Fc], without what no music has. emotion [Fc+F,2]: what they were asked for, NaN: none;
        new_text: the context was not made for the same text."""

    def is_silent(self, codes: np.ndarray) -> bool:
        """Whether codes [K,F] that a piece begins with are no beginning, so that others are to be sampled."""


def load_codec(config: dict, folder, soundfont=None) -> Codec:
    """The codec a model folder's config names; raises ValueError for one that this version does not know."""
    name = config.get("name")
    if name == "score":
        from .score_codec import ScoreCodec
        return ScoreCodec(soundfont, folder)
    if name == "encodec":
        from .encodec import EncodecCodec
        return EncodecCodec.from_folder(Path(folder) / config.get("path", ""))
    raise ValueError(f"The model's codec is {name!r}; this version knows 'score' and 'encodec': update the pack or choose another model.")
