"""Ableton Link: a session of two in this machine, and what a transport makes of it."""

import asyncio
import sys
import time
from types import SimpleNamespace

import pytest

from lara_core.osc.link import _Follower, linked
from lara_core.osc.receiver import Receiver


@pytest.fixture
def receiver():
    with Receiver(0, feedback=()) as made:
        yield made


def session(**values):
    return SimpleNamespace(**dict(tempo=120.0, playing=False, beat=0.0, num_peers=1) | values)


def test_beats_count_from_the_bar_line_at_which_the_transport_starts(receiver):
    link, now = session(tempo=100.0, beat=17.0), time.monotonic()
    follow = _Follower(link, receiver, 4)
    follow(now)
    assert receiver.transport.tempo_bpm == 100.0 and not receiver.transport.playing
    link.playing, link.beat = True, 18.5  # a start is told ahead of its bar line
    follow(now + 0.1)
    assert not receiver.transport.playing
    link.beat = 20.2
    follow(now + 0.2)
    assert receiver.transport.playing and receiver.transport.beat(now + 0.2) == pytest.approx(0.2)
    link.beat = 23.5  # not where the tempo would have led
    follow(now + 0.3)
    assert receiver.transport.beat(now + 1.0) == pytest.approx(3.5 + 0.7 * 100 / 60)
    link.playing = False
    follow(now + 1.1)
    assert not receiver.transport.playing
    link.playing, link.beat = True, 28.1  # just after the line
    follow(now + 1.2)
    assert receiver.transport.playing and receiver.transport.beat(now + 1.2) == pytest.approx(0.1)  # a new start counts anew


def test_a_transport_that_osc_starts_keeps_the_bars_of_the_session(receiver):
    link, now = session(beat=9.0), time.monotonic()
    follow = _Follower(link, receiver, 3)
    follow(now)
    receiver.hear("play", (True,), now)
    link.beat = 11.5  # a bar line of the session is at 9
    follow(now + 0.1)
    assert receiver.transport.playing and receiver.transport.beat(now + 1.1) == pytest.approx(2.5 + 2)
    follow(now + 1.2)
    assert receiver.transport.playing  # what OSC said is not taken back
    receiver.hear("tempo", (90.0,), now + 1.2)
    follow(now + 1.3)
    assert receiver.transport.tempo_bpm == 120.0  # the session's tempo is


def test_beats_that_link_moves_back_and_values_out_of_range_are_no_harm(receiver):
    link, now = session(beat=8.0, playing=True), time.monotonic()
    follow = _Follower(link, receiver, 4)
    follow(now)
    link.beat = 6.2  # another program has joined
    follow(now + 0.1)
    assert 0 <= receiver.transport.beat(now + 0.1) < 4
    link.tempo = 999.0
    follow(now + 0.2)
    assert receiver.transport.tempo_bpm == 120.0 and "999" in receiver.last_error and receiver.last_error.endswith(".")


def test_the_music_stops_where_everybody_else_has_left(receiver):
    link, now = session(beat=8.0, playing=True), time.monotonic()
    follow = _Follower(link, receiver, 4)
    follow(now)
    assert receiver.transport.playing
    link.num_peers = 0
    follow(now + 0.1)
    follow(now + 0.2)
    assert not receiver.transport.playing and "left the Link session" in receiver.last_error


def test_another_program_in_the_session_is_followed(receiver):
    aalink = pytest.importorskip("aalink", reason="aalink is not installed: Ableton Link is not tested with a real session")

    async def joined():
        return aalink.Link(133.0)

    loop = asyncio.new_event_loop()
    other = loop.run_until_complete(joined())
    other.quantum = 4
    other.start_stop_sync_enabled = other.enabled = True
    time.sleep(1.3)  # its beats have gone on before anybody joins
    try:
        with linked(receiver) as others:
            if not others:
                pytest.skip("this machine passes no multicast on: Ableton Link is not tested with a real session")
            other.tempo, other.playing = 141.0, True
            deadline = time.monotonic() + 8
            while not (receiver.transport.playing and abs(receiver.transport.tempo_bpm - 141) < 0.1) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert receiver.transport.playing and receiver.transport.tempo_bpm == pytest.approx(141.0, abs=0.01)
            time.sleep(0.5)
            phase = (receiver.transport.beat(receiver.clock()) - other.beat + 2) % 4 - 2  # bars in common
            assert abs(phase) < 0.2
            followers = len(receiver.tickers)
        assert len(receiver.tickers) == followers - 1
    finally:
        other.enabled = False
        loop.close()


def test_without_the_package_a_sentence_says_what_to_install(receiver, monkeypatch):
    monkeypatch.setitem(sys.modules, "aalink", None)
    with pytest.raises(ValueError, match="pip install aalink"), linked(receiver):
        pass
