"""Nodes that make music: text, emotion and numbers go in; AUDIO and a LARA_PIECE (its takes, for what comes after) come out."""

import dataclasses
import time

from comfy_api.latest import io, ui

from ..lara_core.choices import EMOTION_STRENGTH, MAX_CANDIDATES, TEXT_STRENGTH
from ..lara_core.codec import MAX_SECONDS, Request
from ..lara_core.codec.score import METRES
from . import models
from .common import (CATEGORY, LaraEmotion, LaraModel, LaraPiece, Made, Progress, audio_of, cancellable, chosen, measured_for_page,
                     one_thread, sounds_of)

KEYS = ("C", "C# / Db", "D", "D# / Eb", "E", "F", "F# / Gb", "G", "G# / Ab", "A", "A# / Bb", "B")  # by pitch class
ANY = "any"
MAX_TAKES, MAX_SEED = 16, 2 ** 32 - 1
SKETCH_SECONDS = 5  # between two pictures of an unfinished piece: they take time themselves
INSTRUMENTS = ("solo piano", "string quartet", "cinematic orchestra", "ambient synth pads", "acoustic guitar", "music box", "jazz trio",
               "rock band", "chiptune", "choir", "lonely cello over a slow piano", "epic orchestra with percussion")
CHARACTERS = ("film score", "video game", "lullaby", "waltz", "march", "chase", "love theme", "documentary", "trailer")


class TextPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARATextPrompt", display_name="Text Prompt", category=CATEGORY,
            description="What should play, put together from words that the embedded model knows well and words of your own.",
            inputs=[io.Combo.Input("instruments", options=[ANY, *INSTRUMENTS], default="cinematic orchestra"),
                    io.Combo.Input("character", options=[ANY, *CHARACTERS], default=ANY),
                    io.String.Input("text", multiline=True, default="", placeholder="and in your own words ...")],
            outputs=[io.String.Output(display_name="prompt")])

    @classmethod
    def execute(cls, instruments, character, text):
        return io.NodeOutput(", ".join(part for part in (instruments, character, text.strip()) if part and part != ANY))


class GenerateMusic(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        strength = {"min": 0.0, "max": 20.0, "step": 0.1}
        return io.Schema(
            node_id="LARAGenerateMusic", display_name="Generate Music", category=CATEGORY, is_output_node=True,
            description="Music that follows an emotion. Nothing else is needed: without other nodes the embedded model plays as the text says.",
            inputs=[
                io.String.Input("prompt", multiline=True, default="cinematic orchestra with piano", tooltip="What should play, in words."),
                io.Float.Input("seconds", default=30.0, min=1.0, max=MAX_SECONDS, step=0.1, tooltip="Exact length."),
                io.Float.Input("tempo", default=0.0, min=0.0, max=300.0, step=0.1,
                               tooltip="Quarter notes a minute, exact, 30 to 300; 0: the music chooses, and its last bar ends with the piece."),
                io.Combo.Input("metre", options=list(METRES)),
                io.Combo.Input("key", options=[ANY, *KEYS], tooltip="The tonic. Whether it is major or minor follows the emotion."),
                io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip="The same seed makes the same piece."),
                io.Int.Input("takes", default=1, min=1, max=MAX_TAKES, tooltip="So many pieces, with seeds that count up."),
                io.Float.Input("text_strength", default=TEXT_STRENGTH, tooltip="How closely to keep to the text; 1 leaves the model as it is.", **strength),
                io.Float.Input("emotion_strength", default=EMOTION_STRENGTH,
                               tooltip="How closely to keep to the emotion; 1 leaves the model as it is.", **strength),
                io.Float.Input("temperature", default=1.0, min=0.05, max=10.0, step=0.05, tooltip="Below 1 is safer, above 1 is wilder."),
                io.Boolean.Input("draft", default=False, label_on="draft", label_off="full",
                                 tooltip="A quicker sketch: strengths of 1, one try for each segment, and nothing is measured. The full piece has other notes."),
                LaraModel.Input("model", optional=True, tooltip="Without it the embedded model plays."),
                LaraEmotion.Input("emotion", optional=True, tooltip="Without it the model chooses."),
                io.MultiType.Input("continue_from", types=[LaraPiece, io.Audio], optional=True,
                                   tooltip="Go on from the first take of this piece, or with a MusicGen model from any audio: seconds and emotion "
                                           "then are those of what is added."),
                io.Int.Input("candidates", default=0, min=0, max=MAX_CANDIDATES, optional=True,
                             tooltip="So many tries for each segment, of which the nearest to the emotion is kept. The embedded model judges them by their notes; 0: "
                                     "four. For MusicGen checkpoints, which have no emotion encoder: words+takes (not LARA). Emotion "
                                     "words join the text, and the Emotion Predictor hears the tries."),
                io.Custom("AUDIO_UI").Input("audioUI", optional=True)],
            outputs=[io.Audio.Output(display_name="audio", tooltip="All takes, as a batch."), LaraPiece.Output(display_name="piece")])

    @classmethod
    def execute(cls, prompt, seconds, tempo, metre, key, seed, takes, text_strength, emotion_strength, temperature, draft,
                model=None, emotion=None, continue_from=None, candidates=0, **_):
        from ..lara_core.sampling import Sampling

        model = model or models.load()
        tonic = None if chosen("key", key, (ANY, *KEYS)) == ANY else KEYS.index(key)
        request = Request(seconds, tempo or None, chosen("metre", metre, list(METRES)), tonic, seed)
        strengths = (1.0, 1.0) if draft else (text_strength, emotion_strength)
        sampling = Sampling(temperature, text_strength=strengths[0], emotion_strength=strengths[1])
        lara, before = model.ready(), {}
        if draft and lara.decoder.config.emotion:
            candidates = 1
        if isinstance(continue_from, tuple):
            check_made_by(lara, continue_from[0].take)
            request, emotion, before["begin"] = continue_from[0].take.continued(seconds, emotion, seed)
        elif continue_from is not None:
            sound = sounds_of(continue_from)[0]
            request, emotion, before["begin"] = cancellable(lambda: lara.after(sound, emotion, request))
        offset_seconds = request.seconds - seconds
        requests = [dataclasses.replace(request, seed=seed + n) for n in range(takes)]
        if takes > 1 and lara.has_steady_segments and not candidates:
            return result(cls, made_together(model, prompt, emotion, requests, sampling, **before), not draft, offset_seconds)
        progress = Progress(takes)
        piece = tuple(made(model, progress, n, prompt, emotion, own, sampling, candidates=candidates, **before) for n, own in enumerate(requests))
        return result(cls, piece, not draft, offset_seconds)


def check_made_by(lara, take) -> None:
    """Raise ValueError where a piece is to go on with another model than the one that made it."""
    if take.lara.digest != lara.digest:
        raise ValueError(f"This piece was made by {take.lara.name}, not by {lara.name}; connect the Load LARA Model that made it to the input model.")


def made(model, progress: Progress, part: int, *arguments, **options) -> Made:
    """One take, with its segments; arguments and options as Lara.stream takes them."""
    from ..lara_core.plot import EnvelopeMeter

    lara, segments, show, meter = model.ready(), [], progress.of_part(part), EnvelopeMeter()
    began = sketched = time.monotonic()
    with one_thread(), models.memory_errors():
        take = lara.stream(*arguments, memo=model.memo, on_progress=show, **options)
        for segment in take:
            segments.append(segment)
            meter.add(segment.samples)
            show(min((segment.start_seconds + segment.seconds) / take.request.seconds, 1.0))
            if time.monotonic() - sketched > SKETCH_SECONDS or segment.is_last and sketched > began:
                progress.sketch(take, meter)
                sketched = time.monotonic()
    return Made(take, tuple(segments))


def made_together(model, prompt, emotion, requests, sampling, **before) -> tuple[Made, ...]:
    """Takes that are sampled together, each with its segments; arguments as Lara.takes has them."""
    lara, show = model.ready(), Progress(1).of_part(0)
    with one_thread(), models.memory_errors():
        takes = lara.takes(prompt, emotion, requests, sampling, memo=model.memo, on_progress=show, **before)
        return tuple(Made(take, tuple(take)) for take in takes)


def result(cls, piece: tuple[Made, ...], measure: bool = True, offset_seconds: float = 0.0) -> io.NodeOutput:
    """AUDIO and LARA_PIECE, with the player, and what was measured for the timeline, whose curve begins so far within the piece."""
    audio = audio_of(piece)
    shown = ui.PreviewAudio(audio, cls=cls).as_dict()
    if measure:
        scores = [cancellable(lambda: made.score) for made in piece]
        shown |= measured_for_page([score for score in scores if score is not None], offset_seconds)
    return io.NodeOutput(audio, piece, ui=shown)


class RegenerateSegment(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARARegenerateSegment", display_name="Regenerate Segment", category=CATEGORY, is_output_node=True,
            description="Another try from a moment on. What was before it stays as it is, to the sample.",
            inputs=[LaraPiece.Input("piece"),
                    io.Float.Input("from_second", default=0.0, min=0.0, max=MAX_SECONDS, step=0.1,
                                   tooltip="The segment that sounds then, and all after it, are made anew."),
                    io.Int.Input("seed", default=1, min=0, max=MAX_SEED, control_after_generate=True, tooltip="Of the first new segment."),
                    io.Int.Input("take", default=1, min=1, max=MAX_TAKES, tooltip="Which take of the piece."),
                    LaraModel.Input("model", optional=True, tooltip="The model that made the piece; without it the embedded one."),
                    LaraEmotion.Input("emotion", optional=True, tooltip="Another emotion from there on; without it the one of the piece."),
                    io.Custom("AUDIO_UI").Input("audioUI", optional=True)],
            outputs=[io.Audio.Output(display_name="audio"), LaraPiece.Output(display_name="piece")])

    @classmethod
    def execute(cls, piece, from_second, seed, take, model=None, emotion=None, **_):
        if take > len(piece):
            raise ValueError(f"take is {take}; this piece has {len(piece)}: choose 1 to {len(piece)}.")
        earlier, model = piece[take - 1].take, model or models.load()
        check_made_by(model.ready(), earlier)
        starts = [segment["start_seconds"] for segment in earlier.segments]
        if not 0 <= from_second < earlier.request.seconds:
            raise ValueError(f"from_second is {from_second:g}; choose a moment before the end of the piece at {earlier.request.seconds:g} s.")
        first = max(index for index, start in enumerate(starts) if start <= from_second + 1e-6)
        kept = [segment.codes for segment in piece[take - 1].segments[:first]]
        seeds = {index: segment["seed"] for index, segment in enumerate(earlier.segments)} | {first: seed}
        again = made(model, Progress(1), 0, earlier.prompt, emotion or earlier.curve, earlier.request,
                     earlier.sampling, kept=kept, seeds=seeds, begin=earlier.begin, candidates=earlier.candidates)
        return result(cls, (again,))
