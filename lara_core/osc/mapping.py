"""Mappings: any address that a DAW or a control surface sends anyway, with the range of its values, comes to mean valence,
arousal, both (an XY pad), or a transport value. They are learned by moving the control, and kept as JSON.
"""

import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..affect import write_atomic
from .protocol import INCOMING, OscError, within

EMOTIONS = ("valence", "arousal", "va")  # what can be learned
FORMAT = "lara-osc-map"
MIN_VALUES = 8  # different ones, of a control that was moved from end to end
SETTLED_SECONDS = 1.0  # a control that rests so long has arrived
MAX_CONTROLS = 512


@dataclass(frozen=True)
class Mapping:
    """`address` with the arguments `leading` before its value (the index of a strip, a track) means `to`, a name of
    protocol.INCOMING. For valence, arousal and va (two values) low..high becomes -1..1."""

    address: str
    to: str
    low: float = -1.0
    high: float = 1.0
    leading: tuple = ()

    def __post_init__(self):
        if not isinstance(self.address, str) or not self.address.startswith("/"):
            raise ValueError(f"the address {str(self.address)[:60]!r} does not begin with a slash; write it as the DAW sends it")
        if self.to not in INCOMING:
            raise ValueError(f"{self.address} is mapped to {str(self.to)[:60]!r}; use one of {', '.join(INCOMING)}")
        if not all(isinstance(edge, (int, float)) and abs(edge) < 1e12 for edge in (self.low, self.high)) or not self.low < self.high:
            raise ValueError(f"{self.address} is mapped with the range {self.low} to {self.high}; let the first be less than the second")

    def read(self, arguments: tuple) -> tuple | None:
        """Arguments -> the values of `to`, None where they are another control's. Raises OscError."""
        skipped = len(self.leading)
        if arguments[:skipped] != self.leading:
            return None
        if self.to not in EMOTIONS:
            return INCOMING[self.to].read(arguments[skipped:])
        count = 2 if self.to == "va" else 1
        values = arguments[skipped:skipped + count]
        if len(values) < count:
            raise OscError(f"{self.address} came with {len(values)} of the {count} values that it is mapped with.")
        return tuple(2 * (within(value, self.low, self.high, self.address) - self.low) / (self.high - self.low) - 1 for value in values)

    def echo(self, valence: float, arousal: float) -> tuple[tuple, tuple]:
        """The arguments that make the control show these, and what of them it shows; both empty where it shows no emotion."""
        shown = {"valence": (valence,), "arousal": (arousal,), "va": (valence, arousal)}.get(self.to, ())
        if not shown or self.address.startswith("/live/"):  # AbletonOSC's answers are no control
            return (), ()
        return self.leading + tuple(self.low + (value + 1) / 2 * (self.high - self.low) for value in shown), shown


def read_mapping(text: str) -> Mapping:
    """ADDRESS=NAME or ADDRESS=NAME:LOW..HIGH, as the command line takes it."""
    address, _, rest = text.partition("=")
    to, _, span = rest.partition(":")
    try:
        low, high = map(float, span.split("..")) if span else (-1.0, 1.0)
    except ValueError as error:
        raise ValueError(f"{text[:80]!r} is no mapping; write for example /1/fader1=arousal:0..1") from error
    if span and to not in EMOTIONS:
        raise ValueError(f"{text[:80]!r} gives a range to what has its own; only {', '.join(EMOTIONS)} take another")
    return Mapping(address, to, low, high)


def save_mappings(path: str | os.PathLike, mappings: Sequence[Mapping]) -> None:
    write_atomic(path, json.dumps({"format": FORMAT, "mappings": [asdict(one) for one in mappings]}, indent=1).encode())


def load_mappings(path: str | os.PathLike) -> list[Mapping]:
    """Raises ValueError in one sentence, OSError where there is no such file."""
    try:
        record = json.loads(Path(path).read_bytes())
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise ValueError("it is another kind of file")
        return [Mapping(**one | {"leading": tuple(one["leading"])}) for one in record["mappings"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} is no file of mappings ({error}); give one that was written with --learn") from error


class Learner:
    """Watches what no address of the protocol takes, and finds the control that is moved.

    hear: for Receiver.on_stranger. A control is an address with the whole numbers and texts before its value; two floats in a row
    are an XY pad.
    """

    def __init__(self, to: str):
        if to not in EMOTIONS:
            raise ValueError(f"{to[:60]!r} cannot be learned; choose {', '.join(EMOTIONS)}.")
        self.to = to
        self._values: dict[tuple, set[float]] = {}
        self._moved_seconds: dict[tuple, float] = {}
        self._left_out: set[tuple] = set()
        self._moved = threading.Event()

    def hear(self, address: str, arguments: tuple) -> None:
        count = 2 if self.to == "va" else 1
        values = arguments[-count:]
        leading = arguments[:-count]
        numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9 for value in values)
        if len(values) < count or not numeric or any(isinstance(value, (float, bytes, tuple)) for value in leading):
            return
        control = address, leading
        if control not in self._left_out and (control in self._values or len(self._values) < MAX_CONTROLS):
            self._moved_seconds[control] = time.monotonic()
            seen = self._values.setdefault(control, set())
            if len(seen) < 100_000:
                seen.update(values)
            self._moved.set()

    def leave_out(self, seconds: float) -> None:
        """Whatever sends numbers by itself within so many seconds, such as a meter, is no control."""
        time.sleep(seconds)
        self._left_out = set(self._values)
        self._values.clear()

    def found(self) -> Mapping | None:
        """The control with the most different values, in the range that was seen; None before enough were."""
        if not self._values:
            return None
        (address, leading), values = max(list(self._values.items()), key=lambda item: len(item[1]))
        if len(values) < MIN_VALUES:
            return None
        return Mapping(address, self.to, float(min(values)), float(max(values)), leading)

    def wait(self, timeout_seconds: float) -> Mapping:
        """The control, when it was moved and rests again. Raises ValueError where none was within the time."""
        end = time.monotonic() + timeout_seconds
        while True:
            self._moved.clear()
            found, now = self.found(), time.monotonic()
            rests_seconds = now - self._moved_seconds[found.address, found.leading] if found else 0.0
            if rests_seconds >= SETTLED_SECONDS or found and now >= end:
                return found
            if now >= end or self._values and not found and now - max(list(self._moved_seconds.values())) >= SETTLED_SECONDS:
                heard = f"only {', '.join(address for address, _ in list(self._values)[:4])}" if self._values else "nothing"
                raise ValueError(f"no control for {self.to} was moved from end to end ({heard} was heard); check the address and port "
                                 "that the DAW sends to, and try again")
            self._moved.wait(min(SETTLED_SECONDS - rests_seconds, end - now) if self._values else end - now)
