"""The training corpus: composed pieces and re-performed real scores go in, one file of codes with emotions and captions comes out.

    python -m training.corpus -o runs/corpus.npz --pieces 4500 --scores runs/scores.npz --predictor models/embedded --jobs 2

The file (npz) holds codes uint8 [K,total], offsets [n+1] and window starts in frames, emotion float16 [total,2], per piece a
JSON list of captions, a kind and whether a model has played it, and what the codec is; training.features adds what is heard, training.labels labels by it. Composed pieces carry the curve that made them, and with --predictor each
section is the one of several tries that is read as nearest to it, so that what is heard moves within a piece as far as it can; real
scores are performed anew (tempo, dynamics, articulation, ensemble) along a drawn arousal curve, with a valence that their mode
allows.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from lara_core.codec import score as codes_of
from lara_core.codec.score import Score
from lara_core.score_predictor import EVERY_FRAMES, ScorePredictor, reach, windows
from lara_core.workers import results_of

from .composer import STRETCH_BARS, Composer
from .labels import in_measure, predictor_given
from .styles import INSTRUMENT_WORDS, MOOD_WORDS, PLACES, STYLES
from .windows import HEARD_EVERY_FRAMES, write_arrays

JUDGED_BARS = 24  # a try is read after those before it
PLAYS = 1 / 8  # of a piece that someone sounds in who is named in its captions
SURVEYED = 24  # pieces of a style, from which it is told what it can be read like
TURNED = 0.5  # of the points that are glad and tense, or dark and calm, are drawn on the other side: tense music is heard gladder than it was meant

# What a real score is called, whoever plays it: "solo piano" and the like are left to pieces written for them.
FAMILY_WORDS = {"chorale": ("chorale", "hymn", "four-part hymn", "baroque chorale", "old church hymn"),
                "folk": ("fiddle tune", "traditional jig", "reel", "old dance tune", "hornpipe"),
                "quartet": ("classical chamber music", "haydn quartet", "classical quartet", "chamber music from vienna"),
                "piano": ("classical sonata", "romantic mazurka", "ragtime", "polonaise"),
                "ensemble": ("romantic chamber music", "art song", "romantic lied"),
                "madrigal": ("madrigal", "renaissance madrigal", "renaissance polyphony"),
                "pop": ("pop song", "pop ballad", "chinese pop ballad", "piano cover of a pop song")}


def draw_curve(rng: np.random.Generator, n_bars: int, low=(-1, -1), high=(1, 1)) -> np.ndarray:
    """Emotion per bar [n,2]: constant, ramp, steps at sections, an arc over a few points, or a walk. What is dark and tense, or glad and calm,
    comes oftener than by chance."""
    kind = rng.choice(("constant", "ramp", "steps", "arc", "walk"), p=(0.2, 0.12, 0.1, 0.48, 0.1))
    low, high = np.broadcast_to(low, 2), np.broadcast_to(high, 2)

    def point():
        drawn = rng.uniform(low, high)
        together = np.prod(drawn - (low + high) / 2) > 0
        return np.array([low[0] + high[0] - drawn[0], drawn[1]]) if together and rng.random() < TURNED else drawn

    x = np.arange(n_bars) / max(n_bars - 1, 1)
    if kind == "constant":
        curve = np.repeat(point()[None], n_bars, 0)
    elif kind == "ramp":
        a, b = point(), point()
        curve = a + (b - a) * x[:, None]
    elif kind == "steps":
        curve = np.array([point() for _ in range(n_bars // 8 + 1)])[np.arange(n_bars) // 8]
    elif kind == "arc":
        moments = np.sort([0, 1, *rng.uniform(0.1, 0.9, int(rng.integers(1, 5)))])
        knots = np.array([point() for _ in moments])
        curve = np.stack([np.interp(x, moments, knots[:, d]) for d in range(2)], 1)
    else:
        curve = point() + np.cumsum(rng.normal(0, 0.12, (n_bars, 2)), 0)
    return np.clip(curve, low, high)


def players(piece: Score) -> list[int]:
    """The programs of who is heard in a piece for some while: who has the melody first, then who is heard longest; drums aside."""
    lengths = codes_of.sounding(piece)[:-1]
    total, first = lengths.sum(0), int(lengths[0].argmax())
    heard = [int(p) for p in np.argsort(-total, kind="stable") if total[p] >= PLAYS * piece.frames]
    return sorted(heard, key=lambda p: p != first)


def captions(rng: np.random.Generator, words: Sequence[str], programs: Sequence[int], emotion: np.ndarray) -> list[str]:
    """Four wordings as a person would type them; words: for the style, none where it is not what is played; programs: of who is heard, see
    `players`. A mood word is used only where the whole piece stays near it."""
    names = list(dict.fromkeys(INSTRUMENT_WORDS[p] for p in programs if p in INSTRUMENT_WORDS))
    word = lambda: str(rng.choice(words or names))
    forms = [word(), word(), f"{word()} {rng.choice(PLACES)}", f"{word()} {rng.choice(PLACES)}"]
    if names:
        lead, *others = names
        forms += [", ".join(names[:3])] + ([f"{word()} with {lead}", f"{lead}, {word()}"] if words else [])
        forms += [f"{lead} and {others[0]}", f"{lead} over {others[0]}"] if others else [f"solo {lead}"]
    centre, spread = emotion.mean(0), np.abs(emotion - emotion.mean(0)).max()
    moods = [w for words, v, a in MOOD_WORDS for w in words if np.hypot(v - centre[0], a - centre[1]) < 0.42]
    if spread < 0.3 and moods:
        forms += [f"{rng.choice(moods)} {word()}", f"{rng.choice(moods)} {names[0] if names else word()}"]
    return [str(c) for c in rng.permutation(forms)[:4]]


class Example(NamedTuple):
    score: Score
    emotion: np.ndarray  # per bar [n,2]
    captions: list[str]
    kind: str  # style, or family of real scores
    away: np.ndarray | None = None  # which bars [n] stand in another key than the piece


class Ear(NamedTuple):
    """What judges the composer's tries: a model's score predictor, and what it reads for requests of -1 and 1, of all styles and of each."""

    predictor: ScorePredictor
    whole: tuple[np.ndarray, np.ndarray]
    ends: dict[str, tuple[np.ndarray, np.ndarray]]

    def distance(self, piece: Score, emotion: np.ndarray, style: str) -> float:
        """How far the last section of a piece lies from its emotion [n,2], after the sections before it."""
        n, frames = len(piece.bars), piece.bars[0].frames
        first = max(0, n - JUDGED_BARS)
        seen, wanted = windows(codes_of.encode(piece)[:, first * frames:], np.repeat(emotion[first:n], frames, axis=0).astype(np.float32))
        new = slice(-(STRETCH_BARS * frames // EVERY_FRAMES), None)
        return float(np.linalg.norm(in_measure(self.predictor(seen[new]), self.whole, self.ends[style]) - wanted[new], axis=1).mean())


def ear_of(predictor: ScorePredictor) -> Ear:
    """A judge whose measure is that of the labels (training/labels.py)."""
    read = {}
    for number, style in enumerate(STYLES):
        rng = np.random.default_rng(number)
        curves = [draw_curve(rng, 16) for _ in range(SURVEYED)]
        pieces = [Composer(style, rng).compose(curve[:, 0], curve[:, 1]) for curve in curves]
        read[style.name] = np.concatenate([predictor(windows(codes_of.encode(piece), np.zeros((piece.frames, 2)))[0]) for piece in pieces])
    return Ear(predictor, reach(np.concatenate(list(read.values()))), {name: reach(own) for name, own in read.items()})


def composed(job: tuple[int, Ear | None, int]) -> tuple[int, Example]:
    """A seed, who judges and how many tries each section has -> the seed and a piece."""
    seed, ear, tries = job
    rng = np.random.default_rng(seed)
    style = STYLES[seed % len(STYLES)]
    composer = Composer(style, rng)
    emotion = draw_curve(rng, int(rng.choice((8, 12, 16, 24, 32, 40))))
    score = composer.compose(emotion[:, 0], emotion[:, 1], ear and (lambda draft: ear.distance(draft, emotion, style.name)), tries)
    return seed, Example(score, emotion, captions(rng, style.words, players(score), emotion), style.name, composer.away)


def natural_arousal(onsets_per_frame: float) -> float:
    """The arousal at which the composer would write this many onsets a frame of its own tempo.

    Composed pieces have about 2 ** (1.24 + 1.57 a) onsets a second and 96 * 2 ** (OCTAVES_PER_AROUSAL a) quarter notes a minute: a dense score
    cannot be calm, nor a chorale furious, whatever its tempo.
    """
    return (np.log2(6.4 * max(onsets_per_frame, 0.02)) - 1.24) / (1.57 - codes_of.OCTAVES_PER_AROUSAL)


def reperformed(codes: np.ndarray, meta: dict, seed: int) -> Example:
    """A real score's notes in another performance: about its natural arousal the label sets tempo, dynamics and articulation."""
    rng = np.random.default_rng(seed)
    score = codes_of.decode(codes)
    major = meta.get("mode", "major") == "major"
    onsets = len({n.start for n in score.notes}) / max(score.frames, 1)
    natural = float(np.clip(natural_arousal(onsets), -0.7, 0.7))  # a performance moves about what the notes are
    emotion = draw_curve(rng, len(score.bars), low=(0.1 if major else -0.9, natural - 0.3), high=(0.9 if major else -0.1, natural + 0.3))
    emotion[:, 0] = emotion[:, 0].mean() * 0.6 + emotion[:, 0] * 0.4  # the notes' mode does not change, so neither does valence much
    style = STYLES[int(rng.choice([i for i, s in enumerate(STYLES) if s.drums in ("none", "soft", "folk") or s.name in ("orchestra", "choir and organ")]))]
    composer = Composer(style, rng, metre="4/4")
    used = {codes_of.ROLE_OF_LANE[n.lane] for n in score.notes}
    programs = tuple(p if i in used else -1 for i, p in enumerate(composer.programs))
    score.bars = [replace(bar, tempo_bpm=composer.tempo(v, a), articulation=composer.articulation(v, a), swing=False, programs=programs,
                          dynamics=int(np.clip(round(3.4 + 2.9 * a + composer.dynamics_bias), 0, 7))) for bar, (v, a) in zip(score.bars, emotion)]
    shift = int(np.clip(round(3 * emotion[:, 0].mean()), -5, 5))  # register follows valence
    score.notes = [n._replace(pitch=int(np.clip(n.pitch + shift, 0, 127))) for n in score.notes]
    score.chords = [c if c.root < 0 else c._replace(root=(c.root + shift) % 12) for c in score.chords]
    score.tonic = (score.tonic + shift) % 12
    words = captions(rng, FAMILY_WORDS[meta["family"]], players(score), emotion)
    return Example(score, emotion, words, meta["family"])


def in_key(score: Score, tonic: int) -> Score:
    """The same music on another tonic. Every piece gets a drawn one: codes are relative to it, and where all that is composed
    stood in C, any other key would tell the model to play a real score."""
    by = codes_of.key_shift(tonic) - codes_of.key_shift(score.tonic)
    return replace(score, tonic=tonic, notes=[n._replace(pitch=n.pitch + by) for n in score.notes],
                   chords=[c if c.root < 0 else c._replace(root=(c.root + by) % 12) for c in score.chords])


def build(n_pieces: int, score_files: list[Path], repeats: int, seed: int, predictor: ScorePredictor | None = None, tries: int = 1,
          jobs: int = 1) -> dict[str, np.ndarray]:
    """predictor: chooses among so many tries for each section of what is composed."""
    ear = ear_of(predictor) if predictor is not None and n_pieces else None
    todo = [(seed * 1_000_003 + i, ear, tries) for i in range(n_pieces)]
    made = dict(tqdm(results_of(composed, todo, jobs), total=n_pieces, desc="composing", unit="piece"))
    pieces = [made[seed] for seed, *_ in todo]  # whatever order they came in
    for path in score_files:
        with np.load(path) as data:
            codes, offsets, metas = data["codes"], data["offsets"], json.loads(str(data["meta"]))
        for i, meta in enumerate(tqdm(metas, desc=f"performing {path.stem}", unit="piece")):
            for r in range(repeats):
                pieces.append(reperformed(codes[:, offsets[i]:offsets[i + 1]], meta, seed + 7919 * i + r))
    rng = np.random.default_rng(seed)
    return packed([Played(codes_of.encode(in_key(piece.score, int(rng.integers(12)))),
                          np.repeat(piece.emotion, [bar.frames for bar in piece.score.bars], axis=0), piece.captions, piece.kind, piece.away) for piece in pieces])


class Played(NamedTuple):
    """A piece as the corpus holds it: codes [K,F], emotion [F,2], captions, its style or family, and which bars [n] stand in another key."""

    codes: np.ndarray
    emotion: np.ndarray
    captions: list[str]
    kind: str
    away: np.ndarray | None = None


def packed(pieces: Sequence[Played], rehearsed: bool = False) -> dict[str, np.ndarray]:
    """Pieces -> what the file holds. rehearsed: a model has played them."""
    codes = np.concatenate([piece.codes for piece in pieces], 1)
    away = np.concatenate([np.zeros(len(codes_of.bar_starts(piece.codes)), bool) if piece.away is None else piece.away for piece in pieces])
    codec = {"name": "score", "n_codebooks": codes_of.K, "codebook_size": codes_of.V, "delays": list(range(codes_of.K)),
             "loss_weights": [float(name != "grid") for name in codes_of.LANES]}  # the grid is given, never sampled
    return {"codes": codes, "offsets": np.cumsum([0] + [piece.codes.shape[1] for piece in pieces]),
            "emotion": np.concatenate([piece.emotion for piece in pieces]).astype(np.float16),
            "starts": codes_of.bar_starts(codes)[~away],  # windows begin at bar lines, and at home: a beginning tells where that is
            "captions": np.array(json.dumps([piece.captions for piece in pieces])),
            "rehearsed": np.full(len(pieces), rehearsed), "kinds": np.array(json.dumps([piece.kind for piece in pieces])), "codec": np.array(json.dumps(codec))}


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Corpora of one codec -> one corpus; of parts that nobody has heard, features and heard are NaN."""
    if len({str(part["codec"]) for part in parts}) != 1:
        raise ValueError("The corpus files hold codes of different codecs; join files of one codec.")
    begins = np.cumsum([0] + [part["codes"].shape[1] for part in parts])
    widths = {part["features"].shape[1] for part in parts if "features" in part}
    if len(widths) > 1:
        raise ValueError("The corpus files were heard by different listeners; run training.features on each with the same one.")
    heard = {}
    for name, width, kind in (("features", max(widths), np.float16), ("heard", 2, np.float32)) if widths else ():
        unheard = lambda part: np.full((part["codes"].shape[1] // HEARD_EVERY_FRAMES, width), np.nan, kind)
        heard[name] = np.concatenate([part[name] if name in part else unheard(part) for part in parts])
    return heard | {"codes": np.concatenate([part["codes"] for part in parts], axis=1), "codec": parts[0]["codec"],
            "offsets": np.concatenate([[0], *(part["offsets"][1:] + at for part, at in zip(parts, begins))]),
            "starts": np.concatenate([part["starts"] + at for part, at in zip(parts, begins)]),
            **{name: np.concatenate([part[name] for part in parts]) for name in ("emotion", "rehearsed")},
            **{name: np.array(json.dumps([value for part in parts for value in json.loads(str(part[name]))])) for name in ("captions", "kinds")}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=4000, help="composed pieces")
    parser.add_argument("--scores", type=Path, nargs="*", default=[], help="files made by training.scores")
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="corpus files whose pieces are added")
    parser.add_argument("--repeats", type=int, default=2, help="performances of each real score")
    parser.add_argument("--predictor", type=Path, metavar="MODEL", help="a model's folder with a score predictor, which chooses among --tries of each section that is composed")
    parser.add_argument("--tries", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    predictor = predictor_given(parser, args.predictor)
    parts = [np.load(path) for path in args.add]
    if args.pieces or args.scores:
        parts.append(build(args.pieces, args.scores, args.repeats, args.seed, predictor, args.tries, args.jobs))
    if not parts:
        parser.error("nothing to put into the corpus: give --pieces, --scores or --add.")
    corpus = joined(parts)
    write_arrays(args.output, corpus)
    hours = corpus["codes"].shape[1] / 8 / 3600
    print(f"{len(corpus['offsets']) - 1} pieces, {corpus['codes'].shape[1]:,} frames (about {hours:.1f} hours) -> {args.output}")


if __name__ == "__main__":
    main()
