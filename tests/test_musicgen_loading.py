"""MusicGen checkpoints on disk: every variant's layout, memory while loading, precisions, hub ids, and clear refusals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lara_core.checkpoint import load_model
from lara_core.linear import PackedLinear, has_amx, has_fbgemm
from lara_core.pipeline import SHIPPED_MODELS, Lara, find_model
from musicgen import make_musicgen, save_musicgen

transformers = pytest.importorskip("transformers")

# of the published checkpoints: (layers, width, heads), for stereo 8 codebooks on 2 channels; tiny here, in the same proportions
SIZES = {"small": (24, 1024, 16), "medium": (48, 1536, 24), "large": (48, 2048, 32)}
VARIANTS = {f"{kind}{size}": (numbers, channels) for size, numbers in SIZES.items() for kind, channels in (("", 1), ("stereo-", 2))}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_loads(tmp_path, variant):
    (layers, width, heads), channels = VARIANTS[variant]
    given = dict(vocab_size=32, num_hidden_layers=layers // 8, hidden_size=width // 32, num_attention_heads=heads // 8, ffn_dim=width // 8,
                 num_codebooks=4 * channels, audio_channels=channels)
    folder = save_musicgen(tmp_path / variant, make_musicgen(given))
    lara = Lara.load(folder)
    config = lara.decoder.config
    assert (config.n_layers, config.width, config.n_heads, config.ffn_width) == (layers // 8, width // 32, heads // 8, width // 8)
    assert config.delays == ((0, 1, 2, 3) if channels == 1 else (0, 0, 1, 1, 2, 2, 3, 3))
    assert (lara.codec.channels, lara.codec.n_codebooks, lara.text_encoder.width) == (channels, 4 * channels, 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_musicgen(tmp_path_factory.mktemp("models") / "musicgen-tiny", make_musicgen())


@pytest.mark.parametrize("dtype, packed", [(torch.float32, True), (torch.int8, True), (torch.bfloat16, False)])
def test_precisions(folder, dtype, packed):
    decoder = Lara.load(folder, dtype=dtype).decoder
    linears = [module for module in decoder.modules() if isinstance(module, (torch.nn.Linear, PackedLinear))]
    assert {isinstance(module, PackedLinear) for module in linears} == {packed}
    kinds = {name: getattr(module, "kind", "").split()[:1] for name, module in decoder.named_modules() if name in ("heads", "blocks.0.fc1", "text_proj")}
    if dtype == torch.int8:
        assert kinds == {"heads": ["int8"], "blocks.0.fc1": ["int8"], "text_proj": ["float32"]}
        assert decoder.dtype == torch.float32 and decoder.past_dtype == (torch.bfloat16 if has_amx() else None)


def test_int8_says_where_it_is_slow(folder, monkeypatch, caplog):
    Lara.load(folder, dtype=torch.int8)
    assert not has_fbgemm() or "int8" not in caplog.text
    for name in ("vnni", "fbgemm"):
        monkeypatch.setattr(f"lara_core.linear.has_{name}", lambda: False)
    Lara.load(folder, dtype=torch.int8)
    assert "float32 is faster" in caplog.text


def test_packed_weights_stay_where_they_are(folder, tmp_path):
    from lara_core.checkpoint import save_model

    with pytest.raises(ValueError, match="int8 is for the CPU"):
        load_model(folder, "meta", torch.int8)
    with pytest.raises(ValueError, match="packed to be played"):
        save_model(tmp_path / "again", load_model(folder, packed=True)[0], {"name": "encodec"}, {"name": "t5"})
    assert isinstance(Lara.load(folder, movable=True).decoder.heads, torch.nn.Linear)


MEASURE = """
import sys
import torch
import transformers.models.encodec.modeling_encodec, transformers.models.t5.modeling_t5  # what is imported is not what is loaded
from lara_core.pipeline import Lara
torch.nn.functional.linear(torch.ones(4, 64), torch.ones(64, 64))
def memory(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
before = memory("VmRSS:")
lara = Lara.load(sys.argv[1], dtype=getattr(torch, sys.argv[2]))
print(memory("VmHWM:") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize("dtype, half, most", [("float32", False, 1.2), ("float32", True, 1.2), ("int8", False, 0.9)])
def test_peak_memory_of_loading(tmp_path_factory, tmp_path, dtype, half, most):
    """In shares of the file, with the proportions of musicgen-small: 71 % decoder, 19 % T5, 10 % EnCodec."""
    given = dict(vocab_size=2048, hidden_size=512, num_hidden_layers=10, num_attention_heads=8, ffn_dim=2048, num_codebooks=4)
    folder = save_musicgen(tmp_path / "scaled", make_musicgen(given, text_layers=4, text_width=512, half=half))
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    result = subprocess.run([sys.executable, "-c", MEASURE, str(folder), dtype], capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < most * size, f"{int(result.stdout) / size:.2f} of the file"


def test_sharded_checkpoints_load_whole(tmp_path, folder):
    sharded = save_musicgen(tmp_path / "sharded", make_musicgen(), max_shard_size="50KB")
    assert (sharded / "model.safetensors.index.json").exists()
    one, two = Lara.load(folder), Lara.load(sharded)
    for a, b in zip(one.text_encoder.encode(["calm piano"]), two.text_encoder.encode(["calm piano"])):
        assert torch.equal(a, b)
    next(sharded.glob("model-00002*")).unlink()
    with pytest.raises(FileNotFoundError, match="has no model-00002"):
        Lara.load(sharded)


def test_incomplete_and_wrong_checkpoints_are_refused(tmp_path, folder):
    broken = save_musicgen(tmp_path / "broken", make_musicgen())
    config = json.loads((broken / "config.json").read_text())

    def refused(message: str, error=ValueError, **changes):
        (broken / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(error, match=message) as raised:
            Lara.load(broken)
        assert "\n" not in str(raised.value)

    refused("a MusicGen Melody", model_type="musicgen_melody")
    refused("lacks decoder.model.decoder.layers.3", decoder=config["decoder"] | {"num_hidden_layers": 4})
    refused("layers.1.*config.json doesn't explain", decoder=config["decoder"] | {"num_hidden_layers": 1})
    refused("config.json asks for", decoder=config["decoder"] | {"ffn_dim": 128})
    (broken / "tokenizer.json").unlink()
    refused("tokenizer.json, which is missing")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    refused("damaged or incomplete")
    weights.unlink()
    refused("no model.safetensors", FileNotFoundError)


def test_hub_ids(tmp_path, folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="some/musicgen-tiny is not in the cache.*config.json, tokenizer.json and model.safetensors") as raised:
        find_model("some/musicgen-tiny")
    assert str(SHIPPED_MODELS / "musicgen-tiny") in str(raised.value) and str(tmp_path) in str(raised.value)
    cached = tmp_path / "models--some--musicgen-tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("a" * 40)
    (cached / "snapshots").mkdir()
    (cached / "snapshots" / ("a" * 40)).symlink_to(folder)
    assert find_model("some/musicgen-tiny").resolve() == folder
    assert find_model("other/musicgen-tiny", [folder.parent]) == folder
