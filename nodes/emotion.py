"""Emotion nodes: a point, a drawn curve, a preset, words, numbers or a reference recording go in; a LARA_EMOTION, which is a
lara_core Curve, comes out. And back into numbers for each frame of a video."""

import json
import math
from collections.abc import Iterable, Mapping

import numpy as np
from comfy_api.latest import io

from ..lara_core.affect import EMOTIONS, PRESETS, Curve
from .common import CATEGORY, LaraEmotion, chosen

STAYS = "(stays)"
DEFAULT_POINT = '{"valence": 0.5, "arousal": 0.2}'
DEFAULT_CURVE = ('{"unit": "normalized", "interpolation": "smooth", "points": [{"t": 0, "valence": 0.4, "arousal": -0.6}, '
                 '{"t": 0.6, "valence": -0.5, "arousal": 0.6}, {"t": 1, "valence": 0.6, "arousal": -0.3}]}')
MAX_FRAMES = 100_000
CoreCurve, CURVE_SAMPLES = io.Custom("CURVE"), 257  # ComfyUI has this type from 0.19 on


def curve_of_point(text) -> Curve:
    """The value of the V/A pad, JSON {"valence", "arousal"} -> a curve that stays there. Raises ValueError in one sentence."""
    try:
        point = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The emotion's value is not JSON ({error}); click on the pad, or write {DEFAULT_POINT}.") from error
    if not isinstance(point, Mapping) or set(point) != {"valence", "arousal"}:
        raise ValueError(f"The emotion's value is {str(point)[:60]!r}; click on the pad, or write {DEFAULT_POINT}.")
    return Curve.from_json({"unit": "normalized", "interpolation": "linear", "points": [{"t": 0, **point}]})


class EmotionVA(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARAEmotionVA", display_name="Emotion VA", category=CATEGORY,
            description="One emotion for the whole piece: a point on the plane of valence (unpleasant to pleasant) and arousal (calm to intense).",
            inputs=[io.Custom("LARA_VA").Input("va", extra_dict={"default": DEFAULT_POINT})],
            outputs=[LaraEmotion.Output(display_name="emotion")])

    @classmethod
    def execute(cls, va):
        return io.NodeOutput(curve_of_point(va))


class EmotionCurve(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARAEmotionCurve", display_name="Emotion Curve", category=CATEGORY,
            description="Valence and arousal over time. Drawn over the whole length, so that a new length keeps the shape.",
            inputs=[io.Custom("LARA_CURVE").Input("curve", extra_dict={"default": DEFAULT_CURVE})],
            outputs=[LaraEmotion.Output(display_name="emotion")])

    @classmethod
    def execute(cls, curve):
        return io.NodeOutput(Curve.from_json(curve))


class EmotionPreset(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARAEmotionPreset", display_name="Emotion Preset", category=CATEGORY, description="A ready-made emotional arc.",
            inputs=[io.Combo.Input("preset", options=list(PRESETS), tooltip="Each fits any length.")],
            outputs=[LaraEmotion.Output(display_name="emotion")])

    @classmethod
    def execute(cls, preset):
        return io.NodeOutput(PRESETS[chosen("preset", preset, list(PRESETS))])


class NamedEmotion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        words = sorted(EMOTIONS)
        later = [STAYS, *words]
        return io.Schema(
            node_id="LARANamedEmotion", display_name="Named Emotion", category=CATEGORY,
            description="An emotion by its name, and what it turns into. Places on the plane: Russell & Mehrabian 1977.",
            inputs=[io.Combo.Input("start", options=words, default="calm", tooltip="The emotion at the beginning."),
                    io.Combo.Input("middle", options=later, tooltip="What it has become half-way."),
                    io.Combo.Input("end", options=later, tooltip="What it has become at the end.")],
            outputs=[LaraEmotion.Output(display_name="emotion")])

    @classmethod
    def execute(cls, start, middle, end):
        moments = [(t, word) for t, word in ((0.0, start), (0.5, middle), (1.0, end)) if word != STAYS]
        return io.NodeOutput(Curve.from_emotions(moments))


class EmotionToFloats(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARAEmotionToFloats", display_name="Emotion to Floats", category=CATEGORY,
            description="Valence and arousal at every frame of a video, to drive whatever takes numbers.",
            inputs=[LaraEmotion.Input("emotion"),
                    io.Int.Input("frames", default=96, min=1, max=MAX_FRAMES, tooltip="How many frames the video has."),
                    io.Float.Input("fps", default=24.0, min=0.01, max=1000.0, step=0.01, tooltip="Frames a second: a curve in seconds needs it."),
                    io.Float.Input("low", default=0.0, min=-1e6, max=1e6, step=0.01, tooltip="What -1 (unpleasant, calm) becomes."),
                    io.Float.Input("high", default=1.0, min=-1e6, max=1e6, step=0.01, tooltip="What 1 (pleasant, intense) becomes."),
                    io.Float.Input("tempo", default=120.0, min=30.0, max=300.0, step=0.1, tooltip="Beats a minute, for a curve in beats.")],
            outputs=[io.Float.Output(display_name="valence each", is_output_list=True, tooltip="Nodes behind it run once for each frame."),
                     io.Float.Output(display_name="arousal each", is_output_list=True, tooltip="Nodes behind it run once for each frame."),
                     io.Float.Output(display_name="valence list", tooltip="One list with all frames, as animation packs take it."),
                     io.Float.Output(display_name="arousal list", tooltip="One list with all frames, as animation packs take it.")])

    @classmethod
    def execute(cls, emotion, frames, fps, low, high, tempo):
        values = emotion.at(np.arange(frames) / fps, frames / fps, tempo).astype(np.float64)  # [F,2]
        valence, arousal = (low + (values + 1) / 2 * (high - low)).T.tolist()
        return io.NodeOutput(valence, arousal, valence, arousal)


class EmotionFromFloats(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARAEmotionFromFloats", display_name="Emotion from Floats", category=CATEGORY, is_input_list=True,
            description="Lists of numbers, or curves, from other nodes become an emotion curve over the whole length.",
            inputs=[io.MultiType.Input("valence", types=[io.Float, CoreCurve],
                                       tooltip="One number, or one for each frame; a list or a data list. Or a CURVE of ComfyUI's Curve Editor."),
                    io.MultiType.Input("arousal", types=[io.Float, CoreCurve], tooltip="As for valence; it may have another number of them."),
                    io.Float.Input("low", default=-1.0, min=-1e6, max=1e6, step=0.01, tooltip="The number that means unpleasant, or calm."),
                    io.Float.Input("high", default=1.0, min=-1e6, max=1e6, step=0.01, tooltip="The number that means pleasant, or intense.")],
            outputs=[LaraEmotion.Output(display_name="emotion")])

    @classmethod
    def execute(cls, valence, arousal, low, high):
        low, high = low[0], high[0]
        if not low < high:
            raise ValueError(f"low is {low} and high is {high}; let low be less than high.")
        columns = {"valence": scaled(valence, "valence", low, high), "arousal": scaled(arousal, "arousal", low, high)}
        count = max(map(len, columns.values()))
        t = np.linspace(0, 1, count) if count > 1 else np.zeros(1)
        lanes = [np.interp(t, np.linspace(0, 1, len(values)), values) for values in columns.values()]
        return io.NodeOutput(Curve(tuple(zip(t.tolist(), *(lane.tolist() for lane in lanes))), "normalized", "linear"))


def scaled(values, name: str, low: float, high: float) -> list[float]:
    """Numbers within low..high, lists in lists too -> numbers in -1..1. Raises ValueError naming the first that is none of them."""
    flat = list(_flattened(values))
    if not flat or len(flat) > MAX_FRAMES:
        raise ValueError(f"{name} has {len(flat)} numbers; connect 1 to {MAX_FRAMES} of them.")
    for index, value in enumerate(flat):
        number = value.item() if getattr(value, "ndim", None) == 0 else value  # NumPy and torch scalars
        if not isinstance(number, (int, float)) or isinstance(number, bool) or not math.isfinite(number) or not low <= number <= high:
            raise ValueError(f"{name}[{index}] is {str(number)[:30]}; it must be a number from {low:g} to {high:g} (the inputs low and high).")
        flat[index] = 2 * (number - low) / (high - low) - 1
    return flat


def _flattened(values) -> Iterable:
    for value in values:
        if hasattr(value, "interp_array"):  # a CURVE of ComfyUI
            yield from value.interp_array(np.linspace(0, 1, CURVE_SAMPLES)).tolist()
        elif isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) > 0:
            yield from _flattened(value)
        else:
            yield value


class EmotionFromAudio(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARAEmotionFromAudio", display_name="Emotion from Audio", category=CATEGORY,
            description="Make it feel like this: the course of emotion that is heard in a recording, as a curve.",
            inputs=[io.Audio.Input("audio", tooltip="Music of any length and rate.")],
            outputs=[LaraEmotion.Output(display_name="emotion", tooltip="Over the whole length, whatever that will be.")])

    @classmethod
    def execute(cls, audio):
        from ..lara_core.pipeline import Lara
        from .common import cancellable, sounds_of

        sound = sounds_of(audio)[0]
        return io.NodeOutput(cancellable(lambda: Lara.score(sound)).curve())
