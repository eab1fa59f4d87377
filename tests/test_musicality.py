"""The measures of musicality on scores whose answers are known."""

import numpy as np
import pytest

from bench.musicality import ending, longest_copy
from lara_core.codec import score
from lara_core.codec.score import LANE, Bar, Chord, Note, Score
from training import musicality
from training.windows import write_arrays


def tune(pitches, bars=8, lane="lead"):
    """Four quarter notes a bar, taken from `pitches` in turn."""
    notes = [Note(LANE[lane], 4 * i, 4, pitches[i % len(pitches)]) for i in range(4 * bars)]
    return Score([Bar(bars_left=bars - i) for i in range(bars)], 0, notes)


def test_a_scale_is_consistent_and_the_chromatic_one_is_not():
    assert musicality.scale_consistency(tune([60, 62, 64, 65, 67, 69, 71]).notes) == 1
    assert musicality.scale_consistency(tune(range(60, 72)).notes) < 0.7


def test_entropy_counts_pitch_classes():
    assert musicality.pitch_class_entropy(tune([60]).notes) == 0
    assert musicality.pitch_class_entropy(tune([60, 72, 67, 55]).notes) == pytest.approx(1)


def test_a_repeated_rhythm_grooves_and_repeated_bars_repeat():
    same, random = tune([60, 62, 64, 65]), np.random.default_rng(0)
    assert musicality.groove_consistency(same) == 1 and musicality.repetition(same) == 1
    free = Score(same.bars, 0, [Note(LANE["lead"], int(at), 1, int(random.integers(50, 80))) for at in random.choice(128, 40, replace=False)])
    assert musicality.groove_consistency(free) < 0.75 and musicality.repetition(free) < 0.2


def test_polyphony_and_range():
    piece = tune([60])
    piece.notes += tune([48], lane="bass").notes
    row = musicality.measures(piece)
    assert row["grinding (semitones at once)"] == 0 and row["notes at once"] == 2 and row["range (semitones, 5 to 95 %)"] == 12 and row["onsets a beat"] == 1


def test_a_melody_goes_by_step_and_keeps_to_its_beats():
    assert musicality.melody(tune([60, 62, 64, 62])) == (1, 1)
    leaps = tune([60, 67, 60, 62])
    leaps.notes = [note._replace(start=note.start + 2) for note in leaps.notes]
    assert musicality.melody(leaps) == (pytest.approx(0.5, abs=0.02), 0)
    assert np.isnan(musicality.melody(tune([60], lane="bass"))).all(), "there is none"


def test_chords_that_change_are_counted():
    piece = tune([60])
    piece.chords = [Chord(8 * i, 5 * (i % 2), "maj") for i in range(16)] + [Chord(124, 5, "maj")]
    assert musicality.chord_changes(piece) == 15 / 8


def test_what_people_do_not_write_is_unlike_them(tmp_path):
    random = np.random.default_rng(0)
    walks = [np.clip(np.cumsum(random.choice((-2, -1, 1, 2), 64)) + 65, 50, 80).tolist() for _ in range(12)]
    codes = [score.encode(tune(walk, 16)) for walk in walks]
    write_arrays(tmp_path / "people.npz", {"codes": np.concatenate(codes, axis=1), "offsets": np.cumsum([0] + [c.shape[1] for c in codes])})
    people = musicality.People([tmp_path / "people.npz"])
    like, unlike = (people.unlike(score.encode(tune(pitches, 12))) for pitches in (walks[3], [48, 73, 54, 79]))
    assert like < 0.3 < unlike <= 1
    assert people.unlike(score.encode(tune([48, 73], 7))) == 0, "too short to say"
    with pytest.raises(ValueError, match="no piece in .*people.npz has 40 bars"):
        musicality.People([tmp_path / "people.npz"], 40)


def test_endings():
    piece = tune([60])
    assert ending(piece) == {"ends on the tonic": True, "the last notes are held": True, "begins in its first beat": True}
    piece.tonic, piece.notes = 2, [note._replace(start=note.start + 6) for note in piece.notes if note.start < 100]
    assert ending(piece) == {"ends on the tonic": False, "the last notes are held": False, "begins in its first beat": False}


def test_a_copy_is_found_in_any_key(tmp_path):
    original = score.encode(tune([60, 64, 67, 62, 65, 69, 71], 12))
    other = score.encode(tune([61, 60, 66, 70, 63], 12))
    np.savez(tmp_path / "corpus.npz", codes=np.concatenate([other, original], 1), offsets=[0, other.shape[1], other.shape[1] + original.shape[1]])
    piece = tune([60, 64, 67, 62, 65, 69, 71], 12)
    piece.tonic, piece.notes = 3, [note._replace(pitch=note.pitch + 3 + (20 <= note.start < 22)) for note in piece.notes]  # bar 1 differs
    assert longest_copy([score.encode(piece), score.encode(tune([55, 50], 12))], tmp_path / "corpus.npz") == [10, 0]
