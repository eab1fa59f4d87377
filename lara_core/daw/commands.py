"""The commands `curve` and `export`: arguments go in, a curve or files for a DAW come out, and a few lines that say what they are."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..affect import Curve
from ..audio import check_output_path
from . import READ, TOLERANCE, Arrangement, read
from .export import export
from .lanes import Lane


def add_curve_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="IN", help=f"{', '.join(READ)}: an Ableton Live set, a MIDI file, a REAPER project, a curve or a table")
    add("-o", "--output", type=Path, metavar="OUT.json", help="the curve; generate --curve takes it")
    add("--list", action="store_true", help="only say which lanes, tempo and markers the file has")
    add("--lane", default="", metavar="NAME", help="look only at lanes that have this in their name: a track, a device")
    add("--valence-lane", metavar="NAME", help="without it the lane called valence; a whole name or a part of it")
    add("--arousal-lane", metavar="NAME", help="without it the lane called arousal")
    add("--range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="what becomes -1 and 1; without it what the file says")
    add("--tolerance", type=float, default=TOLERANCE, metavar="X", help=f"how far the thinned curve may be from what is drawn ({TOLERANCE:g})")


def curve(args: argparse.Namespace) -> str:
    """Do what add_curve_arguments describes -> what was found. Raises ValueError or OSError."""
    arrangement = read(args.file)
    if args.list:
        lanes = arrangement.within(args.lane)
        return "\n".join([f"{args.file}: {len(lanes)} lanes", *(f"  {_told(lane, arrangement)}" for lane in lanes),
                          *_time_told(arrangement)])
    if args.output is None:
        raise ValueError("-o is missing; give a name for the curve, or --list to see the lanes")
    output = check_output_path(args.output, (".json",))
    if output.resolve() == args.file.expanduser().resolve():
        raise ValueError(f"the output {output} would replace the file that is read; choose another name")
    if not 0 <= args.tolerance <= 1:
        raise ValueError(f"--tolerance is {args.tolerance:g}; give a number from 0 to 1")
    lanes = arrangement.emotion_lanes(args.valence_lane, args.arousal_lane, args.lane, args.range)
    found = arrangement.curve(*lanes, args.tolerance)
    found.save(output)
    return f"{output}: {told(found, lanes, arrangement, args.tolerance)}"


def told(curve: Curve, lanes: Sequence[Lane | None], arrangement: Arrangement, tolerance: float) -> str:
    """What a curve was made of, in lines: its points, the lanes with their ranges, tempo and markers."""
    points = "1 point" if len(curve.points) == 1 else f"{len(curve.points)} points"
    lines = [f"{points}, {curve.unit} {curve.points[0][0]:g} to {curve.points[-1][0]:g}, within {tolerance:g} of what is drawn"]
    for name, lane in zip(("valence", "arousal"), lanes):
        lines.append(f"  {name}: " + ("no lane, so it stays at 0" if lane is None else f"{_told(lane, arrangement)} became -1 to 1"))
    return "\n".join(lines + _time_told(arrangement))


def _told(lane: Lane, arrangement: Arrangement) -> str:
    return f"{lane.name} ({len(lane.times)} points, {arrangement.unit} {max(lane.times[0], 0):g} to {lane.times[-1]:g}, {lane.range_text})"


def _time_told(arrangement: Arrangement) -> list[str]:
    lines = []
    if len(arrangement.tempo) == 1:
        lines.append(f"  tempo: {arrangement.tempo[0][1]:g} quarter notes a minute")
    elif arrangement.tempo:
        bpm = [bpm for _, bpm in arrangement.tempo]
        lines.append(f"  tempo: {min(bpm):g} to {max(bpm):g} quarter notes a minute in {len(bpm)} steps")
    if arrangement.markers:
        lines.append("  markers: " + ", ".join(f"{time:g} {text}".strip() for time, text in arrangement.markers))
    return lines


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("piece", type=Path, metavar="PIECE.json", help="as generate wrote it; its WAV and MIDI lie beside it")
    add("--to", type=Path, required=True, metavar="OUT", help="a name that ends in .dawproject, or a folder for WAV, MIDI and .dawproject")
    add("--at", type=float, default=0.0, metavar="SECONDS", help="where the piece begins on the session's clock, for the WAV's time reference")


def export_piece(args: argparse.Namespace) -> str:
    """Do what add_export_arguments describes -> the files that were written. Raises ValueError or OSError."""
    return "\n".join(str(path) for path in export(args.piece, args.to, args.at))
