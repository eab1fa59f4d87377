"""Options and manners that several commands of the command line share: readers of their values, the emotion asked for, threads and progress.

Nothing here imports torch before it has to.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

PITCH_CLASSES = {"C": 0, "C#": 1, "Db": 1, "D": 2, "D#": 3, "Eb": 3, "E": 4, "F": 5, "F#": 6, "Gb": 6, "G": 7, "G#": 8, "Ab": 8,
                 "A": 9, "A#": 10, "Bb": 10, "B": 11}
QUIET_SECONDS = {True: 2, False: 10}  # a terminal is told after 2 s, a log file less often


def sentence(error: Exception) -> str:
    """What an error says, as one line that ends like a sentence."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename} cannot be used ({error.strerror})" if error.filename else error.strerror
    return " ".join(text.split()).rstrip(".") + "."


# ---- values -------------------------------------------------------------------------------------------------------


def whole(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from low to high, for an option's `type`."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text[:30]) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return read


def affect(text: str) -> float:
    """A valence or an arousal, -1 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -1 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from -1 to 1")
    return value


def tempo(text: str) -> float | tuple[tuple[float, float], ...]:
    """Beats a minute, or the tempo map ((beat, beats a minute), ...) of a file that daw.read_tempo reads."""
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


def pitch_class(text: str) -> int:
    """A key's name, such as "f#" -> its pitch class, 0 to 11."""
    name = text[:1].upper() + text[1:]
    if name not in PITCH_CLASSES:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(PITCH_CLASSES)}")
    return PITCH_CLASSES[name]


# ---- the emotion asked for ----------------------------------------------------------------------------------------


def add_emotion(sub: argparse.ArgumentParser, description: str) -> None:
    """The options from which asked_curve reads the emotion, as a group of their own."""
    group = sub.add_argument_group("emotion", description)
    group.add_argument("--curve", type=Path, metavar="FILE.json", help="breakpoints with unit and interpolation")
    group.add_argument("--preset", metavar="NAME", help="a ready curve, see `lara emotions`")
    group.add_argument("--emotion", metavar="WORD", help="an emotion word, see `lara emotions`")
    group.add_argument("--valence", type=affect, metavar="V", help="-1 unpleasant to 1 pleasant; 0 if only arousal is given")
    group.add_argument("--arousal", type=affect, metavar="A", help="-1 calm to 1 intense; 0 if only valence is given")


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


# ---- manners ------------------------------------------------------------------------------------------------------


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
