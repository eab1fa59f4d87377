"""The example graphs: a short description of each goes in, workflows/*.json in the format of ComfyUI's page comes out; and such
a file goes in, and what the page would queue (API format) comes out.

    python tests/comfy/comfy_workflows.py    # writes workflows/*.json anew; needs the prepared ComfyUI for the nodes' inputs
"""

import json
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import comfy_server

FOLDER = comfy_server.ROOT / "workflows"
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "LARA_VA", "LARA_CURVE"}
NOTES = {"MarkdownNote", "Note"}
CONTROL = "control_after_generate"


@dataclass
class Node:
    """links: input -> (the number of another node in the list, the number of its output). values: of widgets, else their defaults."""

    kind: str
    place: tuple[int, int]
    size: tuple[int, int]
    values: dict = field(default_factory=dict)
    links: dict = field(default_factory=dict)
    title: str = ""


def curve(unit: str, interpolation: str, *points: tuple[float, float, float]) -> str:
    return json.dumps({"unit": unit, "interpolation": interpolation,
                       "points": [{"t": t, "valence": valence, "arousal": arousal} for t, valence, arousal in points]})


def note(text: str, place, size=(360, 220)) -> Node:
    return Node("MarkdownNote", place, size, {"text": text}, title="About this graph")


WORKFLOWS: dict[str, list[Node]] = {
    "First sound": [
        Node("LARAEmotionVA", (40, 60), (320, 380), {"va": '{"valence": 0.7, "arousal": 0.4}'}),
        Node("LARAGenerateMusic", (480, 60), (400, 560), {"prompt": "cinematic orchestra with piano", "seed": 7}, {"emotion": (0, 0)}),
        note("## First sound\nPress **Run**. After some seconds the player in *Generate Music* has 30 seconds of music.\n\nThen drag the point: right is "
             "pleasant, up is intense. Say in words what should play. Nothing is downloaded: the model lies in the pack.", (1000, 60))],
    "Emotion arc": [
        Node("LARATextPrompt", (40, 60), (320, 220), {"instruments": "cinematic orchestra", "character": "film score", "text": "with a solo piano"}),
        Node("LARAEmotionCurve", (40, 330), (560, 380),
             {"curve": curve("normalized", "smooth", (0, 0.45, -0.45), (0.3, 0.3, -0.3), (0.6, -0.5, 0.6), (0.75, -0.45, 0.75), (0.88, 0.45, 0), (1, 0.65, -0.4))}),
        Node("LARAGenerateMusic", (640, 60), (400, 560), {"seconds": 60.0, "seed": 3},
             {"prompt": (0, 0), "emotion": (1, 0)}),
        Node("LARAScoreEmotion", (1080, 60), (520, 420), {}, {"audio": (2, 0), "asked_for": (1, 0)}),
        Node("PreviewAny", (1080, 620), (860, 420), {}, {"source": (3, 2)}),
        note("## Emotion arc\nThe curve moves the music while it plays. After a run the timeline shows behind your curve what the predictor "
             "heard. Change only the last point and run again: what comes before it is not made anew.", (40, 780), (560, 180))],
    "Film cue, takes ranked": [
        Node("LARAEmotionCurve", (40, 60), (560, 380),
             {"curve": curve("seconds", "smooth", (0, 0.2, -0.6), (12, -0.1, -0.2), (24, -0.6, 0.5), (30, -0.7, 0.85), (33, 0.5, 0.1), (45, 0.7, -0.4))}),
        Node("LARAGenerateMusic", (640, 60), (400, 560),
             {"prompt": "film score, orchestra and piano", "seconds": 45.0, "seed": 19, "takes": 4}, {"emotion": (0, 0)}),
        Node("LARARankTakes", (1080, 60), (400, 260), {}, {"piece": (1, 1)}),
        Node("PreviewAny", (1080, 370), (780, 260), {}, {"source": (2, 3)}),
        Node("LARASaveMusic", (1520, 60), (340, 260), {"filename_prefix": "audio/film-cue"}, {"piece": (2, 2)}),
        note("## Film cue\nA curve in seconds hits a picture: the turn is at 0:33. Four takes are made, measured and ranked; all are saved, the best "
             "first, each with its MIDI, its picture and a JSON file that makes it again.", (40, 510), (560, 180))],
    "Score your own file": [
        Node("LoadAudio", (40, 60), (340, 140), {"audio": "your-music.wav"}),
        Node("LARAScoreEmotion", (480, 60), (520, 420), {}, {"audio": (0, 0)}),
        Node("PreviewAny", (480, 620), (520, 360), {}, {"source": (1, 2)}),
        Node("LARAGenerateMusic", (1150, 60), (400, 560), {"prompt": "solo piano", "seed": 5}, {"emotion": (1, 0)}, "Make it feel like this"),
        note("## Score your own file\nChoose a recording in *Load Audio*. *Score Emotion* draws the valence and arousal that it hears over time; "
             "the node on the right makes new music that takes the same course.", (40, 300), (340, 240))],
    "Emotion drives a video": [
        Node("LARAEmotionPreset", (40, 60), (320, 90), {"preset": "sunrise"}),
        Node("LARAGenerateMusic", (40, 200), (400, 560), {"prompt": "ambient synth pads", "seconds": 10.0, "seed": 4}, {"emotion": (0, 0)}),
        Node("LARAEmotionToFloats", (480, 60), (300, 260), {"frames": 120, "fps": 12.0}, {"emotion": (0, 0)}),
        Node("EmptyImage", (480, 370), (300, 160), {"width": 320, "height": 180, "color": 0x203A63}, {}, "unpleasant"),
        Node("EmptyImage", (480, 580), (300, 160), {"width": 320, "height": 180, "color": 0xF2A541}, {}, "pleasant"),
        Node("ImageBlend", (820, 60), (280, 160), {}, {"image1": (3, 0), "image2": (4, 0), "blend_factor": (2, 0)}),
        Node("EmptyImage", (820, 270), (280, 160), {"width": 320, "height": 180, "color": 0x05060A}, {}, "calm is dark"),
        Node("ImageBlend", (820, 480), (280, 160), {}, {"image1": (6, 0), "image2": (5, 0), "blend_factor": (2, 1)}),
        Node("RebatchImages", (1140, 60), (260, 90), {"batch_size": 4096}, {"images": (7, 0)}),
        Node("CreateVideo", (1140, 200), (260, 120), {"fps": 12.0}, {"images": (8, 0), "audio": (1, 0)}),
        Node("SaveVideo", (1140, 370), (420, 420), {"filename_prefix": "video/emotion"}, {"video": (9, 0)}),
        note("## Emotion drives a video\n*Emotion to Floats* gives valence and arousal at every frame. Here they colour a picture with nodes that "
             "ComfyUI brings; *valence list* and *arousal list* feed animation packs that take one list for all frames.", (1440, 60), (360, 260))],
}


# ---- writing -------------------------------------------------------------------------------------------------------


def specs(kind: str, object_info: dict) -> list[tuple[str, str, dict]]:
    """Name, type and options of a node's inputs, as the page orders them."""
    found = []
    for part in ("required", "optional"):
        for name, (kind_of, *options) in object_info[kind]["input"].get(part, {}).items():
            options = options[0] if options else {}
            if isinstance(kind_of, list):  # how older nodes write a list to choose from
                kind_of, options = "COMBO", options | {"options": kind_of}
            found.append((name, kind_of, options))
    return found


def is_widget(kind_of: str, options: dict) -> bool:
    return kind_of in WIDGETS and not options.get("forceInput")


def default(kind_of: str, options: dict):
    return options["default"] if "default" in options else options["options"][0] if kind_of == "COMBO" and options.get("options") else ""


def page_format(name: str, nodes: list[Node], object_info: dict) -> dict:
    """A described graph -> the JSON that the page saves and loads."""
    links, written = [], []
    for number, node in enumerate(nodes):
        pack = "lara-gen" if node.kind.startswith("LARA") else "comfy-core"
        properties = {} if node.kind in NOTES else {"Node name for S&R": node.kind, "cnr_id": pack}
        sockets, values, outputs = [], list(node.values.values()), []
        if node.kind not in NOTES:
            values, ordered = [], sorted(specs(node.kind, object_info), key=lambda spec: is_widget(*spec[1:]))
            for input_name, kind_of, options in ordered:
                link = None
                if input_name in node.links:
                    source, output = node.links[input_name]
                    link = len(links) + 1
                    links.append([link, source + 1, output, number + 1, len(sockets), kind_of])
                if kind_of == "AUDIO_UI":
                    continue
                sockets.append({"name": input_name, "type": kind_of, "link": link})
                if is_widget(kind_of, options):
                    sockets[-1]["widget"] = {"name": input_name}
                    values.append(node.values.get(input_name, default(kind_of, options)))
                    values += ["fixed"] if options.get(CONTROL) else []
            info = object_info[node.kind]
            outputs = [{"name": output_name, "type": kind_of, "links": []} for output_name, kind_of in zip(info["output_name"], info["output"])]
            unknown = (node.values.keys() | node.links.keys()) - {spec[0] for spec in ordered}
            assert not unknown, f"{node.kind} has no input {unknown}"
        written.append({"id": number + 1, "type": node.kind, "pos": list(node.place), "size": list(node.size), "flags": {}, "order": number,
                        "mode": 0, "inputs": sockets, "outputs": outputs, "properties": properties, "widgets_values": values})
        if node.title:
            written[-1]["title"] = node.title
    for link, source, output, *_ in links:
        written[source - 1]["outputs"][output]["links"].append(link)
    return {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"lara-gen/{name}")), "revision": 0, "last_node_id": len(nodes), "last_link_id": len(links),
            "nodes": written, "links": links, "groups": [], "config": {}, "extra": {}, "version": 0.4}


# ---- running -------------------------------------------------------------------------------------------------------


def api_format(workflow: dict, object_info: dict) -> dict:
    """What the page queues for a workflow that it has loaded."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        linked = {socket["name"]: sources[socket["link"]] for socket in node["inputs"] if socket["link"] is not None}
        inputs, values = {}, iter(node["widgets_values"])
        for name, kind_of, options in specs(node["type"], object_info):
            if is_widget(kind_of, options):
                inputs[name] = next(values)
                if options.get(CONTROL):
                    next(values)
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs | linked}
    return prompt


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, comfy_server.running(Path(folder)) as server:
        info = server.get("/object_info")
    FOLDER.mkdir(exist_ok=True)
    for name, nodes in WORKFLOWS.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(page_format(name, nodes, info), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
