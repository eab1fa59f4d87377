"""The listener against the TensorFlow original, against plain convolutions, and against what physics says."""

import json
import shutil
import struct

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as nnf
from safetensors.torch import load_file, save_file

from lara_core import listener as listener_module
from lara_core.listener import (
    EMBEDDED_FOLDER, FRAME_RATE_HZ, MertListener, MusicnnListener, load_listener, log_mel_blocks, mel_filters,
)
from training.convert_musicnn import TABLE_MAGIC, read_bundle, reference_clips

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def ear():
    return load_listener()


@pytest.fixture(scope="module")
def reference():
    return load_file(EMBEDDED_FOLDER / "reference.safetensors")


def music(seconds: float, rate_hz: int, seed: int = 0) -> torch.Tensor:
    """Plucked random tones below 3 kHz [T]; the same sound at any rate."""
    random = np.random.RandomState(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    sound = np.zeros_like(t)
    for onset in np.arange(0, seconds, 0.25):
        after = t - onset
        sound += np.where(after > 0, np.sin(2 * np.pi * random.uniform(100, 3000) * after) * np.exp(-5 * after), 0)
    return torch.from_numpy(0.2 * sound).float()


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return nnf.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


# -------------------------------------------------------------------------------------------------- the original's word


@pytest.mark.parametrize("clip", ["chord", "bursts", "chirp"])
def test_agrees_with_the_tensorflow_original(clip, reference):
    sound = torch.from_numpy(reference_clips()[clip])
    log_mel = torch.cat(list(log_mel_blocks([sound[None]])), dim=1)[0]
    torch.testing.assert_close(log_mel[::4], reference[f"{clip}.log_mel"], atol=1e-4, rtol=0)
    for layer, tolerance in (("penultimate", 1e-4), ("tags", 1e-5), ("pool", 1e-3)):  # pool reaches 118
        heard = MusicnnListener(layer=layer, hop_seconds=62 / FRAME_RATE_HZ).features(sound, RATE_HZ)
        torch.testing.assert_close(heard.values[0], reference[f"{clip}.{layer}"], atol=tolerance, rtol=0)


def test_mel_filters_are_slaneys_triangles():
    """Freed from their area's scale, triangles on Slaney's frequencies overlap to exactly one."""
    mels = np.linspace(0, 15 + np.log(8) / np.log(1.0711703), 98)
    edges_hz = np.array([m * 66.66667 if m < 15 else 1000 * 1.0711703 ** (m - 15) for m in mels])
    filters, bins_hz = mel_filters(), np.arange(257) * RATE_HZ / 512
    assert filters.shape == (96, 257) and filters.min() == 0
    heights = filters * ((edges_hz[2:] - edges_hz[:-2]) / 2)[:, None]
    inside = (bins_hz > edges_hz[1]) & (bins_hz < edges_hz[-2])
    assert np.allclose(heights.sum(0)[inside], 1, atol=1e-4)
    assert np.allclose(filters.sum(1)[80:] * 31.25, 1, atol=0.01)  # unit area, where bands are wide against the bins


def test_a_tone_stands_in_its_mel_band():
    t = torch.arange(RATE_HZ) / RATE_HZ
    centres_hz = mel_filters() @ (np.arange(257) * 31.25) / mel_filters().sum(1)
    for tone_hz in (440.0, 1000.0, 5000.0):
        frames = torch.cat(list(log_mel_blocks([torch.sin(2 * np.pi * tone_hz * t)[None]])), dim=1)[0]
        band = int(frames[10:-10].mean(0).argmax())
        assert abs(band - np.abs(centres_hz - tone_hz).argmin()) <= 1


# ------------------------------------------------------------------------------------------------------ the slow twin


def plain_musicnn(weights: dict, windows: torch.Tensor) -> torch.Tensor:
    """log-mel windows [N, 187, 96] -> embedding [N, 200] with nothing but convolutions, as the paper draws it."""

    def block(name, y, over):
        part = {p: weights[f"{name}.{p}"].view(1, -1, *[1] * (y.ndim - 2)) for p in ("bias", "scale", "shift")}
        y = nnf.relu(y + part["bias"]) * part["scale"] + part["shift"]
        return y.amax(over) if over else y

    x = windows[:, None] * weights["input.scale"] + weights["input.shift"]
    stages = [block(f"timbral.{i}", nnf.conv2d(x, weights[f"timbral.{i}.weight"][:, None], padding=(3, 0)), 3) for i in (0, 1)]
    for i, reach in enumerate((128, 64, 32)):
        padded = nnf.pad(x, (0, 0, (reach - 1) // 2, reach // 2))
        stages.append(block(f"temporal.{i}", nnf.conv2d(padded, weights[f"temporal.{i}.weight"][:, None, :, None]), 3))
    stages = [torch.cat(stages, 1)]
    for i in range(3):
        y = block(f"middle.{i}", nnf.conv1d(stages[-1], weights[f"middle.{i}.weight"], padding=3), None)
        stages.append(y + stages[-1] if i else y)
    z = torch.cat(stages, 1)
    pool = torch.stack([z.amax(2), z.mean(2)], 2).flatten(1) * weights["pool.scale"] + weights["pool.shift"]
    dense = nnf.relu(nnf.linear(pool, weights["dense.weight"], weights["dense.bias"]))
    return dense * weights["dense.scale"] + weights["dense.shift"]


def test_fast_path_equals_plain_convolutions(ear):
    log_mel = 3 * torch.rand(2, 420, 96, generator=torch.Generator().manual_seed(1))
    starts = torch.tensor([0, 1, 62, 125, 233])  # touching both ends, nearly the same, and overlapping
    windows = torch.stack([row[s : s + 187] for row in log_mel for s in starts])
    plain = plain_musicnn(load_file(EMBEDDED_FOLDER / "model.safetensors"), windows)
    torch.testing.assert_close(ear.embed(log_mel, starts).flatten(0, 1), plain, atol=1e-4, rtol=0)


def test_some_filters_have_negative_scales_so_that_their_branch_is_tested():
    weights = load_file(EMBEDDED_FOLDER / "model.safetensors")
    signs = torch.cat([weights[f"{n}.scale"] for n in ("timbral.0", "timbral.1", "temporal.0", "temporal.1", "temporal.2")])
    assert (signs < 0).any() and (signs > 0).any()


# ------------------------------------------------------------------------------------------------------- time and sound


def test_windows_lie_where_their_times_say(ear):
    heard = ear.features(music(9.5, RATE_HZ), RATE_HZ)
    assert heard.values.shape == (1, 7, 200) and heard.values.dtype == torch.float32 and ear.width == 200
    ideal = torch.arange(7, dtype=torch.float64) * ear.hop_seconds + 93 / FRAME_RATE_HZ
    assert (heard.times_seconds - ideal).abs().max() <= 0.5 / FRAME_RATE_HZ + 1e-9


def test_a_delay_of_one_hop_moves_the_features_by_one_frame():
    ear = MusicnnListener(hop_seconds=60 / FRAME_RATE_HZ)
    sound = music(8, RATE_HZ)
    late = ear.features(sound[60 * 256 :], RATE_HZ).values[0]
    whole = ear.features(sound, RATE_HZ).values[0]
    torch.testing.assert_close(late[1:], whole[2 : len(late) + 1], atol=1e-4, rtol=0)  # the mirrored start lies in late[0]


def test_blocks_leave_no_seam(ear, monkeypatch):
    sound = torch.stack([music(7, 44_100, 1), music(7, 44_100, 2)])[:, None]  # [B=2,C=1,T]
    whole = ear.features(sound, 44_100)
    monkeypatch.setattr(listener_module, "BLOCK_SECONDS", 1.1)
    blocks = ear.features(sound, 44_100)
    torch.testing.assert_close(blocks.values, whole.values, atol=1e-4, rtol=0)
    assert torch.equal(blocks.times_seconds, whole.times_seconds)


def test_a_file_is_heard_as_its_samples(ear, tmp_path):
    stereo = torch.stack([music(5, 44_100, 3), music(5, 44_100, 4)])
    soundfile.write(tmp_path / "a.wav", stereo.T.numpy(), 44_100, subtype="FLOAT")
    heard = ear.features_of_file(tmp_path / "a.wav")
    torch.testing.assert_close(heard.values, ear.features(stereo[None], 44_100).values, atol=1e-4, rtol=0)
    assert cosine(heard.values, ear.features(stereo.mean(0), 44_100).values) > 0.99999


def test_the_sample_rate_does_not_matter_nor_do_neighbours_in_the_batch(ear):
    at_16k = ear.features(torch.stack([music(4, RATE_HZ, 5), music(4, RATE_HZ, 6)]), RATE_HZ).values
    assert cosine(at_16k[0], ear.features(music(4, 48_000, 5), 48_000).values[0]) > 0.999
    torch.testing.assert_close(at_16k[1:], ear.features(music(4, RATE_HZ, 6), RATE_HZ).values, atol=1e-4, rtol=0)
    assert cosine(at_16k[0], at_16k[1]) < 0.99  # different music sounds different


def test_short_sound_is_repeated(ear):
    t = torch.arange(3 * RATE_HZ) / RATE_HZ
    clicks = torch.sin(2 * np.pi * 500 * t) * torch.exp(-20 * (t % 0.256))  # period: 16 mel frames
    short = ear.features(clicks[: 16 * 256 * 4], RATE_HZ)
    assert short.values.shape == (1, 1, 200) and short.times_seconds.item() == pytest.approx(1.024 / 2, abs=0.01)
    assert cosine(short.values, ear.features(clicks, RATE_HZ).values) > 0.9
    assert torch.isfinite(ear.features(torch.zeros(800), RATE_HZ).values).all()


def test_features_may_serve_as_training_targets(ear):
    heard = ear.features(music(3.2, RATE_HZ), RATE_HZ).values
    weight = torch.ones(200, requires_grad=True)
    (weight * heard).sum().backward()  # inference tensors would refuse to be saved for this
    torch.testing.assert_close(weight.grad, heard.sum((0, 1)))


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "samples, rate_hz, says",
    [
        (torch.zeros(16_000, dtype=torch.int16), RATE_HZ, "int16"),
        (torch.zeros(1, 1, 1, 16_000), RATE_HZ, "shaped"),
        (torch.zeros(2, 0), RATE_HZ, "empty"),
        (torch.zeros(500), RATE_HZ, "0.031 s"),
        (torch.full((16_000,), float("nan")), RATE_HZ, "NaN"),
        (torch.zeros(16_000), 0, "sample_rate_hz is 0"),
        (torch.zeros(16_000), float("nan"), "sample_rate_hz is nan"),
        (torch.zeros(16_000), "16k", "sample_rate_hz is '16k'"),
    ],
)
def test_bad_sound_is_refused(ear, samples, rate_hz, says):
    with pytest.raises(ValueError, match=says):
        ear.features(samples, rate_hz)


def test_bad_files_are_refused(ear, tmp_path):
    (tmp_path / "a.wav").write_text("no sound")
    for name in ("a.wav", "absent.wav"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as sound"):
            ear.features_of_file(tmp_path / name)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="layer is 'mood'"):
        load_listener(layer="mood")
    with pytest.raises(ValueError, match="hop_seconds is 0"):
        load_listener(hop_seconds=0)


def test_damaged_folders_are_refused(tmp_path):
    with pytest.raises((FileNotFoundError, ValueError), match="absent"):
        load_listener(tmp_path / "absent")
    folder = tmp_path / "listener"
    shutil.copytree(EMBEDDED_FOLDER, folder)
    assert load_listener(folder).name == "musicnn-msd/penultimate"
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"dense.bias": torch.zeros(100)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"dense.bias is \(100,\), expected \(200,\)"):
        load_listener(folder)
    save_file({n: w for n, w in weights.items() if n != "tags.bias"}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="tags.bias is absent"):
        load_listener(folder)
    whole = (EMBEDDED_FOLDER / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        load_listener(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        load_listener(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="JSON"):
        load_listener(folder)


# ----------------------------------------------------------------------------------------------------------- checkpoint


def bundle(dtype: int = 1, compressed: int = 0) -> tuple[bytes, bytes]:
    """A TensorFlow checkpoint written by hand: 'net/bias' [2] and 'net/kernel' [2, 3], keys sharing a prefix."""
    data = np.arange(8, dtype="<f4")

    def entry(sizes, offset, count):
        shape = b"".join(b"\x12\x02\x08" + bytes([size]) for size in sizes)
        fields = b"\x08" + bytes([dtype]) + b"\x12" + bytes([len(shape)]) + shape
        return fields + (b"\x20" + bytes([offset]) if offset else b"") + b"\x28" + bytes([4 * count]) + b"\x35\0\0\0\0"

    def block(records):
        body = b"".join(bytes([shared, len(key), len(value)]) + key + value for shared, key, value in records)
        return body + struct.pack("<II", 0, 1)

    records = [(0, b"", b"\x08\x01"), (0, b"net/bias", entry([2], 0, 2)), (4, b"kernel", entry([2, 3], 8, 6))]
    table, handles = b"", []
    for content in (block(records), block([])):
        handles.append(bytes([len(table), len(content)]))
        table += content + bytes([compressed]) + bytes(4)
    content = block([(0, b"z", handles[0])])
    top = bytes([len(table) & 127 | 128, len(table) >> 7, len(content)])
    table += content + bytes(5)
    return table + (handles[1] + top).ljust(40, b"\0") + struct.pack("<Q", TABLE_MAGIC), data.tobytes()


def test_a_checkpoint_is_read_without_tensorflow():
    arrays = read_bundle(*bundle())
    assert list(arrays) == ["net/bias", "net/kernel"]
    assert arrays["net/bias"].tolist() == [0, 1] and arrays["net/kernel"].tolist() == [[2, 3, 4], [5, 6, 7]]


def test_a_damaged_checkpoint_is_refused():
    index, data = bundle()
    for bad_index, bad_data, says in (
        (index[:-1], data, "LevelDB"), (index, data[:20], "damaged"), (*bundle(dtype=7), "dtype 7"), (*bundle(compressed=1), "compressed"),
    ):
        with pytest.raises(ValueError, match=says):
            read_bundle(bad_index, bad_data)


# ----------------------------------------------------------------------------------------------------------------- MERT


@pytest.fixture(scope="module")
def tiny_hubert(tmp_path_factory):
    """A random HuBERT of two layers: MERT's architecture, three thousandths of its size."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, vocab_size=4,
    )
    HubertModel(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=True).save_pretrained(folder)
    return folder


def test_mert_features_are_the_hidden_layer_averaged_over_hops(tiny_hubert):
    from transformers import HubertModel

    ear = load_listener(tiny_hubert, layer=2, hop_seconds=0.5)
    assert (ear.name, ear.width) == ("tiny/2", 16)
    sound = music(2, RATE_HZ)
    heard = ear.features(sound, RATE_HZ)
    assert heard.times_seconds.tolist() == [0.25, 0.75, 1.25, 1.75]
    with torch.no_grad():
        normal = (sound - sound.mean()) / sound.std(correction=0)
        hidden = HubertModel.from_pretrained(tiny_hubert).eval()(normal[None]).last_hidden_state[0]  # [99,16]
    torch.testing.assert_close(heard.values[0, 0], hidden[:25].mean(0), atol=1e-3, rtol=0)
    torch.testing.assert_close(heard.values[0, 3], hidden[-25:].mean(0), atol=1e-3, rtol=0)


def test_mert_hears_long_sound_in_segments(tiny_hubert, monkeypatch, tmp_path):
    monkeypatch.setattr(listener_module, "BLOCK_SECONDS", 2)
    ear = MertListener(tiny_hubert, layer=1)
    sound = music(5.6, 22_050)
    soundfile.write(tmp_path / "a.wav", sound.numpy(), 22_050, subtype="FLOAT")
    heard = ear.features_of_file(tmp_path / "a.wav")
    assert heard.times_seconds.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    torch.testing.assert_close(heard.values, ear.features(sound, 22_050).values, atol=1e-4, rtol=0)


def test_mert_asks_before_foreign_code_and_before_a_download(tiny_hubert, tmp_path):
    folder = tmp_path / "remote"
    shutil.copytree(tiny_hubert, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling.Model"}}))
    (folder / "modeling.py").write_text("raise SystemExit('foreign code ran')")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        load_listener(folder)
    with pytest.raises(ValueError, match="allow_download=True"):
        load_listener("nobody/no-such-model")


def test_mert_says_what_is_wrong(tiny_hubert, tmp_path):
    with pytest.raises(ValueError, match="no folder and no hub id"):
        MertListener(tmp_path / "absent")
    with pytest.raises(ValueError, match="layer is 3"):
        MertListener(tiny_hubert, layer=3)
    folder = tmp_path / "bare"
    shutil.copytree(tiny_hubert, folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="bare cannot be loaded .* check its files"):
        MertListener(folder)
