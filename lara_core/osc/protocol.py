"""The OSC protocol: packets go in, messages (address, arguments) come out; and what each address means, as one table.

The table is what the receiver dispatches by, what docs/osc.md shows (`python -m lara_core.osc.protocol docs/osc.md` writes its
tables anew) and what the tests go through. `parse` is strict: whatever is not exactly OSC 1.0 is refused as a whole, because an
element of a wrong size or an unknown type would shift everything behind it. Time tags are read and not waited for.
"""

import math
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..affect import write_atomic
from ..codec import TEMPO_RANGE_BPM
from .transport import DEFAULT_TEMPO_BPM, TEMPO_SECONDS

MAX_PACKET_BYTES = 8192
MAX_DEPTH = 8  # of bundles within bundles, and of arrays within arrays
MAX_ADDRESS = 255
MAX_KNOWN = 256  # beginnings of packets that are remembered
MAX_BEATS = 1e6
TICKS_PER_BEAT = 1920  # of /lara/bars
MAX_SEED = 2 ** 31 - 1  # an OSC integer
WILDCARDS = frozenset("*?[]{}")
SLACK = 1e-4  # of a range: what rounding to 32 bits and to steps of a controller may exceed it by

_NUMBERS = {"i": struct.Struct(">i"), "f": struct.Struct(">f"), "h": struct.Struct(">q"), "d": struct.Struct(">d")}
_WORDS = {"c": 4, "r": 4, "m": 4, "t": 8}  # a character, a colour, MIDI bytes, a time: known, and of no use here
_ONE_FLOAT: dict[bytes, str] = {}  # beginnings of packets of one message with one float -> its address
_CONSTANTS = {"T": True, "F": False, "N": None, "I": math.inf}


class OscError(ValueError):
    """A packet or a message that cannot be used; the text is one sentence for a musician."""


# ---- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Address:
    """An incoming address. kinds: one letter for each argument: f a number of any type, i a whole number, b true or false, s text.
    low, high: the range of its numbers. It is called `name` where its value arrives."""

    name: str
    address: str
    kinds: str
    meaning: str
    low: float = -math.inf
    high: float = math.inf

    def read(self, arguments: tuple) -> tuple:
        """Arguments of any numeric type -> values; more than are needed are ignored. Raises OscError."""
        if self.kinds == "b" and not arguments:  # a button without a value
            return (True,)
        if len(arguments) < len(self.kinds):
            raise OscError(f"{self.address} came with {len(arguments)} of its {len(self.kinds)} values ({self.types}).")
        if self.kinds == "f":  # what comes most
            return (self._number(arguments[0]),)
        return tuple(self._read_one(kind, value) for kind, value in zip(self.kinds, arguments))

    def _read_one(self, kind: str, value):
        if kind == "s":
            if not isinstance(value, str):
                raise OscError(f"{self.address} came with {shown(value)}; send text.")
            return value
        number = self._number(value)
        if kind == "i" and not number.is_integer():
            raise OscError(f"{self.address} came with {shown(value)}; send a whole number.")
        return number != 0 if kind == "b" else int(number) if kind == "i" else number

    def _number(self, value) -> float:
        return within(value, self.low, self.high, self.address)

    @property
    def types(self) -> str:
        return {"b": "T or F, or a number"}.get(self.kinds, self.kinds or "-")


def within(value, low: float, high: float, what: str) -> float:
    """A number of any type as a float in low..high; what rounding took over the edge is put back. Raises OscError."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise OscError(f"{what} came with {shown(value)}; send a finite number.")
    if low <= value <= high:
        return float(value)
    slack = SLACK * (high - low)
    if low - slack <= value <= high + slack:
        return float(min(max(value, low), high))
    raise OscError(f"{what} came with {value:g}; it takes {low:g} to {high:g}. Another range is given with --map or learned with --learn.")


def beats_of(text: str) -> float:
    """bar|beat|tick -> quarter notes from the beginning, in 4/4. Raises OscError."""
    match = re.fullmatch(r" *(\d{1,6})\|(\d{1,3})\|(\d{1,5}) *", text, re.ASCII)
    if match is None or int(match[1]) < 1 or int(match[2]) < 1:
        raise OscError(f"/lara/bars came with {shown(text)}; send bar|beat|tick, such as 004|02|0960.")
    bar, beat, tick = map(int, match.groups())
    return 4.0 * (bar - 1) + (beat - 1) + tick / TICKS_PER_BEAT


def shown(value) -> str:
    text = "nothing (N)" if value is None else "an array" if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


INCOMING = {address.name: address for address in (
    Address("valence", "/lara/valence", "f", "unpleasant (-1) to pleasant (1)", -1, 1),
    Address("arousal", "/lara/arousal", "f", "calm (-1) to intense (1)", -1, 1),
    Address("va", "/lara/va", "ff", "valence and arousal at once", -1, 1),
    Address("xy", "/lara/xy", "ff", "an XY pad: valence to the right, arousal upwards", 0, 1),
    Address("prompt", "/lara/prompt", "s", "what should play, in words; from the next bar on"),
    Address("tempo", "/lara/tempo", "f", f"quarter notes a minute; until it comes read from positions, and {DEFAULT_TEMPO_BPM:g} where {TEMPO_SECONDS:g} s after "
            "the start nothing has told it", *TEMPO_RANGE_BPM),
    Address("position", "/lara/position", "f", "where the song is, in quarter notes from its beginning", 0, MAX_BEATS),
    Address("time", "/lara/time", "f", "where the song is, in seconds, for a DAW that tells no beats: counted in beats by the tempo", 0, MAX_BEATS),
    Address("bars", "/lara/bars", "s", "where the song is, as Ardour writes it: bar|beat|tick in 4/4, 1920 ticks a beat"),
    Address("play", "/lara/play", "b", "the transport plays, or stands"),
    Address("record", "/lara/record", "b", "write the curve while the transport plays, over what is there"),
    Address("generate", "/lara/generate", "", "make the next bar now, without the transport"),
    Address("cancel", "/lara/cancel", "", "drop the bar that is being made"),
    Address("seed", "/lara/seed", "i", "the seed of the bars to come", 0, MAX_SEED),
    Address("redo", "/lara/segment/redo", "i", "make this segment again, with another seed", 0, MAX_BEATS),
)}


@dataclass(frozen=True)
class Answer:
    """An outgoing address: its types, and what it says."""

    address: str
    types: str
    meaning: str


STATUS = Answer("/lara/status", "sf", "what is going on, in a word or two; beats of music that are ready ahead of the transport")
READY = Answer("/lara/segment/ready", "iffs", "a segment is written: index, start and length in beats, path of its WAV (its MIDI beside it)")
SCORE = Answer("/lara/score", "ff", "valence and arousal that the predictor heard in the last bars")
ERROR = Answer("/lara/error", "s", "what went wrong and what to do, in a sentence")
ECHO = (Answer("/lara/valence", "f", "the valence in force"), Answer("/lara/arousal", "f", "the arousal in force"))
OUTGOING = (STATUS, READY, SCORE, ERROR, *ECHO)


# ---- packets -------------------------------------------------------------------------------------------------------


def parse(packet: bytes) -> list[tuple[str, tuple]]:
    """A packet -> its messages in order, those of bundles too, as (address, arguments). Raises OscError for anything amiss.

    Arguments: i, h, f, d as numbers, T, F, N, I as True, False, None, infinity, s, S as text, b as bytes, arrays as tuples.
    """
    address = _ONE_FLOAT.get(packet[:-4])  # what comes most is read by its known beginning; the rest is parse_whole's
    if address is not None:
        return [(address, _NUMBERS["f"].unpack(packet[-4:]))]
    messages = parse_whole(packet)
    if packet.endswith(b",f\0\0", 0, -4) and len(messages) == 1 and packet.startswith(b"/") and len(_ONE_FLOAT) < MAX_KNOWN:
        _ONE_FLOAT[packet[:-4]] = messages[0][0]
    return messages


def parse_whole(packet: bytes) -> list[tuple[str, tuple]]:
    """What `parse` gives, without a memory."""
    if len(packet) > MAX_PACKET_BYTES:
        raise OscError(f"A packet of more than {MAX_PACKET_BYTES} bytes came; send fewer messages in a bundle.")
    messages: list[tuple[str, tuple]] = []
    _element(packet, 0, len(packet), 0, messages)
    return messages


def _element(packet: bytes, at: int, end: int, depth: int, messages: list) -> None:
    if at == end or (end - at) % 4:
        raise OscError(f"A packet came with an element of {end - at} bytes, which is no OSC.")
    if not packet.startswith(b"#bundle\0", at):
        messages.append(_message(packet, at, end))
        return
    if depth == MAX_DEPTH:
        raise OscError(f"A packet came with bundles more than {MAX_DEPTH} deep.")
    at += 16  # "#bundle" and the time tag
    if at > end:
        raise OscError("A bundle came that breaks off in its time tag.")
    while at < end:
        size = int.from_bytes(packet[at:at + 4], "big", signed=True)
        at += 4
        if not 0 < size <= end - at:
            raise OscError(f"A bundle came with an element of {size} bytes where {end - at} are left.")
        _element(packet, at, at + size, depth + 1, messages)
        at += size


def _message(packet: bytes, at: int, end: int) -> tuple[str, tuple]:
    address, at = _string(packet, at, end)
    if not address.startswith(("/", "#")) or len(address) > MAX_ADDRESS or not address.isascii() or not address.isprintable():
        raise OscError(f"A packet came that begins with {shown(address)}, which is no OSC address.")
    if not WILDCARDS.isdisjoint(address):
        raise OscError(f"The address {shown(address)} has wildcards; send to one address.")
    if at == end:
        return address, ()
    tags, at = _string(packet, at, end)
    if not tags.startswith(","):
        raise OscError(f"{address} came without a type tag.")
    arguments, open_arrays = [], []
    for tag in tags[1:]:
        if tag == "[":
            if len(open_arrays) == MAX_DEPTH:
                raise OscError(f"{address} came with arrays more than {MAX_DEPTH} deep.")
            open_arrays.append(arguments)
            arguments = []
        elif tag == "]":
            if not open_arrays:
                raise OscError(f"{address} came with an array that ends before it begins.")
            array, arguments = tuple(arguments), open_arrays.pop()
            arguments.append(array)
        else:
            value, at = _argument(tag, packet, at, end, address)
            arguments.append(value)
    if open_arrays or at != end:
        raise OscError(f"{address} came with an array that does not end." if open_arrays else
                       f"{address} came with {end - at} bytes more than its types {shown(tags)} take.")
    return address, tuple(arguments)


def _argument(tag: str, packet: bytes, at: int, end: int, address: str) -> tuple[object, int]:
    number = _NUMBERS.get(tag)
    if number is not None:
        if at + number.size > end:
            raise OscError(f"{address} breaks off within its values.")
        return number.unpack_from(packet, at)[0], at + number.size
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag in "sS":
        return _string(packet, at, end)
    if tag == "b":
        size = int.from_bytes(packet[at:at + 4], "big", signed=True)
        after = at + 4 + (size + 3) // 4 * 4
        if at + 4 > end or size < 0 or after > end:
            raise OscError(f"{address} came with a blob of {size} bytes where {end - at - 4} are left.")
        return packet[at + 4:at + 4 + size], after
    if tag in _WORDS:
        if at + _WORDS[tag] > end:
            raise OscError(f"{address} breaks off within its values.")
        return packet[at:at + _WORDS[tag]], at + _WORDS[tag]
    raise OscError(f"{address} came with a value of the unknown type {shown(tag)}.")


def _string(packet: bytes, at: int, end: int) -> tuple[str, int]:
    stop = packet.find(b"\0", at, end)
    after = (stop + 4) // 4 * 4  # behind the zero, up to a multiple of four
    if stop < 0 or after > end:
        raise OscError("A packet came with text that does not end.")
    try:
        return packet[at:stop].decode(), after
    except UnicodeDecodeError as error:
        raise OscError("A packet came with text that is not UTF-8.") from error


def encode(address: str, *arguments) -> bytes:
    """A message as a packet: ints, floats, booleans and text."""
    from pythonosc.osc_message_builder import OscMessageBuilder

    builder = OscMessageBuilder(address)
    for value in arguments:
        builder.add_arg(value)
    return builder.build().dgram


# ---- the page ------------------------------------------------------------------------------------------------------


def tables() -> dict[str, str]:
    """What docs/osc.md shows between its markers, by the name of the marker: Markdown tables."""
    incoming = ["| address | types | range | what it does |", "|---|---|---|---|"]
    for one in INCOMING.values():
        span = "-" if math.isinf(one.high) else f"{one.low:.10g} to {one.high:.10g}"
        incoming.append(f"| `{one.address}` | {one.types} | {span} | {one.meaning} |".replace("bar|beat|tick", r"bar\|beat\|tick"))
    outgoing = ["| address | types | what it says |", "|---|---|---|"]
    outgoing += [f"| `{one.address}` | {one.types} | {one.meaning} |" for one in OUTGOING]
    return {"incoming": "\n".join(incoming), "outgoing": "\n".join(outgoing)}


def with_tables(page: str) -> str:
    """The text of the page with its tables as they are now."""
    for name, table in tables().items():
        fill: Callable = lambda match, table=table: f"{match[1]}\n{table}\n{match[2]}"
        page, count = re.subn(rf"(<!-- {name} -->)\n.*?(<!-- end -->)", fill, page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"the page has {count} places marked <!-- {name} --> ... <!-- end -->; it must have one")
    return page


if __name__ == "__main__":
    page = Path(sys.argv[1])
    write_atomic(page, with_tables(page.read_text(encoding="utf-8")).encode())
