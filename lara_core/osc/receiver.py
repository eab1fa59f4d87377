"""The receiver: OSC packets on a port go in; the latest values, the transport's beat and events for listeners come out, and
messages go back to where the DAW or the control surface listens.

One thread of its own reads the socket and does nothing else, so that no message is lost; a second one, ten times a second, echoes
what has changed and lets the recorder save. Both end with the process. All users of a port in a process share one receiver.
"""

import functools
import ipaddress
import logging
import math
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence

from .mapping import Mapping
from .protocol import ECHO, ERROR, INCOMING, MAX_PACKET_BYTES, Address, Answer, OscError, beats_of, encode, parse
from .transport import Transport

PORT, FEEDBACK_PORT = 9400, 9401
LOOPBACK, EVERY_ADDRESS = "127.0.0.1", "0.0.0.0"
BUFFER_BYTES = 4 << 20  # of the socket: a fifth of a second without this thread loses nothing at 20,000 messages a second
SO_TIMESTAMPNS = 35  # Linux; Python has no name for it. A timespec comes with each packet
MAX_WAITED_SECONDS = 2.0
TICK_SECONDS = 0.1
COMPLAINT_SECONDS = 2.0  # at most one line in the log in so long
MAX_STRANGERS = 64  # unknown addresses that are remembered
RIVAL_SECONDS = 1.0
USED_BY = {8000: "Bitwig's DrivenByMoss", 9000: "TouchOSC or DrivenByMoss", 3819: "Ardour", 11000: "AbletonOSC itself",
           11001: "another client of AbletonOSC"}

log = logging.getLogger(__name__)

Event = Callable[[str, tuple, float], None]


class Receiver:
    """Listens from when it is made until it is closed; a context manager.

    host: 127.0.0.1 hears this machine only, 0.0.0.0 the network too. allow: addresses or networks (192.168.1.0/24) that are heard,
    empty for all. feedback: (host, port) pairs that answers go to. mappings: what else than the protocol's addresses is heard.

    `valence`, `arousal`, `prompt`, `seed`, `armed` (for recording, None until it is told) are the latest values. Each listener in
    `listeners` is called in the socket's thread as (name, values, seconds of `clock`), with the names of protocol.INCOMING
    except that what moves valence or arousal comes as "affect" (valence, arousal), and a jump of the transport as "jump" ().
    Listeners are quick and raise nothing. `tickers` are called with the seconds, ten times a second.
    Raises ValueError where the port cannot be had.
    """

    def __init__(self, port: int = PORT, host: str = LOOPBACK, allow: Sequence[str] = (),
                 feedback: Sequence[tuple[str, int]] = ((LOOPBACK, FEEDBACK_PORT),), mappings: Sequence[Mapping] = (),
                 clock: Callable[[], float] = time.monotonic):
        self.clock, self.allow = clock, [_network(text) for text in allow]
        self._socket = _bound(host, port)
        self._sockets, self._handling = [self._socket], threading.Lock()  # more than one thread may hand in packets
        self.host, self.port = host, self._socket.getsockname()[1]
        self.feedback, self.transport = list(feedback), Transport()
        self.valence, self.arousal, self.prompt, self.seed, self.armed = 0.0, 0.0, None, None, None
        self.listeners: list[Event] = []
        self.tickers: list[Callable[[float], None]] = []
        self.received = self.refused = 0  # messages; packets
        self.messages_per_second, self.last_error, self.last_heard_seconds = 0.0, "", -math.inf
        self.strangers: dict[str, tuple] = {}  # unknown addresses and what came last
        self.on_stranger: Callable[[str, tuple], None] | None = None
        self.mappings: list[Mapping] = []
        self._shown: dict[Mapping, tuple] = {}  # what each control shows, in -1..1
        self._handlers = {one.address: [functools.partial(self._protocol, one)] for one in INCOMING.values()}
        for mapping in mappings:
            self.add_mapping(mapping)
        self._users, self._closing, self._left_out, self._complained = 1, threading.Event(), 0, -math.inf
        self._rivals: dict[str, dict[tuple, float]] = {}  # address -> who has sent it, and when
        self._echoed = (math.nan, math.nan)
        self._is_allowed = functools.lru_cache(256)(lambda host: any(ipaddress.ip_address(host) in network for network in self.allow))
        self._threads: list[threading.Thread] = []
        self._start(self._listen, "lara-osc", self._socket)
        self._start(self._tick, "lara-osc-tick")

    def _start(self, target: Callable, name: str, *arguments) -> None:
        thread = threading.Thread(target=target, name=name, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    # ---- sharing and closing ---------------------------------------------------------------------------------------

    @classmethod
    def shared(cls, port: int = PORT, host: str = LOOPBACK, **options) -> "Receiver":
        """The receiver of this port in this process; its first user decides the options. Each user closes it once."""
        with _SHARING:
            receiver = _SHARED.get(port)
            if receiver is None:
                receiver = cls(port, host, **options)
                _SHARED[receiver.port] = receiver
                return receiver
            if receiver.host != host:
                raise ValueError(f"Port {port} is already heard here on {receiver.host}, not on {host}; use the same for both, or another port.")
            receiver._users += 1
            return receiver

    @property
    def users(self) -> int:
        return self._users

    def close(self) -> None:
        """For the last user: stop both threads and free the port; a second call does nothing."""
        with _SHARING:
            self._users -= 1
            if self._users > 0 or self._closing.is_set():
                return
            self._closing.set()
            if _SHARED.get(self.port) is self:
                del _SHARED[self.port]
        for one in self._sockets:
            host, port = one.getsockname()
            one.sendto(b"", (LOOPBACK if host == EVERY_ADDRESS else host, port))  # an empty packet ends the wait for the next
        for thread in self._threads:
            thread.join(2.0)
        for one in self._sockets:
            one.close()

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # ---- messages in -----------------------------------------------------------------------------------------------

    def add_mapping(self, mapping: Mapping) -> None:
        """Hear one address more; one that meant something else before keeps that too."""
        self.mappings.append(mapping)
        handler = functools.partial(self._mapped, mapping)
        self._handlers[mapping.address] = [*self._handlers.get(mapping.address, ()), handler]  # a new list: the thread may read

    def replace_mapping(self, mapping: Mapping) -> None:
        """Add a mapping in place of what the same control was mapped to."""
        for other in [other for other in self.mappings if (other.address, other.leading) == (mapping.address, mapping.leading)]:
            self.remove_mapping(other)
        self.add_mapping(mapping)

    def remove_mapping(self, mapping: Mapping) -> None:
        self.mappings.remove(mapping)
        self._handlers[mapping.address] = [one for one in self._handlers[mapping.address] if getattr(one, "args", None) != (mapping,)]

    def listen_to(self, address: str, handler: Callable[[tuple], None]) -> None:
        """Call handler(arguments) for an address that no table knows, in the socket's thread."""
        self._handlers[address] = [*self._handlers.get(address, ()), lambda arguments, now: handler(arguments)]

    def listen_on(self, port: int) -> None:
        """Hear another port too, which some programs answer to, whatever port asked. Raises ValueError where it cannot be had."""
        self._sockets.append(_bound(self.host, port))
        self._start(self._listen, "lara-osc-answers", self._sockets[-1])

    def _listen(self, source: socket.socket) -> None:
        while not self._closing.is_set():
            try:
                packet, waited, sender = _receive(source)
            except OSError as error:  # Windows says here that an answer found no listener, or that a packet was too long
                if not self._closing.is_set():
                    self.complain(f"The network does not answer as it should ({error.strerror}); messages may be missing.")
                    self._closing.wait(0.05)
                continue
            if packet and self._welcome(sender[0]):
                self.handle(packet, self.clock() - waited, sender)

    def _welcome(self, host: str) -> bool:
        """Whether a sender is heard: this machine always is."""
        if not self.allow or host.startswith("127.") or self._is_allowed(host):
            return True
        self.refused += 1
        self.complain(f"{host} sends, and is not among the addresses that are heard; name it with --allow.")
        return False

    def handle(self, packet: bytes, now: float, sender: tuple = (LOOPBACK, 0)) -> None:
        """A packet as it came at `now` -> what it changes; whatever is wrong with it is counted and told, and raises nothing."""
        try:
            messages = parse(packet)
        except OscError as error:
            self.refused += 1
            self.complain(str(error))
            return
        with self._handling:
            self.last_heard_seconds = now
            for address, arguments in messages:
                self.received += 1
                self._check_rivals(address, sender, now)
                try:
                    self._dispatch(address, arguments, now)
                except OscError as error:
                    self.refused += 1
                    self.complain(str(error))

    def hear(self, name: str, values: tuple, now: float) -> None:
        """What comes by another way than OSC, as its message in protocol.INCOMING would; a value out of its range is told, and raises nothing."""
        with self._handling:
            try:
                self._protocol(INCOMING[name], values, now)
            except OscError as error:
                self.complain(str(error))

    def _dispatch(self, address: str, arguments: tuple, now: float) -> None:
        handlers = self._handlers.get(address)
        if handlers is None:
            self._stranger(address, arguments)
            return
        for handler in handlers:
            handler(arguments, now)

    def _stranger(self, address: str, arguments: tuple) -> None:
        if address in self.strangers or len(self.strangers) < MAX_STRANGERS:
            self.strangers[address] = arguments
        if self.on_stranger is not None:
            self.on_stranger(address, arguments)

    def _check_rivals(self, address: str, sender: tuple, now: float) -> None:
        """Say so where two senders take turns at an address; one that comes back after another is a second source, not a new socket."""
        if address not in self._handlers:
            return
        rivals = self._rivals.setdefault(address, {})
        if len(rivals) == 1 and sender in rivals:  # as ever
            rivals[sender] = now
            return
        for other in [other for other, last in rivals.items() if now - last > RIVAL_SECONDS]:
            del rivals[other]
        if sender in rivals and next(reversed(rivals)) != sender:
            self.complain(f"Two programs send {address} at once ({sender[0]} port {sender[1]} and another): the later value counts. Stop one of them.")
        rivals.pop(sender, None)
        rivals[sender] = now
        while len(rivals) > 8:
            del rivals[next(iter(rivals))]

    def _protocol(self, address: Address, arguments: tuple, now: float) -> None:
        if not address.kinds and arguments and not arguments[0]:  # a button that is let go
            return
        self._apply(address.name, address.read(arguments), now)

    def _mapped(self, mapping: Mapping, arguments: tuple, now: float) -> None:
        values = mapping.read(arguments)
        if values is not None:
            self._shown[mapping] = values
            self._apply(mapping.to, values, now)

    def _apply(self, name: str, values: tuple, now: float) -> None:
        transport = self.transport
        if name in AFFECT:
            self.valence, self.arousal = AFFECT[name](values, self.valence, self.arousal)
            name, values = "affect", (self.valence, self.arousal)
        elif name in ("position", "time", "bars"):
            if name == "bars":
                name, values = "position", (beats_of(values[0]),)
            if transport.set_beat(values[0], now) if name == "position" else transport.set_time(values[0], now):
                self._tell("jump", (), now)
        elif name == "tempo":
            transport.set_tempo(values[0], now)
        elif name == "play":
            transport.set_playing(values[0], now)
        elif name == "record":
            self.armed = values[0]
        elif name in ("prompt", "seed"):
            setattr(self, name, values[0])
        self._tell(name, values, now)

    def _tell(self, name: str, values: tuple, now: float) -> None:
        for listener in self.listeners:
            listener(name, values, now)

    # ---- messages out ----------------------------------------------------------------------------------------------

    def send(self, answer: Answer | str, *values) -> None:
        """An answer to everyone who gets feedback; a network that is gone is complained about, and raises nothing."""
        packet = encode(answer if isinstance(answer, str) else answer.address, *values)
        for target in self.feedback:
            self._send(packet, target, answer is not ERROR)

    def send_to(self, target: tuple[str, int], address: str, *values) -> None:
        """A message of another program's protocol, to that program."""
        self._send(encode(address, *values), target, True)

    def _send(self, packet: bytes, target: tuple[str, int], may_complain: bool) -> None:
        try:
            self._socket.sendto(packet, target)
        except OSError as error:
            if may_complain and not self._closing.is_set():
                self.complain(f"Nothing can be sent to {target[0]} port {target[1]} ({error.strerror}); check the network and --feedback.")

    def complain(self, text: str) -> None:
        """One sentence into the log, the monitor and /lara/error; of many in a row, one every two seconds is told."""
        self.last_error = text
        now = time.monotonic()
        if now - self._complained < COMPLAINT_SECONDS:
            self._left_out += 1
            return
        more = f" ({self._left_out} more were left out.)" if self._left_out else ""
        self._complained, self._left_out = now, 0
        log.warning("%s%s", text, more)
        self.send(ERROR, text + more)

    def _tick(self) -> None:
        counted, since = 0, time.monotonic()
        while not self._closing.wait(TICK_SECONDS):
            now = time.monotonic()
            if now - since >= 1.0:
                self.messages_per_second = (self.received - counted) / (now - since)
                counted, since = self.received, now
            self._echo()
            for ticker in self.tickers:
                try:
                    ticker(self.clock())
                except (ValueError, OSError) as error:  # the others go on
                    self.complain(str(error))

    def _echo(self) -> None:
        """What is in force, where it has changed; and to a mapped control where something else has moved its value."""
        current = (self.valence, self.arousal)
        if current == self._echoed:
            return
        self._echoed = current
        for answer, value in zip(ECHO, current):
            self.send(answer, float(value))
        for mapping in self.mappings:
            raw, values = mapping.echo(*current)
            if raw and values != self._shown.get(mapping):
                self._shown[mapping] = values
                self.send(mapping.address, *raw)


AFFECT: dict[str, Callable] = {
    "valence": lambda values, valence, arousal: (values[0], arousal),
    "arousal": lambda values, valence, arousal: (valence, values[0]),
    "va": lambda values, valence, arousal: values[:2],
    "xy": lambda values, valence, arousal: (2 * values[0] - 1, 2 * values[1] - 1),
}
_TIMESPEC = struct.Struct("@ll")
_SHARED: dict[int, Receiver] = {}
_SHARING = threading.RLock()


def _receive(source: socket.socket) -> tuple[bytes, float, tuple]:
    """A packet, how many seconds ago it came (on Linux; 0 elsewhere: in a busy moment packets wait, and the beat does not), its sender."""
    if sys.platform != "linux":
        packet, sender = source.recvfrom(MAX_PACKET_BYTES + 1)
        return packet, 0.0, sender
    packet, ancillary, _, sender = source.recvmsg(MAX_PACKET_BYTES + 1, 64)
    if not ancillary or len(ancillary[0][2]) != _TIMESPEC.size:
        return packet, 0.0, sender
    seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
    return packet, min(max(time.time() - seconds - 1e-9 * nanoseconds, 0.0), MAX_WAITED_SECONDS), sender


def _network(text: str):
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"{text[:60]!r} is not an address or a network; write for example 192.168.1.20 or 192.168.1.0/24.") from error


def _bound(host: str, port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        if sys.platform == "linux":
            found.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        elif sys.platform == "win32":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        found.bind((host, port))
    except (OSError, OverflowError) as error:
        found.close()
        if isinstance(error, (OverflowError, socket.gaierror)):
            raise ValueError(f"{host} port {port} is no place to listen ({error}); give an address of this machine and a port from 1 "
                             "to 65535.") from error
        whose = f" (perhaps by {USED_BY[port]})" if port in USED_BY else ""
        raise ValueError(f"Port {port} on {host} cannot be had: {error.strerror}. If another program uses it{whose}, close that, or choose "
                         "another port here and in the DAW.") from error
    return found
