"""Affect: valence and arousal as points, curves and words. Numbers, JSON or emotion words go in; `[F, 2]` goes out.

The internal scale is [-1, 1] on both axes (valence: unpleasant to pleasant; arousal: calm to intense). The scales of the
outside world, 1..9 and 0..1, are converted at the edges by `to_1_9`, `from_1_9`, `to_0_1` and `from_0_1`.
"""
from __future__ import annotations

import difflib
import json
import math
import numbers
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

UNITS = ("seconds", "beats", "normalized")
INTERPOLATIONS = ("linear", "smooth", "hold")
MAX_POINTS = 100_000
MAX_T = 1e9  # far beyond any piece; keeps the spline's arithmetic finite
MIN_STEP = 1e-9  # two points closer than this in t are one point drawn twice


# ---- curves --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """Valence and arousal over time: breakpoints `(t, valence, arousal)`, held before the first and after the last.

    `unit` says what t counts: "seconds", "beats" (quarter notes, as DAWs count), or "normalized" (0..1 of the duration, so
    that a new duration keeps the shape). `interpolation` is "linear", "smooth" (monotone cubic: never leaves the interval
    between neighbouring points) or "hold" (each point holds until the next one). One point is a constant curve.
    Raises ValueError, naming the point, unless t is strictly increasing and every number is in range.
    """

    points: tuple[tuple[float, float, float], ...]
    unit: str = "seconds"
    interpolation: str = "linear"

    def __post_init__(self) -> None:
        unit = "normalized" if self.unit == "normalised" else self.unit
        if unit not in UNITS:
            raise ValueError(f"curve unit is {unit!r}: use one of {', '.join(UNITS)}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"curve interpolation is {self.interpolation!r}: use one of {', '.join(INTERPOLATIONS)}")
        object.__setattr__(self, "unit", unit)
        object.__setattr__(self, "points", _checked_points(self.points, unit))

    @classmethod
    def constant(cls, valence: float, arousal: float) -> Curve:
        """The curve that stays at one point."""
        return cls(((0.0, valence, arousal),), "normalized")

    @classmethod
    def from_emotions(
        cls, moments: Iterable[tuple[float, str]], unit: str = "normalized", interpolation: str = "smooth"
    ) -> Curve:
        """A curve through emotion words, e.g. `[(0, "calm"), (0.6, "tense"), (1, "triumphant")]`."""
        points = []
        for index, moment in enumerate(moments):
            if not isinstance(moment, (tuple, list)) or len(moment) != 2:
                raise ValueError(f"moments[{index}] is {moment!r}: use a pair (t, emotion word)")
            points.append((moment[0], *emotion(moment[1])))
        return cls(tuple(points), unit, interpolation)

    def at(
        self,
        times_seconds: np.ndarray,
        duration_seconds: float | None = None,
        tempo: float | Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """Valence and arousal at `times_seconds` `[F]`, as float32 `[F, 2]` in [-1, 1].

        `duration_seconds` (the whole piece) is needed by a normalized curve. `tempo` is needed by a curve in beats: beats per
        minute, or a function from seconds `[F]` to beats `[F]` where the tempo moves. Raises ValueError if either is missing.
        """
        times = np.asarray(times_seconds, dtype=np.float64)
        if times.ndim != 1 or not np.isfinite(times).all():
            raise ValueError(f"times_seconds has shape {times.shape}: use a one-dimensional array of finite seconds")
        if duration_seconds is not None:
            _check_positive(duration_seconds, "duration_seconds", "seconds")
        t, valence, arousal = np.asarray(self.points, dtype=np.float64).T
        x = self._in_own_unit(times, duration_seconds, tempo)
        if self.interpolation == "hold":
            index = np.maximum(np.searchsorted(t, x, side="right") - 1, 0)
            lanes = valence[index], arousal[index]
        elif self.interpolation == "smooth":
            lanes = _monotone_cubic(t, valence, x), _monotone_cubic(t, arousal, x)
        else:
            lanes = np.interp(x, t, valence), np.interp(x, t, arousal)
        return np.stack(lanes, axis=-1).astype(np.float32)  # [F, 2]

    def _in_own_unit(self, seconds: np.ndarray, duration_seconds: float | None, tempo) -> np.ndarray:
        if self.unit == "seconds":
            return seconds
        if self.unit == "normalized":
            if duration_seconds is None:
                raise ValueError("a normalized curve needs duration_seconds: give the length of the whole piece")
            return seconds / duration_seconds
        if tempo is None:
            raise ValueError("a curve in beats needs a tempo: give beats per minute, or a function from seconds to beats")
        if callable(tempo):
            beats = np.asarray(tempo(seconds), dtype=np.float64)
            if beats.shape != seconds.shape or not np.isfinite(beats).all():
                raise ValueError(
                    f"the tempo function gave shape {beats.shape} for seconds of shape {seconds.shape}: "
                    "return one finite number of beats for each time"
                )
            return beats
        _check_positive(tempo, "tempo", "beats per minute")
        return seconds * (tempo / 60.0)

    def to_json(self) -> str:
        """JSON text, one point a line; `from_json` reads it back exactly."""
        lines = (json.dumps({"t": t, "valence": valence, "arousal": arousal}) for t, valence, arousal in self.points)
        head = f'"unit": {json.dumps(self.unit)}, "interpolation": {json.dumps(self.interpolation)}'
        return "{" + head + ', "points": [\n  ' + ",\n  ".join(lines) + "\n]}\n"

    @classmethod
    def from_json(cls, source: str | Mapping) -> Curve:
        """A curve from JSON text or the parsed object; raises ValueError with one sentence on anything amiss."""
        if isinstance(source, str):
            try:
                source = json.loads(source)
            except (ValueError, RecursionError) as error:  # ValueError also covers absurdly long integers
                raise ValueError(f"the curve is not JSON ({error}): use unit, interpolation and points") from None
        _check_fields(source, ("unit", "interpolation", "points"), "the curve")
        if not isinstance(source["points"], (list, tuple)):
            raise ValueError(f"points is {_shown(source['points'])}: use a list of objects with t, valence and arousal")
        for index, point in enumerate(source["points"][: MAX_POINTS + 1]):
            _check_fields(point, ("t", "valence", "arousal"), f"points[{index}]")
        points = tuple((p["t"], p["valence"], p["arousal"]) for p in source["points"][: MAX_POINTS + 1])
        return cls(points, source["unit"], source["interpolation"])

    def save(self, path: str | os.PathLike) -> None:
        """Write the JSON to `path`; a reader sees the old file or the new one, never half of it."""
        write_atomic(path, self.to_json().encode("utf-8"))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Curve:
        """Read a curve that `save` wrote; ValueError names the file, OSError where it cannot be read."""
        try:
            return cls.from_json(Path(path).read_bytes().decode("utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None


def thin(points: np.ndarray, tolerance: float) -> np.ndarray:
    """Few breakpoints of a polyline `[N, 1 + D]` (t rising, then D values) -> `[M, 1 + D]`, each one of the given.

    At no t does a value differ by more than `tolerance` from the given polyline (Ramer 1972; Douglas & Peucker 1973, with the
    distance along the values).
    """
    points = np.asarray(points, np.float64)
    keep = np.zeros(len(points), bool)
    keep[[0, -1]] = True
    todo = [(0, len(points) - 1)]
    while todo:
        first, last = todo.pop()
        if last - first < 2:
            continue
        t, values = points[first:last + 1, 0], points[first:last + 1, 1:]
        share = ((t - t[0]) / (t[-1] - t[0]))[:, None]
        off = np.abs(values - (values[0] + share * (values[-1] - values[0]))).max(1)
        worst = int(off.argmax())
        if off[worst] > tolerance:
            keep[first + worst] = True
            todo += [(first, first + worst), (first + worst, last)]
    return points[keep]


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Write `data` to `path` through a temporary neighbour and a rename; on failure the old file stays."""
    path = Path(path)
    part = path.with_name(f".{secrets.token_hex(8)}.part")  # same folder, so that the rename stays on one disk
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _checked_points(points, unit: str) -> tuple[tuple[float, float, float], ...]:
    if isinstance(points, (str, bytes, Mapping)) or not isinstance(points, Iterable):
        raise ValueError(f"points is {_shown(points)}: use a list of (t, valence, arousal)")
    points = tuple(points)
    if not points:
        raise ValueError("the curve has no points: give at least one (t, valence, arousal)")
    if len(points) > MAX_POINTS:
        raise ValueError(f"the curve has more than {MAX_POINTS} points: thin it out")
    t_max = 1.0 if unit == "normalized" else MAX_T
    checked = []
    for index, point in enumerate(points):
        if not isinstance(point, (tuple, list, np.ndarray)) or len(point) != 3:
            raise ValueError(f"points[{index}] is {_shown(point)}: use three numbers (t, valence, arousal)")
        t = _in_range(point[0], 0.0, t_max, f"points[{index}] t (in {unit})")
        valence = _in_range(point[1], -1.0, 1.0, f"points[{index}] valence")
        arousal = _in_range(point[2], -1.0, 1.0, f"points[{index}] arousal")
        if checked and t - checked[-1][0] < MIN_STEP:
            raise ValueError(
                f"points[{index}] has t {t!r}, not after points[{index - 1}] with t {checked[-1][0]!r}: "
                "sort the points by t and keep one for each t"
            )
        checked.append((t, valence, arousal))
    return tuple(checked)


def _check_fields(value, names: tuple[str, ...], what: str) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} is {_shown(value)}: use an object with {', '.join(names)}")
    for name in names:
        if name not in value:
            raise ValueError(f"{what} lacks {name!r}: give {', '.join(names)}")
    for name in value:
        if name not in names:
            raise ValueError(f"{what} has the unknown field {_shown(name)}: use only {', '.join(names)}")


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _in_range(value, low: float, high: float, what: str) -> float:
    if not _is_number(value) or not low <= value <= high:  # NaN fails the comparison
        raise ValueError(f"{what} is {_shown(value)}: use a number from {low:g} to {high:g}")
    return float(value)


def _check_positive(value, what: str, unit: str) -> None:
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"{what} is {_shown(value)}: use a positive number of {unit}")


def _shown(value) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits refuses to be printed
        text = "a very long integer"
    return text if len(text) <= 60 else text[:57] + "..."


def _monotone_cubic(t: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """PCHIP through `(t, y)` `[N]` at `x` `[F]`, held outside (Fritsch and Butland 1984; ends as in Moler's pchiptx)."""
    if len(t) < 3:
        return np.interp(x, t, y)
    h = np.diff(t)
    delta = np.diff(y) / h
    slope = np.zeros_like(y)  # a local extreme keeps slope 0, which is what forbids overshoot
    inner = delta[:-1] * delta[1:] > 0
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    slope[1:-1][inner] = ((w1 + w2)[inner]) / (w1[inner] / delta[:-1][inner] + w2[inner] / delta[1:][inner])
    slope[0] = _end_slope(h[0], h[1], delta[0], delta[1])
    slope[-1] = _end_slope(h[-1], h[-2], delta[-1], delta[-2])

    x = np.clip(x, t[0], t[-1])
    i = np.clip(np.searchsorted(t, x, side="right") - 1, 0, len(h) - 1)
    u = (x - t[i]) / h[i]
    value = (
        y[i] * (1 + 2 * u) * (1 - u) ** 2
        + y[i + 1] * u**2 * (3 - 2 * u)
        + h[i] * u * (1 - u) * (slope[i] * (1 - u) - slope[i + 1] * u)
    )
    # Exact arithmetic stays between the neighbours; this takes off the last rounding error.
    return np.clip(value, np.minimum(y[i], y[i + 1]), np.maximum(y[i], y[i + 1]))


def _end_slope(h0: float, h1: float, delta0: float, delta1: float) -> float:
    slope = ((2 * h0 + h1) * delta0 - h0 * delta1) / (h0 + h1)
    if slope * delta0 <= 0:
        return 0.0
    if delta0 * delta1 < 0 and abs(slope) > 3 * abs(delta0):
        return 3 * delta0
    return slope


# ---- scales --------------------------------------------------------------------------------------------------------


def to_1_9(values):
    """[-1, 1] to 1..9 (DEAM, the LARA-Gen paper): a number gives a float, an array an array. ValueError out of range."""
    return _rescaled(values, (-1.0, 1.0), (1.0, 9.0))


def from_1_9(values):
    """1..9 (DEAM, the LARA-Gen paper) to [-1, 1]."""
    return _rescaled(values, (1.0, 9.0), (-1.0, 1.0))


def to_0_1(values):
    """[-1, 1] to 0..1 (OSC, normalised MIDI controllers)."""
    return _rescaled(values, (-1.0, 1.0), (0.0, 1.0))


def from_0_1(values):
    """0..1 (OSC, normalised MIDI controllers) to [-1, 1]."""
    return _rescaled(values, (0.0, 1.0), (-1.0, 1.0))


def _rescaled(values, source: tuple[float, float], target: tuple[float, float]):
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{_shown(values)} is not a number on the scale {source[0]:g} to {source[1]:g}: use numbers")
    array = array.astype(np.float64)
    outside = ~((array >= source[0]) & (array <= source[1]))  # NaN counts as outside
    if outside.any():
        raise ValueError(
            f"{float(array[outside].flat[0])!r} is outside the scale {source[0]:g} to {source[1]:g}: clip it or check the scale"
        )
    share = (array - source[0]) / (source[1] - source[0])
    scaled = target[0] + share * (target[1] - target[0])
    return float(scaled) if scaled.ndim == 0 else scaled


# ---- words ---------------------------------------------------------------------------------------------------------

# Mean pleasure and arousal ratings of emotion words, already on [-1, 1]: a selection from Table 4 of
# J. A. Russell and A. Mehrabian (1977), Evidence for a three-factor theory of emotions,
# Journal of Research in Personality 11(3), 273-294, doi:10.1016/0092-6566(77)90037-X.
# They rate states ("tense" is .58 aroused). Norms that rate words as words put "tense" below the middle, so they
# are no guide for music.
RATED_EMOTIONS: dict[str, tuple[float, float]] = {
    # pleasant, aroused
    "happy": (0.81, 0.51), "joyful": (0.76, 0.48), "excited": (0.62, 0.75), "elated": (0.50, 0.42),
    "triumphant": (0.69, 0.57), "inspired": (0.71, 0.63), "powerful": (0.54, 0.45), "bold": (0.44, 0.61),
    "vigorous": (0.58, 0.61), "alert": (0.49, 0.57), "in love": (0.82, 0.65), "loved": (0.87, 0.54),
    "affectionate": (0.64, 0.35), "friendly": (0.69, 0.35), "kind": (0.73, 0.19), "free": (0.81, 0.24),
    "hopeful": (0.51, 0.23), "dignified": (0.55, 0.22), "grateful": (0.64, 0.16), "devoted": (0.49, 0.17),
    "fascinated": (0.55, 0.51), "impressed": (0.41, 0.30), "surprised": (0.40, 0.67), "astonished": (0.16, 0.88),
    "curious": (0.22, 0.62), "awed": (0.18, 0.40), "wonder": (0.27, 0.24), "overwhelmed": (0.14, 0.45),
    # pleasant, calm
    "relaxed": (0.68, -0.46), "untroubled": (0.79, -0.01), "secure": (0.74, -0.13), "protected": (0.60, -0.22),
    "leisurely": (0.58, -0.32), "consoled": (0.29, -0.19), "reverent": (0.31, -0.08), "humble": (0.23, -0.28),
    "quiet": (0.19, -0.40), "sheltered": (0.14, -0.36), "solemn": (0.03, -0.32), "reserved": (0.01, -0.19),
    # unpleasant, aroused
    "anxious": (0.01, 0.59), "startled": (-0.09, 0.65), "defiant": (-0.16, 0.54), "suspicious": (-0.25, 0.42),
    "tense": (-0.33, 0.58), "hostile": (-0.42, 0.53), "enraged": (-0.44, 0.72), "angry": (-0.51, 0.59),
    "hate": (-0.56, 0.59), "terrified": (-0.62, 0.82), "fearful": (-0.64, 0.60), "disgusted": (-0.60, 0.35),
    "scornful": (-0.35, 0.35), "embattled": (-0.37, 0.40), "humiliated": (-0.63, 0.43), "helpless": (-0.71, 0.42),
    "upset": (-0.63, 0.30), "distressed": (-0.61, 0.28), "troubled": (-0.63, 0.16), "anguished": (-0.50, 0.08),
    # unpleasant, calm
    "rejected": (-0.62, -0.01), "despairing": (-0.72, -0.16), "depressed": (-0.72, -0.29), "sad": (-0.63, -0.27),
    "lonely": (-0.66, -0.43), "bored": (-0.65, -0.62), "listless": (-0.45, -0.59), "fatigued": (-0.18, -0.57),
    "weary": (-0.18, -0.33), "subdued": (-0.17, -0.26), "detached": (-0.37, -0.26), "discouraged": (-0.61, -0.15),
}

# Words of musicians that the table lacks. No ratings stand behind these: each is placed at the mean of the rated
# words named, which is this project's choice. A single word makes a synonym.
_PLACED_EMOTIONS: dict[str, tuple[str, ...]] = {
    "calm": ("relaxed", "quiet"), "peaceful": ("relaxed", "untroubled"), "serene": ("relaxed", "secure"),
    "tender": ("affectionate", "protected"), "gentle": ("kind", "quiet"), "dreamy": ("leisurely", "wonder"),
    "nostalgic": ("devoted", "lonely"), "melancholic": ("sad", "solemn"), "gloomy": ("depressed", "subdued"),
    "bleak": ("depressed", "listless"), "heartbroken": ("despairing", "anguished"), "eerie": ("suspicious", "detached"),
    "mysterious": ("curious", "suspicious"), "menacing": ("hostile", "suspicious"), "frantic": ("astonished", "terrified"),
    "heroic": ("bold", "triumphant"), "epic": ("powerful", "triumphant"), "majestic": ("dignified", "awed"),
    "playful": ("joyful", "curious"), "energetic": ("vigorous", "excited"), "euphoric": ("happy", "excited"),
    "sleepy": ("fatigued", "quiet"),
    "happiness": ("happy",), "joy": ("joyful",), "excitement": ("excited",), "triumph": ("triumphant",),
    "love": ("in love",), "hope": ("hopeful",), "awe": ("awed",), "surprise": ("surprised",), "curiosity": ("curious",),
    "anxiety": ("anxious",), "tension": ("tense",), "anger": ("angry",), "rage": ("enraged",), "furious": ("enraged",),
    "fear": ("fearful",), "terror": ("terrified",), "disgust": ("disgusted",), "despair": ("despairing",),
    "grief": ("heartbroken",), "sadness": ("sad",), "melancholy": ("melancholic",), "nostalgia": ("nostalgic",),
    "loneliness": ("lonely",), "boredom": ("bored",), "tired": ("fatigued",), "sombre": ("solemn",), "somber": ("solemn",),
    "tenderness": ("tender",), "serenity": ("serene",), "peace": ("peaceful",), "mystery": ("mysterious",),
}


def _all_emotions() -> dict[str, tuple[float, float]]:
    emotions = {"neutral": (0.0, 0.0), **RATED_EMOTIONS}
    for name, parts in _PLACED_EMOTIONS.items():
        valence, arousal = np.mean([emotions[part] for part in parts], axis=0)
        emotions[name] = (round(float(valence), 3), round(float(arousal), 3))
    return emotions


EMOTIONS: dict[str, tuple[float, float]] = _all_emotions()
"""Every word `emotion` knows: "neutral" at the origin by definition, the rated words, the placed ones."""


def emotion(name: str) -> tuple[float, float]:
    """(valence, arousal) of an emotion word, ignoring case; ValueError suggests near spellings."""
    word = " ".join(name.casefold().replace("_", " ").replace("-", " ").split()) if isinstance(name, str) else None
    if word in EMOTIONS:
        return EMOTIONS[word]
    near = difflib.get_close_matches(word, EMOTIONS, n=3) if word else []
    advice = f"did you mean {' or '.join(near)}?" if near else f"use a word such as {', '.join(list(EMOTIONS)[:4])}"
    raise ValueError(f"the emotion {_shown(name)} is not known: {advice}")


def nearest_emotion(valence: float, arousal: float, n: int = 1) -> tuple[str, ...]:
    """The n emotion words nearest to a point, nearest first; synonyms are left out, and the very middle is "neutral"."""
    here = _in_range(valence, -1.0, 1.0, "valence"), _in_range(arousal, -1.0, 1.0, "arousal")
    by_place: dict[tuple[float, float], str] = {}
    for name, place in EMOTIONS.items():
        by_place.setdefault(place, name)
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= len(by_place):
        raise ValueError(f"n is {n!r}: use a whole number from 1 to {len(by_place)}")
    return tuple(by_place[place] for place in sorted(by_place, key=lambda place: math.dist(place, here))[:n])


# ---- arcs ----------------------------------------------------------------------------------------------------------

PRESETS: dict[str, Curve] = {
    name: Curve(points, "normalized", "smooth")
    for name, points in {
        # Rest, a threat that tightens to three quarters, a release that ends warmer than it began.
        "calm-tense-resolve": (
            (0, 0.45, -0.45), (0.3, 0.3, -0.3), (0.6, -0.5, 0.6), (0.75, -0.45, 0.75), (0.88, 0.45, 0), (1, 0.65, -0.4),
        ),
        # Nothing seems to happen, then everything does.
        "slow-burn": ((0, -0.15, -0.65), (0.4, -0.1, -0.4), (0.7, 0.1, 0.15), (0.9, 0.45, 0.75), (1, 0.55, 0.85)),
        # Happiness, the blow, the anguish that drains into emptiness.
        "heartbreak": (
            (0, 0.7, 0.1), (0.25, 0.65, 0.2), (0.38, -0.6, 0.55), (0.55, -0.8, 0.1), (0.8, -0.7, -0.5), (1, -0.45, -0.65),
        ),
        # A struggle that is won late.
        "victory": (
            (0, -0.25, 0.25), (0.35, -0.5, 0.6), (0.55, -0.3, 0.75), (0.68, 0.75, 0.8), (0.88, 0.85, 0.65), (1, 0.8, 0.45),
        ),
        # Never in doubt: a steady climb to glory.
        "triumph": ((0, 0.3, -0.1), (0.35, 0.45, 0.25), (0.7, 0.75, 0.6), (0.9, 0.9, 0.85), (1, 0.9, 0.75)),
        # Flat out, one hiding place, flat out again.
        "chase": (
            (0, -0.3, 0.35), (0.12, -0.45, 0.8), (0.45, -0.5, 0.85), (0.58, -0.4, 0.3), (0.68, -0.45, 0.4), (0.8, -0.6, 0.95),
            (1, -0.35, 0.85),
        ),
        "lullaby": ((0, 0.5, -0.3), (0.5, 0.55, -0.6), (1, 0.45, -0.9)),
        # Questions, a false answer, more questions.
        "mystery": ((0, -0.15, -0.25), (0.3, -0.3, 0.15), (0.5, -0.1, -0.1), (0.8, -0.4, 0.4), (1, -0.25, -0.1)),
        "sunrise": ((0, 0.05, -0.8), (0.4, 0.35, -0.5), (0.75, 0.7, 0.05), (1, 0.8, 0.3)),
        # A fond look back that does not deny the loss.
        "farewell": ((0, 0.35, -0.3), (0.35, -0.35, -0.2), (0.6, -0.5, 0.05), (0.85, 0.05, -0.3), (1, 0.25, -0.55)),
        # Waves of dread, each higher than the last.
        "nightmare": (
            (0, -0.1, -0.6), (0.25, -0.5, 0.2), (0.4, -0.4, -0.15), (0.6, -0.7, 0.6), (0.7, -0.55, 0.25), (0.92, -0.9, 0.95),
            (1, -0.6, 0.1),
        ),
        "party": ((0, 0.55, 0.3), (0.2, 0.75, 0.7), (0.5, 0.7, 0.6), (0.75, 0.85, 0.9), (1, 0.75, 0.65)),
    }.items()
}
"""Ready-made arcs, normalized so that they fit any duration."""
