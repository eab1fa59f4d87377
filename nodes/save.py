"""The Save Music node: a LARA_PIECE goes in; WAV, MIDI, JSON and picture of each take come out, in ComfyUI's output folder."""

from comfy_api.latest import io, ui

from .common import CATEGORY, LaraPiece, Progress, cancellable, place_to_save


class SaveMusic(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARASaveMusic", display_name="Save Music", category=CATEGORY, is_output_node=True,
            description="Each take as WAV with markers, as MIDI with its notes, as a picture, and as JSON from which it can be made again.",
            inputs=[LaraPiece.Input("piece"),
                    io.String.Input("filename_prefix", default="audio/LARA",
                                    tooltip="Folder and beginning of the names, within ComfyUI's output folder."),
                    io.Custom("AUDIO_UI").Input("audioUI", optional=True)],
            outputs=[])

    @classmethod
    def execute(cls, piece, filename_prefix, **_):
        from ..lara_core.piece import write_take

        folder, name, number, subfolder = place_to_save(filename_prefix)
        progress, saved = Progress(len(piece)), []
        for part, made in enumerate(piece):
            progress.of_part(part)(0.0)
            wav = folder / f"{name}_{number + part:05}_.wav"
            cancellable(lambda: write_take(made.take, wav, segments=made.segments))
            saved.append(ui.SavedResult(wav.name, subfolder, io.FolderType.output))
        return io.NodeOutput(ui=ui.SavedAudios(saved))
