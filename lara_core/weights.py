"""Weights: safetensors files and the JSON beside them flow in, tensors by name flow out, mapped and not copied.

A folder holds config.json and model.safetensors, or model.safetensors.index.json and the parts it names. Pickled weights are
never opened, they can run code.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from torch import Tensor

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".th")


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


def read_tensors(folder: Path, prefixes: tuple[str, ...] = ("",)) -> dict[str, Tensor]:
    """Tensors whose names start with a prefix, mapped from model.safetensors or from the parts its index names.

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
    tensors = {}
    for name in files:
        path = find_file(folder, name)
        try:
            with safe_open(path, framework="pt") as file:
                tensors |= {key: file.get_tensor(key) for key in file.keys() if key.startswith(prefixes)}
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or incomplete ({error}); get the model again.") from error
    return tensors


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
