"""Synthesis: the right notes at the right time and level, joins that cannot be heard, a SoundFont that is named."""

import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest

from lara_core.codec import soundfont, synth
from lara_core.codec.soundfont import SoundFont, find_soundfont
from lara_core.codec.synth import Channel, PlayedNote, Synthesizer, TailJoiner, master

RATE = synth.SAMPLE_RATE_HZ
PIANO = {0: Channel(0)}
BAND = {0: Channel(73, pan=76), 1: Channel(48, pan=50, chorus=30), 2: Channel(33), 9: Channel(0)}


@pytest.fixture(scope="module")
def timgm():
    return Path(soundfont.importlib.util.find_spec("pretty_midi").submodule_search_locations[0]) / "TimGM6mb.sf2"


@pytest.fixture(scope="module")
def band(timgm):
    return Synthesizer(SoundFont.load(timgm))


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(soundfont, "_SYSTEM_FOLDERS", ())
    monkeypatch.delenv("LARA_SOUNDFONT", raising=False)


def decibels(a, b):
    return 10 * np.log10((np.asarray(a, float) ** 2).sum() / (np.asarray(b, float) ** 2).sum())


def piece(seconds, velocity=90):
    """A melody, bass and drums in eighths at 130 bpm over strings held for two bars: some note rings across any cut."""
    eighth = 60 / 130 / 2
    notes = []
    for k in range(int(seconds / eighth)):
        root = (48, 53, 55, 45)[k // 16 % 4]
        notes.append(PlayedNote(k * eighth, eighth * 0.9, 0, root + 24 + (0, 4, 7, 11)[k * 5 % 4], velocity))
        notes.append(PlayedNote(k * eighth, 0.2, 9, (36, 42, 38, 42)[k % 4], velocity))
        if k % 2 == 0:
            notes.append(PlayedNote(k * eighth, eighth * 1.9, 2, root - 12, velocity))
        if k % 16 == 0:
            notes += [PlayedNote(k * eighth, eighth * 16, 1, root + 12 + step, velocity - 15) for step in (0, 4, 7)]
    return notes


def render_in_segments(synthesizer, notes, channels, cuts):
    """The piece as a player gets it -> [2, T]: segments cut at samples `cuts`, joined, then what rings on."""
    joiner, out = TailJoiner(), []
    for start, end in zip(cuts, cuts[1:]):
        own = [replace(note, start_seconds=note.start_seconds - start / RATE) for note in notes
               if start <= note.start_seconds * RATE < end]
        rendered = synthesizer.render(own, channels, (end - start) / RATE, start)
        out.append(joiner.push(rendered, end - start))
        assert out[-1].shape == (2, end - start)
    return np.concatenate([*out, joiner.finish(60, 0)], 1)


# Rendering

def test_a_note_has_its_pitch_and_sounds_while_it_is_held(band):
    out = band.render([PlayedNote(0.5, 1.0, 0, 69, 100)], {0: Channel(73)}, 3.0)
    assert out.dtype == np.float32 and out.shape[0] == 2 and out.shape[1] >= 3 * RATE
    level = np.sqrt((out ** 2).reshape(2, -1)[:, :3 * RATE].reshape(2, 30, -1).mean((0, 2)))  # per 0.1 s
    assert level[:5].max() == 0 and level[6:14].min() > 10 * level[20:].max()
    spectrum = np.abs(np.fft.rfft(out[0, int(0.7 * RATE):int(1.4 * RATE)] * np.hanning(int(1.4 * RATE) - int(0.7 * RATE)), 8 * RATE))
    assert abs(spectrum[:8 * 600].argmax() / 8 - 440) < 440 * 0.006  # 10 cents


def test_onsets_stay_on_time(band):
    """Against the note at 0: never more than half a renderer block off (0.67 ms), also after 20 s."""
    times = [0, 1.0001, 2.3337, 5.5002, 9.99, 14.4444, 20.0003]
    out = band.render([PlayedNote(time, 0.1, 0, 90, 120) for time in times], {0: Channel(115)}, 21)[0]  # wood block
    first = np.flatnonzero(np.abs(out) > 1e-4)[0]
    for time in times:
        at = round(time * RATE)
        onset = at - 200 + np.flatnonzero(np.abs(out[max(0, at - 200):at + 2000]) > 1e-4)[0] + max(0, 200 - at)
        assert abs(onset - first - time * RATE) <= RATE / 750 / 2 + 3


def test_rendering_is_deterministic_and_starts_from_silence(band):
    notes = piece(2)
    one = band.render(notes, BAND, 2)
    band.render([PlayedNote(0, 1, 0, 30, 127)], PIANO, 1)
    assert np.array_equal(one, band.render(notes, BAND, 2))
    assert not band.render([], {}, 0.5).any() and band.render([], {}, 0.5).shape == (2, RATE // 2)


def test_releases_are_rendered_to_silence(band):
    out = band.render([PlayedNote(0, 0.5, 0, 60, 110)], PIANO, 0.5)
    assert 0.55 * RATE < out.shape[1] < (0.5 + synth.TAIL_SECONDS) * RATE
    assert np.abs(out[:, -100:]).max() < 3e-4  # -70 dBFS


def test_a_release_longer_than_the_bound_is_faded_out(band):
    out = band.render([PlayedNote(0, 0.5, 0, 60, 127)], {0: Channel(14)}, 0.5, tail_seconds=1.0)  # tubular bells ring for 6 s
    assert abs(out.shape[1] - 1.5 * RATE) < 200
    assert np.abs(out[:, int(0.9 * RATE):RATE]).max() > 0.01 and np.abs(out[:, -100:]).max() < 2e-4


def test_pan_volume_and_velocity(band):
    note = [PlayedNote(0, 0.5, 0, 60, 100)]
    left, right, quiet, centre = (band.render(note, {0: channel}, 0.5) for channel in (
        Channel(61, pan=0), Channel(61, pan=127), Channel(61, volume=50), Channel(61)))
    assert decibels(left[0], left[1] + 1e-9) > 30 and decibels(right[1], right[0] + 1e-9) > 30
    length = min(quiet.shape[1], centre.shape[1])
    assert abs(decibels(quiet[:, :length], centre[:, :length]) + 40 * np.log10(2)) < 0.6  # General MIDI: 40 log10(volume)
    soft = band.render([PlayedNote(0, 0.5, 0, 60, 50)], {0: Channel(61)}, 0.5)
    assert decibels(soft, centre) < -10


def test_loud_material_is_not_clipped_by_the_renderer(band):
    notes = [PlayedNote(0, 1, 0, pitch, 127) for pitch in range(40, 76, 3)]
    loud = {0: Channel(60, volume=127)}
    out = band.render(notes, loud, 1)[:, :RATE]
    assert np.abs(out).max() > 1  # past what the renderer's 16 bits can hold
    halves = sum(band.render(half, loud, 1)[:, :RATE] for half in (notes[::2], notes[1::2]))
    assert decibels(out - halves, halves) < -30


def test_crowded_segments_lose_no_voices(band, monkeypatch):
    channels = {0: Channel(48), 1: Channel(73)}
    strings = [PlayedNote(0, 1, 0, 40 + k, 90) for k in range(40)]
    flutes = [PlayedNote(0, 1, 1, 60 + k, 60) for k in range(20)]
    assert len(list(synth._parts(flutes, channels, band.soundfont))) == 1
    parts = list(synth._parts(strings + flutes, channels, band.soundfont))
    assert len(parts) > 1 and sorted(map(repr, sum(parts, []))) == sorted(map(repr, strings + flutes))
    out = band.render(strings, channels, 1)[:, :RATE]
    alone = sum(band.render(strings[k:k + 8], channels, 1)[:, :RATE] for k in range(0, 40, 8))
    assert decibels(out - alone, alone) < -40
    monkeypatch.setattr(synth, "_VOICES", 1000)
    assert decibels(band.render(strings, channels, 1)[:, :RATE] - alone, alone) > -10  # what the limit would take away


def test_voice_counts_follow_the_tables(band):
    """TimGM6mb: six strings samples where two key ranges overlap; a kit that is absent sounds as the standard kit."""
    strings, flute, kit, absent_kit = (synth.voice_counts(band.soundfont, *preset) for preset in ((0, 48), (0, 73), (128, 0), (128, 99)))
    assert strings.max() == 6 and strings[30:90].min() >= 1 and 1 <= flute[60:90].min() <= flute.max() <= 2
    assert np.array_equal(kit, absent_kit) and kit[36, 100] >= 1


def test_midi_is_read_alike_by_another_parser():
    notes = [PlayedNote(0.5, 0.5, 3, 60, 90), PlayedNote(1.0, 0.5, 3, 60, 80), PlayedNote(0.75, 1.0, 3, 60, 70), PlayedNote(0, 0.1, 9, 36, 100)]
    file = mido.MidiFile(file=synth.io.BytesIO(synth.midi_bytes(notes, {3: Channel(40, 90, 20, 6), 9: Channel(8)}, 0.25, 64)))
    now, setup, strikes = 0.0, [], []
    for message in file:
        now += message.time
        if message.type in ("note_on", "note_off"):
            strikes.append((round(now, 2), message.type, message.channel, message.note, message.velocity))
        elif not message.is_meta:
            setup.append((message.channel, message.bytes()[1:]))
            assert now == 0
    assert [item for channel, item in setup if channel == 3] == [[40], [7, 90], [10, 20], [11, 64], [91, 0], [93, 6]]
    assert strikes == [  # the note at 0.5 ends where its key is struck again, before the new one starts
        (0.25, "note_on", 9, 36, 100), (0.35, "note_off", 9, 36, 0), (0.75, "note_on", 3, 60, 90),
        (1.0, "note_off", 3, 60, 0), (1.0, "note_on", 3, 60, 70), (1.25, "note_off", 3, 60, 0),
        (1.25, "note_on", 3, 60, 80), (1.75, "note_off", 3, 60, 0)]
    assert abs(file.length - 1.75 - synth.TAIL_SECONDS) < 0.01


# Joining

def test_segments_equal_the_whole_and_do_not_click(band):
    """Cuts at odd samples, one of them inside held strings: the same sound up to the renderer's 16 bits."""
    notes = piece(8)
    cuts = [0, 100_003, 154_321, 270_007, 8 * RATE]
    assert all(any(n.start_seconds * RATE < cut - 5000 < cut + 5000 < (n.start_seconds + n.duration_seconds) * RATE for n in notes)
               for cut in cuts[1:-1])
    whole = band.render(notes, BAND, 8)
    joined = render_in_segments(band, notes, BAND, cuts)
    length = min(whole.shape[1], joined.shape[1])
    assert max(whole.shape[1], joined.shape[1]) - length < RATE // 10
    assert decibels(joined[:, :length] - whole[:, :length], whole) < -60
    assert np.abs(joined[:, :length] - whole[:, :length]).max() < 3e-4
    for out in (joined, master(joined)):
        for cut in cuts[1:-1]:
            jump = np.abs(np.diff(out[:, cut - 1:cut + 1])).max()
            around = np.abs(np.diff(out[:, cut - 2205:cut + 2205]))
            assert around.max() > 0 and jump < np.percentile(around, 99.9)


def test_without_the_place_in_the_piece_segments_differ(band):
    """Why render() wants start_sample: the renderer's blocks and chorus would start anew at every join."""
    notes = [PlayedNote(1.0, 1.5, 1, 60, 90)]
    placed, unplaced = (band.render(notes, BAND, 2.5, start) for start in (12_345, 0))
    again = band.render(notes, BAND, 2.5, 12_345 + 5 * synth._CHORUS_PERIOD)
    assert np.array_equal(placed, again) and decibels(placed[:, :2 * RATE] - unplaced[:, :2 * RATE], placed) > -30


def test_the_joiner_adds_up_and_holds_only_the_tail():
    random = np.random.RandomState(0)
    segments = [random.standard_normal((2, length)).astype(np.float32) for length in (700, 100, 2000, 0, 50)]
    lengths = [500, 300, 400, 250, 100]
    joiner, expected, at = TailJoiner(), np.zeros((2, 5000)), 0
    pushed = []
    for rendered, length in zip(segments, lengths):
        expected[:, at:at + rendered.shape[1]] += rendered
        at += length
        pushed.append(joiner.push(rendered, length))
    tail = joiner.finish(60, 0)
    assert tail.shape[1] == 500 + 300 + 2000 - at
    np.testing.assert_allclose(np.concatenate([*pushed, tail], 1), expected[:, :at + tail.shape[1]], atol=1e-6)
    assert joiner.finish().shape == (2, 0)

    tracemalloc.start()
    for _ in range(200):
        joiner.push(np.ones((2, 3 * RATE), np.float32), RATE)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 5 * 2 * 3 * RATE * 4


def test_the_last_tail_ends_in_silence_where_it_is_cut():
    joiner = TailJoiner()
    joiner.push(np.ones((2, 5 * RATE), np.float32), RATE)
    tail = joiner.finish(max_seconds=2, fade_seconds=0.5)
    assert tail.shape == (2, 2 * RATE)
    assert (tail[:, :int(1.5 * RATE)] == 1).all() and np.abs(tail[:, -1]).max() < 1e-6
    assert np.abs(np.diff(tail)).max() < 2e-4
    with pytest.raises(ValueError, match=r"\[2, T\]"):
        joiner.push(np.zeros(10, np.float32), 5)


# Master

def test_master_is_a_gain_for_quiet_sound_and_a_limit_for_loud():
    gain = 10 ** (synth.MASTER_GAIN_DB / 20)
    ramp = np.linspace(-20, 20, 400_001, dtype=np.float32)
    out = master(ramp)
    quiet = np.abs(ramp) * gain < synth.KNEE
    assert np.array_equal(out[quiet], ramp[quiet] * np.float32(gain))
    assert np.abs(out).max() <= 1 and (np.diff(out) >= 0).all()
    assert np.diff(out).max() < 1.01 * gain * 1e-4  # no step and no kink upwards at the knee
    assert np.array_equal(master(ramp[1000:2000]), out[1000:2000])  # each sample for itself


def test_levels_of_a_forte_band_and_a_soft_piano(band):
    forte = master(band.render(piece(8, 105), BAND, 8))
    assert -6 < 20 * np.log10(np.abs(forte).max()) < -0.5
    piano = [PlayedNote(0.5 * k, 0.5, 0, pitch, 35) for k in range(4) for pitch in (48, 60, 64, 67)]
    soft = master(band.render(piano, {0: Channel(0)}, 2))
    assert -40 < 20 * np.log10(np.abs(soft).max()) < -24


# SoundFonts

def write_font(path, kind=b"sfbk", samples=b"\0" * 64, missing_bytes=0):
    info = b"LIST" + struct.pack("<I", 16) + b"INFOifil" + struct.pack("<IHH", 4, 2, 1)
    sdta = b"LIST" + struct.pack("<I", 12 + len(samples)) + b"sdtasmpl" + struct.pack("<I", len(samples)) + samples
    body = kind + info + sdta
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + missing_bytes) + body)
    return path


def test_search_order(tmp_path, monkeypatch, nothing_installed, timgm):
    assert find_soundfont() == timgm
    system = tmp_path / "system"
    system.mkdir()
    monkeypatch.setattr(soundfont, "_SYSTEM_FOLDERS", (str(tmp_path / "absent"), str(system)))
    write_font(system / "small.sf2")
    assert find_soundfont() == timgm  # only large General MIDI fonts are worth the difference between computers
    large = write_font(system / "FluidR3_GM.sf2")
    assert find_soundfont() == large
    monkeypatch.setenv("LARA_SOUNDFONT", str(write_font(tmp_path / "environment.sf2")))
    assert find_soundfont(None, tmp_path / "no_model") == tmp_path / "environment.sf2"
    model = tmp_path / "model"
    model.mkdir()
    beside = write_font(model / "own.sf2")
    assert find_soundfont("", model) == beside
    assert find_soundfont(str(timgm), model) == timgm


def test_unusable_soundfonts_are_named(tmp_path, monkeypatch, nothing_installed, timgm):
    (tmp_path / "text.sf2").write_text("no font")
    for path, reason in ((tmp_path / "missing.sf2", "cannot be read"), (tmp_path, "cannot be read"), (tmp_path / "text.sf2", "not a SoundFont"),
                         (write_font(tmp_path / "dls.sf2", kind=b"DLS "), "not a SoundFont"),
                         (write_font(tmp_path / "cut.sf2", missing_bytes=1000), "cut off"),
                         (write_font(tmp_path / "vorbis.sf3", samples=b"OggS" + b"\0" * 60), "SF3")):
        with pytest.raises(ValueError, match=reason):
            find_soundfont(path)
    hollow = Synthesizer(SoundFont.load(write_font(tmp_path / "hollow.sf2")))
    with pytest.raises(ValueError, match="hollow.sf2 has damaged tables"):
        hollow.render([PlayedNote(0, 1, 0, 60, 100)], PIANO, 1)
    (tmp_path / "headless.sf2").write_bytes(timgm.read_bytes().replace(b"shdr", b"none"))
    with pytest.raises(ValueError, match="headless.sf2 cannot be rendered"):
        Synthesizer(SoundFont.load(tmp_path / "headless.sf2")).render([PlayedNote(0, 1, 0, 60, 100)], PIANO, 1)
    monkeypatch.setattr(soundfont.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="install pretty_midi"):
        find_soundfont()


def test_a_soundfont_is_read_once_and_can_be_recorded(tmp_path, timgm):
    font = SoundFont.load(timgm)
    assert (font.name, font.digest) == ("TimGM6mb.sf2", "82475b91a76de15c")
    assert SoundFont.load(str(timgm)).data is font.data and "data" not in repr(font)
    copy = write_font(tmp_path / "a.sf2")
    first = SoundFont.load(copy)
    write_font(copy, samples=b"\1" * 128)
    assert SoundFont.load(copy).digest != first.digest  # a replaced file is read again


@pytest.mark.parametrize("change, reason", [
    ({"pitch": 128}, "pitch is 128"), ({"velocity": 0}, "velocity is 0"), ({"channel": 16}, "channel is 16"),
    ({"start_seconds": -1.0}, "start_seconds is -1.0"), ({"duration_seconds": float("nan")}, "duration_seconds is nan")])
def test_impossible_notes_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        replace(PlayedNote(0, 1, 0, 60, 100), **change)


def test_impossible_requests_are_refused(band):
    note = PlayedNote(0, 1, 4, 60, 100)
    for arguments, reason in ((([note], PIANO, 1), "channel 4"), (([], {}, -1), "length in seconds is -1"), (([], {}, float("nan")), "nan"),
                              (([], {}, 1e6), "0..600"), (([], {}, 1, -5), "start_sample is -5"),
                              (([replace(note, start_seconds=700.0)], {4: Channel(0)}, 1), "start_seconds is 700")):
        with pytest.raises(ValueError, match=reason):
            band.render(*arguments)
    with pytest.raises(ValueError, match="channel program is 128"):
        Channel(128)
