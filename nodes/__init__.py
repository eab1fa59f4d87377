"""The ComfyUI nodes: each unpacks its inputs, calls lara_core and packs the result. See web/docs for what each does."""

from comfy_api.latest import ComfyExtension

from . import daw, emotion, generate, listen, models, osc, save

NODES = [models.LoadModel, generate.TextPrompt, emotion.EmotionVA, emotion.EmotionCurve, emotion.EmotionPreset, emotion.NamedEmotion,
         emotion.EmotionFromFloats, emotion.EmotionFromAudio, generate.GenerateMusic, generate.RegenerateSegment, listen.RankTakes,
         listen.ScoreEmotion, save.SaveMusic, emotion.EmotionToFloats, daw.DAWExport, daw.EmotionFromDAW, osc.OSCInput]


class LaraExtension(ComfyExtension):
    async def get_node_list(self):
        models.register_model_folder()  # not in on_load, which ComfyUI 0.3.75 does not call
        osc.add_route()
        return NODES
