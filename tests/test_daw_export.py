"""A piece as files for a DAW: the sound is the same to the sample, all of it lies on one timeline, and the schema holds."""

import io
import json
import shutil
import struct
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import mido
import numpy as np
import pytest
import soundfile

from lara_core import daw, pipeline
from lara_core.cli import main
from lara_core.piece import Piece

SCHEMAS = Path(__file__).parent / "dawproject"  # of github.com/bitwig/dawproject, with its licence
RATE_HZ = 44100


@pytest.fixture(scope="module")
def pieces(tiny_models, tmp_path_factory) -> Path:
    """A folder with `moving` (the music chooses its tempo; a curve in beats), `asked` (90 BPM, 3/4) and `silent` (no curve)."""
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "beats.json").write_text('{"unit": "beats", "interpolation": "linear", "points": [{"t": 0, "valence": -1, "arousal": 0}, '
                                       '{"t": 8, "valence": 1, "arousal": 0.5}]}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SHIPPED_MODELS", tiny_models)
        patch.delenv("LARA_SOUNDFONT", raising=False)
        for name, options in (("moving", ["--curve", str(folder / "beats.json")]), ("silent", []),
                              ("asked", ["--preset", "slow-burn", "--tempo", "90", "--metre", "3/4"])):
            assert main(["generate", "--model", "tiny", "--prompt", 'soft "piano" & strings', "--seconds", "9", "--seed", "5", "--no-score", *options,
                         "-o", str(folder / f"{name}.wav")]) == 0
    return folder


def export(record: Path, to: Path, *options: str) -> int:
    return main(["export", str(record), "--to", str(to), *options])


def project(path: Path) -> ElementTree.Element:
    with zipfile.ZipFile(path) as archive:
        return ElementTree.fromstring(archive.read("project.xml"))


def points(root: ElementTree.Element, path: str) -> np.ndarray:
    """Times and values [N,2] of an automation."""
    return np.array([(float(point.get("time")), float(point.get("value"))) for point in root.find(path).iter("RealPoint")])


def beats_of(midi: Path):
    """Seconds -> beats by mido's reading of a file's tempo map: a function for one moment."""
    file = mido.MidiFile(midi)
    steps = [(0, 0.0, 500000)]
    tick = 0
    for message in file.tracks[0]:
        tick += message.time
        if message.type == "set_tempo":
            last = steps[-1]
            steps.append((tick, last[1] + mido.tick2second(tick - last[0], file.ticks_per_beat, last[2]), message.tempo))

    def at(seconds: float) -> float:
        tick, start, tempo = [step for step in steps if step[1] <= seconds][-1]
        return (tick + mido.second2tick(seconds - start, file.ticks_per_beat, tempo)) / file.ticks_per_beat

    return at


# ---- .dawproject ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["moving", "asked", "silent"])
def test_a_project_is_valid_by_the_schemas_of_the_format(pieces, tmp_path, name):
    xmlschema = pytest.importorskip("xmlschema")
    assert export(pieces / f"{name}.json", tmp_path / "a.dawproject") == 0
    with zipfile.ZipFile(tmp_path / "a.dawproject") as archive:
        assert archive.testzip() is None and archive.namelist() == ["metadata.xml", "project.xml", f"audio/{name}.wav"]
        for part, schema in (("project.xml", "Project.xsd"), ("metadata.xml", "MetaData.xsd")):
            xml = archive.read(part)
            xmlschema.XMLSchema(SCHEMAS / schema).validate(io.BytesIO(xml))
        assert not xmlschema.XMLSchema(SCHEMAS / "Project.xsd").is_valid(io.BytesIO(xml))  # it is no rubber stamp


@pytest.mark.parametrize("name", ["moving", "asked"])
def test_sound_markers_tempo_and_emotion_lie_on_one_timeline(pieces, tmp_path, name):
    assert export(pieces / f"{name}.json", tmp_path / "a.dawproject") == 0
    root, at, record = project(tmp_path / "a.dawproject"), beats_of(pieces / f"{name}.mid"), json.loads((pieces / f"{name}.json").read_text())
    outer, clip = root.iter("Clip")
    assert root.find(".//Lanes").get("timeUnit") == "beats"
    assert float(outer.get("duration")) == float(clip.get("duration")) == pytest.approx(at(9.0), abs=2e-3) and float(clip.get("playStop")) == 9.0
    marks = {mark.get("name"): float(mark.get("time")) for mark in root.iter("Marker")}
    starts = {f"segment {n}": at(segment["start_seconds"]) for n, segment in enumerate(record["segments"]) if n}
    assert marks == pytest.approx(starts, abs=0.01)
    assert root.find("Transport/TimeSignature").get("numerator") == ("3" if name == "asked" else "4")
    piece = Piece.read(pieces / f"{name}.json")
    seconds = np.linspace(0, 8.9, 40)
    asked = piece.curve.at(seconds, 9.0, piece.beats_at)
    for column, lane in enumerate(("valence", "arousal")):
        drawn = points(root, f".//Points[@name='{lane}']")
        assert np.abs(np.interp([at(s) for s in seconds], *drawn.T) * 2 - 1 - asked[:, column]).max() < 0.02
        target = root.find(f".//Points[@name='{lane}']/Target")
        assert (target.get("expression"), target.get("channel"), target.get("controller")) == ("channelController", "15", str(20 + column))


def test_the_tempo_map_is_that_of_the_midi(pieces, tmp_path):
    assert export(pieces / "moving.json", tmp_path / "a.dawproject") == 0 and export(pieces / "asked.json", tmp_path / "b.dawproject") == 0
    moving, asked = project(tmp_path / "a.dawproject"), project(tmp_path / "b.dawproject")
    assert points(moving, ".//TempoAutomation") == pytest.approx(np.array(daw.read(pieces / "moving.mid").tempo))
    assert asked.find(".//TempoAutomation") is None and float(asked.find("Transport/Tempo").get("value")) == pytest.approx(90, abs=1e-3)


def test_a_piece_without_curve_has_no_emotion_track(pieces, tmp_path):
    assert export(pieces / "silent.json", tmp_path / "a.dawproject") == 0
    root = project(tmp_path / "a.dawproject")
    assert [track.get("name") for track in root.iter("Track")] == ['soft "piano" & strings', "Master"] and root.find(".//Points") is None


def test_without_a_tempo_time_is_in_seconds(pieces, tmp_path):
    """As of a MusicGen model, which has no bars and writes no MIDI."""
    for suffix in (".json", ".wav"):
        shutil.copy(pieces / f"silent{suffix}", tmp_path / f"a{suffix}")
    assert export(tmp_path / "a.json", tmp_path / "a.dawproject") == 0
    root = project(tmp_path / "a.dawproject")
    assert root.find(".//Lanes").get("timeUnit") == "seconds" and root.find("Transport") is None and root.find(".//Clip").get("duration") == "9.0"
    starts = [segment["start_seconds"] for segment in json.loads((tmp_path / "a.json").read_text())["segments"][1:]]
    assert [float(mark.get("time")) for mark in root.iter("Marker")] == pytest.approx(starts)


# ---- a folder ------------------------------------------------------------------------------------------------------


def test_a_folder_has_the_same_sound_with_its_place_and_markers(pieces, tmp_path, capsys):
    assert export(pieces / "asked.json", tmp_path / "daw", "--at", "3600") == 0
    assert sorted(path.name for path in (tmp_path / "daw").iterdir()) == ["asked.dawproject", "asked.mid", "asked.wav"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "daw" / f"asked{suffix}") for suffix in (".wav", ".dawproject", ".mid")]
    before, after = (soundfile.read(folder / "asked.wav", dtype="int16")[0] for folder in (pieces, tmp_path / "daw"))
    assert np.array_equal(before, after)
    data, original = (tmp_path / "daw" / "asked.wav").read_bytes(), (pieces / "asked.wav").read_bytes()
    assert struct.unpack_from("<Q", data, data.index(b"bext") + 8 + 338) == (3600 * RATE_HZ,)
    assert struct.unpack_from("<Q", original, original.index(b"bext") + 8 + 338) == (0,)  # a piece by itself begins at 0
    assert data[data.index(b"cue "):] == original[original.index(b"cue "):]
    assert (tmp_path / "daw" / "asked.mid").read_bytes() == (pieces / "asked.mid").read_bytes()


def test_the_curve_comes_back_from_the_exported_midi(pieces, tmp_path):
    assert export(pieces / "moving.json", tmp_path) == 0
    assert main(["curve", str(tmp_path / "moving.mid"), "-o", str(tmp_path / "again.json")]) == 0
    again = daw.read(tmp_path / "again.json")
    values = again.curve(*again.emotion_lanes()).at(np.array([0.0, 4, 7.75]), tempo=60)
    assert np.allclose(values, [(-1, 0), (0, 0.25), (0.9375, 0.484)], atol=0.05)


@pytest.mark.parametrize("to, options, said", [
    ("x.wav", [], "neither is a folder nor ends in .dawproject"), ("no/x.dawproject", [], "does not exist"), ("no/x", [], "does not exist"),
    ("pieces", [], "is the folder of the piece itself"), ("x.dawproject", ["--at", "-1"], "--at is -1"), ("x.dawproject", ["--at", "nan"], "--at is nan"),
    ("notes.txt", [], "neither is a folder")])
def test_export_says_what_is_wrong_and_writes_nothing(pieces, tmp_path, monkeypatch, capsys, to, options, said):
    shutil.copytree(pieces, tmp_path / "pieces")
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert export(Path("pieces/asked.json"), Path(to), *options) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "pieces"]


def test_a_new_folder_may_have_a_dot_in_its_name(pieces, tmp_path):
    assert export(pieces / "asked.json", tmp_path / "mix.v2_00001_") == 0 and (tmp_path / "mix.v2_00001_" / "asked.wav").is_file()


def test_export_needs_the_sound_beside_the_record(pieces, tmp_path, capsys):
    shutil.copy(pieces / "asked.json", tmp_path / "a.json")
    assert export(tmp_path / "a.json", tmp_path / "a.dawproject") == 2 and "the WAV has to lie beside" in capsys.readouterr().err
    (tmp_path / "a.wav").write_bytes((pieces / "asked.wav").read_bytes()[:30])
    assert export(tmp_path / "a.json", tmp_path / "a.dawproject") == 2 and "is not a readable sound file" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.wav"]


# ---- the tempo of a DAW's file for a new piece ---------------------------------------------------------------------


def test_generate_takes_the_tempo_map_of_a_file(pieces, tiny_models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "SHIPPED_MODELS", tiny_models)
    command = ["generate", "--model", "tiny", "--prompt", "soft piano", "--seconds", "4", "--no-score", "-o", str(tmp_path / "a.wav"), "--tempo"]
    assert main([*command, str(pieces / "moving.mid")]) == 0
    given = Piece.read(tmp_path / "a.json").request.tempo
    assert given == daw.read(pieces / "moving.mid").tempo
    assert main([*command, "fast"]) == 2 and "'fast' is neither a number nor a file with a tempo" in capsys.readouterr().err
    assert main([*command, str(pieces / "beats.json")]) == 2 and "beats.json has no tempo" in capsys.readouterr().err
