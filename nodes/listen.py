"""Nodes that listen: AUDIO or a LARA_PIECE goes in; the emotion that is heard, and how closely it follows a request, come out."""

import dataclasses
import tempfile
from pathlib import Path

from comfy_api.latest import io, ui

from .common import CATEGORY, LaraEmotion, LaraPiece, audio_of, cancellable, measured_for_page, picture, place_to_save, sounds_of


def as_markdown(table: str) -> str:
    """ComfyUI shows text as Markdown; a fence keeps the columns of a table apart."""
    return f"```\n{table}\n```"


class ScoreEmotion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARAScoreEmotion", display_name="Score Emotion", category=CATEGORY, is_output_node=True,
            description="What emotion is heard in a sound, over time, and how closely it follows what was asked for.",
            inputs=[io.Audio.Input("audio", tooltip="Music of any length and rate."),
                    io.Float.Input("tempo", default=120.0, min=30.0, max=300.0, step=0.1, tooltip="Beats a minute, for an emotion curve in beats."),
                    LaraEmotion.Input("asked_for", optional=True, tooltip="The emotion to compare with."),
                    io.Boolean.Input("report", default=False, optional=True, label_on="HTML page", label_off="none",
                                     tooltip="Save a page with all figures and pictures in it, to read or to send, in ComfyUI's output folder."),
                    io.String.Input("filename_prefix", default="scores/LARA", optional=True,
                                    tooltip="Of the page: folder and beginning of the name, within ComfyUI's output folder.")],
            outputs=[LaraEmotion.Output(display_name="heard", tooltip="The course of emotion that is heard, over the whole length."),
                     io.Image.Output(display_name="plot"), io.String.Output(display_name="text"),
                     io.Float.Output(display_name="valence"), io.Float.Output(display_name="arousal"),
                     io.Float.Output(display_name="adherence", tooltip="1 is exact, 0 is chance; NaN where nothing was asked for.")])

    @classmethod
    def execute(cls, audio, tempo, asked_for=None, report=False, filename_prefix="scores/LARA"):
        from ..lara_core.pipeline import Lara
        from ..lara_core.report import Scored, in_words

        sounds = sounds_of(audio)
        scores = [cancellable(lambda: Lara.score(sound, asked_for, tempo, audio.get("lara_reach"))) for sound in sounds]
        names = [f"sound {number}" if len(sounds) > 1 else "sound" for number in range(1, len(sounds) + 1)]
        asked = "" if asked_for is None else f"a curve of {len(asked_for.points)} points" if len(asked_for.points) > 1 else "a point"
        scored = [Scored(Path(name), score, asked_for, tempo, asked, remarks=score.remarks) for name, score in zip(names, scores)]
        plots = [picture(sound, asked_for, score, name, curve_tempo=tempo) for name, sound, score in zip(names, sounds, scores)]
        saved = {"lara_report": [cancellable(lambda: save_page(scored, sounds, filename_prefix))]} if report else {}
        return cls.output(scores, plots, as_markdown("\n\n".join(map(in_words, scored))), saved)

    @classmethod
    def output(cls, scores, plots, text, saved):
        import torch

        plot, first = torch.cat(plots), scores[0]
        shown = ui.PreviewImage(plot, cls=cls).as_dict() | {"text": [text]} | measured_for_page(scores) | saved
        return io.NodeOutput(course_of(first), plot, text, *map(float, first.track.point), first.adherence, ui=shown)


def course_of(score):
    """The Curve that is heard; where no music is, what stops the nodes behind it and tells why."""
    from comfy_execution.graph_utils import ExecutionBlocker

    try:
        return score.curve()
    except ValueError as error:
        return ExecutionBlocker(str(error))


def save_page(scored, sounds, filename_prefix: str) -> dict:
    """Write the report of sounds into ComfyUI's output folder -> where it lies, as the page of ComfyUI asks for files."""
    from ..lara_core.audio import save, to_mono
    from ..lara_core.report import write_html

    folder, name, number, subfolder = place_to_save(filename_prefix)
    page = folder / f"{name}_{number:05}_.html"
    with tempfile.TemporaryDirectory() as sounding:
        paths = [Path(sounding) / f"{one.path}.wav" for one in scored]
        for path, sound in zip(paths, sounds):
            save(path, sound if len(sound.samples) <= 2 else to_mono(sound))
        write_html(page, [dataclasses.replace(one, path=path) for one, path in zip(scored, paths)], [])
    return {"filename": page.name, "subfolder": subfolder, "type": "output"}


class RankTakes(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARARankTakes", display_name="Rank Takes", category=CATEGORY, is_output_node=True,
            description="The takes of a piece, the one that follows its emotion most closely first.",
            inputs=[LaraPiece.Input("piece"),
                    LaraEmotion.Input("asked_for", optional=True, tooltip="Another emotion to rank by than the one that was asked for."),
                    io.Custom("AUDIO_UI").Input("audioUI", optional=True)],
            outputs=[io.Audio.Output(display_name="best"), io.Audio.Output(display_name="all", tooltip="A batch, best first."),
                     LaraPiece.Output(display_name="ranked", tooltip="The piece with its takes best first."), io.String.Output(display_name="text")])

    @classmethod
    def execute(cls, piece, asked_for=None, **_):
        from ..lara_core.report import best_first, ranking

        scores = [cancellable(lambda: made.score if asked_for is None else made.scored(asked_for)) for made in piece]
        ranked = best_first(list(zip(piece, scores)), lambda pair: pair[1])
        names = {id(made): f"take {number}, seed {made.take.request.seed}" for number, made in enumerate(piece, 1)}
        text = as_markdown(ranking([(names[id(made)], score) for made, score in ranked]))
        takes = tuple(made for made, _ in ranked)
        best = audio_of(takes[:1])
        shown = ui.PreviewAudio(best, cls=cls).as_dict() | {"text": [text]} | measured_for_page([score for _, score in ranked if score is not None])
        return io.NodeOutput(best, audio_of(takes), takes, text, ui=shown)
