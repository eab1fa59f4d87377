"""The EnCodec codec against transformers' EncodecModel with random weights, whole and in pieces."""

import functools
import json

import numpy as np
import pytest
import torch

from lara_core.audio import Audio
from lara_core.codec.encodec import ChunkedDecoder, EncodecCodec

transformers = pytest.importorskip("transformers")

BASE = dict(sampling_rate=8000, num_filters=4, hidden_size=12, codebook_size=16, upsampling_ratios=[5, 4],
            target_bandwidths=[8.0])  # 400 frames a second, 4 bits: 5 codebooks
KINDS = {
    "MusicGen's": dict(use_causal_conv=False, use_conv_shortcut=False),  # not causal, as in facebook/encodec_32khz
    "causal": dict(use_causal_conv=True),
    "causal, trimmed on both sides": dict(use_causal_conv=True, trim_right_ratio=0.5),
    "wide": dict(use_causal_conv=False, num_residual_layers=3, dilation_growth_rate=3, residual_kernel_size=5),
    "zero padding, odd ratios": dict(use_causal_conv=False, pad_mode="constant", upsampling_ratios=[3, 2, 5]),
    "stereo": dict(audio_channels=2),
}
TOLERANCE = 2e-6  # of the peak


@functools.cache
def make_model(kind="MusicGen's"):
    torch.manual_seed(0)
    model = transformers.EncodecModel(transformers.EncodecConfig(**(BASE | KINDS[kind]))).eval()
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    return model


def random_codes(model, frames, seed=1):
    return torch.randint(16, (model.config.num_quantizers, frames), generator=torch.Generator().manual_seed(seed))


def make_codec(model, **options):
    return EncodecCodec.from_weights(model.config.to_dict(), model.state_dict(), **options)


def whole(model, codes):
    """transformers' own decoding: codes [K,F] -> samples [C,T]."""
    with torch.no_grad():
        return model.decode(codes[None, None], [None])[0][0].numpy()


def assert_same_sound(samples, expected):
    assert samples.shape == expected.shape and samples.dtype == np.float32
    assert expected.size == 0 or expected.std() > 5e-3 * np.abs(expected).max()  # not a constant with some noise
    np.testing.assert_allclose(samples, expected, atol=TOLERANCE * np.abs(expected).max(initial=0), rtol=0)


def pushed(codec, codes, sizes):
    decoder, start, pieces = ChunkedDecoder(codec), 0, []
    for size in sizes:
        pieces.append(decoder.push(codes[:, start:start + size]))
        start += size
    assert start == codes.shape[1]
    return np.concatenate([*pieces, decoder.finish()], axis=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [[90], [1] * 90, [1, 0, 3, 40, 2, 7, 37], [88, 2], [30, 30, 30]])
def test_pieces_sound_like_the_whole(kind, sizes):
    model = make_model(kind)
    codes = random_codes(model, 90)
    assert_same_sound(pushed(make_codec(model), codes.numpy(), sizes), whole(model, codes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [0, 1, 2, 5, 13])
def test_short_pieces(kind, frames):
    model = make_model(kind)
    codes = random_codes(model, frames)
    codec = make_codec(model)
    samples = pushed(codec, codes.numpy(), [1] * frames)
    assert samples.shape == (codec.channels, frames * codec.hop_samples)
    if frames:
        assert_same_sound(samples, whole(model, codes))


@pytest.mark.parametrize("kind", ["MusicGen's", "causal"])
def test_the_margins_are_needed(kind):
    """With a smaller reach the pieces would differ: the test above can fail."""
    model = make_model(kind)
    codes = random_codes(model, 90)
    decoder = ChunkedDecoder(make_codec(model))
    decoder._upsample.left -= 1
    decoder._upsample.right = max(decoder._upsample.right - 1, 0)
    pieces = [decoder.push(codes.numpy()[:, i:i + 3]) for i in range(0, 90, 3)]
    samples = np.concatenate([*pieces, decoder.finish()], axis=1)
    expected = whole(model, codes)
    assert np.abs(samples - expected).max() > 100 * TOLERANCE * np.abs(expected).max()


def test_long_pieces_run_at_constant_memory_and_short_delay():
    model = make_model()
    codec = make_codec(model)
    decoder, held = ChunkedDecoder(codec), []
    for step in range(300):
        samples = decoder.push(random_codes(model, 7, seed=step).numpy())
        held.append(max(window.buffer.shape[2] for window in (decoder._into, decoder._upsample)))
        if step > 5:
            assert samples.shape == (1, 7 * codec.hop_samples)
    assert max(held) < 20 and decoder.lookahead_frames == 5  # 3 of the first convolution and 2 of the rest
    assert decoder.finish().shape == (1, 5 * codec.hop_samples)


def test_decode_is_the_whole():
    model = make_model()
    codes = random_codes(model, 1000)
    assert_same_sound(make_codec(model).decode(codes.numpy()), whole(model, codes))


def test_encode_is_transformers():
    model = make_model()
    codec = make_codec(model)
    samples = np.random.default_rng(0).standard_normal((1, 4005)).astype(np.float32) * 0.1
    with torch.no_grad():
        expected = model.encode(torch.from_numpy(samples)[None], bandwidth=8.0).audio_codes[0, 0].numpy()
    codes = codec.encode(Audio(samples, 8000))
    assert codes.shape == (codec.n_codebooks, 201) == (5, 201) and codes.dtype == np.int64  # 4005 / 20, rounded up
    assert np.array_equal(codes, expected)
    assert np.array_equal(codec.encode(Audio(samples.repeat(2, axis=0), 8000)), expected)  # stereo is mixed down
    assert codec.encode(Audio(samples, 16000)).shape == (5, 101)  # resampled
    assert np.array_equal(make_codec(model, n_codebooks=3).encode(Audio(samples, 8000)), expected[:3])


def test_stereo_alternates_left_and_right():
    model = make_model()
    codec = make_codec(model, channels=2)
    assert codec.n_codebooks == 10 and codec.channels == 2
    left, right = random_codes(model, 60, seed=1), random_codes(model, 60, seed=2)
    codes = torch.stack([left, right], dim=1).flatten(0, 1).numpy()
    assert np.array_equal(codes[::2], left) and np.array_equal(codes[1::2], right)
    expected = np.concatenate([whole(model, left), whole(model, right)])
    assert_same_sound(pushed(codec, codes, [20, 25, 15]), expected)

    samples = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32) * 0.1
    coded = codec.encode(Audio(samples, 8000))
    mono = make_codec(model)
    for side in range(2):
        assert np.array_equal(coded[side::2], mono.encode(Audio(samples[side:side + 1], 8000)))
    both = codec.encode(Audio(samples[:1], 8000))  # mono sound on both sides
    assert np.array_equal(both[::2], both[1::2])


def test_figures_of_musicgens_codec():
    config = transformers.EncodecConfig(sampling_rate=32000, upsampling_ratios=[8, 5, 4, 4], codebook_size=2048, num_filters=2,
                                        target_bandwidths=[2.2], use_causal_conv=False, use_conv_shortcut=False)
    codec = EncodecCodec(transformers.EncodecModel(config), channels=2)
    assert (codec.frame_rate_hz, codec.sample_rate_hz, codec.codebook_size, codec.n_codebooks) == (50, 32000, 2048, 8)
    assert ChunkedDecoder(codec).lookahead_frames == 4  # 80 ms


# ---- folders

def legacy(name: str) -> str:
    return name.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v")


def test_from_weights_in_both_spellings_and_inside_musicgen():
    model = make_model()
    config, state, codes = model.config.to_dict(), model.state_dict(), random_codes(model, 30)
    expected = whole(model, codes)
    before = torch.random.get_rng_state()
    for weights in (state, {legacy(name): x for name, x in state.items()},
                    {"audio_encoder." + name: x for name, x in state.items()} | {"decoder.other": torch.zeros(1)}):
        codec = EncodecCodec.from_weights(config, weights)
        assert_same_sound(codec.decode(codes.numpy()), expected)
    assert torch.equal(torch.random.get_rng_state(), before)  # no hidden randomness


def test_from_folders(tmp_path):
    model = make_model()
    codes = random_codes(model, 30)
    model.save_pretrained(tmp_path / "encodec")
    expected = whole(model, codes)
    assert_same_sound(EncodecCodec.from_folder(tmp_path / "encodec").decode(codes.numpy()), expected)

    (tmp_path / "config.json").write_text(json.dumps({"format": "lara", "codec": {"channels": 2}, "decoder": {"n_codebooks": 8}}))
    codec = EncodecCodec.from_folder(tmp_path)
    assert codec.channels == 2 and codec.n_codebooks == 8

    musicgen = transformers.MusicgenForConditionalGeneration(
        audio_encoder=model, text_encoder=transformers.T5EncoderModel(transformers.T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8,
                                                                                            num_layers=1, num_heads=2)),
        decoder=transformers.MusicgenForCausalLM(transformers.MusicgenDecoderConfig(
            vocab_size=16, pad_token_id=16, bos_token_id=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, ffn_dim=8,
            num_codebooks=5)))
    musicgen.save_pretrained(tmp_path / "musicgen")
    codec = EncodecCodec.from_folder(tmp_path / "musicgen")
    assert codec.channels == 1 and codec.n_codebooks == 5
    assert_same_sound(codec.decode(codes.numpy()), expected)


def test_refusals(tmp_path):
    model = make_model()
    config, state = model.config.to_dict(), model.state_dict()
    with pytest.raises(ValueError, match="48 kHz"):
        EncodecCodec(transformers.EncodecModel(transformers.EncodecConfig(**BASE, normalize=True)))
    with pytest.raises(ValueError, match="can't serve a model with 3"):
        EncodecCodec(make_model(), channels=3)
    with pytest.raises(ValueError, match="can't serve a model with 6 codebooks"):
        EncodecCodec(make_model(), n_codebooks=6)
    with pytest.raises(ValueError, match="can't serve a model with 5 codebooks"):
        EncodecCodec(make_model(), channels=2, n_codebooks=5)
    with pytest.raises(ValueError, match="audio encoder is 'dac'"):
        EncodecCodec.from_weights(config | {"model_type": "dac"}, state)
    with pytest.raises(ValueError, match="lack decoder.layers.0.conv.bias"):
        EncodecCodec.from_weights(config, {name: x for name, x in state.items() if name != "decoder.layers.0.conv.bias"})
    with pytest.raises(ValueError, match="too many: surplus"):
        EncodecCodec.from_weights(config, state | {"surplus": torch.zeros(1)})
    with pytest.raises(ValueError, match="decoder.layers.0.conv.bias has shape"):
        EncodecCodec.from_weights(config, state | {"decoder.layers.0.conv.bias": torch.zeros(3)})
    with pytest.raises(FileNotFoundError, match="no model folder"):
        EncodecCodec.from_folder(tmp_path / "nowhere")
    codec = make_codec(model)
    with pytest.raises(ValueError, match=r"shape \[4, 7\]; this codec needs \[5, frames\]"):
        codec.decode(np.zeros((4, 7), np.int64))
    with pytest.raises(ValueError, match="run from 0 to 16; this codec allows 0 to 15"):
        codec.decode(np.full((5, 7), 16) * (np.arange(7) > 3))
    with pytest.raises(ValueError, match="sound is empty"):
        codec.encode(Audio(np.zeros((1, 0), np.float32), 8000))
    decoder = ChunkedDecoder(codec)
    decoder.finish()
    with pytest.raises(ValueError, match="is finished"):
        decoder.push(np.zeros((5, 1), np.int64))
