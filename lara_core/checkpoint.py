"""Checkpoints: a model is a folder with config.json and model.safetensors (and README.md, its card); a Decoder comes out.

MusicGen checkpoints in transformers' layout (MusicgenForConditionalGeneration) are read too: `import_musicgen`. Loading is
strict: every tensor there, none left over, all shapes right.
"""

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .adapter import FORMAT as ADAPTER, apply_adapter
from .decoder import Decoder, DecoderConfig
from .linear import PackedLinear, has_amx
from .weights import CONFIG, INDEX, WEIGHTS, find_file, read_json, read_tensors

FORMAT, VERSION = "lara", 1
CODECS = ("score", "encodec")
CARD = "README.md"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelConfig:
    """What config.json says. codec: {"name": "score" or "encodec", ...}; text: of the text encoder; extra: training facts."""

    decoder: DecoderConfig
    codec: dict
    text: dict
    extra: dict

    def __post_init__(self):
        if self.codec.get("name") not in CODECS:
            raise ValueError(f"codec is {self.codec.get('name')!r}; this version knows {' and '.join(CODECS)}.")


def save_model(folder: str | Path, decoder: Decoder, codec_config: dict, text_config: dict, extra: dict | None = None,
               dtype: torch.dtype | None = None, card: str | None = None) -> None:
    """Write a model folder, all of it or nothing: it is made beside its place and then moved there.

    dtype: storage type of the weights (torch.float16 halves the file); None keeps them as they are. card: text of README.md.
    A model that is there already is replaced; its card, where none is given, and all other files in the folder stay.
    Raises ValueError where a weight is not finite, JSON can't hold a value, or the folder is something else.
    """
    from safetensors.torch import save_file

    folder = Path(folder).absolute()
    if any(isinstance(module, PackedLinear) for module in decoder.modules()):
        raise ValueError("The decoder's weights are packed to be played; save one from load_model without packed or int8.")
    config = ModelConfig(decoder.config, codec_config, text_config, extra or {})
    text = _config_text(config)
    weights = {name: x.detach().to("cpu", dtype).contiguous() for name, x in decoder.state_dict().items()}
    for name, weight in weights.items():
        if not bool(weight.isfinite().all()):
            raise ValueError(f"{name} has values that are not finite as {weight.dtype}; the model was not saved to {folder}.")
    if folder.exists() and not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} exists and is not a model; give a new folder, or the folder of a model to replace.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("new", "old"))
    try:
        if folder.exists():
            shutil.copytree(folder, fresh, ignore=lambda where, _: {CONFIG, WEIGHTS, INDEX} if Path(where) == folder else set())
        else:
            fresh.mkdir()
        save_file(weights, fresh / WEIGHTS, metadata={"format": "pt"})
        (fresh / CONFIG).write_text(text, encoding="utf-8")
        (fresh / WEIGHTS).chmod((fresh / CONFIG).stat().st_mode)  # safetensors writes for the owner alone
        if card is not None:
            (fresh / CARD).write_text(card, encoding="utf-8")
        if folder.exists():  # a folder can't be replaced in one call; in between the name is absent, never half-written
            os.replace(folder, old)
        try:
            os.replace(fresh, folder)
        except OSError:
            if old.exists():
                os.replace(old, folder)
            raise
    finally:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)


def load_model(folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32,
               packed: bool = False) -> tuple[Decoder, ModelConfig]:
    """A model folder, LARA's or MusicGen's, or an adapter to one -> its Decoder in evaluation mode, and its ModelConfig.
    dtype, packed: see build_decoder.

    Raises FileNotFoundError where a file is missing and ValueError where one is not what it should be, each in one sentence.
    """
    config, weights = _read(Path(folder))
    return build_decoder(config.decoder, weights, device, dtype, packed), config


def _read(folder: Path) -> tuple[ModelConfig, Mapping[str, Tensor]]:
    data = read_json(find_file(folder, CONFIG))
    if data.get("format") == ADAPTER:
        return apply_adapter(folder, data, _read)
    if str(data.get("model_type")).startswith("musicgen"):
        decoder, weights = import_musicgen(folder)
        channels = data["decoder"].get("audio_channels", 1)
        return ModelConfig(decoder, {"name": "encodec", "channels": channels}, {"name": "t5", "width": decoder.text_width}, {}), weights
    return _model_config(data, folder / CONFIG), read_tensors(folder)


def build_decoder(config: DecoderConfig, weights: Mapping[str, Tensor], device: str | torch.device = "cpu",
                  dtype: torch.dtype = torch.float32, packed: bool = False) -> Decoder:
    """A config and exactly its weights, which are read one after the other -> a Decoder in evaluation mode.

    packed: only to play, on the CPU, in float32: every linear map is a PackedLinear. dtype torch.int8 is packed always; the maps of
    the blocks and the heads are then int8, what the past left for attention is bfloat16 where the CPU has AMX, all else is float32.
    Raises ValueError naming the first misfit.
    """
    int8 = dtype == torch.int8
    if (packed or int8) and torch.device(device).type != "cpu":
        raise ValueError(f"The precision int8 is for the CPU; on {device} use bfloat16 or float16.")
    with torch.device("meta"), _Uninitialised():  # no memory and no work for weights that are replaced at once
        decoder = Decoder(config)
    expected = decoder.state_dict()
    for what, names in (("lack", expected.keys() - weights.keys()), ("have too many:", weights.keys() - expected.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"The weights {what} {min(names)}{more}; they don't belong to this config.json.")
    dtype = torch.float32 if int8 else dtype
    decoder.past_dtype = torch.bfloat16 if int8 and has_amx() else None  # without AMX, attention to it takes three times that to float32

    def read(name: str) -> Tensor:
        weight = weights[name]
        if weight.shape != expected[name].shape or not weight.is_floating_point():
            raise ValueError(f"{name} is {weight.dtype} {list(weight.shape)}; config.json asks for floating-point "
                             f"{list(expected[name].shape)}.")
        return weight

    for name, module in list(decoder.named_modules()):
        if (packed or int8) and isinstance(module, nn.Linear):
            bias = None if module.bias is None else read(f"{name}.bias")
            fast = PackedLinear(read(f"{name}.weight"), bias, int8=int8 and name.startswith(("blocks.", "heads")))
            decoder.set_submodule(name, fast)
        else:
            for end, parameter in module.named_parameters(recurse=False, prefix=name):
                weight = nn.Parameter(read(end).to(device, dtype, copy=True), requires_grad=parameter.requires_grad)
                setattr(module, end.rpartition(".")[2], weight)
    if int8 and decoder.heads.kind == "int8 plain":
        log.warning("This torch has no int8 kernels for this CPU: int8 saves memory here, but float32 is faster.")
    return decoder.to(device, dtype).eval()  # what is not a weight, too


class _Uninitialised(TorchFunctionMode):
    """Leaves weights as they are allocated. On "meta", initialising them would import torch's compiler: 2 s and 70 MB."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def list_models(folders: Iterable[str | Path]) -> dict[str, Path]:
    """Names and folders of all models found directly inside the given folders, LARA, MusicGen and adapters; the first of a name wins."""
    found = {}
    for parent in map(Path, folders):
        for config in sorted(parent.glob(f"[!.]*/{CONFIG}")):  # hidden: a model that is just being saved
            try:
                data = read_json(config)
            except (ValueError, OSError) as error:
                log.warning("not a model: %s", error)
                continue
            known = data.get("format") in (FORMAT, ADAPTER) or data.get("model_type") == "musicgen"
            if known and any((config.parent / name).is_file() for name in (WEIGHTS, INDEX)):
                found.setdefault(config.parent.name, config.parent)
    return found


# ---- MusicGen

MUSICGEN_DEFAULTS = {"vocab_size": 2048, "num_codebooks": 4, "audio_channels": 1, "hidden_size": 1024, "num_hidden_layers": 24,
                     "num_attention_heads": 16, "ffn_dim": 4096, "activation_function": "gelu"}  # transformers omits these
MUSICGEN_PREFIXES = ("decoder.", "enc_to_dec_proj.")
MUSICGEN_DECODER = "decoder.model.decoder."
MUSICGEN_POSITIONS = MUSICGEN_DECODER + "embed_positions.weights"  # old files hold the sinusoids
MUSICGEN_NAMES = {  # per layer: ours <- theirs, fused along the outputs
    "self_norm.weight": ["self_attn_layer_norm.weight"], "self_norm.bias": ["self_attn_layer_norm.bias"],
    "cross_norm.weight": ["encoder_attn_layer_norm.weight"], "cross_norm.bias": ["encoder_attn_layer_norm.bias"],
    "ffn_norm.weight": ["final_layer_norm.weight"], "ffn_norm.bias": ["final_layer_norm.bias"],
    "qkv.weight": [f"self_attn.{x}_proj.weight" for x in "qkv"], "out.weight": ["self_attn.out_proj.weight"],
    "cross_q.weight": ["encoder_attn.q_proj.weight"], "cross_kv.weight": [f"encoder_attn.{x}_proj.weight" for x in "kv"],
    "cross_out.weight": ["encoder_attn.out_proj.weight"], "fc1.weight": ["fc1.weight"], "fc2.weight": ["fc2.weight"]}


class _Fused(Mapping[str, Tensor]):
    """Tensors under our names, each joined along its outputs out of those that a checkpoint has, when it is asked for."""

    def __init__(self, tensors: Mapping[str, Tensor], parts: dict[str, list[str]], added: dict[str, Tensor]):
        self._tensors, self._parts, self._added = tensors, parts, added

    def __getitem__(self, name: str) -> Tensor:
        if name in self._added:
            return self._added[name]
        parts = [self._tensors[part] for part in self._parts[name]]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def __iter__(self) -> Iterator[str]:
        yield from (*self._parts, *self._added)

    def __len__(self) -> int:
        return len(self._parts) + len(self._added)


def import_musicgen(source: str | Path | tuple[dict, Mapping[str, Tensor]]) -> tuple[DecoderConfig, Mapping[str, Tensor]]:
    """A MusicGen checkpoint -> a DecoderConfig without emotion and the weights for build_decoder.

    source: a folder in transformers' layout, or its config as a dict and its state dict. The text encoder and the EnCodec in
    it stay where they are. Codebooks of stereo checkpoints alternate left and right and share their delays: 0,0,1,1,2,2,3,3.
    Raises FileNotFoundError or ValueError in one sentence.
    """
    if isinstance(source, tuple):
        data, tensors = source
    else:
        data = read_json(find_file(Path(source), CONFIG))
    if data.get("model_type", "musicgen") != "musicgen" or not isinstance(data.get("decoder"), dict):
        if data.get("model_type") == "musicgen_melody":
            raise ValueError("The checkpoint is a MusicGen Melody ('musicgen_melody'), which reads text and melody in front of the music and not "
                             "by cross-attention; take musicgen-small, -medium, -large or a musicgen-stereo one but melody.")
        raise ValueError(f"The config describes {data.get('model_type')!r}; only 'musicgen' can be imported.")
    if not isinstance(source, tuple):
        tensors = read_tensors(Path(source), MUSICGEN_PREFIXES)
    given = MUSICGEN_DEFAULTS | data["decoder"]
    if given["activation_function"] != "gelu":
        raise ValueError(f"The checkpoint's activation is {given['activation_function']!r}; only 'gelu' can be imported.")
    n_codebooks, width = given["num_codebooks"], given["hidden_size"]
    parts = {f"embed.{k}.weight": [f"{MUSICGEN_DECODER}embed_tokens.{k}.weight"] for k in range(n_codebooks)}
    for layer in range(given["num_hidden_layers"]):
        for ours, theirs in MUSICGEN_NAMES.items():
            parts[f"blocks.{layer}.{ours}"] = [f"{MUSICGEN_DECODER}layers.{layer}.{name}" for name in theirs]
    parts |= {f"norm.{end}": [f"{MUSICGEN_DECODER}layer_norm.{end}"] for end in ("weight", "bias")}
    parts["heads.weight"] = [f"decoder.lm_heads.{k}.weight" for k in range(n_codebooks)]
    text_width, added = (data.get("text_encoder") or {}).get("d_model", 512), {}  # T5's default
    if text_width == width and "enc_to_dec_proj.weight" not in tensors:  # then transformers has no projection
        added = {"text_proj.weight": torch.eye(width), "text_proj.bias": torch.zeros(width)}
    else:
        parts |= {f"text_proj.{end}": [f"enc_to_dec_proj.{end}"] for end in ("weight", "bias")}
    needed = {name for names in parts.values() for name in names}
    missing = sorted(needed - tensors.keys())
    if missing:
        raise ValueError(f"The MusicGen checkpoint lacks {missing[0]}; it is incomplete, get it again.")
    surplus = sorted(name for name in tensors if name.startswith(MUSICGEN_PREFIXES) and name not in needed and name != MUSICGEN_POSITIONS)
    if surplus:
        raise ValueError(f"The MusicGen checkpoint has {surplus[0]}, which its config.json doesn't explain; get it again.")
    return DecoderConfig(
        n_codebooks=n_codebooks, codebook_size=given["vocab_size"], width=width, n_layers=given["num_hidden_layers"],
        n_heads=given["num_attention_heads"], ffn_width=given["ffn_dim"], text_width=text_width,
        delays=tuple(k // given["audio_channels"] for k in range(n_codebooks)), emotion=False), _Fused(tensors, parts, added)


# ---- config.json

def _model_config(data: dict[str, Any], path: Path) -> ModelConfig:
    if data.get("format") != FORMAT:
        raise ValueError(f"{path} has format {data.get('format')!r}; a LARA model has {FORMAT!r}.")
    if data.get("version") != VERSION:
        raise ValueError(f"{path} has version {data.get('version')!r}; this code reads version {VERSION}: update it.")
    for part in ("decoder", "codec", "text", "extra"):
        if not isinstance(data.get(part), dict):
            raise ValueError(f"{path} has no section {part!r}; the file is incomplete, get the model again.")
    try:
        return ModelConfig(_decoder_config(data["decoder"]), data["codec"], data["text"], data["extra"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _config_text(config: ModelConfig) -> str:
    try:
        return json.dumps({"format": FORMAT, "version": VERSION} | dataclasses.asdict(config), indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"The configuration can't be written as JSON: {error}.") from error


def _decoder_config(data: dict[str, Any]) -> DecoderConfig:
    fields = {field.name: field for field in dataclasses.fields(DecoderConfig)}
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if data.keys() - fields.keys() or required - data.keys():
        wrong = min((data.keys() - fields.keys()) | (required - data.keys()))
        raise ValueError(f"decoder field {wrong!r} is unknown or missing; it needs {', '.join(sorted(fields))}.")
    for name, value in data.items():
        if name == "delays":
            fits = isinstance(value, list) and all(type(d) is int and d >= 0 for d in value)
        else:
            fits = type(value) is bool if name == "emotion" else type(value) is int and value > 0
        if not fits:
            raise ValueError(f"decoder field {name!r} is {value!r}; it must be {fields[name].type}, positive where a number.")
    return DecoderConfig(**(data | {"delays": tuple(data["delays"])}))
