"""The command line: arguments go in; a WAV with its MIDI, JSON and picture comes out, or a table, or a report.

    python -m lara_core generate --prompt "solo piano" --preset calm-tense-resolve --seconds 60 -o piece.wav
    python -m lara_core score piece.wav other.mp3 --report scores.html

Everything that can be wrong is looked at before a model is loaded, and torch is imported after everything that can be judged
without it. A wrong input is one sentence on stderr and exit code 2; Ctrl-C is exit code 130. A piece's files appear together
when all of them are whole.
"""

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from . import __version__
from .choices import EMBEDDED, MAX_CANDIDATES, PRECISIONS
from .piece import BESIDE, MAX_SEED, Piece, write_take

PITCH_CLASSES = {"C": 0, "C#": 1, "Db": 1, "D": 2, "D#": 3, "Eb": 3, "E": 4, "F": 5, "F#": 6, "Gb": 6, "G": 7, "G#": 8, "Ab": 8,
                 "A": 9, "A#": 10, "Bb": 10, "B": 11}
MAX_TAKES = 99
SAMPLING_OPTIONS = ("text_strength", "emotion_strength", "temperature", "top_p", "top_k")
FIXED_WHEN_REDONE = ("seconds", "tempo", "metre", "key", "seed")
QUIET_SECONDS = {True: 2, False: 10}  # a terminal is told after 2 s, a log file less often

log = logging.getLogger(__name__)


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


def sentence(error: Exception) -> str:
    """What an error says, as one line that ends like a sentence."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename} cannot be used ({error.strerror})" if error.filename else error.strerror
    return " ".join(text.split()).rstrip(".") + "."


# ---- arguments -----------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(f"{message}; see {self.prog} --help")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text[:30]) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return read


def _affect(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -1 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from -1 to 1")
    return value


def _tempo(text: str) -> float | tuple[tuple[float, float], ...]:
    try:
        return float(text)
    except ValueError:
        from .daw import read_tempo
    if not Path(text).suffix:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor a file with a tempo")
    try:
        return read_tempo(text)
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(sentence(error)[:-1]) from error


def _pitch_class(text: str) -> int:
    name = text[:1].upper() + text[1:]
    if name not in PITCH_CLASSES:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(PITCH_CLASSES)}")
    return PITCH_CLASSES[name]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lara", allow_abbrev=False, description="Music that follows a curve of valence and arousal.")
    parser.add_argument("--version", action="version", version=f"lara {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function, text: str, **options) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False, **options)
        sub.set_defaults(command=function, passes_on=not sub.add_help)  # its own options, which its own parser knows
        return sub

    _add_generate(command("generate", generate, "make a piece: WAV, MIDI, JSON and a picture"))
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


def _add_emotion(sub: argparse.ArgumentParser, description: str) -> None:
    group = sub.add_argument_group("emotion", description)
    group.add_argument("--curve", type=Path, metavar="FILE.json", help="breakpoints with unit and interpolation")
    group.add_argument("--preset", metavar="NAME", help="a ready curve, see `lara emotions`")
    group.add_argument("--emotion", metavar="WORD", help="an emotion word, see `lara emotions`")
    group.add_argument("--valence", type=_affect, metavar="V", help="-1 unpleasant to 1 pleasant; 0 if only arousal is given")
    group.add_argument("--arousal", type=_affect, metavar="A", help="-1 calm to 1 intense; 0 if only valence is given")


def _add_score(sub: argparse.ArgumentParser) -> None:
    add = sub.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="WAV, FLAC, OGG or MP3")
    _add_emotion(sub, "what was asked for, one of these; without any the curve in the piece's own JSON, where it lies beside it")
    add("--tempo", type=float, metavar="BPM", help="for a curve in beats")
    add("--prompt", metavar="TEXT", help="what the text was, for titles and --clap; without it that of the piece's JSON")
    add("--clap", metavar="FOLDER|HUB/ID", help="also how well sound and text agree, by this CLAP model")
    add("--json", action="store_true", help="everything as JSON, on the standard output")
    add("--plot", type=Path, metavar="OUT.png", help="requested and measured over the waveform; OUT-NAME.png for several files")
    add("--report", type=Path, metavar="OUT.html", help="one page about all files, with their pictures in it")


def _add_generate(sub: argparse.ArgumentParser) -> None:
    number = {"type": float, "metavar": "X"}
    add = sub.add_argument
    add("--prompt", metavar="TEXT", help="what to play, in words")
    add("--seconds", type=float, metavar="S", help="exact length")
    add("-o", "--output", type=Path, required=True, metavar="OUT.wav", help="OUT.mid, OUT.json and OUT.png come beside it")
    _add_emotion(sub, "one of these; without any the model chooses")
    group = sub.add_argument_group("music")
    group.add_argument("--tempo", type=_tempo, metavar="BPM|FILE",
                       help="exact tempo in quarter notes a minute, or the tempo map of an .als, .mid or .rpp")
    group.add_argument("--metre", help="4/4 (default), 3/4, 6/8, 2/4 or 5/4")
    group.add_argument("--key", type=_pitch_class, metavar="C..B", help="tonic")
    group.add_argument("--seed", type=_whole(0, MAX_SEED), metavar="N", help="the same seed makes the same piece")
    group.add_argument("--takes", type=_whole(1, MAX_TAKES), default=1, metavar="N", help="OUT-1.wav, OUT-2.wav ... with seeds N, N+1 ...")
    group.add_argument("--candidates", type=_whole(1, MAX_CANDIDATES), default=0, metavar="N",
                       help="words+takes, for a MusicGen checkpoint, which has no emotion encoder: emotion words in the prompt, and for each segment "
                            "the best of N tries by the predictor (not LARA)")
    group.add_argument("--no-score", action="store_true", help="do not measure what was made")
    group = sub.add_argument_group("model")
    group.add_argument("--model", metavar="NAME|PATH", help="see `lara models`, or a hub id such as facebook/musicgen-small; without it the embedded model")
    group.add_argument("--soundfont", type=Path, metavar="SF2")
    group.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu")
    group.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the decoder; int8 on the CPU, where it is quickest for large models")
    for name in SAMPLING_OPTIONS[:-1]:
        group.add_argument("--" + name.replace("_", "-"), **number)
    group.add_argument("--top-k", type=int, metavar="K")
    group = sub.add_argument_group("an earlier piece", "what is not given comes from its JSON")
    group.add_argument("--redo", type=Path, metavar="PIECE.json", help="make this piece again")
    group.add_argument("--from-segment", type=_whole(0, 10 ** 6), metavar="I", help="keep the segments before I as they are")
    group.add_argument("--segment-seed", type=_whole(0, MAX_SEED), metavar="N", help="another seed for segment I")


# ---- generate: what is wanted --------------------------------------------------------------------------------------


def asked_curve(args: argparse.Namespace) -> "Curve | None":
    """The curve that the options ask for, None if none does. Raises ValueError where they contradict each other."""
    from .affect import PRESETS, Curve, emotion

    point = None if args.valence is None and args.arousal is None else (args.valence or 0.0, args.arousal or 0.0)
    ways = {"--curve": args.curve, "--preset": args.preset, "--emotion": args.emotion, "--valence/--arousal": point}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} were given together; the emotion comes from one of them")
    if args.curve is not None:
        return Curve.load(args.curve)
    if args.preset is not None:
        if args.preset not in PRESETS:
            raise ValueError(f"the preset {args.preset[:60]!r} is not known; use one of {', '.join(PRESETS)}")
        return PRESETS[args.preset]
    if args.emotion is not None:
        return Curve.constant(*emotion(args.emotion))
    return None if point is None else Curve.constant(*point)


def asked_request(args: argparse.Namespace, earlier: Piece | None) -> "Request":
    from .codec import Request
    from .codec.score import METRES

    if args.metre is not None and args.metre not in METRES:
        raise ValueError(f"the metre is {args.metre[:60]!r}; use one of {', '.join(METRES)}")
    wanted = {"seconds": args.seconds, "tempo": args.tempo, "metre": args.metre, "tonic": args.key, "seed": args.seed}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    if earlier is not None:
        return dataclasses.replace(earlier.request, **wanted)
    return Request(**({"seed": time.time_ns() % 2 ** 31} | wanted))  # nobody asked for a seed: a new piece every time


def asked_sampling(args: argparse.Namespace, earlier: Piece | None) -> "Sampling":
    from .sampling import Sampling

    wanted = {} if earlier is None else dict(earlier.sampling)
    wanted |= {name: getattr(args, name) for name in SAMPLING_OPTIONS if getattr(args, name) is not None}
    try:
        return Sampling(**wanted)
    except TypeError as error:  # only a record can hold other names, or words for numbers
        raise ValueError(f"the sampling in {args.redo} cannot be read ({error}); give the .json file as it was written") from error


def check_redo(args: argparse.Namespace, earlier: Piece | None) -> None:
    """Raise ValueError unless the options fit what is made: a new piece, an earlier one, or an earlier one from a segment on."""
    if earlier is None:
        for name in ("prompt", "seconds"):
            if getattr(args, name) is None:
                raise ValueError(f"--{name} is missing; give --prompt TEXT and --seconds S, or an earlier piece with --redo")
        if args.from_segment is not None or args.segment_seed is not None:
            raise ValueError("--from-segment and --segment-seed need an earlier piece; give its JSON with --redo")
        return
    start = args.from_segment or 0
    if start >= len(earlier.segments):
        raise ValueError(f"--from-segment is {start}; {args.redo} has segments 0 to {len(earlier.segments) - 1}")
    changed = [name for name in FIXED_WHEN_REDONE if getattr(args, name) is not None]
    if start and changed:
        advice = "use --segment-seed" if changed == ["seed"] else "leave it out, or make the whole piece anew"
        raise ValueError(f"--{changed[0]} would change the segments that --from-segment {start} keeps; {advice}")


def output_files(args: argparse.Namespace) -> list[Path]:
    """The WAV of every take; raises ValueError where one, or a file beside it, could not be written."""
    from .audio import check_output_path

    wav = check_output_path(args.output)
    takes = [wav] if args.takes == 1 else [wav.with_name(f"{wav.stem}-{n}{wav.suffix}") for n in range(1, args.takes + 1)]
    for take in takes:
        for path in (take, *(take.with_suffix(suffix) for suffix in BESIDE)):
            check_output_path(path, (".wav", *BESIDE))
            if args.curve is not None and path.resolve() == args.curve.resolve():
                raise ValueError(f"the output {path} would replace the curve that is read; choose another name")
    return takes


def seeds_of_take(number: int, args: argparse.Namespace, request: "Request", earlier: Piece | None) -> tuple["Request", dict[int, int]]:
    """Take number 0, 1, ... -> its request, and the seeds of single segments.

    A new piece counts its seed up. An earlier one keeps the seed of every segment, and counts up that of the first segment
    that is made again.
    """
    if earlier is None or args.seed is not None:
        seeds = {} if args.segment_seed is None else {0: args.segment_seed}
        return dataclasses.replace(request, seed=request.seed + number), seeds
    start = args.from_segment or 0
    seeds = {index: segment["seed"] for index, segment in enumerate(earlier.segments)}  # of those that are kept too, for the record
    first = seeds[start] if args.segment_seed is None else args.segment_seed
    return request, seeds | {start: first + number}


# ---- generate: how it is made --------------------------------------------------------------------------------------


def generate(args: argparse.Namespace) -> None:
    outputs = output_files(args)
    earlier = None if args.redo is None else Piece.read(args.redo)
    check_redo(args, earlier)
    curve, request, prompt = asked_curve(args), asked_request(args, earlier), args.prompt
    if prompt is not None and not prompt.strip():
        raise ValueError("the prompt is empty; say in words what to play")
    if earlier is not None:
        curve = earlier.curve if curve is None else curve
        prompt = earlier.prompt if prompt is None else prompt
    if args.candidates and curve is None:
        raise ValueError("--candidates needs an emotion to choose by; give one with --curve, --preset, --emotion, --valence or --arousal")

    limit_threads()
    import torch

    from . import report
    from .pipeline import Lara, find_model
    from .take import unpack_codes
    from .text import check_prompt

    sampling, prompt = asked_sampling(args, earlier), check_prompt(prompt)
    kept = [unpack_codes(segment["codes"]) for segment in earlier.segments[:args.from_segment or 0]] if earlier else []
    model = find_model(args.model or (earlier.model["name"] if earlier else EMBEDDED))
    lara = Lara.load(model, device_of(args.device), args.soundfont, dtype=getattr(torch, args.precision))
    if earlier is not None:
        _check_same(lara, earlier, kept)

    scores = []
    requests, seeds = zip(*(seeds_of_take(number, args, request, earlier) for number in range(len(outputs))))
    together, sampling_seconds = [], 0.0
    if len(outputs) > 1 and lara.has_steady_segments and not args.candidates:
        with progress(requests[0].seconds, f"{len(outputs)} takes") as show:
            started = time.perf_counter()
            together = lara.takes(prompt, curve, requests, sampling, kept, seeds, show)
            sampling_seconds = (time.perf_counter() - started) / len(outputs)
    for number, (wav, own_request) in enumerate(zip(outputs, requests)):
        with progress(own_request.seconds, wav.name) as show:
            started = time.perf_counter()
            take = together[number] if together else lara.stream(prompt, curve, own_request, sampling, kept, seeds[number], show,
                                                                 candidates=args.candidates)
            scores.append((wav.name, write_take(take, wav, scored=not args.no_score)))
            took = time.perf_counter() - started + sampling_seconds
        heard = scores[-1][1]
        print(f"{wav}: {own_request.seconds:g} s, seed {own_request.seed}, {own_request.seconds / took:.1f} x real time"
              + (f", score {heard.adherence:.2f}" if heard is not None and heard.evaluation is not None else ""))
    if not args.no_score and len(outputs) > 1:
        print(report.ranking(scores))


def limit_threads() -> None:
    """One thread for each operation of torch, unless OMP_NUM_THREADS asks for more: at these sizes more are slower."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def device_of(name: str) -> str:
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("--device is cuda, but torch finds no CUDA device here; use cpu or auto")
    return ("cuda" if available else "cpu") if name == "auto" else name


def _check_same(lara, earlier: Piece, kept) -> None:
    """Refuse kept codes that the model cannot read; warn where the rest will differ from the earlier piece."""
    for index, codes in enumerate(kept):
        if codes.shape[0] != lara.codec.n_codebooks or codes.max() >= lara.codec.codebook_size:
            raise ValueError(f"segment {index} of the earlier piece has {codes.shape[0]} codebooks and codes up to {codes.max()}; the "
                             f"model {lara.name} has {lara.codec.n_codebooks} and codes below {lara.codec.codebook_size}: choose "
                             "the model that made it")
    if earlier.model["digest"] != lara.digest:
        log.warning("the piece was made with other weights (%s, %s); what is made anew will differ.", earlier.model["name"], earlier.model["digest"])
    font = getattr(lara.codec, "soundfont", None)
    if earlier.soundfont is not None and font is not None and earlier.soundfont.get("digest") != font.digest:
        log.warning("the piece was made with the SoundFont %s; it will sound different with %s.", earlier.soundfont.get("name"), font.name)


@contextlib.contextmanager
def progress(seconds: float, name: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr for what takes longer than a moment; give the function a share from 0 to 1."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    wait = QUIET_SECONDS[terminal]
    layout = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of music [{elapsed}<{remaining}]"
    with tqdm(total=seconds, desc=name, delay=wait, mininterval=0.1 if terminal else wait, bar_format=layout, file=sys.stderr) as bar:
        yield lambda share: bar.update(max(share * seconds - bar.n, 0))
        bar.update(seconds - bar.n)


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
    command.add_arguments(parser, _pitch_class, _whole(0, 2 ** 31 - 1))
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
