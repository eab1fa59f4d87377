"""Takes sampled together, and words+takes: a stock model led along a curve by choice."""

import json

import numpy as np
import pytest
import torch

from lara_core import cli
from lara_core.affect import Curve, nearest_emotion
from lara_core.codec import Request
from lara_core.pipeline import Lara
from lara_core.predictor import Track
from lara_core.sampling import generate
from lara_core.take import unpack_codes
from lara_core.tries import WordsAndTakes

MOVING = Curve(((0, -0.8, -0.9), (1, 0.8, 0.9)), unit="normalized")


@pytest.fixture(scope="module")
def stock(tiny_neural) -> Lara:
    """The tiny neural model as a MusicGen checkpoint is: without an emotion encoder."""
    from dataclasses import replace

    from lara_core.checkpoint import build_decoder

    lara = Lara.load(tiny_neural, movable=True)
    weights = {name: x for name, x in lara.decoder.state_dict().items() if not name.startswith("av_encoder")}
    decoder = build_decoder(replace(lara.decoder.config, emotion=False), weights, packed=True)
    return Lara("stock", decoder, lara.codec, lara.text_encoder)


def codes_of(take) -> np.ndarray:
    return np.concatenate([segment.codes for segment in take], axis=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
@pytest.mark.parametrize("curve", [None, MOVING])
def test_takes_together_are_those_made_alone(tiny_neural, monkeypatch, dtype, curve):
    lara, rows = Lara.load(tiny_neural, dtype=dtype), []
    requests = [Request(3.0, seed=seed) for seed in (4, 5, 9)]
    alone = [lara.generate("solo piano", curve, request)[0].samples for request in requests]
    monkeypatch.setattr("lara_core.take.generate", lambda *args: rows.append(len(args[1].text)) or generate(*args))
    shares = []
    takes = lara.takes("solo piano", curve, requests, on_progress=shares.append)
    assert rows == [3] * len(rows) and len(rows) >= 2, "one pass for each segment of all takes"
    assert shares == sorted(shares) and shares[-1] > 0.9
    for take, samples in zip(takes, alone, strict=True):
        assert np.array_equal(np.concatenate([segment.samples for segment in take], axis=1), samples)
    assert [segment["seed"] for segment in takes[1].segments] == [s["seed"] for s in lara.generate("solo piano", curve, requests[1])[1].segments]


def test_takes_of_a_model_that_writes_bars_are_those_made_alone(tiny_model):
    lara = Lara.load(tiny_model)
    requests = [Request(5.0, seed=seed) for seed in (1, 2)]
    for take, request in zip(lara.takes("solo piano", MOVING, requests), requests):
        assert np.array_equal(codes_of(take), codes_of(lara.stream("solo piano", MOVING, request)))


def test_a_stock_model_says_what_it_can_do_with_an_emotion(stock, tiny_model):
    with pytest.raises(ValueError, match="no emotion encoder.*candidates"):
        stock.stream("solo piano", MOVING, Request(3.0))
    with pytest.raises(ValueError, match="candidates is 99; give 1 to 16"):
        stock.stream("solo piano", MOVING, Request(3.0), candidates=99)
    with pytest.raises(ValueError, match="no score_predictor.safetensors to choose candidates by; ask for 1"):
        Lara.load(tiny_model).stream("solo piano", MOVING, Request(3.0), candidates=2)
    assert stock.generate("solo piano", None, Request(1.0))[1].record()["control"] is None


class Judge:
    """Hears the arousal 1 in codes whose mean is high, and -1 in others."""

    def __init__(self):
        self.heard = []

    def track(self, audio) -> Track:
        value = float(np.sign(audio.samples.mean()))
        self.heard.append(value)
        times = np.arange(0, audio.seconds, 0.5)
        return Track(times, np.tile([0.0, value], (len(times), 1)), np.ones((len(times), 2)), np.ones(len(times)), np.array([0.0, value]))


def test_words_and_takes_choose_what_is_heard_nearest(stock, monkeypatch):
    monkeypatch.setattr(stock.codec, "decode", lambda codes: np.full((1, codes.shape[1] * 160), codes[:, -40:].mean() - 15.5, np.float32))
    judge, prompts = Judge(), []
    encode = stock.text_encoder.encode
    monkeypatch.setattr(stock.text_encoder, "encode", lambda texts: prompts.append(texts[0]) or encode(texts))
    monkeypatch.setattr("lara_core.pipeline._predictor", lambda: judge)
    take = stock.stream("solo piano", MOVING, Request(6.0, seed=3), candidates=6)
    codes = codes_of(take)
    assert len(judge.heard) == 6 * len(take.segments) and {-1.0, 1.0} <= set(judge.heard)
    for segment, told in zip(take.segments, prompts, strict=True):
        frames = unpack_codes(segment["codes"])
        assert segment["prompt"] == told and told.startswith("solo piano, ")
        assert len(segment["distances"]) == 6 and segment["candidate"] == int(np.argmin(segment["distances"]))
        assert frames.shape[0] == codes.shape[0]
    middle = MOVING.at(np.arange(50) / 50, 6.0).mean(0)
    assert prompts[0] == f"solo piano, {nearest_emotion(*map(float, middle))[0]}"
    assert prompts[0] != prompts[-1]
    record = json.loads(json.dumps(take.record(), allow_nan=False))
    assert record["control"]["kind"] == "words+takes" and "not LARA" in record["control"]["note"]
    again = stock.stream("solo piano", MOVING, Request(6.0, seed=3), candidates=6)
    assert np.array_equal(codes_of(again), codes)


def test_one_candidate_is_not_judged(stock):
    control = WordsAndTakes(1, predictor=None)
    take = stock.stream("solo piano", None, Request(1.0))
    assert take.control is None and control.record()["candidates"] == 1


def test_the_command_line_makes_takes_together(tiny_neural, tmp_path, capsys, monkeypatch):
    rows = []
    monkeypatch.setattr("lara_core.take.generate", lambda *args: rows.append(len(args[1].text)) or generate(*args))
    common = ["generate", "--model", str(tiny_neural), "--prompt", "solo piano", "--seconds", "2", "--seed", "4"]
    assert cli.main([*common, "--takes", "2", "--precision", "int8", "-o", str(tmp_path / "a.wav")]) == 0
    assert set(rows) == {2} and {path.name for path in tmp_path.glob("*.wav")} == {"a-1.wav", "a-2.wav"}
    assert cli.main([*common, "--candidates", "2", "--valence", "0.5", "-o", str(tmp_path / "b.wav")]) == 0
    record = json.loads((tmp_path / "b.json").read_text())
    assert record["control"]["kind"] == "words+takes" and len(record["segments"][0]["distances"]) == 2
    assert cli.main([*common, "--candidates", "2", "-o", str(tmp_path / "c.wav")]) == 2
    assert "--candidates needs an emotion" in capsys.readouterr().err
