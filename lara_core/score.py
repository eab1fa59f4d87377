"""Score: pure metrics. What was requested and what was measured go in; numbers and plain dicts come out.

Conventions
- Points are `[N, 2]`, one piece a row: valence, arousal on [-1, 1]. A track is a pair (times `[M]` in seconds, rising;
  values `[M, 2]`); two tracks may have different times. Feature sets are `[N, D]`, one observation a row.
- The first argument is what was requested (or the reference), the second what was measured.
- Malformed input (NaN, infinity, unequal lengths, too few values, a scale that is not ours) raises ValueError. A quantity
  that well-formed data cannot define is NaN: the correlation with a request that never changes, the lag of tracks that
  nowhere rise and fall together. Averages over windows and bootstrap resamples leave such cases out.
- Nothing is random unless a seed is passed, and the same seed gives the same numbers.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

DIMENSIONS = ("valence", "arousal")
STEP_SECONDS, WINDOW_SECONDS, MAX_LAG_SECONDS, BAND_SECONDS = 0.25, 10.0, 8.0, 4.0
MAX_GRID = 1_000_000  # points of a common grid: almost three days at the usual step
FLAT = 1e-6  # values that differ by less than this share of their size are constant: float32 rounds not far below
Track = tuple[np.ndarray, np.ndarray]  # times [M] in seconds, values [M, 2]


# ---- points: one dimension, [N] and [N] -> a number ----------------------------------------------------------------


def pearson(requested: np.ndarray, measured: np.ndarray) -> float:
    """Pearson's r in [-1, 1]: blind to offset and scale. NaN where either side is constant; needs 3 values."""
    return _r(*_pair(requested, measured, least=3))


def spearman(requested: np.ndarray, measured: np.ndarray) -> float:
    """Spearman's rho in [-1, 1]: Pearson's r of the ranks, ties sharing their mean rank. NaN as for `pearson`."""
    x, y = _pair(requested, measured, least=3)
    return math.nan if _flat(x) or _flat(y) else _r(_ranks(x), _ranks(y))


def concordance(requested: np.ndarray, measured: np.ndarray) -> float:
    """Lin's concordance (1989) in [-1, 1]: r times a penalty for a wrong offset or scale; 2 cov / (var + var + (mean
    difference)^2), moments divided by N as he does. 0 where one side is constant, NaN where both are; needs 3 values."""
    x, y = _pair(requested, measured, least=3)
    if _flat(x) or _flat(y):
        return math.nan if _flat(x) and _flat(y) else 0.0
    return float(2 * np.mean((x - x.mean()) * (y - y.mean())) / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def mae(requested: np.ndarray, measured: np.ndarray) -> float:
    """Mean absolute error, in units of the scale (at most 2 on [-1, 1])."""
    x, y = _pair(requested, measured, least=1)
    return float(np.abs(y - x).mean())


def rmse(requested: np.ndarray, measured: np.ndarray) -> float:
    """Root mean square error, in units of the scale; never below `mae`."""
    x, y = _pair(requested, measured, least=1)
    return float(np.sqrt(np.square(y - x).mean()))


def adherence(requested: np.ndarray, measured: np.ndarray) -> float:
    """How well points or a track `[N, 2]` do what was asked, in one number to rank by: 1 is exact, 0 is no better than points
    drawn at random from the whole plane, below 0 is worse than that.

    Why this and not a mean of concordances: it is defined, on one scale, for requests that move, that hardly move and that
    stay, and takes cannot gain by overdoing. Its weakness: being steady at the mean of a request that moves little is nearly
    right; `evaluate_curve` gives that as "still". Lateness counts as error: see `lag` and `dtw_error` for what it cost.

    A mean-square skill score, 1 - MSE / MSE of the reference (Murphy 1988, Monthly Weather Review 116, 2417-2424); a uniform
    point of [-1, 1]^2 misses a request q by |q|^2 + 2/3 on average. For the same request it ranks as RMSE does.
    """
    asked, got = _planes(requested, measured, least=1)
    return float(1 - np.square(got - asked).sum() / (np.square(asked).sum() + len(asked) * 2 / 3))


def cross_leak(requested: np.ndarray, measured: np.ndarray) -> dict:
    """Does asking for valence move arousal? Each measured dimension is regressed on both requests together, all standardised.

    Points `[N, 2]`, N >= 4 -> {"valence": row, "arousal": row}; a row holds `on_valence`, `on_arousal` (standardised weights:
    standard deviations of output per standard deviation of that request, the other one held), `partial_valence`,
    `partial_arousal` (partial correlations, in [-1, 1]) and `r2` of both together. The leaks are ["arousal"]["on_valence"]
    and ["valence"]["on_arousal"]: 0 is none. All NaN where a request never changes or the two change only together.
    """
    asked, got = _planes(requested, measured, least=4)
    between, result = _r(*asked.T), {}
    for k, name in enumerate(DIMENSIONS):
        rv, ra = (_r(asked[:, i], got[:, k]) for i in (0, 1))
        free = 1 - between**2 if 1 - between**2 > FLAT else math.nan  # share of a request that the other does not explain
        on_v, on_a = (rv - ra * between) / free, (ra - rv * between) / free
        partial_v, partial_a = (
            on * math.sqrt(free / (1 - other**2)) if 1 - other**2 > FLAT else math.nan  # nothing left to explain
            for on, other in ((on_v, ra), (on_a, rv))
        )
        result[name] = {"on_valence": on_v, "on_arousal": on_a, "partial_valence": partial_v, "partial_arousal": partial_a,
                        "r2": on_v * rv + on_a * ra}
    return result


def evaluate_points(requested: np.ndarray, measured: np.ndarray) -> dict:
    """Everything above for N >= 4 pieces `[N, 2]`, as {"n", "adherence", "valence": {pearson, spearman, concordance, mae,
    rmse}, "arousal": {...}, "cross_leak": {...}}. Requests must lie in [-1, 1]; predictors may overshoot."""
    asked, got = _planes(requested, measured, least=4)
    return {"n": len(asked), "adherence": adherence(asked, got), **_by_dimension(asked, got),
            "cross_leak": cross_leak(asked, got)}


def _by_dimension(asked: np.ndarray, got: np.ndarray) -> dict:
    metrics = (pearson, spearman, concordance, mae, rmse)
    return {name: {f.__name__: f(asked[:, k], got[:, k]) for f in metrics} for k, name in enumerate(DIMENSIONS)}


def _flat(x: np.ndarray) -> bool:
    return bool(np.ptp(x) <= FLAT * np.abs(x).max())


def _r(x: np.ndarray, y: np.ndarray) -> float:
    if _flat(x) or _flat(y):
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x / np.linalg.norm(x)) @ (y / np.linalg.norm(y)), -1, 1))


def _ranks(x: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


# ---- curves --------------------------------------------------------------------------------------------------------


def on_common_grid(requested: Track, measured: Track, step_seconds: float = STEP_SECONDS):
    """Two tracks -> (times `[G]` seconds, requested `[G, 2]`, measured `[G, 2]`) every `step_seconds` of the time they share,
    by linear interpolation (a curve that holds must be sampled finely). They must share 3 grid points or more."""
    (t_asked, asked), (t_got, got) = _track("requested", requested), _track("measured", measured)
    start, end = max(t_asked[0], t_got[0]), min(t_asked[-1], t_got[-1])
    steps = math.floor((end - start) / _positive("step_seconds", step_seconds) + 1e-6)  # a hair for rounding
    if steps < 2:
        spans = f"requested {t_asked[0]:g} to {t_asked[-1]:g} s, measured {t_got[0]:g} to {t_got[-1]:g} s"
        raise ValueError(f"the tracks share {max(end - start, 0):.3g} s ({spans}): at least {2 * step_seconds:g} s is needed")
    if steps >= MAX_GRID:
        raise ValueError(f"step_seconds is {step_seconds!r}: {end - start:g} s would take {steps} steps, use a longer one")
    times = start + step_seconds * np.arange(steps + 1)
    return times, *(np.stack([np.interp(times, t, v[:, k]) for k in (0, 1)], -1) for t, v in ((t_asked, asked), (t_got, got)))


def windowed_correlation(
    requested: np.ndarray, measured: np.ndarray, step_seconds: float, window_seconds: float = WINDOW_SECONDS
) -> tuple[np.ndarray, np.ndarray]:
    """Pearson's r in windows that overlap by three quarters, of one dimension on a common grid, `[G]` and `[G]`.

    -> (seconds from the grid's start to the window's centre `[W]`, r `[W]`, NaN where the request or the sound stands still).
    A piece shorter than the window is one window; the last grid points may fill no further window.
    """
    x, y = _pair(requested, measured, least=3)
    step = _positive("step_seconds", step_seconds)
    size = min(max(3, round(_positive("window_seconds", window_seconds) / step) + 1), len(x))
    starts = np.arange(0, len(x) - size + 1, max(1, size // 4))
    r = np.array([_r(x[i : i + size], y[i : i + size]) for i in starts])
    return (starts + (size - 1) / 2) * step, r


def lag(
    requested: np.ndarray, measured: np.ndarray, step_seconds: float, max_lag_seconds: float = MAX_LAG_SECONDS
) -> tuple[float, float]:
    """How late the measured track is: (seconds, Pearson's r at that lag), of one dimension on a common grid, `[G]` and `[G]`.

    Positive: the sound follows the request late. Every shift up to `max_lag_seconds`, or half the piece if that is less, is
    tried on the part that still overlaps; a parabola through the best and its neighbours gives fractions of a step. Among
    equals the smallest shift wins. A result at the limit says 'that much or more'. (NaN, NaN) where no shift gives r > 0.
    """
    x, y = _pair(requested, measured, least=3)
    step = _positive("step_seconds", step_seconds)
    most = min(int(_positive("max_lag_seconds", max_lag_seconds) / step + 1e-6), (len(x) - 1) // 2)
    shifts = np.arange(-most - 1, most + 2)  # one more on either side, as a neighbour for the parabola
    r = np.array([_r(x[max(0, -s) : len(x) - max(0, s)], y[max(0, s) : len(y) - max(0, -s)]) for s in shifts])
    inner = np.nan_to_num(r[1:-1], nan=-1.0)
    if inner.max() <= 0:
        return math.nan, math.nan
    best = 1 + min(np.flatnonzero(inner >= inner.max() - 1e-9), key=lambda i: abs(i - most))
    before, here, after = r[best - 1 : best + 2]
    bend = before - 2 * here + after  # not below 0 on a slope that leads past the limit, on a plateau, or beside a NaN
    fraction = np.clip((before - after) / (2 * bend), -0.5, 0.5) if bend < -1e-12 else 0.0
    return float(np.clip(shifts[best] + fraction, -most, most) * step), float(here)


def dtw_error(requested: np.ndarray, measured: np.ndarray, step_seconds: float, band_seconds: float = BAND_SECONDS) -> float:
    """Mean distance along the best alignment in time (dynamic time warping), of grids `[G]` or `[G, K]`, in units of the scale.

    Shifts up to `band_seconds` are free, so this is the error of shape and level without that of timing: between 0 and the
    mean distance without warping; a constant offset costs exactly itself. Time and memory: G x band. Steps weighted as
    'symmetric', diagonals twice, divided by the sum of weights 2 G (Sakoe and Chiba 1978, IEEE TASSP 26(1), 43-49).
    """
    x, y = (_array(name, v, (1, 2)) for name, v in (("requested", requested), ("measured", measured)))
    x, y = (v[:, None] if v.ndim == 1 else v for v in (x, y))
    _same_shape(x, y, 1)
    n, band = len(x), int(_positive("band_seconds", band_seconds) / _positive("step_seconds", step_seconds) + 1e-6)
    band = min(band, n - 1)
    # One cost for each offset i - j. Step i + j = k touches the offsets of its parity, so the array holds at once step k - 1
    # (the other parity: one index moved on) and k - 2 (this parity: both moved on). Infinite rims need no special case.
    cost = np.full(2 * band + 3, np.inf)
    for k in range(2 * n - 1):
        reach = min(band, k, 2 * (n - 1) - k)
        reach -= (reach - k) % 2
        if reach < 0:
            continue  # a band of 0 has no offset of odd parity
        offsets = np.arange(-reach, reach + 1, 2)
        i, here = (k + offsets) // 2, offsets + band + 1
        distance = np.sqrt(np.square(x[i] - y[k - i]).sum(-1))
        moved_one = np.minimum(cost[here - 1], cost[here + 1]) + distance
        cost[here] = np.minimum(moved_one, cost[here] + 2 * distance) if k else 2 * distance
    return float(cost[band + 1] / (2 * n))


def evaluate_curve(
    requested: Track, measured: Track, *, step_seconds: float = STEP_SECONDS, window_seconds: float = WINDOW_SECONDS,
    max_lag_seconds: float = MAX_LAG_SECONDS, band_seconds: float = BAND_SECONDS,
) -> dict:
    """Adherence of one piece, two tracks compared where both are known; leave out stretches that could not be measured.

    -> {"seconds": compared, "coverage": share of the requested time compared, "n": grid points, "adherence", "still" (the
    adherence of staying at the request's mean, which is the best that music can do without following), "dtw" (both
    dimensions, Euclidean), "valence": {pearson, spearman, concordance, mae, rmse, windowed_r (mean of the windows where it is
    defined), lag_seconds, lag_r, dtw}, "arousal": {...}}. A request that never changes has errors and adherence, and NaN for
    what needs change. Grid points of one piece are not independent: take intervals over pieces, not over these n.
    """
    times, asked, got = on_common_grid(requested, measured, step_seconds)
    asked, got = _planes(asked, got, least=3)
    first, last = float(requested[0][0]), float(requested[0][-1])
    shared_seconds = min(last, float(measured[0][-1])) - max(first, float(measured[0][0]))
    result = {"seconds": shared_seconds, "coverage": shared_seconds / (last - first), "n": len(times),
              "adherence": adherence(asked, got), "still": adherence(asked, np.broadcast_to(asked.mean(0), asked.shape)),
              "dtw": dtw_error(asked, got, step_seconds, band_seconds), **_by_dimension(asked, got)}
    for k, name in enumerate(DIMENSIONS):
        x, y = asked[:, k], got[:, k]
        r = windowed_correlation(x, y, step_seconds, window_seconds)[1]
        late_seconds, r_late = lag(x, y, step_seconds, max_lag_seconds)
        result[name] |= {"windowed_r": float(np.mean(r[~np.isnan(r)])) if not np.isnan(r).all() else math.nan,
                         "lag_seconds": late_seconds, "lag_r": r_late, "dtw": dtw_error(x, y, step_seconds, band_seconds)}
    return result


# ---- Frechet audio distance ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrechetDistance:
    """`fad` of the full sets and `fad_infinity`, its extrapolation to endless sets; always quote the n's beside them."""

    fad: float
    fad_infinity: float
    n_reference: int
    n_measured: int
    width: int  # D; with fewer than about 2 D rows in either set even fad_infinity is too high


def frechet_distance(reference: np.ndarray, measured: np.ndarray) -> float:
    """Frechet distance of Gaussians fitted to `[N, D]` and `[M, D]`, in squared feature units, >= 0: |difference of means|^2
    + tr(A) + tr(B) - 2 tr (A B)^(1/2), with A, B the covariances divided by N - 1. Identical sets give 0.

    Biased upwards when N or M is small: compare values at equal n alone, or use `frechet_audio_distance`.
    Source: Dowson and Landau 1982; Kilgour et al. 2019, Frechet Audio Distance, Interspeech.
    """
    return _frechet(*_feature_sets(reference, measured, least=2))


def frechet_audio_distance(reference: np.ndarray, measured: np.ndarray, seed: int = 0) -> FrechetDistance:
    """FAD with its small-sample bias taken out. Sets `[N, D]` and `[M, D]`, at least 8 rows each, ideally one row a clip:
    windows of one clip are alike, and count as fewer than they are.

    The bias falls as 1/n, so FAD-infinity is the intercept of a line through FADs of seeded subsets, drawn without
    replacement (Chong and Forsyth 2020, FID-infinity; Gui et al. 2024, arXiv 2311.01616, for audio). They shrink the
    measured set alone; here both shrink by the same share, which takes out the bias of a small reference as well.
    FAD-infinity scatters around the truth, so for sets of equal distribution it may be slightly negative.
    """
    a, b = _feature_sets(reference, measured, least=8)
    fad, rng = _frechet(a, b), np.random.default_rng(seed)
    limit = 0.0
    if not np.array_equal(a, b):  # a set against itself: its subsets differ but the whole does not, no line describes that
        shrink, fads = [1.0], [fad]
        for factor in np.repeat([1.25, 1.5, 1.75, 2.0], 4):  # evenly spaced in 1/n; smaller subsets would bend the line
            rows = [rng.permutation(len(x))[: round(len(x) / factor)] for x in (a, b)]
            shrink.append(factor)
            fads.append(_frechet(a[rows[0]], b[rows[1]]))
        limit = float(np.polyfit(shrink, fads, 1)[1])
    return FrechetDistance(fad, limit, len(a), len(b), a.shape[1])


def _frechet(a: np.ndarray, b: np.ndarray) -> float:
    (mean_a, root_a), (mean_b, root_b) = _mean_and_root(a), _mean_and_root(b)
    # With A = Ra' Ra and B = Rb' Rb, tr (A B)^(1/2) is the sum of the singular values of Ra Rb', which are the square roots
    # of the eigenvalues of the symmetric product Rb A Rb'. No covariance is squared or inverted: n < D is no special case.
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = np.square(mean_a - mean_b).sum() + np.square(root_a).sum() + np.square(root_b).sum() - 2 * cross
    return max(float(distance), 0.0)


def _mean_and_root(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = x.mean(0)
    return mean, np.linalg.qr(x - mean, mode="r") / math.sqrt(len(x) - 1)  # [min(N, D), D]


# ---- bootstrap -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval; NaN limits where fewer than half of the resamples define the statistic."""

    value: float
    low: float
    high: float
    level: float
    n: int


def bootstrap(
    statistic: Callable[..., float], columns: Sequence[np.ndarray], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap (Efron 1979) of `statistic(*columns)`, e.g. `bootstrap(pearson, (requested, measured))`.

    The columns `[N, ...]` share their N >= 4 rows, which are drawn together; a row should be one independent piece.
    Not for FAD: repeated rows pull covariances down.
    """
    return bootstrap_levels(statistic, columns, levels=(level,), resamples=resamples, seed=seed)[0]


def bootstrap_levels(
    statistic: Callable[..., float], columns: Sequence[np.ndarray], *, levels: Sequence[float], resamples: int = 2000, seed: int = 0
) -> list[Interval]:
    """As `bootstrap`, an interval for each level from the same resamples."""
    columns = [_array(f"columns[{i}]", column, (1, 2)) for i, column in enumerate(columns)]
    n = len(columns[0]) if columns else 0
    if n < 4 or any(len(column) != n for column in columns):
        raise ValueError(f"the columns have {[len(c) for c in columns]} rows: give columns of one length, at least 4")
    for level in levels:
        if not 0 < level < 1:
            raise ValueError(f"level is {level!r}: use a share between 0 and 1, such as 0.95")
    if isinstance(resamples, bool) or not isinstance(resamples, int) or not 100 <= resamples <= 1_000_000:
        raise ValueError(f"resamples is {resamples!r}: use a whole number from 100 to 1000000")
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, n, n) for _ in range(resamples))
    drawn = np.array([statistic(*(column[rows] for column in columns)) for rows in draws])
    drawn, value = drawn[~np.isnan(drawn)], float(statistic(*columns))
    known = 2 * len(drawn) >= resamples
    limits = [np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if known else (math.nan, math.nan) for level in levels]
    return [Interval(value, float(low), float(high), float(level), n) for level, (low, high) in zip(levels, limits)]


def bootstrap_difference(
    statistic: Callable[..., float], ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], *,
    level: float = 0.95, resamples: int = 2000, seed: int = 0,
) -> Interval:
    """`statistic(*ours) - statistic(*theirs)` of two systems given the same N targets, row by row, with paired resamples: each
    draw takes the same pieces from both, so what is hard for both cancels. The systems differ where the interval leaves out 0.
    """
    ours, theirs = list(ours), list(theirs)
    split = len(ours)
    return bootstrap(lambda *columns: statistic(*columns[:split]) - statistic(*columns[split:]), ours + theirs,
                     level=level, resamples=resamples, seed=seed)


# ---- checks --------------------------------------------------------------------------------------------------------


def _array(name: str, values, dimensions: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:  # rows of unequal length
        raise ValueError(f"{name} is ragged: give an array whose rows have the same length") from None
    if array.dtype.kind not in "iuf" or array.ndim not in dimensions or array.size == 0:
        wanted = " or ".join(f"{d}-dimensional" for d in dimensions)
        raise ValueError(f"{name} is {array.dtype} shaped {list(array.shape)}: give {wanted} numbers, not empty")
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise ValueError(f"{name} holds NaN or infinity, first in row {row}: leave out what could not be measured")
    return array.astype(np.float64)


def _same_shape(x: np.ndarray, y: np.ndarray, least: int) -> None:
    if x.shape != y.shape:
        raise ValueError(f"requested is shaped {list(x.shape)} and measured {list(y.shape)}: give them the same shape")
    if len(x) < least:
        raise ValueError(f"there are only {len(x)} values: this needs at least {least}")


def _pair(requested, measured, least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = _array("requested", requested, (1,)), _array("measured", measured, (1,))
    _same_shape(x, y, least)
    return x, y


def _planes(requested, measured, least: int) -> tuple[np.ndarray, np.ndarray]:
    asked, got = _array("requested", requested, (2,)), _array("measured", measured, (2,))
    _same_shape(asked, got, least)
    if asked.shape[1] != 2:
        raise ValueError(f"requested is shaped {list(asked.shape)}: give two columns, valence and arousal")
    if np.abs(asked).max() > 1 + 1e-6:
        value = asked.flat[np.abs(asked).argmax()]
        raise ValueError(f"requested holds {value:g}: use the scale -1 to 1 (affect.from_1_9 and from_0_1 convert)")
    return asked, got


def _track(name: str, track) -> Track:
    if not isinstance(track, (tuple, list)) or len(track) != 2:
        raise ValueError(f"{name} is {type(track).__name__}: give a pair of times [M] in seconds and values [M, 2]")
    times, values = _array(f"{name} times", track[0], (1,)), _array(f"{name} values", track[1], (2,))
    if values.shape != (len(times), 2):
        raise ValueError(f"{name} has {len(times)} times and values shaped {list(values.shape)}: give values [{len(times)}, 2]")
    if (np.diff(times) <= 0).any():
        at = int(np.argmax(np.diff(times) <= 0))
        raise ValueError(f"{name} times go from {times[at]:g} to {times[at + 1]:g} s: sort them and keep one of each")
    return times, values


def _feature_sets(reference, measured, least: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = _array("reference", reference, (2,)), _array("measured", measured, (2,))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"reference has {a.shape[1]} features a row, measured {b.shape[1]}: take both from one listener")
    if min(len(a), len(b)) < least:
        raise ValueError(f"reference has {len(a)} rows and measured {len(b)}: this needs at least {least} in each")
    return a, b


def _positive(name: str, value) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}: use a positive number of seconds")
    return float(value)
