"""A DAW that plays: a tempo map, automation and the moments at which somebody acts go in; OSC messages come out as a DAW sends them,
every 100 ms and not quite on time, what has changed only. For tests in virtual time and benchmarks in real time."""

import bisect
import random
from collections.abc import Callable

from lara_core.affect import Curve
from lara_core.osc.protocol import encode

POLL_SECONDS = 0.1


class SimulatedDaw:
    """tempo: BPM, or (beat, BPM) steps from beat 0. automation: a Curve in beats. send: takes (packet, seconds). jitter_seconds: by
    how much a poll is late at most. loop: (from beat, to beat)."""

    def __init__(self, send: Callable[[bytes, float], None], automation: Curve, tempo=120.0, jitter_seconds: float = 0.02, seed: int = 0,
                 loop: tuple[float, float] | None = None):
        self.send, self.automation, self.loop = send, automation, loop
        self.steps = list(tempo) if isinstance(tempo, (list, tuple)) else [(0.0, float(tempo))]
        self.jitter_seconds, self.rng = jitter_seconds, random.Random(seed)
        self.playing, self.beat, self.seconds = False, 0.0, 0.0
        self._next_poll = 0.0
        self._sent: dict[str, float] = {}

    def tempo_at(self, beat: float) -> float:
        return self.steps[max(bisect.bisect_right([at for at, _ in self.steps], beat) - 1, 0)][1]

    def play(self, playing: bool = True) -> None:
        self.playing = playing
        self.send(encode("/lara/play", playing), self.seconds)
        self._next_poll = self.seconds

    def locate(self, beat: float) -> None:
        self.beat = beat
        self._next_poll = self.seconds

    def advance(self, seconds: float) -> None:
        """Go on to this moment, polling on the way."""
        while self._next_poll <= seconds:
            self._move(self._next_poll)
            self._poll()
            self._next_poll += POLL_SECONDS
        self._move(seconds)

    def _move(self, seconds: float) -> None:
        while self.playing and seconds - self.seconds > 1e-12:
            tempo = self.tempo_at(self.beat)
            edges = [at for at, _ in self.steps if at > self.beat + 1e-9] + ([self.loop[1]] if self.loop and self.beat < self.loop[1] else [])
            step = min([(seconds - self.seconds) * tempo / 60] + [at - self.beat for at in edges])
            self.beat += step
            self.seconds += step * 60 / tempo
            if self.loop and abs(self.beat - self.loop[1]) < 1e-9:
                self.beat = self.loop[0]
        self.seconds = seconds

    def _poll(self) -> None:
        valence, arousal = map(float, self.automation.at([self.beat], tempo=60.0)[0])
        values = {"/lara/tempo": self.tempo_at(self.beat), "/lara/position": self.beat, "/lara/valence": valence, "/lara/arousal": arousal}
        late = self.seconds + self.rng.uniform(0, self.jitter_seconds)
        for address, value in values.items():
            if self._sent.get(address) != value:
                self._sent[address] = value
                self.send(encode(address, value), late)
