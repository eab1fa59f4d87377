"""Ableton Link: tempo, beats and start/stop of the session in this network go in; a Receiver's transport follows them."""

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator

from .receiver import Receiver

JOIN_SECONDS = 3.0  # a session that exists is found in about one
LATE_BEATS = 0.25  # a start may be noticed so long after its bar line
TEMPO_STEP_BPM = 0.005  # Link counts microseconds a beat, so a tempo comes back a little off


@contextlib.contextmanager
def linked(receiver: Receiver, beats_per_bar: int = 4) -> Iterator[int]:
    """Be a member of the Link session meanwhile -> how many others are in it after JOIN_SECONDS at most.

    The tempo is the session's. While the transport plays, beats are the session's, counted from the bar line at which it started: Link
    has bars in common and no place in a song. Start and stop are followed where its members share them; where the last of the others
    leaves, the transport stands. Raises ValueError without the package aalink.
    """
    try:
        import aalink
    except ImportError as error:
        raise ValueError("Ableton Link needs the package aalink; pip install aalink, or leave --link out") from error

    async def joined():
        return aalink.Link(receiver.transport.tempo_bpm)  # finds the running event loop; its callbacks are not used

    loop = asyncio.new_event_loop()
    follower = None
    try:
        link = loop.run_until_complete(joined())
        link.quantum, link.start_stop_sync_enabled, link.enabled = beats_per_bar, True, True
        until = time.monotonic() + JOIN_SECONDS
        while link.num_peers == 0 and time.monotonic() < until:
            time.sleep(0.05)
        follower = _Follower(link, receiver, beats_per_bar)
        receiver.tickers.append(follower)
        yield link.num_peers
    finally:
        if follower is not None:
            receiver.tickers.remove(follower)
            link.enabled = False
        loop.close()


class _Follower:
    """Ten times a second, what the session says is told to the receiver where it is new."""

    def __init__(self, link, receiver: Receiver, beats_per_bar: int):
        self.link, self.receiver, self.beats_per_bar = link, receiver, beats_per_bar
        self.playing, self.others = False, link.num_peers
        self.starts_at, self.first_beat = None, None  # Link's beats: the bar line at which the music is to start, and beat 0 of what plays

    def __call__(self, now: float) -> None:
        link, transport, hear = self.link, self.receiver.transport, self.receiver.hear
        beat, playing, others = link.beat, link.playing, link.num_peers
        if abs(link.tempo - transport.tempo_bpm) > TEMPO_STEP_BPM:
            hear("tempo", (round(link.tempo, 2),), now)
        if playing and not self.playing:  # told before the bar line at which the music starts, or just after it
            self.starts_at = math.ceil((beat - LATE_BEATS) / self.beats_per_bar) * self.beats_per_bar
        left_alone = self.others and not others and transport.playing
        if self.playing and not playing or left_alone:
            self.starts_at = None
            hear("play", (False,), now)
        if left_alone:
            self.receiver.complain("Everybody else has left the Link session; what was recorded until then is kept.")
        self.playing, self.others = playing, others
        if self.starts_at is not None and beat >= self.starts_at:
            self.first_beat, self.starts_at = self.starts_at, None
            hear("play", (True,), now)
        if not transport.playing:
            self.first_beat = None
            return
        if self.first_beat is None or beat < self.first_beat:  # OSC has started it, or Link has moved its beats
            self.first_beat = math.floor(beat / self.beats_per_bar) * self.beats_per_bar
        hear("position", (beat - self.first_beat,), now)
