"""A model plays in place of the composer: its own pieces become a corpus file, for a predictor to hear.

    python -m training.rehearsal models/embedded -o runs/rehearsed.npz --pieces 1000 --jobs 2 --human runs/scores.npz runs/scores_pop909.npz

Prompts and curves are drawn as for composed pieces; the captions name who then plays. Once they are heard (training.features) and labelled by what was heard
(training.labels), a model that trains on them beside the corpus learns what its own music sounds like, wherever that is not what was
asked of it: hindsight relabelling (Andrychowicz et al. 2017, arXiv 1707.01495). What nobody would write is not to be learnt again: a piece
with hammered bars, with semitones for too much of its time or with a melody that goes nowhere is left out; with --human also the third that
is least like scores by people.
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lara_core.affect import Curve
from lara_core.codec import Request
from lara_core.codec.score import decode, grinding, hammered, stuck
from lara_core.pipeline import Lara
from lara_core.take import Take
from lara_core.workers import results_of

from .composer import Composer
from .corpus import Played, captions, draw_curve, packed, players
from .musicality import PEOPLE_BARS, People
from .styles import STYLES, Style
from .windows import write_arrays

SECONDS = (14.0, 75.0)
KNOTS = 9  # of a drawn curve
LIKE_PEOPLE, COMPARED_BARS = 2 / 3, 16  # of the pieces that are kept, and the bars of people's that they are measured by
STAYS = 0.1  # of a piece, two bars by two, its melody may be stuck: of 98 of 100 scores by people it is for less
GRINDS, TENSE_GRINDS = 0.2, 0.4  # 96 of 100 composed pieces have less, and every score by people: of these 98 of 100 have less than 0.08


@functools.cache
def player(folder: str) -> Lara:
    torch.set_num_threads(1)
    return Lara.load(folder)


def add_arguments(parser: argparse.ArgumentParser, pieces: int, candidates: int, of_tries: str, of_people: str) -> None:
    """What `by_seed` and `people_given` take, with defaults; of_tries, of_people: what the candidates, and scores by people, are for."""
    parser.add_argument("model", type=Path, help="folder of a score model")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=pieces)
    parser.add_argument("--candidates", type=int, default=candidates, metavar="N", help=f"tries for each segment, {of_tries}")
    parser.add_argument("--human", type=Path, nargs="+", help=f"scores by people (training.scores, training.pop909): {of_people}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes")


def people_given(parser: argparse.ArgumentParser, paths: Sequence[Path] | None, n_bars: int = PEOPLE_BARS) -> People | None:
    """Of an option --human; files that hold no scores end the program in one sentence."""
    try:
        return People(paths, n_bars) if paths else None
    except (OSError, ValueError, KeyError) as error:
        parser.error(f"--human: {error}; give files made by training.scores or training.pop909.")


def by_seed(work: Callable, args: argparse.Namespace, doing: str, *beside) -> list:
    """What work((folder, candidates, seed, *beside)) gives beside its seed, of all pieces: in the order of their seeds, whatever order they come in."""
    todo = [(str(args.model), args.candidates, args.seed * 1_000_003 + i, *beside) for i in range(args.pieces)]
    done = dict(tqdm(results_of(work, todo, args.jobs), total=len(todo), desc=doing, unit="piece"))
    return [done[seed] for seed in sorted(done)]


def drawn_take(lara: Lara, rng: np.random.Generator, seed: int, candidates: int) -> tuple[Take, Style, np.ndarray]:
    """A piece to be played, of a drawn prompt, curve and length; the style it is asked for in, and the points [KNOTS,2] of the curve."""
    style = STYLES[seed % len(STYLES)]
    points, composer = draw_curve(rng, KNOTS), Composer(style, rng)
    prompt = captions(rng, style.words, [p for p in composer.programs[:-1] if p >= 0], points)[0]
    curve = Curve(tuple((t, v, a) for t, (v, a) in zip(np.linspace(0, 1, KNOTS).tolist(), points.tolist())), "normalized")
    request = Request(float(rng.uniform(*SECONDS)), metre=composer.metre, tonic=int(rng.integers(12)), seed=seed)
    return lara.stream(prompt, curve, request, candidates=candidates), style, points


def rehearsed(job: tuple[str, int, int]) -> tuple[int, Played]:
    """A model's folder, how many tries a segment has, and a seed -> the seed and one piece, labelled with what it was asked for
    and captioned with who plays."""
    folder, candidates, seed = job
    rng = np.random.default_rng(seed)
    take, style, points = drawn_take(player(folder), rng, seed, candidates)
    segments = take.write()
    who = players(take.session.piece)
    words = style.words if {*who} <= style.programs else ()  # a model does not always play what it is asked for
    codes, emotion = np.concatenate([s.codes for s in segments], 1).astype(np.uint8), np.concatenate([s.emotion for s in segments])
    return seed, Played(codes, emotion, captions(rng, words, who, points), style.name)


def well_formed(piece: Played) -> bool:
    """Whether it is like what people write. What is to be dark and tense may grind more."""
    valence, arousal = piece.emotion.mean(0)
    grinds, pairs = TENSE_GRINDS if valence < -0.3 and arousal > 0 else GRINDS, stuck(piece.codes)
    return not hammered(piece.codes).any() and pairs.sum() <= STAYS * len(pairs) and grinding(decode(piece.codes)) <= grinds


def most_like(people: People, pieces: Sequence[Played]) -> list[Played]:
    """Those of the pieces that are most like people's among what is as glad and as tense: few people write what is at the ends, and a model
    is to reach them."""
    valence, arousal = np.array([piece.emotion.mean(0) for piece in pieces], float).T
    usual = np.column_stack([np.ones(len(pieces)), valence, arousal, valence ** 2, arousal ** 2, valence * arousal])
    far = np.array([people.beyond(decode(piece.codes)) for piece in pieces])
    far -= usual @ np.linalg.lstsq(usual, far)[0]
    farthest = np.quantile(far, LIKE_PEOPLE)
    return [piece for piece, off in zip(pieces, far) if off <= farthest]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser, 1000, 1, "of which the nearest to the curve stays", "the third of the pieces that is least like them is left out")
    args = parser.parse_args()
    people = people_given(parser, args.human, COMPARED_BARS)
    if player(str(args.model)).has_steady_segments:
        parser.error(f"{args.model} makes sound and no scores; give the folder of a score model.")
    kept = [piece for piece in by_seed(rehearsed, args, "rehearsing") if well_formed(piece)]
    print(f"{len(kept)} of {args.pieces} pieces are well formed and kept")
    if not kept:
        parser.error("nothing well formed was played, so nothing is written; rehearse more --pieces, or a model that has learnt longer.")
    if people is not None:
        kept = most_like(people, kept)
        print(f"{len(kept)} of them are most like people's and kept")
    write_arrays(args.output, packed(kept, rehearsed=True))


if __name__ == "__main__":
    main()
