"""training/preferences.py: tries that were judged, and a model that learns which to prefer."""

import json

import numpy as np
import pytest
import torch

from lara_core.checkpoint import load_model
from lara_core.codec import score as s
from lara_core.codec.score_codec import ScoreCodec
from lara_core.conditioning import Conditioning
from lara_core.sampling import FREE, Sampling, generate
from lara_core.text import StaticTextEncoder
from training import preferences, train
from training.corpus import build
from training.windows import write_arrays


@pytest.fixture(scope="module")
def segments() -> list[preferences.Judged]:
    return preferences.judged(("models/embedded", 3, 5, False, None))[1]


@pytest.fixture(scope="module")
def judged_file(segments, tmp_path_factory):
    path = tmp_path_factory.mktemp("judged") / "judged.npz"
    write_arrays(path, preferences.packed(segments))
    return path


def test_the_nearest_try_goes_on(segments):
    assert len(segments) >= 3 and not segments[0].ask.context.shape[1]
    for before, after in zip(segments, segments[1:]):
        played = np.concatenate([before.ask.context, before.tries[before.distances.argmin()]], axis=1)
        past = after.ask.context
        assert np.array_equal(past, played[:, -past.shape[1]:])
    longest = max(segments, key=lambda segment: segment.tries.shape[2])
    assert len({row.tobytes() for row in longest.tries}) == 3, "tries of the same seed"
    first = segments[0].tries
    assert (first[:, s.LANE["orchestra"]] == first[0, s.LANE["orchestra"]]).all(), "of a first segment all are for the same players"


def test_what_is_unlike_people_lies_farther(segments):
    class Nobody:
        def unlike(self, codes):
            return float(codes.sum() % 5) / 4

    for with_people, alone in zip(preferences.judged(("models/embedded", 3, 5, False, Nobody()))[1][:1], segments):
        unlike = [Nobody().unlike(row) for row in alone.tries]
        np.testing.assert_allclose(with_people.distances - alone.distances, preferences.UNLIKE * np.array(unlike), atol=1e-9)


def test_scores_by_people_that_are_none_are_one_sentence(judged_file, monkeypatch, capsys):
    for path in ("nowhere.npz", str(judged_file)):
        monkeypatch.setattr("sys.argv", ["preferences", "models/embedded", "-o", "never.npz", "--human", path])
        with pytest.raises(SystemExit):
            preferences.main()
        assert "give files made by training.scores or training.pop909." in capsys.readouterr().err


def test_a_file_gives_back_what_was_judged(segments, judged_file):
    for before, after in zip(segments, preferences.unpacked(judged_file), strict=True):
        assert after.ask.prompt == before.ask.prompt
        for a, b in ((after.ask.context, before.ask.context), (after.ask.forced, before.ask.forced), (after.tries, before.tries)):
            assert np.array_equal(a, b)
        np.testing.assert_allclose(after.ask.told, before.ask.told, atol=1e-3)
        np.testing.assert_allclose(after.distances, before.distances, rtol=1e-6)


def test_what_is_heard_outweighs_what_is_read(segments, monkeypatch):
    lara, segment = preferences.player("models/embedded"), segments[1]
    segment = segment._replace(tries=np.concatenate([segment.tries] * 2), distances=np.array([0.3, 0.6, 0.2, 0.5, 0.4, 0.1]))
    wanted = segment.ask.wanted.reshape(-1, 4, 2).mean(1)
    low, high = lara.score_predictor.ends
    heard = {}

    def exactly_what_was_asked(codes, sound):
        assert sound.samples.shape[1] / sound.sample_rate_hz > codes.shape[1] / 8 * 0.5
        heard[codes.shape[1]] = True
        before = np.zeros((codes.shape[1] // 4 - len(wanted), 2))
        return np.concatenate([before, (low + high) / 2 + wanted * (high - low) / 2])

    monkeypatch.setattr(preferences, "heard_in_sound", exactly_what_was_asked)
    read = segment.distances - [0.05, 0, 0, 0, 0, 0.05]
    own = preferences.by_ear(segment, read, lara)
    np.testing.assert_allclose(own.distances, 0.25 * np.array([0.05, 0.2, 0.5, 0.6]) + [0.05, 0, 0, 0], atol=1e-6)
    assert np.array_equal(own.tries, segment.tries[[5, 2, 3, 1]])
    assert max(heard) <= segment.ask.forced.shape[1] + 64, "a try is heard after a few bars, not after all"
    monkeypatch.setattr(preferences, "heard_in_sound", lambda codes, sound: np.full((codes.shape[1] // 4, 2), np.nan))
    np.testing.assert_allclose(preferences.by_ear(segment, read, lara).distances, [0.1, 0.2, 0.5, 0.6])


def test_the_better_of_a_pair_comes_first(segments, judged_file, tmp_path):
    pairs = preferences.Pairs([judged_file], StaticTextEncoder("models/text"))
    assert pairs.pairs
    for number, better, worse in pairs.pairs:
        assert segments[number].distances[worse] - segments[number].distances[better] >= preferences.LEAST_GAP - 1e-6
    alike = [segment._replace(distances=np.full(3, 0.5)) for segment in segments]
    write_arrays(tmp_path / "alike.npz", preferences.packed(alike))
    write_arrays(tmp_path / "other.npz", {"codes": np.zeros(3)})
    with pytest.raises(ValueError, match="holds no judged tries"):
        preferences.unpacked(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="No two tries .* lie 0.15 from one another; judge more"):
        preferences.Pairs([tmp_path / "alike.npz"], StaticTextEncoder("models/text"))


def test_likelihoods_are_those_of_what_is_sampled(segments):
    """Of one token that is left free, drawn many times."""
    decoder, draws, lane = load_model("models/embedded")[0].float(), 600, s.LANE["harmony"]
    ask, codes = segments[1].ask, segments[1].tries[0]
    context, forced = torch.from_numpy(ask.context), torch.from_numpy(codes.copy())
    forced[lane, 0] = FREE
    text, mask = StaticTextEncoder("models/text").encode([ask.prompt] * draws)
    emotion = torch.from_numpy(ask.told).float().expand(draws, -1, -1)
    cond = Conditioning(text, mask, emotion, torch.ones(emotion.shape[:2], dtype=torch.bool))
    drawn = generate(decoder, cond, context.expand(draws, -1, -1), forced, Sampling(top_p=1.0), 7, emotion_shares=ScoreCodec.emotion_shares)
    counts = torch.bincount(drawn[:, lane, 0], minlength=s.V) / draws
    whole = torch.cat([context, forced], dim=1).expand(s.V, -1, -1).clone()
    whole[:, lane, ask.context.shape[1]] = torch.arange(s.V)
    free = torch.zeros_like(whole, dtype=torch.bool)
    free[:, lane, ask.context.shape[1]] = True
    with torch.no_grad():
        likely = preferences.likelihoods(decoder, whole, free, Conditioning(text[:s.V], mask[:s.V], emotion[:s.V], cond.emotion_mask[:s.V]), 1.0).exp()
    assert likely.sum() == pytest.approx(1.0, abs=1e-4)
    assert 0.5 * (likely - counts).abs().sum() < 0.12, "the distance of 600 draws from where they come from"


def test_a_model_comes_to_prefer_the_better_tries(judged_file, tmp_path):
    corpus_file = tmp_path / "corpus.npz"
    write_arrays(corpus_file, build(4, [], 1, 3))
    parser = train.argparse.ArgumentParser()
    train.add_arguments(parser)
    options = ["--corpus", str(corpus_file), "--judged", str(judged_file), "--width", "192", "--batch", "2", "--window", "48", "--pairs", "2", "--lr", "0.0005",
               "--steps", "16", "--warmup", "2", "--log-steps", "4", "--lara", "0", "--cpu", "-o", str(tmp_path / "model")]
    with pytest.raises(ValueError, match="give its folder with --init"):
        train.train(parser.parse_args(options))
    train.train(parser.parse_args([*options, "--init", "models/embedded", "--temperature", "0.9"]))
    log = [json.loads(line) for line in (tmp_path / "model.log.jsonl").read_text().splitlines()]
    assert log[-1]["preferred"] > 0.8 > log[0]["preferred"]
    assert load_model(tmp_path / "model")[1].extra["training"]["judged"] is True
