"""The ComfyUI nodes without ComfyUI: what they compute, what they refuse, and that each is explained. In the real thing they are
tested in tests/comfy."""

import asyncio
import importlib.util
import json
import math
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


class _Type:
    """Stands in for a ComfyUI type: its inputs and outputs remember what they were made with."""

    def __init__(self, kind: str):
        self.kind = kind

    def Input(self, name: str, **options):
        return types.SimpleNamespace(id=name, kind=self.kind, **options)

    def Output(self, **options):
        return types.SimpleNamespace(kind=self.kind, **options)


class _Output(tuple):
    def __new__(cls, *values, ui=None):
        made = super().__new__(cls, values)
        made.ui = ui
        return made


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """The pack, loaded as ComfyUI loads it, with stand-ins for what it imports of ComfyUI."""
    models = tmp_path_factory.mktemp("models")
    names = ("Audio", "Boolean", "Combo", "Float", "Image", "Int", "String")
    io = types.SimpleNamespace(Custom=_Type, MultiType=_Type(""), Schema=types.SimpleNamespace, NodeOutput=_Output,
                               Hidden=types.SimpleNamespace(prompt="PROMPT"), ComfyNode=type("ComfyNode", (), {"hidden": types.SimpleNamespace(prompt=None)}),
                               **{name: _Type(name.upper()) for name in names})
    latest = types.ModuleType("comfy_api.latest")
    latest.io, latest.ui, latest.ComfyExtension = io, types.SimpleNamespace(), object
    folder_paths = types.ModuleType("folder_paths")
    folder_paths.models_dir, folder_paths.added = str(models), []
    folder_paths.add_model_folder_path = lambda name, folder, is_default: folder_paths.added.append((name, folder, is_default))
    folder_paths.get_folder_paths = lambda name: [str(models / name)]
    folder_paths.get_input_directory = lambda: str(models)
    server, sent = types.ModuleType("server"), []
    server.PromptServer = types.SimpleNamespace(instance=types.SimpleNamespace(
        routes=types.SimpleNamespace(get=lambda path: lambda answer: answer), send_sync=lambda *message: sent.append(message)))
    aiohttp = types.ModuleType("aiohttp")
    aiohttp.web = types.SimpleNamespace()
    stubs = {"server": server, "aiohttp": aiohttp, "comfy_api": types.ModuleType("comfy_api"), "comfy_api.latest": latest, "folder_paths": folder_paths}
    name = "lara_pack"
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for stub, value in stubs.items():
            patch.setitem(sys.modules, stub, value)
        patch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        extension = asyncio.run(module.comfy_entrypoint())
        module.nodes_by_id = {node.define_schema().node_id: node for node in asyncio.run(extension.get_node_list())}
        assert folder_paths.added == [("lara", str(models / "lara"), True)] and (models / "lara").is_dir()
        module.sent = sent
        yield module
        for loaded in [loaded for loaded in sys.modules if loaded.startswith(name)]:
            del sys.modules[loaded]


@pytest.fixture
def run(pack):
    """run(node id, inputs by name) -> its outputs."""
    return lambda node_id, **inputs: pack.nodes_by_id[node_id].execute(**inputs)


def inputs(schema) -> dict:
    return {one.id: one for one in schema.inputs}


# ---- each node is explained ----------------------------------------------------------------------------------------


def test_every_node_has_a_help_page_of_its_name(pack):
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "web" / "docs").glob("*.md")}
    assert pages.keys() == pack.nodes_by_id.keys()
    for node_id, node in pack.nodes_by_id.items():
        assert pages[node_id].startswith(f"# {node.define_schema().display_name}\n") and len(pages[node_id]) > 150


@pytest.mark.parametrize("language", ["de", "zh"])
def test_translations_name_every_node_input_and_output(pack, language):
    translated = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    assert translated.keys() == pack.nodes_by_id.keys()
    for node_id, node in pack.nodes_by_id.items():
        schema, said = node.define_schema(), translated[node_id]
        assert said["display_name"] and said["description"]
        assert said["inputs"].keys() == inputs(schema).keys() - {"audioUI"}
        assert list(said["outputs"]) == [str(number) for number in range(len(schema.outputs))]
        for name, one in inputs(schema).items():
            assert name == "audioUI" or ("tooltip" in said["inputs"][name]) == hasattr(one, "tooltip"), (node_id, name)


def test_defaults_are_those_of_the_core(pack):
    from lara_core.pipeline import EMBEDDED
    from lara_core.sampling import Sampling

    generate = inputs(pack.nodes_by_id["LARAGenerateMusic"].define_schema())
    for name in ("text_strength", "emotion_strength", "temperature"):
        assert generate[name].default == getattr(Sampling(), name)
    assert inputs(pack.nodes_by_id["LARALoadModel"].define_schema())["model"].default == EMBEDDED


# ---- what they compute ---------------------------------------------------------------------------------------------


def test_the_defaults_of_the_widgets_are_values(pack, run):
    for node_id, name in (("LARAEmotionVA", "va"), ("LARAEmotionCurve", "curve")):
        value = inputs(pack.nodes_by_id[node_id].define_schema())[name].extra_dict["default"]
        curve, = run(node_id, **{name: value})
        assert curve.unit == "normalized"


def test_a_point_stays(run):
    curve, = run("LARAEmotionVA", va='{"valence": -0.25, "arousal": 0.75}')
    assert np.array_equal(curve.at(np.array([0.0, 9.0]), 10), [[-0.25, 0.75]] * 2)


@pytest.mark.parametrize("value", ["", "17", "null", "[1, 2]", "{}", '{"valence": 1}', "{", "[" * 100_000, None, '{"valence": "a", "arousal": 0}',
                                   '{"valence": NaN, "arousal": 0}', '{"valence": 2, "arousal": 0}'])
def test_rubbish_for_a_point_is_one_sentence(run, value):
    with pytest.raises(ValueError) as refused:
        run("LARAEmotionVA", va=value)
    assert len(str(refused.value)) < 250 and "\n" not in str(refused.value)


def test_named_emotions_leave_out_what_stays(run, pack):
    curve, = run("LARANamedEmotion", start="calm", middle="(stays)", end="angry")
    assert [point[0] for point in curve.points] == [0, 1]
    assert run("LARANamedEmotion", start="calm", middle="(stays)", end="(stays)")[0].points[0][1:] == curve.points[0][1:]


def test_prompts_are_put_together(run):
    assert run("LARATextPrompt", instruments="jazz trio", character="any", text=" at night\n") == ("jazz trio, at night",)


def test_floats_and_back_are_the_same_curve(run):
    curve, = run("LARAEmotionCurve", curve={"unit": "normalized", "interpolation": "linear",
                                            "points": [{"t": 0, "valence": -1, "arousal": 0.5}, {"t": 1, "valence": 1, "arousal": -0.5}]})
    valence, arousal, *lists = run("LARAEmotionToFloats", emotion=curve, frames=101, fps=25.0, low=0.0, high=10.0, tempo=120.0)
    assert valence[0] == 0 and math.isclose(valence[50], 10 * 50 / 101, abs_tol=1e-6) and lists == [valence, arousal]
    for given in ([valence, arousal], [[valence], [arousal]], [[np.array(valence)], [np.float64(x) for x in arousal]]):
        again, = run("LARAEmotionFromFloats", valence=given[0], arousal=given[1], low=[0.0], high=[10.0])
        assert len(again.points) == 101 and np.allclose(again.points[0], (0, -1, 0.5), atol=1e-6)


def test_lists_of_different_length_are_spread_over_the_same_time(run):
    curve, = run("LARAEmotionFromFloats", valence=[0.0, 1.0], arousal=[0.0, 0.0, 1.0], low=[-1.0], high=[1.0])
    assert curve.points == ((0, 0, 0), (0.5, 0.5, 0), (1, 1, 1))


def test_automation_of_a_file_is_an_emotion_and_what_was_found(run, pack, tmp_path):
    (tmp_path / "song.csv").write_text("beats,joy,Arousal\n0,-1,0\n8,1,0.5\n")
    asked = {"file": f' "{tmp_path / "song.csv"}" ', "valence_lane": " joy ", "arousal_lane": ""}  # a path as a file manager copies it
    curve, found = run("LARAEmotionFromDAW", **asked)
    assert curve.points == ((0, -1, 0), (8, 1, 0.5)) and curve.unit == "beats" and "valence: joy (2 points" in found
    stamp = pack.nodes_by_id["LARAEmotionFromDAW"].fingerprint_inputs
    assert stamp(**asked) == (tmp_path / "song.csv").stat().st_mtime_ns and stamp(file="gone.csv") is None
    assert math.isnan(stamp(file=None)), "a link brings the name"
    assert run("LARAEmotionFromDAW", **asked, low=-3.0, high=1.0)[0].points == ((0, 0, 0.5), (8, 1, 0.75))
    (tmp_path / "still.csv").write_text("beats,joy,arousal\n0,7,0\n8,7,1\n")
    still = asked | {"file": str(tmp_path / "still.csv")}
    with pytest.raises(ValueError, match="'joy' stays at 7 and its range is not known; give low and high"):
        run("LARAEmotionFromDAW", **still)
    assert run("LARAEmotionFromDAW", **still, low=0.0, high=10.0)[0].points[0] == (0, 0.4, -1)
    with pytest.raises(ValueError, match="there is no file .*gone.csv"):
        run("LARAEmotionFromDAW", **asked | {"file": "gone.csv"})


@pytest.mark.parametrize("values, said", [([math.nan], "valence[0] is nan"), ([0.0, 3.5], "valence[1] is 3.5"), ([], "valence has 0 numbers"),
                                          (["a"], "valence[0] is a"), ([None], "valence[0] is None")])
def test_numbers_that_are_no_emotion_are_refused_by_their_place(run, values, said):
    with pytest.raises(ValueError) as refused:
        run("LARAEmotionFromFloats", valence=values, arousal=[0.0], low=[-1.0], high=[1.0])
    assert said in str(refused.value)


@pytest.mark.parametrize("audio", [None, {}, {"waveform": None, "sample_rate": 44100}, {"waveform": np.zeros((2, 10)), "sample_rate": 44100},
                                   {"waveform": np.zeros((1, 2, 0)), "sample_rate": 44100}, {"waveform": np.zeros((1, 2, 9))}])
def test_what_is_no_sound_is_one_sentence(run, audio):
    with pytest.raises(ValueError, match="^The audio"):
        run("LARAEmotionFromAudio", audio=audio)


# ---- from a DAW ----------------------------------------------------------------------------------------------------


@pytest.fixture
def osc_input(pack):
    """The OSC Input node on a free port -> its inputs, and a function that sends to it."""
    import socket

    from pythonosc.udp_client import SimpleUDPClient

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    osc = sys.modules["lara_pack.nodes.osc"]
    inputs = {"use": osc.RECORDED, "port": port, "listen": "this machine", "mappings": "/1/fader = arousal:0..1".replace(" ", "")}

    def send(*messages):
        receiver, client = osc.listening[port].receiver, SimpleUDPClient("127.0.0.1", port)
        before = receiver.received
        for message in messages:
            client.send_message(*message)
        deadline = time.monotonic() + 5
        while receiver.received < before + len(messages):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    yield inputs, send
    if port in osc.listening:
        osc.listening[port].close()
        osc.listening.pop(port).receiver.close()


def play_a_pass(receiver):
    """Four beats from beat 8 on, whose valence rises from -1 to 1."""
    from lara_core.osc.protocol import encode

    for at, message in ((0.0, ("/lara/tempo", 120.0)), (0.0, ("/lara/va", -1.0, 0.0)), (0.0, ("/lara/play", True)), (0.0, ("/lara/position", 8.0)),
                        (2.0, ("/lara/va", 1.0, 0.0)), (2.0, ("/lara/position", 12.0)), (2.0, ("/lara/play", False))):
        receiver.handle(encode(*message), at)


def test_a_daw_is_heard_and_only_what_is_new_runs_again(pack, run, osc_input):
    inputs, send = osc_input
    fingerprint = lambda: pack.nodes_by_id["LARAOSCInput"].fingerprint_inputs(**inputs)  # noqa: E731
    before = fingerprint()
    curve, bpm, status = run("LARAOSCInput", **inputs)
    assert "Nothing has been heard" in status and curve.points == ((0.0, 0.0, 0.0),) and before == fingerprint()
    send(("/lara/valence", 0.5), ("/1/fader", 1.0))
    curve, _, status = run("LARAOSCInput", **inputs)
    assert curve.points == ((0.0, 0.5, 1.0),) and "valence +0.50" in status and fingerprint() != before
    before = fingerprint()
    send(("/lara/valence", 0.5), ("/other", 1.0))
    assert fingerprint() == before
    send(("/lara/tempo", 90.0), ("/lara/play", True), ("/lara/position", 16.0), ("/lara/position", 16.1), ("/lara/play", False), ("/lara/position", 0.0))
    curve, bpm, _ = run("LARAOSCInput", **inputs)
    assert bpm == 90.0 and fingerprint() != before


def test_a_recorded_pass_is_a_curve_in_beats(pack, run, osc_input):
    inputs, send = osc_input
    run("LARAOSCInput", **inputs)
    osc = sys.modules["lara_pack.nodes.osc"]
    receiver = osc.listening[inputs["port"]].receiver
    play_a_pass(receiver)
    curve, _, status = run("LARAOSCInput", **inputs)
    assert curve.unit == "beats" and curve.points[0] == (8.0, -1.0, 0.0) and curve.points[-1][0] == pytest.approx(12, abs=0.1) and "up to beat 12" in status
    told = lambda: [message for event, message in pack.sent if event == osc.EVENT and message["port"] == inputs["port"]]  # noqa: E731
    deadline = time.monotonic() + 5
    while not told() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert told()[-1] == osc.recorded(inputs["port"], osc.listening[inputs["port"]]) == {"port": inputs["port"], "curve": curve.to_json(), "tempo": 120.0, "recording": False}
    inputs["use"] = osc.LATEST
    assert run("LARAOSCInput", **inputs)[0].points == ((0.0, 1.0, 0.0),)


def test_who_is_heard_can_be_changed_and_what_was_recorded_stays(pack, run, osc_input):
    inputs, _ = osc_input
    run("LARAOSCInput", **inputs)
    osc = sys.modules["lara_pack.nodes.osc"]
    play_a_pass(osc.listening[inputs["port"]].receiver)
    recorded = run("LARAOSCInput", **inputs)[0]
    inputs["listen"] = "the network"
    assert recorded.unit == "beats" and run("LARAOSCInput", **inputs)[0] == recorded
    assert osc.listening[inputs["port"]].receiver.host == osc.EVERY_ADDRESS
    with osc.Receiver.shared(inputs["port"], osc.EVERY_ADDRESS):  # somebody else hears it too
        with pytest.raises(ValueError, match="already heard"):
            run("LARAOSCInput", **inputs | {"listen": "this machine"})
    assert run("LARAOSCInput", **inputs | {"listen": "this machine"})[0] == recorded
    assert math.isnan(pack.nodes_by_id["LARAOSCInput"].fingerprint_inputs(osc.RECORDED, None, "this machine", "")), "a link brings the port"


def test_a_mapping_that_was_deleted_is_heard_no_more(pack, run, osc_input, monkeypatch):
    inputs, send = osc_input
    run("LARAOSCInput", **inputs)
    send(("/1/fader", 1.0))
    inputs["mappings"] = "/2/fader=arousal:0..1"
    graph = {"1": {"class_type": "LARAOSCInput", "inputs": inputs}, "2": {"class_type": "LARAOSCInput", "inputs": inputs | {"mappings": "\n/3/fader=valence:0..1"}}}
    monkeypatch.setattr(pack.nodes_by_id["LARAOSCInput"], "hidden", types.SimpleNamespace(prompt=graph))
    for own in (inputs, graph["2"]["inputs"]):
        run("LARAOSCInput", **own)
    send(("/1/fader", 0.0), ("/3/fader", 1.0))
    assert run("LARAOSCInput", **inputs | {"use": "latest values"})[0].points == ((0.0, 1.0, 1.0),)
    send(("/2/fader", 0.0))
    assert run("LARAOSCInput", **inputs | {"use": "latest values"})[0].points == ((0.0, 1.0, -1.0),)


def test_what_was_measured_of_a_piece_that_goes_on_is_that_of_its_curve(pack):
    common = sys.modules["lara_pack.nodes.common"]
    track = types.SimpleNamespace(music=np.array([1, 1, 0, 1, 1]), times_seconds=np.arange(1.0, 6.0))
    shown, = common.measured_for_page([types.SimpleNamespace(track=track, seconds=6.0, shown=np.arange(10.0).reshape(5, 2) / 10)], 2.0)["lara_measured"]
    assert shown == {"times": [0.0, 2.0, 3.0], "valence": [0.2, 0.6, 0.8], "arousal": [0.3, 0.7, 0.9], "seconds": 4.0, "offset": 2.0}


@pytest.mark.parametrize("changed, said", [({"mappings": "/1/fader"}, "mapped to ''"), ({"mappings": "/1/fader=joy"}, "'joy'")])
def test_what_osc_input_cannot_do_is_a_sentence(run, osc_input, changed, said):
    inputs, _ = osc_input
    run("LARAOSCInput", **inputs)
    with pytest.raises(ValueError, match=said):
        run("LARAOSCInput", **inputs | changed)
