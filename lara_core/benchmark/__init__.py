"""Benchmark: emotional targets and systems go in; every piece is made and heard, and a folder of tables and plots comes out.

    targets x systems x texts x seeds -> [Piece] -> measure, each on its own, here or elsewhere -> pieces.jsonl -> report

Targets: `grid` (N x N points of valence and arousal), `human` (89 mean ratings of recordings by people, human_targets.csv says
whose) or `arcs` (the preset curves). Systems: `model` (the emotion goes to the AV encoder), `words` (the paper's baseline, arXiv
2510.05875: the nearest emotion words of the lexicon in the prompt instead), `none` (no emotion: the floor), `words+takes` (for a model
without an AV encoder: emotion words, and the best of some candidates for each segment; the predictor that chooses is the one that
measures, so its figures flatter it), another model folder, or a folder of sound files that some other system made. All systems get
the same seed for the same target and text.

pieces.jsonl is a journal of measurements, a line each, under a key of everything that determines it (weights, sources, SoundFont,
predictor, prompt, curve, length, seed). What is in it is not made again, so a run that was stopped goes on where it was.
"""
from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from pathlib import Path

from ..affect import write_atomic
from .plan import (ARCS, SECONDS, TARGETS, TEXTS, OF_CANDIDATES, Question, System, make_plan, make_targets, manifest_text, model_digest,
                   predictor_digest, read_systems)
from .report import write
from .run import measure_all

STRENGTHS = ("text_strength", "emotion_strength")
ARC_HOP_SECONDS = 1.0  # the predictor's windows where time matters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", default="embedded", metavar="NAME|PATH", help="the model of the systems model, words and none")
    add("--systems", nargs="+", default=["model", "words", "none"], metavar="SYSTEM",
        help="model, words, none, NAME=MODEL, NAME=words:MODEL, NAME=none:MODEL, NAME=tries:MODEL (the best of --candidates), "
        "NAME=words+takes:MODEL, NAME=wavs:FOLDER; default: model words none")
    add("--targets", choices=TARGETS, default="grid", help="grid (default), human: rated clips, arcs: the presets, drawn: arcs that nobody has chosen")
    add("--grid", type=int, default=7, metavar="N", help="N x N points of valence and arousal (default 7)")
    add("--texts", nargs="+", default=TEXTS, metavar="TEXT", help=f"default: {', '.join(TEXTS)}")
    add("--seeds", type=int, default=1, metavar="N", help="pieces for each target and text")
    add("--candidates", type=int, default=4, metavar="N", help="for each segment of a system of tries or words+takes (default 4)")
    for name in STRENGTHS:
        add("--" + name.replace("_", "-"), type=float, metavar="X", help="of all systems; without it the default of `lara generate`")
    add("--seconds", type=float, metavar="S", help="length of a piece; 30, of arcs 60")
    add("--fad-reference", type=Path, metavar="FOLDER", help="music to take the Frechet audio distance from")
    add("--predictor", metavar="FOLDER", help="another Emotion Predictor than the embedded one")
    add("--soundfont", metavar="SF2")
    add("--device", choices=("cpu", "cuda", "auto"), default="cpu")
    add("--jobs", type=int, default=1, metavar="N", help="processes of one thread each")
    add("--ray", metavar="ADDRESS|local", help="a Ray cluster, or --jobs workers of a local one")
    add("--keep-audio", action="store_true", help="in DIR/audio")
    add("--write-manifest", type=Path, metavar="FILE.csv", help="only write what another system has to make")
    add("-o", "--output", type=Path, metavar="DIR", help="an earlier run in it goes on")


def main(args: argparse.Namespace, command: str, versions: dict, progress: Callable) -> str:
    """Run what add_arguments describes -> a sentence that says where the results are. Raises ValueError or OSError."""
    seconds = SECONDS[args.targets] if args.seconds is None else args.seconds
    strengths = tuple((name, value) for name in STRENGTHS if (value := getattr(args, name)) is not None)
    question = Question(make_targets(args.targets, args.grid), args.texts, args.seeds, seconds, args.predictor,
                        ARC_HOP_SECONDS if args.targets in ARCS else None, args.device, args.soundfont, args.candidates, strengths)
    if args.write_manifest is not None:
        write_atomic(args.write_manifest, manifest_text(question).encode())
        return f"{args.write_manifest}: {sum(1 for _ in question.cells())} pieces to make"
    if args.output is None:
        raise ValueError("-o is missing; give a folder for the results")
    if not 1 <= args.jobs <= 1024:
        raise ValueError(f"--jobs is {args.jobs}; use a whole number from 1 to 1024")
    systems = read_systems(args.systems, args.model)
    if args.fad_reference is not None and not args.fad_reference.is_dir():
        raise ValueError(f"--fad-reference {args.fad_reference} is not a folder; give one with music in it")
    pieces = make_plan(question, systems, args.fad_reference)
    args.output.mkdir(parents=True, exist_ok=True)
    measured = measure_all(pieces, args.output, args.jobs, args.ray, args.keep_audio, progress)
    facts = {"command": command, "targets": f"{args.targets}, {len(question.targets)}", "texts": ", ".join(question.texts),
             "seeds": question.seeds, "seconds": seconds} | dict(strengths)
    if any(system.kind in OF_CANDIDATES for system in systems):
        facts["candidates"] = args.candidates
    facts |= {f"system {system.name} {system.replicate}": described(system, args.soundfont) for system in systems}
    facts |= {"predictor": f"{args.predictor or 'embedded'} ({', '.join(predictor_digest(args.predictor))})",
              "versions": ", ".join(f"{name} {value}" for name, value in versions.items()), "machine": machine()}
    return write(args.output, pieces, measured, facts)


def described(system: System, soundfont: str | None) -> str:
    """What a report says of a system: how it is asked, and its model with the digests of weights, config and SoundFont."""
    kind = "emotion to the model" if system.kind == "emotion" else system.kind
    return f"{kind}, {system.path.name}" + ("" if system.kind == "wavs" else f" ({', '.join(model_digest(str(system.path), soundfont))})")


def machine() -> str:
    """Processor and cores, as Linux tells; elsewhere what platform knows."""
    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.is_file():
        name = next((line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")), name)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}{load}"
