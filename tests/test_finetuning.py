"""Finetuning a MusicGen-type model on shards: batches, LoRA and full, stopped and several processes, and the adapter that comes out."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lara_core.adapter import AdaptedTensors, add_emotion
from lara_core.affect import Curve
from lara_core.audio import Audio, save
from lara_core.checkpoint import list_models, load_model
from lara_core.codec import Request
from lara_core.conditioning import Conditioning
from lara_core.decoder import delay, shifted
from lara_core.pipeline import Lara
from training import train
from training.audio import Source, prepare
from training.lora import LoRALinear, add_lora
from training.windows import Shards

from test_audio_shards import RATE, tune

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def place(tiny_musicgen, tmp_path_factory):
    """A folder with the base model and shards of it."""
    folder = tmp_path_factory.mktemp("finetuning")
    shutil.copytree(tiny_musicgen, folder / "musicgen-tiny")
    rows = []
    for i in range(6):
        save(folder / f"{i}.wav", tune(2, i))
        rows.append({"path": f"{i}.wav", "text": ("happy piano", "", "slow sad strings")[i % 3], "valence": i / 3 - 0.8, "arousal": 0.8 - i / 3, "split": "valid" if i == 5 else "train"})
    rows.append({"path": "silence.wav", "text": "soft", "split": "train"})
    save(folder / "silence.wav", Audio(np.zeros((1, 3 * RATE), np.float32), RATE))
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepare(folder / "manifest.jsonl", Source(folder / "musicgen-tiny"), folder / "shards", per_shard=4)
    return folder


def options(place, output, steps, *more) -> list[str]:
    return ["--corpus", str(place / "shards"), "--init", str(place / "musicgen-tiny"), "-o", str(output), "--steps", str(steps), "--batch", "4",
            "--window", "60", "--cpu", "--log-steps", "4", "--warmup", "2", *more]


def run(place, output, steps, *more) -> list[dict]:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    train.train(parser.parse_args(options(place, output, steps, *more)))
    return [json.loads(line) for line in output.with_suffix(".log.jsonl").read_text().splitlines()]


def test_windows_of_shards(place):
    shards = Shards(place / "shards")
    codes, emotion, known, (text, text_mask), (features, heard) = shards.batch(np.random.default_rng(3), 64, 130)
    assert codes.shape == (64, 4, 130) and codes.max() < 32 and text.shape[2] == 24 and features.shape == (64, 130, 200)
    inside = codes[:, 0] >= 0
    assert torch.equal(heard, inside) and inside.sum(1).unique().tolist() == [100, 130]  # 2 s pieces are shorter than the window
    silent = ~known.any(1)
    assert silent.any() and inside[silent].all() and torch.equal(known[~silent], inside[~silent])  # nobody knows the emotion of silence
    assert text_mask.sum(1).min() == 0 and text_mask.sum(1).max() == 3 and not text[~text_mask].any()
    assert (emotion[:, 0, 0] - 0.867).abs().min() > 0.05  # the validation piece is never drawn
    again = shards.batch(np.random.default_rng(3), 64, 130)
    assert torch.equal(again[0], codes) and torch.equal(again[4][0], features)
    everything = torch.cat([tensors["features"][tensors["feature_offsets"][i]:tensors["feature_offsets"][i + 1]].float() for tensors, i in shards.pieces])
    assert ((everything - shards.mean) / shards.deviation).mean().abs() < 0.1
    assert len(Shards(place / "shards", "valid").pieces) == 1
    with pytest.raises(ValueError, match="no row of the split 'test'"):
        Shards(place / "shards", "test")


def test_missing_shards_and_other_codecs_are_told(place, tmp_path, tiny_neural):
    shutil.copytree(place / "shards", tmp_path / "shards")
    (tmp_path / "shards" / "shard-00001.safetensors").unlink()
    with pytest.raises(ValueError, match="lacks 1 of 2 shards, the first is shard-00001.safetensors; run training.audio again"):
        Shards(tmp_path / "shards")
    with pytest.raises(ValueError, match="made with the EnCodec of musicgen-tiny; .* has another one"):
        run(place, tmp_path / "x", 1, "--init", str(tiny_neural))


def logits(decoder, frames=20):
    torch.manual_seed(1)
    codes = torch.randint(32, (2, 4, frames))
    cond = Conditioning(torch.randn(2, 3, 24), torch.ones(2, 3, dtype=torch.bool), torch.rand(2, frames, 2), torch.ones(2, frames, dtype=torch.bool))
    with torch.no_grad():
        return decoder.logits(decoder.hidden(shifted(delay(codes, decoder.config.delays, 32), 32), decoder.memory(cond)))


def test_lora_begins_as_the_base_and_learns_only_its_own(place):
    decoder, _ = load_model(place / "musicgen-tiny")
    before = logits(decoder)
    add_lora(decoder, 4)
    assert torch.equal(logits(decoder), before)
    learned = {name.rsplit(".", 1)[-1] for name, p in decoder.named_parameters() if p.requires_grad}
    layers = [layer for layer in decoder.modules() if isinstance(layer, LoRALinear)]
    assert learned == {"lora_a", "lora_b"} and len(layers) == 2 * 7


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_finetuning_learns_and_its_adapter_is_the_trained_model(place, tmp_path, kind, monkeypatch):
    shutil.copytree(place / "musicgen-tiny", tmp_path / "musicgen-tiny")
    trained = {}
    monkeypatch.setattr(train, "save", lambda *args, real=train.save: (trained.update(model=args[1], args=args[5]), real(*args)))
    log = run(place, tmp_path / "adapter", 16, "--init", str(tmp_path / "musicgen-tiny"), "--log-steps", "1",
              *(["--lora", "4", "--lr", "0.003"] if kind == "lora" else ["--lr", "0.001"]))
    with torch.no_grad():  # the first batch once more
        _, nats, alignment, _ = train.losses(trained["model"], Shards(place / "shards"), np.random.default_rng((1, 0, 0)), trained["args"], torch.ones(4), dropped=True)
    assert nats.sum() < log[0]["nats"] - 0.05 and 0 < alignment < log[0]["lara"] - 0.05 and log[-1]["valid_nats"] > 0
    shutil.move(tmp_path / "adapter", tmp_path / "other name")  # base and adapter stay side by side
    decoder, config = load_model(tmp_path / "other name")
    expected = logits(trained["model"].decoder)
    assert (logits(decoder) - expected).abs().max() < 2e-3 * expected.abs().max() and config.decoder.emotion and config.extra["training"]["steps"] == 16
    assert (logits(load_model(tmp_path / "musicgen-tiny")[0]) - expected).abs().max() > 0.05 * expected.abs().max()
    assert "other name" in list_models([tmp_path])
    size = {name: sum(p.stat().st_size for p in (tmp_path / name).iterdir()) for name in ("other name", "musicgen-tiny")}
    assert size["other name"] < size["musicgen-tiny"]
    lara = Lara.load("other name", folders=[tmp_path])  # EnCodec and T5 are the base's
    sound, _ = lara.generate("happy piano", Curve.constant(0.5, 0.5), Request(1.0))
    assert sound.samples.shape == (1, RATE)


def test_an_adapter_without_its_base_is_a_sentence(place, tmp_path):
    run(place, place / "lost", 1, "--lora", "2")
    shutil.move(place / "lost", tmp_path / "lost")
    with pytest.raises(ValueError, match=r"The adapter lost needs its base model musicgen-tiny \(digest [0-9a-f]{16}\); put that folder beside"):
        load_model(tmp_path / "lost")
    shutil.copytree(place / "musicgen-tiny", tmp_path / "musicgen-tiny")
    weights = tmp_path / "musicgen-tiny" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match="The adapter lost belongs to another base: it was made for musicgen-tiny with digest"):
        load_model(tmp_path / "lost")


@pytest.mark.parametrize("misfit", [{"blocks.0.fc9.weight": (4, 4)}, {"fc.weight": (4, 3)}, {"fc.lora_a": (2, 4)}, {"fc.lora_a": (2, 3), "fc.lora_b": (4, 2)}])
def test_a_tensor_without_a_place_is_a_sentence(misfit):
    with pytest.raises(ValueError, match=r"The adapter mine has .* \[.*\], which its base has no place for"):
        dict(AdaptedTensors({"fc.weight": torch.ones(4, 4)}, {name: torch.ones(shape) for name, shape in misfit.items()}, "mine"))


def adapter_bytes(folder) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_stopped_run_goes_on_with_the_same_data(place, tmp_path, monkeypatch):
    more = ("--lora", "2", "--save-seconds", "0")
    run(place, tmp_path / "whole", 6, *more)

    class Stopped(Exception):
        pass

    def stop(*args, real=train.save):
        real(*args)
        if args[3] == 3:
            raise Stopped

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(train, "save", stop)
        run(place, tmp_path / "cut", 6, *more)
    run(place, tmp_path / "cut", 6, *more)
    assert adapter_bytes(tmp_path / "cut") == adapter_bytes(tmp_path / "whole")
    with pytest.raises(ValueError, match="is of a run with other options"):
        run(place, tmp_path / "cut", 8)


def launch(arguments, processes: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m", "training.train", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="TORCH HAS NO torch.distributed, SO SEVERAL PROCESSES ARE NOT TESTED HERE")
def test_two_processes_train_one_model_on_twice_the_data(place, tmp_path):
    """Two processes are one that sees both their batches: without the clipping of gradients, for one step, to rounding."""
    more = ("--lora", "2", "--lara", "0", "--lr", "0.01", "--warmup", "1", "--batch", "2")
    launch(options(place, tmp_path / "two", 1, *more), 2)
    real = train.losses

    def both(model, corpus, rng, args, weights, dropped):
        one, other = (real(model, corpus, np.random.default_rng((args.seed, 0, process)), args, weights, dropped) for process in (0, 1))
        return tuple((a + b) / 2 for a, b in zip(one, other))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train, "losses", lambda *args, dropped, judged=None: both(*args, dropped) if dropped else real(*args, dropped))
        run(place, tmp_path / "one", 1, *more)
    from safetensors.torch import load_file
    two, one = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    moved = 0
    for name in one:
        assert (two[name].float() - one[name].float()).abs().max() < 1e-3, name
        moved += one[name].float().abs().sum().item() if name.endswith("lora_b") else 0
    assert moved > 1  # both have learned


def test_the_base_is_not_overwritten(place):
    with pytest.raises(ValueError, match="exists and is not an adapter"):
        run(place, place / "musicgen-tiny", 1, "--lora", "2")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="TORCH HAS NO torch.distributed, SO FSDP IS NOT TESTED HERE")
def test_a_decoder_wrapped_by_fsdp_says_the_same(place, tmp_path):
    """One process on the CPU: this says that the wrapping is right, and nothing of GPUs."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    decoder, _ = load_model(place / "musicgen-tiny")
    add_emotion(decoder)
    add_lora(decoder, 2)
    plain = logits(decoder)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        mesh, model = init_device_mesh("cpu", (1,)), train.Trained(decoder)
        for block in decoder.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        train.gather_for_memory(decoder)
        torch.manual_seed(1)
        codes = torch.randint(32, (2, 4, 20))
        cond = Conditioning(torch.randn(2, 3, 24), torch.ones(2, 3, dtype=torch.bool), torch.rand(2, 20, 2), torch.ones(2, 20, dtype=torch.bool))
        loss, per_lane, *_ = model(codes, cond, None, torch.ones(4), 0.0)
        loss.backward()
        steps = delay(codes, decoder.config.delays, -1)
        expected = torch.nn.functional.cross_entropy(plain.flatten(0, 2), steps.flatten(), ignore_index=-1)
        assert abs(per_lane.mean() - expected) < 1e-5
        assert all(weight.grad is not None for name, weight in decoder.named_parameters() if name.endswith("lora_b"))
    finally:
        torch.distributed.destroy_process_group()
