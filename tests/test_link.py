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


def test_beats_count_from_the_bar_in_which_the_transport_starts(receiver):
    session = SimpleNamespace(tempo=100.0, playing=False, beat=17.0)
    follow, now = _Follower(session, receiver, 4), time.monotonic()
    follow(now)
    assert receiver.transport.tempo_bpm == 100.0 and not receiver.transport.playing
    session.playing, session.beat = True, 18.5
    follow(now + 0.1)
    assert receiver.transport.playing and receiver.transport.beat(now + 0.1) == pytest.approx(2.5)  # 16 is a bar line
    session.beat += 0.5
    follow(now + 0.4)
    assert receiver.transport.beat(now + 0.4) == pytest.approx(3.0)
    session.playing = False
    follow(now + 0.5)
    session.playing, session.beat = True, 28.0
    follow(now + 1.0)
    assert receiver.transport.beat(now + 1.0) == pytest.approx(0.0)  # a new start counts anew


def test_a_transport_that_osc_starts_keeps_the_bars_of_the_session(receiver):
    session = SimpleNamespace(tempo=120.0, playing=False, beat=9.0)
    follow, now = _Follower(session, receiver, 3), time.monotonic()
    follow(now)
    receiver.hear("play", (True,), now)
    session.beat = 10.0
    follow(now + 0.5)
    assert receiver.transport.playing and receiver.transport.beat(now + 0.5) == pytest.approx(1.0)
    follow(now + 0.6)
    assert receiver.transport.playing  # what OSC said is not taken back


def test_another_program_in_the_session_is_followed(receiver):
    aalink = pytest.importorskip("aalink", reason="aalink is not installed: Ableton Link is not tested with a real session")

    async def joined():
        return aalink.Link(133.0)

    loop = asyncio.new_event_loop()
    other = loop.run_until_complete(joined())
    other.start_stop_sync_enabled = other.enabled = True
    try:
        with linked(receiver) as others:
            if not others:
                pytest.skip("this machine passes no multicast on: Ableton Link is not tested with a real session")
            other.tempo, other.playing = 141.0, True
            deadline = time.monotonic() + 5
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
