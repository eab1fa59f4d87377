"""What the nodes share: socket types; ComfyUI's AUDIO and IMAGE to and from lara_core's values; progress and Cancel.

Nothing here or beside it imports torch or a model before a node runs.
"""

import concurrent.futures
import contextlib
import functools
import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from comfy_api.latest import io

from ..lara_core.affect import Curve

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from ..lara_core.audio import Audio
    from ..lara_core.pipeline import Score
    from ..lara_core.take import Segment, Take
    from ..lara_core.plot import EnvelopeMeter

CATEGORY = "LARA-Gen"
LaraModel, LaraEmotion, LaraPiece = io.Custom("LARA_MODEL"), io.Custom("LARA_EMOTION"), io.Custom("LARA_PIECE")
PROGRESS_STEPS = 200  # a message to the page for each

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Made:
    """A finished take of a LARA_PIECE (a tuple of these): how it was made, and what sounds."""

    take: "Take"
    segments: tuple["Segment", ...]

    @property
    def sound(self) -> "Audio":
        from ..lara_core.audio import Audio

        return Audio(np.concatenate([segment.samples for segment in self.segments], axis=1), self.take.lara.codec.sample_rate_hz)

    @functools.cached_property
    def score(self) -> "Score | None":
        return self.scored(self.take.curve)

    def scored(self, curve: Curve | None) -> "Score | None":
        """How closely the sound follows a curve; None where it is too short to be heard."""
        from ..lara_core.pipeline import Lara

        try:
            return Lara.score(self.sound, curve, self.take.beats_at, self.take.lara.reach)
        except ValueError as error:
            log.warning("The take is not measured: %s", error)
            return None


def chosen(name: str, value, options: Sequence[str]) -> str:
    """The value of a list to choose from, which ComfyUI does not check. Raises ValueError in one sentence."""
    if value not in options:
        raise ValueError(f"{name} is {value!r:.60}; choose one of: {', '.join(options)}.")
    return value


# ---- sound and pictures --------------------------------------------------------------------------------------------


def audio_of(piece: Sequence[Made]) -> dict:
    """Takes of one rate and length -> ComfyUI's AUDIO: waveform [B,C,T]. lara_reach: of the model, see lara_core.pipeline.Score."""
    import torch

    sounds = [made.sound for made in piece]
    return {"waveform": torch.from_numpy(np.stack([sound.samples for sound in sounds])), "sample_rate": sounds[0].sample_rate_hz,
            "lara_reach": piece[0].take.lara.reach}


def sounds_of(audio) -> list["Audio"]:
    """ComfyUI's AUDIO -> one Audio for each of its batch. Raises ValueError in one sentence."""
    from ..lara_core.audio import Audio

    waveform = audio.get("waveform") if isinstance(audio, Mapping) else None
    if getattr(waveform, "ndim", 0) != 3 or "sample_rate" not in audio:
        raise ValueError("The audio input holds no sound; connect the AUDIO output of a node such as Load Audio or Generate Music.")
    if 0 in waveform.shape:
        raise ValueError("The audio is empty (it has no samples); choose a file, or a stretch of it, with sound in it.")
    samples = waveform.detach().float().cpu().numpy()
    return [Audio(np.ascontiguousarray(sound), int(audio["sample_rate"])) for sound in samples]


def drawn(peaks: np.ndarray, seconds: float, curve: Curve | None, title: str, **options) -> "Image.Image":
    """Requested and measured over the waveform; arguments as lara_core.plot.plot_piece takes them."""
    from PIL import Image

    from ..lara_core.plot import plot_piece

    with tempfile.TemporaryDirectory() as folder:
        png = plot_piece(Path(folder) / "plot.png", peaks, seconds, curve, title=title, **options)
        with Image.open(png) as image:
            return image.convert("RGB")


def picture(sound: "Audio", curve: Curve | None, score: "Score", title: str, **options) -> "torch.Tensor":
    """What `drawn` draws of a sound and its score, as ComfyUI's IMAGE [1,H,W,3]."""
    import torch

    from ..lara_core.plot import EnvelopeMeter

    meter = EnvelopeMeter()
    meter.add(sound.samples)
    image = drawn(meter.peaks(), sound.seconds, curve, title, **score.drawn(), **options)
    return torch.from_numpy(np.asarray(image, np.float32) / 255)[None]


def measured_for_page(scores: Sequence["Score"], offset_seconds: float = 0.0) -> dict:
    """What the timeline draws behind its curve after a run, one for each sound; stretches that are not music are left out, and what was
    before the curve begins."""
    tracks = []
    for score in scores:
        shown = (score.track.music >= 0.5) & (score.track.times_seconds >= offset_seconds)
        values = score.shown[shown].clip(-1, 1).round(3)
        tracks.append({"times": (score.track.times_seconds[shown] - offset_seconds).round(3).tolist(), "valence": values[:, 0].tolist(),
                       "arousal": values[:, 1].tolist(), "seconds": round(score.seconds - offset_seconds, 3), "offset": round(offset_seconds, 3)})
    return {"lara_measured": tracks}


def place_to_save(filename_prefix: str) -> tuple[Path, str, int, str]:
    """Folder within ComfyUI's output folder (it exists then), name, next free number, and the folder's name for ComfyUI's page.

    Raises ValueError for a place outside of it."""
    import folder_paths

    root = Path(folder_paths.get_output_directory()).resolve()
    wanted = (root / filename_prefix).resolve()
    if root not in wanted.parents:
        raise ValueError(f"filename_prefix is {filename_prefix!r:.80}; give a folder and the beginning of a name within ComfyUI's output folder, "
                         "such as audio/LARA.")
    folder, name, number, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, str(root))
    return Path(folder), name, number, subfolder


# ---- while it runs -------------------------------------------------------------------------------------------------


def stop_if_cancelled() -> None:
    """Raise what ComfyUI raises for Cancel, if it was pressed."""
    import comfy.model_management

    comfy.model_management.throw_exception_if_processing_interrupted()


class Progress:
    """The node's progress bar over equal parts, and its picture. They raise where Cancel was pressed."""

    def __init__(self, parts: int):
        import comfy.utils

        self.parts, self.shown = parts, -1
        self.bar = comfy.utils.ProgressBar(PROGRESS_STEPS)

    def of_part(self, index: int) -> Callable[[float], None]:
        """A function that takes the share 0..1 of a part that is done."""
        def show(share: float) -> None:
            stop_if_cancelled()
            step = math.floor((index + share) / self.parts * PROGRESS_STEPS)
            if step > self.shown:
                self.shown = step
                self.bar.update_absolute(step)

        return show

    def sketch(self, take: "Take", meter: "EnvelopeMeter") -> None:
        """Show what there is of a take: meter has heard it so far."""
        whole = np.zeros((math.ceil(take.request.seconds * take.lara.codec.sample_rate_hz / meter.samples_per_bin), 2))
        peaks = meter.peaks()
        whole[:len(peaks)] = peaks
        image = drawn(whole, take.request.seconds, take.curve, take.prompt, curve_tempo=take.beats_at)
        self.bar.update_absolute(max(self.shown, 0), preview=("JPEG", image, None))


def cancellable(work: Callable):
    """The result of work(), which runs in a thread of its own: Cancel is heard meanwhile, and what was begun is then dropped."""
    pool = concurrent.futures.ThreadPoolExecutor(1, "lara-work")
    future = pool.submit(work)
    pool.shutdown(wait=False)
    while not future.done():
        stop_if_cancelled()
        concurrent.futures.wait([future], 0.1)
    return future.result()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for each operation of torch meanwhile: at the size of one step of a piece, more are slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
