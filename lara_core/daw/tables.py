"""Curves as text: a curve's JSON, the JSON beside a piece, or a table of numbers (CSV) goes in; an Arrangement comes out."""

import csv
import json
from pathlib import Path

import numpy as np

from ..affect import MAX_POINTS, Curve
from .lanes import Arrangement, Lane

MAX_FILE_BYTES = 32_000_000
UNITS = {"beats": "beats", "beat": "beats", "seconds": "seconds", "second": "seconds", "s": "seconds", "t": "seconds", "time": "seconds",
         "normalized": "normalized", "normalised": "normalized"}
PIECES = 16  # lines that a smooth segment is drawn with


def read_json(path: Path) -> Arrangement:
    """A curve's JSON, or that of a piece, whose curve is taken -> lanes 'valence' and 'arousal', in the curve's own unit."""
    try:
        source = json.loads(_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON ({error}); give a curve's .json or that of a piece") from error
    if isinstance(source, dict) and source.get("format") == "lara-piece":
        source = source.get("curve")
        if source is None:
            raise ValueError(f"{path.name} is a piece that was made without a curve; give one with a curve")
    try:
        curve = Curve.from_json(source)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    t = np.array([point[0] for point in curve.points])
    if curve.interpolation == "smooth" and len(t) > 1:
        pieces = max(min(PIECES, MAX_POINTS // len(t)), 1)
        t = np.unique(np.concatenate([np.linspace(a, b, pieces + 1) for a, b in zip(t, t[1:])]))
    values = curve.at(t, 1.0, 60.0).astype(np.float64)  # one second is then one beat and the whole, so t is in every unit
    lanes = []
    for name, column in zip(("valence", "arousal"), values.T.tolist()):
        points = list(zip(t.tolist(), column))
        if curve.interpolation == "hold":
            points = [point for (a, value), (b, _) in zip(points, [*points[1:], points[-1]]) for point in ((a, value), (b, value))]
        lanes.append(Lane.of(name, points, -1, 1))
    return Arrangement(path.name, tuple(lanes), curve.unit)


def read_csv(path: Path) -> Arrangement:
    """A table with a head row -> a lane for every column of numbers behind the first, which is called beats, seconds or normalized.

    Values from -1 to 1 are taken as they stand. Commas, semicolons (then with decimal commas) and tabs separate. Raises ValueError
    with the row and column of what is no number.
    """
    text = _bytes(path).decode("utf-8-sig", "replace")
    head = text.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=separator)]
    except csv.Error as error:
        raise ValueError(f"{path.name} is not a table ({error}); save it as CSV") from error
    rows = [row for row in rows if any(row)]
    if len(rows) < 2 or len(rows[0]) < 2:
        raise ValueError(f"{path.name} has no table; give a head row such as 'beats,valence,arousal' and a row of numbers for each point")
    if len(rows) > MAX_POINTS:
        raise ValueError(f"{path.name} has {len(rows)} rows; at most {MAX_POINTS} are read: thin it out")
    names, unit = rows[0], UNITS.get(rows[0][0].casefold())
    if unit is None:
        raise ValueError(f"the first column of {path.name} is called {names[0]!r:.40}; call it beats, seconds or normalized, for what it counts")
    table = np.array([[_number(path, row, cells, column, names, separator) for column in range(len(names))]
                      for row, cells in enumerate(rows[1:], 2)])
    if np.any(np.diff(table[:, 0]) < 0):
        row = int(np.argmax(np.diff(table[:, 0]) < 0)) + 3
        raise ValueError(f"row {row} of {path.name} is earlier than the row before it; sort the rows by {names[0]}")
    lanes = (Lane.of(name or f"column {column}", table[:, [0, column]], -1, 1) for column, name in enumerate(names) if column)
    return Arrangement(path.name, tuple(lanes), unit)


def _number(path: Path, row: int, cells: list[str], column: int, names: list[str], separator: str) -> float:
    cell = cells[column] if column < len(cells) else ""
    try:
        value = float(cell.replace(",", ".") if separator == ";" else cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"row {row} of {path.name} has {cell!r:.40} for {names[column]!r:.40}; give a number in every cell")
    return value


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size / 1e6:.0f} MB; at most {MAX_FILE_BYTES / 1e6:.0f} MB are read: thin it out")
    return path.read_bytes()
