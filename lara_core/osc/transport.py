"""The transport: what a DAW tells of its position, tempo and playing goes in, now and then and not quite on time; the song's beat
at any moment comes out, without steps and never backwards, except where the DAW jumps.

Seconds are those of one monotonic clock; beats are quarter notes from the beginning of the song.
"""

import bisect
import functools
import math
import threading
from collections import deque
from collections.abc import Callable

from ..codec import TEMPO_RANGE_BPM

CATCH_UP_SECONDS = 0.5  # a position that was early or late is believed over so long: positions come every 100 ms, and jitter
JUMP_SECONDS = 0.3  # further off than this, the DAW has jumped
SLOPE_SECONDS = 2.0  # without a tempo, it is read from positions over so long
TEMPO_SECONDS = 0.75  # within which a DAW that has begun to play has told its tempo, or its positions have
SILENCE_SECONDS = 3.0  # a DAW that told its position and then is silent for so long while playing has gone
DEFAULT_TEMPO_BPM = 120.0
MOST_CHANGES = 1000  # of tempo that are remembered


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
        self._told_playing = self._told_beats = self._tells_again = False
        self._tempo_bpm: float | None = None
        self._moving_bpm: float | None = None  # as positions tell it
        self._played_seconds = 0.0  # since when it plays
        self._seconds, self._beat, self._off = 0.0, 0.0, 0.0  # where it was last told, and how far that was from what was expected
        self._told: deque[tuple[float, float]] = deque(maxlen=64)  # (seconds, beat) since the last jump
        self._last_time, self._moved_seconds = 0.0, 0.0
        self._times: list[tuple[float, float]] = [(0.0, 0.0)]  # (seconds, beat) of the song where its tempo changes, for a DAW that tells no beats

    @property
    @_locked
    def tempo_bpm(self) -> float:
        """As the DAW told it; else as its positions move, or moved last; else 120."""
        return self._tempo_bpm or self._moving_bpm or DEFAULT_TEMPO_BPM

    @_locked
    def awaits_tempo(self, seconds: float) -> bool:
        """Whether it has only just begun to play and nothing has told its tempo yet."""
        return self.playing and not (self._tempo_bpm or self._moving_bpm) and seconds - self._played_seconds < TEMPO_SECONDS

    @_locked
    def beat(self, seconds: float) -> float:
        if not self.playing:
            return self._beat
        since = max(seconds - self._seconds, 0.0)
        return self._beat + since * self.tempo_bpm / 60 + self._off * min(since / CATCH_UP_SECONDS, 1.0)

    @property
    @_locked
    def last_told_seconds(self) -> float | None:
        """When a position last came, of a DAW that tells it again and again; else None."""
        return self._told[-1][0] if self._tells_again and self._told else None

    @_locked
    def is_lost(self, seconds: float) -> bool:
        """Whether the DAW plays, told positions again and again, and has been silent since."""
        told = self.last_told_seconds
        return self.playing and told is not None and seconds - told > SILENCE_SECONDS

    @_locked
    def set_tempo(self, bpm: float, seconds: float) -> None:
        if not self._told_beats and self.playing and self._told and bpm != self._tempo_bpm:
            self._keep(self._last_time + seconds - self._told[-1][0], self.beat(seconds))
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
        follows = self._told and 0 <= passed <= SLOPE_SECONDS
        return self._locate(self._told[-1][1] + passed * self.tempo_bpm / 60 if follows else self._beat_at(time_seconds), seconds)

    def _keep(self, time_seconds: float, beat: float) -> None:
        """Where in the song its tempo changes."""
        self._times = sorted([*(known for known in self._times if abs(known[0] - time_seconds) > JUMP_SECONDS), (time_seconds, beat)])[-MOST_CHANGES:]

    def _beat_at(self, time_seconds: float) -> float:
        """The beat of a moment of the song, by the tempo changes that were met; behind the last one by the tempo of now."""
        index = bisect.bisect_right(self._times, (time_seconds, math.inf))
        start, beat = self._times[index - 1] if index else (0.0, 0.0)
        if index == len(self._times):
            return beat + (time_seconds - start) * self.tempo_bpm / 60
        end, next_beat = self._times[index]
        return beat + (time_seconds - start) * (next_beat - beat) / (end - start)

    def _locate(self, beat: float, seconds: float) -> bool:
        was_playing = self.playing
        if not self._told or beat != self._told[-1][1]:
            self._moved_seconds = seconds
        if not self._told_playing and self._told:
            if beat != self._told[-1][1]:
                self._set_playing(beat > self._told[-1][1] and seconds - self._told[-1][0] < SILENCE_SECONDS, seconds)
            elif seconds - self._moved_seconds > JUMP_SECONDS:
                self._set_playing(False, seconds)
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
        start, first = self._told[0]
        if seconds - start > SLOPE_SECONDS / 4:
            low, high = TEMPO_RANGE_BPM
            self._moving_bpm = min(max(60 * (beat - first) / (seconds - start), low), high)
        self._tells_again |= len(self._told) > 1
        return jumped and (self.playing or was_playing)

    def _set_playing(self, playing: bool, seconds: float) -> None:
        if playing != self.playing:
            self._stay(seconds)
            self.playing, self._played_seconds = playing, seconds
            self._told.clear()

    def _stay(self, seconds: float) -> None:
        """What was expected until now has passed; what comes counts from here."""
        if self.playing:
            done = min(max(seconds - self._seconds, 0.0) / CATCH_UP_SECONDS, 1.0)
            self._beat, self._off = self.beat(seconds), self._off * (1 - done)
        self._seconds = seconds
