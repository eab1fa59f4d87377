"""Plan: names of target sets and systems go in; the pieces to make come out, each with all that determines it."""
from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..affect import PRESETS, Curve, nearest_emotion

FORMAT = 1  # of a measurement: count up when `measure` changes
ARCS = ("arcs", "drawn")  # that move
TARGETS = ("grid", "human", *ARCS)
TEXTS = ("solo piano", "string ensemble", "electronic dance")
SECONDS = {"grid": 30.0, "human": 30.0, "arcs": 60.0, "drawn": 60.0}
MOVES = 0.2  # a request moves by this standard deviation over time, or what is heard beside it is chance
DRAWN, APART = 48, 0.1  # arcs; and the least between two points of one, of its length
HUMAN_TARGETS = Path(__file__).with_name("human_targets.csv")
WORDS_AND_TAKES = "words+takes"
OF_CANDIDATES = ("tries", WORDS_AND_TAKES)
KINDS = ("words", "none", "wavs", *OF_CANDIDATES)  # NAME=KIND:PATH; NAME=PATH alone gives the model the emotion
WORD_MOMENTS = 5  # equally spaced over a curve, whose nearest words the prompt names in order
SAME_POINT = 1e-3
REFERENCE = "reference"  # the system whose pieces are what FAD compares with
MANIFEST = "manifest.csv"
MANIFEST_COLUMNS = ("file", "valence", "arousal", "text", "seed", "target", "seconds")
NOT_HEARD = {"__init__", "__main__", "cli", "making", "options", "benchmark", "plot", "score", "clap", "piece", "report", "osc", "daw"}  # sources that change no piece


# ---- what is asked -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """An emotion to reach: a constant curve (a point) or an arc."""

    name: str
    curve: Curve

    @property
    def point(self) -> tuple[float, float] | None:
        """Valence and arousal where they are constant, None for an arc."""
        return self.curve.points[0][1:] if len(self.curve.points) == 1 else None


@dataclass(frozen=True)
class System:
    """kind: "emotion", "tries" (the emotion, and a choice among tries), "words", "none", "words+takes" or "wavs".
    replicate: 1, 2 ... for folders of one name, e.g. of several training seeds."""

    name: str
    kind: str
    path: Path
    replicate: int = 1


@dataclass(frozen=True)
class Job:
    """All that determines one measurement. model: a folder, or "" where `file` is measured; made_by: digests."""

    made_by: tuple[str, ...]
    prompt: str
    curve: Curve | None
    seconds: float
    seed: int
    model: str
    file: str
    predictor: str | None
    hop_seconds: float | None
    device: str
    soundfont: str | None
    candidates: int = 0
    strengths: tuple[tuple[str, float], ...] = ()  # names and values of guidance, where they are not those of Sampling

    @functools.cached_property
    def key(self) -> str:
        parts = (FORMAT, self.made_by, self.prompt, self.curve and self.curve.to_json(), self.seconds, self.seed, self.hop_seconds, self.device)
        return digest(json.dumps(parts + (self.candidates,) * bool(self.candidates) + (self.strengths,) * bool(self.strengths)).encode())


@dataclass(frozen=True)
class Piece:
    """One cell of the plan; systems that ask for the same thing share a job."""

    system: str
    replicate: int
    target: Target
    text: str
    seed: int
    job: Job


def make_targets(which: str, grid: int = 7) -> list[Target]:
    if which == "grid":
        if not 2 <= grid <= 50:
            raise ValueError(f"--grid is {grid}; use a whole number from 2 to 50")
        axis = [float(x) for x in np.linspace(-1, 1, grid)]
        return [_point(v, a) for v in axis for a in axis]
    if which == "human":
        with open(HUMAN_TARGETS, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(line for line in file if not line.startswith("#"))
            return [_point(float(row["valence"]), float(row["arousal"]), row["clip"]) for row in rows]
    if which == "arcs":
        return [Target(name, curve) for name, curve in PRESETS.items()]
    if which == "drawn":
        return [Target(f"drawn {number:02d}", _drawn_arc(np.random.default_rng(number))) for number in range(1, DRAWN + 1)]
    raise ValueError(f"--targets is {which!r}; use one of {', '.join(TARGETS)}")


def _point(valence: float, arousal: float, name: str | None = None) -> Target:
    return Target(name or f"{valence:+.3f} {arousal:+.3f}", Curve.constant(valence, arousal))


def _drawn_arc(rng: np.random.Generator) -> Curve:
    """A smooth arc over three to five points, by chance alone, in which both valence and arousal move."""
    while True:
        moments = np.sort([0, *rng.uniform(APART, 1 - APART, rng.integers(2, 5))])
        points = np.column_stack([moments, rng.uniform(-0.9, 0.9, (len(moments), 2))])
        curve = Curve(tuple(map(tuple, points.tolist())), "normalized", "smooth")
        if np.diff(moments).min() >= APART and curve.at(np.linspace(0, 1, 241), 1.0).std(0).min() >= MOVES:
            return curve


def read_systems(specs: Sequence[str], model: str) -> list[System]:
    """`model`, `words`, `none`, `NAME=PATH`, `NAME=KIND:PATH` -> systems, their folders found.

    A NAME given again with another folder is a replicate: pieces of all replicates count for the system.
    """
    from ..pipeline import find_model

    systems: list[System] = []
    for spec in specs:
        name, equals, path = spec.partition("=")
        head, colon, rest = path.partition(":")
        kind, path = (head, rest) if colon and head in KINDS else ("emotion", path)
        if not equals and name in ("model", "words", "none"):
            kind, path = ("emotion" if name == "model" else name), model
        if not re.fullmatch(r"[\w.+-]{1,40}", name) or not path or name == REFERENCE:
            raise ValueError(f"the system {spec[:80]!r} is not known; use model, words, none, NAME=MODEL, NAME=words:MODEL, "
                             "NAME=none:MODEL, NAME=words+takes:MODEL or NAME=wavs:FOLDER")
        if kind == "wavs" and not Path(path).is_dir():
            raise ValueError(f"the system {name} has no folder {path}; give the folder that holds its sound files and {MANIFEST}")
        earlier = [system for system in systems if system.name == name]
        system = System(name, kind, Path(path) if kind == "wavs" else find_model(path), len(earlier) + 1)
        if any((e.kind, e.path) == (system.kind, system.path) or e.kind != kind for e in earlier):
            raise ValueError(f"the system {name} is given twice; a name comes again only with another folder of the same kind")
        systems.append(system)
    return systems


def worded(text: str, curve: Curve, seconds: float) -> str:
    """The prompt of the `words` baseline: "solo piano, relaxed", or "solo piano, relaxed then tense" for a curve that moves."""
    moments = curve.at(np.linspace(0, seconds, WORD_MOMENTS), seconds)
    words = [nearest_emotion(float(valence), float(arousal))[0] for valence, arousal in moments]
    return f"{text}, {' then '.join(word for i, word in enumerate(words) if i == 0 or word != words[i - 1])}"


def piece_seed(target: str, text: str, seed: int) -> int:
    """One for each target, text and seed, the same for every system: what a system does by chance is not shared between targets."""
    return zlib.crc32(f"{seed}\n{target}\n{text}".encode())


def file_name(target: str, text: str, seed: int) -> str:
    slug = re.sub(r"[^\w.+-]+", "-", f"{target}_{text}_{seed}")[:80]
    return f"{slug}-{piece_seed(target, text, seed):08x}.wav"


def kept_file(folder: Path, system: str, replicate: int | str, target: str, text: str, seed: int) -> Path:
    """Where a run into `folder` keeps the sound of a piece."""
    return folder / "audio" / f"{system}-{replicate}" / file_name(target, text, seed)


@dataclass(frozen=True)
class Question:
    """What every system is asked, and who listens. hop_seconds None: the predictor's own."""

    targets: Sequence[Target]
    texts: Sequence[str] = TEXTS
    seeds: int = 1
    seconds: float = 30.0
    predictor: str | None = None
    hop_seconds: float | None = None
    device: str = "cpu"
    soundfont: str | None = None
    candidates: int = 4  # of systems of tries and of words+takes
    strengths: tuple[tuple[str, float], ...] = ()  # see Job

    def __post_init__(self) -> None:
        from ..codec import Request
        from ..sampling import Sampling
        from ..text import check_prompt

        Request(self.seconds)  # the length and the strengths are such as a piece can have
        Sampling(**dict(self.strengths))
        for text in self.texts:
            if not check_prompt(text):
                raise ValueError("a text is empty; say in words what to play")
        if not self.texts or len(set(self.texts)) < len(self.texts):
            raise ValueError("--texts names none or one of them twice; give each text once")
        if not 1 <= self.candidates <= 16:
            raise ValueError(f"--candidates is {self.candidates}; use a whole number from 1 to 16")
        if not 1 <= self.seeds <= 1000:
            raise ValueError(f"--seeds is {self.seeds}; use a whole number from 1 to 1000")

    def cells(self) -> Iterator[tuple[Target, str, int]]:
        return ((target, text, seed) for target in self.targets for text in self.texts for seed in range(1, self.seeds + 1))


def make_plan(question: Question, systems: Sequence[System], fad_reference: Path | None = None) -> list[Piece]:
    """Every piece of every system; those of the system REFERENCE are the files that FAD compares with."""
    listener = digest(source_digest(), *predictor_digest(question.predictor))

    def job(made_by: Sequence[str], prompt="", curve=None, seed=0, model="", file="", candidates=0) -> Job:
        return Job((listener, *made_by), prompt, curve, 0.0 if file else question.seconds, seed, model, file, question.predictor,
                   question.hop_seconds, "" if file else question.device, None if file else question.soundfont, candidates,
                   () if file else question.strengths)

    pieces = []
    for system in systems:
        if system.kind == "wavs":
            for target, text, seed, file in read_manifest(system.path / MANIFEST, question.targets):
                pieces.append(Piece(system.name, system.replicate, target, text, seed, job(_stamp(file), file=str(file))))
            continue
        made_by = model_digest(str(system.path), question.soundfont)
        for target, text, seed in question.cells():
            prompt = worded(text, target.curve, question.seconds) if system.kind == "words" else text
            curve = target.curve if system.kind in ("emotion", *OF_CANDIDATES) else None
            candidates = question.candidates if system.kind in OF_CANDIDATES else 0
            own = job(made_by, prompt, curve, piece_seed(target.name, text, seed), str(system.path), candidates=candidates)
            pieces.append(Piece(system.name, system.replicate, target, text, seed, own))
    if fad_reference is not None:
        files = sorted(f for f in fad_reference.rglob("*") if f.suffix.lower() in (".wav", ".flac", ".ogg", ".mp3") and f.is_file())
        if not files:
            raise ValueError(f"--fad-reference {fad_reference} holds no WAV, FLAC, OGG or MP3 file; give a folder of music")
        for file in files:
            nothing_asked = _point(0, 0, str(file.relative_to(fad_reference)))
            pieces.append(Piece(REFERENCE, 1, nothing_asked, "", 0, job(_stamp(file), file=str(file))))
    return pieces


def manifest_text(question: Question) -> str:
    """CSV for another system to fill a folder by: a sound file for each row. Arcs have a target (`lara emotions`) and no point."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(MANIFEST_COLUMNS)
    for target, text, seed in question.cells():
        point = target.point or ("", "")
        writer.writerow((file_name(target.name, text, seed), *point, text, seed, target.name, question.seconds))
    return out.getvalue()


def read_manifest(path: Path, targets: Sequence[Target]) -> list[tuple[Target, str, int, Path]]:
    """Columns file, valence, arousal and, where there are, text, seed, target. A point of the target set is that target."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8 ({error}); see --write-manifest") from error
    named, found = {target.name: target for target in targets}, []
    for number, row in enumerate(rows, 2):
        try:
            target = named.get(row.get("target") or "")
            if target is None:
                point = _point(float(row["valence"]), float(row["arousal"]))
                near = (t for t in targets if t.point and math.dist(t.point, point.point) < SAME_POINT)
                target = next(near, point)
            found.append((target, row.get("text") or "", int(row.get("seed") or 1), path.parent / row["file"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number} of {path} cannot be read ({type(error).__name__}: {error}); it needs the columns file, "
                             "valence and arousal from -1 to 1, or a target of the set; text and seed are optional") from error
    if not found:
        raise ValueError(f"{path} names no file; see --write-manifest")
    return found


# ---- digests -------------------------------------------------------------------------------------------------------


def digest(*parts: bytes | str) -> str:
    return hashlib.sha256(b"\n".join(part.encode() if isinstance(part, str) else part for part in parts)).hexdigest()[:16]


def source_digest() -> str:
    """Of the sources that a piece or its measurement can depend on."""
    folder = Path(__file__).parent.parent
    files = (path for path in sorted(folder.rglob("*.py")) if path.relative_to(folder).parts[0].removesuffix(".py") not in NOT_HEARD)
    return digest(*(path.read_bytes() for path in files))


def predictor_digest(folder: str | None) -> tuple[str, str]:
    from ..predictor import EMBEDDED_FOLDER

    return _folder_digest(Path(folder or EMBEDDED_FOLDER))


def _folder_digest(folder: Path) -> tuple[str, str]:
    """Of weights and config."""
    from ..weights import fingerprint
    from ..weights import CONFIG, find_file

    return fingerprint(folder), digest(find_file(folder, CONFIG).read_bytes())


@functools.lru_cache
def model_digest(folder: str, soundfont: str | None) -> tuple[str, ...]:
    """Loads the model, so that one that cannot be is found out before anything is made."""
    from ..pipeline import Lara

    font = getattr(Lara.load(folder, "cpu", soundfont).codec, "soundfont", None)
    return (*_folder_digest(Path(folder)), font.digest if font else "")


def _stamp(file: Path) -> tuple[str, ...]:
    """Tells a file from what it was before; () where there is none, which `measure` will say."""
    return (str(file.resolve()), str(file.stat().st_size), str(file.stat().st_mtime_ns)) if file.is_file() else (str(file),)
