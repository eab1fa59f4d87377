"""Plot: the meter against brute force; the picture read back pixel by pixel."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lara_core import plot
from lara_core.affect import PRESETS, Curve
from lara_core.plot import EnvelopeMeter, plot_piece

ROOT = Path(__file__).resolve().parents[1]
ENVELOPE = np.array([[-0.2, 0.3]] * 50 + [[-0.8, 0.9]] * 50)


def brute_peaks(samples: np.ndarray, samples_per_bin: int) -> np.ndarray:
    """[C, T] -> [N, 2], bin by bin."""
    bins = [samples[:, i : i + samples_per_bin] for i in range(0, samples.shape[1], samples_per_bin)]
    return np.array([[b.min(), b.max()] for b in bins], dtype=np.float32)


# ---- the meter -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000, 20_000])
@pytest.mark.parametrize("max_bins", [2, 16, 256])
def test_meter_is_brute_force_however_the_stream_is_cut(chunk, max_bins):
    samples = np.random.default_rng(0).uniform(-1, 1, (2, 3001)).astype(np.float32)
    meter = EnvelopeMeter(max_bins)
    for start in range(0, samples.shape[1], chunk):
        meter.add(samples[:, start : start + chunk])
    assert meter.samples_seen == 3001
    np.testing.assert_array_equal(meter.peaks(), brute_peaks(samples, meter.samples_per_bin))


def test_meter_stays_small_and_fine_enough_over_a_long_stream():
    meter = EnvelopeMeter(512)
    size = meter._low.nbytes + meter._high.nbytes
    chunk = np.zeros((1, 48_000), dtype=np.float32)
    for second in range(600):
        chunk[0, 0] = 1.0 if second == 300 else 0.5
        meter.add(chunk)
        assert meter._low.nbytes + meter._high.nbytes == size
        assert 256 <= len(meter.peaks()) <= 512
    peaks = meter.peaks()
    seconds_per_bin = meter.samples_per_bin / 48_000
    assert np.argmax(peaks[:, 1]) == int(300 / seconds_per_bin)  # the click sits where it sounded


def test_meter_bins_are_single_samples_until_they_run_out():
    meter = EnvelopeMeter(8)
    assert meter.peaks().shape == (0, 2)
    meter.add(np.array([[0.1, -0.2, 0.3]]))
    meter.add(np.zeros((1, 0)))
    np.testing.assert_allclose(meter.peaks(), [[0.1, 0.1], [-0.2, -0.2], [0.3, 0.3]], atol=1e-7)


@pytest.mark.parametrize(
    "samples, words",
    [
        (np.zeros(8), r"shape \(8,\)"),
        (np.zeros((0, 8)), r"shape \(0, 8\)"),
        (np.zeros((1, 8), dtype=np.int16), "type int16"),
        (np.array([[0.0, np.nan]]), "NaN or infinity"),
        (np.array([[0.0, -np.inf]]), "NaN or infinity"),
    ],
)
def test_meter_refuses_what_is_not_sound_and_keeps_what_it_had(samples, words):
    meter = EnvelopeMeter(8)
    meter.add(np.full((1, 3), 0.5))
    with pytest.raises(ValueError, match=words):
        meter.add(samples)
    assert meter.samples_seen == 3 and meter.peaks().tolist() == [[0.5, 0.5]] * 3


@pytest.mark.parametrize("max_bins", [0, 1, 3, 2.0, True])
def test_meter_needs_an_even_number_of_bins(max_bins):
    with pytest.raises(ValueError, match="max_bins is"):
        EnvelopeMeter(max_bins)


# ---- the picture ---------------------------------------------------------------------------------------------------


def pixels_of(image: np.ndarray, color: str, legend_rows: int = 40) -> np.ndarray:
    """[H, W] bool: pixels of about this colour, below the legend (which is 75 rows high under a title)."""
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    near = np.abs(image.astype(int) - wanted).max(axis=-1) < 24
    near[:legend_rows] = False
    return near


def drawn(tmp_path, curve=Curve.constant(0.5, -0.5), duration_seconds=60.0, envelope=ENVELOPE, **options) -> np.ndarray:
    path = plot_piece(tmp_path / "piece.png", envelope, duration_seconds, curve, **options)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def rows_along(image: np.ndarray, color: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns that hold the colour, and its mean row in each."""
    near = pixels_of(image, color)
    columns = np.flatnonzero(near.any(axis=0))
    return columns, np.array([np.flatnonzero(near[:, column]).mean() for column in columns])


def test_lines_stand_where_the_curve_says(tmp_path):
    image = drawn(tmp_path, Curve(((0, -1, 0.5), (1, 1, 0.5)), "normalized"))
    assert image.shape == (650, 1560, 3)
    columns, valence_rows = rows_along(image, plot.VALENCE_COLOR)
    _, arousal_rows = rows_along(image, plot.AROUSAL_COLOR)
    slope, start = np.polyfit(columns, valence_rows, 1)
    assert np.abs(valence_rows - (start + slope * columns)).max() < 6  # a straight line, up to where arousal crosses it
    assert np.ptp(arousal_rows) < 6  # level
    bottom, top = valence_rows.max(), valence_rows.min()  # -1 and +1
    assert abs((bottom - np.median(arousal_rows)) / (bottom - top) - 0.75) < 0.01  # +0.5 is three quarters up
    assert columns[0] < 100 and columns[-1] > 1500


def test_hold_curves_in_beats_step_at_the_beat(tmp_path):
    curve = Curve(((0, -0.5, 0), (8, 0.5, 0)), "beats", "hold")
    columns, rows = rows_along(drawn(tmp_path, curve, 10.0, curve_tempo=120), plot.VALENCE_COLOR)
    step = columns[np.argmax(rows < (rows.max() + rows.min()) / 2)]
    assert abs((step - columns[0]) / np.ptp(columns) - 0.4) < 0.005  # 8 beats at 120 bpm are 4 s of 10
    with pytest.raises(ValueError, match="needs a tempo"):
        drawn(tmp_path, curve, 10.0)


def test_joints_are_thin_lines_at_their_times(tmp_path):
    joints = [15.0, 45.0, 45.0, 0.0, 60.0, 75.0]  # the ends, a double and one past the end draw nothing
    image = drawn(tmp_path, joints_seconds=joints)
    columns, _ = rows_along(image, plot.VALENCE_COLOR)
    left, right = columns[0], columns[-1]
    tall = np.flatnonzero(pixels_of(image, plot.JOINT_COLOR)[:, left + 4 : right - 4].sum(axis=0) > 150) + left + 4
    for joint in (15.0, 45.0):
        assert np.abs(tall - (left + (right - left) * joint / 60.0)).min() <= 2
    assert len(tall) <= 4  # each a pixel or two wide, and no others


def test_waveform_is_louder_where_the_sound_is(tmp_path):
    image = drawn(tmp_path)
    columns, _ = rows_along(image, plot.VALENCE_COLOR)
    heights = pixels_of(image, plot.WAVEFORM_COLOR)[:, columns[10] : columns[-10]].sum(axis=0)
    soft, loud = np.array_split(heights, 2)
    assert abs(np.median(loud) / np.median(soft) - 1.7 / 0.5) < 0.35
    mono = drawn(tmp_path, envelope=np.full(100, 0.9))
    heights = pixels_of(mono, plot.WAVEFORM_COLOR)[:, columns[10] : columns[-10]].sum(axis=0)
    assert np.abs(heights - np.median(heights)).max() < 0.05 * np.median(heights)


def test_measured_tracks_leave_gaps_where_nothing_was_measured(tmp_path):
    times = np.arange(0.0, 60.1, 0.5)  # more than 80 windows are a plain line
    values = np.stack([np.full(len(times), -0.2), np.full(len(times), 0.9)], axis=-1)
    values[(times > 20) & (times < 40)] = np.nan
    image = drawn(tmp_path, measured=(times, values))
    columns, _ = rows_along(image, plot.VALENCE_COLOR)
    upper = np.median(np.flatnonzero(pixels_of(image, plot.VALENCE_COLOR).sum(axis=1) > 1400))  # requested +0.5
    lower = np.median(np.flatnonzero(pixels_of(image, plot.AROUSAL_COLOR).sum(axis=1) > 1400))  # requested -0.5
    row = round(upper + (lower - upper) * 0.7)  # -0.2
    band = image[row - 3 : row + 4, columns[0] : columns[-1]].astype(int)
    orange = (band[:, :, 0] - band[:, :, 2] > 50).any(axis=0)
    before, gap, after = np.array_split(orange, 3)
    assert before.mean() > 0.95 and after.mean() > 0.95 and gap.mean() < 0.05


def test_tempo_strip_and_title_are_drawn(tmp_path):
    image = drawn(tmp_path, tempo=([0, 30], [90.0, 120.0]), title="costs $5, not $6 " * 20, joints_seconds=[30])
    ink = pixels_of(image, plot.INK, legend_rows=0)
    assert ink[:35].sum() > 1000  # the title, dollar signs and all
    strip = ink[int(0.78 * ink.shape[0]) :, 150:1500]
    slower, faster = (np.flatnonzero(half.mean(axis=1) > 0.6) for half in np.array_split(strip, 2, axis=1))
    assert faster.max() < slower.min()  # the faster half lies higher


@pytest.mark.parametrize("envelope", [np.zeros((0, 2)), np.zeros((9000, 2)), np.zeros(1)])
def test_silence_and_nothing_can_be_drawn(tmp_path, envelope):
    image = drawn(tmp_path, PRESETS["chase"], 0.4, envelope, measured=([], np.zeros((0, 2))))
    assert pixels_of(image, plot.AROUSAL_COLOR).sum() > 1000


def test_the_same_piece_gives_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        plot_piece(tmp_path / name, ENVELOPE, 5.0, PRESETS["victory"])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "piece.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        plot_piece(path, ENVELOPE, 5.0, Curve.constant(0, 0))
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["piece.png"]


def test_matplotlib_comes_late_and_without_pyplot(tmp_path):
    script = f"""
import sys, numpy as np
from lara_core import plot
from lara_core.affect import Curve
assert "matplotlib" not in sys.modules
plot.plot_piece({str(tmp_path / "p.png")!r}, np.zeros((4, 2)), 5.0, Curve.constant(0, 0))
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=120)


@pytest.mark.parametrize(
    "seconds, step, text",
    [
        (0, 1, "0:00"), (75, 15, "1:15"), (599.9999999, 60, "10:00"), (3600, 600, "60:00"), (0.25, 0.05, "0:00.25"),
        (61.5, 0.5, "1:01.5"), (59.96, 0.1, "1:00.0"),
    ],
)  # fmt: skip
def test_clock(seconds, step, text):
    assert plot._clock(seconds, step) == text


@pytest.mark.parametrize(
    "options, words",
    [
        ({"duration_seconds": 0}, "duration_seconds is 0"),
        ({"duration_seconds": float("nan")}, "duration_seconds is nan"),
        ({"duration_seconds": "60"}, "duration_seconds is '60'"),
        ({"envelope": np.zeros((4, 3))}, r"envelope has shape \[4, 3\]: use finite numbers of shape \[N, 2\]"),
        ({"envelope": np.full((4, 2), np.nan)}, "envelope has shape"),
        ({"joints_seconds": [1.0, np.inf]}, "joints_seconds has shape"),
        ({"measured": np.zeros((4, 2))}, "measured is of type ndarray: use a pair"),
        ({"measured": ([1.0], np.zeros((1, 3)))}, r"measured values has shape \[1, 3\]"),
        ({"measured": ([1.0], np.zeros((2, 2)))}, "measured has 1 times and 2 values"),
        ({"measured": ([2.0, 1.0], np.zeros((2, 2)))}, "measured times go backwards"),
        ({"measured": ([1.0], np.full((1, 2), np.inf))}, "measured values has shape"),
        ({"tempo": ([], [])}, "tempo needs at least one time"),
        ({"tempo": ([0.0], [0.0])}, "positive beats per minute"),
        ({"tempo": ([0.0], [np.nan])}, "tempo values has shape"),
        ({"path_png": "piece.jpg"}, "ends in .png"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_drawing(tmp_path, options, words):
    arguments = {"path_png": tmp_path / "p.png", "envelope": ENVELOPE, "duration_seconds": 60.0, **options}
    with pytest.raises(ValueError, match=words):
        plot_piece(requested=Curve.constant(0, 0), **arguments)
    assert not any(tmp_path.iterdir())
