"""The transport and the recorder: what a DAW sends, polled and late, becomes a curve on the song's beats."""

import json

import numpy as np
import pytest

from bench.simulated_daw import SimulatedDaw
from lara_core.affect import Curve
from lara_core.osc.protocol import encode
from lara_core.osc.receiver import Receiver
from lara_core.osc.recorder import MAX_ERROR, Recorder, punched
from lara_core.osc.transport import SILENCE_SECONDS, Transport

RISE = Curve(((0, -1, 0.8), (16, 1, 0.8), (24, 1, -0.8), (40, -0.5, 0.2)), "beats")


@pytest.fixture
def receiver():
    with Receiver(0, feedback=(), clock=lambda: 0.0) as made:  # its own ticks stand still: the tests say what time it is
        yield made


def daw_of(receiver, automation=RISE, **options) -> SimulatedDaw:
    return SimulatedDaw(lambda packet, seconds: receiver.handle(packet, seconds), automation, **options)


def lanes(curve: Curve, beats) -> np.ndarray:
    return curve.at(np.asarray(beats, float), tempo=60.0)


# ---- the transport -------------------------------------------------------------------------------------------------


def test_the_beat_is_smooth_between_polls_that_jitter_and_never_goes_back():
    transport, rng = Transport(), np.random.default_rng(1)
    transport.set_tempo(120, 0.0)
    transport.set_playing(True, 0.0)
    seen = []
    for poll in range(200):
        at = poll * 0.1
        transport.set_beat(at * 2, at + rng.uniform(0, 0.04))
        seen += [(at + 0.04 + k * 0.01, transport.beat(at + 0.04 + k * 0.01)) for k in range(6)]
    times, beats = np.array(seen).T
    assert (np.diff(beats) >= 0).all()
    assert np.abs(beats - 2 * times)[60:].max() < 2 * 0.04  # within what the jitter itself is
    assert np.abs(np.diff(beats[60:]) / np.diff(times[60:]) - 2).max() < 0.4


def test_the_tempo_is_read_from_positions_where_nobody_tells_it():
    transport = Transport()
    for poll in range(40):
        transport.set_beat(poll * 0.1 * 1.6, poll * 0.1)
    assert transport.playing and transport.tempo_bpm == pytest.approx(96, rel=0.01)


def in_seconds(first_bpm: float, then_bpm: float, polls: int) -> Transport:
    """One that was told seconds ten times a second, and in the middle another tempo."""
    transport = Transport()
    transport.set_tempo(first_bpm, 0.0)
    transport.set_playing(True, 0.0)
    for poll in range(polls):
        if poll == polls // 2:
            transport.set_tempo(then_bpm, poll * 0.1)
        transport.set_time(poll * 0.1, poll * 0.1)
    return transport


def test_seconds_are_counted_in_beats_over_a_change_of_tempo():
    transport = in_seconds(60, 120, 41)
    assert transport.beat(4.0) == pytest.approx(2 + 4, abs=0.15)


def test_jumps_are_told_from_jitter_and_silence_from_standing():
    transport = Transport()
    transport.set_tempo(120, 0.0)
    assert not transport.set_beat(8, 0.0)
    transport.set_playing(True, 0.0)
    assert not transport.set_beat(8.0, 0.0) and not transport.set_beat(8.3, 0.1) and transport.set_beat(4.0, 0.2) and transport.set_beat(40.0, 0.3)
    assert not transport.is_lost(1.0) and transport.is_lost(0.31 + SILENCE_SECONDS)
    transport.set_playing(False, 1.0)
    assert not transport.is_lost(100.0) and transport.beat(100.0) == transport.beat(1.0)


def test_seconds_after_a_jump_are_counted_over_the_tempo_changes_that_were_met():
    transport = in_seconds(120, 60, 200)
    assert transport.beat(19.9) == pytest.approx(29.9, abs=0.2)
    assert transport.set_time(12.0, 20.0) and transport.beat(20.0) == pytest.approx(22, abs=0.2), "behind the change"
    assert transport.set_time(5.0, 20.1) and transport.beat(20.1) == pytest.approx(10, abs=0.2), "before it"
    transport.set_playing(False, 20.2)
    transport.set_playing(True, 30.0)
    transport.set_time(15.0, 30.0)
    assert transport.beat(30.0) == pytest.approx(25, abs=0.2), "after a stop"


def test_a_daw_that_tells_only_positions_stands_loops_and_is_told_to_jump():
    transport = Transport()
    transport.set_tempo(120, 0.0)
    jumps = [transport.set_beat(beat, at * 0.1) for at, beat in enumerate([8.0, 8.2, 8.4, 8.6, 8.0, 8.2, 8.4])]
    assert jumps == [False, False, False, False, True, False, False] and transport.playing
    jumps = [transport.set_beat(8.4, 0.7 + at * 0.1) for at in range(8)]
    assert not transport.playing and transport.beat(9.0) == 8.4 and sum(jumps) <= 1


def test_rounds_of_a_loop_whose_transport_nobody_tells_do_not_mix(receiver):
    recorder = Recorder(receiver)
    for poll in range(120):
        at, beat = poll * 0.1, poll * 0.2 % 8
        receiver.handle(encode("/lara/tempo", 120.0), at)
        receiver.handle(encode("/lara/position", beat), at)
        receiver.handle(encode("/lara/va", 0.5 if poll < 40 else -0.5, 0.0), at)
    recorder.close()
    points = np.array(recorder.curve().points)
    assert (points[points[:, 0] < 6, 1] == -0.5).all() and len(points) < 20


def test_a_position_that_is_told_once_loses_nothing(receiver):
    recorder = Recorder(receiver)
    for message in (("/lara/tempo", 120.0), ("/lara/play", True), ("/lara/position", 0.0)):
        receiver.handle(encode(*message), 0.0)
    for poll in range(1, 101):
        receiver.handle(encode("/lara/va", poll / 100, 0.0), poll * 0.1)
        recorder._tick(poll * 0.1)
    recorder.close()
    assert receiver.transport.playing and lanes(recorder.curve(), [10.0, 20.0])[:, 0] == pytest.approx([0.5, 1.0], abs=0.02)


# ---- punching ------------------------------------------------------------------------------------------------------


def test_a_punch_replaces_its_stretch_and_nothing_else():
    old = Curve(((0, 0.5, 0.5), (10, -0.5, 0.5), (20, 0.5, -0.5)), "beats")
    new = punched(old, np.array([[4.0, 1.0, 1.0], [6.0, 1.0, -1.0]]))
    outside = np.array([0, 2, 3.9, 6.1, 8, 10, 15, 20, 30])
    assert np.allclose(lanes(new, outside), lanes(old, outside), atol=1e-6)
    assert np.allclose(lanes(new, [4, 5, 6]), [[1, 1], [1, 0], [1, -1]])
    assert punched(old, np.array([[-0.0, 1, 1], [30.0, 1, 1]])).points == ((0, 1, 1), (30, 1, 1))


# ---- passes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tempo", [60, 97.3, 140, ((0, 90), (8, 120), (24, 140))])
def test_a_pass_becomes_the_curve_that_was_drawn(receiver, tmp_path, tempo):
    path = tmp_path / "curve.json"
    recorder, daw = Recorder(receiver, path), daw_of(receiver, tempo=tempo)
    daw.play()
    while daw.beat < 40:
        daw.advance(daw.seconds + 0.05)
    daw.play(False)
    recorder.close()
    curve, beats = Curve.load(path), np.arange(0.5, 39.5, 0.1)
    slope = 2 / 8  # the steepest of RISE, a beat; a poll is late by up to 20 ms
    assert np.abs(lanes(curve, beats) - lanes(RISE, beats)).max() < MAX_ERROR + slope * 0.12 * 140 / 60
    assert curve.unit == "beats" and len(curve.points) < 30


def test_a_held_value_is_held_and_then_jumps(receiver):
    steps = Curve(((0, -0.5, 0.0), (15.99, -0.5, 0.0), (16, 0.5, 1.0), (32, 0.5, 1.0)), "beats")
    recorder, daw = Recorder(receiver), daw_of(receiver, steps, jitter_seconds=0)
    daw.play()
    daw.advance(14)
    daw.play(False)
    curve = recorder.curve()
    assert np.allclose(lanes(curve, [4, 15.5]), [[-0.5, 0], [-0.5, 0]], atol=1e-6)
    assert np.allclose(lanes(curve, [16.5, 27]), [[0.5, 1], [0.5, 1]], atol=1e-6)
    assert len(curve.points) <= 6


def test_a_pass_begins_with_what_comes_just_behind_its_position(receiver):
    recorder = Recorder(receiver)
    for at, message in ((0.0, ("/lara/tempo", 120.0)), (0.0, ("/lara/play", True)), (0.0, ("/lara/position", 4.0)), (0.002, ("/lara/valence", 0.5)),
                        (0.004, ("/lara/arousal", -0.75)), (2.0, ("/lara/position", 8.0)), (2.0, ("/lara/play", False))):
        receiver.handle(encode(*message), at)
    assert np.allclose(lanes(recorder.curve(), [4, 6, 8]), [[0.5, -0.75]] * 3)


def test_a_loop_keeps_its_last_round_and_what_is_outside_of_it(receiver):
    recorder, daw = Recorder(receiver), daw_of(receiver, Curve(((0, -0.5, 0.0), (16, -0.5, 0.0)), "beats"), loop=(8.0, 16.0))
    daw.play()
    daw.advance(10)  # to the end of the loop, and a bit of the next round
    daw.automation = Curve(((0, 0.75, 0.5),), "beats")
    daw.advance(16)
    daw.play(False)
    curve = recorder.curve()
    assert np.allclose(lanes(curve, [2, 7]), [[-0.5, 0]] * 2, atol=1e-3)
    assert np.allclose(lanes(curve, [9, 12, 15]), [[0.75, 0.5]] * 3, atol=1e-3)
    assert curve.points[-1][0] < 16.3


def test_punching_in_with_record_changes_only_what_was_played_while_it_was_on(receiver):
    old = Curve(((0, 0, 0), (40, 0, 0)), "beats")
    recorder, daw = Recorder(receiver, curve=old, armed=False), daw_of(receiver)
    daw.play()
    daw.advance(4)
    receiver.handle(encode("/lara/record", True), daw.seconds)
    daw.advance(8)
    receiver.handle(encode("/lara/record", False), daw.seconds)
    daw.advance(12)
    daw.play(False)
    curve = recorder.curve()
    assert np.allclose(lanes(curve, [1, 7.5, 16.5, 30]), 0, atol=1e-6)
    assert np.abs(lanes(curve, [9, 12, 15]) - lanes(RISE, [9, 12, 15])).max() < 0.06


def test_a_daw_that_dies_in_a_pass_loses_nothing(receiver, tmp_path):
    path = tmp_path / "curve.json"
    recorder, daw = Recorder(receiver, path), daw_of(receiver)
    daw.play()
    daw.advance(5)
    recorder._tick(5.0)  # the receiver calls it ten times a second
    assert Curve.load(path).points[-1][0] == pytest.approx(10, abs=0.3)  # already there, in mid-pass
    recorder._tick(5.2 + SILENCE_SECONDS)
    assert not receiver.transport.playing and "gone silent" in receiver.last_error
    assert Curve.load(path).points[-1][0] == pytest.approx(10, abs=0.3)
    daw.seconds = daw._next_poll = 20.0  # and it comes back elsewhere
    daw.locate(32)
    daw.play()
    daw.advance(24)
    daw.play(False)
    recorder.close()
    assert Curve.load(path).points[-1][0] == pytest.approx(40, abs=0.3)


def test_a_full_disk_is_told_and_the_curve_stays(receiver, tmp_path):
    recorder, daw = Recorder(receiver, tmp_path / "gone" / "curve.json"), daw_of(receiver)
    daw.play()
    daw.advance(4)
    recorder.close()
    assert "cannot be saved" in receiver.last_error and recorder.curve() is not None


def test_only_a_curve_that_can_be_recorded_over_is_taken(receiver):
    with pytest.raises(ValueError, match="linear in beats"):
        Recorder(receiver, curve=Curve.constant(0, 0))


def test_the_curve_reads_back_exactly(receiver, tmp_path):
    recorder, daw = Recorder(receiver, tmp_path / "curve.json"), daw_of(receiver)
    daw.play()
    daw.advance(6)
    recorder.close()
    assert json.loads((tmp_path / "curve.json").read_text())["unit"] == "beats" and Curve.load(tmp_path / "curve.json") == recorder.curve()
