"""Labels by ear: from pieces that the Emotion Predictor has heard it is learnt what in a score moves it, and every piece of a corpus
gets the valence and arousal it would be heard with.

    python -m training.labels runs/corpus.npz -o runs/labelled.npz                                  # a corpus that training.features has heard
    python -m training.labels runs/corpus.npz -o runs/labelled.npz --predictor models/embedded      # or one that nobody has: by what that model knows

The drawn curve of a composed piece says what its composer meant; chance in its harmony, figures and instruments moves what is heard as
far again. A small network from the notes of some seconds to the predictor's track (r over held-out pieces is printed)
predicts it for what was not heard. Between the ends of what is heard it becomes -1 to 1 and is mixed with the drawn labels: half over
all styles together, so that the same request means the same to everyone, and half within each, so that every style can be asked for
everything: a music box has a calm and a tense of its own. What a model played in a rehearsal was asked for but not meant by anyone:
there the curve that a composer would have written such notes for, learnt from composed pieces, stands for the drawn one, so that a
model does not come to please one ear alone. What is low is heard dark in major too: no window but an opening begins where it is dark and not in minor,
or dark would come to need no mode. `emotion` and `starts` in the file are replaced; all else is copied.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lara_core.codec.score import decode, sounding_thirds
from lara_core.score import pearson
from lara_core.score_predictor import ScorePredictor, in_reach, reach, windows
from lara_core.workers import results_of

from .windows import HEARD_EVERY_FRAMES, write_arrays

SKIPPED_ROWS = 2  # it is learnt from every second row, for neighbours hear nearly the same,
MOST_ROWS = 100_000  # or from fewer
MEANT_ROWS, FEW_ROWS = 20_000, 16  # of what was composed, every so many of a piece, from which it is learnt what notes mean
HEARD_SHARE = 0.85  # of the label; the rest is what was meant: of 0.7 the labels themselves let arousal leak into heard valence by 0.16, of this by 0.06
OWN_SHARE = 0.5  # of what is heard in it, measured within a style; the rest over all of them
DARK, MINOR, MODE_FRAMES = -0.3, 0.6, 64  # what is darker, over so many frames, is in minor for so much of its thirds above the tonic
FOLDS = 5


def numbered_windows(job: tuple[int, np.ndarray, np.ndarray]) -> tuple[int, np.ndarray, np.ndarray]:
    number, codes, emotion = job
    return number, *windows(codes, emotion)


def heard_in(corpus: dict) -> list[tuple[int, int, int]]:
    """(piece, first frame, frame after the last) of every excerpt that was heard."""
    known = ~np.isnan(corpus["features"][:, 0])
    found = []
    for i, (start, end) in enumerate(zip(corpus["offsets"], corpus["offsets"][1:])):
        rows = np.flatnonzero(known[start // HEARD_EVERY_FRAMES:end // HEARD_EVERY_FRAMES])
        if len(rows):
            found.append((i, int(start + rows[0] * HEARD_EVERY_FRAMES), int(start + (rows[-1] + 1) * HEARD_EVERY_FRAMES)))
    return found


def centred(kinds: np.ndarray, x: np.ndarray) -> np.ndarray:
    """[N,2] -> [N,2], each kind of piece about its own mean."""
    x = x.copy()
    for kind in np.unique(kinds):
        x[kinds == kind] -= x[kinds == kind].mean(0)
    return x


def correlations(a: np.ndarray, b: np.ndarray) -> list[float]:
    """Pearson r of two [N,2] for each dimension."""
    return [pearson(a[:, d], b[:, d]) for d in (0, 1)]


def within(kinds: np.ndarray, a: np.ndarray, b: np.ndarray) -> list[float]:
    """The same, each kind of piece about its own mean."""
    return correlations(centred(kinds, a), centred(kinds, b))


def skipped_rows(corpora: Sequence[dict], most_rows: int) -> int:
    """From every how manieth row of what was heard in some corpora it is learnt."""
    rows = sum(end - start for corpus in corpora for _, start, end in heard_in(corpus)) // HEARD_EVERY_FRAMES
    return max(SKIPPED_ROWS, -(-rows // most_rows))


def heard_rows(corpus: dict, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of every step-th stretch that was heard: cues [M,C], the drawn emotion [M,2], the heard one [M,2], and the piece [M] of each."""
    inputs, drawn, targets, pieces = [], [], [], []
    for i, start, end in tqdm(heard_in(corpus), desc="learning", unit="piece"):
        seen, meant = windows(corpus["codes"][:, start:end], corpus["emotion"][start:end].astype(np.float32))
        heard = corpus["heard"][start // HEARD_EVERY_FRAMES:end // HEARD_EVERY_FRAMES]
        music = np.flatnonzero(~np.isnan(heard).any(1))[::step]
        for rows, values in ((inputs, seen), (drawn, meant), (targets, heard), (pieces, np.full(len(seen), i))):
            rows.append(values[music])
    return tuple(np.concatenate(rows) for rows in (inputs, drawn, targets, pieces))


def some_rows(corpus: dict, pieces: Sequence[int], step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every step-th stretch of some pieces: cues [M,C], the drawn emotion [M,2], and the how manieth piece [M] each is of."""
    inputs, drawn, own = [], [], []
    for number, i in enumerate(pieces):
        span = slice(*corpus["offsets"][i:i + 2])
        seen, curve = windows(corpus["codes"][:, span], corpus["emotion"][span].astype(np.float32))
        for rows, values in ((inputs, seen), (drawn, curve), (own, np.full(len(seen), number))):
            rows.append(values[::step])
    return tuple(np.concatenate(rows) for rows in (inputs, drawn, own))


def with_kept(inputs: np.ndarray, targets: np.ndarray, kept: tuple[np.ndarray, np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
    """Cues [M,C] and targets [M,2], and after them those that are kept."""
    return (inputs, targets) if kept is None else tuple(np.concatenate(rows) for rows in zip((inputs, targets), kept))


def left_out(inputs: np.ndarray, targets: np.ndarray, pieces: np.ndarray, kept: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """What is predicted [M,2] of cues [M,C] by what has learnt from other pieces, and from rows that are kept."""
    guessed = np.empty_like(targets)
    for f in range(FOLDS):
        held = pieces % FOLDS == f
        guessed[held] = ScorePredictor.learnt(*with_kept(inputs[~held], targets[~held], kept))(inputs[held])
    return guessed


def learn(corpus: dict, kinds: np.ndarray) -> ScorePredictor:
    """Notes -> heard emotion, from the stretches that were heard; prints r over pieces left out of the learning."""
    inputs, drawn, targets, pieces = heard_rows(corpus, skipped_rows([corpus], MOST_ROWS))
    guessed, of = left_out(inputs, targets, pieces), kinds[pieces]
    for what, value in (("notes", guessed), ("drawn curve", drawn)):
        r = within(of, value, targets)
        print(f"r with heard within a style, {len(np.unique(pieces))} pieces: {what} valence {r[0]:.2f}, arousal {r[1]:.2f}")
    return ScorePredictor.learnt(inputs, targets)


def wider(kinds: np.ndarray, told: np.ndarray, read: np.ndarray) -> np.ndarray:
    """How many times further [2] what was heard [N,2], NaN where nothing was, spreads within a style than what is read [N,2] of the rest of it: of
    the rest alone, for a reader knows what it has learnt from better."""
    there = ~np.isnan(told).any(1)
    both = np.isin(kinds, kinds[there]) & np.isin(kinds, kinds[~there])
    spread = lambda rows, x: centred(kinds[rows & both], x[rows & both]).std(0)
    return spread(there, told) / spread(~there, read) if both.any() else np.ones(2)


def meaning_of_notes(corpus: dict) -> ScorePredictor:
    """Notes -> the curve that a composer would have written them for, from pieces that no model has played; prints r over pieces left out."""
    pieces = np.flatnonzero(~corpus["rehearsed"])
    rows_of_all = int(np.diff(corpus["offsets"])[pieces].sum()) // HEARD_EVERY_FRAMES
    inputs, drawn, own = some_rows(corpus, pieces[::max(1, rows_of_all // (FEW_ROWS * MEANT_ROWS))], FEW_ROWS)
    r = correlations(left_out(inputs, drawn, own), drawn)
    print(f"r of what notes mean with the drawn curve, {len(np.unique(own))} pieces: valence {r[0]:.2f}, arousal {r[1]:.2f}")
    return ScorePredictor.learnt(inputs, drawn)


def in_measure(heard: np.ndarray, whole: tuple[np.ndarray, np.ndarray], own: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """What is heard [N,2] in the measure of requests: partly between the ends of all styles, partly between those of its own."""
    return (1 - OWN_SHARE) * in_reach(heard, *whole) + OWN_SHARE * in_reach(heard, *own)


def predictor_given(parser: argparse.ArgumentParser, folder: Path | None) -> ScorePredictor | None:
    """Of an option --predictor; a folder without one ends the program in one sentence."""
    predictor = None if folder is None else ScorePredictor.beside(folder)
    if folder is not None and predictor is None:
        parser.error(f"{folder} has no score predictor; see training.score_predictor")
    return predictor


def relabel(corpus: dict, jobs: int, share: float, predictor: ScorePredictor | None = None) -> np.ndarray:
    """The emotion [total,2] of every frame: the drawn curve, or of what a model has played what its notes mean, moved by `share` towards
    what would be heard. predictor: of what was not heard; without one it is learnt. ValueError where there is none and nothing was heard."""
    if predictor is None and "heard" not in corpus:
        raise ValueError("The predictor has heard nothing of this corpus; run training.features on it first, or give a model that has one.")
    offsets, drawn = corpus["offsets"], corpus["emotion"].astype(np.float32)
    kinds = np.array(json.loads(str(corpus["kinds"])))
    learnt = learn(corpus, kinds) if predictor is None else predictor
    pieces = list(zip(offsets, offsets[1:]))
    meaning = meaning_of_notes(corpus) if corpus["rehearsed"].any() and not corpus["rehearsed"].all() else None
    guessed, meant = [None] * len(pieces), [None] * len(pieces)
    todo = [(i, corpus["codes"][:, a:b], drawn[a:b]) for i, (a, b) in enumerate(pieces)]
    for i, seen, smooth in tqdm(results_of(numbered_windows, todo, jobs), total=len(todo), desc="labelling", unit="piece"):
        if meaning is not None and corpus["rehearsed"][i]:
            smooth = np.clip(meaning(seen), -1, 1).astype(np.float32)
            drawn[pieces[i][0]:pieces[i][1]] = np.repeat(smooth, HEARD_EVERY_FRAMES, 0)
        guessed[i], meant[i] = learnt(seen).astype(np.float32), smooth
    of = np.repeat(np.arange(len(pieces)), [len(guess) for guess in guessed])  # the piece of every row
    heard, smooth = np.concatenate(guessed), np.concatenate(meant)
    own = [kinds[of] == kind for kind in np.unique(kinds)]
    if "heard" in corpus:
        known = np.concatenate([corpus["heard"][a // HEARD_EVERY_FRAMES:b // HEARD_EVERY_FRAMES] for a, b in pieces])
        factor = wider(kinds[of], known, heard)
        for rows in own:
            heard[rows] = heard[rows].mean(0) + factor * (heard[rows] - heard[rows].mean(0))
        heard = np.where(np.isnan(known), heard, known)
    measured, whole = np.empty_like(heard), reach(heard)
    for rows in own:
        measured[rows] = in_measure(heard[rows], whole, reach(heard[rows]))
    label = drawn + share * np.repeat(measured - smooth, HEARD_EVERY_FRAMES, 0)
    return np.clip(label, -1, 1).astype(np.float16)


def starts_in_minor_where_dark(corpus: dict) -> np.ndarray:
    """Of the starts of windows those that are not to be dark, or where the thirds above the tonic are minor."""
    starts, offsets = corpus["starts"], corpus["offsets"]
    pieces = np.searchsorted(offsets, starts, side="right") - 1
    ends, upto = np.minimum(starts + MODE_FRAMES, offsets[pieces + 1]), np.append(0, np.cumsum(corpus["emotion"][:, 0], dtype=float))
    dark = np.flatnonzero((upto[ends] - upto[starts]) / (ends - starts) < DARK)
    kept = np.ones(len(starts), bool)
    for piece, own in groupby(dark, pieces.__getitem__):
        own, first = list(own), offsets[piece]
        thirds = np.cumsum(np.pad(sounding_thirds(decode(corpus["codes"][:, first:offsets[piece + 1]])), ((1, 0), (0, 0))), 0)
        minor, major = (thirds[ends[own] - first] - thirds[starts[own] - first]).T
        kept[own] = minor >= MINOR * (minor + major)
    return starts[kept]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--predictor", type=Path, metavar="MODEL", help="a model's folder with a score predictor, in place of learning one")
    parser.add_argument("--share", type=float, default=HEARD_SHARE, help="of what is heard in the label, 0 to 1")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    args = parser.parse_args()
    predictor = predictor_given(parser, args.predictor)
    with np.load(args.corpus) as data:
        corpus = dict(data)
    corpus["emotion"] = relabel(corpus, args.jobs, args.share, predictor)
    corpus["starts"] = starts_in_minor_where_dark(corpus)
    write_arrays(args.output, corpus)


if __name__ == "__main__":
    main()
