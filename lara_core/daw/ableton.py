"""Ableton Live sets: an .als of Live 10 to 12 goes in; its automation, tempo map and locators come out as an Arrangement.

A set is gzip-compressed XML. It is read as a stream and only what automation needs is kept, so neither a bomb nor a large set
fills the memory; a document type, and so every entity, is refused.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element
from xml.parsers import expat

import numpy as np

from .lanes import Arrangement, Lane, bezier, tempo_grid, tempo_steps

MAX_FILE_BYTES, MAX_XML_BYTES = 64_000_000, 256_000_000
MAX_DEPTH, MAX_ELEMENTS, MAX_KEPT = 200, 4_000_000, 1_000_000
CHUNK_BYTES = 1 << 18
BEFORE_THE_SONG = -1e6  # beats; Live gives every envelope a first event at -63072000
TEMPO_STEP_BEATS = 0.25  # how finely a ramp of the tempo is cut into steps
# The leaves that are kept; an element stands in the tree if it is one of these or holds one.
LEAVES = {"EffectiveName", "UserName", "ParameterName", "PointeeId", "AutomationTarget", "FloatEvent", "Min", "Max", "Manual", "Time", "Name"}


def read_als(path: Path) -> Arrangement:
    """An Ableton Live set -> its automated parameters as lanes in beats, called 'track / device / parameter'.

    A macro has the name that it shows. Ranges are those that Live maps a controller to (a macro: 0 to 127). Raises ValueError in
    one sentence for what is no set, is cut off, too large or of another version, and OSError where it cannot be read.
    """
    try:
        live_set = _live_set(_parse(path))
        return Arrangement(path.name, tuple(_lanes(live_set)), "beats", _tempo(live_set), _locators(live_set))
    except _Refused as error:
        raise ValueError(f"{path.name} {error}") from error
    except (expat.ExpatError, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged or cut off ({error}); open it in Live and save it again") from error


class _Refused(Exception):
    """Why a file is not read; the file's name goes before it."""


# ---- XML -----------------------------------------------------------------------------------------------------------


def _parse(path: Path) -> Element:
    """The tree of what is kept. Raises expat.ExpatError, zlib.error or _Refused."""
    parser, tree = expat.ParserCreate("UTF-8"), _Pruned()  # whatever the file declares: Live writes UTF-8
    parser.StartElementHandler, parser.EndElementHandler = tree.start, tree.end
    parser.StartDoctypeDeclHandler = tree.doctype
    for chunk in _xml_chunks(path):
        parser.Parse(chunk, False)
    parser.Parse(b"", True)
    return tree.open[0][0]


def _xml_chunks(path: Path) -> Iterator[bytes]:
    """The unpacked XML, bounded."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise _Refused(f"has {path.stat().st_size / 1e6:.0f} MB; sets of at most {MAX_FILE_BYTES / 1e6:.0f} MB are read: save one with only the "
                       "automated tracks")
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"  # Live also opens sets that somebody has unpacked
        file.seek(0)
        gzip, total = zlib.decompressobj(wbits=31), 0
        while chunk := file.read(CHUNK_BYTES):
            while chunk:
                xml, chunk = (gzip.decompress(chunk, CHUNK_BYTES), gzip.unconsumed_tail) if packed else (chunk, b"")
                total += len(xml)
                if total > MAX_XML_BYTES:
                    raise _Refused(f"unpacks to more than {MAX_XML_BYTES / 1e6:.0f} MB; save a set with only the automated tracks")
                yield xml
        if packed and not gzip.eof:
            raise zlib.error("the compressed data ends too early")


class _Pruned:
    """Builds the tree while it is parsed, and forgets each element that is no leaf to keep and holds none."""

    def __init__(self):
        self.open, self.seen, self.kept = [Element("")], 0, 0

    def start(self, tag: str, attributes: dict) -> None:
        if len(self.open) > MAX_DEPTH:
            raise _Refused(f"has elements more than {MAX_DEPTH} deep, which no set of Live has; give the .als file that Live saves")
        self.seen += 1
        self.open.append(Element(tag, attributes))

    def end(self, tag: str) -> None:
        element = self.open.pop()
        if len(element) or tag in LEAVES or tag.startswith("MacroDisplayNames.") or len(self.open) < 3:
            self.open[-1].append(element)
            self.kept += 1
        if self.kept > MAX_KEPT or self.seen > MAX_ELEMENTS:
            raise _Refused("holds more than is read; save a set with only the automated tracks")

    def doctype(self, *_) -> None:
        raise _Refused("declares a document type or entities, which no set of Live does; give the .als file that Live saves")


def _value(parent: Element, path: str) -> str | None:
    found = parent.find(path)
    return None if found is None else found.get("Value")


def _number(text: str | None, what: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError) as error:
        raise _Refused(f"is damaged ({what} is {text!r:.40}, not a number); open it in Live and save it again") from error


# ---- what it says --------------------------------------------------------------------------------------------------


def _live_set(root: Element) -> Element:
    live_set = root.find("LiveSet")
    if root.tag != "Ableton" or live_set is None:
        raise _Refused("is not an Ableton Live set; give the .als file that Live saves")
    if not root.get("MajorVersion", "").isdigit() or int(root.get("MajorVersion")) < 5:
        raise _Refused(f"was saved by {root.get('Creator', 'an old Ableton Live')[:40]}; sets of Live 10 to 12 are read: open it in one of these "
                       "and save it again")
    return live_set


def _main_track(live_set: Element) -> Element:
    """MasterTrack up to Live 11, MainTrack in Live 12."""
    track = live_set.find("MainTrack")
    return live_set.find("MasterTrack") if track is None else track


def _lanes(live_set: Element) -> Iterator[Lane]:
    main = _main_track(live_set)
    tracks = [*(live_set.find("Tracks") or ()), *([] if main is None else [main])]
    ranges: dict[str, tuple] = {}
    for track in tracks:
        _find_targets(track, None, "Mixer", ranges)
    tempo = None if main is None else _tempo_target(main)
    for track in tracks:
        for envelope in track.iterfind("AutomationEnvelopes/Envelopes/AutomationEnvelope"):
            target = _value(envelope, "EnvelopeTarget/PointeeId")
            points = _points(envelope)
            if target != tempo and target in ranges and points:
                device, parameter, low, high = ranges[target]
                yield Lane.of(" / ".join([_value(track, "Name/EffectiveName") or track.tag, device, parameter]), points, low, high)


def _find_targets(element: Element, parent: Element | None, device: str, found: dict[str, tuple]) -> None:
    """AutomationTarget@Id -> (device, parameter, lowest, highest) of everything below an element."""
    for child in element:
        if child.tag == "AutomationTarget":
            span = element.find("MidiControllerRange")
            low, high = (None, None) if span is None else (_number(_value(span, name), name) for name in ("Min", "Max"))
            found[child.get("Id")] = device, _parameter_name(element, parent), low, high
        elif element.tag == "Devices":
            _find_targets(child, element, _value(child, "UserName") or child.tag, found)
        else:
            _find_targets(child, element, device, found)


def _parameter_name(element: Element, parent: Element | None) -> str:
    shown = None
    if parent is not None and element.tag.startswith("MacroControls."):
        shown = _value(parent, element.tag.replace("MacroControls.", "MacroDisplayNames."))
    elif parent is not None and element.tag in ("ParameterValue", "Timeable"):  # of plug-ins and Max devices
        shown = _value(parent, "ParameterName") or _value(parent, "Name")
    return shown or element.tag


def _points(envelope: Element) -> list[tuple[float, float]]:
    """The events of the song as a polyline, none where only the value before the song is set. A curved segment's control points
    stand at the event where it begins, on the unit square between its two events."""
    events = [(_number(event.get("Time"), "Time"), _number(event.get("Value"), "Value"), event)
              for event in envelope.iterfind("Automation/Events/FloatEvent")]
    events = [event for event in events if event[0] > BEFORE_THE_SONG]
    points = []
    for index, (time, value, event) in enumerate(events):
        points.append((time, value))
        if "CurveControl1X" in event.keys() and index + 1 < len(events):
            dt, dv = events[index + 1][0] - time, events[index + 1][1] - value
            x1, y1, x2, y2 = (_number(event.get(f"CurveControl{n}"), f"CurveControl{n}") for n in ("1X", "1Y", "2X", "2Y"))
            points += bezier((time, value), (time + x1 * dt, value + y1 * dv), (time + x2 * dt, value + y2 * dv), (time + dt, value + dv))
    return points


def _tempo_target(main: Element) -> str | None:
    target = main.find("DeviceChain/Mixer/Tempo/AutomationTarget")
    return None if target is None else target.get("Id")


def _tempo(live_set: Element) -> tuple[tuple[float, float], ...]:
    """The tempo map as steps. Between its events the tempo moves evenly over the beats, so a beat of a ramp lasts
    60 ln(b / a) / (b - a) s; the steps keep every beat where it falls."""
    main = _main_track(live_set)
    if main is None or main.find("DeviceChain/Mixer/Tempo") is None:
        return ()
    for envelope in main.iterfind("AutomationEnvelopes/Envelopes/AutomationEnvelope"):
        if _value(envelope, "EnvelopeTarget/PointeeId") == _tempo_target(main) and (points := _points(envelope)):
            lane = Lane.of("tempo", points)
            if lane.values.min() <= 0:
                raise _Refused(f"is damaged (a tempo is {lane.values.min():g}); open it in Live and save it again")
            beats = tempo_grid(lane, TEMPO_STEP_BEATS)
            start, end = lane.at(beats[:-1], lane.values, "right"), lane.at(beats[1:], lane.values, "left")
            ratio = end / start - 1
            minutes = np.diff(beats) / start * np.divide(np.log1p(ratio), ratio, out=np.ones_like(ratio), where=np.abs(ratio) > 1e-9)
            return tempo_steps(beats, np.concatenate([[0], np.cumsum(minutes * 60)]))
    return ((0.0, _number(_value(main, "DeviceChain/Mixer/Tempo/Manual"), "the tempo")),)


def _locators(live_set: Element) -> tuple[tuple[float, str], ...]:
    found = [(_number(_value(locator, "Time"), "Time"), _value(locator, "Name") or "") for locator in live_set.iterfind("Locators/Locators/Locator")]
    return tuple(sorted(found))
