"""REAPER projects: an .rpp goes in; its track envelopes, tempo map and markers come out as an Arrangement in beats.

A project is lines of words in nested <BLOCKS>; a small reader of our own, because all that is wanted are the envelopes.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .lanes import Arrangement, Lane, bezier, tempo_grid, tempo_steps

MAX_FILE_BYTES, MAX_DEPTH = 64_000_000, 100
WORDS = re.compile(r"\"([^\"]*)\"|'([^']*)'|`([^`]*)`|(\S+)")  # REAPER quotes with whichever mark the text does not hold
# What the envelopes of a track are called and hold (volume as amplitude); before and after the effects, and trim.
ENVELOPES = {"VOL": ("volume", 0.0, 2.0), "PAN": ("pan", -1.0, 1.0), "WIDTH": ("width", -1.0, 1.0), "MUTE": ("mute", 0.0, 1.0),
             "AUXVOL": ("send volume", 0.0, 2.0), "AUXPAN": ("send pan", -1.0, 1.0)}
STAGES = {"ENV": " before effects", "ENV2": "", "ENV3": " trim"}
EFFECTS = ("VST", "AU", "JS", "CLAP", "LV2", "DX")
LINEAR, SQUARE, SLOW_START_END, FAST_START, FAST_END, BEZIER = range(6)
EASE = {SLOW_START_END: lambda x: x * x * (3 - 2 * x), FAST_START: lambda x: 1 - (1 - x) ** 3, FAST_END: lambda x: x ** 3}
PIECES = 16  # lines that a curved segment is drawn with
TEMPO_STEP_SECONDS = 0.25  # how finely a ramp of the tempo is cut into steps


@dataclass
class _Block:
    """A block of a project: the words of its first line and of its other lines, and the blocks in it."""

    head: list[str]
    lines: list[list[str]] = field(default_factory=list)
    blocks: list["_Block"] = field(default_factory=list)

    def word(self, name: str) -> str:
        return next((line[1] for line in self.lines if len(line) > 1 and line[0] == name), "")


def read_rpp(path: Path) -> Arrangement:
    """A REAPER project -> its track envelopes as lanes in beats, called 'track / parameter'; envelopes of takes are left out.

    Raises ValueError in one sentence for what is no project, is cut off or too large, and OSError where it cannot be read.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size / 1e6:.0f} MB; projects of at most {MAX_FILE_BYTES / 1e6:.0f} MB are read: save one "
                         "with only the automated tracks")
    project = _parse(path)
    try:
        beats, tempo = _tempo(project)
        lanes = [Lane.of(name, [(beats(t), value) for t, value in points], *span) for name, points, span in _envelopes(project)]
        markers = [(beats(_number(line, 2)), line[3]) for line in project.lines if line[0] == "MARKER" and len(line) > 3 and line[3]]
    except _Damaged as error:
        raise ValueError(f"{path.name} is damaged ({error}); open it in REAPER and save it again") from error
    return Arrangement(path.name, tuple(lanes), "beats", tempo, tuple(sorted(markers)))


class _Damaged(Exception):
    """A line that does not say what it has to."""


def _number(line: list[str], place: int, otherwise: float | None = None) -> float:
    """The number at a place of a line; `otherwise` where the line is shorter."""
    if place >= len(line) and otherwise is not None:
        return otherwise
    try:
        return float(line[place])
    except (ValueError, IndexError) as error:
        raise _Damaged(f"the line {' '.join(line)!r:.60} has no number as its word {place + 1}") from error


def _parse(path: Path) -> _Block:
    text = path.read_bytes().decode("utf-8", "replace")
    if not text.lstrip("\ufeff \r\n").startswith("<REAPER_PROJECT"):
        raise ValueError(f"{path.name} is not a REAPER project (it does not begin with <REAPER_PROJECT); give the .rpp file that REAPER saves")
    root = _Block([])
    opened = [root]
    for line in text.lstrip("\ufeff").splitlines():
        line = line.strip()
        if line.startswith("<"):
            opened.append(_Block(_words(line[1:])))
            opened[-2].blocks.append(opened[-1])
            if len(opened) > MAX_DEPTH:
                raise ValueError(f"{path.name} has blocks more than {MAX_DEPTH} deep, which no project has; open it in REAPER and save it again")
        elif line == ">" and len(opened) > 1:
            opened.pop()
        elif line[:1].isalpha() and line[:1].isupper():  # the rest is data of plug-ins and notes
            opened[-1].lines.append(_words(line))
    if len(opened) > 1:
        raise ValueError(f"{path.name} is cut off (its last block has no end); open it in REAPER and save it again")
    return root.blocks[0]


def _words(line: str) -> list[str]:
    return [next((word for word in found if word), "") for found in WORDS.findall(line)] or [""]


# ---- envelopes -----------------------------------------------------------------------------------------------------


def _envelopes(project: _Block) -> Iterator[tuple[str, list[tuple[float, float]], tuple]]:
    """Name, polyline in seconds and range (or nothing) of every envelope of the tracks and of the master."""
    for block in project.blocks:
        kind = block.head[0]
        if kind == "TRACK":
            yield from _envelopes_in(block, block.word("NAME") or "Track")
        elif _is_envelope(kind) and kind not in ("TEMPOENVEX", "MASTERPLAYSPEEDENV"):
            yield from _named_envelope(block, "Master", "")
        elif kind == "MASTERFXLIST":
            yield from _envelopes_in(block, "Master")


def _envelopes_in(parent: _Block, track: str) -> Iterator[tuple]:
    effect = ""
    for block in parent.blocks:
        if block.head[0] in EFFECTS:
            effect = next((word for word in block.head[1:] if word), block.head[0])
        elif _is_envelope(block.head[0]):
            yield from _named_envelope(block, track, effect)
        elif block.head[0] in ("FXCHAIN", "CONTAINER"):
            yield from _envelopes_in(block, track)


def _is_envelope(kind: str) -> bool:
    return re.fullmatch(r"[A-Z]+ENV(2|3|EX)?", kind) is not None


def _named_envelope(block: _Block, track: str, effect: str) -> Iterator[tuple]:
    points = _points(block)
    if not points:
        return
    kind, words = block.head[0], block.head
    if kind == "PARMENV":
        span = (_number(words, 2), _number(words, 3)) if len(words) > 3 else ()
        name = words[5].split(" / ")[0] if len(words) > 5 and words[5] else f"parameter {words[1].split(':')[0] if len(words) > 1 else '?'}"
        yield " / ".join(part for part in (track, effect, name) if part), points, span
    else:
        kind, stage = re.fullmatch(r"(?:MASTER)?([A-Z]+?)(ENV(?:2|3|EX)?)", kind).groups()
        name, *span = ENVELOPES.get(kind, (kind.lower(),))
        yield f"{track} / {name}{STAGES.get(stage, '') if kind in ('VOL', 'PAN', 'WIDTH') else ''}", points, span


def _points(block: _Block) -> list[tuple[float, float]]:
    """PT lines (seconds, value, shape of what follows, ..., tension) as a polyline."""
    found = [line for line in block.lines if line[0] == "PT"]
    points = [(_number(line, 1), _number(line, 2), _number(line, 3, LINEAR), _number(line, 7, 0.0)) for line in found]
    bounds, drawn = (min((point[1] for point in points), default=0.0), max((point[1] for point in points), default=0.0)), []
    for index, (time, value, shape, tension) in enumerate(points):
        drawn.append((time, value))
        if index + 1 == len(points) or shape == LINEAR:
            continue
        end_time, end_value = points[index + 1][:2]
        if shape == SQUARE:
            drawn.append((end_time, value))
        elif shape in EASE:
            shares = np.arange(1, PIECES) / PIECES
            drawn += zip((time + shares * (end_time - time)).tolist(), (value + EASE[shape](shares) * (end_value - value)).tolist())
        elif shape == BEZIER:
            drawn += bezier((time, value), *_controls(points, index, tension, bounds), (end_time, end_value))
    return drawn


def _controls(points: list[tuple], index: int, tension: float, bounds: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """The control points of a bezier segment: those of a cardinal spline, pulled by the tension (as the SWS extension computes
    them), and kept within the bounds of the envelope's values, so that no curve leaves its range."""
    (t0, v0), (t1, v1), (t2, v2), (t3, v3) = (points[min(max(index + k, 0), len(points) - 1)][:2] for k in (-1, 0, 1, 2))
    x1, x2 = t1 + (t2 - t1) / 4, t2 - (t2 - t1) / 4
    y1 = v1 + (v2 - v0) / (t2 - t0) * (x1 - t1) if t2 > t0 else v1
    y2 = v2 - (v3 - v1) / (t3 - t1) * (t2 - x2) if t3 > t1 else v2
    x1, x2 = (x + tension * ((t2 - x) if tension > 0 else (x - t1)) for x in (x1, x2))
    y1, y2 = (y - tension * ((y - v1) if tension > 0 else (v2 - y)) for y in (y1, y2))
    return tuple((min(max(x, t1), t2), min(max(y, bounds[0]), bounds[1])) for x, y in ((x1, y1), (x2, y2)))


def _tempo(project: _Block) -> tuple[Callable[[float], float], tuple[tuple[float, float], ...]]:
    """The tempo map: a function from seconds to beats, and its steps. Between its points the tempo stays (square) or moves
    evenly over the seconds."""
    head = next((line for line in project.lines if line[0] == "TEMPO" and len(line) > 1), ["TEMPO", "120"])
    map_block = next((block for block in project.blocks if block.head[0] == "TEMPOENVEX"), None)
    lane = Lane.of("tempo", (_points(map_block) if map_block else []) or [(0.0, _number(head, 1))])
    if lane.values.min() <= 0:
        raise _Damaged(f"a tempo is {lane.values.min():g}")
    grid = tempo_grid(lane, TEMPO_STEP_SECONDS)
    mean = (lane.at(grid[:-1], lane.values, "right") + lane.at(grid[1:], lane.values, "left")) / 2
    beats = np.concatenate([[0], np.cumsum(np.diff(grid) * mean / 60)])

    def beats_at(seconds: float) -> float:
        return float(np.interp(seconds, grid, beats)) + max(seconds - grid[-1], 0) * mean[-1] / 60 + min(seconds, 0) * mean[0] / 60

    return beats_at, tempo_steps(beats, grid)
