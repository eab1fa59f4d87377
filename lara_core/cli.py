"""The command line: arguments go in; a WAV with its MIDI, JSON and picture comes out, or a table, or a report.

    python -m lara_core generate --prompt "solo piano" --preset calm-tense-resolve --seconds 60 -o piece.wav
    python -m lara_core score piece.wav other.mp3 --report scores.html

Everything that can be wrong is looked at before a model is loaded, and torch is imported after everything that can be judged
without it. A wrong input is one sentence on stderr and exit code 2; Ctrl-C is exit code 130. A piece's files appear together
when all of them are whole.
"""

import argparse
import dataclasses
import json
import logging
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__, making
from .choices import EMBEDDED
from .options import add_emotion, asked_curve, device_of, limit_threads, pitch_class, progress, sentence, whole


def run() -> int:
    """Entry point of the process: as main, and a polite kill cleans up as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return main(sys.argv[1:])


def main(argv: Sequence[str]) -> int:
    """Run one command -> exit code: 0, 2 for a wrong input, 130 where it was interrupted."""
    logging.basicConfig(format="lara: %(message)s")
    try:
        parser = _parser()
        args, rest = parser.parse_known_args(argv)
        if rest and not args.passes_on:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        args.rest = rest
        return args.command(args) or 0
    except KeyboardInterrupt:
        print("lara: stopped; whatever was not finished is not written.", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"lara: {sentence(error)}", file=sys.stderr)
        return 2


# ---- arguments -----------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lara", allow_abbrev=False, description="Music that follows a curve of valence and arousal.")
    parser.add_argument("--version", action="version", version=f"lara {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function, text: str, **options) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False, **options)
        sub.set_defaults(command=function, passes_on=not sub.add_help)  # its own options, which its own parser knows
        return sub

    making.add_arguments(command("generate", making.generate, "make a piece: WAV, MIDI, JSON and a picture"))
    _add_score(command("score", score, "measure sound files, and how well they follow a curve"))
    sub = command("info", info, "say what a model is")
    sub.add_argument("model", nargs="?", help="name or folder; without it the embedded model")
    sub.add_argument("--soundfont", type=Path, metavar="SF2")
    command("models", models, "list the models that are installed")
    command("emotions", emotions, "list the emotion words and the preset curves")
    command("curve", curve, "read automation of a DAW (.als, .mid, .rpp, .json, .csv) as an emotion curve", add_help=False)
    command("export", export, "write a piece as .dawproject, or as a folder of files for a DAW", add_help=False)
    command("live", live, "play with a DAW over OSC: its curve is recorded, and music follows it bar by bar", add_help=False)
    command("bench-emotion", bench_emotion, "compare systems on emotional targets", add_help=False)
    command("train", train, "train a model; all options are those of `python -m training.train`", add_help=False)
    return parser


def _add_score(sub: argparse.ArgumentParser) -> None:
    add = sub.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="WAV, FLAC, OGG or MP3")
    add_emotion(sub, "what was asked for, one of these; without any the curve in the piece's own JSON, where it lies beside it")
    add("--tempo", type=float, metavar="BPM", help="for a curve in beats")
    add("--prompt", metavar="TEXT", help="what the text was, for titles and --clap; without it that of the piece's JSON")
    add("--clap", metavar="FOLDER|HUB/ID", help="also how well sound and text agree, by this CLAP model")
    add("--json", action="store_true", help="everything as JSON, on the standard output")
    add("--plot", type=Path, metavar="OUT.png", help="requested and measured over the waveform; OUT-NAME.png for several files")
    add("--report", type=Path, metavar="OUT.html", help="one page about all files, with their pictures in it")


# ---- score ---------------------------------------------------------------------------------------------------------


def score(args: argparse.Namespace) -> int:
    """Score every file that can be heard; one sentence for each that cannot -> 2 if there was any, else 0."""
    from .audio import check_output_path

    curve = asked_curve(args)
    if args.tempo is not None and not 0 < args.tempo < float("inf"):
        raise ValueError(f"--tempo is {args.tempo}; give the beats per minute, above 0")
    if curve is not None and curve.unit == "beats" and args.tempo is None:
        raise ValueError(f"the curve {args.curve} is in beats; give the tempo with --tempo BPM")
    for path, suffix in ((args.plot, ".png"), (args.report, ".html")):
        if path is not None:
            check_output_path(path, (suffix,))
    limit_threads()
    from . import report

    clap = None
    if args.clap is not None:
        from .clap import TextAudio
        clap = TextAudio(args.clap)
    asked = "" if curve is None else next((f"{name} {value}" for name in ("curve", "preset", "emotion") if (value := getattr(args, name))), "a point")
    pieces, failed, files = [], [], [path.expanduser() for path in args.files]
    for path, png in zip(files, report.plot_paths(args.plot or Path(".png"), files)):
        try:
            pieces.append(report.score_file(path, curve, args.tempo, asked, args.prompt or "", clap))
            if args.plot is not None:
                report.draw(pieces[-1], png, report.envelope(path))
        except (ValueError, OSError) as error:
            failed.append((path, sentence(error)))
            print(f"lara: {sentence(error)}", file=sys.stderr)
            continue
        if not args.json:
            print(report.in_words(pieces[-1]) + "\n")
    if args.json:
        told = {"files": [report.as_json(piece) for piece in pieces], "failed": [{"file": str(path), "error": said} for path, said in failed]}
        print(json.dumps(told, indent=1, allow_nan=False))
    elif len(pieces) > 1:
        print(report.ranking([(str(piece.path), piece.score) for piece in pieces]))
    if args.report is not None:
        report.write_html(args.report, pieces, failed)
    return 2 if failed else 0


# ---- the other commands --------------------------------------------------------------------------------------------


def info(args: argparse.Namespace) -> None:
    limit_threads()
    from .checkpoint import CARD, load_model
    from .codec import load_codec
    from .pipeline import find_model

    folder = find_model(args.model or EMBEDDED)
    decoder, config = load_model(folder)
    codec = load_codec(config.codec, folder, args.soundfont)
    font = getattr(codec, "soundfont", None)
    rows = {"model": folder.name, "folder": folder, "parameters": f"{sum(p.numel() for p in decoder.parameters()):,}",
            "codec": f"{type(codec).__name__}, {codec.n_codebooks} codebooks of {codec.codebook_size}, {codec.frame_rate_hz:g} frames/s, "
                     f"{codec.sample_rate_hz} Hz, {codec.channels} channels",
            "SoundFont": "none" if font is None else f"{font.name} ({font.digest}), {font.path}"}
    rows |= {name: _facts(part) for name, part in (("decoder", dataclasses.asdict(config.decoder)), ("codec config", config.codec),
                                                   ("text", config.text), ("made with", config.extra))}
    for name, value in rows.items():
        print(f"{name:<14}{value}")
    if (folder / CARD).is_file():
        head = (folder / CARD).read_text(encoding="utf-8").split("\n## ")[0].strip()
        print(f"\n{head}")


def _facts(part: dict) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in part.items()) or "-"


def models(_args: argparse.Namespace) -> None:
    from .checkpoint import list_models
    from .pipeline import SHIPPED_MODELS

    found = list_models([SHIPPED_MODELS])
    for name, folder in found.items():
        size_mb = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
        print(f"{name:<20}{size_mb:8.1f} MB  {folder}")
    if not found:
        print(f"No model is installed in {SHIPPED_MODELS}.")


def emotions(_args: argparse.Namespace) -> None:
    from .affect import EMOTIONS, PRESETS

    print("word              valence  arousal")
    for name, (valence, arousal) in sorted(EMOTIONS.items()):
        print(f"{name:<18}{valence:+7.2f}  {arousal:+7.2f}")
    print("\npreset              share of the length: valence, arousal")
    for name, curve in PRESETS.items():
        print(f"{name:<20}" + "  ".join(f"{t:g}: {valence:+.2f}, {arousal:+.2f}" for t, valence, arousal in curve.points))


def curve(args: argparse.Namespace) -> None:
    from .daw import commands

    parser = _Parser(prog="lara curve", allow_abbrev=False, description="Read automation of a DAW as an emotion curve.")
    commands.add_curve_arguments(parser)
    print(commands.curve(parser.parse_args(args.rest)))


def export(args: argparse.Namespace) -> None:
    from .daw import commands

    parser = _Parser(prog="lara export", allow_abbrev=False, description="Write a piece as files that a DAW opens.")
    commands.add_export_arguments(parser)
    print(commands.export_piece(parser.parse_args(args.rest)))


def bench_emotion(args: argparse.Namespace) -> None:
    from . import benchmark
    from .piece import written_by

    parser = _Parser(prog="lara bench-emotion", allow_abbrev=False, description=benchmark.__doc__.split("\n")[0])
    benchmark.add_arguments(parser)
    options = parser.parse_args(args.rest)
    limit_threads()
    options.device = device_of(options.device)
    print(benchmark.main(options, f"python -m lara_core bench-emotion {shlex.join(args.rest)}", written_by(), progress))


def live(args: argparse.Namespace) -> None:
    from .osc import command

    parser = _Parser(prog="lara live", allow_abbrev=False, description=command.__doc__.split("\n")[0])
    command.add_arguments(parser, pitch_class, whole(0, 2 ** 31 - 1))
    options = parser.parse_args(args.rest)
    if not options.record_only:
        limit_threads()
    command.main(options)


def train(args: argparse.Namespace) -> None:
    """Pass everything on to the trainer, which is not part of what playing needs."""
    import importlib

    try:
        trainer = importlib.import_module("training.train")
    except ModuleNotFoundError as error:
        if error.name in ("training", "training.train"):
            raise ValueError("the trainer is not here; run the command in a checkout of the repository") from error
        raise ValueError(f"training needs the package {error.name!r}; install the extras with: pip install 'lara-gen[train]'") from error
    parser = _Parser(prog="lara train", description=trainer.__doc__.split("\n")[0])
    trainer.add_arguments(parser)
    trainer.train(parser.parse_args(args.rest))
