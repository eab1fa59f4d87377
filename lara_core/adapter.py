"""Adapters: what finetuning changed of a base model goes into a small folder; with its base beside it, a model's weights come out.

The folder has config.json (which base, by a digest of its weights), model.safetensors and README.md. A tensor NAME takes the
place of the base's weight NAME or joins it (the AV encoder, which a stock MusicGen has not; every weight after full finetuning);
NAME.lora_a [R,in] and NAME.lora_b [out,R] are added to NAME.weight as their product (Hu et al. 2021, arXiv 2106.09685, section
4.1). Merged as they are read, they cost nothing afterwards. EnCodec and text encoder stay with the base.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .affect import write_atomic
from .conditioning import AVEncoder
from .decoder import Decoder
from .weights import CONFIG, WEIGHTS, fingerprint, read_json, read_tensors

FORMAT, VERSION = "lara-adapter", 1
CARD = "README.md"
LORA_A, LORA_B, AV_ENCODER = ".lora_a", ".lora_b", "av_encoder."


def add_emotion(decoder: Decoder) -> None:
    """Give a stock MusicGen decoder an AV encoder whose tokens begin as zero: at first they only take a share of the attention."""
    decoder.config = dataclasses.replace(decoder.config, emotion=True)
    decoder.av_encoder = AVEncoder(decoder.config.width)
    for parameter in (decoder.av_encoder.net[-1].weight, decoder.av_encoder.net[-1].bias):
        nn.init.zeros_(parameter)
    decoder.av_encoder.to(decoder.heads.weight)


def check_output(folder: Path) -> None:
    """Raises ValueError where an adapter would take the place of something else, such as its base."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        if not (folder / CONFIG).is_file() or read_json(folder / CONFIG).get("format") != FORMAT:
            raise ValueError(f"{folder} exists and is not an adapter; give a new folder, or the folder of an adapter to replace.")


def save_adapter(folder: Path, tensors: dict[str, Tensor], base: Path, extra: dict, card: str, dtype: torch.dtype = torch.float16) -> None:
    """Write an adapter folder, or bring one up to date; each file appears whole or not at all.

    tensors: as above. base: the model's folder, found again by its digest. extra: training facts. Raises ValueError where a weight
    is not finite, OSError where the disk fails.
    """
    from safetensors.torch import save

    small = {name: x.detach().to("cpu", dtype).contiguous() for name, x in tensors.items()}
    for name, x in small.items():
        if not bool(x.isfinite().all()):
            raise ValueError(f"{name} has values that are not finite as {dtype}; the adapter was not saved to {folder}.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        path = os.path.relpath(base.absolute(), folder.absolute())
    except ValueError:  # another drive
        path = base.name
    config = {"format": FORMAT, "version": VERSION, "extra": extra,
              "base": {"name": base.absolute().name, "path": Path(path).as_posix(), "digest": fingerprint(base)}}
    write_atomic(folder / WEIGHTS, save(small, {"format": "pt"}))
    write_atomic(folder / CARD, card.encode())
    write_atomic(folder / CONFIG, (json.dumps(config, indent=2, allow_nan=False) + "\n").encode())


def find_base(folder: Path, config: dict) -> Path:
    """The base model's folder: where it was when the adapter was trained, or any folder beside the adapter's.

    Raises ValueError where there is none of that digest.
    """
    base = config.get("base")
    if config.get("version") != VERSION or not isinstance(base, dict) or not all(isinstance(base.get(x), str) for x in ("name", "path", "digest")):
        raise ValueError(f"{folder / CONFIG} is no adapter that version {VERSION} can read; get it again, or update the pack.")
    named = [folder / base["path"], folder.absolute().parent / base["name"]]
    others = [path for path in sorted(folder.absolute().parent.iterdir()) if path.is_dir() and path != folder.absolute()]
    for place in (*named, *others):
        if (place / CONFIG).is_file() and fingerprint(place) == base["digest"]:
            return place.resolve()
    for place in named:
        if (place / CONFIG).is_file():
            raise ValueError(f"The adapter {folder.name} belongs to another base: it was made for {base['name']} with digest {base['digest']}, but "
                             f"{place.resolve()} has {fingerprint(place)}; get the same checkpoint, or an adapter for this one.")
    raise ValueError(f"The adapter {folder.name} needs its base model {base['name']} (digest {base['digest']}); put that folder beside {folder.absolute()}.")


class AdaptedTensors(Mapping[str, Tensor]):
    """A base's tensors with those of an adapter in their places, joined to them or added to them, each when it is asked for.

    ValueError where one has no place.
    """

    def __init__(self, base: Mapping[str, Tensor], adapter: Mapping[str, Tensor], name: str):
        self._base, self._adapter, self._name = base, adapter, name
        self._low_rank = {key.removesuffix(LORA_A) + ".weight" for key in adapter if key.endswith(LORA_A)}
        self._whole = {key for key in adapter if not key.endswith((LORA_A, LORA_B))}
        for key in adapter:
            target = key if key in self._whole else key.removesuffix(LORA_A).removesuffix(LORA_B) + ".weight"
            paired = key in self._whole or {target.removesuffix(".weight") + end for end in (LORA_A, LORA_B)} <= adapter.keys()
            if not paired or target not in base and not key.startswith(AV_ENCODER):
                self._misfit(key)

    def __getitem__(self, name: str) -> Tensor:
        if name in self._low_rank:
            stem, before = name.removesuffix(".weight"), self._base[name]
            change = self._adapter[stem + LORA_B].float() @ self._adapter[stem + LORA_A].float()
            if change.shape != before.shape:
                self._misfit(stem + LORA_A)
            return before.float() + change
        if name not in self._whole:
            return self._base[name]
        if name in self._base and self._adapter[name].shape != self._base[name].shape:
            self._misfit(name)
        return self._adapter[name]

    def _misfit(self, key: str):
        raise ValueError(f"The adapter {self._name} has {key} {list(self._adapter[key].shape)}, which its base has no place for; get both again.")

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*self._base, *self._whole))

    def __len__(self) -> int:
        return len(self._base.keys() | self._whole)


def apply_adapter(folder: Path, data: dict, read_base: Callable) -> tuple:
    """An adapter folder and its config.json -> what read_base(the base's folder) gives, ModelConfig and weights, with it applied.

    Raises ValueError where the base is another one, or where a tensor has no place in it.
    """
    base = find_base(folder, data)
    config, weights = read_base(base)
    codec, text = ({**part, "path": str((base / part.get("path", "")).resolve())} for part in (config.codec, config.text))
    config = dataclasses.replace(config, decoder=dataclasses.replace(config.decoder, emotion=True), codec=codec, text=text, extra=data.get("extra") or {})
    return config, AdaptedTensors(weights, read_tensors(folder), folder.name)
