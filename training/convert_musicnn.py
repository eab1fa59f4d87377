"""The musicnn wheel goes in, models/listener comes out: config.json, model.safetensors, LICENSE, reference.safetensors.

    pip download --no-deps musicnn==0.1.0
    python training/convert_musicnn.py musicnn-0.1.0-py3-none-any.whl models/listener
    python training/convert_musicnn.py musicnn-0.1.0-py3-none-any.whl models/listener --reference

The first needs no TensorFlow: `read_bundle` reads the checkpoint itself. `--reference` runs the original graph on the
clips below and stores what it says for the tests; it needs tensorflow-cpu, tf_keras and librosa, in an environment of
their own (made with tensorflow 2.21, librosa 0.11).
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
FOLDER = "musicnn/MSD_musicnn/"
TABLE_MAGIC = 0xDB4775248B80FB57  # ends every LevelDB table
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # of TensorFlow's DataType
BATCH_NORM_EPSILON = 1e-3  # TensorFlow's default


def read_bundle(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    """A TensorFlow checkpoint in one shard (`.index` and `.data-00000-of-00001`) -> arrays by variable name.

    The index is a LevelDB table: prefix-compressed keys with BundleEntryProto values. Raises ValueError when the table
    is not one, is compressed, or points outside the data. Source: tensorflow/core/util/tensor_bundle and LevelDB's
    doc/table_format.md.
    """
    if len(index) < 48 or int.from_bytes(index[-8:], "little") != TABLE_MAGIC:
        raise ValueError(f"the index ({len(index)} bytes) does not end as a LevelDB table: give an undamaged checkpoint.")
    _, at = _handle(index, len(index) - 48)  # the meta index, unused
    top, _ = _handle(index, at)
    arrays = {}
    for _, value in _block(index, *top):
        for key, entry in _block(index, *_handle(value, 0)[0]):
            if not key:
                continue  # the header
            fields = dict(_protobuf(entry))
            shape = [dict(_protobuf(dim)).get(1, 0) for number, dim in _protobuf(fields.get(2, b"")) if number == 2]
            start, size, dtype = fields.get(4, 0), fields.get(5, 0), DTYPES.get(fields.get(1))
            if dtype is None or fields.get(3, 0) != 0:
                kind = f"dtype {fields.get(1)}, shard {fields.get(3, 0)}"
                raise ValueError(f"{key.decode()} has {kind}: only numbers in one shard are read.")
            if start + size > len(data) or size != np.dtype(dtype).itemsize * int(np.prod(shape)):
                end = f"byte {start + size} of {len(data)}"
                raise ValueError(f"{key.decode()} {shape} ends at {end}: the checkpoint is damaged, fetch it again.")
            arrays[key.decode()] = np.frombuffer(data, dtype, size // np.dtype(dtype).itemsize, start).reshape(shape)
    return arrays


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(table: bytes, offset: int, size: int):
    """Keys and values of a table block: (shared, unshared, value length, rest of the key, value)*, restarts, count."""
    if offset + size >= len(table) or table[offset + size] != 0:
        raise ValueError(f"the table block at {offset} is compressed or cut off: only plain, whole tables are read.")
    block = table[offset : offset + size]
    end, at, key = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little"), 0, b""
    while at < end:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + length]
        at += length


def _protobuf(message: bytes):
    """Field numbers with their values: integers for varint and fixed32, bytes for nested messages."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            value, at = _varint(message, at)
        elif tag & 7 == 2:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        elif tag & 7 == 5:
            value, at = struct.unpack_from("<I", message, at)[0], at + 4
        else:
            raise ValueError(f"wire type {tag & 7} in a checkpoint entry: only varint, bytes and fixed32 are read.")
        yield tag >> 3, value


def convert(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """musicnn's variables -> the listener's tensors: filters first, normalisations as scale and shift, float32."""

    def numbered(stem: str, i: int) -> str:
        return f"{stem}_{i}" if i else stem

    def affine(i: int) -> tuple[np.ndarray, np.ndarray]:
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        norm = (variables[f"{numbered('batch_normalization', i)}/{part}"].astype(np.float64) for part in parts)
        gamma, beta, mean, variance = norm
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        return scale, beta - mean * scale

    tensors = {}
    stages = ["timbral.0", "timbral.1", "temporal.0", "temporal.1", "temporal.2", "middle.0", "middle.1", "middle.2"]
    for i, stage in enumerate(stages):
        kernel = variables[f"{numbered('conv2d', i)}/kernel"][:, :, 0]  # [frames, bands or width, filters]
        tensors[f"{stage}.weight"] = kernel.transpose(2, 1, 0) if "middle" in stage else kernel.transpose(2, 0, 1)
        if "temporal" in stage:
            tensors[f"{stage}.weight"] = tensors[f"{stage}.weight"][:, :, 0]
        tensors[f"{stage}.bias"] = variables[f"{numbered('conv2d', i)}/bias"]
    for i, stage in enumerate(["dense", "tags"]):
        tensors[f"{stage}.weight"] = variables[f"{numbered('dense', i)}/kernel"].T
        tensors[f"{stage}.bias"] = variables[f"{numbered('dense', i)}/bias"]
    for i, stage in enumerate(["input", *stages, "pool", "dense"]):
        tensors[f"{stage}.scale"], tensors[f"{stage}.shift"] = affine(i)
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}


def reference_clips() -> dict[str, np.ndarray]:
    """Three clips of 4 s at 16 kHz [64000] float32, from formulas and a fixed seed: a chord, noise bursts, a chirp."""
    t = np.arange(64_000) / 16_000
    noise = np.random.RandomState(20251005).standard_normal(t.size)
    chord = sum(np.sin(2 * np.pi * f * t) / (i + 1) for i, f in enumerate((220.0, 277.18, 329.63, 880.0)))
    chirp = np.sin(2 * np.pi * (60 * t + 0.5 * (6000 - 60) / 4 * t**2))
    clips = {
        "chord": 0.3 * chord * np.exp(-1.5 * (t % 1.0)),
        "bursts": 0.2 * noise * (t % 0.5 < 0.1) + 1e-3 * noise,
        "chirp": 0.9 * chirp,  # loud: its power would overflow float16
    }
    return {name: clip.astype(np.float32) for name, clip in clips.items()}


def reference(wheel: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """What the original TensorFlow graph says of the clips: log-mel (every 4th frame), and per window of 187 frames,
    at frames 0 and 62, pool [2, 1506], penultimate [2, 200], tags [2, 50]."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import librosa
    import tensorflow as tf

    tf.compat.v1.disable_eager_execution()
    with tempfile.TemporaryDirectory() as folder:
        wheel.extractall(folder)
        sys.path.insert(0, folder)
        from musicnn import models

        x = tf.compat.v1.placeholder(tf.float32, [None, 187, 96])
        with tf.name_scope("model"):
            logits, *_, mean, peak, penultimate = models.define_model(x, False, "MSD_musicnn", 50)
        pool = tf.reshape(tf.stack([peak, mean], axis=2), [-1, 1506])
        session = tf.compat.v1.Session()
        tf.compat.v1.train.Saver().restore(session, f"{folder}/{FOLDER}")
        stored = {}
        for name, clip in reference_clips().items():
            # As musicnn's extractor, but in float32, and with the reflected ends that were librosa's default in 2019.
            mel = librosa.feature.melspectrogram(
                y=clip, sr=16_000, hop_length=256, n_fft=512, n_mels=96, pad_mode="reflect"
            )
            mel = np.log10(10_000 * mel.T + 1)
            outputs = session.run([pool, penultimate, tf.nn.sigmoid(logits)], {x: np.stack([mel[:187], mel[62:249]])})
            stored[f"{name}.log_mel"] = mel[::4].copy()
            stored |= {f"{name}.{layer}": value for layer, value in zip(("pool", "penultimate", "tags"), outputs)}
    return {name: value.astype(np.float32) for name, value in stored.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert the musicnn wheel into models/listener.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reference", action="store_true", help="store the original's activations (needs TensorFlow)")
    arguments = parser.parse_args()
    from safetensors.numpy import save_file

    if not arguments.wheel.is_file():
        parser.error(f"there is no file {arguments.wheel}: fetch it with pip download --no-deps musicnn==0.1.0.")
    digest = hashlib.sha256(arguments.wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        parser.error(f"{arguments.wheel} has SHA-256 {digest}: give the wheel of musicnn 0.1.0 from PyPI, {WHEEL_SHA256}.")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(arguments.wheel) as wheel:
        if arguments.reference:
            save_file(reference(wheel), arguments.folder / "reference.safetensors")
            return
        variables = read_bundle(wheel.read(f"{FOLDER}.index"), wheel.read(f"{FOLDER}.data-00000-of-00001"))
        tensors = convert(variables)
        save_file(tensors, arguments.folder / "model.safetensors")
        source = wheel.read("musicnn/configuration.py").decode()
        tags = ast.literal_eval(source.split("MSD_LABELS = ")[1].split("]")[0] + "]")
        config = {"kind": "musicnn", "layer": "penultimate", "hop_seconds": 1.0, "tags": tags}
        (arguments.folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        (arguments.folder / "LICENSE").write_bytes(wheel.read("musicnn-0.1.0.dist-info/LICENSE.md"))
    print(f"{len(tensors)} tensors, {sum(t.size for t in tensors.values())} numbers -> {arguments.folder}")


if __name__ == "__main__":
    main()
