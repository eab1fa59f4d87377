"""Model folders: round trip, atomic writing, and a clear refusal of everything that is not right."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lara_core.checkpoint import ModelConfig, build_decoder, list_models, load_model, save_model
from lara_core.conditioning import Conditioning
from lara_core.decoder import Decoder, DecoderConfig

CONFIG = DecoderConfig(3, 10, width=16, n_layers=2, n_heads=2, ffn_width=32, text_width=8, delays=(0, 1, 1))
CODEC, TEXT, EXTRA = {"name": "score"}, {"name": "hashed", "width": 8}, {"steps": 100, "loss": 1.5}


def make_decoder(seed=0, **change) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(replace(CONFIG, **change))


def logits(decoder: Decoder, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    cond = Conditioning(torch.randn(2, 4, 8, generator=generator), torch.ones(2, 4, dtype=torch.bool),
                        torch.rand(2, 6, 2, generator=generator).to(dtype), torch.ones(2, 6, dtype=torch.bool))
    with torch.no_grad():
        return decoder.logits(decoder.hidden(torch.randint(10, (2, 3, 6), generator=generator), decoder.memory(cond)))


@pytest.fixture
def folder(tmp_path) -> Path:
    save_model(tmp_path / "model", make_decoder(), CODEC, TEXT, EXTRA, card="# A card\n")
    return tmp_path / "model"


def edit(folder: Path, change) -> None:
    data = json.loads((folder / "config.json").read_text())
    change(data)
    (folder / "config.json").write_text(json.dumps(data))


def edit_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_round_trip_is_exact(folder):
    decoder, config = load_model(folder)
    assert config == ModelConfig(CONFIG, CODEC, TEXT, EXTRA) and decoder.config == CONFIG
    assert not decoder.training and all(weight.requires_grad for weight in decoder.parameters())
    assert torch.equal(logits(decoder), logits(make_decoder()))
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # who may read the config may read the weights
    assert [path.name for path in folder.parent.iterdir()] == ["model"]  # nothing temporary stays


def test_a_loaded_model_trains(folder):
    decoder, _ = load_model(folder)
    cond = Conditioning(torch.zeros(1, 1, 8), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 4, 2),
                        torch.ones(1, 4, dtype=torch.bool))
    decoder.logits(decoder.hidden(torch.zeros(1, 3, 4, dtype=torch.long), decoder.memory(cond))).square().mean().backward()
    assert all(weight.grad is not None for weight in decoder.parameters())


def test_half_storage_halves_the_file_and_keeps_the_logits(tmp_path):
    for name, dtype in (("full", None), ("half", torch.float16)):
        save_model(tmp_path / name, make_decoder(width=64, ffn_width=256), CODEC, TEXT, dtype=dtype)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.55 * sizes[1]
    half, full = (load_model(tmp_path / name)[0] for name in ("half", "full"))
    assert half.heads.weight.dtype == torch.float32
    torch.testing.assert_close(logits(half), logits(full), atol=5e-3, rtol=5e-3)


def test_loading_in_another_type(folder):
    decoder, _ = load_model(folder, dtype=torch.float64)
    torch.testing.assert_close(logits(decoder, torch.float64).float(), logits(make_decoder()), atol=1e-5, rtol=1e-5)


def test_replacing_keeps_the_card_and_what_else_is_there(folder):
    (folder / "encodec").mkdir()
    (folder / "encodec" / "config.json").write_text("{}")
    save_model(folder, make_decoder(seed=5), CODEC, TEXT, {"steps": 200})
    decoder, config = load_model(folder)
    assert config.extra == {"steps": 200} and torch.equal(logits(decoder), logits(make_decoder(seed=5)))
    assert (folder / "README.md").read_text() == "# A card\n" and (folder / "encodec" / "config.json").read_text() == "{}"


@pytest.mark.parametrize("failing", ["save_file", "replace"])
def test_a_failed_save_leaves_the_old_model_whole(folder, monkeypatch, failing):
    def fail(*_, **__):
        raise OSError("disk full")
    if failing == "save_file":
        monkeypatch.setattr("safetensors.torch.save_file", fail)
    else:
        move = os.replace
        monkeypatch.setattr(os, "replace", lambda a, b: fail() if str(a).endswith(".new") else move(a, b))
    with pytest.raises(OSError, match="disk full"):
        save_model(folder, make_decoder(seed=5), CODEC, TEXT)
    assert torch.equal(logits(load_model(folder)[0]), logits(make_decoder()))
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_save_refuses(tmp_path):
    broken = make_decoder()
    broken.heads.weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="heads.weight has values that are not finite"):
        save_model(tmp_path / "a", broken, CODEC, TEXT)
    large = make_decoder()
    large.heads.weight.data[0, 0] = 1e6
    with pytest.raises(ValueError, match="not finite as torch.float16"):
        save_model(tmp_path / "a", large, CODEC, TEXT, dtype=torch.float16)
    with pytest.raises(ValueError, match="codec is 'mp3'"):
        save_model(tmp_path / "a", make_decoder(), {"name": "mp3"}, TEXT)
    with pytest.raises(ValueError, match="can't be written as JSON"):
        save_model(tmp_path / "a", make_decoder(), CODEC, TEXT, {"loss": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="exists and is not a model"):
        save_model(tmp_path, make_decoder(), CODEC, TEXT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change, message", [
    (lambda d: d.pop("format"), "format None"),
    (lambda d: d.update(version=99), "version 99"),
    (lambda d: d["codec"].update(name="mp3"), "codec is 'mp3'"),
    (lambda d: d.pop("text"), "no section 'text'"),
    (lambda d: d["decoder"].pop("width"), "'width' is unknown or missing"),
    (lambda d: d["decoder"].update(depth=3), "'depth' is unknown or missing"),
    (lambda d: d["decoder"].update(width="64"), "'width' is '64'"),
    (lambda d: d["decoder"].update(n_layers=0), "'n_layers' is 0"),
    (lambda d: d["decoder"].update(delays=[0, -1, 1]), "'delays' is"),
    (lambda d: d["decoder"].update(delays=[0, 1]), "delays has 2 entries"),
    (lambda d: d["decoder"].update(emotion=1), "'emotion' is 1"),
    (lambda d: d["decoder"].update(n_heads=3), "multiple of n_heads"),
    (lambda d: d["decoder"].update(width=32), "config.json asks for"),
    (lambda d: d["decoder"].update(n_layers=3), "weights lack blocks.2"),
    (lambda d: d["decoder"].update(emotion=False), "too many: av_encoder"),
])
def test_wrong_config_is_refused(folder, change, message):
    edit(folder, change)
    with pytest.raises(ValueError, match=message):
        load_model(folder)


@pytest.mark.parametrize("change, message", [
    (lambda w: w.pop("norm.bias"), "weights lack norm.bias"),
    (lambda w: w.update(surplus=torch.zeros(1)), "too many: surplus"),
    (lambda w: w.update({"norm.bias": torch.zeros(17)}), r"norm.bias is torch.float32 \[17\]; .* \[16\]"),
    (lambda w: w.update({"norm.bias": torch.zeros(16, dtype=torch.int8)}), "norm.bias is torch.int8"),
])
def test_wrong_weights_are_refused(folder, change, message):
    edit_weights(folder, change)
    with pytest.raises(ValueError, match=message):
        load_model(folder)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_truncated_weights_are_refused(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="damaged or incomplete"):
        load_model(folder)


def test_missing_and_foreign_files_are_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no model folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a file"):
        load_model(folder / "config.json")
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="is a pickle"):
        load_model(tmp_path / "model.pt")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="only pytorch_model.bin, a pickle"):
        load_model(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(FileNotFoundError, match="no model.safetensors"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not readable JSON"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="no config.json"):
        load_model(folder)


def test_list_models(folder, tmp_path):
    save_model(tmp_path / "other" / "model", make_decoder(), CODEC, TEXT)
    save_model(tmp_path / "other" / "second", make_decoder(), CODEC, TEXT)
    save_model(tmp_path / "other" / ".hidden", make_decoder(), CODEC, TEXT)
    (tmp_path / "other" / "broken").mkdir()
    (tmp_path / "other" / "broken" / "config.json").write_text("[]")
    (tmp_path / "other" / "bert").mkdir()
    (tmp_path / "other" / "bert" / "config.json").write_text('{"model_type": "bert"}')
    assert list_models([tmp_path / "absent", tmp_path, tmp_path / "other"]) == {
        "model": folder, "second": tmp_path / "other" / "second"}


def test_build_decoder_needs_no_disk():
    decoder = make_decoder()
    assert torch.equal(logits(build_decoder(CONFIG, decoder.state_dict())), logits(decoder))
