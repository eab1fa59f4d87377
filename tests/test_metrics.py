"""Metrics: each against an independent implementation (scipy, plain loops, hand computation, published values) and by physics."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from lara_core import score as m

ANSCOMBE_X = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
ANSCOMBE_Y = ([8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68],
              [9.14, 8.14, 8.74, 8.77, 9.26, 8.10, 6.13, 3.10, 9.13, 7.26, 4.74])
STEP = 0.25


def pairs(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, n)
    return x, 0.6 * x + 0.3 * rng.normal(size=n) + 0.1


def wave(t: np.ndarray, seed: int) -> np.ndarray:
    """A smooth curve of two lanes inside [-1, 1], known at any time, so that it can be shifted exactly; slowest swing 30 s."""
    rng = np.random.default_rng(seed)
    rates, phases = rng.uniform(0.03, 0.09, (2, 4)), rng.uniform(0, 2 * np.pi, (2, 4))
    return 0.25 * np.sin(2 * np.pi * rates * np.asarray(t)[:, None, None] + phases).sum(-1)  # [T, 2]


# ---- points --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_correlations_and_errors_agree_with_scipy(seed):
    x, y = pairs(seed)
    tied = np.round(y, 1)
    assert m.pearson(x, y) == pytest.approx(scipy.stats.pearsonr(x, y).statistic, abs=1e-12)
    assert m.spearman(x, tied) == pytest.approx(scipy.stats.spearmanr(x, tied).statistic, abs=1e-12)
    assert m.mae(x, y) == pytest.approx(sum(abs(a - b) for a, b in zip(x, y)) / len(x))
    assert m.rmse(x, y) == pytest.approx(math.sqrt(sum((a - b) ** 2 for a, b in zip(x, y)) / len(x)))


@pytest.mark.parametrize("y", ANSCOMBE_Y)
def test_pearson_of_anscombes_quartet(y):
    assert m.pearson(ANSCOMBE_X, y) == pytest.approx(0.816, abs=5e-4)  # Anscombe 1973, The American Statistician 27(1)


def test_concordance_by_hand():
    assert m.concordance([1, 2, 3, 4, 5], [2, 3, 4, 5, 6]) == pytest.approx(2 * 2 / (2 + 2 + 1))
    assert m.concordance([-1, 0, 1], [-2, 0, 2]) == pytest.approx(2 * (4 / 3) / (2 / 3 + 8 / 3))
    x, y = pairs(1)
    r, ratio, shift = scipy.stats.pearsonr(x, y).statistic, x.std() / y.std(), (x.mean() - y.mean()) ** 2 / (x.std() * y.std())
    assert m.concordance(x, y) == pytest.approx(r * 2 / (ratio + 1 / ratio + shift))  # Lin 1989: r times the bias correction


def test_what_offset_and_scale_do():
    x, y = pairs(2)
    for f in (m.pearson, m.spearman):
        assert f(x, 0.1 * y + 0.4) == pytest.approx(f(x, y))
        assert f(x, -y) == pytest.approx(-f(x, y))
    assert m.pearson(x, 3 * x - 1) == pytest.approx(1) and m.concordance(x, 3 * x - 1) < 0.7
    assert m.spearman(x, np.exp(5 * x)) == pytest.approx(1) and m.pearson(x, np.exp(5 * x)) < 0.9
    assert m.concordance(x, x) == pytest.approx(1) and m.concordance(x, -x) < 0
    assert m.mae(x, x + 0.3) == pytest.approx(0.3) == m.rmse(x, x - 0.3)
    assert abs(m.concordance(x, y)) <= abs(m.pearson(x, y)) and m.mae(x, y) <= m.rmse(x, y)


def test_a_constant_has_errors_but_no_correlation():
    x, flat = pairs(0)[0], np.full(60, 0.1)
    rounded = (flat + np.random.default_rng(0).uniform(-1e-8, 1e-8, 60)).astype(np.float32)
    for constant in (flat, rounded):
        assert all(math.isnan(f(*args)) for f in (m.pearson, m.spearman) for args in ((x, constant), (constant, x)))
        assert m.concordance(constant, x) == 0 and math.isnan(m.concordance(constant, flat))
        assert m.mae(constant, flat + 0.2) == pytest.approx(0.2)


def test_adherence_is_one_for_exact_and_zero_for_chance():
    rng = np.random.default_rng(4)
    asked = rng.uniform(-1, 1, (20_000, 2))
    assert m.adherence(asked, asked) == 1
    assert m.adherence(asked, rng.uniform(-1, 1, asked.shape)) == pytest.approx(0, abs=0.02)
    still = np.tile([[0.5, -0.5]], (8, 1))
    assert m.adherence(still, still + [[0.1, 0]]) == pytest.approx(1 - 0.01 / (0.5 + 2 / 3))
    assert m.adherence(still, -still) < 0


@pytest.mark.parametrize("seed", range(3))
def test_cross_leak_agrees_with_least_squares_and_residuals(seed):
    rng = np.random.default_rng(seed)
    asked = rng.uniform(-1, 1, (80, 2)) @ [[1, 0.3], [0, 0.7]]
    got = asked @ [[0.5, 0.2], [-0.1, 0.9]] + 0.2 * rng.normal(size=(80, 2))
    result = m.cross_leak(asked, got)
    z, out = scipy.stats.zscore(asked), scipy.stats.zscore(got)
    weights, residuals, *_ = np.linalg.lstsq(z, out)
    for k, name in enumerate(m.DIMENSIONS):
        row = result[name]
        assert (row["on_valence"], row["on_arousal"]) == pytest.approx(tuple(weights[:, k]))
        assert row["r2"] == pytest.approx(1 - residuals[k] / 80)
        for i, partial in enumerate((row["partial_valence"], row["partial_arousal"])):
            other = z[:, 1 - i]
            left = [v - other * (other @ v) / 80 for v in (z[:, i], out[:, k])]
            assert partial == pytest.approx(scipy.stats.pearsonr(*left).statistic)


def test_cross_leak_tells_a_leak_from_correlated_requests():
    rng = np.random.default_rng(5)
    v = rng.uniform(-1, 1, 400)
    asked = np.stack([v, 0.7 * v + 0.3 * rng.uniform(-1, 1, 400)], -1)  # requests that go together are no leak
    clean = asked + 0.1 * rng.normal(size=asked.shape)
    leaky = clean + np.stack([np.zeros(400), 0.5 * v], -1)
    assert abs(m.cross_leak(asked, clean)["arousal"]["on_valence"]) < 0.1 < 0.8 < m.pearson(asked[:, 0], clean[:, 1])
    assert m.cross_leak(asked, leaky)["arousal"]["on_valence"] > 0.3
    assert abs(m.cross_leak(asked, leaky)["valence"]["on_arousal"]) < 0.1
    together = np.stack([v, 0.5 * v], -1)
    for undefined in (together, np.stack([v, np.zeros(400)], -1)):
        assert all(math.isnan(x) for row in m.cross_leak(undefined, clean).values() for x in row.values())


def test_evaluate_points_gathers_the_metrics_per_dimension():
    rng = np.random.default_rng(6)
    asked = rng.uniform(-1, 1, (30, 2))
    got = asked * [0.2, 0.9] + 0.1 * rng.normal(size=(30, 2))
    result = m.evaluate_points(asked, got)
    assert result["n"] == 30 and result["adherence"] == m.adherence(asked, got)
    assert result["valence"]["concordance"] == m.concordance(asked[:, 0], got[:, 0])
    assert result["arousal"]["pearson"] > result["valence"]["pearson"]
    assert result["cross_leak"] == m.cross_leak(asked, got)


# ---- curves --------------------------------------------------------------------------------------------------------


def test_the_common_grid_meets_both_tracks_where_they_overlap():
    t_asked, t_got = np.array([0, 10, 20.0]), np.sort(np.random.default_rng(0).uniform(1.5, 18.3, 40))
    asked = np.array([[0, 1], [1, 0], [-1, 0.5]])
    got = np.stack([t_got / 20, 1 - t_got / 10], -1)  # linear in time: interpolation is exact
    times, a, b = m.on_common_grid((t_asked, asked), (t_got, got), 0.5)
    assert times[0] == t_got[0] and t_got[-1] - 0.5 < times[-1] <= t_got[-1] and np.allclose(np.diff(times), 0.5)
    assert np.allclose(b, np.stack([times / 20, 1 - times / 10], -1))
    assert np.allclose(a[:, 0], np.where(times < 10, times / 10, 3 - times / 5))


@pytest.mark.parametrize("late_seconds", [-3.4, -0.6, 0.0, 0.11, 1.0, 2.37, 7.9])
def test_a_shifted_curve_gives_its_lag(late_seconds):
    t = np.arange(0, 90, STEP)
    for k in (0, 1):
        seconds, r = m.lag(wave(t, 3)[:, k], 0.4 * wave(t - late_seconds, 3)[:, k] - 0.2, STEP)
        assert seconds == pytest.approx(late_seconds, abs=0.02)
        assert r > 0.999


def test_lag_agrees_with_a_search_on_a_fine_grid():
    fine = np.arange(0, 80, 0.01)
    noise = 0.02 * wave(10 * fine, 9)[:, 0]
    x, y = wave(fine, 7)[:, 0], wave(fine - 1.234, 7)[:, 0] + noise
    by_hand = max(range(0, 300), key=lambda s: scipy.stats.pearsonr(x[: len(x) - s], y[s:]).statistic) * 0.01
    assert m.lag(x[::25], y[::25], STEP)[0] == pytest.approx(by_hand, abs=0.03)


def test_lag_where_there_is_nothing_to_find():
    ramp = np.linspace(-1, 1, 100)
    assert m.lag(ramp, ramp, STEP) == (0, pytest.approx(1))  # every shift fits: none is claimed
    assert math.isnan(m.lag(np.full(100, 0.3), ramp, STEP)[0])
    assert math.isnan(m.lag(ramp, -ramp, STEP)[0])
    t = np.arange(0, 90, STEP)
    assert m.lag(wave(t, 3)[:, 0], wave(t - 6, 3)[:, 0], STEP, max_lag_seconds=2)[0] == 2  # that much or more


def test_windowed_correlation_sees_where_the_music_follows():
    t = np.arange(0, 80 + STEP, STEP)
    x = wave(t, 1)[:, 0]
    y = np.where(t < 40, x, -x)
    seconds, r = m.windowed_correlation(x, y, STEP, 10)
    for centre, value in zip(seconds, r):
        i = np.abs(t - centre) <= 5 + 1e-9
        assert value == pytest.approx(scipy.stats.pearsonr(x[i], y[i]).statistic)
    assert np.allclose(r[seconds < 35], 1) and np.allclose(r[seconds > 45], -1)
    held = np.where(t < 40, 0.2, x)
    assert np.array_equal(np.isnan(m.windowed_correlation(held, x, STEP, 10)[1]), seconds + 5 < 40)
    assert m.windowed_correlation(x[:9], y[:9], STEP, 10)[1] == pytest.approx([1])


def naive_dtw(x: np.ndarray, y: np.ndarray, band: int) -> float:
    n = len(x)
    cost = np.full((n, n), np.inf)
    for i in range(n):
        for j in range(n):
            if abs(i - j) <= band:
                d = np.linalg.norm(x[i] - y[j])
                steps = [2 * d] if i == j == 0 else []
                steps += [cost[i - 1, j] + d] if i else []
                steps += [cost[i, j - 1] + d] if j else []
                steps += [cost[i - 1, j - 1] + 2 * d] if i and j else []
                cost[i, j] = min(steps)
    return cost[-1, -1] / (2 * n)


@pytest.mark.parametrize("band", [0, 1, 2, 3, 7, 40])
@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_dtw_agrees_with_plain_loops(n, band):
    x, y = np.random.default_rng(n).uniform(-1, 1, (2, n, 2))
    assert m.dtw_error(x, y, 1.0, band + 0.5) == pytest.approx(naive_dtw(x, y, band))
    assert m.dtw_error(x[:, 0], y[:, 0], 1.0, band + 0.5) == pytest.approx(naive_dtw(x[:, :1], y[:, :1], band))


def test_dtw_forgives_timing_and_nothing_else():
    t = np.arange(0, 60, STEP)
    x, late = wave(t, 2), wave(t - 2, 2)
    distance = np.linalg.norm(x - late, axis=1).mean()
    assert m.dtw_error(x, x, STEP) == 0
    assert m.dtw_error(x, late, STEP, 4) < 0.15 * distance
    assert m.dtw_error(x, late, STEP, 0.5) > m.dtw_error(x, late, STEP, 1) > m.dtw_error(x, late, STEP, 2)
    assert m.dtw_error(x, late, STEP, 0.1) == pytest.approx(distance)  # a band of no step is no warping
    still = np.full(200, 0.4)
    assert m.dtw_error(still, still - 0.3, STEP) == pytest.approx(0.3)


def test_evaluate_curve_describes_a_late_and_pale_performance():
    t_asked, t_got = np.arange(0, 61, 0.1), np.arange(1.5, 58.5, 0.37)
    asked, got = wave(t_asked, 8), 0.5 * wave(t_got - 1.3, 8) + [0, 0.2]
    result = m.evaluate_curve((t_asked, asked), (t_got, got))
    assert result["seconds"] == pytest.approx(t_got[-1] - 1.5) and result["coverage"] == pytest.approx(result["seconds"] / 60.9)
    for name in m.DIMENSIONS:
        row = result[name]
        assert row["lag_seconds"] == pytest.approx(1.3, abs=0.03) and row["lag_r"] > 0.99
        assert row["lag_r"] > row["pearson"] > row["concordance"] and row["dtw"] < row["mae"] < row["rmse"]
        assert -1 <= row["windowed_r"] <= 1
    assert 0 < m.evaluate_curve((t_asked, asked), (t_got, -got))["dtw"] > result["dtw"]
    perfect = m.evaluate_curve((t_asked, asked), (t_asked, asked))
    assert perfect["adherence"] == perfect["coverage"] == 1 > result["adherence"] > 0
    assert perfect["valence"] == pytest.approx({"pearson": 1, "spearman": 1, "concordance": 1, "mae": 0, "rmse": 0, "windowed_r": 1,
                                                "lag_seconds": 0, "lag_r": 1, "dtw": 0}, abs=1e-9)


def test_a_request_that_stays_has_errors_and_no_shape():
    t = np.arange(0, 30, 0.5)
    result = m.evaluate_curve(([0, 30], [[0.3, -0.2]] * 2), (t, np.full((60, 2), 0.1) + 0.01 * wave(t, 1)))
    row = result["valence"]
    assert row["mae"] == pytest.approx(0.2, abs=0.01) == row["dtw"] and result["adherence"] > 0.8
    assert all(math.isnan(row[key]) for key in ("pearson", "spearman", "windowed_r", "lag_seconds", "lag_r"))


# ---- Frechet audio distance ----------------------------------------------------------------------------------------


def gaussian(seed: int, n: int, scale: np.ndarray, mean: np.ndarray | float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, len(scale))) * scale + mean


def test_frechet_distance_agrees_with_scipys_matrix_root():
    mix = np.random.default_rng(0).normal(size=(12, 12))
    a, b = gaussian(1, 90, np.ones(12)) @ mix, gaussian(2, 70, np.linspace(0.5, 2, 12), 0.3)
    ca, cb = np.cov(a.T), np.cov(b.T)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(ca + cb - 2 * scipy.linalg.sqrtm(ca @ cb).real)
    assert m.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert m.frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_gaussians_in_closed_form():
    scale, other, mean = np.array([1, 2, 0.5]), np.array([1.5, 1, 0.5]), np.array([0.3, 0, -1])
    exact = np.sum(mean**2) + np.sum((scale - other) ** 2)  # axes aligned: the roots commute
    assert m.frechet_distance(gaussian(0, 200_000, scale), gaussian(1, 200_000, other, mean)) == pytest.approx(exact, rel=0.02)
    x, y = np.array([[-1.0], [1.0]]), np.array([[1.0], [7.0]])  # means 0 and 4, deviations sqrt 2 and 3 sqrt 2
    assert m.frechet_distance(x, y) == pytest.approx(16 + 8)


@pytest.mark.parametrize("n", [10, 40, 300])  # fewer rows than features too, where covariances have no inverse
def test_frechet_distance_by_physics(n):
    a = gaussian(3, n, np.geomspace(1e-4, 10, 40))
    shuffled = a[np.random.default_rng(0).permutation(n)]
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(40, 40)))[0]
    b = 0.7 * a + np.random.default_rng(2).normal(size=a.shape)
    assert m.frechet_distance(a, a) == pytest.approx(0, abs=1e-9) and m.frechet_distance(a, shuffled) == pytest.approx(0, abs=1e-9)
    assert m.frechet_distance(a, a + 0.5) == pytest.approx(40 * 0.25)
    assert m.frechet_distance(a, 3 * a - 2 * a.mean(0)) == pytest.approx(4 * a.var(0, ddof=1).sum())
    assert m.frechet_distance(a @ rotation, b @ rotation) == pytest.approx(m.frechet_distance(a, b))
    assert m.frechet_distance(2 * a, 2 * b) == pytest.approx(4 * m.frechet_distance(a, b))


@pytest.mark.parametrize("n_reference, n_measured", [(60, 60), (60, 1000), (1000, 60)])
def test_fad_infinity_is_nearer_the_truth_than_fad(n_reference, n_measured):
    scale, other = np.ones(24), np.linspace(0.5, 1.5, 24)
    exact = np.sum((scale - other) ** 2) + 24 * 0.04
    results = [m.frechet_audio_distance(gaussian(s, n_reference, scale), gaussian(100 + s, n_measured, other, 0.2), seed=s)
               for s in range(6)]
    plain, limit = (np.array([getattr(r, key) for r in results]) for key in ("fad", "fad_infinity"))
    assert (results[0].n_reference, results[0].n_measured, results[0].width) == (n_reference, n_measured, 24)
    assert (plain > 1.2 * exact).all()  # the bias that is to go
    assert (np.abs(limit - exact) < np.abs(plain - exact)).all()
    assert abs(limit.mean() - exact) < 0.3 * (plain.mean() - exact)


def test_fad_infinity_of_equal_sets_and_equal_distributions():
    a, b = gaussian(0, 80, np.ones(20)), gaussian(1, 80, np.ones(20))
    same = m.frechet_audio_distance(a, a.copy())
    assert (same.fad, same.fad_infinity) == (pytest.approx(0, abs=1e-9), 0)
    different = m.frechet_audio_distance(a, b)
    assert abs(different.fad_infinity) < 0.35 * different.fad
    assert m.frechet_audio_distance(a, b) == different != m.frechet_audio_distance(a, b, seed=1)


# ---- bootstrap -----------------------------------------------------------------------------------------------------


def test_bootstrap_agrees_with_scipys():
    x, y = pairs(3, 80)
    ours = m.bootstrap(m.pearson, (x, y), seed=1)
    theirs = scipy.stats.bootstrap((x, y), lambda a, b: np.corrcoef(a, b)[0, 1], paired=True, vectorized=False,
                                   n_resamples=2000, method="percentile", random_state=2).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)
    assert ours.low < ours.value == m.pearson(x, y) < ours.high and (ours.n, ours.level) == (80, 0.95)
    assert m.bootstrap(m.pearson, (x, y), seed=1) == ours != m.bootstrap(m.pearson, (x, y), seed=2)
    assert m.bootstrap(m.pearson, (x, y), level=0.5).high < ours.high


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3, 2, (150, 50))
    found = [m.bootstrap(np.mean, [draw], level=0.8, resamples=200, seed=i) for i, draw in enumerate(draws)]
    assert np.mean([i.low <= 3 <= i.high for i in found]) == pytest.approx(0.8, abs=0.08)  # 2.5 standard errors


def test_paired_differences_see_what_separate_intervals_hide():
    rng = np.random.default_rng(1)
    target, difficulty = rng.uniform(-1, 1, 60), rng.normal(size=60)
    good = target + 0.5 * difficulty
    better = good - 0.1 * difficulty + 0.02 * rng.normal(size=60)
    gain = m.bootstrap_difference(m.mae, (target, better), (target, good), resamples=1000)
    assert gain.value == pytest.approx(m.mae(target, better) - m.mae(target, good)) and gain.high < 0
    alone = [m.bootstrap(m.mae, (target, y), resamples=1000) for y in (better, good)]
    assert alone[0].high > alone[1].low and gain.high - gain.low < 0.3 * (alone[0].high - alone[0].low)
    nothing = m.bootstrap_difference(m.mae, (target, good), (target, good), resamples=100)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_bootstrap_leaves_out_resamples_that_define_nothing():
    x = np.array([0.0] * 3 + [1.0])  # about a third of the resamples are all zeros
    some = m.bootstrap(m.pearson, (x, x), resamples=200)
    assert (some.low, some.high) == (pytest.approx(1), pytest.approx(1))
    none = m.bootstrap(m.pearson, (np.zeros(5), np.arange(5)), resamples=100)
    assert math.isnan(none.value) and math.isnan(none.low) and math.isnan(none.high)


# ---- bad input -----------------------------------------------------------------------------------------------------

GOOD, TIMES = np.linspace(-1, 1, 8), np.arange(8.0)
PLANE = np.stack([GOOD, GOOD**2], -1)


@pytest.mark.parametrize("call, words", [
    (lambda: m.pearson(GOOD, GOOD[:5]), r"\[8\] and measured \[5\]"),
    (lambda: m.pearson(GOOD[:2], GOOD[:2]), "only 2 values: this needs at least 3"),
    (lambda: m.mae([], []), "not empty"),
    (lambda: m.rmse([0.1, math.nan], [0, 0]), "requested holds NaN or infinity, first in row 1"),
    (lambda: m.spearman(GOOD, [*GOOD[:7], math.inf]), "measured holds NaN"),
    (lambda: m.concordance(["calm"] * 8, GOOD), "requested is <U4"),
    (lambda: m.pearson([[1, 2], [3]], GOOD), "ragged"),
    (lambda: m.pearson(PLANE, PLANE), "give 1-dimensional"),
    (lambda: m.adherence(5 * PLANE, PLANE), "requested holds -5: use the scale -1 to 1"),
    (lambda: m.evaluate_points(PLANE[:3], PLANE[:3]), "only 3 values"),
    (lambda: m.cross_leak(np.ones((8, 3)), np.ones((8, 3))), "two columns"),
    (lambda: m.evaluate_curve((TIMES, PLANE), (TIMES + 20, PLANE)), r"share 0 s \(requested 0 to 7 s, measured 20 to 27 s\)"),
    (lambda: m.evaluate_curve((TIMES, PLANE), ([1.5], [[0, 0]])), "at least 0.5 s"),
    (lambda: m.evaluate_curve((TIMES[::-1], PLANE), (TIMES, PLANE)), "requested times go from 7 to 6 s"),
    (lambda: m.evaluate_curve((TIMES, PLANE), (TIMES, GOOD)), "measured values is"),
    (lambda: m.evaluate_curve((TIMES, PLANE), (TIMES[:5], PLANE)), r"5 times and values shaped \[8, 2\]"),
    (lambda: m.evaluate_curve(PLANE, (TIMES, PLANE)), "requested is ndarray: give a pair"),
    (lambda: m.evaluate_curve((TIMES, 5 * PLANE), (TIMES, PLANE)), "use the scale"),
    (lambda: m.evaluate_curve((TIMES, PLANE), (TIMES, PLANE), step_seconds=1e-9), "use a longer one"),
    (lambda: m.evaluate_curve((TIMES, PLANE), (TIMES, PLANE), step_seconds=0), "step_seconds is 0"),
    (lambda: m.lag(GOOD, GOOD, 1.0, -1), "max_lag_seconds is -1"),
    (lambda: m.dtw_error(GOOD, GOOD, 1.0, math.nan), "band_seconds is nan"),
    (lambda: m.frechet_distance(PLANE, PLANE[:, :1]), "2 features a row, measured 1"),
    (lambda: m.frechet_distance(PLANE, PLANE[:1]), "at least 2"),
    (lambda: m.frechet_audio_distance(PLANE, PLANE[:5]), "8 rows and measured 5: this needs at least 8"),
    (lambda: m.frechet_audio_distance(PLANE, PLANE * math.nan), "measured holds NaN"),
    (lambda: m.bootstrap(m.pearson, (GOOD, GOOD[:7])), r"\[8, 7\] rows"),
    (lambda: m.bootstrap(m.pearson, ()), r"\[\] rows"),
    (lambda: m.bootstrap(m.pearson, (GOOD, GOOD), level=95), "level is 95"),
    (lambda: m.bootstrap(m.pearson, (GOOD, GOOD), resamples=5), "resamples is 5"),
])
def test_bad_input_is_one_clear_sentence(call, words):
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
