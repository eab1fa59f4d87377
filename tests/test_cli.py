"""The command line: what it writes, what it keeps when a piece is made again, and what it says to a wrong input."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile

from lara_core import cli, making, options, pipeline, take
from lara_core.affect import EMOTIONS, PRESETS, Curve
from lara_core.cli import main
from lara_core.codec.score import LANE

ROOT = Path(__file__).resolve().parent.parent
RATE_HZ = 44100


@pytest.fixture(autouse=True)
def shipped(tiny_models, monkeypatch):
    """Model names are looked up among the tiny ones, and the SoundFont is the one that comes with the requirements."""
    monkeypatch.setattr(pipeline, "SHIPPED_MODELS", tiny_models)
    monkeypatch.delenv("LARA_SOUNDFONT", raising=False)


def generate(folder: Path, *options: str, out: str = "piece.wav", prompt: str = "soft piano music", seconds: str = "9") -> int:
    given = ["--model", "tiny", *options]
    if "--redo" not in options:
        given = ["--prompt", prompt, "--seconds", seconds, *given]
    return main(["generate", *given, "-o", str(folder / out)])


def record(folder: Path, name: str = "piece") -> dict:
    return json.loads((folder / f"{name}.json").read_text())


def codes(folder: Path, name: str = "piece") -> list[np.ndarray]:
    return [take.unpack_codes(segment["codes"]) for segment in record(folder, name)["segments"]]


def cues(path: Path) -> dict[str, int]:
    """Markers of a WAV by label -> sample, read chunk by chunk."""
    data, at, places, labels = path.read_bytes(), 12, {}, {}
    while at < len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        body = data[at + 8:at + 8 + size]
        if name == b"cue ":
            places = {number: sample for number, sample, *_ in struct.iter_unpack("<II4sIII", body[4:])}
        elif name == b"LIST":
            inner = 4
            while inner < len(body):
                kind, length, number = struct.unpack_from("<4sII", body, inner)
                labels[number] = body[inner + 12:inner + 8 + length].rstrip(b"\0").decode()
                inner += 8 + length + length % 2
        at += 8 + size + size % 2
    return {labels[number]: sample for number, sample in places.items()}


@pytest.fixture(scope="module")
def piece(tiny_models, tmp_path_factory) -> Path:
    """A folder with one generated piece: 9 s at 120 BPM under a preset curve."""
    folder = tmp_path_factory.mktemp("piece")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SHIPPED_MODELS", tiny_models)
        assert generate(folder, "--preset", "calm-tense-resolve", "--tempo", "120", "--key", "Eb", "--seed", "3", "--top-p", "0.9") == 0
    return folder


# ---- what is written -----------------------------------------------------------------------------------------------


def test_a_piece_is_four_files_and_nothing_else(piece):
    assert sorted(os.listdir(piece)) == ["piece.json", "piece.mid", "piece.png", "piece.wav"]
    samples, rate_hz = soundfile.read(piece / "piece.wav")
    assert (rate_hz, samples.shape) == (RATE_HZ, (9 * RATE_HZ, 2))
    assert np.abs(samples).max() > 0.01
    assert (piece / "piece.png").read_bytes().startswith(b"\x89PNG")


def test_markers_stand_at_the_joints_in_wav_and_midi(piece):
    """One bar, then up to the end of the phrase: at 120 BPM a bar of 4/4 lasts exactly 2 s."""
    segments = record(piece)["segments"]
    assert [segment["start_seconds"] for segment in segments] == pytest.approx([0, 2])
    assert cues(piece / "piece.wav") == {"segment 1": 2 * RATE_HZ}
    midi = mido.MidiFile(piece / "piece.mid")
    tick, markers = 0, {}
    for message in midi.tracks[0]:
        tick += message.time
        if message.type == "marker":
            markers[message.text] = tick / midi.ticks_per_beat
        if message.type == "set_tempo":
            assert mido.tempo2bpm(message.tempo) == pytest.approx(120, abs=1e-3)
    assert markers == {"segment 1": 4}


def test_the_curve_travels_in_the_midi(piece):
    midi = mido.MidiFile(piece / "piece.mid")
    now, errors = 0.0, []
    for message in midi:
        now += message.time
        if message.type == "control_change" and message.control in (20, 21):
            asked = PRESETS["calm-tense-resolve"].at(np.array([now]), 9.0)[0, message.control - 20]
            errors.append(abs((asked + 1) / 2 * 127 - message.value))
    assert len(errors) > 20 and max(errors) < 1


def test_the_record_tells_everything(piece):
    made = record(piece)
    assert made["prompt"] == "soft piano music" and made["model"]["name"] == "tiny" and len(made["model"]["digest"]) == 16
    assert made["request"] == {"seconds": 9.0, "tempo": 120.0, "metre": "4/4", "tonic": 3, "seed": 3}
    assert made["sampling"]["top_p"] == 0.9
    assert Curve.from_json(made["curve"]) == PRESETS["calm-tense-resolve"]
    assert made["written_by"]["version"] == cli.__version__
    assert str(piece) not in json.dumps(made), "machine paths have no place in a record"


def test_the_same_seed_gives_the_same_files_and_takes_count_it_up(piece, tmp_path):
    """Take 1 of seed 2 is seed 2, take 2 is seed 3: the piece."""
    options = ["--preset", "calm-tense-resolve", "--tempo", "120", "--key", "Eb", "--top-p", "0.9"]
    assert generate(tmp_path, *options, "--seed", "2", "--takes", "2", out="take.wav") == 0
    assert sorted(os.listdir(tmp_path)) == sorted(f"take-{n}.{end}" for n in (1, 2) for end in ("wav", "mid", "json", "png"))
    for end in ("wav", "mid", "json", "png"):
        assert (tmp_path / f"take-2.{end}").read_bytes() == (piece / f"piece.{end}").read_bytes()
        assert (tmp_path / f"take-1.{end}").read_bytes() != (piece / f"piece.{end}").read_bytes() or end == "png"


@pytest.fixture
def takes(monkeypatch) -> list:
    """The takes that would be made; nothing is."""
    begun = []
    monkeypatch.setattr(making, "write_take", lambda take, wav, scored: begun.append(take))
    return begun


@pytest.mark.parametrize("options, curve", [
    (("--valence", "-0.5"), Curve.constant(-0.5, 0)),
    (("--arousal", "0.25"), Curve.constant(0, 0.25)),
    (("--valence", "1", "--arousal", "-1"), Curve.constant(1, -1)),
    (("--emotion", "Angry"), Curve.constant(*EMOTIONS["angry"])),
    (("--preset", "sunrise"), PRESETS["sunrise"]),
])
def test_each_way_to_ask_for_an_emotion(options, curve, tmp_path, takes):
    assert generate(tmp_path, *options) == 0
    assert takes[0].curve == curve


@pytest.mark.parametrize("curve", [None, Curve(((0, -1, 0), (2, 1, 0.5)), "beats", "hold")])
def test_pieces_without_a_curve_and_with_one_in_beats(curve, tmp_path):
    options = []
    if curve is not None:
        curve.save(tmp_path / "asked.json")
        options = ["--curve", str(tmp_path / "asked.json")]
    assert generate(tmp_path, *options, out="piece.WAV", seconds="2") == 0
    made = record(tmp_path)["curve"]
    assert (None if made is None else Curve.from_json(made)) == curve
    controls = {message.control for message in mido.MidiFile(tmp_path / "piece.mid") if message.type == "control_change"}
    assert controls == (set() if curve is None else {20, 21})
    assert soundfile.info(tmp_path / "piece.WAV").frames == 2 * RATE_HZ and (tmp_path / "piece.png").is_file()


def test_a_piece_of_the_other_codec(tiny_neural, tmp_path):
    """The same command with EnCodec: 8 kHz mono, no bars and so no MIDI; beats are those of the tempo that was asked for."""
    Curve(((0, -1, 0), (2, 1, 0.5)), "beats").save(tmp_path / "asked.json")
    options = ["--curve", str(tmp_path / "asked.json"), "--tempo", "90", "--model", str(tiny_neural)]
    assert generate(tmp_path, *options, out="piece.wav", seconds="3.01") == 0
    told = soundfile.info(tmp_path / "piece.wav")
    assert (told.samplerate, told.channels, told.frames) == (8000, 1, 24080)
    assert sorted(path.name for path in tmp_path.glob("piece*")) == ["piece.json", "piece.png", "piece.wav"]
    assert sum(c.shape[1] for c in codes(tmp_path)) == 151, "50 frames a second, the last one begun"


def test_without_a_seed_every_piece_is_new_and_says_its_seed(tmp_path, takes, capsys):
    assert generate(tmp_path) == generate(tmp_path) == 0
    first, second = (take.request.seed for take in takes)
    assert first != second
    told = capsys.readouterr().out.splitlines()
    assert f"seed {first}," in told[0] and f"seed {second}," in told[1]


# ---- a piece made again --------------------------------------------------------------------------------------------


def test_a_piece_is_made_again_from_its_json_alone(piece, tmp_path):
    assert generate(tmp_path, "--redo", str(piece / "piece.json")) == 0
    for end in ("wav", "mid", "json", "png"):
        assert (tmp_path / f"piece.{end}").read_bytes() == (piece / f"piece.{end}").read_bytes()


def test_from_a_segment_on_what_stands_before_is_kept_bit_for_bit(piece, tmp_path):
    redo = ["--redo", str(piece / "piece.json"), "--from-segment", "1"]
    assert generate(tmp_path, *redo, "--segment-seed", "99") == 0
    old, new = codes(piece), codes(tmp_path)
    assert np.array_equal(new[0], old[0]) and not np.array_equal(new[1], old[1])
    before, _ = soundfile.read(piece / "piece.wav", stop=2 * RATE_HZ, dtype="int16")
    after, _ = soundfile.read(tmp_path / "piece.wav", stop=2 * RATE_HZ, dtype="int16")
    assert np.array_equal(before, after) and before.any()
    assert [segment["seed"] for segment in record(tmp_path)["segments"]] == [record(piece)["segments"][0]["seed"], 99]


def test_takes_of_one_segment_differ_in_that_alone(piece, tmp_path, takes):
    redo = ["--redo", str(piece / "piece.json"), "--from-segment", "1"]
    assert generate(tmp_path, *redo, "--takes", "3") == 0
    seed, old = record(piece)["segments"][1]["seed"], record(piece)
    assert [dict(take.seeds) for take in takes] == [{0: old["segments"][0]["seed"], 1: seed + n} for n in range(3)]
    for take in takes:
        assert take.request.seed == 3 and take.prompt == old["prompt"] and len(take.kept) == 1
        assert np.array_equal(take.kept[0], codes(piece)[0])


def test_what_is_given_replaces_what_was(piece, tmp_path):
    redo = ["--redo", str(piece / "piece.json"), "--from-segment", "1", "--prompt", "fast drums", "--emotion", "angry", "--top-k", "5"]
    assert generate(tmp_path, *redo) == 0
    made, old = record(tmp_path), record(piece)
    assert made["prompt"] == "fast drums" and made["request"] == old["request"]
    assert made["sampling"] == old["sampling"] | {"top_k": 5}
    assert made["segments"][0] == old["segments"][0] and made["segments"][1]["codes"] != old["segments"][1]["codes"]
    assert np.array_equal(codes(tmp_path)[1][LANE["grid"]], codes(piece)[1][LANE["grid"]]), "key, metre and form stay"


def test_other_weights_are_noticed(piece, tmp_path, takes, caplog):
    changed = record(piece)
    changed["model"]["digest"], changed["soundfont"]["digest"] = "0" * 16, "1" * 16
    (tmp_path / "old.json").write_text(json.dumps(changed))
    assert generate(tmp_path, "--redo", str(tmp_path / "old.json"), "--from-segment", "1") == 0
    assert "other weights" in caplog.text and "SoundFont" in caplog.text


# ---- wrong inputs --------------------------------------------------------------------------------------------------


def refused(capsys, folder: Path, status: int, *words: str) -> None:
    """Exit code 2, one sentence on stderr with these words in it, and no file in the folder but those that were there."""
    printed = capsys.readouterr()
    assert status == 2, printed
    assert printed.err.startswith("lara: ") and printed.err.endswith(".\n") and printed.err.count("\n") == 1, printed.err
    for word in words:
        assert word in printed.err
    assert printed.out == ""
    assert not [name for name in os.listdir(folder) if name.startswith((".", "piece"))]


@pytest.fixture
def no_model(monkeypatch):
    def load(*_args, **_options):
        raise AssertionError("a model was loaded before the inputs were checked")

    monkeypatch.setattr(pipeline.Lara, "load", load)


CURVE = '{{"unit": "{}", "interpolation": "linear", "points": [{}]}}'
POINT = '{{"t": {}, "valence": {}, "arousal": {}}}'


@pytest.mark.parametrize("text, words", [
    (CURVE.format("seconds", ""), ["no points"]),
    (CURVE.format("parsecs", POINT.format(0, 0, 0)), ["'parsecs'", "seconds, beats, normalized"]),
    (CURVE.format("seconds", POINT.format(2, 0, 0) + "," + POINT.format(1, 0, 0)), ["points[1]", "sort"]),
    (CURVE.format("seconds", POINT.format(0, "NaN", 0)), ["points[0] valence", "nan"]),
    (CURVE.format("seconds", POINT.format(0, 0, 1.01)), ["points[0] arousal", "1.01", "from -1 to 1"]),
    ('{"unit": "seconds"', ["not JSON"]),
    ("\udcff\udcfe", ["asked.json"]),
    (None, ["asked.json", "No such file"]),
])
def test_wrong_curves(text, words, tmp_path, capsys, no_model):
    if text is not None:
        (tmp_path / "asked.json").write_bytes(text.encode(errors="surrogateescape"))
    refused(capsys, tmp_path, generate(tmp_path, "--curve", str(tmp_path / "asked.json")), *words)


@pytest.mark.parametrize("options, words", [
    (["--valence", "nan"], ["--valence", "'nan'", "-1 to 1"]),
    (["--arousal", "1.5"], ["--arousal", "'1.5'", "-1 to 1"]),
    (["--arousal", "high"], ["--arousal", "'high'"]),
    (["--emotion", "hapy"], ["'hapy'", "happy"]),
    (["--preset", "sunset"], ["'sunset'", "sunrise"]),
    (["--preset", "sunrise", "--emotion", "happy"], ["--preset and --emotion"]),
    (["--seconds", "0"], ["0.0 s", "more than 0"]),
    (["--seconds", "10000"], ["10000.0 s", "at most 7200"]),
    (["--seconds", "nan"], ["nan s"]),
    (["--seconds", "long"], ["--seconds", "'long'"]),
    (["--tempo", "1000"], ["1000.0 BPM", "30 to 300"]),
    (["--tempo", "nan"], ["nan BPM"]),
    (["--metre", "7/8"], ["'7/8'", "3/4"]),
    (["--key", "H"], ["--key", "'H'"]),
    (["--seed", "-1"], ["--seed", "'-1'"]),
    (["--seed", "9" * 40], ["--seed"]),
    (["--takes", "0"], ["--takes", "1 to 99"]),
    (["--temperature", "0"], ["temperature", "above 0"]),
    (["--temperature", "nan"], ["temperature"]),
    (["--top-p", "2"], ["top_p"]),
    (["--top-k", "-3"], ["top_k"]),
    (["--text-strength", "99"], ["text_strength", "0 to 20"]),
    (["--emotion-strength", "nan"], ["emotion_strength"]),
    (["--prompt", "  "], ["prompt is empty"]),
    (["--prompt", "x" * 10_000], ["10000 characters", "1000"]),
    (["--prompt", "a\x07b"], ["control character"]),
    (["--model", "absent"], ["'absent'", "tiny"]),
    (["--device", "tpu"], ["--device", "'tpu'"]),
    (["--from-segment", "1"], ["--redo"]),
    (["--segment-seed", "1"], ["--redo"]),
    (["--loud"], ["unrecognized", "--loud"]),
    (["--sec", "5"], ["unrecognized"]),
])
def test_wrong_options(options, words, tmp_path, capsys, no_model):
    refused(capsys, tmp_path, generate(tmp_path, *options), *words)


def test_cuda_where_there_is_none(tmp_path, capsys, no_model, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(capsys, tmp_path, generate(tmp_path, "--device", "cuda"), "CUDA", "cpu")


@pytest.mark.parametrize("argv, words", [
    ([], ["COMMAND"]),
    (["compose"], ["'compose'", "generate"]),
    (["generate"], ["--output"]),
    (["generate", "-o", "piece.wav"], ["--prompt", "--redo"]),
    (["generate", "-o", "piece.wav", "--prompt", "x"], ["--seconds"]),
])
def test_missing_options(argv, words, tmp_path, capsys, no_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(capsys, tmp_path, main(argv), *words)


@pytest.mark.parametrize("out, words", [
    ("absent/piece.wav", ["absent", "does not exist"]),
    ("piece.mp3", ["'.mp3'", ".wav"]),
    ("folder.wav", ["folder.wav", "is a folder"]),
    ("file/piece.wav", ["file", "does not exist"]),
    ("crowded.wav", ["crowded.png", "is a folder"]),
    ("take.wav", ["take-2.wav", "is a folder"]),
    ("asked.wav", ["asked.json", "replace"]),
])
def test_outputs_that_cannot_be_written(out, words, tmp_path, capsys, no_model):
    for folder in ("folder.wav", "crowded.png", "take-2.wav"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").write_text("")
    Curve.constant(0, 0).save(tmp_path / "asked.json")
    options = ["--takes", "2"] if out == "take.wav" else []
    refused(capsys, tmp_path, generate(tmp_path, "--curve", str(tmp_path / "asked.json"), *options, out=out), *words)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_folder_without_permission(tmp_path, capsys, no_model):
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(capsys, tmp_path, generate(tmp_path, out="locked/piece.wav"), "locked", "cannot be written")


def broken(name: str, tiny_models: Path, folder: Path) -> Path:
    """A copy of the tiny model with something wrong."""
    import shutil

    shutil.copytree(tiny_models, folder / "models")
    model = folder / "models" / "tiny"
    weights, config = model / "model.safetensors", json.loads((model / "config.json").read_text())
    if name == "no config":
        (model / "config.json").unlink()
    elif name == "no weights":
        weights.unlink()
    elif name == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif name == "pickle":
        weights.rename(model / "pytorch_model.bin")
    elif name == "shape":
        config["decoder"]["ffn_width"] = 64
    elif name == "codec":
        config["codec"]["name"] = "mp3"
    elif name == "version":
        config["version"] = 99
    if name != "no config":
        (model / "config.json").write_text(json.dumps(config))
    return model


@pytest.mark.parametrize("name, words", [
    ("no config", ["config.json"]), ("no weights", ["model.safetensors"]), ("truncated", ["model.safetensors", "damaged"]),
    ("pickle", ["pickle"]), ("shape", ["fc1.weight", "64"]), ("codec", ["mp3"]), ("version", ["99"]),
])
def test_broken_models(name, words, tiny_models, tmp_path, capsys):
    model = broken(name, tiny_models, tmp_path)
    refused(capsys, tmp_path, generate(tmp_path, "--model", str(model)), *words)


def test_a_file_that_is_no_model(tmp_path, capsys):
    (tmp_path / "weights.pt").write_bytes(b"\x80\x04K\x01.")
    refused(capsys, tmp_path, generate(tmp_path, "--model", str(tmp_path / "weights.pt")), "weights.pt")


def test_a_soundfont_that_is_none(tmp_path, capsys):
    (tmp_path / "noise.sf2").write_bytes(b"not a SoundFont")
    refused(capsys, tmp_path, generate(tmp_path, "--soundfont", str(tmp_path / "noise.sf2")), "noise.sf2", ".sf2 file")


@pytest.mark.parametrize("damage, options, words", [
    (lambda made: made.update(format="other"), [], ["not the record of a piece"]),
    (lambda made: made.update(version=7), [], ["this version"]),
    (lambda made: made.pop("request"), [], ["damaged", "request"]),
    (lambda made: made["request"].update(seconds="nine"), [], ["damaged"]),
    (lambda made: made["request"].update(seconds=0), [], ["damaged", "0 s"]),
    (lambda made: made["curve"].update(points=[]), [], ["damaged", "points"]),
    (lambda made: made["segments"][1].update(seed="x"), [], ["seed 'x'"]),
    (lambda made: made["request"].update(seed=-1), [], ["seed -1"]),
    (lambda made: made["request"].update(tempo=[[0, 100], [0, 120]]), [], ["tempo map"]),
    (lambda made: made["request"].update(tempo=[[0, 100], [4, None], [8, 120]]), [], ["tempo is None"]),
    (lambda made: made["request"].update(tempo=[[0, 100], [0, None]]), [], ["tempo map"]),
    (lambda made: made["segments"][0].pop("codes"), [], ["damaged", "codes"]),
    (lambda made: made.update(segments=7), [], ["damaged"]),
    (lambda made: made.update(model={}), [], ["damaged", "name"]),
    (lambda made: made.update(soundfont="x"), [], ["damaged"]),
    (lambda made: made["segments"][0].update(codes={}), ["--from-segment", "1"], ["codes"]),
    (lambda made: made["segments"][0]["codes"].update(zlib_u16="AAAA"), ["--from-segment", "1"], ["codes"]),
    (lambda made: made["sampling"].update(temperature=0), [], ["temperature"]),
    (lambda made: made["sampling"].update(magic=1), [], ["magic"]),
    (lambda made: made["model"].update(name="gone"), ["--model", ""], ["'gone'", "tiny"]),
    (lambda made: None, ["--from-segment", "2"], ["segments 0 to 1"]),
    (lambda made: None, ["--from-segment", "1", "--tempo", "90"], ["--tempo", "keeps"]),
    (lambda made: None, ["--from-segment", "1", "--seed", "90"], ["--segment-seed"]),
])
def test_wrong_earlier_pieces(damage, options, words, piece, tmp_path, capsys, no_model):
    made = record(piece)
    damage(made)
    (tmp_path / "old.json").write_text(json.dumps(made))
    refused(capsys, tmp_path, generate(tmp_path, "--redo", str(tmp_path / "old.json"), *options), *words)


def test_kept_codes_of_another_codec(piece, tmp_path, capsys):
    made = record(piece)
    made["segments"][0]["codes"] = take.pack_codes(np.full((4, 16), 2000))
    (tmp_path / "old.json").write_text(json.dumps(made))
    refused(capsys, tmp_path, generate(tmp_path, "--redo", str(tmp_path / "old.json"), "--from-segment", "1"), "4 codebooks", "2000", "13")


# ---- interrupted ---------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_nothing_and_finished_takes_stay(tmp_path, capsys, monkeypatch):
    made, original = [], take.generate

    def stopped(*args):
        made.append(1)
        if len(made) == 4:  # the second segment of the second take
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(take, "generate", stopped)
    assert generate(tmp_path, "--tempo", "120", "--takes", "3") == 130
    assert sorted(os.listdir(tmp_path)) == sorted(f"piece-1.{end}" for end in ("wav", "mid", "json", "png"))
    assert capsys.readouterr().err.count("\n") == 1


def test_a_full_disk_while_the_picture_is_written_leaves_the_earlier_piece(piece, tmp_path, capsys, monkeypatch):
    from lara_core import plot

    def full(*_args, **_options):
        raise OSError(28, "No space left on device", "piece.png")

    (tmp_path / "piece.wav").write_bytes(b"earlier")
    monkeypatch.setattr(plot, "write_atomic", full)
    assert generate(tmp_path, seconds="1") == 2
    assert os.listdir(tmp_path) == ["piece.wav"] and (tmp_path / "piece.wav").read_bytes() == b"earlier"
    assert "No space left" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_a_real_interrupt_in_the_middle_of_a_long_piece(tiny_model, tmp_path):
    command = [sys.executable, "-m", "lara_core", "generate", "--prompt", "soft piano", "--seconds", "3600", "--model", str(tiny_model),
               "-o", str(tmp_path / "piece.wav")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # a job in the background ignores it
    until = time.monotonic() + 240
    while not any(path.stat().st_size > 100_000 for path in tmp_path.glob(".lara-*/.piece.wav.*")):  # sound is being written
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == "lara: stopped; whatever was not finished is not written."
    assert "Traceback" not in said and os.listdir(tmp_path) == []


# ---- the other commands --------------------------------------------------------------------------------------------


def test_info_says_what_a_model_is(tiny_model, capsys):
    from safetensors import safe_open

    with safe_open(tiny_model / "model.safetensors", framework="np") as file:
        parameters = sum(np.prod(file.get_slice(name).get_shape()) for name in file.keys())
    assert main(["info", str(tiny_model)]) == 0
    told = capsys.readouterr().out
    for words in (f"{parameters:,}", "13 codebooks of 128", "44100 Hz", "width 64", ".sf2", "Random weights, figures: none."):
        assert words in told
    assert "## Data" not in told


def test_info_without_a_model(tmp_path, capsys):
    assert main(["info", "absent"]) == 2
    assert "'absent'" in capsys.readouterr().err


def test_models_are_listed(capsys, tmp_path, monkeypatch):
    assert main(["models"]) == 0
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines()] == ["tiny"]
    monkeypatch.setattr(pipeline, "SHIPPED_MODELS", tmp_path)
    assert main(["models"]) == 0 and "No model" in capsys.readouterr().out


def test_emotions_are_listed(capsys):
    assert main(["emotions"]) == 0
    words, presets = capsys.readouterr().out.split("\n\n")
    rows = {row[:18].strip(): tuple(map(float, row[18:].split())) for row in words.splitlines()[1:]}
    assert rows.keys() == EMOTIONS.keys()
    assert all(np.allclose(rows[name], place, atol=0.0051) for name, place in EMOTIONS.items())
    assert [row.split()[0] for row in presets.splitlines()[1:]] == list(PRESETS)


def test_train_passes_everything_on(monkeypatch):
    from training import train

    seen = []
    monkeypatch.setattr(train, "train", seen.append)
    assert main(["train", "--corpus", "a.npz", "-o", "runs/x", "--steps", "7"]) == 0
    assert (seen[0].corpus, seen[0].output, seen[0].steps) == (Path("a.npz"), Path("runs/x"), 7)


def test_train_says_what_is_wrong(monkeypatch, capsys):
    assert main(["train", "--steps", "7"]) == 2
    assert "--corpus" in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "training.train")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert main(["train", "--corpus", "a.npz", "-o", "x"]) == 2
    assert "'accelerate'" in capsys.readouterr().err


def test_answers_that_need_no_torch_come_without_it(tmp_path):
    """Help, tables and wrong arguments answer at once, because nothing heavy is imported for them."""
    code = """
import contextlib, io, sys
from lara_core.cli import main
for argv in (["--help"], ["generate", "--help"], ["emotions"], ["generate"], ["generate", "-o", "x.wav", "--prompt", "x", "--seconds", "0"],
             ["generate", "-o", "x.wav", "--prompt", "x", "--seconds", "5", "--curve", "absent.json"]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        main(argv)
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "transformers", "matplotlib", "mido", "soundfile", "scipy"}))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]", result.stderr


def test_a_score_model_loads_without_what_it_does_not_need(tiny_model, tmp_path):
    """transformers, and torch's compiler, which initialising weights on "meta" would import, take seconds and memory."""
    code = """
import sys
from lara_core.pipeline import Lara
Lara.load(sys.argv[1])
print(sorted({"torch._dynamo", "sympy", "transformers", "matplotlib", "pretty_midi"} & sys.modules.keys()))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(tiny_model)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "[]", result.stderr


def test_the_bar_shows_after_a_while_and_ends_full(monkeypatch, capsys):
    with options.progress(60, "quick.wav") as show:
        show(0.5)
    assert capsys.readouterr().err == "", "what takes a moment needs no bar"
    monkeypatch.setattr(options, "QUIET_SECONDS", {True: 0, False: 0})
    with options.progress(60, "long.wav") as show:
        show(0.5)
        show(0.4)
    told = capsys.readouterr().err
    assert "long.wav:  50%" in told and "60/60 s of music" in told
