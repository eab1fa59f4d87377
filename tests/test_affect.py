"""Affect: curves against scipy and closed forms, JSON both ways and refused, scales, emotion words."""
import copy
import json
import math
import os
import stat

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from lara_core import affect
from lara_core.affect import EMOTIONS, PRESETS, RATED_EMOTIONS, Curve, emotion, nearest_emotion

RAMP = ((0.0, -1.0, 0.0), (10.0, 1.0, 0.5))


def random_curve(seed: int, count: int, unit: str = "seconds", interpolation: str = "smooth") -> Curve:
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.uniform(0.01, 3.0, count))
    t = t / t[-1] if unit == "normalized" else t
    values = np.clip(rng.uniform(-1.4, 1.4, (count, 2)), -1, 1)  # clipping makes flat stretches and points at the limits
    return Curve(tuple(zip(t.tolist(), *values.T.tolist())), unit, interpolation)


# ---- interpolation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 4, 17, 200])
@pytest.mark.parametrize("seed", range(5))
def test_smooth_is_scipys_pchip(seed, count):
    curve = random_curve(seed, count)
    t, *lanes = np.array(curve.points).T
    x = np.linspace(t[0], t[-1], 999)
    expected = np.stack([PchipInterpolator(t, lane)(x) for lane in lanes], axis=-1)
    np.testing.assert_allclose(curve.at(x), expected, atol=2e-7)  # float32


@pytest.mark.parametrize("seed", range(8))
def test_smooth_never_leaves_the_interval_between_neighbours(seed):
    curve = random_curve(seed, 40)
    points = np.array(curve.points)
    for left, right in zip(points, points[1:]):
        got = curve.at(np.linspace(left[0], right[0], 50))
        low, high = np.minimum(left, right)[1:], np.maximum(left, right)[1:]
        assert (got >= np.float32(low)).all() and (got <= np.float32(high)).all()
        assert (np.diff(got, axis=0) * np.sign(right - left)[1:] >= 0).all()  # monotone between neighbours


def test_smooth_stays_finite_and_in_range_for_the_closest_points_allowed():
    t = [0.0, 1e-9, 2e-9, 1.0, 1e9]
    curve = Curve(tuple((x, (-1.0) ** i, (-1.0) ** (i // 2)) for i, x in enumerate(t)), "seconds", "smooth")
    got = curve.at(np.concatenate([t, np.linspace(0, 1e9, 999), np.linspace(0, 3e-9, 99)]))
    assert np.isfinite(got).all() and np.abs(got).max() <= 1


@pytest.mark.parametrize("interpolation", affect.INTERPOLATIONS)
def test_every_interpolation_passes_through_its_points_and_holds_outside(interpolation):
    curve = random_curve(3, 12, interpolation=interpolation)
    points = np.array(curve.points)
    np.testing.assert_allclose(curve.at(points[:, 0]), points[:, 1:], atol=1e-7)
    outside = curve.at([-5.0, points[0, 0] - 1e-3, points[-1, 0] + 1e-3, 1e8])
    np.testing.assert_allclose(outside, points[[0, 0, -1, -1], 1:], atol=1e-7)


def test_linear_is_the_straight_line_and_hold_steps_at_the_point():
    np.testing.assert_allclose(Curve(RAMP).at([0, 2.5, 5, 10]), [[-1, 0], [-0.5, 0.125], [0, 0.25], [1, 0.5]])
    hold = Curve(((1.0, 0.1, 0.2), (2.0, 0.3, 0.4), (3.0, 0.5, 0.6)), "seconds", "hold")
    times = [0, 1, 1.999999, 2, 2.999999, 3, 99]
    np.testing.assert_allclose(hold.at(times)[:, 0], [0.1, 0.1, 0.1, 0.3, 0.3, 0.5, 0.5], atol=1e-7)


@pytest.mark.parametrize("unit", affect.UNITS)
@pytest.mark.parametrize("interpolation", affect.INTERPOLATIONS)
def test_one_point_is_constant(unit, interpolation):
    got = Curve(((0.5, 0.25, -0.75),), unit, interpolation).at(np.linspace(0, 9, 7), 9.0, 120.0)
    assert got.dtype == np.float32 and got.shape == (7, 2)
    np.testing.assert_array_equal(got, np.tile(np.float32([0.25, -0.75]), (7, 1)))


def test_constant_needs_neither_duration_in_its_shape_nor_a_tempo():
    for duration in (0.1, 1000.0):
        np.testing.assert_array_equal(Curve.constant(-1, 1).at([0.0, duration], duration), [[-1, 1], [-1, 1]])


def test_no_times_give_an_empty_track():
    assert Curve(RAMP).at([]).shape == (0, 2)


# ---- units ---------------------------------------------------------------------------------------------------------


def test_the_three_units_draw_the_same_curve():
    seconds = random_curve(7, 9, "normalized")  # 0..1, so that it can be stretched
    stretched = Curve(tuple((t * 30, v, a) for t, v, a in seconds.points), "seconds", "smooth")
    beats = Curve(tuple((t * 30 * 1.5, v, a) for t, v, a in seconds.points), "beats", "smooth")  # 90 bpm
    times = np.linspace(-1, 31, 321)
    expected = stretched.at(times)
    np.testing.assert_allclose(seconds.at(times, 30.0), expected, atol=1e-6)
    np.testing.assert_allclose(beats.at(times, 30.0, 90), expected, atol=1e-6)
    np.testing.assert_allclose(beats.at(times, 30.0, lambda s: s * 1.5), expected, atol=1e-6)


def test_beats_follow_a_moving_tempo():
    def beat_of(seconds):  # 60 bpm for ten seconds, then 120 bpm
        return np.where(seconds < 10, seconds, 10 + 2 * (seconds - 10))

    curve = Curve(((0, -1, 0), (20, 1, 0)), "beats")
    np.testing.assert_allclose(curve.at([5, 10, 12.5, 15], 20, beat_of)[:, 0], [-0.5, 0.0, 0.5, 1.0], atol=1e-7)


def test_a_normalized_curve_keeps_its_shape_in_a_new_duration():
    arc = PRESETS["heartbreak"]
    share = np.linspace(0, 1, 101)
    np.testing.assert_allclose(arc.at(share * 8, 8.0), arc.at(share * 600, 600.0), atol=1e-6)


@pytest.mark.parametrize(
    "unit, arguments, words",
    [
        ("beats", (10.0,), "needs a tempo"),
        ("normalized", (), "needs duration_seconds"),
        ("beats", (10.0, 0), "tempo is 0"),
        ("beats", (10.0, math.nan), "tempo is nan"),
        ("beats", (10.0, True), "tempo is True"),
        ("beats", (10.0, "fast"), "tempo is 'fast'"),
        ("beats", (10.0, lambda s: s[:1]), "one finite number of beats"),
        ("beats", (10.0, lambda s: s * np.nan), "one finite number of beats"),
        ("seconds", (-1.0,), "duration_seconds is -1.0"),
        ("normalized", (math.inf,), "duration_seconds is inf"),
    ],
)
def test_what_a_unit_needs_is_said(unit, arguments, words):
    with pytest.raises(ValueError, match=words):
        Curve(((0, 0, 0), (1, 1, 1)), unit).at([0.0, 1.0], *arguments)


@pytest.mark.parametrize("times", [1.0, [[0.0, 1.0]], [0.0, math.nan], [math.inf]])
def test_times_are_one_finite_axis(times):
    with pytest.raises(ValueError, match="one-dimensional array of finite seconds"):
        Curve(RAMP).at(times)


# ---- JSON ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", affect.UNITS)
@pytest.mark.parametrize("interpolation", affect.INTERPOLATIONS)
def test_json_and_files_come_back_equal(tmp_path, unit, interpolation):
    curve = random_curve(11, 30, unit, interpolation)
    assert Curve.from_json(curve.to_json()) == curve
    assert Curve.from_json(json.loads(curve.to_json())) == curve
    path = tmp_path / "arc.json"
    curve.save(path)
    assert Curve.load(path) == curve


def test_json_is_the_documented_shape():
    parsed = json.loads(Curve(((0, 0.5, -1),), "beats", "hold").to_json())
    assert parsed == {"unit": "beats", "interpolation": "hold", "points": [{"t": 0, "valence": 0.5, "arousal": -1}]}


def test_british_spelling_and_a_windows_byte_order_mark_are_read(tmp_path):
    text = Curve.constant(0.1, 0.2).to_json().replace("normalized", "normalised")
    assert Curve.from_json(text).unit == "normalized"
    (tmp_path / "bom.json").write_text(text, encoding="utf-8-sig")
    assert Curve.load(tmp_path / "bom.json") == Curve.constant(0.1, 0.2)


GOOD = {
    "unit": "seconds",
    "interpolation": "linear",
    "points": [{"t": 0, "valence": 0, "arousal": 0}, {"t": 1, "valence": 0.5, "arousal": 0.5}],
}


def changed(**fields):
    """GOOD with top-level fields replaced; `p1_<field>` replaces a field of points[1]."""
    data = copy.deepcopy(GOOD)
    for name, value in fields.items():
        if name.startswith("p1_"):
            data["points"][1][name[3:]] = value
        else:
            data[name] = value
    return data


def without(name, point=False):
    data = copy.deepcopy(GOOD)
    del (data["points"][1] if point else data)[name]
    return data


@pytest.mark.parametrize(
    "data, words",
    [
        (changed(unit="minutes"), r"unit is 'minutes': use one of seconds"),
        (changed(unit=None), r"unit is None"),
        (changed(interpolation="cubic"), r"interpolation is 'cubic': use one of linear"),
        (changed(points=[]), r"no points"),
        (changed(points="0,0,0"), r"points is '0,0,0'"),
        (changed(points={"t": 0}), r"points is \{'t': 0\}"),
        (changed(points=[[0, 0, 0]]), r"points\[0\] is \[0, 0, 0\]"),
        (without("unit"), r"lacks 'unit'"),
        (without("interpolation"), r"lacks 'interpolation'"),
        (without("points"), r"lacks 'points'"),
        (without("t", point=True), r"points\[1\] lacks 't'"),
        (without("valence", point=True), r"points\[1\] lacks 'valence'"),
        (without("arousal", point=True), r"points\[1\] lacks 'arousal'"),
        (changed(scale="1..9"), r"unknown field 'scale'"),
        (changed(p1_dominance=0), r"points\[1\] has the unknown field 'dominance'"),
        (changed(p1_valence=1.01), r"points\[1\] valence is 1.01: use a number from -1 to 1"),
        (changed(p1_arousal=-5), r"points\[1\] arousal is -5"),
        (changed(p1_arousal=10**5000), r"points\[1\] arousal is .*use a number from -1 to 1"),
        (changed(p1_valence=math.nan), r"points\[1\] valence is nan"),
        (changed(p1_valence=math.inf), r"points\[1\] valence is inf"),
        (changed(p1_valence="0.5"), r"points\[1\] valence is '0.5'"),
        (changed(p1_valence=None), r"points\[1\] valence is None"),
        (changed(p1_valence=True), r"points\[1\] valence is True"),
        (changed(p1_t=-0.5), r"points\[1\] t \(in seconds\) is -0.5"),
        (changed(p1_t=math.nan), r"points\[1\] t \(in seconds\) is nan"),
        (changed(p1_t=math.inf), r"points\[1\] t \(in seconds\) is inf"),
        (changed(p1_t=False), r"points\[1\] t \(in seconds\) is False"),
        (changed(p1_t=0), r"points\[1\] has t 0.0, not after points\[0\] with t 0.0"),
        (changed(unit="normalized", p1_t=1.5), r"points\[1\] t \(in normalized\) is 1.5: use a number from 0 to 1"),
        ([GOOD], r"the curve is \["),
        (None, r"the curve is None"),
    ],
)
def test_bad_curves_are_refused_in_one_sentence(data, words):
    with pytest.raises(ValueError, match=words) as caught:
        Curve.from_json(data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 220


def test_unsorted_points_name_both():
    with pytest.raises(ValueError, match=r"points\[2\] has t 1.0, not after points\[1\] with t 2.0: sort"):
        Curve(((0, 0, 0), (2, 0, 0), (1, 0, 0)))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"unit": ' + "9" * 5000 + "}", "NaN", '"curve"'])
def test_text_that_is_no_curve_is_refused(text):
    with pytest.raises(ValueError, match="the curve is"):
        Curve.from_json(text)


def test_json_nan_is_refused():
    text = Curve(RAMP).to_json().replace("-1.0", "NaN")
    with pytest.raises(ValueError, match=r"points\[0\] valence is nan"):
        Curve.from_json(text)


def test_a_hundred_thousand_points_are_the_limit():
    points = [{"t": i, "valence": 0.0, "arousal": 0.0} for i in range(affect.MAX_POINTS + 1)]
    with pytest.raises(ValueError, match="more than 100000 points"):
        Curve.from_json({**GOOD, "points": points})
    assert len(Curve.from_json({**GOOD, "points": points[:-1]}).points) == affect.MAX_POINTS


def test_points_may_come_as_lists_or_an_array():
    assert Curve(np.array(RAMP, dtype=np.float32)) == Curve([list(p) for p in RAMP]) == Curve(RAMP)
    with pytest.raises(ValueError, match=r"points\[0\] is \(0, 0\): use three numbers"):
        Curve(((0, 0),))
    with pytest.raises(ValueError, match="points is 5"):
        Curve(5)


def test_load_names_the_file(tmp_path):
    path = tmp_path / "broken.json"
    path.write_bytes(b"\xff\xfe\x00 not text")
    with pytest.raises(ValueError, match="broken.json"):
        Curve.load(path)
    with pytest.raises(FileNotFoundError):
        Curve.load(tmp_path / "absent.json")


def test_save_replaces_whole_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "arc.json"
    Curve.constant(0, 0).save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        Curve.constant(1, 1).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["arc.json"]
    monkeypatch.undo()
    Curve.constant(1, 1).save(path)
    assert Curve.load(path) == Curve.constant(1, 1) and os.listdir(tmp_path) == ["arc.json"]
    umask = os.umask(0)
    os.umask(umask)
    if os.name == "posix":  # a curve that only its writer can read would be a trap on a shared disk
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


# ---- scales --------------------------------------------------------------------------------------------------------


def test_scales_meet_at_their_ends_and_middle():
    assert [affect.to_1_9(x) for x in (-1, 0, 1)] == [1, 5, 9]
    assert [affect.from_1_9(x) for x in (1, 5, 9)] == [-1, 0, 1]
    assert [affect.to_0_1(x) for x in (-1, 0, 1)] == [0, 0.5, 1]
    assert [affect.from_0_1(x) for x in (0, 0.5, 1)] == [-1, 0, 1]
    assert isinstance(affect.to_1_9(np.float32(0.5)), float)


def test_scales_come_back_and_keep_the_shape():
    track = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    np.testing.assert_allclose(affect.from_1_9(affect.to_1_9(track)), track, atol=1e-15)
    np.testing.assert_allclose(affect.from_0_1(affect.to_0_1(track)), track, atol=1e-15)


@pytest.mark.parametrize(
    "convert, value",
    [
        (affect.to_1_9, 1.0001), (affect.to_1_9, math.nan), (affect.from_1_9, 0.0), (affect.from_1_9, 9.5),
        (affect.to_0_1, -2), (affect.from_0_1, 1.5), (affect.from_0_1, -0.01), (affect.from_0_1, math.inf),
        (affect.to_0_1, [0.0, 0.5, 3.0]),
    ],
)  # fmt: skip
def test_off_the_scale_is_refused(convert, value):
    with pytest.raises(ValueError, match="is outside the scale"):
        convert(value)


@pytest.mark.parametrize("value", ["0.5", None, True, [0.1, "x"]])
def test_a_scale_takes_numbers(value):
    with pytest.raises(ValueError, match="use numbers"):
        affect.to_1_9(value)


# ---- words ---------------------------------------------------------------------------------------------------------


def test_rated_words_are_the_published_means():
    # Spot values of Table 4 as others quote them (Popescu et al. 2014 and Mehrabian's PAD page among them).
    published = {
        "joyful": (0.76, 0.48), "fearful": (-0.64, 0.60), "angry": (-0.51, 0.59), "bored": (-0.65, -0.62),
        "curious": (0.22, 0.62), "dignified": (0.55, 0.22), "elated": (0.50, 0.42), "relaxed": (0.68, -0.46),
        "sad": (-0.63, -0.27), "surprised": (0.40, 0.67), "distressed": (-0.61, 0.28), "triumphant": (0.69, 0.57),
    }  # fmt: skip
    assert {word: RATED_EMOTIONS[word] for word in published} == published


def test_words_fill_the_plane():
    places = np.array(list(EMOTIONS.values()))
    assert len(RATED_EMOTIONS) >= 40 and np.abs(places).max() <= 1
    for v_sign in (-1, 1):
        for a_sign in (-1, 1):
            assert ((places * (v_sign, a_sign) > 0.2).all(axis=1)).sum() >= 4


@pytest.mark.parametrize(
    "word, v_sign, a_sign",
    [
        ("calm", 1, -1), ("peaceful", 1, -1), ("tense", -1, 1), ("menacing", -1, 1), ("heroic", 1, 1), ("happy", 1, 1),
        ("melancholic", -1, -1), ("gloomy", -1, -1), ("sad", -1, -1), ("terror", -1, 1), ("energetic", 1, 1),
    ],
)  # fmt: skip
def test_words_lie_in_their_quadrant(word, v_sign, a_sign):
    valence, arousal = emotion(word)
    assert valence * v_sign > 0.15 and arousal * a_sign > 0.15


def test_spelling_is_forgiving_about_case_and_joints():
    assert emotion("  In_Love ") == emotion("in-love") == emotion("IN LOVE") == (0.82, 0.65)
    assert emotion("Joy") == emotion("joyful")


def test_unknown_words_get_a_suggestion():
    with pytest.raises(ValueError, match="'triumfant' is not known: did you mean triumphant"):
        emotion("triumfant")
    with pytest.raises(ValueError, match="'xqzt' is not known: use a word such as neutral"):
        emotion("xqzt")
    for bad in ("", None, 3, ["sad"]):
        with pytest.raises(ValueError, match="is not known"):
            emotion(bad)


def test_every_word_is_nearest_to_its_own_place():
    for word, place in EMOTIONS.items():
        assert emotion(nearest_emotion(*place)[0]) == place, word


def test_nearest_is_brute_force_and_never_repeats_a_place():
    for valence, arousal in np.random.default_rng(1).uniform(-1, 1, (30, 2)):
        names = nearest_emotion(valence, arousal, 12)
        places = [EMOTIONS[name] for name in names]
        assert len(set(places)) == 12
        distances = [math.dist(place, (valence, arousal)) for place in places]
        others = [math.dist(place, (valence, arousal)) for place in set(EMOTIONS.values()) - set(places)]
        assert distances == sorted(distances) and max(distances) <= min(others)


def test_the_middle_is_neutral_and_corners_are_not():
    assert nearest_emotion(0, 0) == ("neutral",) and nearest_emotion(0.03, 0.02) == ("neutral",)
    assert nearest_emotion(-0.7, -0.7) == ("bored",) and nearest_emotion(0.65, 0.8) == ("excited",)


@pytest.mark.parametrize("arguments", [(1.5, 0), (0, math.nan), (0, 0, 0), (0, 0, 10_000), (0, 0, 1.5), (0, 0, True)])
def test_nearest_refuses_what_it_cannot_answer(arguments):
    with pytest.raises(ValueError, match="use a"):
        nearest_emotion(*arguments)


def test_from_emotions_passes_through_the_words():
    curve = Curve.from_emotions([(0, "calm"), (8, "Tense"), (16, "triumphant")], unit="beats")
    got = curve.at([0, 4, 8], 8, 120)
    np.testing.assert_allclose(got, [emotion("calm"), emotion("tense"), emotion("triumphant")], atol=1e-6)
    with pytest.raises(ValueError, match=r"moments\[0\] is 'calm': use a pair"):
        Curve.from_emotions(["calm"])


# ---- arcs ----------------------------------------------------------------------------------------------------------


def test_presets_span_the_piece_and_move():
    needed = {"calm-tense-resolve", "slow-burn", "heartbreak", "victory", "chase", "lullaby", "mystery", "triumph"}
    assert needed <= set(PRESETS)
    for name, curve in PRESETS.items():
        assert curve.unit == "normalized" and (curve.points[0][0], curve.points[-1][0]) == (0, 1), name
        track = curve.at(np.linspace(0, 60, 600), 60.0)
        assert np.ptp(track, axis=0).max() > 0.4, name
        assert np.abs(np.diff(track, axis=0)).max() < 0.05, name  # music can follow: at 60 s no jump within 0.1 s


def test_presets_tell_their_story():
    def at(name, share):
        return PRESETS[name].at([share], 1.0)[0]

    assert at("heartbreak", 0)[0] > 0.5 and at("heartbreak", 0.55)[0] < -0.5
    assert at("victory", 0.5)[0] < 0 < 0.5 < at("victory", 0.9)[0]
    assert at("slow-burn", 1)[1] - at("slow-burn", 0)[1] > 1
    tense = at("calm-tense-resolve", 0.75)
    assert tense[1] > 0.5 and tense[0] < 0 and at("calm-tense-resolve", 1)[1] < 0 < at("calm-tense-resolve", 1)[0]
