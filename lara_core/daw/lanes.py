"""Lanes: what a DAW's file says of automation, tempo and markers stands in an Arrangement; two of its lanes become a Curve.

A lane is a polyline over the arrangement's time that may jump (two points at one time), on the scale that the file has.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..affect import MAX_POINTS, MAX_T, Curve, thin
from ..codec import Request

TOLERANCE = 0.02  # of a thinned curve; a step of a MIDI controller is 0.016
JUMP = {"beats": 1e-3, "seconds": 1e-3, "normalized": 1e-6}  # how long a jump takes in a Curve, whose t must rise
TIME_DECIMALS = 6  # of a beat or a second: what lies closer together is one moment
SHOWN = 12  # lanes that an error names


@dataclass(frozen=True, eq=False)
class Lane:
    """One lane of automation: times [N], not falling, and values [N] between `low` and `high`, which become -1 and 1.

    stated: the file says that range; else it is that of the values themselves.
    """

    name: str
    times: np.ndarray
    values: np.ndarray
    low: float
    high: float
    stated: bool = True

    @classmethod
    def of(cls, name: str, points: Sequence[tuple[float, float]], low: float | None = None, high: float | None = None) -> "Lane":
        """A lane of (time, value) points. Without a range, or where they leave it, the range is that of the values.

        Raises ValueError for more points than a curve may have, and for numbers that are not finite.
        """
        if len(points) > MAX_POINTS:
            raise ValueError(f"the lane {name!r} has {len(points)} points; at most {MAX_POINTS} are read: thin it out in the DAW")
        times, values = np.array(points, np.float64).reshape(-1, 2).T
        if not np.isfinite(values).all() or not (np.abs(times) <= MAX_T).all():
            raise ValueError(f"the lane {name!r} holds a time or value that is not a number; save the file again")
        order = np.argsort(times, kind="stable")
        times, values = times[order].round(TIME_DECIMALS), values[order]
        stated = low is not None and high is not None and low < high and low <= values.min() and values.max() <= high
        low, high = (float(low), float(high)) if stated else (float(values.min()), float(values.max()))
        return cls(name, times, values, low, high, stated)

    @property
    def range_text(self) -> str:
        return f"{self.low:g} to {self.high:g}" + ("" if self.stated else ", its lowest and highest value")

    def ranged(self, low: float, high: float) -> "Lane":
        """The lane with another range. Raises ValueError where its values leave it."""
        if not low < high < math.inf:
            raise ValueError(f"the range of the lanes is {low:g} to {high:g}; give the lower number first")
        if self.values.min() < low or self.values.max() > high:
            raise ValueError(f"the lane {self.name!r} holds {self.values.min():g} to {self.values.max():g}, which leaves the range {low:g} to {high:g}; give a wider one")
        return replace(self, low=low, high=high, stated=True)

    def scaled(self) -> np.ndarray:
        """The values in -1..1. Raises ValueError where nothing says what a constant lane means."""
        if self.low == self.high:
            raise ValueError(f"the lane {self.name!r} stays at {self.low:g} and its range is not known; give low and high (--range LOW HIGH)")
        return np.clip((self.values - self.low) / (self.high - self.low) * 2 - 1, -1, 1)

    def at(self, times: np.ndarray, values: np.ndarray, side: str) -> np.ndarray:
        """This lane's polyline with other values [N], at times [M]; side says which end of a jump: "left" or "right"."""
        index = np.searchsorted(self.times, times, side)
        before, after = np.clip(index - 1, 0, len(self.times) - 1), np.clip(index, 0, len(self.times) - 1)
        span = self.times[after] - self.times[before]
        share = np.divide(times - self.times[before], span, out=np.zeros_like(times), where=span > 0)
        return values[before] + np.clip(share, 0, 1) * (values[after] - values[before])


@dataclass(frozen=True)
class Arrangement:
    """The automation of one file. unit: what times count, as Curve has it. tempo: steps (beat, quarter notes a minute), empty
    where the file has none. markers: (time, text)."""

    file: str
    lanes: tuple[Lane, ...]
    unit: str = "beats"
    tempo: tuple[tuple[float, float], ...] = ()
    markers: tuple[tuple[float, str], ...] = ()

    def __post_init__(self):
        seen, lanes = Counter(), []
        for lane in self.lanes:
            seen[lane.name] += 1
            lanes.append(lane if seen[lane.name] == 1 else replace(lane, name=f"{lane.name} #{seen[lane.name]}"))
        object.__setattr__(self, "lanes", tuple(lanes))

    def at_seconds(self, seconds: np.ndarray | float) -> np.ndarray | float:
        """Seconds -> its own time: by its tempo map where it has one (30 to 300 quarter notes a minute)."""
        return Request(1.0, self.tempo).beats_at(seconds) if self.unit == "beats" else seconds

    def within(self, part: str) -> list[Lane]:
        """The lanes that have this in their name: those of a track, of a device. Case is ignored."""
        return [lane for lane in self.lanes if part.casefold() in lane.name.casefold()]

    def find(self, word: str, within: str = "") -> Lane | None:
        """The lane of that name, or the only one whose name ends in a part with the word, or has it; None if none does.

        within: look only at lanes that have this in their name, a track or a device. Case is ignored. Raises ValueError where
        several lanes fit equally well.
        """
        word, lanes = word.casefold(), self.within(within)
        names = [lane.name.casefold() for lane in lanes]
        for fits in ([name == word for name in names], [name.split(" / ")[-1] == word for name in names],
                     [word in name.split(" / ")[-1] for name in names], [word in name for name in names]):
            found = [lane for lane, fit in zip(lanes, fits) if fit]
            if len(found) > 1:
                raise ValueError(f"{self.file} has several lanes for {word!r}: {named(found)}; give the whole name of one, or the name of its "
                                 "track with --lane")
            if found:
                return found[0]
        return None

    def emotion_lanes(self, valence: str | None = None, arousal: str | None = None, within: str = "",
                      span: tuple[float, float] | None = None) -> tuple[Lane | None, Lane | None]:
        """The lanes of valence and arousal: those named, else those whose names say so. One of them may be None, for 0. span: the range of
        both, low and high, in place of their own.

        Raises ValueError, naming the lanes that there are, where a named one is missing or none says what it is, and where values leave the span.
        """
        if not self.lanes:
            raise ValueError(f"{self.file} holds no automation; draw valence and arousal as two lanes and save it again")
        if not self.within(within):
            raise ValueError(f"{self.file} has no lane with {within!r} in its name; it has {named(self.lanes)}")
        for option, name in (("valence", valence), ("arousal", arousal)):
            if name is not None and self.find(name, within) is None:
                raise ValueError(f"{self.file} has no lane {name!r} for {option}; choose among those it has: {named(self.lanes)}")
        lanes = self.find(valence or "valence", within), self.find(arousal or "arousal", within)
        if lanes == (None, None):
            raise ValueError(f"no lane of {self.file} is called valence or arousal; name those that are (--valence-lane, --arousal-lane): it has "
                             f"{named(self.lanes)}")
        return lanes if span is None else tuple(lane and lane.ranged(*span) for lane in lanes)

    def curve(self, valence: Lane | None, arousal: Lane | None, tolerance: float = TOLERANCE) -> Curve:
        """Two lanes -> one linear Curve from time 0 on, thinned to few points within `tolerance` of them (a jump takes JUMP).
        A lane that is None stays at 0."""
        times = np.unique(np.concatenate([[0.0], *(lane.times for lane in (valence, arousal) if lane is not None)]))
        times = times[(times >= 0) & (times <= (1.0 if self.unit == "normalized" else MAX_T))]
        left, right = np.zeros((len(times), 2)), np.zeros((len(times), 2))
        for column, lane in enumerate((valence, arousal)):
            if lane is not None:
                left[:, column], right[:, column] = (lane.at(times, lane.scaled(), side).round(6) for side in ("left", "right"))
        points, before = [], -math.inf
        for t, come, go in zip(times.tolist(), left.tolist(), right.tolist()):
            if t > 0 and come != go:
                points.append((max(t - JUMP[self.unit], (t + before) / 2), *come))
            points.append((t, *go))
            before = t
        return Curve(tuple(map(tuple, thin(np.array(points), tolerance).tolist())), self.unit, "linear")


def named(lanes: Sequence[Lane]) -> str:
    """Lanes as an error names them."""
    rest = f" and {len(lanes) - SHOWN} more (`lara curve FILE --list` shows them)" if len(lanes) > SHOWN else ""
    return ", ".join(repr(lane.name) for lane in lanes[:SHOWN]) + rest


def bezier(first: tuple[float, float], control1: tuple[float, float], control2: tuple[float, float], last: tuple[float, float],
           pieces: int = 16) -> list[tuple[float, float]]:
    """A cubic curve between two points -> its inner points as a polyline; times outside of the two are clipped."""
    s = np.arange(1, pieces)[:, None] / pieces
    xy = (1 - s) ** 3 * first + 3 * s * (1 - s) ** 2 * np.array(control1) + 3 * s * s * (1 - s) * np.array(control2) + s ** 3 * np.array(last)
    times = np.maximum.accumulate(np.clip(xy[:, 0], first[0], last[0]))
    return list(zip(times.tolist(), xy[:, 1].tolist()))


def tempo_grid(lane: Lane, step: float) -> np.ndarray:
    """Where the steps of a tempo map may begin: from 0 on every `step` up to the lane's last point, its points, and one more."""
    last = max(float(lane.times[-1]), 0.0)
    return np.unique(np.concatenate([np.arange(0, last, max(step, last / MAX_POINTS)), lane.times[lane.times >= 0], [0, last, last + 1]]))


def tempo_steps(beats: np.ndarray, seconds: np.ndarray) -> tuple[tuple[float, float], ...]:
    """When beats fall (rising, from 0 on) -> the tempo between each and the next as steps; the last one is dropped."""
    bpm = np.diff(beats) / np.diff(seconds) * 60
    new = np.flatnonzero(np.abs(np.diff(bpm, prepend=-1.0)) > 1e-6)
    return tuple((float(beats[i]), float(bpm[i])) for i in new)
