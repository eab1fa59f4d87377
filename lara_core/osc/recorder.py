"""The recorder: while the transport plays, what a Receiver hears goes in; a Curve in beats comes out, with few points and a stated error.

A pass is a stretch of the song that was played without a jump. Each replaces what the curve held there (punch-in); of a loop the
last round stays. The curve is saved while the pass goes on, so that a DAW or a program that ends in the middle loses nothing.
"""

import os
import threading

import numpy as np

from ..affect import MAX_POINTS, Curve, thin
from .receiver import Receiver

MAX_ERROR = 0.01  # of valence and arousal, within -1..1: a percent of either half
POLL_SECONDS = 0.1  # a DAW looks at its automation so often, and sends what has changed
SAME_POLL_SECONDS = 0.02
HOLD_SECONDS = 0.25  # a value that did not change for longer was held, and then moved within one poll
JOINT_BEATS = 1e-3  # between what was there and what was punched in
MIN_PASS_BEATS = 0.25  # shorter ones are a transport that was just being located
SAVE_SECONDS = 2.0
MAX_SAMPLES = 5_000  # of one pass; a longer one is put together from several: to thin what is open takes a few hundredths of a second


class Recorder:
    """Records from when it is made until it is closed.

    curve: what is there already, in beats. path: JSON that is kept up to date. armed: whether to record before /lara/record says so.
    """

    def __init__(self, receiver: Receiver, path: str | os.PathLike | None = None, curve: Curve | None = None, armed: bool = True,
                 max_error: float = MAX_ERROR):
        if curve is not None and (curve.unit != "beats" or curve.interpolation != "linear"):
            raise ValueError(f"the curve to record over is {curve.interpolation} in {curve.unit}; give one that is linear in beats, as the "
                             "recorder writes it")
        self.receiver, self.path, self.max_error = receiver, path, max_error
        self._curve, self._armed, self._lock = curve, armed, threading.Lock()
        self._samples: list[tuple[float, float, float, float]] = []  # of the open pass: (beat, valence, arousal, seconds)
        self._position_seconds = 0.0
        self._changed, self._saved_seconds = False, 0.0
        receiver.listeners.append(self._hear)
        receiver.tickers.append(self._tick)

    @property
    def armed(self) -> bool:
        return self._armed if self.receiver.armed is None else self.receiver.armed

    @property
    def recording(self) -> bool:
        """Whether a pass is open."""
        return bool(self._samples)

    @property
    def samples(self) -> np.ndarray:
        """The open pass as it came: beats, valence, arousal [N, 3]."""
        with self._lock:
            return np.array(self._samples, float).reshape(-1, 4)[:, :3]

    @property
    def known(self) -> Curve | None:
        """What was there before the open pass."""
        return self._curve

    def curve(self) -> Curve | None:
        """Everything recorded so far, the open pass included."""
        with self._lock:
            kept, samples = self._curve, list(self._samples)
        points = _pass_points(samples, self.receiver.transport.tempo_bpm, self.max_error)
        return kept if points is None else punched(kept, points, self.max_error)

    def close(self) -> None:
        """End the open pass and save."""
        self.receiver.listeners.remove(self._hear)
        self.receiver.tickers.remove(self._tick)
        self._end(self.receiver.transport.last_told_seconds)
        self._save()

    def _hear(self, name: str, values: tuple, now: float) -> None:
        transport = self.receiver.transport
        if name == "affect":
            if transport.playing and self.armed:
                self._sample(*values, now)
        elif name == "jump":
            self._end(self._position_seconds)
        elif name in ("position", "time"):
            self._position_seconds = now
            if transport.playing and self.armed and not self._samples:  # the values that are in force where a pass begins
                self._sample(self.receiver.valence, self.receiver.arousal, now)
        elif name in ("play", "record") and not (transport.playing and self.armed):
            self._end(now)

    def _sample(self, valence: float, arousal: float, now: float) -> None:
        with self._lock:
            self._samples.append((self.receiver.transport.beat(now), valence, arousal, now))
            full = len(self._samples) >= MAX_SAMPLES
        if full:
            self._end(now)

    def _end(self, seconds: float | None) -> None:
        """End the open pass at a moment; what came later, around a jump, belongs to nowhere."""
        with self._lock:
            samples, self._samples = self._samples, []
            if not samples:
                return
            seconds = samples[-1][3] if seconds is None else max(seconds, samples[0][3])
            samples = [sample for sample in samples if sample[3] <= seconds]
            beat = samples[-1][0] + (seconds - samples[-1][3]) * self.receiver.transport.tempo_bpm / 60
            samples.append((beat, *samples[-1][1:3], seconds))
            if beat - samples[0][0] >= MIN_PASS_BEATS:
                points = _pass_points(samples, self.receiver.transport.tempo_bpm, self.max_error)
                self._curve, self._changed = punched(self._curve, points, self.max_error), True

    def _tick(self, now: float) -> None:
        transport = self.receiver.transport
        if transport.is_lost(now):
            self._end(transport.last_told_seconds)
            transport.lose(now)
            self.receiver.complain("The DAW has gone silent in the middle of a pass; what was recorded until then is kept.")
            self._save()
        elif (self._changed or self._samples) and now - self._saved_seconds >= SAVE_SECONDS:
            self._saved_seconds = now
            self._save()

    def _save(self) -> None:
        curve = self.curve()
        if self.path is None or curve is None:
            return
        self._changed = False
        try:
            curve.save(self.path)
        except OSError as error:
            self._changed = True  # it is tried again
            self.receiver.complain(f"The curve cannot be saved to {self.path} ({error.strerror}); make room there: it is kept in memory "
                                   "and tried again.")


def _pass_points(samples: list[tuple], tempo_bpm: float, max_error: float) -> np.ndarray | None:
    """Samples (beat, valence, arousal, seconds) -> points [M, 3]; None where there are none."""
    if not samples:
        return None
    values = np.array(samples, float)
    beats, changes = values[:, 0], values[:, :3]
    last = np.append(np.diff(beats) > 1e-6, True)  # of several at one moment the last counts
    beats, changes, seconds = beats[last], changes[last], values[last, 3]
    told = np.flatnonzero(seconds - seconds[0] < SAME_POLL_SECONDS)[-1]  # what a pass begins with comes just behind its position
    changes[:told, 1:] = changes[told, 1:]
    held = np.flatnonzero(np.diff(seconds) > HOLD_SECONDS)  # the sample before such a gap was held until a poll before the next
    until = beats[held + 1] - POLL_SECONDS * tempo_bpm / 60
    holds = np.column_stack([np.maximum(until, beats[held] + 1e-6), changes[held, 1:]])
    points = np.concatenate([changes, holds[holds[:, 0] < beats[held + 1]]])
    return thin(points[np.argsort(points[:, 0], kind="stable")], max_error)


def punched(curve: Curve | None, points: np.ndarray, max_error: float = MAX_ERROR) -> Curve:
    """The curve in beats with points [M, 3] in place of what it held from the first of them to the last."""
    pieces = [points]
    if curve is not None:
        old = np.array(curve.points)
        start, end = points[0, 0] - JOINT_BEATS, points[-1, 0] + JOINT_BEATS
        edges = np.column_stack([[start, end], curve.at(np.array([start, end]), tempo=60.0)])
        before, after = old[old[:, 0] < start - JOINT_BEATS], old[old[:, 0] > end + JOINT_BEATS]
        pieces = [before, edges[:1] if len(before) else edges[:0], points, edges[1:] if len(after) else edges[:0], after]
    return at_most(np.concatenate(pieces), MAX_POINTS, max_error)


def at_most(points: np.ndarray, count: int, max_error: float = MAX_ERROR) -> Curve:
    """Points [M, 3] as a curve in beats; of more than `count` (hours of noise) as many as that allows, with the least error."""
    while len(points) > count:
        max_error *= 2
        points = thin(points, max_error)
    return Curve(tuple(map(tuple, points.tolist())), "beats", "linear")
