"""Ableton Link: tempo, beats and start/stop of the session in this network go in; a Receiver's transport follows them."""

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator

from .receiver import Receiver

JOIN_SECONDS = 3.0  # a session that exists is found in about one
TEMPO_STEP_BPM = 0.005  # Link counts microseconds a beat, so a tempo comes back a little off


@contextlib.contextmanager
def linked(receiver: Receiver, beats_per_bar: int = 4) -> Iterator[int]:
    """Be a member of the Link session meanwhile -> how many others are in it after JOIN_SECONDS at most.

    The tempo is the session's, always. While the transport plays, beats are the session's, counted from the bar line before its
    start: Link has bars in common and no place in a song. Start and stop are followed where its members share them.
    Raises ValueError without the package aalink.
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
        self.tempo_bpm, self.playing, self.first_beat = -1.0, False, None

    def __call__(self, now: float) -> None:
        tempo, playing, beat = self.link.tempo, self.link.playing, self.link.beat
        if abs(tempo - self.tempo_bpm) > TEMPO_STEP_BPM:
            self.tempo_bpm = tempo
            self.receiver.hear("tempo", (round(tempo, 2),), now)
        if playing != self.playing:
            self.playing = playing
            self.receiver.hear("play", (playing,), now)
        if not self.receiver.transport.playing:
            self.first_beat = None
            return
        if self.first_beat is None:
            self.first_beat = math.floor(beat / self.beats_per_bar) * self.beats_per_bar
        self.receiver.hear("position", (beat - self.first_beat,), now)
