"""Labels by ear: from pieces that the Emotion Predictor has heard it is learnt what in a score moves it, and every piece of a corpus
gets the valence and arousal it would be heard with.

    python -m training.labels runs/corpus.npz -o runs/labelled.npz    # a corpus that training.features has heard

The drawn curve of a composed piece says what its composer meant; chance in its harmony, figures and instruments moves what is heard as
far again. A kernel ridge regression from the notes of some seconds to the predictor's track (r over held-out pieces is printed)
predicts it for what was not heard. Within each style the prediction is brought to the mean and spread of the drawn labels and mixed with
them, so that every style can be asked for everything: a music box has a calm and a tense of its own. `emotion` in the file is replaced; all
else is copied.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lara_core.codec import score as codes_of
from lara_core.codec.score import QUALITY_NAMES, ROLE_OF_LANE, ROLES, Score
from lara_core.workers import results_of

from .windows import HEARD_EVERY_FRAMES

WINDOW_SECONDS = 9.0  # the predictor judges 3 s together with its neighbours
SKIPPED_ROWS = 4  # the regression learns from every fourth row, for neighbours hear nearly the same,
MOST_ROWS = 8000  # or from fewer: its cost grows with their cube
HEARD_SHARE = 0.8  # of the label; the rest is the drawn curve
FOLDS = 5


def cues(piece: Score) -> np.ndarray:
    """A Score -> what the notes do in every frame [F,C]: onsets and notes sounding of each role and their height, drums, pitch
    classes above the tonic and above the root, chord quality, articulation, tempo, dynamics, swing, programs that sound."""
    n, roles = piece.frames, len(ROLES) - 1
    onsets, sounding, height = np.zeros((n, roles)), np.zeros((n, roles)), np.zeros((n, roles))
    pitches, on_root, quality = np.zeros((n, 128)), np.zeros((n, 12)), np.zeros((n, len(QUALITY_NAMES)))
    for note in piece.notes:
        role, span = ROLE_OF_LANE[note.lane], slice(note.start, note.start + note.duration)
        onsets[note.start, role] += 1
        sounding[span, role] += 1
        height[span, role] += (note.pitch - 60) / 12
        pitches[span, note.pitch] += 1
    classes = np.pad(pitches, ((0, 0), (0, 4))).reshape(n, 11, 12).sum(1)
    in_key = np.roll(classes, -piece.tonic, 1)
    for chord, end in zip(piece.chords, [*(c.start for c in piece.chords[1:]), n]):
        if chord.root >= 0:
            quality[chord.start:end, QUALITY_NAMES.index(chord.quality)] = 1
            on_root[chord.start:end] = np.roll(classes[chord.start:end], -chord.root, 1)
    programs, played = np.zeros((n, 128)), np.zeros((n, 7))
    for start, bar in zip(piece.bar_starts(), piece.bars):
        span = slice(start, start + bar.frames)
        for role, program in enumerate(bar.programs[:roles]):
            if program >= 0:
                programs[span, program] += sounding[span, role] > 0
        played[span, codes_of.ARTICULATIONS.index(bar.articulation)] = 1
        played[span, 4:] = np.log2(bar.tempo_bpm / 100), bar.dynamics / 4, bar.swing
    struck = np.concatenate([onsets, onsets.sum(1, keepdims=True) > 0, np.unpackbits(piece.drums[:, None], axis=1)], 1)
    return np.concatenate([struck / frame_seconds(piece)[:, None], sounding, height, in_key, on_root, quality, played, programs], 1)


def frame_seconds(piece: Score) -> np.ndarray:
    return np.repeat([bar.frame_seconds for bar in piece.bars], [bar.frames for bar in piece.bars])


def around(piece: Score, values: np.ndarray) -> np.ndarray:
    """Values [F,C] at the frames of a Score -> their means over WINDOW_SECONDS around every HEARD_EVERY_FRAMES frames [N,C]."""
    lasts = frame_seconds(piece)
    seconds = np.append(0, np.cumsum(lasts))
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values * lasts[:, None], 0)])
    middles = seconds[HEARD_EVERY_FRAMES // 2:-1:HEARD_EVERY_FRAMES]
    low, high = (np.clip(middles + side * WINDOW_SECONDS / 2, 0, seconds[-1]) for side in (-1, 1))

    def until(moments):
        frame = np.minimum(np.searchsorted(seconds, moments, side="right") - 1, len(lasts) - 1)
        return total[frame] + (moments - seconds[frame])[:, None] * values[frame]

    return ((until(high) - until(low)) / (high - low)[:, None]).astype(np.float32)


def windows(codes: np.ndarray, emotion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A piece's codes [K,F] and emotion [F,2] -> cues [N,C] and the emotion [N,2], both over the time the predictor hears as one."""
    piece = codes_of.decode(codes)
    return around(piece, cues(piece)), around(piece, emotion)


def numbered_windows(job: tuple[int, np.ndarray, np.ndarray]) -> tuple[int, np.ndarray, np.ndarray]:
    number, codes, emotion = job
    return number, *windows(codes, emotion)


class KernelRidge:
    """Ridge regression in the sum of a linear and a Gaussian kernel (Saunders, Gammerman & Vovk 1998), inputs standardised."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, width: float = 1.0, ridge: float = 3.0):
        self.mean, self.scale = inputs.mean(0), inputs.std(0) + 0.05 * inputs.std(0).max()
        self.width, self.offset, self.known = width, targets.mean(0), self._standard(inputs)
        kernel = self._kernel(self.known)
        self.weights = np.linalg.solve(kernel + ridge * np.eye(len(kernel), dtype=kernel.dtype), targets - self.offset)

    def _standard(self, inputs: np.ndarray) -> np.ndarray:
        return ((inputs - self.mean) / self.scale).astype(np.float32)

    def _kernel(self, inputs: np.ndarray) -> np.ndarray:
        product = inputs @ self.known.T
        squares = (inputs ** 2).sum(1)[:, None] + (self.known ** 2).sum(1) - 2 * product
        return np.exp(-squares / (self.width * inputs.shape[1])) + 0.1 * product / inputs.shape[1]

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return self._kernel(self._standard(inputs)) @ self.weights + self.offset


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


def within(kinds: np.ndarray, a: np.ndarray, b: np.ndarray) -> list[float]:
    """Pearson r of two [N,2] for each dimension, each kind of piece about its own mean."""
    a, b = centred(kinds, a), centred(kinds, b)
    return [float(np.corrcoef(a[:, d], b[:, d])[0, 1]) for d in (0, 1)]


def learn(corpus: dict, kinds: np.ndarray) -> tuple[KernelRidge, np.ndarray]:
    """Notes -> heard emotion, from the stretches that were heard, and how many times further [2] what is heard spreads within a style than
    what is predicted of pieces it has not learnt from; prints r over those."""
    inputs, targets, drawn, pieces = [], [], [], []
    excerpts = heard_in(corpus)
    step = max(SKIPPED_ROWS, -(-sum(end - start for _, start, end in excerpts) // (HEARD_EVERY_FRAMES * MOST_ROWS)))
    for i, start, end in tqdm(excerpts, desc="learning", unit="piece"):
        seen, meant = windows(corpus["codes"][:, start:end], corpus["emotion"][start:end].astype(np.float32))
        heard = corpus["heard"][start // HEARD_EVERY_FRAMES:end // HEARD_EVERY_FRAMES]
        music = np.flatnonzero(~np.isnan(heard).any(1))[::step]
        for rows, values in ((inputs, seen), (drawn, meant), (targets, heard), (pieces, np.full(len(seen), i))):
            rows.append(values[music])
    inputs, targets, drawn, pieces = (np.concatenate(rows) for rows in (inputs, targets, drawn, pieces))
    fold = pieces % FOLDS
    guessed = np.concatenate([KernelRidge(inputs[fold != f], targets[fold != f])(inputs[fold == f]) for f in range(FOLDS)])
    order = np.concatenate([np.flatnonzero(fold == f) for f in range(FOLDS)])
    order_kinds = kinds[pieces[order]]
    for what, value in (("notes", guessed), ("drawn curve", drawn[order])):
        r = within(order_kinds, value, targets[order])
        print(f"r with heard within a style, {len(np.unique(pieces))} pieces: {what} valence {r[0]:.2f}, arousal {r[1]:.2f}")
    return KernelRidge(inputs, targets), centred(order_kinds, targets[order]).std(0) / centred(order_kinds, guessed).std(0)


def in_measure_of(known: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x [N,2] brought to the mean and the spread of `known` [M,2], of which one still piece may be all."""
    return known.mean(0) + (x - x.mean(0)) / np.maximum(x.std(0), 1e-6) * known.std(0)


def relabel(corpus: dict, jobs: int, share: float) -> np.ndarray:
    """The emotion [total,2] of every frame: the drawn curve moved towards what would be heard. ValueError where nothing was heard."""
    if "heard" not in corpus:
        raise ValueError("The predictor has heard nothing of this corpus; run training.features on it first.")
    offsets, drawn = corpus["offsets"], corpus["emotion"].astype(np.float32)
    kinds = np.array(json.loads(str(corpus["kinds"])))
    learnt, wider = learn(corpus, kinds)
    pieces = list(zip(offsets, offsets[1:]))
    guessed, meant = {}, {}
    todo = [(i, corpus["codes"][:, a:b], drawn[a:b]) for i, (a, b) in enumerate(pieces)]
    for i, seen, smooth in tqdm(results_of(numbered_windows, todo, jobs), total=len(todo), desc="labelling", unit="piece"):
        guessed[i], meant[i] = learnt(seen).astype(np.float32), smooth
    label = drawn.copy()
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)
        heard, smooth = (np.concatenate([x[i] for i in own]) for x in (guessed, meant))
        known = np.concatenate([corpus["heard"][a // HEARD_EVERY_FRAMES:b // HEARD_EVERY_FRAMES] for a, b in (pieces[i] for i in own)])
        heard = np.where(np.isnan(known), heard.mean(0) + wider * (heard - heard.mean(0)), known)
        frames = np.concatenate([np.arange(*pieces[i]) for i in own])
        moved = np.repeat(in_measure_of(smooth, heard) - smooth, HEARD_EVERY_FRAMES, 0)
        label[frames] = in_measure_of(drawn[frames], drawn[frames] + share * moved)
    return np.clip(label, -1, 1).astype(np.float16)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--share", type=float, default=HEARD_SHARE, help="of what is heard in the label, 0 to 1")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    args = parser.parse_args()
    with np.load(args.corpus) as data:
        corpus = dict(data)
    corpus["emotion"] = relabel(corpus, args.jobs, args.share)
    temporary = args.output.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **corpus)
    os.replace(temporary, args.output)


if __name__ == "__main__":
    main()
