"""Harmony heard in notes: pitch-class weights -> key; notes -> how far they keep to a scale; a Score -> its chords on the beats."""

from collections.abc import Sequence

import numpy as np

from .score import METRES, QUALITIES, QUALITY_NAMES, Chord, Note, Score

# Probe-tone ratings: C. L. Krumhansl & E. J. Kessler, Psychological Review 89 (1982), also Krumhansl 1990, p. 30.
KRUMHANSL_KESSLER = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
# What each quality starts with: common ones win ties against those with the same or more tones.
PRIORS = {"maj": 0.06, "min": 0.06, "7": 0.02, "maj7": -0.03, "min7": 0.0, "m7b5": -0.02, "dim": -0.02, "aug": -0.08,
          "sus4": -0.08, "sus2": -0.12}
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10), "harmonic minor": (0, 2, 3, 5, 7, 8, 11)}
ROOT_IN_BASS, MISSING_TONES, HEARD = 0.2, 0.45, 0.06
CHANGE_COSTS = (0.10, 0.18, 0.30)  # at a bar line, in the middle of a bar, elsewhere


def estimate_key(weights: Sequence[float], sharps: int | None = None, last_bass: int | None = None,
                 trust_sharps: bool = True) -> tuple[int, str]:
    """Pitch-class weights [12] -> (tonic, 'major' | 'minor') by correlation with the Krumhansl-Kessler profiles.

    A key signature (sharps, negative for flats) leaves the two keys that share it, or only favours them where it is not to be
    trusted; a last bass note on the tonic counts a bit.
    """
    weights = np.asarray(weights, float)
    best = None
    for mode, profile in KRUMHANSL_KESSLER.items():
        for tonic in range(12):
            signed = sharps is not None and tonic == (7 * sharps + (9 if mode == "minor" else 0)) % 12
            if sharps is not None and trust_sharps and not signed:
                continue
            rolled = np.roll(profile, tonic)
            r = np.corrcoef(weights, rolled)[0, 1] if weights.std() > 0 else 0.0
            r += 0.1 * signed
            r += 0.15 if last_bass is not None and last_bass % 12 == tonic else 0.0
            if best is None or r > best[0]:
                best = r, tonic, mode
    return best[1], best[2]


def scale_consistency(notes: Sequence[Note]) -> float:
    """The share of notes inside the scale that fits best, of 12 x 3 (Mogren 2016, arXiv 1611.09904)."""
    classes = np.bincount([note.pitch % 12 for note in notes], minlength=12)
    return max(float(classes[[(root + step) % 12 for step in steps]].sum()) for root in range(12) for steps in SCALES.values()) / classes.sum()


def find_chords(score: Score) -> list[Chord]:
    """Chords on the beats of a score: templates over pitch classes weighted by duration, the bass weighing more; the best path
    where a change costs more within a bar than at its line. A piece that never sounds two pitches at once has none."""
    beats, costs = [], []  # frame of each beat; what a change costs there
    for bar, at in zip(score.bars, score.bar_starts()):
        step = METRES[bar.metre][1]
        for k in range(bar.frames // step):
            beats.append(int(at) + k * step)
            costs.append(CHANGE_COSTS[0 if k == 0 else 1 if k * step * 2 == bar.frames else 2])
    weights = np.zeros((len(beats), 12))
    lowest = np.full(len(beats), 128)
    frames = score.frames
    edges = np.array(beats + [frames])
    voices = np.zeros(frames, int)
    for note in score.notes:
        end = min(note.start + note.duration, frames)
        voices[note.start:end] += 1
        for b in range(int(np.searchsorted(edges, note.start, "right")) - 1, len(beats)):
            if edges[b] >= end:
                break
            overlap = min(end, edges[b + 1]) - max(note.start, edges[b])
            weights[b, note.pitch % 12] += overlap * (1.5 if note.start <= edges[b] else 1.0)
            lowest[b] = min(lowest[b], note.pitch)
    if np.sum(voices > 1) <= 0.1 * np.sum(voices > 0):
        return []
    templates = np.array([np.isin(np.arange(12), [(root + i) % 12 for i in QUALITIES[q]]) for root in range(12) for q in QUALITY_NAMES])
    roots = np.repeat(np.arange(12), len(QUALITIES))
    share = weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)
    heard = (share > HEARD).astype(float)
    fit = share @ templates.T - share @ (1 - templates.T)  # [beats, states]
    fit -= MISSING_TONES * (1 - heard @ templates.T / templates.sum(1))
    fit += np.tile([PRIORS[q] for q in QUALITY_NAMES], 12) + ROOT_IN_BASS * (lowest[:, None] % 12 == roots) * (lowest[:, None] < 128)
    fit[weights.sum(1) == 0] = 0.0
    total, came = np.zeros(len(roots)), np.zeros((len(beats), len(roots)), int)
    for b in range(len(beats)):
        best = int(total.argmax())
        stay = total >= total[best] - costs[b]
        came[b] = np.where(stay, np.arange(len(roots)), best)
        total = np.where(stay, total, total[best] - costs[b]) + fit[b]
    path = [int(total.argmax())]
    for b in range(len(beats) - 1, 0, -1):
        path.append(int(came[b, path[-1]]))
    chords = []
    for beat, state in zip(beats, reversed(path)):
        chord = Chord(beat, int(roots[state]), QUALITY_NAMES[state % len(QUALITIES)])
        if not chords or chords[-1][1:] != chord[1:]:
            chords.append(chord)
    return chords
