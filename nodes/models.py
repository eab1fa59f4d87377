"""The Load LARA Model node: the name of a folder goes in, a LARA_MODEL comes out, which stays loaded between runs.

Models lie in models/lara of ComfyUI, or in a `lara` folder of extra_model_paths.yaml; the embedded one lies in the pack.
"""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..lara_core.choices import EMBEDDED, PRECISIONS
from .common import CATEGORY, LaraModel, chosen

AUTOMATIC = "automatic"
LARGE_BYTES = 400e6  # from here on a graphics card is worth its memory
DEVICES = (AUTOMATIC, "cpu", "gpu")

log = logging.getLogger(__name__)


def register_model_folder() -> None:
    """Make ComfyUI know models/lara, and the folder exist: a pack must not vanish because a folder is missing."""
    folder = os.path.join(folder_paths.models_dir, "lara")
    folder_paths.add_model_folder_path("lara", folder, is_default=True)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        log.warning("%s cannot be made (%s); the embedded model works without it.", folder, error.strerror)


def installed_models() -> dict[str, Path]:
    """Names and folders, the embedded model first."""
    from ..lara_core.checkpoint import list_models
    from ..lara_core.pipeline import SHIPPED_MODELS

    found = list_models([*folder_paths.get_folder_paths("lara"), SHIPPED_MODELS])
    return {name: found[name] for name in sorted(found, key=lambda name: (name != EMBEDDED, name))}


def installed_soundfonts() -> dict[str, Path]:
    return {path.name: path for folder in reversed(folder_paths.get_folder_paths("lara")) for path in sorted(Path(folder).glob("**/*.sf2"))}


class Loaded:
    """A LARA_MODEL: a Lara whose decoder ComfyUI moves in and out of the graphics card, and the segments it has sampled."""

    def __init__(self, lara, device):
        import comfy.model_management
        import comfy.model_patcher

        from ..lara_core.take import SegmentMemo

        patcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
        offload = comfy.model_management.unet_offload_device() if device.type != "cpu" else device
        self._lara, self._patcher, self.memo = lara, patcher(lara.decoder, load_device=device, offload_device=offload), SegmentMemo()

    def ready(self):
        """The Lara, with its weights where they are computed with."""
        import comfy.model_management

        with memory_errors():
            comfy.model_management.load_models_gpu([self._patcher])
            self._lara.prepare()
        return self._lara


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Where a graphics card's memory runs out, all models leave it, and what is raised says what to do."""
    import comfy.model_management
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        comfy.model_management.unload_all_models()
        raise RuntimeError("The graphics card has not enough free memory for this model; in Load LARA Model choose the precision bfloat16 or the "
                           "device cpu, or close what else uses the card.") from error


@functools.lru_cache(maxsize=2)
def _loaded(folder: Path, device, dtype, soundfont: Path | None, _stamp: tuple) -> Loaded:
    from ..lara_core.pipeline import Lara

    return Loaded(Lara.load(folder, soundfont=soundfont, dtype=dtype, movable=device.type != "cpu"), device)


def stamp(folder: Path) -> tuple:
    """Changes where the files of a model do."""
    files = (path for path in sorted(folder.glob("*")) if path.suffix in (".json", ".safetensors", ".sf2"))
    return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


def load(model: str = EMBEDDED, device: str = AUTOMATIC, soundfont: str = AUTOMATIC, precision: str = AUTOMATIC) -> Loaded:
    """Raises ValueError or OSError in one sentence."""
    import comfy.model_management
    import torch

    from ..lara_core.pipeline import find_model

    chosen("device", device, DEVICES), chosen("precision", precision, (AUTOMATIC, *PRECISIONS))
    folder = find_model(model, [Path(folder) for folder in folder_paths.get_folder_paths("lara")])
    fonts = installed_soundfonts()
    if soundfont != AUTOMATIC and soundfont not in fonts:
        raise ValueError(f"There is no SoundFont {soundfont!r}; put the .sf2 file into models/lara, or choose {AUTOMATIC}.")
    large = sum(path.stat().st_size for path in folder.glob("*.safetensors")) >= LARGE_BYTES
    on_gpu = device == "gpu" or device == AUTOMATIC and large
    where = comfy.model_management.get_torch_device() if on_gpu else torch.device("cpu")
    if precision == "int8" and where.type != "cpu":
        raise ValueError("The precision int8 is for the CPU; choose the device cpu, or bfloat16 for the graphics card.")
    if precision == AUTOMATIC:
        precision = "bfloat16" if large and comfy.model_management.should_use_bf16(where) else "float32"  # not on a CPU, where it is slow
    return _loaded(folder, where, getattr(torch, precision), fonts.get(soundfont), stamp(folder))


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARALoadModel", display_name="Load LARA Model", category=CATEGORY,
            description="A model other than the embedded one, another device or another SoundFont. Without this node the embedded model plays.",
            inputs=[io.Combo.Input("model", options=list(installed_models()), default=EMBEDDED,
                                   tooltip="Folders in models/lara: LARA models, and MusicGen checkpoints in the layout of transformers."),
                    io.Combo.Input("device", options=list(DEVICES), default=AUTOMATIC,
                                   tooltip="Automatic: small models on the CPU, where they are quick; large ones on the graphics card."),
                    io.Combo.Input("soundfont", options=[AUTOMATIC, *installed_soundfonts()], default=AUTOMATIC,
                                   tooltip="The instruments, an .sf2 file in models/lara. Only for models that write scores."),
                    io.Combo.Input("precision", options=[AUTOMATIC, *PRECISIONS], default=AUTOMATIC, optional=True,
                                   tooltip="Automatic: bfloat16 for large models on a graphics card, which halves their memory; else float32. int8: on the "
                                           "CPU, where it is quickest for large models.")],
            outputs=[LaraModel.Output(display_name="model")])

    @classmethod
    def validate_inputs(cls, model, soundfont):
        """Instead of ComfyUI's own check of the two lists: says what to do. None: a link brings it, and `load` will see."""
        if model is not None and model not in installed_models():
            return f"There is no model {str(model)[:60]!r} in models/lara; put its folder there, or choose {EMBEDDED}."
        if soundfont not in (None, AUTOMATIC, *installed_soundfonts()):
            return f"There is no SoundFont {str(soundfont)[:60]!r} in models/lara; put the file there, or choose {AUTOMATIC}."
        return True

    @classmethod
    def fingerprint_inputs(cls, model, device, soundfont, precision=AUTOMATIC):
        """Load again where the files have changed."""
        folder = installed_models().get(model)
        return None if folder is None else stamp(folder)

    @classmethod
    def execute(cls, model, device, soundfont, precision=AUTOMATIC):
        return io.NodeOutput(load(model, device, soundfont, precision))
