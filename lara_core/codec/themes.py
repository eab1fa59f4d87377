"""Themes: what a score was asked for and what it played, bar by bar, go in; where its emotion comes back, its melody and harmony do.

A model reads ten bars and forgets what was before. So here every THEME_BARS bars are remembered as a theme, and where a phrase begins whose emotion
is near that of one, its chords and melody are given again, while tempo, dynamics, players and accompaniment stay free: A B A C A
where the emotion stands, and where it goes away and comes back, the music comes back with it.
"""

from collections.abc import Sequence

import numpy as np

from .score import CLOSING_BARS, FIRST_PITCH, HOLD, LANE, REST

THEME_BARS, PHRASE_BARS = 8, 4
NEAR = 0.35  # in valence and arousal together: so far the composer of the training data keeps a section, too
ALIKE = 0.1  # among themes that are as near the earliest returns


class Themes:
    """Of one piece. frames: of a bar."""

    def __init__(self, frames: int):
        self.frames = frames
        self.emotions: list[np.ndarray] = []  # [2] of every bar, the next ones included
        self.played: list[np.ndarray] = []  # harmony and lead [2,frames] of every bar so far
        self.back, self.source = -2 * THEME_BARS, 0  # the bar from which a theme returned last, and its first bar

    def given(self, forced: np.ndarray, emotion: np.ndarray, bars_left: Sequence[int]) -> np.ndarray:
        """Codes [K,F] that the next bars are given (-1: free), with what returns in them. emotion [F,2], NaN: none; bars_left: of each, itself included."""
        forced, done = forced.copy(), len(self.played)
        self.emotions[done:] = np.nan_to_num(emotion).reshape(len(bars_left), self.frames, 2).mean(1)
        for i, left in enumerate(bars_left):
            bar, span, now = done + i, slice(i * self.frames, (i + 1) * self.frames), self.emotions[done + i]
            begins = bar % PHRASE_BARS == 0
            if begins and bar >= self.back + 2 * THEME_BARS and (source := self._near(bar, now)) is not None:
                self.back, self.source = bar, source
            theme = self.source + bar - self.back
            if bar < self.back + THEME_BARS and left > CLOSING_BARS and self._distance(theme, now) <= NEAR:
                self._give(forced[:, span], *self.played[theme], begins)
        return forced

    def add(self, codes: np.ndarray) -> None:
        """What was played [K,F] in those bars."""
        lanes = codes[[LANE["harmony"], LANE["lead"]]]
        self.played += [lanes[:, at:at + self.frames] for at in range(0, lanes.shape[1], self.frames)]

    def _distance(self, bar: int, now: np.ndarray) -> float:
        return float(np.abs(self.emotions[bar] - now).sum())

    def _near(self, bar: int, now: np.ndarray) -> int | None:
        """The first bar of the theme that may return: as many bars as it has lie between."""
        found = {first: self._distance(first, now) for first in range(0, bar - 2 * THEME_BARS + 1, THEME_BARS)}
        nearest = min(found.values(), default=np.inf)
        return next((first for first, distance in found.items() if distance <= min(nearest + ALIKE, NEAR)), None)

    @staticmethod
    def _give(forced: np.ndarray, harmony: np.ndarray, lead: np.ndarray, begins: bool) -> None:
        for lane, codes in (("harmony", harmony), ("lead", lead)):
            if lane == "lead" and not (codes >= FIRST_PITCH).any():
                continue  # nothing is played that could return
            given = np.where(forced[LANE[lane]] < 0, codes, forced[LANE[lane]])
            if lane == "lead" and begins and given[0] == HOLD:
                given[0] = REST  # what sounds is another's
            forced[LANE[lane]] = given
