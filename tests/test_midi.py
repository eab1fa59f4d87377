"""MIDI in and out, and parts onto lanes: round trips against mido and pretty_midi, the assignment against scipy."""

import mido
import numpy as np
import pretty_midi
import pytest
from scipy.optimize import linear_sum_assignment

from lara_core.codec.harmony import estimate_key
from lara_core.codec.midi import AFFECT_CHANNEL, read_midi, sounding_notes, write_midi
from lara_core.codec.parts import Part, assign, from_parts, measured_from_parts
from lara_core.codec.performance import drum_velocity, note_velocity
from lara_core.codec.score import DRUMS, LANE, METRES, QUALITIES, ROLES, Bar, Chord, Note, Score, decode, encode
from lara_core.codec.timeline import PartNote, nearest_metre, plan_bars, quantise, swings


def random_score(seed: int = 0, bars: int = 12) -> Score:
    """Every lane busy, metres and tempi that change, programs that change half way, drums."""
    rng = np.random.default_rng(seed)
    plan = []
    for b in range(bars):
        metre = ("4/4", "3/4", "6/8", "5/4", "2/4")[b // 3 % 5]
        late = b >= bars // 2
        plan.append(Bar(metre, (96.0, 120.0, 75.5)[b % 3], int(rng.integers(8)), "legato", False,
                        (73 if late else 40, 60, 32, 0, 48, 0), bars - b))
    score = Score(plan, tonic=2)
    for lane in range(LANE["bass"], LANE["drums"]):
        at = int(rng.integers(4))
        while at < score.frames:
            length = min(int(rng.integers(1, 9)), score.frames - at)
            score.notes.append(Note(lane, at, length, int(rng.integers(36, 84))))
            at += length + int(rng.integers(0, 4))
    score.notes.sort(key=lambda n: (n.start, n.lane))
    score.drums = (rng.integers(0, 128, score.frames) * (rng.random(score.frames) < 0.4)).astype(np.uint8)
    return score


def notes_of_file(path, ticks_per_frame=120):
    """By mido alone: (channel, start frame, duration, pitch, velocity), exact or a failed assertion."""
    found = []
    for track in mido.MidiFile(path).tracks:
        tick, sounding = 0, {}
        for message in track:
            tick += message.time
            if message.type in ("note_on", "note_off"):
                key = message.channel, message.note
                if key in sounding:
                    start, velocity = sounding.pop(key)
                    assert start % ticks_per_frame == 0 and tick % ticks_per_frame == 0
                    found.append((key[0], start // ticks_per_frame, (tick - start) // ticks_per_frame, key[1], velocity))
                else:
                    assert message.type == "note_on", "a note ends that never began"
                if message.type == "note_on":
                    sounding[key] = tick, message.velocity
        assert not sounding
    return sorted(found)


# ---- writing -------------------------------------------------------------------------------------------------------


def test_written_notes_are_the_scores_notes_on_the_grid(tmp_path):
    score = random_score()
    write_midi(tmp_path / "a.mid", score)
    starts = score.bar_starts()

    def bar_of(frame):
        b = int(np.searchsorted(starts, frame, "right")) - 1
        return score.bars[b], frame - int(starts[b])
    expected = []
    for channel, role in enumerate(ROLES[:5]):
        for n in sounding_notes(score, role):
            bar, position = bar_of(n.start)
            expected.append((["lead", "second", "bass", "comp", "pad"].index(role), n.start, n.duration, n.pitch,
                             note_velocity(bar, n.lane, position, n.start)))
    for frame in np.flatnonzero(score.drums):
        bar, position = bar_of(int(frame))
        for bit, (name, key) in enumerate(DRUMS.items()):
            if score.drums[frame] >> bit & 1:
                expected.append((9, int(frame), 1, key, drum_velocity(bar, name, position, int(frame))))
    assert notes_of_file(tmp_path / "a.mid") == sorted(expected)


def test_pretty_midi_hears_the_same_seconds_metres_and_programs(tmp_path):
    score = random_score(1)
    write_midi(tmp_path / "a.mid", score)
    peer = pretty_midi.PrettyMIDI(str(tmp_path / "a.mid"))
    bar_seconds = np.array([bar.frames * bar.frame_seconds for bar in score.bars])
    np.testing.assert_allclose(peer.get_downbeats(), np.concatenate([[0], np.cumsum(bar_seconds)])[:len(peer.get_downbeats())], atol=1e-4)
    edges = np.concatenate([[0], np.cumsum(bar_seconds)])
    frame_seconds = np.concatenate([edges[b] + np.arange(bar.frames) * bar.frame_seconds for b, bar in enumerate(score.bars)] + [edges[-1:]])
    lead = sorted(frame_seconds[n.start] for n in sounding_notes(score, "lead"))
    heard = sorted(note.start for inst in peer.instruments if inst.name == "Lead" for note in inst.notes)
    np.testing.assert_allclose(heard, lead, atol=1e-4)
    assert {inst.program for inst in peer.instruments if inst.name == "Lead"} == {40, 73}
    assert [(t.numerator, t.denominator) for t in peer.time_signature_changes] == [tuple(map(int, m.split("/"))) for m in ("4/4", "3/4", "6/8", "5/4")]
    assert sum(inst.is_drum for inst in peer.instruments) == 1
    assert peer.get_end_time() <= edges[-1] + 1e-3


def test_each_voice_of_a_role_can_be_told_apart():
    """Two comp voices on one key: MIDI can hold it once, so the later note ends the earlier and no note-off is lost."""
    bar = Bar(programs=(-1, -1, -1, 0, -1, -1))
    score = Score([bar], notes=[Note(LANE["comp1"], 0, 12, 60), Note(LANE["comp2"], 4, 4, 60), Note(LANE["comp3"], 4, 2, 60)])
    assert [(n.start, n.duration) for n in sounding_notes(score, "comp")] == [(0, 4), (4, 4)]


def test_silent_roles_make_no_track(tmp_path):
    score = Score([Bar(programs=(0, -1, -1, -1, -1, -1))], notes=[Note(LANE["lead"], 0, 4, 60), Note(LANE["bass"], 0, 4, 40)])
    write_midi(tmp_path / "a.mid", score)
    assert [t.name for t in mido.MidiFile(tmp_path / "a.mid").tracks[1:]] == ["Lead"]


def test_markers_and_affect_lanes(tmp_path):
    score = random_score(2)
    write_midi(tmp_path / "a.mid", score, "Stück", markers=[(0, "calm"), (8.5, "Übergang")], valence=([0, 8], [-1, 1]),
               arousal=([0], [0.0]))
    file = mido.MidiFile(tmp_path / "a.mid", charset="utf8")
    tick, markers = 0, []
    for message in file.tracks[0]:
        tick += message.time
        if message.type == "marker":
            markers.append((tick / 480, message.text))
    assert file.tracks[0].name == "Stück" and markers == [(0, "calm"), (8.5, "Übergang")]
    tick, curve = 0, {20: [], 21: []}
    for message in file.tracks[-1]:
        tick += message.time
        if message.type == "control_change":
            assert message.channel == AFFECT_CHANNEL
            curve[message.control].append((tick / 480, message.value))
    assert curve[20][0] == (0, 0) and curve[20][-1] == (8, 127)
    for beat, value in curve[20]:
        assert abs(value - 127 * min(beat / 8, 1)) <= 0.5
    assert curve[21] == [(0, 64)]


def test_writing_replaces_in_one_step_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.mid"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="no bars"):
        write_midi(path, Score([]))
    with pytest.raises(ValueError, match="marker 'x' lies at beat 99"):
        write_midi(path, random_score(bars=2), markers=[(99, "x")])
    with pytest.raises(ValueError, match="valence lane holds 2"):
        write_midi(path, random_score(bars=2), valence=([0], [2.0]))
    with pytest.raises(ValueError, match="2 beats and 1 values"):
        write_midi(path, random_score(bars=2), arousal=([0, 1], [0.0]))
    assert path.read_bytes() == b"old"
    write_midi(path, random_score(bars=2))
    assert [p.name for p in tmp_path.iterdir()] == ["a.mid"]
    with pytest.raises(ValueError, match="cannot be written"):
        write_midi(tmp_path / "nowhere" / "a.mid", random_score(bars=2))


# ---- reading -------------------------------------------------------------------------------------------------------


def pitches(score):
    return sorted((n.start, n.duration, n.pitch) for n in score.notes)


def test_a_score_comes_back_from_its_midi(tmp_path):
    """Roles in their own registers, as music has them: then every note comes back to its lane, with metre, tempo and program."""
    rng = np.random.default_rng(3)
    bars = [Bar("4/4", 90.0, 4, "legato", False, (73, 40, 32, -1, -1, 0), 8 - i) for i in range(8)]
    notes = []
    for lane, low in (("lead", 79), ("second", 64), ("bass", 36)):
        at = 0
        while at < 128:
            length = min(int(rng.integers(1, 7)), 128 - at)
            notes.append(Note(LANE[lane], at, length, low + int(rng.choice([0, 2, 4, 5, 7, 9]))))
            at += length
    score = Score(bars, 0, sorted(notes, key=lambda n: (n.start, n.lane)), [], np.tile([1, 0, 4, 0, 2, 0, 4, 0], 16).astype(np.uint8))
    write_midi(tmp_path / "a.mid", score)
    back = read_midi(tmp_path / "a.mid")
    assert sorted(back.notes) == sorted(score.notes)
    np.testing.assert_array_equal(back.drums, score.drums)
    assert [b.metre for b in back.bars] == ["4/4"] * 8 and [b.bars_left for b in back.bars] == list(range(8, 0, -1))
    assert all(b.programs == (73, 40, 32, -1, -1, 0) for b in back.bars)
    assert all(abs(b.tempo_bpm - 90) < 1e-3 and abs(b.dynamics - 4) <= 1 and b.articulation == "legato" for b in back.bars)


def test_changing_metres_and_tempi_come_back(tmp_path):
    score = random_score(4)
    write_midi(tmp_path / "a.mid", score)
    back = read_midi(tmp_path / "a.mid")
    assert [b.metre for b in back.bars] == [b.metre for b in score.bars]
    np.testing.assert_allclose([b.tempo_bpm for b in back.bars], [b.tempo_bpm for b in score.bars], rtol=1e-5)


def midi_file(path, tracks, type=1, ticks=96):
    midi = mido.MidiFile(type=type, ticks_per_beat=ticks)
    for messages in tracks:
        midi.tracks.append(mido.MidiTrack(messages))
    midi.save(path)
    return path


def on(note, time=0, velocity=80, channel=0):
    return mido.Message("note_on", note=note, time=time, velocity=velocity, channel=channel)


def test_format_0_running_notes_and_an_unreleased_key(tmp_path):
    """One track with three channels; note-on with velocity 0 ends a note; a key never released sounds to the end."""
    path = midi_file(tmp_path / "a.mid", [[
        mido.Message("program_change", channel=0, program=73), mido.Message("program_change", channel=1, program=32),
        on(76), on(40, channel=1), on(36, channel=9), on(76, 96, 0), on(79, 0), on(36, 0, 0, 9), on(79, 96, 0), on(38, 192, 80, 9)]], type=0)
    score = read_midi(path)
    assert pitches(score) == [(0, 4, 76), (0, 16, 40), (4, 4, 79)]
    assert {n.pitch: n.lane for n in score.notes} == {76: LANE["lead"], 79: LANE["lead"], 40: LANE["bass"]}
    assert score.bars[0].programs[ROLES.index("lead")] == 73 and score.bars[0].programs[ROLES.index("bass")] == 32
    assert score.drums[0] == 1 and np.flatnonzero(score.drums).tolist() == [0, 16]


def test_a_pickup_is_padded_in_front(tmp_path):
    path = midi_file(tmp_path / "a.mid", [[
        mido.MetaMessage("time_signature", numerator=1, denominator=4), on(67), on(67, 96, 0),
        mido.MetaMessage("time_signature", numerator=3, denominator=4), on(72), on(72, 288, 0)]])
    score = read_midi(path)
    assert [b.metre for b in score.bars] == ["3/4", "3/4"] and pitches(score) == [(8, 4, 67), (12, 12, 72)]


@pytest.mark.parametrize("metre,expected", [((2, 2), "4/4"), ((4, 2), "4/4"), ((3, 2), "3/4"), ((12, 8), "6/8"), ((9, 8), "6/8"),
                                            ((3, 8), "6/8"), ((6, 4), "3/4"), ((7, 8), "4/4"), ((1, 4), "2/4"), ((5, 8), "5/4")])
def test_other_metres_are_cut_into_the_nearest(metre, expected):
    assert nearest_metre(*metre) == expected


@pytest.mark.parametrize("seed", range(30))
def test_a_downbeat_stays_a_downbeat(seed):
    """Whatever metres follow each other, each new signature begins a bar, and no time is lost or doubled."""
    rng = np.random.default_rng(seed)
    position, metres = float(rng.integers(0, 3)), []
    for _ in range(6):
        numerator, denominator = [(4, 4), (3, 4), (7, 8), (5, 8), (9, 8), (1, 4), (3, 8), (2, 2), (11, 16)][rng.integers(9)]
        metres.append((position, numerator, denominator))
        position += int(rng.integers(1, 5)) * numerator * 4 / denominator
    timeline = plan_bars(metres, position)
    starts = np.cumsum([0] + [METRES[m][0] for m in timeline.metres])
    assert all(frame in starts for _, frame in timeline.anchors)
    at = np.linspace(0, position, 200)
    frames = np.array([timeline.frames(q) for q in at])
    assert np.all(np.diff(frames) > 0) and frames[0] >= 0 and frames[-1] <= starts[-1] + 1e-6
    added = starts[-1] - position * 4
    assert added <= 20 + 16 + 7 * len(metres)  # the pickup's and the last bar's rest, and what closes each section


BAD_FILES = {
    "not.mid": (b"RIFF....WAVEfmt ", "not a MIDI file"),
    "empty.mid": (b"", "not a MIDI file"),
    "header.mid": (b"MThd\0\0\0\6", "damaged or cut off"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_is_no_midi_is_refused_in_one_sentence(tmp_path, name):
    data, reason = BAD_FILES[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=reason) as caught:
        read_midi(tmp_path / name)
    assert name in str(caught.value) and str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        read_midi(tmp_path / "none.mid")


def test_a_file_cut_off_anywhere_is_read_or_refused(tmp_path):
    """Every possible truncation gives a score or a ValueError, nothing else."""
    write_midi(tmp_path / "a.mid", random_score(bars=1))
    data = (tmp_path / "a.mid").read_bytes()
    outcomes = set()
    for length in range(0, len(data) - 1, max(len(data) // 150, 1)):
        (tmp_path / "b.mid").write_bytes(data[:length])
        try:
            outcomes.add(type(read_midi(tmp_path / "b.mid")))
        except ValueError:
            outcomes.add(ValueError)
    assert outcomes <= {Score, ValueError} and ValueError in outcomes


def test_corrupted_bytes_are_read_or_refused(tmp_path):
    write_midi(tmp_path / "a.mid", random_score(bars=1))
    data = np.frombuffer((tmp_path / "a.mid").read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(60):
        bad = data.copy()
        bad[rng.integers(8, len(bad), 4)] = rng.integers(0, 256, 4)
        (tmp_path / "b.mid").write_bytes(bad.tobytes())
        try:
            assert isinstance(read_midi(tmp_path / "b.mid", max_bars=8), Score)
        except ValueError as error:
            assert "\n" not in str(error)


def test_unmusical_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no notes"):
        read_midi(midi_file(tmp_path / "silent.mid", [[mido.MetaMessage("set_tempo", tempo=500000)]]))
    with pytest.raises(ValueError, match="lasts 600 minutes"):
        read_midi(midi_file(tmp_path / "long.mid", [[on(60), on(60, 96, 0), on(62, 96 * 71999), on(62, 0, 0)]]))
    with pytest.raises(ValueError, match="tempo of 60000"):
        read_midi(midi_file(tmp_path / "fast.mid", [[mido.MetaMessage("set_tempo", tempo=1000), on(60), on(60, 96, 0)]]))
    with pytest.raises(ValueError, match="tempo of inf"):
        read_midi(midi_file(tmp_path / "zero.mid", [[mido.MetaMessage("set_tempo", tempo=0), on(60), on(60, 96, 0)]]))
    with pytest.raises(ValueError, match="format 2"):
        read_midi(midi_file(tmp_path / "two.mid", [[on(60), on(60, 96, 0)]], type=2))


# ---- parts onto lanes ----------------------------------------------------------------------------------------------


def test_assignment_agrees_with_scipy():
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(1, 9))
        cost = rng.random((n, n + int(rng.integers(0, 9)))) * 10
        columns = assign(cost.tolist())
        rows, best = linear_sum_assignment(cost)
        assert len(set(columns)) == n
        assert cost[range(n), columns].sum() == pytest.approx(cost[rows, best].sum())


def line(pitches, length=1.0, program=0, role=None, start=0.0):
    return Part(program, False, [PartNote(start + i * length, length, p) for i, p in enumerate(pitches)], role)


def lanes_of(score):
    return {lane: [n.pitch for n in score.notes if n.lane == LANE[lane]] for lane in LANE if any(n.lane == LANE[lane] for n in score.notes)}


def test_a_quartet_keeps_one_lane_each_even_where_voices_cross():
    voices = {"lead": [72, 74, 65, 74], "second": [67, 69, 71, 67], "comp1": [60, 72, 62, 60], "bass": [48, 50, 52, 48]}
    score = from_parts([line(p, program=40 + i) for i, p in enumerate(voices.values())])
    assert lanes_of(score) == voices
    assert score.bars[0].programs == (40, 41, 43, 42, -1, -1)


def test_a_melody_alone_is_lead_alone():
    score = from_parts([line([60, 72, 55, 76, 48, 64, 67, 60])])
    assert set(lanes_of(score)) == {"lead"} and score.chords == []


def test_piano_gives_its_top_to_lead_and_its_bottom_to_bass():
    notes = [PartNote(b, 1, p) for b in range(8) for p in (48, 60, 64, 67, 76 + b % 3)]
    lanes = lanes_of(from_parts([(0, False, notes)]))
    assert lanes["lead"] == [76 + b % 3 for b in range(8)] and lanes["bass"] == [48] * 8


def test_eight_notes_at_once_all_survive_and_a_ninth_does_not():
    chord = [36, 43, 48, 52, 55, 60, 64, 67, 72]
    for n, dropped in ((8, 0), (9, 1)):
        score, losses = measured_from_parts([(0, False, [(0, 4, p, 80) for p in chord[:n]])])
        assert len(score.notes) == 8 and losses.dropped == dropped
        assert min(x.pitch for x in score.notes) == 36 and max(x.pitch for x in score.notes) == chord[n - 1]


def test_no_note_is_cut_while_a_lane_is_free():
    rng = np.random.default_rng(5)
    notes = [PartNote(float(q) / 2, float(rng.integers(1, 5)) / 2, int(rng.integers(40, 80))) for q in range(64)]  # at most four sound
    score, losses = measured_from_parts([(0, False, notes)])
    assert losses.cut == 0 and losses.dropped == 0 and len(score.notes) == len(notes) - losses.merged
    for lane in set(n.lane for n in score.notes):
        mine = sorted(n for n in score.notes if n.lane == lane)
        assert all(a.start + a.duration <= b.start for a, b in zip(mine, mine[1:]))


def test_roles_are_kept_where_the_importer_knows_them():
    parts = [line([50, 52, 53, 55], role="lead"), line([80, 81, 83, 84], role="bass"), line([60, 62, 64, 65], role="second")]
    lanes = lanes_of(from_parts(parts))
    assert lanes == {"lead": [50, 52, 53, 55], "bass": [80, 81, 83, 84], "second": [60, 62, 64, 65]}
    with pytest.raises(ValueError, match="role 'tuba'"):
        from_parts([line([60], role="tuba")])
    with pytest.raises(ValueError, match="quality 'maj9'"):
        from_parts([line([60])], chords=[(0.0, 0, "maj9")])


def test_runs_within_a_sixteenth_do_not_become_chords_but_rolled_chords_do():
    timeline = plan_bars([(0.0, 4, 4)], 4)
    run = [PartNote(i / 8, 1 / 8, 60 + i) for i in range(8)]
    placed, merged = quantise(run, timeline)
    assert len({n.start for n in placed}) == len(placed) and merged == 8 - len(placed) > 0
    rolled = [PartNote(0.02 * i, 2 - 0.02 * i, 60 + 4 * i) for i in range(4)]
    placed, merged = quantise(rolled, timeline)
    assert merged == 0 and [(n.start, n.end) for n in placed] == [(0, 8)] * 4


def test_swing_is_heard_and_taken_out():
    swung = [PartNote(b + phase, 0.3, 60 + b % 5) for b in range(24) for phase in (0, 2 / 3)]
    straight = [PartNote(b + phase, 0.3, 60 + b % 5) for b in range(24) for phase in (0, 1 / 2)]
    triplets = [PartNote(b + phase, 0.3, 60 + b % 5) for b in range(24) for phase in (0, 1 / 3, 2 / 3)]
    assert swings([n.start for n in swung]) and not swings([n.start for n in straight]) and not swings([n.start for n in triplets])
    score = from_parts([(0, False, swung)])
    assert all(bar.swing for bar in score.bars)
    assert sorted({n.start % 4 for n in score.notes}) == [0, 2]
    assert not from_parts([(0, False, straight)]).bars[0].swing


def test_keys_of_all_scales_are_found():
    major, minor = [0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 11]
    for tonic in range(12):
        for scale, third, mode in ((major, 4, "major"), (minor, 3, "minor")):
            weights = np.zeros(12)
            weights[[(tonic + s) % 12 for s in scale]] += 1
            weights[[tonic, (tonic + 7) % 12, (tonic + third) % 12]] += 1  # cadences dwell on the tonic chord
            assert estimate_key(weights) == (tonic, mode)
    assert estimate_key(np.ones(12), sharps=3)[0] in (9, 6)


def test_chords_are_found_on_their_beats():
    chords = [("maj", 0), ("min", 9), ("maj", 5), ("7", 7), ("maj", 0)]
    notes = []
    for b, (quality, root) in enumerate(chords):
        notes += [PartNote(4.0 * b, 4, 36 + root)] + [PartNote(4.0 * b + k * 0.5, 0.5, 60 + (root + QUALITIES[quality][k % len(QUALITIES[quality])]) % 12)
                                                       for k in range(8)]
    score = from_parts([(0, False, notes)])
    assert score.chords == [Chord(16 * b, root, quality) for b, (quality, root) in enumerate(chords)]
    assert score.tonic == 0
    assert decode(encode(score)).chords == score.chords


def test_dynamics_articulation_tempo_and_pedal_per_bar():
    notes = [PartNote(q, 0.25 if q < 4 else 1.0, 60 + q, 30 if q < 4 else 110) for q in range(12)]
    score = from_parts([(0, False, notes)], tempo_map=[(0, 60), (4, 120)], pedal=[(8, 11.5)])
    assert [b.dynamics for b in score.bars] == [0, 7, 7]
    assert [b.articulation for b in score.bars] == ["staccato", "legato", "pedal"]
    assert [b.tempo_bpm for b in score.bars] == pytest.approx([60, 120, 120])
    bent = from_parts([(0, False, notes)], tempo_map=[(0, 60), (2, 120)])
    assert bent.bars[0].frames * bent.bars[0].frame_seconds == pytest.approx(2 + 1)  # a bar lasts what its tempo map says


def test_real_texture_survives_the_codec():
    """Four independent voices with rests and ties: encode and decode give back every note."""
    rng = np.random.default_rng(7)
    parts = []
    for low in (74, 66, 58, 46):
        at, notes = 0.0, []
        while at < 30:
            length = float(rng.choice([0.5, 1, 1, 2]))
            if rng.random() < 0.9:
                notes.append(PartNote(at, length, low + int(rng.integers(0, 9))))
            at += length
        parts.append(Part(52, False, notes))
    score, losses = measured_from_parts(parts, metres=[(0.0, 3, 4)])
    assert losses[1:] == (0, 0, 0)
    written = sorted((round(n.start * 4), round(n.duration * 4), n.pitch) for p in parts for n in p.notes)
    assert pitches(score) == written == pitches(decode(encode(score)))
