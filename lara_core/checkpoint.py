"""Checkpoints: a model is a folder with config.json and model.safetensors (and README.md, its card); a Decoder comes out.

MusicGen checkpoints in transformers' layout (MusicgenForConditionalGeneration) are read too: `import_musicgen`. Loading is
strict: every tensor there, none left over, all shapes right.
"""

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .adapter import FORMAT as ADAPTER, load_adapter
from .decoder import Decoder, DecoderConfig
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


def load_model(folder: str | Path, device: str | torch.device = "cpu",
               dtype: torch.dtype = torch.float32) -> tuple[Decoder, ModelConfig]:
    """A model folder, LARA's or MusicGen's, or an adapter to one -> its Decoder in evaluation mode, and its ModelConfig.

    Raises FileNotFoundError where a file is missing and ValueError where one is not what it should be, each in one sentence.
    """
    folder = Path(folder)
    data = read_json(find_file(folder, CONFIG))
    if data.get("format") == ADAPTER:
        return load_adapter(folder, data, lambda base: load_model(base, device, dtype))
    if data.get("model_type") == "musicgen":
        decoder_config, weights = import_musicgen(folder)
        channels = data["decoder"].get("audio_channels", 1)
        config = ModelConfig(decoder_config, {"name": "encodec", "channels": channels},
                             {"name": "t5", "width": decoder_config.text_width}, {})
    else:
        config = _model_config(data, folder / CONFIG)
        weights = read_tensors(folder)
    return build_decoder(config.decoder, weights, device, dtype), config


def build_decoder(config: DecoderConfig, weights: Mapping[str, Tensor], device: str | torch.device = "cpu",
                  dtype: torch.dtype = torch.float32) -> Decoder:
    """A config and exactly its weights -> a Decoder in evaluation mode. Raises ValueError naming the first misfit."""
    with torch.device("meta"), _Uninitialised():  # no memory and no work for weights that are replaced at once
        decoder = Decoder(config)
    expected = decoder.state_dict()
    for what, names in (("lack", expected.keys() - weights.keys()), ("have too many:", weights.keys() - expected.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"The weights {what} {min(names)}{more}; they don't belong to this config.json.")
    for name, weight in weights.items():
        if weight.shape != expected[name].shape or not weight.is_floating_point():
            raise ValueError(f"{name} is {weight.dtype} {list(weight.shape)}; config.json asks for floating-point "
                             f"{list(expected[name].shape)}.")
    decoder.load_state_dict({name: weight.to(device, dtype, copy=True) for name, weight in weights.items()}, assign=True)
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
MUSICGEN_DECODER = "decoder.model.decoder."
MUSICGEN_NAMES = {  # per layer: ours <- theirs, fused along the outputs
    "self_norm.weight": ["self_attn_layer_norm.weight"], "self_norm.bias": ["self_attn_layer_norm.bias"],
    "cross_norm.weight": ["encoder_attn_layer_norm.weight"], "cross_norm.bias": ["encoder_attn_layer_norm.bias"],
    "ffn_norm.weight": ["final_layer_norm.weight"], "ffn_norm.bias": ["final_layer_norm.bias"],
    "qkv.weight": [f"self_attn.{x}_proj.weight" for x in "qkv"], "out.weight": ["self_attn.out_proj.weight"],
    "cross_q.weight": ["encoder_attn.q_proj.weight"], "cross_kv.weight": [f"encoder_attn.{x}_proj.weight" for x in "kv"],
    "cross_out.weight": ["encoder_attn.out_proj.weight"], "fc1.weight": ["fc1.weight"], "fc2.weight": ["fc2.weight"]}


def import_musicgen(source: str | Path | tuple[dict, Mapping[str, Tensor]]) -> tuple[DecoderConfig, dict[str, Tensor]]:
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
        raise ValueError(f"The config describes {data.get('model_type')!r}; only 'musicgen' can be imported (not melody).")
    if not isinstance(source, tuple):
        tensors = read_tensors(Path(source), ("decoder.", "enc_to_dec_proj."))
    given = MUSICGEN_DEFAULTS | data["decoder"]
    if given["activation_function"] != "gelu":
        raise ValueError(f"The checkpoint's activation is {given['activation_function']!r}; only 'gelu' can be imported.")

    tensors = {name: x for name, x in tensors.items() if name.startswith(("decoder.", "enc_to_dec_proj."))}
    tensors.pop(MUSICGEN_DECODER + "embed_positions.weights", None)  # old files hold the sinusoids

    def take(*names: str) -> Tensor:
        missing = [name for name in names if name not in tensors]
        if missing:
            raise ValueError(f"The MusicGen checkpoint lacks {missing[0]}; it is incomplete, get it again.")
        parts = [tensors.pop(name) for name in names]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    n_codebooks, width = given["num_codebooks"], given["hidden_size"]
    state = {f"embed.{k}.weight": take(f"{MUSICGEN_DECODER}embed_tokens.{k}.weight") for k in range(n_codebooks)}
    for layer in range(given["num_hidden_layers"]):
        for ours, theirs in MUSICGEN_NAMES.items():
            state[f"blocks.{layer}.{ours}"] = take(*(f"{MUSICGEN_DECODER}layers.{layer}.{name}" for name in theirs))
    for end in ("weight", "bias"):
        state[f"norm.{end}"] = take(f"{MUSICGEN_DECODER}layer_norm.{end}")
    state["heads.weight"] = take(*(f"decoder.lm_heads.{k}.weight" for k in range(n_codebooks)))
    text_width = (data.get("text_encoder") or {}).get("d_model", 512)  # T5's default
    if text_width == width and "enc_to_dec_proj.weight" not in tensors:  # then transformers has no projection
        state["text_proj.weight"], state["text_proj.bias"] = torch.eye(width), torch.zeros(width)
    else:
        state["text_proj.weight"], state["text_proj.bias"] = take("enc_to_dec_proj.weight"), take("enc_to_dec_proj.bias")
    if tensors:
        raise ValueError(f"The MusicGen checkpoint has {min(tensors)}, which its config.json doesn't explain; get it again.")
    return DecoderConfig(
        n_codebooks=n_codebooks, codebook_size=given["vocab_size"], width=width, n_layers=given["num_hidden_layers"],
        n_heads=given["num_attention_heads"], ffn_width=given["ffn_dim"], text_width=state["text_proj.weight"].shape[1],
        delays=tuple(k // given["audio_channels"] for k in range(n_codebooks)), emotion=False), state


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
