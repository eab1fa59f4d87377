"""The transport: what a DAW tells of its position, tempo and playing goes in, now and then and not quite on time; the song's beat
at any moment comes out, without steps and never backwards, except where the DAW jumps.

Seconds are those of one monotonic clock; beats are quarter notes from the beginning of the song.
"""

import functools
import threading
from collections import deque
from collections.abc import Callable

from ..codec import TEMPO_RANGE_BPM

CATCH_UP_SECONDS = 0.5  # a position that was early or late is believed over so long: positions come every 100 ms, and jitter
JUMP_SECONDS = 0.3  # further off than this, the DAW has jumped
SLOPE_SECONDS = 2.0  # without a tempo, it is read from positions over so long
SILENCE_SECONDS = 3.0  # a DAW that told its position and then is silent for so long while playing has gone
DEFAULT_TEMPO_BPM = 120.0


def _locked(method: Callable) -> Callable:
    @functools.wraps(method)
    def locked(self, *arguments):
        with self._lock:
            return method(self, *arguments)

    return locked


class Transport:
    """Told by the receiver's thread, asked from any."""

    def __init__(self):
        self._lock = threading.RLock()
        self.playing = False
        self._told_playing = self._told_beats = False
        self._tempo_bpm: float | None = None
        self._seconds, self._beat, self._off = 0.0, 0.0, 0.0  # where it was last told, and how far that was from what was expected
        self._told: deque[tuple[float, float]] = deque(maxlen=64)  # (seconds, beat) since the last jump
        self._last_time = 0.0

    @property
    @_locked
    def tempo_bpm(self) -> float:
        """As the DAW told it; else as its positions move; else 120."""
        if self._tempo_bpm is not None:
            return self._tempo_bpm
        if len(self._told) > 1 and self._told[-1][0] - self._told[0][0] > SLOPE_SECONDS / 4:
            (start, first), (end, last) = self._told[0], self._told[-1]
            low, high = TEMPO_RANGE_BPM
            return min(max(60 * (last - first) / (end - start), low), high)
        return DEFAULT_TEMPO_BPM

    @_locked
    def beat(self, seconds: float) -> float:
        if not self.playing:
            return self._beat
        since = max(seconds - self._seconds, 0.0)
        return self._beat + since * self.tempo_bpm / 60 + self._off * min(since / CATCH_UP_SECONDS, 1.0)

    @property
    @_locked
    def last_told_seconds(self) -> float | None:
        """When a position last came; None before the first."""
        return self._told[-1][0] if self._told else None

    @_locked
    def is_lost(self, seconds: float) -> bool:
        """Whether the DAW plays, told positions, and has been silent since."""
        return self.playing and bool(self._told) and seconds - self._told[-1][0] > SILENCE_SECONDS

    @_locked
    def set_tempo(self, bpm: float, seconds: float) -> None:
        self._stay(seconds)
        self._tempo_bpm = bpm

    @_locked
    def set_playing(self, playing: bool, seconds: float) -> None:
        self._told_playing = True
        self._set_playing(playing, seconds)

    @_locked
    def lose(self, seconds: float) -> None:
        """The DAW has gone: the transport stands; when positions move again, it plays."""
        self._told_playing = False
        self._set_playing(False, seconds)

    @_locked
    def set_beat(self, beat: float, seconds: float) -> bool:
        """A position in beats -> whether it is a jump."""
        self._told_beats = True
        return self._locate(beat, seconds)

    @_locked
    def set_time(self, time_seconds: float, seconds: float) -> bool:
        """A position in seconds, counted in beats by the tempo -> whether it is a jump; ignored where the DAW tells beats too."""
        if self._told_beats:
            return False
        passed, self._last_time = time_seconds - self._last_time, time_seconds
        follows = self._told and 0 <= passed <= SLOPE_SECONDS  # so tempo changes further back stay counted
        return self._locate(self._told[-1][1] + passed * self.tempo_bpm / 60 if follows else time_seconds * self.tempo_bpm / 60, seconds)

    def _locate(self, beat: float, seconds: float) -> bool:
        if not self._told_playing and self._told and beat != self._told[-1][1]:
            self._set_playing(beat > self._told[-1][1] and seconds - self._told[-1][0] < SILENCE_SECONDS, seconds)
        expected = self.beat(seconds)
        off = beat - expected
        first, jumped = not self._told, not self.playing or abs(off) > JUMP_SECONDS * self.tempo_bpm / 60
        if first or jumped:
            self._told.clear()
            self._beat, self._off = beat, 0.0
        else:
            while self._told and seconds - self._told[0][0] > SLOPE_SECONDS:
                self._told.popleft()
            self._beat, self._off = expected, off
        self._seconds = seconds
        self._told.append((seconds, beat))
        return jumped and self.playing

    def _set_playing(self, playing: bool, seconds: float) -> None:
        if playing != self.playing:
            self._stay(seconds)
            self.playing = playing
            self._told.clear()

    def _stay(self, seconds: float) -> None:
        """What was expected until now has passed; what comes counts from here."""
        if self.playing:
            done = min(max(seconds - self._seconds, 0.0) / CATCH_UP_SECONDS, 1.0)
            self._beat, self._off = self.beat(seconds), self._off * (1 - done)
        self._seconds = seconds
