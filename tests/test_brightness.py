"""Brightness follows the dynamics: by how much, from when on, and without a trace of where the stream was cut."""

import numpy as np

from lara_core.codec.brightness import CORNER_HZ, DB_PER_STEP, PLAIN_DYNAMICS, Brightness

RATE = 44100


def gain_db(samples: np.ndarray, dry: np.ndarray, hz: float) -> float:
    """Of the middle of a stretch, at one frequency."""
    middle = slice(samples.shape[1] // 4, -samples.shape[1] // 4)
    wave = np.exp(-2j * np.pi * hz / RATE * np.arange(dry.shape[1]))[middle]
    return 20 * np.log10(abs(samples[0, middle] @ wave) / abs(dry[0, middle] @ wave))


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return np.tile(np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32), (2, 1))


def test_soft_bars_lose_overtones_and_loud_ones_gain_some():
    for dynamics in (1, 3, 7):
        step = DB_PER_STEP * (dynamics - PLAIN_DYNAMICS)
        high, low = tone(CORNER_HZ * 16), tone(CORNER_HZ / 16)
        assert abs(gain_db(Brightness(RATE).push(high, 0.0, ((0.0, dynamics),)), high, CORNER_HZ * 16) - step) < 0.15 * abs(step)
        assert abs(gain_db(Brightness(RATE).push(low, 0.0, ((0.0, dynamics),)), low, CORNER_HZ / 16)) < 0.3
    noise = np.random.RandomState(1).standard_normal((2, 5000)).astype(np.float32)
    np.testing.assert_allclose(Brightness(RATE).push(noise, 0.0, ((0.0, PLAIN_DYNAMICS),)), noise, atol=1e-6)
    np.testing.assert_array_equal(Brightness(RATE).push(noise), noise)  # before the first bar there is nothing to follow


def test_it_turns_where_a_bar_begins():
    high = tone(CORNER_HZ * 16, 2.0)
    out = Brightness(RATE).push(high, 10.0, ((10.0, 5), (11.0, 1)))
    assert abs(gain_db(out[:, :RATE], high[:, :RATE], CORNER_HZ * 16)) < 0.1
    assert gain_db(out[:, RATE:], high[:, RATE:], CORNER_HZ * 16) < 0.85 * DB_PER_STEP * (1 - PLAIN_DYNAMICS)
    assert np.abs(np.diff(out[0])).max() <= 1.02 * np.abs(np.diff(high[0])).max()  # no click


def test_pieces_are_shaded_as_the_whole():
    noise = np.random.RandomState(2).standard_normal((2, 4 * RATE)).astype(np.float32)
    bars = tuple((0.5 * i, dynamics) for i, dynamics in enumerate((4, 1, 6, 6, 0, 7)))
    whole, parts, cuts = Brightness(RATE), Brightness(RATE), (0, 22050, 66150, 66150, 110250, 4 * RATE)
    joined = []
    for a, b in zip(cuts, cuts[1:]):
        joined.append(parts.push(noise[:, a:b], a / RATE, tuple(bar for bar in bars if a <= bar[0] * RATE < b)))
    np.testing.assert_allclose(np.concatenate(joined, axis=1), whole.push(noise, 0.0, bars), atol=1e-4)
