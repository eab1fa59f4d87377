"""The pack in a real ComfyUI: every node is there, every example graph runs and sounds, Cancel is quick, and nothing that is
put into a node takes the server down."""

import json
import re
import shutil
import socket
import time
from pathlib import Path
from urllib.parse import quote

import comfy_workflows
import mido
import numpy as np
import pytest
import soundfile
import websocket

ROOT = comfy_workflows.FOLDER.parent
WORKFLOWS = sorted(comfy_workflows.FOLDER.glob("*.json"))
SECONDS = {"First sound": 30, "Emotion arc": 60, "Film cue, takes ranked": 45, "Score your own file": 30, "Emotion drives a video": 10}
GENERATE = {"prompt": "solo piano", "seconds": 8.0, "tempo": 0.0, "metre": "4/4", "key": "any", "seed": 1, "takes": 1, "text_strength": 1.0,
            "emotion_strength": 3.0, "temperature": 1.0, "draft": False}


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def generate(**changed) -> dict:
    return node("LARAGenerateMusic", **GENERATE | changed)


def point(valence: float, arousal: float) -> dict:
    return node("LARAEmotionVA", va=json.dumps({"valence": valence, "arousal": arousal}))


def sound(server, output: dict, number: int = 0) -> tuple[np.ndarray, int]:
    """Samples [T,C] and rate of a node's player."""
    return soundfile.read(server.file(output["audio"][number]), always_2d=True)


def ids(source: str) -> set[str]:
    return set(re.findall(r'node_id="(\w+)"', source))


def test_every_node_is_there(object_info):
    ours = {kind for kind, info in object_info.items() if info["python_module"] == "custom_nodes.lara-gen"}
    assert ours == set().union(*(ids(path.read_text()) for path in (ROOT / "nodes").glob("*.py")))


def test_the_page_is_given_templates_pictures_help_and_translations(server, object_info):
    assert set(server.get("/workflow_templates")["lara-gen"]) == {path.stem for path in WORKFLOWS}
    for path in WORKFLOWS:
        assert server.read(f"/api/workflow_templates/lara-gen/{quote(path.stem)}.jpg")[:3] == b"\xff\xd8\xff"
    translated = server.get("/i18n")
    for kind in (kind for kind in object_info if kind.startswith("LARA")):
        assert server.read(f"/extensions/lara-gen/docs/{kind}.md").startswith(b"# ")
        assert all(kind in translated[language]["nodeDefs"] for language in ("de", "zh"))


def test_the_nodes_are_quick_to_import(server):
    """In the log, as `   0.2 seconds: /.../lara-gen`."""
    assert float(re.search(r"([\d.]+) seconds: \S+lara-gen", server.log.read_text())[1]) < 1.5


def test_the_graphs_are_those_that_are_described(object_info):
    assert {path.stem for path in WORKFLOWS} == set(comfy_workflows.WORKFLOWS) == set(SECONDS)
    for path in WORKFLOWS:
        described = comfy_workflows.page_format(path.stem, comfy_workflows.WORKFLOWS[path.stem], object_info)
        assert json.loads(path.read_text(encoding="utf-8")) == described, "run python tests/comfy/comfy_workflows.py"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_graph_runs_and_sounds(path, server, object_info):
    rate_hz = 96_000  # LoadAudio's file: stereo, at a rate that nothing here has
    t = np.arange(rate_hz * 8) / rate_hz
    tones = sum(np.sin(2 * np.pi * f * t) * np.exp(-3 * (t % (0.25 + 0.25 * k))) for k, f in enumerate((261.6, 329.6, 392.0)))
    soundfile.write(server.base / "input" / "your-music.wav", np.column_stack([tones, 0.5 * tones]) / 4, rate_hz)
    outputs = server.run(comfy_workflows.api_format(json.loads(path.read_text(encoding="utf-8")), object_info))
    players = [output for output in outputs.values() if "audio" in output]
    assert players
    for output in players:
        for number in range(len(output["audio"])):
            samples, rate_hz = sound(server, output, number)
            assert samples.shape == (SECONDS[path.stem] * rate_hz, 2)
            level_db = 20 * np.log10(np.sqrt(np.mean(samples ** 2)))
            assert -40 < level_db < -6 and np.abs(samples).max() <= 1
    measured = [track for output in outputs.values() for track in output.get("lara_measured", [])]
    assert all(len(track["times"]) == len(track["valence"]) == len(track["arousal"]) > 0 for track in measured)
    for video in (item for output in outputs.values() for item in output.get("images", []) if item["filename"].endswith(".mp4")):
        assert server.file(video).stat().st_size > 1000


def test_music_follows_valence_and_arousal(server):
    """Pleasant and intense is in major and fast, unpleasant and calm in minor and slow: as the tempi and keys of saved takes say."""
    majors, tempi = {}, {}
    for corner in (-0.9, 0.9):
        outputs = server.run({"1": point(corner, corner), "2": generate(takes=4, emotion_strength=4.0, emotion=["1", 0]),
                              "3": node("LARASaveMusic", piece=["2", 1], filename_prefix="audio/corner")})
        notes = [mido.MidiFile(server.file(item).with_suffix(".mid")).tracks[0] for item in outputs["3"]["audio"]]
        majors[corner] = sum(not message.key.endswith("m") for track in notes for message in track if message.type == "key_signature")
        tempi[corner] = np.mean([mido.tempo2bpm(message.tempo) for track in notes for message in track if message.type == "set_tempo"])
    assert majors[0.9] >= majors[-0.9] + 2 and tempi[0.9] > 1.3 * tempi[-0.9]


def test_progress_and_a_picture_then_cancel_then_a_good_run(server):
    page = websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws?clientId=lara-tests", timeout=60)
    prompt_id, shares, pictures = server.queue({"1": generate(seconds=900.0)}), [], 0
    while len(shares) < 3 or not pictures:
        message = page.recv()
        pictures += isinstance(message, bytes) and b"\xff\xd8\xff" in message[:64]  # a JPEG, behind some bytes of a head
        if isinstance(message, str) and json.loads(message)["type"] == "progress":
            data = json.loads(message)["data"]
            shares.append(data["value"] / data["max"])
    assert 0 <= shares[0] < shares[1] < shares[2] < 1
    assert shares == sorted(shares)
    began = time.monotonic()
    server.post("/interrupt", {})
    entry = server.finished(prompt_id)
    took = time.monotonic() - began
    page.close()
    assert [kind for kind, _ in entry["status"]["messages"]][-1] == "execution_interrupted" and took < 1
    samples, _ = sound(server, server.run({"1": generate(seed=99)})["1"])
    assert np.abs(samples).max() > 0.05


def cached(server, prompt: dict) -> set[str]:
    messages = dict(server.finished(server.queue(prompt))["status"]["messages"])
    return set(messages["execution_cached"]["nodes"])


def test_the_same_inputs_do_not_run_again(server):
    prompt = {"1": point(0.3, 0.3), "2": generate(emotion=["1", 0], seed=5)}
    server.run(prompt)
    assert cached(server, prompt) == {"1", "2"}
    assert cached(server, prompt | {"2": generate(emotion=["1", 0], seed=6)}) == {"1"}


def test_a_changed_last_point_leaves_what_was_before(server):
    def made(last: float) -> np.ndarray:
        curve = comfy_workflows.curve("seconds", "linear", (0, -0.5, -0.5), (10, 0.5, 0.2), (20, last, last))
        outputs = server.run({"1": node("LARAEmotionCurve", curve=curve), "2": generate(seconds=20.0, tempo=120.0, emotion=["1", 0], draft=True)})
        return sound(server, outputs["2"])[0]

    first, second = made(0.9), made(-0.9)
    assert np.array_equal(first[:7 * 44100], second[:7 * 44100]) and not np.array_equal(first, second)


def test_regenerate_and_continue_keep_what_was_before(server):
    base = {"1": generate(seconds=16.0, tempo=120.0, takes=2, draft=True)}
    piece = sound(server, server.run(base)["1"], 1)[0]
    again = node("LARARegenerateSegment", piece=["1", 1], from_second=9.0, seed=77, take=2)
    further = generate(seconds=10.0, draft=True, seed=3, continue_from=["2", 1])
    outputs = server.run(base | {"2": again, "3": further})
    changed, longer = (sound(server, outputs[number])[0] for number in "23")
    assert len(changed) == len(piece) and len(longer) == 26 * 44100
    assert np.array_equal(changed[:8 * 44100], piece[:8 * 44100]) and not np.array_equal(changed, piece)
    assert np.array_equal(longer[:6 * 44100], changed[:6 * 44100])
    assert np.abs(longer[-4 * 44100:]).max() > 0.01


def test_save_writes_sound_notes_record_and_picture(server):
    outputs = server.run({"1": generate(takes=2, draft=True), "2": node("LARASaveMusic", piece=["1", 1], filename_prefix="audio/saved")})
    files = [server.file(item) for item in outputs["2"]["audio"]]
    assert [path.name for path in files] == ["saved_00001_.wav", "saved_00002_.wav"]
    for path in files:
        assert soundfile.info(path).frames == 8 * 44100
        assert path.with_suffix(".mid").read_bytes()[:4] == b"MThd" and path.with_suffix(".png").stat().st_size > 5000
    assert json.loads(files[1].with_suffix(".json").read_text())["request"]["seed"] == 2


def test_export_for_a_daw_and_its_automation_comes_back(server):
    piece = {"1": point(0.6, -0.4), "2": generate(tempo=120.0, takes=2, draft=True, emotion=["1", 0])}
    export = node("LARADAWExport", piece=["2", 1], files="folder: WAV, MIDI, .dawproject", at=3600.0, filename_prefix="daw/cue")
    outputs = server.run(piece | {"3": export, "4": node("PreviewAny", source=["3", 0])})
    files = [Path(line) for line in outputs["4"]["text"][0].splitlines()]
    assert [path.name for path in files] == [f"cue_0000{take}_{suffix}" for take in (1, 2) for suffix in (".wav", ".dawproject", ".mid")]
    assert all(path.is_file() for path in files) and files[0].parent == server.base / "output" / "daw" / "cue_00001_"
    assert (files[0].read_bytes().index(b"bext")) < 100 and soundfile.info(files[0]).frames == 8 * 44100
    shutil.copy(files[2], server.base / "input" / "drawn.mid")
    back = {"1": node("LARAEmotionFromDAW", file="drawn.mid", valence_lane="", arousal_lane=""), "2": node("PreviewAny", source=["1", 1]),
            "3": node("LARAEmotionToFloats", emotion=["1", 0], frames=4, fps=2.0, low=-1.0, high=1.0, tempo=120.0),
            "4": node("PreviewAny", source=["3", 2])}
    outputs = server.run(back)
    assert "CC 20 (valence)" in outputs["2"]["text"][0] and json.loads(outputs["4"]["text"][0]) == pytest.approx([0.6] * 4, abs=0.01)
    assert cached(server, back) == {"1", "2", "3", "4"}
    shutil.copy(files[5], server.base / "input" / "drawn.mid")  # a file that was saved again is read again
    assert "1" not in cached(server, back)


def test_a_daw_is_heard_over_osc_and_only_what_is_new_runs_again(server):
    from pythonosc.udp_client import SimpleUDPClient

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    graph = {"1": node("LARAOSCInput", use="recorded curve", port=port, listen="this machine", mappings="/1/fader=arousal:0..127"),
             "2": node("PreviewAny", source=["1", 2]),
             "3": node("LARAEmotionToFloats", emotion=["1", 0], frames=2, fps=2.0, low=-1.0, high=1.0, tempo=120.0), "4": node("PreviewAny", source=["3", 2])}
    assert "Nothing has been heard" in server.run(graph)["2"]["text"][0]
    assert cached(server, graph) == {"1", "2", "3", "4"}
    client = SimpleUDPClient("127.0.0.1", port)
    client.send_message("/lara/valence", 0.5)
    client.send_message("/1/fader", 0)
    time.sleep(0.2)
    outputs = server.run(graph)
    assert "valence +0.50" in outputs["2"]["text"][0] and json.loads(outputs["4"]["text"][0]) == [0.5, 0.5]
    assert cached(server, graph) == {"1", "2", "3", "4"}


BAD = json.dumps({"unit": "normalized", "interpolation": "linear", "points": [{"t": 0, "valence": float("nan"), "arousal": 0}]})
SILENT = node("EmptyAudio", duration=0.0, sample_rate=44100, channels=2)
NOTES_ONLY = "This model writes notes and cannot go on from a recording"


def floats(kind: str, text: str) -> dict:
    """Music for the numbers, or the CURVE, of another pack."""
    name = {"TestNumbers": "numbers", "TestCurve": "points"}[kind]
    return {"1": node(kind, **{name: text}), "2": node("LARAEmotionFromFloats", valence=["1", 0], arousal=0.5, low=0.0, high=1.0),
            "3": generate(emotion=["2", 0], draft=True)}


REFUSED = {
    "a number for a point": ({"1": node("LARAEmotionVA", va="17"), "2": generate(emotion=["1", 0])}, "click on the pad"),
    "a point out of range": ({"1": point(3, 0), "2": generate(emotion=["1", 0])}, "valence is 3: use a number from -1 to 1"),
    "words for a curve": ({"1": node("LARAEmotionCurve", curve="rubbish"), "2": generate(emotion=["1", 0])}, "the curve is not JSON"),
    "NaN in a curve": ({"1": node("LARAEmotionCurve", curve=BAD), "2": generate(emotion=["1", 0])}, "valence is nan: use a number from -1 to 1"),
    "NaN among another pack's numbers": (floats("TestNumbers", "[0.5, NaN]"), "valence[1] is nan; it must be a number from 0 to 1"),
    "NaN in another pack's CURVE": (floats("TestCurve", "[[0, 0.5], [1, NaN]]"), "is nan; it must be a number from 0 to 1"),
    "NaN for a moment": ({"1": generate(draft=True), "2": node("LARARegenerateSegment", piece=["1", 1], from_second=float("nan"), seed=1, take=1)},
                         "from_second is nan; choose a moment before the end"),
    "a tempo of 10": ({"2": generate(tempo=10.0)}, "The tempo is 10.0 BPM; give 30 to 300 BPM"),
    "a metre of 17/3": ({"2": generate(metre="17/3")}, "metre is '17/3'; choose one of: 4/4"),
    "a key of rubbish": ({"2": generate(key=7)}, "key is 7; choose one of: any, C,"),
    "a preset of rubbish": ({"1": node("LARAEmotionPreset", preset="rubbish"), "2": generate(emotion=["1", 0])}, "preset is 'rubbish'; choose one of: calm"),
    "a word that is no emotion": ({"1": node("LARANamedEmotion", start="rubbish", middle="(stays)", end="(stays)"), "2": generate(emotion=["1", 0])},
                                  "rubbish"),
    "a precision of rubbish": ({"1": node("LARALoadModel", model="embedded", device="cpu", soundfont="automatic", precision="load"),
                                "2": generate(model=["1", 0])}, "precision is 'load'; choose one of: automatic, float32"),
    "NaN seconds": ({"2": generate(seconds=float("nan"))}, "The length is nan s"),
    "empty sound": ({"1": SILENT, "2": node("LARAScoreEmotion", audio=["1", 0], tempo=120.0)}, "The audio is empty"),
    "empty sound to feel like": ({"1": SILENT, "2": node("LARAEmotionFromAudio", audio=["1", 0]), "3": generate(emotion=["2", 0])}, "The audio is empty"),
    "empty sound to continue": ({"1": SILENT, "2": generate(continue_from=["1", 0])}, "The audio is empty"),
    "a recording to continue": ({"1": node("EmptyAudio", duration=2.0, sample_rate=44100, channels=2), "2": generate(continue_from=["1", 0])}, NOTES_ONLY),
    "emotion of nothing": ({"1": node("EmptyAudio", duration=4.0, sample_rate=96000, channels=2), "2": node("LARAEmotionFromAudio", audio=["1", 0]),
                            "3": generate(emotion=["2", 0])}, "no music"),
    "a DAW file that is not there": ({"1": node("LARAEmotionFromDAW", file="no.als", valence_lane="", arousal_lane=""), "2": generate(emotion=["1", 0])},
                                     "there is no file"),
    "a take too many": ({"1": generate(draft=True), "2": node("LARARegenerateSegment", piece=["1", 1], from_second=0.0, seed=1, take=5)},
                        "choose 1 to 1"),
    "a place outside of the output folder": ({"1": generate(draft=True), "2": node("LARASaveMusic", piece=["1", 1], filename_prefix="../../there/x")},
                                             "filename_prefix is '../../there/x'; give a folder"),
    "a full graphics card": ({"1": node("LARALoadModel", model="embedded", device="cpu", soundfont="automatic"),
                              "2": node("TestFullCard", model=["1", 0]), "3": generate(model=["2", 0], seed=616)},
                             "The graphics card has not enough free memory for this model; in Load LARA Model choose"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_sentence_and_the_server_lives(name, server):
    prompt, sentence = REFUSED[name]
    with pytest.raises(RuntimeError, match=re.escape(sentence)) as refused:
        server.run(prompt)
    assert "\n" not in str(refused.value)
    assert server.get("/queue") == {"queue_running": [], "queue_pending": []}


def test_a_model_folder_that_is_removed(server, tiny_models):
    folder = server.base / "models" / "lara"
    assert folder.is_dir()  # made by the pack
    shutil.copytree(tiny_models, folder, dirs_exist_ok=True)
    prompt = {"1": node("LARALoadModel", model="tiny", device="cpu", soundfont="automatic"), "2": generate(seconds=4.0, model=["1", 0], draft=True)}
    assert "audio" in server.run(prompt)["2"]
    shutil.rmtree(folder / "tiny")
    with pytest.raises(ValueError, match="There is no model 'tiny' in models/lara; put its folder there, or choose embedded"):
        server.run(prompt | {"2": generate(seconds=5.0, model=["1", 0], draft=True)})
    assert "audio" in server.run({"2": generate(seconds=4.0, draft=True)})["2"]


def test_what_needs_the_emotion_of_silence_does_not_run_and_all_else_does(server):
    silence = {"1": node("EmptyAudio", duration=4.0, sample_rate=44100, channels=2), "2": node("LARAScoreEmotion", audio=["1", 0], tempo=120.0)}
    outputs = server.run(silence | {"3": generate(emotion=["2", 0], draft=True), "4": generate(draft=True)})
    assert "no music" in outputs["2"]["text"][0] and "3" not in outputs and "audio" in outputs["4"]


RUBBISH = {"takes": 999, "seconds": "long", "seed": -5, "temperature": None, "emotion_strength": {"x": 1}}


@pytest.mark.parametrize("name", RUBBISH)
def test_a_widget_edited_to_rubbish_is_refused_before_anything_runs(name, server):
    with pytest.raises(ValueError, match=name):
        server.queue({"1": generate(**{name: RUBBISH[name]})})
    assert server.get("/queue") == {"queue_running": [], "queue_pending": []}


def test_a_full_card_is_free_again_for_the_next_run(server):
    prompt, sentence = REFUSED["a full graphics card"]
    with pytest.raises(RuntimeError, match=sentence):
        server.run(prompt)
    assert "audio" in server.run({"1": prompt["1"], "3": generate(model=["1", 0], seed=616, draft=True)})["3"]


def test_a_curve_of_comfyui_is_an_emotion(server):
    outputs = server.run(floats("TestCurve", "[[0, 0], [1, 1]]") | {"4": node("LARAEmotionToFloats", emotion=["2", 0], frames=5, fps=1.0, low=0.0,
                         high=1.0, tempo=120.0), "5": node("PreviewAny", source=["4", 2])})
    assert np.allclose(json.loads(outputs["5"]["text"][0]), [0, 0.2, 0.4, 0.6, 0.8], atol=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
def test_any_precision_sounds(precision, server):
    model = node("LARALoadModel", model="embedded", device="cpu", soundfont="automatic", precision=precision)
    samples, _ = sound(server, server.run({"1": model, "2": generate(seconds=4.0, model=["1", 0], draft=True)})["2"])
    assert samples.shape == (4 * 44100, 2) and np.abs(samples).max() > 0.05


def test_a_recording_is_continued_by_a_model_that_reads_sound(server, tiny_neural):
    folder = server.base / "models" / "lara" / "neural"
    shutil.copytree(tiny_neural, folder, dirs_exist_ok=True)
    rate_hz = 96_000
    t = np.arange(rate_hz * 3) / rate_hz
    soundfile.write(server.base / "input" / "before.wav", np.column_stack([np.sin(2 * np.pi * f * t) * (t % 0.5) for f in (220, 330)]), rate_hz)
    prompt = {"1": node("LoadAudio", audio="before.wav"), "3": generate(seconds=2.0, model=["2", 0], continue_from=["1", 0], draft=True),
              "2": node("LARALoadModel", model="neural", device="cpu", soundfont="automatic")}
    samples, rate_hz = sound(server, server.run(prompt)["3"])
    assert rate_hz == 8000 and len(samples) == 5 * 8000
    shutil.rmtree(folder)


def test_a_score_is_saved_as_a_page_where_it_is_asked_for(server):
    prompt = {"1": point(0.5, 0.5), "2": generate(emotion=["1", 0], takes=2),
              "3": node("LARAScoreEmotion", audio=["2", 0], tempo=120.0, asked_for=["1", 0], report=True, filename_prefix="scores/mine")}
    saved, = server.run(prompt)["3"]["lara_report"]
    page = server.file(saved).read_text(encoding="utf-8")
    assert saved == {"filename": "mine_00001_.html", "subfolder": "scores", "type": "output"}
    assert page.count("<img") == 2 and "sound 2.wav" in page and "<script" not in page and "http" not in page
    prompt["3"]["inputs"].update(report=False, tempo=121.0)
    assert "lara_report" not in server.run(prompt)["3"]


def test_two_queued_at_once_both_finish(server):
    queued = [server.queue({"1": generate(seed=seed, seconds=4.0, draft=True)}) for seed in (41, 42)]
    for prompt_id in queued:
        assert server.finished(prompt_id)["status"]["status_str"] == "success"
