"""Themes: the music comes back where the emotion does."""

import numpy as np
import pytest

from lara_core.affect import Curve
from lara_core.codec import Request
from lara_core.codec.score import FIRST_PITCH, HOLD, K, LANE, REST
from lara_core.codec.themes import THEME_BARS, Themes
from lara_core.pipeline import Lara

FRAMES = 16


def played(bar: int) -> np.ndarray:
    """Codes [K,16] of a bar with a melody and a harmony of its own."""
    codes = np.zeros((K, FRAMES), np.int64)
    codes[LANE["harmony"], ::8] = 2 + bar
    codes[LANE["lead"], ::4] = FIRST_PITCH + 60 + bar
    return codes


def returns(emotions, written=played, n_closing: int = 0) -> list[int | None]:
    """For every bar of a piece the bar whose harmony and melody it is given, None where they are free."""
    themes, found = Themes(FRAMES), []
    for bar, emotion in enumerate(emotions):
        left = len(emotions) - bar if n_closing else 99
        given = themes.given(np.full((K, FRAMES), -1), np.tile(np.float32(emotion), (FRAMES, 1)), [left])
        assert (np.delete(given, [LANE["harmony"], LANE["lead"]], axis=0) == -1).all(), "all else stays free"
        found.append(None if given[LANE["harmony"], 0] < 0 else int(given[LANE["harmony"], 0]) - 2)
        themes.add(np.where(given < 0, written(bar), given))
    return found


def test_where_the_emotion_stands_the_theme_comes_again_with_other_music_between():
    free, theme = [None] * 8, list(range(8))
    assert returns([(0.3, -0.2)] * 48) == free * 2 + theme + free + theme + free
    assert returns([(np.nan, np.nan)] * 24) == free * 2 + theme, "and where nothing is asked for"


def test_what_comes_back_is_what_was_played_when_the_emotion_was_last_so():
    calm, tense = [(0.5, -0.5)] * 8, [(-0.5, 0.7)] * 8
    assert returns(calm + tense + calm) == [None] * 16 + list(range(8))
    assert returns(calm + tense + [(-0.5, 0.7)] * 8 + tense)[-8:] == list(range(8, 16))
    late = returns(calm + tense + tense[:4] + calm[:4])
    assert late == [None] * 20 + [0, 1, 2, 3], "from its beginning, where a phrase begins"
    away = returns([*calm, *tense, *calm[:4], *tense[:4]])
    assert away[16:] == [0, 1, 2, 3] + [None] * 4, "and no longer than the emotion does"
    assert returns([(0.2, 0.0)] * 8 + tense + [(0.1, 0.2)] * 8)[16:] == list(range(8)), "near is enough"
    assert returns([(0.2, 0.0)] * 8 + tense + [(-0.1, 0.2)] * 8)[16:] == [None] * 8


def test_an_end_has_its_own_cadence_and_what_is_given_stays():
    assert returns([(0, 0)] * 24, n_closing=2)[16:] == [0, 1, 2, 3, 4, 5, None, None]
    themes = Themes(FRAMES)
    for bar in range(16):
        themes.given(np.full((K, FRAMES), -1), np.zeros((FRAMES, 2)), [99])
        codes = played(bar)
        if bar == 0:
            codes[LANE["lead"], 0] = HOLD  # it begins with a note that is not its own
        if bar == 1:
            codes[LANE["lead"]] = HOLD
        themes.add(codes)
    forced = np.full((K, 4 * FRAMES), -1)
    forced[LANE["harmony"], 8] = 77
    given = themes.given(forced, np.zeros((4 * FRAMES, 2)), [99, 98, 97, 96])
    assert given[LANE["harmony"], 8] == 77 and given[LANE["harmony"], 0] == 2 and forced[LANE["harmony"], 0] == -1
    lead = given[LANE["lead"]].reshape(4, FRAMES)
    assert lead[0, 0] == REST and lead[0, 4] == FIRST_PITCH + 60 and (lead[1] == -1).all() and lead[2, 0] == FIRST_PITCH + 62


@pytest.mark.parametrize("moves", [False, True])
def test_a_piece_keeps_its_theme(moves):
    """At an exact tempo of 120 a bar lasts 2 s: 16 to 32 s are other music, and from 32 s on the beginning comes again."""
    curve = Curve(((0, 0.5, 0.2), (16, 0.5, 0.2), (17, -0.6, -0.6), (31, -0.6, -0.6), (32, 0.5, 0.2), (60, 0.5, 0.2)), "seconds", "linear") if moves else Curve.constant(0.5, 0.2)
    take = Lara.load().stream("folk tune", curve, Request(60.0, tempo=120, seed=3), candidates=1)
    codes = np.concatenate([segment.codes for segment in take.write()], axis=1)
    lanes = codes[[LANE["harmony"], LANE["lead"]]].reshape(2, -1, FRAMES)
    sings = (lanes[1, :THEME_BARS] >= FIRST_PITCH).any(1)  # a bar without a melody has none that could come again
    assert sings.sum() >= THEME_BARS / 2

    def same(a, b):
        alike = (lanes[:, a:a + THEME_BARS] == lanes[:, b:b + THEME_BARS]).mean(2)
        return np.mean([*alike[0], *alike[1][sings]])

    assert same(0, 16) > 0.97 and same(0, 8) < 0.9
