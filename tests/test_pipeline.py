"""The pipeline: segments, seeds, keeping and making again, the emotion per frame, constant memory of the stream."""

import json

import numpy as np
import pytest
import torch

from lara_core.affect import Curve
from lara_core.audio import Audio
from lara_core.codec import Request
from lara_core.codec.score import LANE, is_silent
from lara_core.codec.score_codec import AHEAD_FRAMES
from lara_core.pipeline import Lara, find_model, fingerprint
from lara_core.sampling import Sampling, generate
from lara_core.take import BEGINNINGS, CLOSING_BARS, SegmentMemo, pack_codes, segment_seed, unpack_codes

MOVING = Curve(((0, -0.8, -0.9), (1, 0.8, 0.9)), unit="normalized")


@pytest.fixture(scope="module")
def lara(tiny_model):
    return Lara.load(tiny_model)


def codes_of(take) -> list[np.ndarray]:
    return [segment.codes for segment in take]


def test_segments_join_to_a_piece_of_exact_length(lara):
    take = lara.stream("solo piano", MOVING, Request(14.3, seed=2))
    segments = list(take)
    assert sum(segment.samples.shape[1] for segment in segments) == round(14.3 * 44100)
    assert [segment.index for segment in segments] == list(range(len(segments))) and len(segments) >= 2
    assert [segment.is_last for segment in segments] == [False] * (len(segments) - 1) + [True]
    for a, b in zip(segments, segments[1:]):
        assert b.start_seconds == pytest.approx(a.start_seconds + a.seconds)
    assert segments[0].codes.shape[1] == 16  # one bar: something is heard soon


@pytest.mark.parametrize("silent", [2, 99])
def test_a_piece_that_would_begin_with_silence_is_begun_otherwise(lara, monkeypatch, silent):
    seeds = []

    def muted(*args):
        codes = generate(*args)
        if args[2].shape[2] == 0:
            seeds.extend(args[5])
            codes[:, LANE["bass"]:] = 0 if len(seeds) <= silent else codes[:, LANE["bass"]:]
        return codes

    monkeypatch.setattr("lara_core.take.generate", muted)
    first = lara.stream("solo piano", MOVING, Request(6.0, seed=2)).write()[0].codes
    assert seeds == [segment_seed(2, 0) + n for n in range(min(silent, BEGINNINGS) + 1)] and is_silent(first) == (silent == 99), "not for ever"


def test_every_frame_has_the_emotion_of_its_own_moment(lara):
    for segment in lara.stream("solo piano", MOVING, Request(10.0, tempo=120, seed=1)):
        frames = segment.start_seconds + np.arange(segment.codes.shape[1]) * 0.125
        assert np.allclose(segment.emotion, MOVING.at(frames, 10.0), atol=1e-6)


def test_the_model_is_told_of_valence_before_its_time_and_of_arousal_at_it(lara):
    take, n = lara.stream("solo piano", MOVING, Request(30.0, tempo=120, seed=1)), AHEAD_FRAMES
    frames = np.arange(8 * 30 + n) * 0.125
    asked, at = MOVING.at(frames, 30.0), 0
    while (plan := take.plan()) is not None:
        ask = take.ask(plan)
        past, here = slice(at - ask.context.shape[1], at), slice(at, at + plan.frames)
        both = slice(past.start, here.stop)
        assert np.allclose(ask.wanted, asked[here], atol=1e-6), "what a try is judged by is not shifted"
        assert np.allclose(ask.told[:, 1], asked[both, 1], atol=1e-6)
        assert np.allclose(ask.told[:, 0], asked[both.start + n:both.stop + n, 0], atol=1e-6)
        at += plan.frames
        take.accept(plan, ask, *take.sample([ask])[0])
    assert at >= 8 * 25
    live = lara.live("solo piano", MOVING, Request(4.0), lambda: 120.0)
    ask = live.ask(live.plan())
    assert np.array_equal(ask.told, ask.wanted), "nobody knows what a DAW will say next"
    nothing = lara.stream("solo piano", None, Request(4.0, seed=1))
    assert np.isnan(nothing.ask(nothing.plan()).told).all()


def test_a_curve_in_beats_follows_the_tempo(lara):
    curve = Curve(((0, 0, -1), (20, 0, 1)), unit="beats")
    first = next(iter(lara.stream("solo piano", curve, Request(10.0, tempo=60, seed=1))))
    assert np.allclose(first.emotion[:, 1], -1 + 2 * np.arange(len(first.emotion)) / 4 / 20, atol=1e-6)


def test_the_same_seed_makes_the_same_samples_and_another_does_not(lara):
    make = lambda seed: lara.generate("solo piano", MOVING, Request(6.0, seed=seed))[0].samples
    assert np.array_equal(make(3), make(3))
    assert not np.array_equal(make(3), make(4))


def test_making_again_from_a_segment_keeps_those_before_bit_for_bit(lara):
    request = Request(20.0, tempo=110, seed=5)
    first = list(lara.stream("solo piano", MOVING, request))
    again = list(lara.stream("solo piano", MOVING, request, kept=[s.codes for s in first[:2]], seeds={2: 99}))
    for a, b in zip(first[:2], again[:2], strict=True):
        assert np.array_equal(a.samples, b.samples) and np.array_equal(a.codes, b.codes)
    assert not np.array_equal(first[2].codes, again[2].codes) and again[2].seed == 99
    same = list(lara.stream("solo piano", MOVING, request, kept=[s.codes for s in first[:2]]))
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first, same, strict=True))


def test_a_changed_end_of_the_curve_leaves_the_beginning_alone(lara):
    request = Request(20.0, tempo=110, seed=5)
    changed = Curve(((0, -0.8, -0.9), (0.7, 0.32, 0.36), (1, -1, -1)), unit="normalized")
    a, b = (codes_of(lara.stream("solo piano", curve, request)) for curve in (MOVING, changed))
    assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])


def test_what_was_sampled_before_is_not_sampled_again(lara, monkeypatch):
    sampled, memo = [], SegmentMemo(size=50)
    monkeypatch.setattr("lara_core.take.generate", lambda *args: sampled.append(args) or generate(*args))

    def codes_and_calls(curve=MOVING, prompt="solo piano", **changed) -> tuple[list, int]:
        before = len(sampled)
        codes = codes_of(lara.stream(prompt, curve, Request(**{"seconds": 20.0, "tempo": 110, "seed": 5} | changed), memo=memo))
        return codes, len(sampled) - before

    first, calls = codes_and_calls()
    assert calls == len(first) >= 3
    again, calls = codes_and_calls()
    assert calls == 0 and all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    end = Curve(((0, -0.8, -0.9), (0.7, 0.32, 0.36), (1, -1, -1)), unit="normalized")
    changed, calls = codes_and_calls(end)
    assert calls == len(first) - 2
    assert all(np.array_equal(a, b) for a, b in zip(changed, codes_of(lara.stream("solo piano", end, Request(20.0, 110, seed=5))), strict=True))
    for other in ({"seed": 6}, {"prompt": "strings"}, {"curve": None}):
        assert codes_and_calls(**other)[1] == len(first)
    assert len(memo.codes) <= 50
    small = SegmentMemo(size=2)
    list(lara.stream("solo piano", MOVING, Request(20.0, 110, seed=5), memo=small))
    assert len(small.codes) == 2


@pytest.mark.parametrize("seconds, tempo, metre", [(12.0, None, "3/4"), (12.0, 110, "3/4"), (12.0, ((0, 90), (8, 120)), "3/4"), (5.0, None, "4/4"),
                                                  (8.0, None, "4/4"), (10.0, None, "4/4"), (16.0, None, "4/4"), (24.0, None, "6/8")])
def test_a_continued_piece_begins_as_it_was_and_goes_on(lara, seconds, tempo, metre):
    take = lara.stream("solo piano", MOVING, Request(seconds, tempo, metre, seed=5), candidates=1)
    first, calm = list(take), Curve.constant(0.2, -0.9)
    request, curve, begin = take.continued(9.0, calm, seed=8)
    longer = lara.stream("solo piano", curve, request, begin=begin, candidates=1)
    segments, n_bars = list(longer), max(len(take.session.performer.bars) - CLOSING_BARS, 1)
    assert begin.shape[1] == take.session.performer.starts_frames[n_bars] > 0
    one, other = (np.concatenate([segment.samples for segment in part], axis=1) for part in (first, segments))
    assert other.shape[1] == round((seconds + 9.0) * 44100)
    same = [a.start_seconds for a, b in zip(first, segments) if a.start_seconds == b.start_seconds]  # a note over a joint is rendered by itself
    assert np.abs(one - other[:, :one.shape[1]])[:, :int(same[-1] * 44100)].max(initial=0) < 1e-3
    assert np.array_equal(np.concatenate([segment.codes for segment in segments], axis=1)[2:, :begin.shape[1]], begin[2:]), "all but the bars left and the tempo's code"
    assert longer.session.piece.tonic == take.session.piece.tonic
    bars, before = longer.session.performer.bars, take.session.performer.bars
    assert [bar.tempo_bpm for bar in bars[:n_bars]] == pytest.approx([bar.tempo_bpm for bar in before[:n_bars]], rel=1e-6)
    assert request.free_from_beat == (begin.shape[1] / 4 if tempo is None else np.inf), "the music goes on to choose its tempo"
    assert bars[-1].bars_left == 1 and longer.session.position_seconds < seconds + 9.0, "however the tempo changes, it closes"
    assert np.allclose(curve.at(np.array([seconds / 4, seconds - 1]), seconds + 9), MOVING.at(np.array([seconds / 4, seconds - 1]), seconds), atol=0.02)
    assert np.allclose(curve.at(np.array([seconds + 0.5, seconds + 9]), seconds + 9), [[0.2, -0.9]] * 2)
    again = lara.stream("solo piano", curve, request, begin=unpack_codes(longer.record()["begin"]), candidates=1)
    assert all(np.array_equal(a.codes, b.codes) for a, b in zip(segments, again.write(), strict=True)), "the record makes it again"


def test_another_text_brings_other_players_and_the_same_text_none(lara, monkeypatch):
    told = []
    monkeypatch.setattr(lara.codec, "mended", lambda context, codes, emotion, new_text=False: told.append(new_text) or codes)
    take = lara.stream("solo piano", MOVING, Request(20.0, 120, seed=5), candidates=1)
    for _ in range(2):
        take.next_segment()
    take.prompt = "string quartet"
    take.next_segment()
    assert told == [False, False, True]
    finished = lara.stream("solo piano", MOVING, Request(8.0, 120, seed=5), candidates=1)
    finished.write()
    request, curve, begin = finished.continued(8.0, None, 3)
    told.clear()
    lara.stream("string quartet", curve, request, begin=begin, candidates=1).write()
    assert told and all(told), "what was before may have been made for another text"


def test_a_missing_emotion_holds_when_a_piece_goes_on(lara):
    moving, free = (lara.stream("solo piano", curve, Request(6.0, seed=5)) for curve in (MOVING, None))
    list(moving), list(free)
    assert moving.continued(5.0, None, 1)[1].points[-1][1:] == pytest.approx((0.8, 0.9))
    assert free.continued(5.0, Curve.constant(-0.5, 0.5), 1)[1].points[0] == (0, -0.5, 0.5)
    assert free.continued(5.0, None, 1)[1] is None


def test_a_model_whose_codec_reads_sound_goes_on_from_any(tiny_neural):
    lara = Lara.load(tiny_neural)
    t = np.arange(44100 * 13 // 2) / 44100
    sound = Audio(np.stack([np.sin(2 * np.pi * f * t) * (t % 0.5) for f in (220, 330)]).astype(np.float32), 44100)
    request, curve, begin = lara.after(sound, Curve(((0, 0.5, 0.5), (1, 1, 1)), "normalized"), Request(2.5, seed=3))
    assert request.seconds == 9.0 and begin.shape == (4, 325) and len(np.unique(begin)) > 10
    assert np.allclose(curve.at(np.array([1.0, 6.5, 9.0]), 9.0), [[0.5, 0.5], [0.5, 0.5], [1, 1]], atol=0.01)
    for seed in (3, 4):
        audio, take = lara.generate("solo piano", curve, Request(9.0, seed=seed), begin=begin)
        codes = np.concatenate([unpack_codes(segment["codes"]) for segment in take.segments], axis=1)
        assert np.array_equal(codes[:, :325], begin) and audio.samples.shape == (1, 72000)
        assert len(take.segments) == 3 and len(np.unique(codes[:, 325:])) > 5
    from_sound = lara.codec.decode(begin)[:, :6 * 8000]
    assert np.abs(audio.samples[:, :6 * 8000] - from_sound).max() < 1e-5 * np.abs(from_sound).max()


def test_a_model_that_writes_notes_says_that_it_cannot_read_sound(lara):
    with pytest.raises(ValueError, match="This model writes notes and cannot go on from a recording"):
        lara.after(Audio(np.ones((2, 44100), np.float32), 44100), None, Request(2.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("which", ["tiny_model", "tiny_neural"])
def test_half_precision_is_that_of_the_decoder_alone(which, dtype, request):
    folder = request.getfixturevalue(which)
    half, full = Lara.load(folder, dtype=dtype), Lara.load(folder)
    assert {weight.dtype for weight in half.decoder.parameters()} == {dtype}
    (audio, _), (other, _) = (one.generate("solo piano", MOVING, Request(3.0, 110, seed=2), Sampling(top_k=1)) for one in (half, full))
    assert audio.samples.dtype == np.float32 and audio.samples.shape == other.samples.shape and np.isfinite(audio.samples).all()


def test_requested_tempo_metre_and_key_are_in_the_codes(lara):
    take = lara.stream("solo piano", None, Request(9.0, tempo=120, metre="3/4", tonic=9, seed=0))
    list(take)
    piece = take.session.piece
    assert {bar.tempo_bpm for bar in piece.bars} == {120.0} and {bar.metre for bar in piece.bars} == {"3/4"} and piece.tonic == 9
    assert len(piece.bars) == 6


def test_the_record_is_json_and_its_codes_come_back(lara):
    take = lara.stream("solo piano", MOVING, Request(5.0, seed=1))
    codes = codes_of(take)
    record = json.loads(json.dumps(take.record(), allow_nan=False))
    assert record["prompt"] == "solo piano" and Curve.from_json(record["curve"]) == MOVING
    assert all(np.array_equal(unpack_codes(s["codes"]), c) for s, c in zip(record["segments"], codes, strict=True))
    assert record["soundfont"]["digest"] == lara.codec.soundfont.digest and record["model"]["digest"] == lara.digest


def test_progress_rises_to_the_end_and_may_cancel(lara):
    seen = []
    lara.generate("solo piano", None, Request(6.0, seed=1), on_progress=seen.append)
    assert seen == sorted(seen) and 0.7 < seen[-1] <= 1

    class Cancelled(Exception):
        pass

    def cancel(share):
        if share > 0.2:
            raise Cancelled

    with pytest.raises(Cancelled):
        lara.generate("solo piano", None, Request(6.0, seed=1), on_progress=cancel)


def test_how_tokens_are_drawn_can_be_chosen(lara):
    make = lambda **s: np.concatenate(codes_of(lara.stream("solo piano", MOVING, Request(6.0, tempo=100, seed=1), Sampling(**s))), axis=1)
    plain, bold = make(temperature=1.0), make(temperature=3.0)
    assert not np.array_equal(plain, bold)
    grid = LANE["grid"]
    assert np.array_equal(plain[grid], bold[grid])  # the form is given


@pytest.mark.parametrize("packed", [{}, {"shape": [2, 2], "zlib_u16": "AAAA"}, {"shape": [13, 10**9], "zlib_u16": ""}, None, {"shape": [1, 2, 3], "zlib_u16": "eJw="}])
def test_broken_codes_are_refused(packed):
    with pytest.raises(ValueError, match="cannot be read"):
        unpack_codes(packed)


def test_packed_codes_are_exact():
    codes = np.random.default_rng(0).integers(0, 2048, (4, 50))
    assert np.array_equal(unpack_codes(pack_codes(codes)), codes)


def test_segment_seeds_differ_by_seed_and_index():
    assert len({segment_seed(seed, index) for seed in range(20) for index in range(20)}) == 400


def test_models_are_found_by_name_or_path_and_told_apart(tiny_models, tiny_model, tmp_path):
    assert find_model("tiny", [tiny_models]) == tiny_model == find_model(tiny_model)
    with pytest.raises(FileNotFoundError, match="tiny"):
        find_model("nothing", [tiny_models])
    (tmp_path / "model.safetensors").write_bytes((tiny_model / "model.safetensors").read_bytes())
    same = fingerprint(tmp_path)
    assert same == fingerprint(tiny_model)
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    assert fingerprint(tmp_path) != same
