"""What scores are like, measure by measure: on notes, not on sound. bench/musicality.py compares a model with people by it,
training/rehearsal.py keeps what is more like theirs, and training/preferences.py lets a model prefer it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from lara_core.codec import score
from lara_core.codec.harmony import scale_consistency
from lara_core.codec.score import LANE, METRES, Note, Score

PEOPLE, PEOPLE_BARS = 400, 8  # pieces of a file that stand for all of it, and bars that are compared
MEASURED_BARS = 5  # of the shortest piece that can be measured
MELODY_NOTES = 8  # of a melody with fewer nothing is said


def pitch_class_entropy(notes: Sequence[Note]) -> float:
    """Bits (Wu and Yang 2020, arXiv 2008.01307): 3.58 where all twelve are equally frequent."""
    shares = np.bincount([note.pitch % 12 for note in notes], minlength=12) / len(notes)
    return float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())


def groove_consistency(piece: Score) -> float:
    """How alike the onsets of neighbouring bars are (Wu and Yang 2020): 1 - Hamming distance / frames of a bar, on average."""
    struck = np.zeros(piece.frames, bool)
    struck[[note.start for note in piece.notes if note.start < piece.frames]] = True
    struck |= piece.drums > 0
    bars = [struck[at:at + bar.frames] for at, bar in zip(piece.bar_starts(), piece.bars)]
    pairs = [np.mean(a == b) for a, b in zip(bars, bars[1:]) if len(a) == len(b)]
    return float(np.mean(pairs))


def bars_of(piece: Score) -> list[frozenset]:
    """For each bar the notes that start in it: (lane, frame in the bar, semitones above the tonic)."""
    bars, starts = [set() for _ in piece.bars], piece.bar_starts()
    for note in piece.notes:
        bar = score.bar_number(starts, note.start)
        bars[bar].add((note.lane, int(note.start - starts[bar]), note.pitch - score.key_shift(piece.tonic)))
    return [frozenset(bar) for bar in bars]


def repetition(piece: Score) -> float:
    """How much of a bar was heard before: the Jaccard similarity to the likest earlier bar, on average over all but the first four."""
    bars = bars_of(piece)
    likest = [max((len(bar & other) / len(bar | other) for other in bars[:i] if bar | other), default=0.0) for i, bar in enumerate(bars) if i >= 4]
    return float(np.mean(likest))


def polyphony(piece: Score) -> float:
    """Pitches sounding at once, on average over the frames with any."""
    sounding = np.zeros(piece.frames + 1)
    for note in piece.notes:
        sounding[note.start] += 1
        sounding[min(note.start + note.duration, piece.frames)] -= 1
    count = np.cumsum(sounding)[:-1]
    return float(count[count > 0].mean())


def melody(piece: Score) -> tuple[float, float]:
    """Of the lead's notes the share that the next one follows by step (1 or 2 semitones), and the share on a beat; NaN where they are few."""
    notes = sorted((note for note in piece.notes if note.lane == LANE["lead"]), key=lambda note: note.start)
    if len(notes) < MELODY_NOTES:
        return np.nan, np.nan
    starts = piece.bar_starts()
    in_bar = [note.start - starts[score.bar_number(starts, note.start)] for note in notes]
    steps = np.abs(np.diff([note.pitch for note in notes]))
    return float(np.mean((steps >= 1) & (steps <= 2))), float(np.mean(np.array(in_bar) % METRES[piece.bars[0].metre][1] == 0))


def chord_changes(piece: Score) -> float:
    """How often another chord begins, a bar."""
    return sum((a.root, a.quality) != (b.root, b.quality) for a, b in zip(piece.chords, piece.chords[1:])) / len(piece.bars)


def measures(piece: Score) -> dict[str, float]:
    """Every measure of a piece of MEASURED_BARS or more; NaN where one has nothing to say."""
    beats = sum(bar.frames / METRES[bar.metre][1] for bar in piece.bars)
    pitches = [note.pitch for note in piece.notes]
    by_step, on_beat = melody(piece)
    return {"scale consistency": scale_consistency(piece.notes), "pitch-class entropy (bits)": pitch_class_entropy(piece.notes),
            "groove consistency": groove_consistency(piece), "repetition": repetition(piece),
            "onsets a beat": len({note.start for note in piece.notes}) / beats, "notes at once": polyphony(piece),
            "grinding (semitones at once)": score.grinding(piece),
            "range (semitones, 5 to 95 %)": float(np.subtract(*np.percentile(pitches, (95, 5)))),
            "melody by step": by_step, "melody on a beat": on_beat, "changes of chord a bar": chord_changes(piece)}


def cut(pieces: Iterable[np.ndarray], n_bars: int) -> Iterator[Score]:
    """The first bars of codes [K,F]; what is shorter, or silent so far, is left out."""
    for codes in pieces:
        starts = np.append(score.bar_starts(codes), codes.shape[1])
        piece = score.decode(codes[:, :starts[min(n_bars, len(starts) - 1)]])
        if len(piece.bars) == n_bars and piece.notes:
            yield piece


def pieces_of(path: Path) -> Iterator[np.ndarray]:
    """Codes [K,F] of every piece in a file of scores or in a corpus."""
    with np.load(path) as data:
        codes, offsets = data["codes"], data["offsets"]
    for start, end in zip(offsets, offsets[1:]):
        yield codes[:, start:end]


class People:
    """What scores by people are like over some bars: of each measure the quartiles, and how far it spreads (a standard deviation)."""

    def __init__(self, paths: Sequence[Path], n_bars: int = PEOPLE_BARS, most: int = PEOPLE):
        """Of so many pieces of each file. ValueError where none is that long."""
        self.n_bars = n_bars
        rows = [measures(piece) for path in paths for piece in islice(cut(pieces_of(path), n_bars), most)]
        if not rows:
            raise ValueError(f"no piece in {', '.join(map(str, paths))} has {n_bars} bars with notes")
        table = np.array([list(row.values()) for row in rows])
        self.low, self.high, self.spread = *np.nanpercentile(table, (25, 75), axis=0), np.nanstd(table, axis=0)

    def unlike(self, codes: np.ndarray) -> float:
        """`beyond` of the last bars of codes [K,F]. Of fewer bars nothing is said: 0."""
        starts = score.bar_starts(codes)
        return self.beyond(score.decode(codes[:, starts[-self.n_bars]:])) if len(starts) >= self.n_bars else 0.0

    def beyond(self, piece: Score) -> float:
        """How far a piece lies beyond the quartiles, in spreads, at most 1, the mean over the measures: 0 is like people's; and is said of
        what is too short to be measured."""
        if len(piece.bars) < MEASURED_BARS or not piece.notes:
            return 0.0
        found = np.array(list(measures(piece).values()))
        beyond = np.maximum(self.low - found, found - self.high) / np.maximum(self.spread, 1e-6)
        return float(np.nanmean(beyond.clip(0, 1)))
