"""Manifest to shards: what a shard holds, rows that cannot be heard, runs that are stopped, killed and run out of disk."""

import csv
import errno
import json
import os
import signal
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lara_core.audio import Audio, save
from lara_core.codec.encodec import EncodecCodec
from lara_core.predictor import EmotionPredictor
from training import audio
from training.audio import Row, Source, frame_emotion, make_shard, prepare, read_manifest, shard_notes

RATE = 8000


def tune(seconds: float, seed: int) -> Audio:
    """A few harmonic notes: the predictor takes it for music."""
    rng, t = np.random.default_rng(seed), np.arange(int(seconds * RATE)) / RATE
    notes = 220 * 2 ** (rng.integers(0, 13, int(seconds * 4) + 1) / 12)
    phase = 2 * np.pi * np.cumsum(notes[(t * 4).astype(int)]) / RATE
    sound = sum(np.sin(k * phase) / k for k in (1, 2, 3)) * np.exp(-3 * (t * 4 % 1)) * 0.3
    return Audio(sound[None].astype(np.float32), RATE)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for i in range(5):
        save(folder / f"{i}.wav", tune(2 + 0.31 * i, i))
    (folder / "broken.wav").write_bytes((folder / "0.wav").read_bytes()[:30])
    path = folder / "manifest.csv"
    path.write_text("path,text,valence,arousal,split\n0.wav,happy piano,0.5,-0.25,\nmissing.wav,soft,,,\n1.wav,soft strings,,,train\n"
                    "broken.wav,sad,,,\n2.wav,,-1,1,valid\n3.wav,fast drums,,,\n4.wav,slow piano,0,0,test\n", encoding="utf-8")
    return path


def tensors_of(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*.safetensors"))}


@pytest.fixture(scope="module")
def shards(manifest, tiny_musicgen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    return folder, prepare(manifest, Source(tiny_musicgen), folder, per_shard=3)


def test_a_shard_holds_codes_features_emotion_and_text(shards, manifest, tiny_musicgen):
    folder, told = shards
    assert told == {"rows": 7, "kept": 5, "labelled": 3, "skipped": 2, "shards": 3}
    data, rows = load_file(folder / "shard-00000.safetensors"), shard_notes(folder / "shard-00000.safetensors")["rows"]
    assert [row["row"] for row in rows] == [1, 3]
    own = EncodecCodec.from_folder(tiny_musicgen).encode(tune(2, 0))
    offsets = data["offsets"].tolist()
    assert offsets == [0, 100, 100 + 116] and np.array_equal(data["codes"][:, :100].numpy(), own) or np.abs(data["codes"][:, :100].numpy() != own).mean() < 0.02
    assert torch.equal(data["emotion"][:100].float(), torch.tensor([0.5, -0.25]).expand(100, 2))
    labels = data["emotion"][100:].float()  # the predictor's
    track = EmotionPredictor.load().track(manifest.parent / "1.wav")
    assert track.is_music and torch.allclose(labels, torch.from_numpy(track.values[0]).float().expand(116, 2), atol=2e-3)
    assert data["feature_offsets"].tolist() == [0, 2, 5] and data["features"].shape == (5, 200) and data["features"].float().std() > 0
    assert data["text_offsets"].tolist() == [0, 2, 4] and data["text"].shape == (4, 24)
    valid = load_file(folder / "shard-00001.safetensors")
    assert valid["text_offsets"].tolist() == [0, 0, 2]  # no text, no token


def test_rows_that_cannot_be_heard_are_listed_with_the_reason(shards):
    with open(shards[0] / "skipped.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["2", "4"] and "There is no file" in rows[0]["why"] and "not a readable sound" in rows[1]["why"]


def test_emotion_is_unknown_where_nothing_is_music():
    silence = Audio(np.zeros((1, 4 * RATE), np.float32), RATE)
    emotion = frame_emotion(Row(1, None, "", None, "train"), silence, 200, 50.0, EmotionPredictor.load())
    assert emotion.shape == (200, 2) and np.isnan(emotion).all()


def test_several_processes_and_a_stopped_run_give_the_same_shards(shards, manifest, tiny_musicgen, tmp_path):
    whole = tensors_of(shards[0])
    first = tmp_path / "shard-00000.safetensors"

    class Stopped(Exception):
        pass

    def stop_after_one(results):
        yield next(iter(results))
        raise Stopped

    with pytest.raises(Stopped):
        prepare(manifest, Source(tiny_musicgen), tmp_path, per_shard=3, progress=stop_after_one)
    assert list(tensors_of(tmp_path)) == [first.name]
    made = first.stat().st_mtime_ns
    told = prepare(manifest, Source(tiny_musicgen), tmp_path, per_shard=3, jobs=2)
    assert told == shards[1] and tensors_of(tmp_path) == whole and first.stat().st_mtime_ns == made  # that one was not made again


def die_once(job) -> int:
    """Dies after it has written, but not yet renamed, what it holds of the second shard; the next time it lives."""
    mark = job.folder / "died"
    if job.shard == 1 and not mark.exists():
        mark.touch()
        (job.folder / ".0123456789abcdef.part").write_bytes(b"half a shard")
        os.kill(os.getpid(), signal.SIGKILL)
    return make_shard(job)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_after_a_killed_worker_the_same_command_goes_on(shards, manifest, tiny_musicgen, tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "make_shard", die_once)
    with pytest.raises(ChildProcessError, match="run the same command to go on"):
        prepare(manifest, Source(tiny_musicgen), tmp_path, per_shard=3, jobs=2)
    assert "shard-00001.safetensors" not in tensors_of(tmp_path)
    assert prepare(manifest, Source(tiny_musicgen), tmp_path, per_shard=3, jobs=2) == shards[1]
    assert tensors_of(tmp_path) == tensors_of(shards[0]) and not list(tmp_path.glob(".*"))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_ray_does_the_shard_of_a_killed_worker_again(shards, manifest, tiny_musicgen, tmp_path, monkeypatch):
    pytest.importorskip("ray.exceptions", reason="RAY IS NOT INSTALLED, SO --ray IS NOT TESTED HERE: pip install ray")
    monkeypatch.setattr(audio, "make_shard", die_once)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__)), os.environ.get("PYTHONPATH", "")]))
    assert prepare(manifest, Source(tiny_musicgen), tmp_path, per_shard=3, jobs=2, ray_address="local") == shards[1]
    assert (tmp_path / "died").exists() and tensors_of(tmp_path) == tensors_of(shards[0])
    rows = [row["row"] for path in sorted(tmp_path.glob("shard-*")) for row in shard_notes(path)["rows"]]
    assert rows == [1, 3, 5, 6, 7]


def test_a_full_disk_is_a_sentence_and_leaves_no_half(manifest, tiny_musicgen, tmp_path, monkeypatch):
    real = os.fsync

    def full(handle):
        if b"shard" not in os.readlink(f"/proc/self/fd/{handle}").encode() and os.fstat(handle).st_size > 5000:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="The disk of .* is full; the shards before shard-00000.safetensors are whole. Make room"):
        prepare(manifest, Source(tiny_musicgen), tmp_path, per_shard=3)
    assert [path.name for path in tmp_path.iterdir()] == ["shards.json"]


def test_what_was_repaired_is_heard_on_request(manifest, tiny_musicgen, tmp_path):
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"path": "late.wav", "text": "soft"}) + "\n")
    prepare_again = lambda **options: prepare(tmp_path / "manifest.jsonl", Source(tiny_musicgen), tmp_path / "shards", **options)["kept"]
    assert prepare_again() == 0
    save(tmp_path / "late.wav", tune(1, 9))
    assert prepare_again() == 0 and prepare_again(retry_skipped=True) == 1


def test_a_folder_of_other_shards_is_refused(shards, manifest, tiny_musicgen):
    with pytest.raises(ValueError, match="shards of another per shard; choose another folder"):
        prepare(manifest, Source(tiny_musicgen), shards[0], per_shard=2)


@pytest.mark.parametrize("line, why", [
    ('{"text": "soft"}', "no path or no text"), ('{"path": "a.wav", "text": "", "valence": 5, "arousal": 5}', r"within \[-1, 1\]"),
    ('{"path": "a.wav", "text": "", "valence": 0.1}', "only one of"), ('{"path": "a.wav", "text": "", "split": "dev"}', "split is 'dev'"),
    ('{"path": "a.wav", "text": "", "valence": "x", "arousal": 0}', "give numbers"), ("path,text", "neither CSV"), ("", "has no rows")])
def test_a_bad_manifest_is_told_before_any_work(tmp_path, line, why):
    path = tmp_path / "manifest.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=why):
        read_manifest(path)
