"""Sessions of the score codec: exact lengths, tempi and bars; no clicks at joints; the same sound however it is cut."""

import numpy as np
import pytest

from lara_core.codec import Request
from lara_core.codec import score as s
from lara_core.codec.performance import Performer
from lara_core.codec.score_codec import ScoreCodec
from training.composer import Composer
from training.styles import STYLES

RATE = 44100


@pytest.fixture(scope="module")
def codec():
    return ScoreCodec()


def composed_codes(seed: int, bars: int, style: str = "strings", metre: str = "4/4") -> np.ndarray:
    rng = np.random.default_rng(seed)
    style = next(x for x in STYLES if x.name == style)
    piece = Composer(style, rng, metre=metre).compose(np.full(bars, 0.4), np.full(bars, 0.1))
    return s.encode(piece)


def play(session, codes, valence=np.nan) -> tuple[list[np.ndarray], list[int]]:
    """Feed a piece's codes to a session as it plans -> chunks and the joints' samples. The piece repeats when it is too short."""
    chunks, joints, at = [], [], 0
    while (plan := session.plan()) is not None:
        take = np.take(codes, np.arange(at, at + plan.frames) % codes.shape[1], axis=1)
        forced = session.given(plan, np.full((plan.frames, 2), valence))
        chunks.append(session.push(np.where(forced >= 0, forced, take))())
        joints.append(round(session.position_seconds * RATE))
        at += plan.frames
    chunks.append(session.finish())
    return chunks, joints


@pytest.mark.parametrize("tempo", [None, 120, 97.3, ((0, 80), (6, 140))])
@pytest.mark.parametrize("seconds", [0.5, 7.0, 23.4567])
def test_a_piece_has_exactly_the_length_asked_for(codec, tempo, seconds):
    chunks, _ = play(codec.session(Request(seconds, tempo)), composed_codes(1, 12))
    samples = np.concatenate(chunks, axis=1)
    assert samples.shape == (2, round(seconds * RATE))
    assert np.abs(samples).max() > 0.01 and np.abs(samples[:, -1]).max() < 1e-3  # it sounds, and has faded at its end


def test_requested_tempo_and_metre_are_exact(codec):
    session = codec.session(Request(30.0, 100, metre="3/4"))
    play(session, composed_codes(2, 12, "waltz", "3/4"))
    starts = np.array(session.performer.starts_seconds)
    assert np.allclose(np.diff(starts), 1.8, atol=1e-9) and len(starts) == 17  # sixteen bars of 1.8 s fit into 30 s
    assert {bar.metre for bar in session.piece.bars} == {"3/4"} and session.piece.bars[-1].bars_left == 1


def test_a_tempo_map_is_met_at_every_bar_line(codec):
    session = codec.session(Request(20.0, ((0, 60), (6, 120))))
    play(session, composed_codes(3, 12))
    # bar 1: 4 beats at 60; bar 2: 2 at 60 and 2 at 120; then 2 s a bar
    assert session.performer.starts_seconds[:4] == pytest.approx([0, 4, 7, 9])


def test_where_a_tempo_map_ends_in_none_the_music_chooses_and_closes_in_time(codec):
    session, codes = codec.session(Request(30.0, ((0, 100), (8, None)))), composed_codes(3, 12)
    codes[s.LANE["performance"], ::16] = s.tempo_token(80)
    play(session, codes)
    tempi = [bar.tempo_bpm for bar in session.performer.bars]
    assert tempi[:2] == [100, 100] and all(74 < tempo < 86 for tempo in tempi[2:-2])
    assert session.performer.bars[-1].bars_left == 1 and 30.0 - 2.6 < session.performer.starts_seconds[-1] < 30.0


@pytest.mark.parametrize("first_slow", range(2, 14, 2))
def test_a_piece_whose_tempo_is_halved_still_closes(codec, first_slow):
    session, codes = codec.session(Request(20.0)), composed_codes(3, 24)
    codes[s.LANE["performance"], ::16] = [s.tempo_token(136)] * first_slow + [s.tempo_token(68)] * (24 - first_slow)
    play(session, codes)
    assert session.performer.bars[-1].bars_left == 1
    assert session.performer.starts_seconds[-1] < 20.3  # where it is halved in the last two bars, what rings out gives way


def test_without_a_tempo_the_last_bar_ends_with_the_piece(codec):
    session = codec.session(Request(31.0))
    play(session, composed_codes(4, 40))
    end = session.performer.starts_seconds[-1]
    assert 31.0 - 2.6 < end < 31.0
    tempi = np.array([bar.tempo_bpm for bar in session.performer.bars])
    assert tempi[1:].max() / tempi[1:].min() < 1.15  # bent, not broken


@pytest.mark.parametrize("third, valence, quality", [(3, np.nan, "min"), (4, np.nan, "maj"), (4, 0.0, "maj"), (3, 0.5, "maj"), (4, -0.5, "min")])
@pytest.mark.parametrize("tempo", [None, 120])
def test_the_last_bar_rests_on_the_chord_of_the_mode_that_is_asked_for_else_was_played(codec, third, valence, quality, tempo):
    session = codec.session(Request(14.0, tempo, tonic=9))
    harmony, lead = s.LANE["harmony"], s.LANE["lead"]
    codes = np.zeros((s.K, 16), np.int64)
    codes[harmony, ::4] = s.chord_token(7, "7")  # what is sampled never comes home
    codes[lead, ::4] = s.FIRST_PITCH + 60 + third
    play(session, codes, valence)
    assert session.piece.chords == [s.Chord(0, 4, "7"), s.Chord(session.piece.bar_starts()[-1], 9, quality)]
    assert s.encode(session.piece)[harmony, -16] == s.chord_token(0, quality)


def test_joints_are_no_louder_than_the_music(codec):
    session = codec.session(Request(24.0, 110))
    chunks, joints = play(session, composed_codes(5, 12))
    samples = np.concatenate(chunks, axis=1)
    jumps = np.abs(np.diff(samples)).max(0)
    for joint in joints[:-1]:
        near = jumps[max(joint - RATE // 2, 0):joint + RATE // 2]
        assert jumps[joint - 3:joint + 3].max() <= np.quantile(near, 0.999)


def test_a_note_held_over_a_joint_sounds_as_if_there_were_none(codec):
    """A pad of two bars, read bar by bar and at once."""
    piece = s.Score([s.Bar(tempo_bpm=120, articulation="legato", programs=(-1, -1, -1, -1, 48, -1), bars_left=2 - i) for i in range(2)],
                    notes=[s.Note(s.LANE["pad1"], 4, 20, 67), s.Note(s.LANE["pad2"], 0, 32, 60)])
    codes = s.encode(piece)

    def sound(cuts):
        from lara_core.codec.score_codec import ScoreSession
        session = ScoreSession(codec, Request(6.0))
        chunks = [session.sound([(bar, codes[:, 16 * i:16 * i + 16]) for i, bar in cut], 0)() for cut in cuts]
        return np.concatenate([*chunks, session.finish()], axis=1)

    bars = list(enumerate(piece.bars))
    whole, cut = sound([bars]), sound([bars[:1], bars[1:]])
    assert np.abs(whole - cut).max() < 0.01 * np.abs(whole).max()
    end = 4 * RATE  # of the second bar: the pad is released there, not cut
    assert np.abs(whole[:, end:end + RATE // 10]).max() > 0.1 * np.abs(whole[:, end - RATE // 2:end]).max()
    jumps = np.abs(np.diff(whole)).max(0)
    assert jumps[end - 3:end + 3].max() < np.quantile(jumps[end - RATE:end], 0.999)


def test_the_same_codes_give_identical_samples(codec):
    codes = composed_codes(6, 12, "rock band")
    first, _ = play(codec.session(Request(9.0, seed=5)), codes)
    second, _ = play(codec.session(Request(9.0, seed=5)), codes)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_decode_plays_whole_codes(codec):
    codes = composed_codes(7, 4)
    seconds = sum(bar.frames * bar.frame_seconds for bar in s.decode(codes).bars)
    samples = codec.decode(codes)
    assert samples.shape == (2, round((seconds + 2.0) * RATE)) and np.abs(samples).max() > 0.01


def test_louder_dynamics_are_louder_and_faster_tempi_shorter(codec):
    base = s.decode(composed_codes(8, 4))
    levels = []
    for dynamics in (1, 4, 7):
        base.bars = [s.replace(bar, dynamics=dynamics) for bar in base.bars]
        levels.append(float(np.sqrt((codec.decode(s.encode(base)) ** 2).mean())))
    assert levels[0] * 1.5 < levels[1] and levels[1] * 1.3 < levels[2]


def test_swing_delays_the_off_beat_by_a_third_of_an_eighth():
    clock = Performer()
    clock.add(s.Bar(tempo_bpm=120, swing=True))
    assert clock.seconds(2, played=True) == pytest.approx(clock.seconds(2) + 2 / 3 * 0.125)
    assert clock.seconds(4, played=True) == clock.seconds(4) == 0.5


def test_soloists_join_in_short_notes_of_a_section():
    bars = Performer()
    for articulation in ("staccato", "legato"):
        bars.add(s.Bar(tempo_bpm=120, articulation=articulation, programs=(48, -1, -1, 49, 44, -1)))
    lead, second, comp, pad = (s.LANE[lane] for lane in ("lead", "second", "comp1", "pad1"))

    def programs(note: s.Note, at_least_seconds: float = 0.0) -> list[int]:
        asked = []
        played = bars.play(note, at_least_seconds, lambda role, program: asked.append(program) or 0)
        assert len(played) == len(asked) and len({(one.start_seconds, one.duration_seconds, one.velocity) for one in played}) < 2
        return asked

    assert [programs(s.Note(lead, 0, 2, pitch)) for pitch in (76, 50, 40)] == [[48, 40], [48, 41], [48, 42]], "violin, viola, cello"
    assert programs(s.Note(comp, 4, 1, 60)) == [49, 40] and programs(s.Note(pad, 4, 1, 60)) == [44] and programs(s.Note(second, 4, 1, 60)) == []
    assert programs(s.Note(lead, 0, 8, 76)) == [48] == programs(s.Note(lead, 16, 2, 76)), "0.5 s, and 0.25 s"
    assert programs(s.Note(lead, 15, 2, 76)) == [48] == programs(s.Note(lead, 15, 1, 76), at_least_seconds=2.01), "over a bar line, known or not"


def test_short_notes_of_a_section_speak(codec):
    """Staccato sixteenths at 150 BPM: every one begins with a rise, as those of a violin do."""
    bars = [s.Bar(tempo_bpm=150, dynamics=6, articulation="staccato", programs=(program, -1, -1, -1, -1, -1)) for program in (48, 40) for _ in range(2)]
    notes = [s.Note(s.LANE["lead"], frame, 1, 72 + frame % 3) for frame in range(64)]
    samples = codec.decode(s.encode(s.Score(bars, 0, notes, [s.Chord(0, 0, "maj")], np.zeros(64, np.uint8))))
    frame = round(0.1 * RATE)
    level = np.sqrt((samples[0, :64 * frame].reshape(64, -1, frame // 10) ** 2).mean(2))
    rises = np.median(np.diff(level, axis=1).max(1).reshape(2, 32) / level.max(), axis=1)
    assert rises[0] > 0.8 * rises[1]


@pytest.mark.parametrize("bad, message", [({"seconds": 0}, "length"), ({"seconds": 10_000}, "length"), ({"seconds": float("nan")}, "length"),
                                          ({"tempo": 5}, "tempo"), ({"tempo": ((4, 100),)}, "beat 0"), ({"tempo": ()}, "beat 0"), ({"tempo": ((0, 100), (4, None), (8, 90))}, "tempo is None"), ({"tonic": 12}, "tonic")])
def test_impossible_requests_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        Request(**{"seconds": 10, **bad})


def test_an_unknown_metre_names_those_there_are(codec):
    with pytest.raises(ValueError, match="4/4, 3/4"):
        codec.session(Request(10, metre="7/8"))
