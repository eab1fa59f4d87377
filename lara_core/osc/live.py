"""The live session: what a Receiver hears goes in; while the transport plays, bars of music come out, each finished before its bar line.

The conductor is asked again and again what is to be done at a moment (`step`); it looks at the song's beat, has the next bar made as
late as is safe, and hands it over. A bar is begun at most one bar before its line, so a change of emotion is heard within two bars.
A bar that is not ready in time is replaced by the one before it, and comes a bar later.

The song's clock is the DAW's; the sound's clock counts samples. A bar has the DAW's tempo exactly; only where the two clocks have
come apart by more than MAX_OFF_SECONDS (the tempo has changed in mid-bar) are bars a little longer or shorter until they meet again.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np

from .maker import Cancelled, MadeBar, Maker
from .output import SegmentFolder, SoundQueue, faded
from .protocol import READY, SCORE, STATUS
from .receiver import Receiver

MARGIN_SECONDS = 0.06  # a bar that is not ready so long before its line is late
SAFETY = 2.0  # a bar is begun so many times earlier than the last ones took
SPARE_SECONDS = 0.15
MAX_OFF_SECONDS = 0.05  # a DAW tells its position no more exactly
MAX_BEND = 0.1  # of a bar's length, to meet the DAW's bar line again
STATUS_SECONDS = 1.0
COSTS = 8  # bars whose time is remembered
HEARD_BARS = 8  # are heard together by the predictor


@dataclass(frozen=True)
class Delivered:
    """A bar as it went out: `bar` counts the song's bars from 0, `made` those that were made; its length in samples, tempo, mean
    emotion; ahead_beats: how long before its line it was there; age_beats: how long before its line its emotion was read;
    made_seconds: what it took to make, 0 where it is repeated."""

    index: int
    bar: int
    made: int
    samples: int
    tempo_bpm: float
    valence: float
    arousal: float
    repeated: bool
    ahead_beats: float
    age_beats: float
    made_seconds: float


class Conductor:
    """pool: runs the maker, one bar at a time. folder, queue: where bars go, either may be None. clock: that of the receiver."""

    def __init__(self, receiver: Receiver, maker: Maker, pool: Executor, folder: SegmentFolder | None, queue: SoundQueue | None,
                 clock: Callable[[], float]):
        self.receiver, self.maker, self.pool, self.folder, self.queue, self.clock = receiver, maker, pool, folder, queue, clock
        self.delivered: list[Delivered] = []
        self.late = 0
        self.status = "waiting for the DAW to play"
        self.costs: deque[float] = deque(maxlen=COSTS)  # seconds
        self._next_bar: int | None = None  # the song's bar that is to be delivered next; None while the transport stands
        self._sound_end: float | None = None  # when what was delivered in this run has sounded
        self._job: tuple[Future, float, float, int | None] | None = None  # when and at which beat it was begun; the segment it replaces
        self._last: MadeBar | None = None
        self._apart = True  # the next bar does not follow what sounds before it
        self._jumped, self._asked = False, 0
        self.heard: tuple[float, float] | None = None  # valence and arousal of the last bars
        self._recent: deque[np.ndarray] = deque(maxlen=HEARD_BARS)
        self._hearing: Future | None = None
        self._hearing_seconds = 0.5  # until it is known
        self._new_seeds = itertools.count(1)
        self._commands: deque[tuple[str, tuple]] = deque()
        self._told: tuple[float, str] = (-math.inf, "")
        receiver.listeners.append(self._hear)

    def close(self) -> None:
        self.receiver.listeners.remove(self._hear)
        self.maker.cancel()
        if self.queue is not None:
            self.queue.stop()

    @property
    def ahead_beats(self) -> float:
        """Beats of music that are ready ahead of the transport."""
        if self._next_bar is None or self._sound_end is None:
            return 0.0
        return max(self._next_bar * self.maker.beats_per_bar - self.receiver.transport.beat(self.clock()), 0.0)

    def _hear(self, name: str, values: tuple, _now: float) -> None:
        if name == "jump":
            self._jumped = True
        elif name in ("generate", "cancel", "redo"):
            self._commands.append((name, values))

    # ---- a moment --------------------------------------------------------------------------------------------------

    def step(self, now: float) -> None:
        """Whatever is due at this moment; returns at once."""
        transport = self.receiver.transport
        while self._commands:
            self._obey(*self._commands.popleft())
        if not transport.playing:
            if self._next_bar is not None:
                self._end_run()
        elif self._next_bar is None or self._jumped or self._seconds_until(self._next_bar + 1, now) < 0:  # or this machine was asleep
            self._begin_run(transport.beat(now))
        self._collect(now)
        if self._next_bar is not None:
            self._keep_time(now)
        self._begin_bar(now)
        self._listen(now)
        self._tell(now)

    def _begin_run(self, beat: float) -> None:
        self._jumped, self._asked, self._apart = False, 0, True
        self._next_bar = math.floor(beat / self.maker.beats_per_bar) + 1
        self._sound_end, self.status = None, "starting at the next bar"
        if self.queue is not None:
            self.queue.stop()

    def _end_run(self) -> None:
        self._next_bar, self._sound_end, self.status = None, None, "stopped"
        if self.queue is not None:
            self.queue.stop()

    def _seconds_until(self, bar: int, now: float) -> float:
        transport = self.receiver.transport
        return (bar * self.maker.beats_per_bar - transport.beat(now)) * 60 / transport.tempo_bpm

    def _seconds_left(self, now: float) -> float:
        """Until the next bar must be there: its line, or the end of the sound before it where that comes first."""
        line = self._seconds_until(self._next_bar, now)
        return line if self._sound_end is None else min(line, self._sound_end - now)

    def _tempo_of(self, bar: int, now: float) -> float:
        """The tempo of a bar that is made now: the DAW's, bent where sound and song have come apart."""
        tempo = self.receiver.transport.tempo_bpm
        if self._sound_end is None:
            return tempo
        natural = self.maker.beats_per_bar * 60 / tempo
        wanted = now + self._seconds_until(bar + 1, now) - self._sound_end
        if abs(wanted - natural) <= MAX_OFF_SECONDS:
            return tempo
        return self.maker.beats_per_bar * 60 / float(np.clip(wanted, natural * (1 - MAX_BEND), natural * (1 + MAX_BEND)))

    def _begin_bar(self, now: float) -> None:
        """Have the next bar made, if it is time."""
        if self._job is not None:
            return
        bar, transport = self._next_bar, self.receiver.transport
        if bar is None:
            if not self._asked:
                return
            bar = self._bar_asked_for(now)
        elif self._seconds_left(now) > self._lead_seconds or transport.awaits_tempo(now):
            return
        tempo, beat = self._tempo_of(bar, now), bar * self.maker.beats_per_bar
        future = self.pool.submit(self._timed, self.maker.make, beat, tempo, self.receiver.prompt, self.receiver.seed)
        self._job = future, now, transport.beat(now), None

    @property
    def _lead_seconds(self) -> float:
        """How long before its line a bar is begun: at most a bar."""
        bar = self.maker.beats_per_bar * 60 / self.receiver.transport.tempo_bpm
        return min(SAFETY * max(self.costs) + SPARE_SECONDS + MARGIN_SECONDS, bar) if self.costs else bar

    def _listen(self, now: float) -> None:
        """Have the last bars heard while there is nothing else to do, and tell what was heard."""
        if self._hearing is not None:
            if self._hearing.done():
                self.heard, self._hearing_seconds = self._hearing.result()
                self._hearing = None
                if self.heard is not None:
                    self.receiver.send(SCORE, *self.heard)
        elif self._job is None and self._next_bar is not None and len(self._recent) == HEARD_BARS:
            if self._seconds_left(now) - self._lead_seconds > 2 * self._hearing_seconds:
                sound = np.concatenate(self._recent, axis=1)
                self._recent.clear()
                self._hearing = self.pool.submit(self._timed, self.maker.hear, sound)

    def _timed(self, work: Callable, *arguments) -> tuple:
        began = self.clock()
        result = work(*arguments)
        return result, self.clock() - began

    def _collect(self, now: float) -> None:
        """Hand over a bar that has been finished."""
        if self._job is None or not self._job[0].done():
            return
        (future, began, read_beat, replaces), self._job = self._job, None
        try:
            made, seconds = future.result()
        except Cancelled:
            self.status = "dropped a bar"
            return
        except (ValueError, OSError) as error:
            self._asked = 0
            self.receiver.complain(f"The bar could not be made ({error}).")
            return
        if replaces is not None:
            self._replace(replaces, made)
            return
        self.costs.append(max(seconds, now - began))
        if self._next_bar is None:
            if self._asked:
                self._asked -= 1
                self._deliver(self._bar_asked_for(now), made, False, now, read_beat, seconds)
        else:
            self.status = "playing"
            self._deliver(self._next_bar, made, False, now, read_beat, seconds)
            self._next_bar += 1

    def _keep_time(self, now: float) -> None:
        """Where a bar line is here and its bar is not, the bar before sounds again."""
        while self._seconds_left(now) < MARGIN_SECONDS:
            if self._sound_end is not None:
                self.late += 1
                self.status = "late: repeating the last bar"
                self.receiver.complain(f"Bar {self._next_bar + 1} was not ready in time, so the one before it is repeated; "
                                       "close other programs, or play slower.")
                self._deliver(self._next_bar, self._last, True, now, self._next_bar * self.maker.beats_per_bar, 0.0)
            self._next_bar += 1

    # ---- bars out --------------------------------------------------------------------------------------------------

    def _deliver(self, bar: int, made: MadeBar, repeated: bool, now: float, read_beat: float, seconds: float) -> None:
        rate, start_beat = self.maker.sample_rate_hz, bar * self.maker.beats_per_bar
        samples = made.samples
        if repeated:
            length = round(self.maker.beats_per_bar * 60 / self._tempo_of(bar, now) * rate)
            samples = np.pad(samples, ((0, 0), (0, max(length - samples.shape[1], 0))))[:, :length]
        if repeated or self._apart:
            samples = faded(samples, rate, True, repeated)
        self._apart, self._last = repeated, made
        until = max(self._seconds_until(bar, now), 0.0) if self._next_bar is not None else 0.0
        if self._sound_end is None:
            self._sound_end = now + until
            if self.queue is not None:
                self.queue.begin(until)
        self._sound_end += samples.shape[1] / rate
        self._recent.append(samples)
        if self.queue is not None:
            self.queue.put(samples)
        valence, arousal = map(float, made.emotion.mean(0))
        self.delivered.append(Delivered(len(self.delivered), bar, made.number, samples.shape[1], made.tempo_bpm, valence, arousal, repeated,
                                        until * self.receiver.transport.tempo_bpm / 60, start_beat - read_beat, seconds))
        if self.folder is not None:
            try:
                path = self.folder.add(len(self.delivered) - 1, bar, start_beat, samples, made, repeated)
            except (ValueError, OSError) as error:
                self.receiver.complain(f"Bar {bar + 1} sounds, but cannot be written ({error}).")
                return
            self.receiver.send(READY, len(self.delivered) - 1, float(start_beat), float(self.maker.beats_per_bar), str(path.resolve()))

    def _replace(self, index: int, made: MadeBar) -> None:
        old = self.delivered[index]
        if self.folder is not None:
            try:
                path = self.folder.replace(index, made.samples, made)
            except (ValueError, OSError) as error:
                self.receiver.complain(f"Segment {index} cannot be written ({error}).")
                return
            self.receiver.send(READY, index, float(old.bar * self.maker.beats_per_bar), float(self.maker.beats_per_bar), str(path.resolve()))

    # ---- commands and status ---------------------------------------------------------------------------------------

    def _bar_asked_for(self, now: float) -> int:
        """Where a bar goes that is made without the transport: behind the last, or where the song stands."""
        here = math.floor(self.receiver.transport.beat(now) / self.maker.beats_per_bar)
        return max(self.delivered[-1].bar + 1, here) if self.delivered else here

    def _obey(self, name: str, values: tuple) -> None:
        if name == "cancel":
            self._asked = 0
            self.maker.cancel()
        elif name == "generate":
            if self._next_bar is None:
                self._asked += 1
            else:
                self.receiver.complain("The transport plays, so bars are made anyway; /lara/generate is for when it stands.")
        elif not 0 <= values[0] < len(self.delivered) or self.delivered[values[0]].repeated:
            self.receiver.complain(f"There is no segment {values[0]} to make again; there are {len(self.delivered)}, counted from 0, "
                                   "and those that were repeated are not made.")
        elif self._job is not None or self._next_bar is not None:
            self.receiver.complain("A segment is made again when the transport stands and no bar is being made.")
        else:
            future = self.pool.submit(self._timed, self.maker.again, self.delivered[values[0]].made, next(self._new_seeds))
            self._job = future, self.clock(), 0.0, values[0]

    def _tell(self, now: float) -> None:
        if self.status != self._told[1] or now - self._told[0] >= STATUS_SECONDS:
            self._told = now, self.status
            self.receiver.send(STATUS, self.status, float(self.ahead_beats))
