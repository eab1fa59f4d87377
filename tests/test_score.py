"""Score <-> codes: what is written comes back, and any codes are readable."""

import numpy as np
import pytest

from lara_core.codec import score as s
from training.composer import Composer
from training.styles import STYLES


def composed(seed: int, bars: int = 12) -> s.Score:
    rng = np.random.default_rng(seed)
    v, a = rng.uniform(-1, 1, (2, bars))
    return Composer(STYLES[seed % len(STYLES)], rng).compose(v, a)


@pytest.mark.parametrize("seed", range(len(STYLES)))
def test_codes_give_the_score_back(seed):
    piece = composed(seed)
    piece.tonic = seed % 12
    again = s.decode(s.encode(piece))
    assert {(n.lane, n.start, n.pitch) for n in again.notes} == {(n.lane, n.start, n.pitch) for n in piece.notes}
    assert np.array_equal(again.drums, piece.drums)
    for a, b in zip(again.bars, piece.bars):
        assert (a.metre, a.dynamics, a.articulation, a.swing, a.programs) == (b.metre, b.dynamics, b.articulation, b.swing, b.programs)
        assert a.tempo_bpm == pytest.approx(b.tempo_bpm, rel=0.018)  # half a step of the tempo scale


def test_durations_survive_where_a_lane_has_no_overlap():
    notes = [s.Note(s.LANE["lead"], 0, 4, 60), s.Note(s.LANE["lead"], 4, 1, 60), s.Note(s.LANE["lead"], 7, 25, 72), s.Note(s.LANE["bass"], 3, 20, 36)]
    piece = s.Score([s.Bar(bars_left=2), s.Bar(bars_left=1)], notes=notes)
    assert sorted(s.decode(s.encode(piece)).notes) == sorted(notes)


def test_transposition_changes_the_tonic_alone():
    piece = composed(3)
    moved = s.Score(piece.bars, 5, [n._replace(pitch=n.pitch + 5) for n in piece.notes], [c._replace(root=(c.root + 5) % 12) for c in piece.chords], piece.drums)
    a, b = s.encode(piece), s.encode(moved)
    grid = s.LANE["grid"]
    assert np.array_equal(np.delete(a, grid, 0), np.delete(b, grid, 0))
    assert set(np.unique(b[grid] - a[grid].astype(int))) == {0, 5}


def test_a_chord_is_stated_anew_at_every_bar_line():
    piece = s.Score([s.Bar()] * 3, chords=[s.Chord(0, 0, "maj"), s.Chord(40, 7, "7")])
    harmony = s.encode(piece)[s.LANE["harmony"]]
    assert np.flatnonzero(harmony).tolist() == [0, 16, 32, 40]
    assert s.decode(s.encode(piece)).chords == piece.chords


@pytest.mark.parametrize("metre", s.METRES)
def test_random_codes_are_a_score(metre):
    rng = np.random.default_rng(7)
    bars = 3
    codes = rng.integers(0, s.V, (s.K, bars * s.METRES[metre][0]))
    codes[s.LANE["grid"]] = np.concatenate([s.grid_tokens(metre, bars - i, 4, i) for i in range(bars)])
    piece = s.decode(codes)
    assert [bar.metre for bar in piece.bars] == [metre] * bars and piece.tonic == 4
    assert piece.bars[-1].bars_left == 1
    assert all(0 <= n.pitch <= 127 and n.duration > 0 and n.start + n.duration <= piece.frames for n in piece.notes)


def test_tempo_tokens_cover_the_range_evenly():
    tempi = [s.token_tempo(t) for t in range(1, s.N_TEMPI + 1)]
    assert tempi[0] == pytest.approx(40) and tempi[-1] == pytest.approx(208)
    ratios = np.diff(np.log(tempi))
    assert np.allclose(ratios, ratios[0])
    assert all(s.tempo_token(t) == i + 1 for i, t in enumerate(tempi))


def test_codes_that_are_no_score_are_refused():
    with pytest.raises(ValueError, match="13 lanes"):
        s.decode(np.zeros((4, 16), int))
    with pytest.raises(ValueError, match="bar line"):
        s.decode(np.full((s.K, 16), 60))


def test_what_nobody_would_play_is_not_written():
    note = lambda lane, bar, duration: s.Note(s.LANE[lane], 16 * bar, duration, 60)
    players = lambda second, kit: (0, second, -1, 0, -1, kit)
    piece = s.Score([s.Bar(programs=players(40, -1)), s.Bar(programs=players(-1, 0)), s.Bar(programs=players(-1, 0)), s.Bar(programs=players(40, -1))],
                    notes=[note("lead", 0, 64), note("second", 0, 32), note("second", 2, 8), note("second", 3, 8), note("bass", 1, 16), note("pad2", 3, 16)])
    piece.drums[[0, 16, 32]] = 1
    codes = s.encode(piece).astype(np.int64)
    assert (codes[s.LANE["orchestra"], 16:22] != s.HOLD).all()
    codes[s.LANE["orchestra"], 32:38] = s.HOLD  # who played goes on
    kept = lambda codes: {(s.LANES[n.lane], n.start // 16, n.duration) for n in s.decode(codes).notes}
    mended = s.without_mute_notes(codes[:, :0], codes)
    assert kept(mended) == {("lead", 0, 64), ("second", 0, 32), ("second", 3, 8)}, "what sounds from before a player leaves goes on"
    assert np.flatnonzero(s.decode(mended).drums).tolist() == [16, 32]
    later = s.without_mute_notes(codes[:, :32], codes[:, 32:])
    assert np.array_equal(np.concatenate([codes[:, :32], later], axis=1)[:, 32:], mended[:, 32:]), "who plays is known from before"
    for seed in range(len(STYLES)):
        codes = s.encode(composed(seed)).astype(np.int64)
        assert np.array_equal(s.without_mute_notes(codes[:, :0], codes), codes), "a composer writes for those who are there"


def test_nobody_takes_a_role_over_who_has_not_played_before():
    bars = [(0, -1, 32, 0, -1, -1), (73, -1, 32, 0, -1, 16), (0, 40, -1, 24, 48, 24), (40, 0, 33, 0, -1, -1), (40, 0, 48, 48, 0, 16)]
    codes = s.encode(s.Score([s.Bar(programs=programs) for programs in bars])).astype(np.int64)
    who = lambda codes: [bar.programs for bar in s.decode(codes).bars]
    mended = s.without_strangers(codes[:, :0], codes)
    assert who(mended) == [(0, -1, 32, 0, -1, -1), (0, -1, 32, 0, -1, 16), (0, 40, -1, 0, 48, 16), (40, 0, 32, 0, -1, -1), (40, 0, 48, 48, 0, 16)], \
        "a flute and a guitar are strangers to their roles, strings come in, violin and piano change places, a bass that rested is the same"
    later = s.without_strangers(codes[:, :16], codes[:, 16:])
    assert np.array_equal(np.concatenate([codes[:, :16], later], axis=1), mended), "what was before is known, and stays"


def test_a_section_that_plays_is_all_at_hand():
    def lead(*programs: int, bass: int = -1, pad: int = -1) -> list[int]:
        codes = s.encode(s.Score([s.Bar(programs=(program, -1, bass, -1, pad, -1)) for program in programs])).astype(np.int64)
        return [bar.programs[0] for bar in s.decode(s.without_strangers(codes[:, :0], codes)).bars]

    assert lead(40, 48, 44, 60, pad=49) == lead(40, 48, 44, 60, bass=43) == [40, 48, 44, 44], "an orchestra's strings, and tremolo; a horn is a stranger"
    assert lead(68, 48, bass=43) == [68, 48] and lead(68, 48, bass=32) == [68, 68], "where strings have the bass there are more of them"
    assert lead(42, 44, 30) == [42, 42, 42] and lead(0, 42, pad=42) == [0, 42], "one cello is no section, but may have the melody"


def test_tempo_goes_no_farther_than_arousal_and_a_little():
    tempo = s.LANE["performance"]
    codes = s.encode(s.Score([s.Bar(tempo_bpm=bpm) for bpm in (60, 120, 120, 120, 120, 120, 60, 62)])).astype(np.int64)
    codes[tempo, 5 * 16] = s.DYNAMICS_0  # no tempo is stated
    tempi = lambda codes: np.array([bar.tempo_bpm for bar in s.decode(codes).bars])
    still, leap = np.zeros(codes.shape[1]), np.repeat([0, 1, 1, 1, 1, 1, np.nan, np.nan], 16)
    mended = s.without_leaps(codes[:, :0], codes, still)
    assert tempi(mended)[:5] == pytest.approx([60, 69, 79, 91, 105], rel=0.03) and (np.abs(np.diff(np.log2(tempi(mended)))) < 0.23).all()
    assert mended[tempo, 5 * 16] == mended[tempo, 4 * 16], "every bar states one"
    later = s.without_leaps(mended[:, :32], codes[:, 32:], still)
    assert np.array_equal(np.concatenate([mended[:, :32], later], axis=1), mended), "what was before is known, and stays"
    assert tempi(s.without_leaps(codes[:, :0], codes, leap))[:6] == pytest.approx([60, 116, 120, 120, 120, 120], rel=0.03), "arousal leaps, and so may tempo"
    nothing = np.full_like(still, np.nan)
    assert np.array_equal(s.without_leaps(codes[:, :0], codes, nothing), mended), "nothing is asked for: as where arousal stands"


def test_a_note_ends_where_the_harmony_leaves_it_and_none_that_people_hold():
    bar = lambda lane, start, duration, pitch: s.Note(s.LANE[lane], 16 * start, 16 * duration, pitch)
    held = [bar("pad1", 0, 4, 64), bar("pad2", 0, 4, 67), bar("bass", 0, 4, 48), bar("second", 1, 3, 76)]  # E, G, C and E over C, C, F, F: E is foreign to F
    chords = [s.Chord(0, 0, "maj"), s.Chord(32, 5, "maj")]
    codes = s.encode(s.Score([s.Bar(bars_left=left) for left in (4, 3, 2, 1)], notes=held, chords=chords)).astype(np.int64)
    ends = lambda codes: {(s.LANES[n.lane], n.start // 16): (n.start + n.duration) / 16 for n in s.decode(codes).notes}
    nothing = codes[:, :0]
    assert ends(codes) == {("pad1", 0): 4, ("pad2", 0): 4, ("bass", 0): 4, ("second", 1): 4}
    mended = s.without_hanging_notes(nothing, codes)
    assert ends(mended) == {("pad1", 0): 2, ("pad2", 0): 2, ("bass", 0): 4, ("second", 1): 2}
    later = s.without_hanging_notes(codes[:, :32], codes[:, 32:])
    assert np.array_equal(np.concatenate([codes[:, :32], later], axis=1), mended), "what was before is known, and stays"
    assert np.array_equal(s.without_hanging_notes(codes[:, :16], codes[:, 16:32]), codes[:, 16:32]), "nothing is foreign yet"
    for seed in range(len(STYLES)):
        codes = s.encode(composed(seed)).astype(np.int64)
        assert np.array_equal(s.without_hanging_notes(codes[:, :0], codes), codes), "a composer ends them"


def test_a_melody_is_stuck_where_it_goes_nowhere_for_two_bars():
    bars = [s.Bar(bars_left=7 - i) for i in range(7)]
    melody = lambda bar, pitches: [s.Note(s.LANE["lead"], 16 * bar + 4 * i, 4, pitch) for i, pitch in enumerate(pitches)]
    goes = melody(0, (60, 62, 60, 62, 60, 64, 60, 62))
    back_and_forth = melody(2, (60, 62, 60, 62, 60, 62))
    rests = melody(4, (60, 60, 60, 60, 60)) + [s.Note(s.LANE["bass"], 80 + 4 * i, 4, 36) for i in range(4)]
    piece = s.Score(bars, 0, sorted(goes + back_and_forth + rests + melody(6, (60,) * 4), key=lambda note: (note.start, note.lane)))
    assert s.stuck(s.encode(piece)).tolist() == [False, True, False], "five notes are few, and what is left over is no pair"
    assert s.stuck(s.encode(piece)[:, :16]).tolist() == []


def test_semitones_at_once_grind():
    notes = [s.Note(s.LANE["lead"], 0, 8, 60), s.Note(s.LANE["bass"], 4, 4, 59), s.Note(s.LANE["comp1"], 8, 4, 72), s.Note(s.LANE["pad1"], 12, 2, 71)]
    assert s.grinding(s.Score([s.Bar()], 0, notes)) == 4 / 14
    assert s.grinding(s.Score([s.Bar()])) == 0


def test_nothing_is_struck_where_notes_are_only_held():
    bars = [s.Bar(bars_left=5 - i) for i in range(5)]
    notes = [s.Note(s.LANE["pad1"], 8, 16, 60), s.Note(s.LANE["lead"], 50, 2, 70)]  # held into the second bar; struck late in the fourth
    assert s.unstruck(s.encode(s.Score(bars, 0, notes))).tolist() == [False, True, True, False, True]
    drums = np.zeros(80, np.uint8)
    drums[79] = 1
    assert s.unstruck(s.encode(s.Score(bars, 0, notes, drums=drums))).tolist() == [False, True, True, False, False]


def test_a_bar_is_hammered_where_three_voices_strike_throughout():
    bars = [s.Bar(bars_left=3 - i) for i in range(3)]
    run = lambda lane, first, frames: [s.Note(s.LANE[lane], first + i, 1, 60) for i in range(frames)]
    busy = run("lead", 0, 16) + run("comp1", 0, 16)  # a run over broken chords: people write that
    hammers = run("lead", 16, 16) + run("comp1", 16, 13) + run("bass", 16, 16)
    struck_less = run("lead", 32, 16) + run("comp1", 32, 12) + run("bass", 32, 16)
    piece = s.Score(bars, 0, sorted(busy + hammers + struck_less, key=lambda note: (note.start, note.lane)))
    assert s.hammered(s.encode(piece)).tolist() == [False, True, False]
    assert s.hammered(s.encode(piece)[:, 16:32]).tolist() == [True] and s.hammered(s.encode(piece)[:, :0]).tolist() == []
