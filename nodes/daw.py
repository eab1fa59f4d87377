"""DAW nodes: a LARA_PIECE goes in; files that a DAW opens come out. A DAW's file goes in; its automation comes out as a
LARA_EMOTION."""

import math
import tempfile
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from .common import CATEGORY, LaraEmotion, LaraPiece, Progress, cancellable, chosen, place_to_save

PROJECT, FOLDER = ".dawproject", "folder: WAV, MIDI, .dawproject"


class DAWExport(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARADAWExport", display_name="DAW Export", category=CATEGORY, is_output_node=True,
            description="Each take for a DAW: its sound with the emotion as automation, markers where segments meet, and the tempo.",
            inputs=[LaraPiece.Input("piece"),
                    io.Combo.Input("files", options=[PROJECT, FOLDER], default=PROJECT,
                                   tooltip="One file for Bitwig, Studio One or Cubase; or what any DAW takes."),
                    io.Float.Input("at", default=0.0, min=0.0, max=604800.0, step=0.001,
                                   tooltip="Where the piece begins on the session's clock, in seconds: the time reference of its WAV."),
                    io.String.Input("filename_prefix", default="daw/LARA",
                                    tooltip="Folder and beginning of the names, within ComfyUI's output folder.")],
            outputs=[io.String.Output(display_name="files", tooltip="The files that were written, a line each.")])

    @classmethod
    def execute(cls, piece, files, at, filename_prefix):
        ending = {PROJECT: PROJECT, FOLDER: ""}[chosen("files", files, (PROJECT, FOLDER))]
        folder, name, number, _ = place_to_save(filename_prefix)
        progress, written = Progress(len(piece)), []
        for part, made in enumerate(piece):
            progress.of_part(part)(0.0)
            to = folder / f"{name}_{number + part:05}_{ending}"
            written += cancellable(lambda: exported(made, to, at))
        return io.NodeOutput("\n".join(map(str, written)))


def exported(made, to: Path, at_seconds: float) -> list[Path]:
    """Write one take as lara_core's export does -> the files."""
    from ..lara_core.daw.export import export
    from ..lara_core.piece import write_take

    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".lara-") as folder:
        wav = Path(folder) / f"{to.name.removesuffix(PROJECT)}.wav"
        write_take(made.take, wav, scored=False, segments=made.segments)
        return export(wav.with_suffix(".json"), to, at_seconds)


class EmotionFromDAW(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARAEmotionFromDAW", display_name="Emotion from DAW File", category=CATEGORY,
            description="Automation of an Ableton Live set, a REAPER project, a MIDI file or a table becomes an emotion curve.",
            inputs=[io.String.Input("file", tooltip=".als, .rpp, .mid, .json or .csv: a full path, or a name in ComfyUI's input folder."),
                    io.String.Input("valence_lane", default="", tooltip="The name of a lane or a part of it; empty: the lane called valence."),
                    io.String.Input("arousal_lane", default="", tooltip="The name of a lane or a part of it; empty: the lane called arousal."),
                    io.Float.Input("low", default=0.0, min=-1e6, max=1e6, step=0.01, optional=True,
                                   tooltip="What becomes -1 (unpleasant, calm) of both lanes. low and high alike: what the file says."),
                    io.Float.Input("high", default=0.0, min=-1e6, max=1e6, step=0.01, optional=True, tooltip="What becomes 1 (pleasant, intense).")],
            outputs=[LaraEmotion.Output(display_name="emotion"),
                     io.String.Output(display_name="found", tooltip="Which lanes became what, the tempo and the markers.")])

    @classmethod
    def fingerprint_inputs(cls, file, **_):
        """Runs again when the file was saved again; where a link brings its name, every time."""
        if file is None:
            return math.nan
        path = place(file)
        return path.stat().st_mtime_ns if path.is_file() else None

    @classmethod
    def execute(cls, file, valence_lane, arousal_lane, low=0.0, high=0.0):
        from ..lara_core.daw import TOLERANCE, commands, read

        arrangement = read(place(file))
        lanes = arrangement.emotion_lanes(valence_lane.strip() or None, arousal_lane.strip() or None, span=(low, high) if low != high else None)
        curve = arrangement.curve(*lanes)
        return io.NodeOutput(curve, commands.told(curve, lanes, arrangement, TOLERANCE))


def place(file: str) -> Path:
    """A full path as it is; else within ComfyUI's input folder."""
    return Path(folder_paths.get_input_directory()) / Path(file.strip().strip('"')).expanduser()
