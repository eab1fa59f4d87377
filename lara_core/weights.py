"""Weights: safetensors files and the JSON beside them flow in, tensors by name flow out, mapped one at a time and not copied.

A folder holds config.json and model.safetensors, or model.safetensors.index.json and the parts it names. Pickled weights are
never opened, they can run code.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
HUB_FILES = (CONFIG, "tokenizer.json", "*.safetensors", INDEX)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".th")


log = logging.getLogger(__name__)


def is_hub_id(name: str) -> bool:
    """Whether a name is owner/model as the Hugging Face hub writes it, and no path that begins or ends like one."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None


def hub_folder(hub_id: str, place: Path) -> Path:
    """The folder of a hub's model in the cache of huggingface_hub, where it is downloaded to if it is not there already.

    place: where the model would be looked for first. Raises ValueError in one sentence where it is neither there nor to be had.
    """
    from huggingface_hub import constants, snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=HUB_FILES, local_files_only=True))
    except (OSError, ValueError):  # what it raises for a model that is not in the cache
        log.warning("%s is not in the cache %s; it is downloaded now.", hub_id, constants.HF_HUB_CACHE)
    try:
        return Path(snapshot_download(hub_id, allow_patterns=HUB_FILES))
    except Exception as error:  # whatever the network and its libraries raise: it comes down to one thing
        raise ValueError(f"The model {hub_id} is not in the cache {constants.HF_HUB_CACHE} and could not be downloaded ({type(error).__name__}); "
                         f"get it where there is a network, and put {CONFIG}, tokenizer.json and {WEIGHTS} (or {INDEX} and its parts) "
                         f"into {place}.") from error


def find_file(folder: Path, name: str) -> Path:
    """The path of a file of a model. Raises FileNotFoundError or ValueError for the mistakes that are made with folders."""
    if folder.suffix in PICKLES and not folder.is_dir():
        raise ValueError(f"{folder} is a pickle, which can run code when opened; give a folder with {CONFIG} and {WEIGHTS}.")
    if folder.is_file():
        raise ValueError(f"{folder} is a file; give the folder that holds {CONFIG} and {WEIGHTS}.")
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no model folder {folder}; give a folder with {CONFIG} and {WEIGHTS}.")
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{folder} has no {name}; a model is a folder with {CONFIG} and {WEIGHTS}.")
    return folder / name


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises ValueError where it isn't one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable JSON ({error}); get the model again.") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds a {type(data).__name__}; it must hold a JSON object.")
    return data


class StoredTensors(Mapping[str, Tensor]):
    """Tensors by name, each mapped from its file when it is asked for and let go of with the last reference to it, so that of
    gigabytes only what is just being read is in memory."""

    def __init__(self, files: Mapping[str, Path]):
        self._files = files

    def __getitem__(self, name: str) -> Tensor:
        from safetensors import safe_open

        with safe_open(self._files[name], framework="pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def read_tensors(folder: Path, prefixes: tuple[str, ...] = ("",)) -> StoredTensors:
    """Tensors whose names start with a prefix, from model.safetensors or from the parts its index names.

    Raises FileNotFoundError where a file is missing, ValueError where one is damaged, a pickle, or outside the folder.
    """
    from safetensors import SafetensorError, safe_open

    if (folder / INDEX).is_file() and not (folder / WEIGHTS).is_file():
        parts = read_json(folder / INDEX).get("weight_map")
        if not isinstance(parts, dict):
            raise ValueError(f"{folder / INDEX} has no weight_map; get the model again.")
        files = sorted({part for name, part in parts.items() if name.startswith(prefixes)})
        if any(not isinstance(part, str) or Path(part).name != part or not part.endswith(".safetensors") for part in files):
            raise ValueError(f"{folder / INDEX} names parts {files}; they must be safetensors files beside it.")
    else:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES) if folder.is_dir() else []
        if pickles and not (folder / WEIGHTS).is_file():
            raise ValueError(f"{folder} has only {pickles[0]}, a pickle, which can run code when opened; get the model as {WEIGHTS}.")
        files = [WEIGHTS]
    places = {}
    for name in files:
        path = find_file(folder, name)
        try:
            with safe_open(path, framework="pt") as file:  # its header also says how long the file has to be
                places |= {key: path for key in file.keys() if key.startswith(prefixes)}
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or incomplete ({error}); get the model again.") from error
    return StoredTensors(places)


def fingerprint(folder: Path) -> str:
    """16 hex digits that tell weights apart: from the first and last MiB and the size of each file, so gigabytes cost nothing."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            digest.update(f"{path.name} {size}".encode())
            for start in (0, max(size - (1 << 20), 0)):
                file.seek(start)
                digest.update(file.read(1 << 20))
    return digest.hexdigest()[:16]
