"""Ableton Live: what AbletonOSC (a remote script for Live, MIT) answers goes in; a Receiver hears two macros and the transport.

A device named LARA is looked for on the normal tracks, and in it the macros named Valence and Arousal, or else its first two; where
there is no such device, any that has parameters with these names. AbletonOSC listens on 11000, answers to 11001 of whoever asked
last, and takes indices as whole numbers only; they go stale when tracks are moved, so the names are looked at again and again.
Its source: github.com/ideoforms/AbletonOSC.
"""

import threading
from collections.abc import Callable

from .mapping import Mapping
from .receiver import LOOPBACK, Receiver

ASK_PORT, ANSWER_PORT = 11000, 11001
RACK = "lara"
WANTED = ("valence", "arousal")
MACRO_RANGE = (0.0, 127.0)
ANSWER_SECONDS = 3.0  # Live looks at its messages ten times a second
CHECK_SECONDS = 10.0
TRANSPORT = {"current_song_time": "position", "tempo": "tempo", "is_playing": "play"}
ABSENT = ("AbletonOSC does not answer. Is Live running, and AbletonOSC chosen as a control surface (Settings > Link, Tempo & MIDI)?")
NO_RACK = ("Live has no rack named LARA and no macros named Valence and Arousal on a normal track (return and main tracks, and racks "
           "within racks, cannot be read). Add a rack, name it LARA, and name two of its macros Valence and Arousal.")


class AbletonLive:
    """Looks until it has found the macros, and again when Live is restarted or its tracks have moved. `state` says in a sentence how
    it stands; a change of it is told by receiver.complain where something is missing. Raises ValueError where 11001 is taken."""

    def __init__(self, receiver: Receiver, host: str = LOOPBACK, ask_port: int = ASK_PORT, answer_port: int = ANSWER_PORT):
        self.receiver, self.target, self._lock = receiver, (host, ask_port), threading.Lock()
        receiver.listen_on(answer_port)
        for address, handler in (("/live/test", self._on_test), ("/live/startup", self._on_startup), ("/live/song/get/track_names", self._on_tracks),
                                 ("/live/track/get/devices/name", self._on_devices), ("/live/device/get/parameters/name", self._on_names),
                                 ("/live/device/get/parameters/min", self._on_range), ("/live/device/get/parameters/max", self._on_range),
                                 ("/live/error", self._on_error), ("/live/device/get/parameter/value_string", lambda arguments: None)):
            receiver.listen_to(address, self._locked(handler))
        for prop, name in TRANSPORT.items():
            receiver.add_mapping(Mapping(f"/live/song/get/{prop}", name))
        self.state = "looking for Live"
        self.found: dict[str, tuple[int, int, int]] = {}  # valence, arousal -> track, device, parameter
        self._mappings: list[Mapping] = []
        self._round: tuple[int, ...] = ()  # behind the indices from the second subscription on
        self._names: dict[tuple[int, int], tuple] = {}  # (track, device) -> names of its parameters
        self._ranges: dict[tuple[int, int], list[tuple]] = {}
        self._devices: dict[int, tuple] = {}
        self._waiting: set = set()  # for answers about these
        self._next_seconds = 0.0  # of the clock, when it is time to ask again
        self._checking = False
        self._ticker = self._locked(self._tick)
        receiver.tickers.append(self._ticker)

    def close(self) -> None:
        """Stop the listeners in Live."""
        self.receiver.tickers.remove(self._ticker)
        with self._lock:
            self._unsubscribe()

    def _locked(self, function: Callable) -> Callable:
        """Answers and ticks come in threads of their own."""
        def locked(value) -> None:
            with self._lock:
                function(value)

        return locked

    def _ask(self, address: str, *values: int) -> None:
        self.receiver.send_to(self.target, address, *values)

    # ---- when nothing comes ----------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        if now < self._next_seconds:
            return
        self._next_seconds = now + ANSWER_SECONDS
        if self._mappings and not self._checking:  # look whether the names are still where they were
            self._checking = True
            for track, device in {place[:2] for place in self.found.values()}:
                self._ask("/live/device/get/parameters/name", track, device)
        else:
            if self._checking or self.state == "looking for Live" and self._waiting:
                self._say(ABSENT)
            self._look()

    def _look(self) -> None:
        self._unsubscribe()
        self._checking, self._waiting = False, {"test"}
        self._ask("/live/test")

    def _say(self, state: str, is_problem: bool = True) -> None:
        if state != self.state:
            self.state = state
            if is_problem:
                self.receiver.complain(state)

    def _unsubscribe(self) -> None:
        for place in self.found.values():
            self._ask("/live/device/stop_listen/parameter/value", *place, *self._round)
        for mapping in self._mappings:
            self.receiver.remove_mapping(mapping)
        if self._mappings:
            self._round = (sum(self._round) + 1,)
        self.found, self._mappings = {}, []

    # ---- answers ---------------------------------------------------------------------------------------------------

    def _on_startup(self, _arguments: tuple) -> None:
        """Live was restarted, or another set was opened: whatever was subscribed is gone."""
        self._look()

    def _on_error(self, arguments: tuple) -> None:
        self.receiver.complain(f"AbletonOSC says: {' '.join(map(str, arguments))[:200]}")

    def _on_test(self, _arguments: tuple) -> None:
        if "test" in self._waiting:
            self._waiting = {"tracks"}
            self._ask("/live/song/get/track_names")

    def _on_tracks(self, arguments: tuple) -> None:
        if "tracks" not in self._waiting:
            return
        self._devices, self._waiting = {}, set(range(len(arguments)))
        for track in range(len(arguments)):
            self._ask("/live/track/get/devices/name", track)
        if not arguments:
            self._say(NO_RACK)

    def _on_devices(self, arguments: tuple) -> None:
        if not arguments or arguments[0] not in self._waiting:
            return
        self._waiting.discard(arguments[0])
        self._devices[arguments[0]] = arguments[1:]
        if self._waiting:
            return
        places = [(track, index) for track, names in sorted(self._devices.items()) for index in range(len(names))]
        racks = [(track, index) for track, index in places if str(self._devices[track][index]).strip().casefold() == RACK]
        self._names, self._waiting = {}, set(racks or places)
        for track, index in racks or places:
            self._ask("/live/device/get/parameters/name", track, index)
        if not places:
            self._say(NO_RACK)

    def _on_names(self, arguments: tuple) -> None:
        place, names = arguments[:2], arguments[2:]
        if self._checking:
            if place in self._names and names != self._names[place]:
                self._look()
            elif place in self._names:
                self._checking, self._next_seconds = False, self.receiver.clock() + CHECK_SECONDS
            return
        if place not in self._waiting:
            return
        self._waiting.discard(place)
        self._names[place] = names
        if not self._waiting:
            self._choose()

    def _choose(self) -> None:
        for place, names in sorted(self._names.items()):
            plain = [str(name).strip().casefold() for name in names]
            for name in WANTED:
                if name in plain and name not in self.found:
                    self.found[name] = (*place, plain.index(name))
        rack = next((place for place in sorted(self._names) if str(self._devices[place[0]][place[1]]).strip().casefold() == RACK), None)
        if rack is not None and not self.found and len(self._names[rack]) > 2:  # parameter 0 switches the device on
            self.found = {name: (*rack, index) for index, name in enumerate(WANTED, 1)}
        missing = [name.capitalize() for name in WANTED if name not in self.found]
        if len(missing) == 2:
            self.found = {}
            self._say(NO_RACK)
            return
        if missing:
            self._say(f"Live has no macro named {missing[0]}; name one, and it is heard within {CHECK_SECONDS:g} seconds.")
        self._ranges = {place[:2]: [] for place in self.found.values()}
        self._waiting = set(self._ranges)
        for place in self._ranges:
            self._ask("/live/device/get/parameters/min", *place)
            self._ask("/live/device/get/parameters/max", *place)

    def _on_range(self, arguments: tuple) -> None:
        place = arguments[:2]
        if place not in self._waiting:
            return
        self._ranges[place].append(arguments[2:])
        if len(self._ranges[place]) == 2:
            self._waiting.discard(place)
        if not self._waiting:
            self._subscribe()

    def _subscribe(self) -> None:
        for name, (track, device, parameter) in self.found.items():
            edges = [values[parameter] for values in self._ranges[track, device] if parameter < len(values)]
            edges = sorted(float(edge) for edge in edges if isinstance(edge, (int, float)) and abs(edge) < 1e6)
            low, high = (edges[0], edges[-1]) if edges and edges[0] < edges[-1] else MACRO_RANGE
            mapping = Mapping("/live/device/get/parameter/value", name, low, high, (track, device, parameter, *self._round))
            self._mappings.append(mapping)
            self.receiver.add_mapping(mapping)
            self._ask("/live/device/start_listen/parameter/value", track, device, parameter, *self._round)
        for prop in TRANSPORT:
            self._ask(f"/live/song/start_listen/{prop}")
        self._next_seconds = self.receiver.clock() + CHECK_SECONDS
        if len(self.found) == len(WANTED):
            where = ", ".join(f"{name} on track {track + 1}" for name, (track, _, _) in self.found.items())
            self._say(f"hears Live: {where}", is_problem=False)
