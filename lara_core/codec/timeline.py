"""Time as written -> time on the grid: metres become bars that the lanes have, notes in quarters become notes on sixteenths."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .score import METRES

FRAMES_PER_QUARTER = 4
FILL = {8: "2/4", 12: "3/4", 16: "4/4", 20: "5/4"}  # frames -> the bar that closes a section of odd length


class PartNote(NamedTuple):
    start: float  # quarters
    duration: float  # quarters
    pitch: int  # MIDI
    velocity: int = 80


class Placed(NamedTuple):
    start: int
    end: int
    pitch: int
    velocity: int
    part: int


class Timeline(NamedTuple):
    """Bars in supported metres, and where a position in quarters lies on their frames."""

    metres: list[str]
    anchors: list[tuple[float, float]]  # (quarters, frames): from here on four frames a quarter

    def frames(self, quarters: float) -> float:
        at = self.anchors[0]
        for anchor in self.anchors[1:]:
            if anchor[0] > quarters + 1e-6:
                break
            at = anchor
        return at[1] + (quarters - at[0]) * FRAMES_PER_QUARTER


def nearest_metre(numerator: int, denominator: int) -> str:
    """Any metre -> the supported one whose bars it is cut into: 12/8 -> 6/8, 3/2 -> 3/4, 2/2 -> 4/4, 3/8 -> 6/8 ..."""
    frames = numerator * 16 / denominator
    if denominator >= 8 and numerator % 3 == 0:
        return "6/8"
    if numerator % 5 == 0:
        return "5/4"
    if numerator % 3 == 0:
        return "3/4"
    return "2/4" if frames <= 8 else "4/4"


def plan_bars(metres: Sequence[tuple[float, int, int]], end_quarters: float) -> Timeline:
    """(position, numerator, denominator) -> bars from quarter 0 to the end.

    A first metre later than 0, or a first bar shorter than those after it, is a pickup: it is padded in front. Where a
    section of unsupported metre does not fill whole bars its last bar is a shorter or longer one; up to three sixteenths are
    added if nothing else fits, so a downbeat stays a downbeat.
    """
    sections = [m for i, m in enumerate(metres) if i == 0 or m[1:] != metres[i - 1][1:] or _breaks_bar(metres[i - 1], m)]
    if len(sections) > 1 and sections[0][0] == 0:
        first, then = sections[:2]
        length = then[0]
        if abs(length - first[1] * 4 / first[2]) < 1e-6 and length < then[1] * 4 / then[2]:
            sections = sections[1:]
    names, anchors = [], []
    for i, (position, numerator, denominator) in enumerate(sections):
        metre = nearest_metre(numerator, denominator)
        bar = METRES[metre][0]
        if i == 0:
            pickup_bars = int(np.ceil(round(position * FRAMES_PER_QUARTER, 4) / bar))
            names += [metre] * pickup_bars
        anchors.append((position, float(sum(METRES[m][0] for m in names))))
        last = i + 1 == len(sections)
        length = ((end_quarters if last else sections[i + 1][0]) - position) * FRAMES_PER_QUARTER
        if last:
            names += [metre] * max(int(np.ceil(round(length / bar, 4))), 0 if names else 1)
            break
        beats = int(np.ceil(round(length / 4, 4)))
        full, rest = divmod(beats * 4, bar)
        if rest == 4:  # one beat too many: a bar that is a beat longer, else two bars, else a padded one
            full, rest = (full - 1, bar + 4) if full else (0, 8)
        names += [metre] * full
        names += [] if rest == 0 else ["3/4", "3/4"] if rest == 24 else [FILL[rest]]
    return Timeline(names, anchors)


def _breaks_bar(before, after) -> bool:
    bars = (after[0] - before[0]) / (before[1] * 4 / before[2])
    return abs(bars - round(bars)) > 1e-4


def swings(onsets: np.ndarray) -> bool:
    """onsets [N] in quarters: are the off-beat eighths played late, near two thirds of the beat, and hardly elsewhere?"""
    phase = np.asarray(onsets) % 1
    late = np.sum((phase > 0.60) & (phase < 0.72))
    straight = np.sum(np.abs(phase - 0.5) < 0.06)
    triplet = np.sum((phase > 0.28) & (phase < 0.39))
    return bool(late >= 16 and late > 3 * straight and late > 3 * triplet)


def unswing(quarters: float) -> float:
    """Where a position within a swung beat lies in an even one: 2/3 -> 1/2."""
    beat, phase = divmod(quarters, 1)
    return beat + (phase * 0.75 if phase <= 2 / 3 else 0.5 + (phase - 2 / 3) * 1.5)


def quantise(notes: Sequence[PartNote], timeline: Timeline, part: int = 0, swing: bool = False) -> tuple[list[Placed], int]:
    """One part's notes -> notes on sixteenths, and how many were merged.

    Two notes that follow each other within one sixteenth do not become a chord: the one nearer to the grid stays. Notes that
    overlap within it (a rolled chord) do become one.
    """
    warp = unswing if swing else float
    exact = sorted((timeline.frames(warp(n.start)), timeline.frames(warp(n.start + n.duration)), n) for n in notes)
    kept: dict[int, list] = defaultdict(list)
    for start, end, note in exact:
        frame = max(int(np.floor(start + 0.5)), 0)
        rivals = [r for r in kept[frame] if r[2].pitch == note.pitch or start >= r[1] - 0.05]
        mine = (abs(start - frame), start - end)  # nearest to the grid, then longest
        if all(mine < (abs(r[0] - frame), r[0] - r[1]) for r in rivals):
            kept[frame] = [r for r in kept[frame] if r not in rivals] + [(start, end, note)]
    placed, sounding = [], {}
    for frame in sorted(kept):
        for start, end, note in kept[frame]:
            earlier = sounding.get(note.pitch)
            if earlier is not None and placed[earlier].end > frame:
                placed[earlier] = placed[earlier]._replace(end=frame)  # a key struck again ends its first note
            sounding[note.pitch] = len(placed)
            placed.append(Placed(frame, max(frame + 1, int(np.floor(end + 0.5))), int(note.pitch), int(note.velocity), part))
    return placed, len(exact) - len(placed)
