"""Automation of DAWs as emotion curves: small files built as the programs write them, what is read of them, and what is refused."""

import gzip
import io
import json
import math
import tracemalloc

import mido
import numpy as np
import pytest

from lara_core import daw
from lara_core.affect import PRESETS, Curve, thin
from lara_core.cli import main
from lara_core.codec import Request
from lara_core.codec.midi import write_midi
from lara_core.codec.score import LANE, Bar, Note, Score

# ---- files as the programs write them ------------------------------------------------------------------------------


def parameter(tag: str, target: int, low: float = 0, high: float = 127) -> str:
    return (f'<{tag}><LomId Value="0" /><Manual Value="{low}" /><MidiControllerRange><Min Value="{low}" /><Max Value="{high}" /></MidiControllerRange>'
            f'<AutomationTarget Id="{target}"><LockEnvelope Value="0" /></AutomationTarget></{tag}>')


def envelope(target: int, *events) -> str:
    """An AutomationEnvelope; an event is (time, value) or (time, value, curve attributes)."""
    all_events = [(-63072000, events[0][1] if events else 0), *events]
    lines = "".join(f'<FloatEvent Id="{n}" Time="{event[0]}" Value="{event[1]}"{"".join(event[2:])} />' for n, event in enumerate(all_events))
    return (f'<AutomationEnvelope Id="{target}"><EnvelopeTarget><PointeeId Value="{target}" /></EnvelopeTarget><Automation><Events>{lines}</Events>'
            '</Automation></AutomationEnvelope>')


def live_set(valence=((0, 0), (16, 127)), arousal=((0, 127), (8, 0)), tempo=(), main="MainTrack", major="5", locators=((0, "Intro"), (16, "Früh"))) -> bytes:
    """A set with a rack whose macros are called Valence and Arousal, and a plug-in; uncompressed."""
    macros = parameter("MacroControls.0", 101) + parameter("MacroControls.1", 102)
    names = '<MacroDisplayNames.0 Value="Valence" /><MacroDisplayNames.1 Value="Arousal" />'
    plugin = '<PluginDevice Id="3"><ParameterList><PluginFloatParameter Id="0"><ParameterName Value="Cutoff" />' + parameter("ParameterValue", 103, 0, 1)
    plugin += "</PluginFloatParameter></ParameterList></PluginDevice>"
    envelopes = "".join(envelope(target, *events) for target, events in ((101, valence), (102, arousal), (103, [(0, 0.25), (4, 0.5)])) if events is not None)
    tempo_envelope = envelope(8, *tempo) if tempo else ""
    marks = "".join(f'<Locator Id="{n}"><LomId Value="0" /><Time Value="{time}" /><Name Value="{name}" /></Locator>' for n, (time, name) in enumerate(locators))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Ableton MajorVersion="{major}" MinorVersion="12.0_12049" Creator="Ableton Live {'12.0.5' if major == '5' else '9.7.1'}"><LiveSet><Tracks>
<MidiTrack Id="12"><Name><EffectiveName Value="LARA" /><UserName Value="" /></Name><AutomationEnvelopes><Envelopes>{envelopes}</Envelopes>
</AutomationEnvelopes><DeviceChain><Mixer>{parameter("Volume", 104, 0.0003, 1.99)}</Mixer><DeviceChain><Devices>
<InstrumentGroupDevice Id="2"><UserName Value="Emotion" />{macros}{names}<Branches><InstrumentBranch Id="0"><DeviceChain><MidiToAudioDeviceChain><Devices>
{plugin}</Devices></MidiToAudioDeviceChain></DeviceChain></InstrumentBranch></Branches></InstrumentGroupDevice></Devices></DeviceChain></DeviceChain></MidiTrack>
</Tracks><{main}><Name><EffectiveName Value="Main" /></Name><AutomationEnvelopes><Envelopes>{tempo_envelope}</Envelopes></AutomationEnvelopes>
<DeviceChain><Mixer><Tempo><Manual Value="96" /><MidiControllerRange><Min Value="60" /><Max Value="200" /></MidiControllerRange>
<AutomationTarget Id="8"><LockEnvelope Value="0" /></AutomationTarget></Tempo></Mixer></DeviceChain></{main}>
<Locators><Locators>{marks}</Locators></Locators></LiveSet></Ableton>""".encode()


PROJECT = """<REAPER_PROJECT 0.1 "7.20/linux-x86_64" 1732000000
  <NOTES 0 2
    |< not a block
  >
  TEMPO 120 4 4
  MARKER 1 4 "Drop it" 0 0 1
  MARKER 2 8 "" 1
  <TEMPOENVEX
    ACT 1 -1
    PT 0 120 1
    PT 4 60 1
  >
  <TRACK {A}
    NAME "LARA emotion"
    <VOLENV2
      ACT 1 -1
      PT 0 1 0
      PT 2 2 0
    >
    <FXCHAIN
      <JS lara/macros ""
        0 0 - -
      >
      <PARMENV 0 -12 12 0 "Valence / JS: macros"
        PT 0 -12 0
        PT 4 12 1 0 0 0 0
        PT 8 0 0
      >
      <PARMENV 1:wet 0 1 0.5 'Arousal "A" / JS'
        PT 0 0 2
        PT 4 1 0
      >
    >
    <ITEM
      <VOLENV
        PT 0 9 0
      >
    >
  >
>
"""


@pytest.fixture
def write(tmp_path):
    """write(name, bytes or text) -> path."""
    def write_file(name: str, data):
        (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return tmp_path / name

    return write_file


def controllers(tracks: list[list[tuple]], tempo: int = 500000) -> mido.MidiFile:
    """A MIDI file; an event is (beat, channel, controller, value)."""
    midi = mido.MidiFile(ticks_per_beat=480)
    midi.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=tempo), mido.MetaMessage("marker", text="A", time=960)]))
    for events in tracks:
        track, last = mido.MidiTrack(), 0
        for beat, channel, control, value in events:
            track.append(mido.Message("control_change", channel=channel, control=control, value=value, time=round(beat * 480) - last))
            last = round(beat * 480)
        midi.tracks.append(track)
    return midi


# ---- thinning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [0.0, 0.02, 0.3])
def test_a_thinned_polyline_stays_within_its_tolerance(tolerance):
    random = np.random.default_rng(4)
    t = np.cumsum(random.uniform(0.01, 1, 2000))
    points = np.column_stack([t, np.sin(t / 40) + random.normal(0, 0.01, 2000), np.where(t % 100 < 50, -1, 0.5)])
    few = thin(points, tolerance)
    assert (few[0] == points[0]).all() and (few[-1] == points[-1]).all()
    for column in (1, 2):
        assert np.abs(np.interp(t, few[:, 0], few[:, column]) - points[:, column]).max() <= tolerance + 1e-9
    assert tolerance < 0.1 or len(few) < 100


def test_a_straight_line_keeps_its_ends():
    t = np.linspace(0, 9, 50)
    assert len(thin(np.column_stack([t, 2 * t]), 1e-9)) == 2
    assert len(thin(np.array([[0.0, 1.0]]), 0.1)) == 1


# ---- Ableton Live --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("main_track", ["MainTrack", "MasterTrack"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_live_set_gives_its_macros_by_the_names_they_show(write, main_track, packed):
    xml = live_set(main=main_track)
    found = daw.read(write("a.als", gzip.compress(xml) if packed else xml))
    assert [lane.name for lane in found.lanes] == ["LARA / Emotion / Valence", "LARA / Emotion / Arousal", "LARA / PluginDevice / Cutoff"]
    assert [(lane.low, lane.high) for lane in found.lanes] == [(0, 127), (0, 127), (0, 1)]
    assert found.tempo == ((0, 96),) and found.markers == ((0, "Intro"), (16, "Früh")) and found.unit == "beats"
    curve = found.curve(*found.emotion_lanes())
    assert curve.unit == "beats" and np.allclose(curve.at(np.array([0.0, 4, 8, 16, 99]), tempo=60), [(-1, 1), (-0.5, 0), (0, -1), (1, -1), (1, -1)])


def test_a_jump_stays_a_jump(write):
    found = daw.read(write("a.als", live_set(valence=((0, 0), (4, 0), (4, 127), (8, 127)))))
    curve = found.curve(*found.emotion_lanes())
    assert np.allclose(curve.at(np.array([3.998, 4.0]), tempo=60)[:, 0], [-1, 1])


def test_points_that_lie_closer_than_a_curve_can_say_are_one(write):
    near = [(4 + n * 3e-8, 100 * (n % 2)) for n in range(40)]
    found = daw.read(write("a.als", live_set(valence=((0, 0), *near, (8, 127)), arousal=((4.00000002, 5), (4.0000009, 90)))))
    curve = found.curve(*found.emotion_lanes(), tolerance=0.0)
    assert curve.at(np.array([8.0]), tempo=60)[0, 0] == 1 and len(curve.points) < 12


def test_a_curved_segment_is_its_bezier(write):
    """Control points as Live writes them, on the unit square between the event that carries them and the next."""
    curved = ' CurveControl1X="0.1" CurveControl1Y="0.7" CurveControl2X="0.3" CurveControl2Y="0.9"'
    found = daw.read(write("a.als", live_set(valence=((4, 127, curved), (12, 0), (16, 0)))))
    curve = found.curve(*found.emotion_lanes(), tolerance=0.001)
    for s in (0.25, 0.5, 0.75):  # B(s) by hand
        x = 3 * s * (1 - s) ** 2 * 0.1 + 3 * s * s * (1 - s) * 0.3 + s ** 3
        y = 3 * s * (1 - s) ** 2 * 0.7 + 3 * s * s * (1 - s) * 0.9 + s ** 3
        assert curve.at(np.array([4 + 8 * x]), tempo=60)[0, 0] == pytest.approx(1 - 2 * y, abs=0.005)


def test_a_tempo_ramp_of_live_keeps_its_beats_where_they_fall(write):
    """From 60 to 120 within 4 beats, evenly over the beats: 4 ln 2 / (120 - 60) minutes."""
    found = daw.read(write("a.als", live_set(tempo=((4, 60), (8, 120), (8, 200)))))
    at = Request(60, found.tempo).seconds_at
    assert [float(at(beat)) for beat in (4, 6, 8, 12)] == pytest.approx([4, 4 + 4 * math.log(1.5), 4 + 4 * math.log(2), 4 + 4 * math.log(2) + 4 * 60 / 200])


def test_envelopes_without_events_in_the_song_are_no_automation(write):
    with pytest.raises(ValueError, match="^a.als holds no automation; draw"):
        xml = live_set(valence=(), arousal=()).replace(b'<PointeeId Value="103" />', b'<PointeeId Value="999" />')
        daw.read(write("a.als", xml)).emotion_lanes()


def bad_sets():
    whole = gzip.compress(live_set())
    doctype = live_set().replace(b"<Ableton ", b'<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;&a;&a;">]><Ableton ', 1)
    outside = live_set().replace(b"<Ableton ", b'<!DOCTYPE x SYSTEM "file:///etc/hostname"><Ableton ', 1)
    yield "cut off", whole[:len(whole) // 2], "damaged or cut off"
    yield "without its end", whole[:-6], "damaged or cut off"
    yield "damaged", whole[:200] + b"\0\0\0\0" + whole[204:], "damaged or cut off"
    yield "empty", b"", "damaged or cut off"
    yield "a wav", b"RIFF" + bytes(100), "damaged or cut off"
    yield "entities", gzip.compress(doctype), "document type or entities"
    yield "a file from outside", gzip.compress(outside), "document type or entities"
    yield "an unknown entity", gzip.compress(live_set().replace(b'"LARA"', b'"&lol;"')), "damaged or cut off"
    yield "Live 9", gzip.compress(live_set(major="4")), "saved by Ableton Live 9.7.1; sets of Live 10 to 12"
    yield "other XML", gzip.compress(b"<svg></svg>"), "not an Ableton Live set"
    yield "deep", gzip.compress(b"<Ableton>" + b"<a>" * 100_000), "200 deep"
    yield "words for numbers", gzip.compress(live_set(valence=((0, 0), (4, "much")))), "Value is 'much', not a number"
    yield "not a number", gzip.compress(live_set(valence=((0, 0), (4, "nan")))), "the lane 'LARA / Emotion / Valence' holds"
    yield "no tempo at all", gzip.compress(live_set(tempo=((0, 0), (4, 0)))), "a tempo is 0"


@pytest.mark.parametrize("data, said", [pytest.param(data, said, id=name) for name, data, said in bad_sets()])
def test_what_is_no_live_set_is_one_sentence(write, data, said):
    with pytest.raises(ValueError) as refused:
        daw.read(write("a.als", data))
    assert said in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 300


def test_a_bomb_is_refused_before_it_goes_off(write, monkeypatch):
    from lara_core.daw import ableton

    monkeypatch.setattr(ableton, "MAX_XML_BYTES", 4_000_000)
    bomb = gzip.compress(b"<Ableton><LiveSet>" + b" " * 40_000_000)
    assert len(bomb) < 50_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="a.als unpacks to more than 4 MB"):
        daw.read(write("a.als", bomb))
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()
    monkeypatch.setattr(ableton, "MAX_ELEMENTS", 1000)
    with pytest.raises(ValueError, match="a.als holds more than is read"):
        daw.read(write("a.als", gzip.compress(b"<Ableton><LiveSet>" + b"<a/>" * 2000 + b"</LiveSet></Ableton>")))
    monkeypatch.setattr(ableton, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ValueError, match="a.als has 0 MB; sets of at most 0 MB"):
        daw.read(write("a.als", bomb))


# ---- REAPER --------------------------------------------------------------------------------------------------------


def test_a_reaper_project_gives_its_envelopes_on_beats(write):
    """Two beats a second up to second 4, then one: points at 0, 4 and 8 s are beats 0, 8 and 12."""
    found = daw.read(write("song.rpp", PROJECT.replace("\n", "\r\n")))
    assert [(lane.name, lane.low, lane.high) for lane in found.lanes] == [
        ("LARA emotion / volume", 0, 2), ("LARA emotion / lara/macros / Valence", -12, 12), ('LARA emotion / lara/macros / Arousal "A"', 0, 1)]
    assert found.tempo == ((0, 120), (8, 60)) and found.markers == ((8, "Drop it"),)
    curve = found.curve(*found.emotion_lanes(), tolerance=0.002)
    values = curve.at(np.array([0.0, 4, 7.998, 10, 11.99, 12]), tempo=60)
    assert np.allclose(values[:, 0], [-1, 0, 1, 1, 1, 0], atol=0.005)  # a line, then a square that falls at its end
    assert np.allclose(values[:4, 1], [-1, 0, 1, 1], atol=0.005)
    assert curve.at(np.array([2.0]), tempo=60)[0, 1] == pytest.approx(2 * (0.25 ** 2 * 2.5) - 1, abs=0.01)  # slow start: x^2 (3 - 2x)


def test_a_bezier_of_reaper_does_not_leave_the_range(write):
    steep = PROJECT.replace("PT 0 -12 0\n", "PT 0 12 0\n PT 2 -12 5\n PT 4 -11 0\n")  # the spline wants to go on below -12
    lane = daw.read(write("song.rpp", steep)).find("valence")
    assert (lane.low, lane.high, lane.stated) == (-12, 12, True)


def test_a_tempo_ramp_of_reaper_moves_evenly_over_the_seconds(write):
    ramp = PROJECT.replace("PT 0 120 1\n", "PT 0 120 0\n")
    found = daw.read(write("song.rpp", ramp))
    assert found.markers == ((6, "Drop it"),)  # 4 s at 90 on average
    assert float(Request(60, found.tempo).seconds_at(6.0)) == pytest.approx(4)


@pytest.mark.parametrize("shape, share", [("3", 1 - 0.5 ** 3), ("4", 0.5 ** 3), ("5 0 0 0 0", 0.5703125), ("5 0 0 0 0.8", None), ("1", 0)])
def test_the_shapes_of_reaper(write, shape, share):
    """How much of the way is gone half-way. Bezier: controls a quarter inside, on the slopes (0 - 4 s: 6, 0 - 8 s: 1.5) of its neighbours."""
    found = daw.read(write("song.rpp", PROJECT.replace("PT 0 -12 0\n", f"PT 0 -12 {shape}\n")))
    value = found.curve(*found.emotion_lanes(), tolerance=0.001).at(np.array([4.0]), tempo=60)[0, 0]
    if share is None:
        assert value < -0.3  # a positive tension holds back
    else:
        assert value == pytest.approx(2 * share - 1, abs=0.01)


@pytest.mark.parametrize("text, said", [("", "is not a REAPER project"), ("<REAPER", "is not a REAPER project"), (PROJECT[:-10], "is cut off"),
                                        (PROJECT.replace("PT 4 12", "PT 4 x"), "is damaged"), (PROJECT.replace("PT 0 120", "PT 0 -1"), "a tempo is -1"),
                                        ("<REAPER_PROJECT\n" + "<A\n" * 200, "100 deep"), (PROJECT.replace("PT 2 2 0", "PT 2"), "is damaged"),
                                        (PROJECT.replace("PT 2 2 0", "PT 1e12 2 0"), "the lane 'LARA emotion / volume' holds"),
                                        (PROJECT.replace("PT 2 2 0", "PT 2 nan 0"), "the lane 'LARA emotion / volume' holds")])
def test_what_is_no_reaper_project_is_one_sentence(write, text, said):
    with pytest.raises(ValueError) as refused:
        daw.read(write("song.rpp", text))
    assert said in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 300


# ---- MIDI, JSON, CSV -----------------------------------------------------------------------------------------------


def test_controllers_are_lanes_of_their_tracks(write, tmp_path):
    events = [[(0, 0, 1, 0), (4, 0, 1, 64), (4.25, 0, 1, 127)], [(0, 0, 7, 100), (0, 3, 7, 20), (1, 3, 7, 30), (1, 3, 123, 0)]]
    midi = controllers(events)
    midi.tracks[1].insert(0, mido.MetaMessage("track_name", name="Früh".encode().decode("latin-1")))
    midi.save(tmp_path / "a.mid")
    found = daw.read(tmp_path / "a.mid")
    assert [lane.name for lane in found.lanes] == ["Früh / CC 1", "track 3 / channel 1 / CC 7", "track 3 / channel 4 / CC 7"]
    assert found.tempo == ((0, 120),) and found.markers == ((2, "A"),)
    curve = found.curve(found.find("CC 1"), None, 0.0)
    values = curve.at(np.array([0.0, 3.99, 4, 4.125, 4.25]), tempo=60)[:, 0] * 63.5 + 63.5
    assert np.allclose(values, [0, 0, 64, 95.5, 127], atol=1e-3)  # held, then a ramp within a sixteenth
    assert (curve.at(np.array([3.0]), tempo=60)[0, 1]) == 0  # no lane stays in the middle


def test_the_curve_of_our_own_midi_comes_back(tmp_path):
    beats = np.arange(0, 64, 0.25)
    values = PRESETS["nightmare"].at(beats, 64.0)
    score = Score([Bar(programs=(0, -1, -1, -1, -1, -1))] * 16, notes=[Note(LANE["lead"], 0, 4, 60)])
    write_midi(tmp_path / "a.mid", score, valence=(beats, values[:, 0]), arousal=(beats, values[:, 1]))
    found = daw.read(tmp_path / "a.mid")
    curve = found.curve(*found.emotion_lanes())
    assert np.abs(curve.at(beats, tempo=60) - values).max() < 0.02 + 1 / 127 + 0.01 and len(curve.points) < 60


@pytest.mark.parametrize("interpolation", ["linear", "smooth", "hold"])
@pytest.mark.parametrize("unit", ["beats", "seconds", "normalized"])
def test_a_curve_stays_what_it_is_in_its_own_unit(write, interpolation, unit):
    curve = Curve(((0, -1, 0.5), (0.3, 0.5, 0.2), (0.6, -0.5, 0.9), (1, 1, -1)), unit, interpolation)
    found = daw.read(write("a.json", curve.to_json()))
    again, t = found.curve(*found.emotion_lanes(), tolerance=0.001), np.linspace(0, 0.99, 100)
    assert again.unit == unit and np.abs(again.at(t, 1.0, 60.0) - curve.at(t, 1.0, 60.0)).max() < 0.01


def test_a_piece_gives_its_curve(write):
    piece = {"format": "lara-piece", "version": 1, "curve": json.loads(PRESETS["lullaby"].to_json())}
    assert [lane.name for lane in daw.read(write("a.json", json.dumps(piece))).lanes] == ["valence", "arousal"]
    with pytest.raises(ValueError, match="a piece that was made without a curve"):
        daw.read(write("a.json", json.dumps(piece | {"curve": None})))


@pytest.mark.parametrize("text", ["beats,Valence,Tension,Arousal\n0,-1,5,0.5\n8,1,9,-0.5\n", "Beats;Valence;Tension;Arousal\n0;-1,0;5;0,5\n\n8;1,0;9;-0,5",
                                  "\ufeffbeat\tValence\tTension\tArousal\r\n0\t-1\t5\t0.5\r\n8\t1\t9\t-0.5"])
def test_tables(write, text):
    found = daw.read(write("a.csv", text))
    assert found.curve(*found.emotion_lanes()).points == ((0, -1, 0.5), (8, 1, -0.5)) and found.unit == "beats"
    assert found.lanes[1].range_text == "5 to 9, its lowest and highest value"


@pytest.mark.parametrize("name, data, said", [
    ("a.csv", "", "has no table"), ("a.csv", "beats,valence\n", "has no table"), ("a.csv", "bars,valence\n1,0", "first column of a.csv is called 'bars'"),
    ("a.csv", "beats,valence\n1,x", "row 2 of a.csv has 'x' for 'valence'"), ("a.csv", "beats,valence\n1,nan", "row 2"),
    ("a.csv", "beats,valence\n1,0\n2", "row 3 of a.csv has '' for 'valence'"), ("a.csv", "beats,valence\n4,0\n2,0", "row 3 of a.csv is earlier"),
    ("a.json", "{", "is not JSON"), ("a.json", "[" * 100_000, "is not JSON"), ("a.json", "[]", "the curve is []"), ("a.json", b"\xff\xfe", "is not JSON"),
    ("a.mid", b"MThd", "is a damaged or cut off MIDI file"), ("a.mid", b"hello", "is not a MIDI file"), ("a.flp", b"FLhd", "ends in '.flp'"),
    ("a.json", '{"unit": "beats", "interpolation": "linear", "points": [{"t": 0, "valence": 2, "arousal": 0}]}', "use a number from -1 to 1")])
def test_other_rubbish_is_one_sentence(write, name, data, said):
    with pytest.raises(ValueError) as refused:
        daw.read(write(name, data))
    assert said in str(refused.value) and len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["a.als", "a.rpp", "a.json", "a.csv", "a.mid"])
def test_damaged_files_are_read_or_refused(write, name):
    """Characters are exchanged; those that stay readable give lanes whose curve can be made or is refused, too."""
    random, midi = np.random.default_rng(8), io.BytesIO()
    controllers([[(beat, 0, 20 + beat % 2, beat) for beat in range(60)]]).save(file=midi)
    whole = {"a.als": live_set(tempo=((4, 60), (8, 120))), "a.rpp": PROJECT.encode(), "a.json": PRESETS["nightmare"].to_json().encode(),
             "a.csv": b"beats,valence,arousal\n" + b"".join(b"%d,0.5,-0.25\n" % beat for beat in range(20)), "a.mid": midi.getvalue()}[name]
    read = 0
    for _ in range(200):
        data = bytearray(whole)
        for place in random.integers(0, len(data), random.integers(1, 6)):
            data[place] = random.choice(list(b"0123456789-.e<> ,"))
        try:
            found = daw.read(write(name, bytes(data)))
            for lane in found.lanes:
                found.curve(lane, None)
            read += 1
        except ValueError as error:
            assert len(str(error)) < 400 and "\n" not in str(error)
    assert read


# ---- which lanes ---------------------------------------------------------------------------------------------------


def test_lanes_are_found_by_name_part_or_word(write):
    found = daw.read(write("a.als", live_set()))
    for word in ("LARA / Emotion / Valence", "valence", "emotion / val", "Valence"):
        assert found.find(word) is found.lanes[0]
    assert found.find("cutoff", within="plugin") is found.lanes[2] and found.find("cutoff", within="emotion /") is None
    with pytest.raises(ValueError, match="several lanes for 'emotion': 'LARA / Emotion / Valence', 'LARA / Emotion / Arousal'"):
        found.find("emotion")


def test_lanes_of_one_name_are_told_apart(write):
    found = daw.read(write("a.csv", "beats,valence,valence\n0,0,1\n1,1,0"))
    assert [lane.name for lane in found.lanes] == ["valence", "valence #2"]
    assert found.find("valence") is found.lanes[0] and found.find("valence #2") is found.lanes[1]


# ---- the command ---------------------------------------------------------------------------------------------------


def test_curve_writes_what_generate_reads(write, tmp_path, capsys):
    path = write("a.als", gzip.compress(live_set()))
    assert main(["curve", str(path), "-o", str(tmp_path / "c.json")]) == 0
    assert Curve.load(tmp_path / "c.json").at(np.array([8.0]), tempo=60).tolist() == [[0, -1]]
    said = capsys.readouterr().out
    assert "valence: LARA / Emotion / Valence (2 points, beats 0 to 16, 0 to 127) became -1 to 1" in said
    assert "within 0.02 of what is drawn" in said and "tempo: 96" in said and "0 Intro, 16 Früh" in said


def test_curve_with_one_lane_and_another_range(write, tmp_path, capsys):
    path = write("a.als", live_set())
    assert main(["curve", str(path), "--arousal-lane", "cutoff", "--valence-lane", "cutoff", "--range", "0", "0.5", "-o", str(tmp_path / "c.json")]) == 0
    assert Curve.load(tmp_path / "c.json").points == ((0, 0, 0), (4, 1, 1))
    table = write("a.csv", "seconds,arousal\n0,0\n2,1\n")
    assert main(["curve", str(table), "-o", str(tmp_path / "d.json")]) == 0
    assert Curve.load(tmp_path / "d.json").points == ((0, 0, 0), (2, 0, 1)) and "valence: no lane, so it stays at 0" in capsys.readouterr().out


def test_curve_lists_lanes(write, capsys):
    assert main(["curve", str(write("song.rpp", PROJECT)), "--list", "--lane", "volume"]) == 0 and "3 lanes" not in capsys.readouterr().out
    assert main(["curve", str(write("song.rpp", PROJECT)), "--list"]) == 0
    said = capsys.readouterr().out
    assert "3 lanes" in said and "LARA emotion / volume (2 points, beats 0 to 4, 0 to 2)" in said and "60 to 120 quarter notes a minute in 2 steps" in said


@pytest.mark.parametrize("options, said", [
    ([], "-o is missing"), (["-o", "c.wav"], "ends in '.wav'; use .json"), (["-o", "a.json"], "would replace the file that is read"),
    (["-o", "c.json", "--tolerance", "-1"], "--tolerance is -1"), (["-o", "c.json", "--valence-lane", "joy"], "no lane 'joy' for valence; choose among those it has: 'valence'"),
    (["-o", "c.json", "--lane", "rack"], "no lane with 'rack' in its name"), (["-o", "c.json", "--range", "0", "0.1"], "leaves the range 0 to 0.1"),
    (["-o", "c.json", "--range", "1", "0"], "give the lower number first"), (["-o", "no/c.json"], "does not exist"), (["--nonsense"], "unrecognized arguments")])
def test_curve_says_what_is_wrong(write, tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    write("a.json", PRESETS["sunrise"].to_json())
    assert main(["curve", "a.json", *options]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and sorted(path.name for path in tmp_path.iterdir()) == ["a.json"]


def test_curve_names_the_lanes_where_none_says_what_it_is(write, capsys):
    table = write("a.csv", "beats,joy,fear\n0,0,0.5\n1,1,0.5\n")
    assert main(["curve", str(table), "-o", str(table.with_suffix(".json"))]) == 2
    assert "no lane of a.csv is called valence or arousal" in capsys.readouterr().err
    assert main(["curve", str(table), "--valence-lane", "joy", "--arousal-lane", "fear", "-o", str(table.with_suffix(".json"))]) == 0
    table = write("b.csv", "beats,joy\n0,7\n1,7\n")
    assert main(["curve", str(table), "--valence-lane", "joy", "-o", str(table.with_suffix(".json"))]) == 2
    assert "'joy' stays at 7 and its range is not known; give low and high (--range LOW HIGH)" in capsys.readouterr().err
