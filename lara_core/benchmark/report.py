"""Benchmark report: planned pieces and what was measured of them go in; a table a piece, a summary with intervals, Markdown and plots come out.

Intervals are percentile bootstraps of score.py. The unit that is drawn is the target, with all its pieces (texts, seeds, replicates):
those of one target are not independent, and every draw holds each text and seed equally often. So the intervals speak of other
targets, not of other texts or training runs. Differences between systems draw the same targets, and the same pieces, for both.
"""
from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from .. import score
from ..affect import Curve, write_atomic
from ..plot import plot_arcs, plot_scatter
from ..score import DIMENSIONS
from .plan import MOVES, REFERENCE, Piece
from .run import JOURNAL

LEVELS, RESAMPLES = (0.95, 0.90), 1000
ASKED, GOT = DIMENSIONS, tuple(f"measured_{name}" for name in DIMENSIONS)
ARC_MEASURES = ("windowed_r", "pearson", "rmse", "dtw", "lag_seconds", "lag_bars")
MOVING, OF_MOVING = "moving", ("windowed_r", "pearson")
ROW = ("system", "replicate", "target", "text", "seed", "seconds", *ASKED, *GOT, "music", "level_db", "bar_seconds")
SUMMARY = ("system", "scope", "dimension", "measure", "value", "low_95", "high_95", "low_90", "high_90", "pieces", "targets")
NAN = math.nan


# ---- rows ----------------------------------------------------------------------------------------------------------


def rows_of(pieces: Sequence[Piece], measured: Mapping[str, dict]) -> list[dict]:
    """A row of results.csv for each piece in the order of the plan. An arc's valence and arousal are means over its time."""
    rows = []
    for piece in pieces:
        entry = measured[piece.job.key]
        row = {"system": piece.system, "replicate": piece.replicate, "target": piece.target.name, "text": piece.text, "seed": piece.seed,
               **{name: entry.get(name) for name in ("seconds", "music", "level_db", "bar_seconds")}, **dict.fromkeys(GOT, NAN)}
        length = entry.get("seconds") or piece.job.seconds or 1.0  # no matter for a normalized curve
        row |= dict(zip(ASKED, piece.target.curve.at(np.linspace(0, length, 241), length).mean(0, dtype=float).round(6).tolist()))
        problem = entry["problem"] or (None if entry["point"] else "not music")
        if not problem:
            row |= dict(zip(GOT, entry["point"]))
            if piece.target.point is None:
                try:
                    row |= followed(piece.target.curve, entry["seconds"], (np.array(entry["times"]), np.array(entry["values"])), entry.get("bar_seconds"))
                except ValueError as error:
                    problem = str(error)
        rows.append(row | {"problem": problem or "", "prompt": piece.job.prompt, "key": piece.job.key})
    return rows


def followed(curve: Curve, seconds: float, heard: tuple[np.ndarray, np.ndarray], bar_seconds: float | None) -> dict:
    """How far a curve moves and how it was followed by what was heard, times [W] and values [W,2], as `valence_moves`, `valence_windowed_r` and so
    on; lag_bars is how far off, early or late, NaN without bars."""
    times = np.arange(0, seconds + score.STEP_SECONDS / 2, score.STEP_SECONDS)
    asked = times, curve.at(times, seconds)
    result = score.evaluate_curve(asked, heard)
    moves = dict(zip((f"{name}_moves" for name in DIMENSIONS), asked[1].std(0, dtype=float).round(4).tolist()))
    return moves | {f"{name}_{measure}": abs(result[name]["lag_seconds"]) / (bar_seconds or NAN) if measure == "lag_bars" else result[name][measure]
            for name in DIMENSIONS for measure in ARC_MEASURES}


# ---- summary -------------------------------------------------------------------------------------------------------


def units(targets: Sequence[str]) -> np.ndarray:
    """The targets of N rows -> the rows of each [targets, most rows of one], padded with -1: what a bootstrap draws."""
    names = list(dict.fromkeys(targets))
    members = [[i for i, target in enumerate(targets) if target == name] for name in names]
    width = max(map(len, members))
    return np.array([rows + [-1] * (width - len(rows)) for rows in members])


def estimate(statistic: Callable[..., float], columns: Sequence[np.ndarray], targets: Sequence[str]) -> dict:
    """statistic(*columns) over N rows -> {"value", "low_95", ..., "pieces": N, "targets"}; NaN limits below 4 targets."""
    drawn = units(targets)
    result = {"value": statistic(*columns), "pieces": len(targets), "targets": len(drawn)}
    if len(drawn) < 4:
        return result | {f"{side}_{level * 100:.0f}": NAN for level in LEVELS for side in ("low", "high")}

    def of_rows(rows: np.ndarray) -> float:
        rows = rows[rows >= 0].astype(int)
        return statistic(*(column[rows] for column in columns))

    for found in score.bootstrap_levels(of_rows, [drawn], levels=LEVELS, resamples=RESAMPLES):
        result |= {f"low_{found.level * 100:.0f}": found.low, f"high_{found.level * 100:.0f}": found.high}
    return result


def _of(dimension: int, metric: Callable[..., float]) -> Callable[..., float]:
    return lambda asked, got: metric(asked[:, dimension], got[:, dimension])


def _leak(dimension: int) -> Callable[..., float]:
    """Standardised weight of the other request: the plain correlation where the two requests are not correlated."""
    return lambda asked, got: score.cross_leak(asked, got)[DIMENSIONS[dimension]][f"on_{DIMENSIONS[1 - dimension]}"]


def mean_r(asked: np.ndarray, got: np.ndarray) -> float:
    return (score.pearson(asked[:, 0], got[:, 0]) + score.pearson(asked[:, 1], got[:, 1])) / 2


POINT_MEASURES = {(name, measure): _of(k, metric) for measure, metric in (("pearson", score.pearson), ("concordance", score.concordance),
                                                                           ("rmse", score.rmse), ("mae", score.mae))
                  for k, name in enumerate(DIMENSIONS)}
POINT_MEASURES |= {(name, "leak"): _leak(k) for k, name in enumerate(DIMENSIONS)}
POINT_MEASURES |= {("both", "mean_r"): mean_r, ("both", "adherence"): score.adherence}
BY_TEXT = {key: POINT_MEASURES[key] for key in (("valence", "pearson"), ("arousal", "pearson"))}
COMPARED = BY_TEXT | {key: POINT_MEASURES[key] for key in (("both", "mean_r"), ("valence", "rmse"), ("arousal", "rmse"))}


def _planes(rows: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array([[row[name] for name in names] for row in rows], float).reshape(-1, 2) for names in (ASKED, GOT))


def summarise(rows: Sequence[dict], arcs: bool) -> list[dict]:
    """Rows without a problem -> records of SUMMARY: each system, its texts and replicates, and each pair of systems."""
    systems = {name: [row for row in rows if row["system"] == name] for name in dict.fromkeys(row["system"] for row in rows)}
    return [record for name, own in systems.items() for record in _of_system(name, own, arcs)] + [
        record for a, b in itertools.combinations(systems, 2) for record in _difference(a, systems[a], b, systems[b], arcs)]


def _of_system(name: str, rows: list[dict], arcs: bool) -> list[dict]:
    if arcs:
        return _of_arcs(name, rows)
    parts = [("all", rows, POINT_MEASURES)]
    for column in ("text", "replicate"):
        values = list(dict.fromkeys(row[column] for row in rows))
        parts += [(f"{column}: {value}", [row for row in rows if row[column] == value], BY_TEXT) for value in values if len(values) > 1]
    return [{"system": name, "scope": scope, "dimension": dimension, "measure": measure}
            | estimate(statistic, _planes(own), [row["target"] for row in own])
            for scope, own, measures in parts if len(own) >= 4 for (dimension, measure), statistic in measures.items()]


def _of_arcs(name: str, rows: list[dict]) -> list[dict]:
    records = []
    some_stand = min(row[f"{dimension}_moves"] for row in rows for dimension in DIMENSIONS) < MOVES
    scopes = {"all": ARC_MEASURES} | ({MOVING: OF_MOVING} if some_stand else {})
    for scope, dimension, measure in ((scope, *cell) for scope, measures in scopes.items() for cell in itertools.product(DIMENSIONS, measures)):
        known = [row for row in rows if not math.isnan(row[f"{dimension}_{measure}"]) and (scope == "all" or row[f"{dimension}_moves"] >= MOVES)]
        values = np.array([row[f"{dimension}_{measure}"] for row in known])
        for what, statistic in (("median", np.median), ("q25", lambda x: np.quantile(x, 0.25)), ("q75", lambda x: np.quantile(x, 0.75))):
            if known:
                records.append({"system": name, "scope": scope, "dimension": dimension, "measure": f"{measure} {what}"}
                               | estimate(statistic, (values,), [row["target"] for row in known]))
    return records


def _difference(a: str, rows_a: list[dict], b: str, rows_b: list[dict], arcs: bool) -> list[dict]:
    """a - b over the pieces that both have."""
    of_b = {_cell(row): row for row in rows_b}
    pairs = [(row, of_b[_cell(row)]) for row in rows_a if _cell(row) in of_b]
    head = {"system": f"{a} - {b}", "scope": "paired"}
    records = []
    if not arcs and len(pairs) >= 4:
        asked, got_a = _planes([pair[0] for pair in pairs])
        got_b = _planes([pair[1] for pair in pairs])[1]
        for (dimension, measure), metric in COMPARED.items():
            def statistic(asked, got_a, got_b, metric=metric):
                return metric(asked, got_a) - metric(asked, got_b)

            records.append(head | {"dimension": dimension, "measure": measure}
                           | estimate(statistic, (asked, got_a, got_b), [pair[0]["target"] for pair in pairs]))
    for dimension in DIMENSIONS if arcs else ():
        column = f"{dimension}_windowed_r"
        known = [pair for pair in pairs if not math.isnan(pair[0][column] + pair[1][column])]
        if known:
            columns = tuple(np.array([pair[side][column] for pair in known]) for side in (0, 1))
            records.append(head | {"dimension": dimension, "measure": "windowed_r median"}
                           | estimate(lambda x, y: float(np.median(x) - np.median(y)), columns, [p[0]["target"] for p in known]))
    return records


def _cell(row: dict) -> tuple:
    return row["target"], row["text"], row["seed"], row["replicate"]


def distances(pieces: Sequence[Piece], measured: Mapping[str, dict]) -> list[dict]:
    """Frechet audio distance of each system from the reference, a row of features a piece; without interval, see score.bootstrap."""
    features: dict[str, list] = {}
    for piece in pieces:
        if not measured[piece.job.key]["problem"]:
            features.setdefault(piece.system, []).append(measured[piece.job.key]["features"])
    reference, records = features.pop(REFERENCE, []), []
    for name, own in features.items():
        if min(len(own), len(reference)) >= 8:
            found = score.frechet_audio_distance(np.array(reference), np.array(own))
            scope = f"n {found.n_measured} against {found.n_reference}, width {found.width}"
            records += [{"system": name, "scope": scope, "dimension": "both", "measure": measure, "value": getattr(found, measure),
                         "pieces": found.n_measured} for measure in ("fad", "fad_infinity")]
    return records


# ---- files ---------------------------------------------------------------------------------------------------------


def write(folder: Path, pieces: Sequence[Piece], measured: Mapping[str, dict], facts: Mapping[str, object]) -> str:
    """results.csv, summary.csv, report.md and the plots in `folder`, each whole or not at all -> a sentence about them.

    Raises ValueError where no piece could be measured.
    """
    own = [piece for piece in pieces if piece.system != REFERENCE]
    rows = rows_of(own, measured)
    good, bad = [row for row in rows if not row["problem"]], [row for row in rows if row["problem"]]
    broken_reference = [f"{piece.target.name}: {problem}" for piece in pieces
                        if piece.system == REFERENCE and (problem := measured[piece.job.key]["problem"])]
    if not good:
        raise ValueError(f"none of the {len(rows)} pieces could be measured; the first: {bad[0]['problem']}")
    arcs = any(piece.target.point is None for piece in own)
    if arcs:
        good = [row for row in good if "valence_windowed_r" in row]
    summary = summarise(good, arcs) + distances(pieces, measured)
    columns = ROW + (tuple(f"{name}_{measure}" for name in DIMENSIONS for measure in ("moves", *ARC_MEASURES)) if arcs else ())
    write_atomic(folder / "results.csv", _csv(rows, (*columns, "problem", "prompt", "key")))
    write_atomic(folder / "summary.csv", _csv(summary, SUMMARY))
    plots = _plots(folder, own, good, measured, arcs)
    write_atomic(folder / "report.md", _markdown(rows, good, summary, facts, plots, broken_reference, arcs).encode())
    missing = f"; {len(bad)} could not be measured, see report.md" if bad or broken_reference else ""
    return f"{folder / 'report.md'}: {len(good)} of {len(rows)} pieces{missing}"


def _csv(rows: Sequence[dict], columns: Sequence[str]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    return out.getvalue().encode()


def _plots(folder: Path, pieces: Sequence[Piece], good: list[dict], measured: Mapping[str, dict], arcs: bool) -> list[str]:
    systems = dict.fromkeys(row["system"] for row in good)
    if not arcs:
        of_system = {name: [row for row in good if row["system"] == name] for name in systems}
        plot_scatter(folder / "scatter.png", {name: (*_planes(own), [row["text"] for row in own]) for name, own in of_system.items()})
        return ["scatter.png"]
    usable = {row["key"] for row in good}
    for name in systems:
        tracks: dict[str, tuple] = {}
        for piece in (piece for piece in pieces if piece.system == name and piece.job.key in usable):
            entry = measured[piece.job.key]
            tracks.setdefault(piece.target.name, (piece.target.curve, []))[1].append(
                (np.array(entry["times"]) / entry["seconds"], np.array(entry["values"])))
        plot_arcs(folder / f"arcs-{name}.png", tracks, name)
    return [f"arcs-{name}.png" for name in systems]


def _markdown(rows, good, summary, facts, plots, broken_reference, arcs: bool) -> str:
    found = {(r["system"], r["scope"], r["dimension"], r["measure"]): r for r in summary}
    systems = list(dict.fromkeys(row["system"] for row in rows))
    lines = ["# Benchmark: emotion requested and measured", "", *(f"- {name}: `{value}`" for name, value in facts.items()), ""]
    lines += [f"Values with 95 % bootstrap intervals over targets, {RESAMPLES} resamples (summary.csv has 90 % too). The predictor brings every "
              "piece to one level before it listens, so loudness cannot pass for arousal: every arousal figure here is one at equal loudness.", ""]
    if arcs:
        some_stand = any(scope == MOVING for _, scope, *_ in found)
        lines += ["## Arcs: median over pieces [95 %], then quartiles", "",
                  *_table(["measure", *(f"{name} (n={_count(good, name, rows)})" for name in systems)], [
                      [f"{d} {m}", *(_median(found, name, "all", d, m) for name in systems)] for m in ARC_MEASURES for d in DIMENSIONS] + [
                      [f"{d} {m}, of arcs that move", *(_median(found, name, MOVING, d, m) for name in systems)] for m in OF_MOVING for d in DIMENSIONS if some_stand]),
                  "windowed_r: mean r of 10 s windows; lag_seconds: positive is late; lag_bars: how far off, early or late; dtw: error without "
                  f"timing; arcs that move: those along which the request has a standard deviation of {MOVES} or more. The predictor averages over several seconds, so fast turns are measured flatter than they are.", ""]
        lines += ["## Windowed r by arc: median over texts and seeds (valence, arousal), and the standard deviations of the request", "", *_by_arc(good, systems)]
    else:
        keys = list(POINT_MEASURES)
        lines += ["## Points", "", *_table(["measure", *(f"{name} (n={_count(good, name, rows)})" for name in systems)], [
            [f"{d} {m}", *(_cell_text(found.get((name, "all", d, m))) for name in systems)] for d, m in keys]),
            "pearson: r; concordance: Lin's; rmse, mae: on the scale -1 to 1; leak: how far the other request moves this dimension "
            "(standardised weight, 0 is none); adherence: 1 exact, 0 as good as chance.", ""]
        scopes = [scope for scope in dict.fromkeys(r["scope"] for r in summary) if scope.startswith(("text: ", "replicate: "))]
        if scopes:
            lines += ["## Parts", "", *_table(["part", *(f"{name} r {d}" for name in systems for d in DIMENSIONS)], [
                [scope, *(_cell_text(found.get((name, scope, d, "pearson"))) for name in systems for d in DIMENSIONS)] for scope in scopes])]
    pairs = [r for r in summary if r["scope"] == "paired"]
    if pairs:
        lines += ["## Differences, paired", "", *_table(["systems", "measure", "difference [95 %]", "[90 %]", "n"], [
            [r["system"], f"{r['dimension']} {r['measure']}", _cell_text(r), _limits(r, 90), f"{r['pieces']} pieces, {r['targets']} targets"]
            for r in pairs])]
    fads = [r for r in summary if r["measure"].startswith("fad")]
    if fads:
        lines += ["## Frechet audio distance on listener features", "", *_table(["system", "measure", "value", "n"], [
            [r["system"], r["measure"], f"{r['value']:.2f}", r["scope"]] for r in fads]),
            "One row of features a piece, at one level. fad_infinity takes the small-sample bias out; with n below about twice the width it "
            "is still too high.", ""]
    if broken_reference or len(rows) > len(good):
        lines += [f"## Not measured: {len(rows) - len(good)} of {len(rows)} pieces, {len(broken_reference)} reference files", ""]
        lines += [f"- {row['system']} {row['target']} {row['text']} {row['seed']}: {row['problem']}" for row in rows if row["problem"]]
        lines += [f"- reference {text}" for text in broken_reference] + [""]
    return "\n".join([*lines, *(f"![{name}]({name})" for name in plots), "", f"Measurements: {JOURNAL}; a row a piece: results.csv.", ""])


def _by_arc(good: list[dict], systems: list[str]) -> list[str]:
    def cell(arc: str, name: str) -> str:
        own = [row for row in good if (row["target"], row["system"]) == (arc, name)]
        values = [np.array([row[f"{d}_windowed_r"] for row in own]) for d in DIMENSIONS]
        return ", ".join(f"{np.median(v[~np.isnan(v)]):.2f}" if (~np.isnan(v)).any() else "-" for v in values)

    arcs = {row["target"]: ", ".join(f"{row[f'{d}_moves']:.2f}" for d in DIMENSIONS) for row in good}
    return _table(["arc", "moves by", *systems], [[arc, moves, *(cell(arc, name) for name in systems)] for arc, moves in arcs.items()])


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    cells = [[str(cell).replace("|", "/") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *cells)] + [""]


def _count(good: list[dict], name: str, rows: list[dict]) -> str:
    count, planned = (sum(row["system"] == name for row in some) for some in (good, rows))
    return str(count) if count == planned else f"{count} of {planned}"


def _limits(record: dict, level: int) -> str:
    low, high = record.get(f"low_{level}", NAN), record.get(f"high_{level}", NAN)
    return "" if math.isnan(low) else f"[{low:.2f}, {high:.2f}]"


def _cell_text(record: dict | None) -> str:
    return "-" if record is None or math.isnan(record["value"]) else f"{record['value']:.2f} {_limits(record, 95)}".strip()


def _median(found: dict, name: str, scope: str, dimension: str, measure: str) -> str:
    median, *quartiles = (found.get((name, scope, dimension, f"{measure} {what}")) for what in ("median", "q25", "q75"))
    return "-" if median is None else f"{_cell_text(median)}; {' to '.join(format(record['value'], '.2f') for record in quartiles)}"
