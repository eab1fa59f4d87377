"""The room: how long it answers, how loud, and that pieces of any length get the answer of the whole."""

import numpy as np

from lara_core.codec.room import DELAY_SECONDS, SECONDS, Room, room_impulse

RATE = 44100


def test_it_dies_away_by_60_db_in_about_a_second_and_a_half():
    left, right = room_impulse(RATE).astype(float)
    energy = np.cumsum(left[::-1] ** 2)[::-1]
    curve_db = 10 * np.log10(energy / energy[0] + 1e-12)
    t30 = (np.argmax(curve_db < -35) - np.argmax(curve_db < -5)) / RATE
    assert 1.0 < 2 * t30 < 1.6  # Schroeder integration, ISO 3382
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.05 and abs(left[:600]).max() == 0


def test_a_click_is_answered_by_the_impulse_response_after_the_delay():
    click = np.zeros((2, 10), np.float32)
    click[:, 3] = 0.5
    room = Room(RATE, level=1.0)
    out = np.concatenate([room.push(click), room.finish()], axis=1)
    expected = np.pad(room_impulse(RATE), ((0, 0), (3, 6)))
    np.testing.assert_allclose(out[:, 10:], expected[:, 10:], atol=1e-5)
    np.testing.assert_allclose(out[:, :10], click, atol=1e-6)
    assert np.abs(out[:, 4:int(DELAY_SECONDS * RATE)]).max() < 1e-6
    assert abs(out.shape[1] - SECONDS * RATE) < 20 and not room.finish().any()


def test_pieces_get_the_answer_of_the_whole():
    dry = np.random.RandomState(2).standard_normal((2, 400_000)).astype(np.float32)
    whole, pieces = Room(RATE), Room(RATE)
    out = np.concatenate([whole.push(dry), whole.finish()], axis=1)
    cuts = [0, 1, 500, 500, 70_000, 71_000, 300_001, 400_000]
    joined = np.concatenate([*(pieces.push(dry[:, a:b]) for a, b in zip(cuts, cuts[1:])), pieces.finish()], axis=1)
    assert joined.shape == out.shape and np.abs(joined - out).max() < 1e-4


def test_the_wet_part_lies_some_12_db_below_the_dry_one():
    times, random = np.arange(10 * RATE) / RATE, np.random.RandomState(3)
    tones = sum(np.sin(2 * np.pi * hz * times) for hz in random.uniform(200, 2000, 40)).astype(np.float32)
    dry = np.tile(tones, (2, 1))
    wet = Room(RATE).push(dry) - dry
    assert -15 < 10 * np.log10((wet ** 2).sum() / (dry ** 2).sum()) < -9
