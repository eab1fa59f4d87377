"""The monitor: a receiver, a recorder and a conductor go in; a few lines of text that a musician understands come out."""

import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

import numpy as np

from .live import Conductor
from .receiver import Receiver
from .recorder import Recorder

BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 48
DRAW_SECONDS = 0.5
LOG_SECONDS = 10.0  # between two lines where there is no terminal


def lines(receiver: Receiver, recorder: Recorder, conductor: Conductor | None, now: float) -> list[str]:
    """What is going on at a moment."""
    transport = receiver.transport
    beat = transport.beat(now)
    heard = now - receiver.last_heard_seconds
    hearing = "nothing heard yet" if receiver.received == 0 else "hears the DAW" if heard < 2 else f"silent for {heard:.0f} s"
    state = "playing" if transport.playing else "standing"
    text = [f"port {receiver.port}: {hearing}, {receiver.messages_per_second:.0f} messages/s, {receiver.refused} refused",
            f"transport {state}, beat {beat:.1f}, {transport.tempo_bpm:.1f} BPM" + (", recording" if recorder.armed and transport.playing else ""),
            f"valence {receiver.valence:+.2f} {_needle(receiver.valence)}  arousal {receiver.arousal:+.2f} {_needle(receiver.arousal)}"]
    curve = recorder.curve()
    if curve is not None:
        beats = np.linspace(max(beat - WIDTH, 0), max(beat, WIDTH), WIDTH)
        drawn = curve.at(beats, tempo=60.0)
        text += [f"{name:<8}{_drawn(drawn[:, lane])}  beats {beats[0]:.0f} to {beats[-1]:.0f}" for lane, name in enumerate(("valence", "arousal"))]
    if conductor is not None:
        took = f", a bar takes {max(conductor.costs):.1f} s" if conductor.costs else ""
        text.append(f"music: {conductor.status}; {len(conductor.delivered)} bars, {conductor.ahead_beats:.1f} beats ahead, "
                    f"{conductor.late} late{took}")
        if conductor.heard is not None:
            text.append(f"the last bars are heard as valence {conductor.heard[0]:+.2f}, arousal {conductor.heard[1]:+.2f}")
    unknown = ", ".join(list(receiver.strangers)[:4])
    if unknown:
        text.append(f"also heard, and not used: {unknown} (map them with --map or --learn)")
    if receiver.last_error:
        text.append(f"last problem: {receiver.last_error}")
    return text


def _needle(value: float, width: int = 11) -> str:
    at = round((value + 1) / 2 * (width - 1))
    return "[" + "".join("|" if place == at else "-" for place in range(width)) + "]"


def _drawn(values: np.ndarray) -> str:
    return "".join(BARS[round((value + 1) / 2 * (len(BARS) - 1))] for value in values)


class Monitor:
    """Draws the lines over themselves on a terminal; elsewhere, one line every ten seconds."""

    def __init__(self, stream: TextIO | None = None):
        self.stream, self._drawn, self._last = stream or sys.stdout, 0, -math.inf

    def draw(self, lines_now: Callable[[], list[str]]) -> None:
        now, terminal = time.monotonic(), self.stream.isatty()
        if now - self._last < (DRAW_SECONDS if terminal else LOG_SECONDS):
            return
        self._last, text = now, lines_now()
        if not terminal:
            print("; ".join(text), file=self.stream, flush=True)
        else:
            up = f"\x1b[{self._drawn}A" if self._drawn else ""
            print(up + "".join(f"\x1b[2K{line[:120]}\n" for line in text) + "\x1b[J", end="", file=self.stream, flush=True)
            self._drawn = len(text)
