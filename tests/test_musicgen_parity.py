"""An imported MusicGen against transformers' own, with random weights: the same logits, the same delay pattern."""

import json

import pytest
import torch

from lara_core.checkpoint import build_decoder, import_musicgen, list_models, load_model
from lara_core.conditioning import Conditioning
from lara_core.decoder import DecoderConfig, delay, shifted
from lara_core.sampling import Sampling, Stepper, generate
from musicgen import TINY, make_musicgen

transformers = pytest.importorskip("transformers")

L = 6
KINDS = {
    "mono": TINY,
    "stereo": TINY | dict(num_codebooks=8, audio_channels=2),
    "no projection": TINY | dict(hidden_size=24),
    "one layer of small": dict(vocab_size=2048, hidden_size=1024, num_hidden_layers=1, num_attention_heads=16, ffn_dim=4096),
}


@pytest.fixture(scope="module", params=KINDS)
def pair(request):
    model = make_musicgen(KINDS[request.param])
    return model, build_decoder(*import_musicgen((model.config.to_dict(), model.state_dict())))


def make_cond(model, frames: int) -> Conditioning:
    """Row 0: a whole text, row 1: padded, row 2: the null branch."""
    ids = torch.randint(1, 64, (3, L), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(L)[None] < torch.tensor([[L], [2], [0]])
    with torch.no_grad():
        text = model.text_encoder(input_ids=ids, attention_mask=mask.long().clamp_min((~mask.any(1, keepdim=True)).long()))[0]
    return Conditioning(text, mask, torch.zeros(3, frames, 2), torch.zeros(3, frames, dtype=torch.bool))


def columns_of(config: DecoderConfig, frames: int):
    codes = torch.randint(config.codebook_size, (3, config.n_codebooks, frames), generator=torch.Generator().manual_seed(2))
    return shifted(delay(codes, config.delays, config.codebook_size), config.codebook_size)


def test_logits_agree(pair):
    model, decoder = pair
    columns = columns_of(decoder.config, 10)
    cond = make_cond(model, 10)
    with torch.no_grad():
        theirs = model(encoder_outputs=(cond.text,), attention_mask=cond.text_mask.long(),
                       decoder_input_ids=columns.flatten(0, 1)).logits
        ours = decoder.logits(decoder.hidden(columns, decoder.memory(cond)))
        stepper = Stepper(decoder, cond, columns.shape[2])
        cached = [stepper.prefill(columns[:, :, :3])] + [stepper.step(columns[:, :, s]) for s in range(3, columns.shape[2])]
    theirs = theirs.view(ours.shape)
    assert theirs.std() > 0.05
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.stack(cached, dim=2), theirs[:, :, 2:], atol=1e-4, rtol=1e-4)


def test_delay_pattern_agrees(pair):
    model, decoder = pair
    config, frames = decoder.config, 9
    codes = torch.randint(config.codebook_size, (2, config.n_codebooks, frames), generator=torch.Generator().manual_seed(2))
    steps = frames + max(config.delays)
    started = torch.nn.functional.pad(codes, (1, 0), value=config.codebook_size).flatten(0, 1)  # as their generate does
    _, theirs = model.decoder.build_delay_pattern_mask(started, config.codebook_size, max_length=steps + 1)
    ours = torch.nn.functional.pad(delay(codes, config.delays, config.codebook_size), (1, 0), value=config.codebook_size)
    assert torch.equal(theirs.view(ours.shape), ours)  # their column 0 is the padding that `shifted` puts in front
    assert max(config.delays) == 3


def test_greedy_generation_agrees(pair):
    """The same tokens as a loop over transformers' model with its own delay pattern, guidance included."""
    model, decoder = pair
    cond, frames = make_cond(model, 8), 8
    cond = Conditioning(*(x[:2] for x in (cond.text, cond.text_mask, cond.emotion, cond.emotion_mask)))
    pad = decoder.config.codebook_size
    decoder_input_ids = torch.full((2 * decoder.config.n_codebooks, 1), pad)
    text = torch.cat([cond.text, torch.zeros_like(cond.text)])  # transformers' guidance: with text, then zeros
    mask = torch.cat([cond.text_mask, torch.zeros_like(cond.text_mask)]).long()
    _, pattern = model.decoder.build_delay_pattern_mask(decoder_input_ids, pad, max_length=frames + max(decoder.config.delays) + 1)
    tokens = decoder_input_ids
    with torch.no_grad():
        for _ in range(pattern.shape[1] - 1):
            tokens = model.decoder.apply_delay_pattern_mask(tokens, pattern)
            logits = model(encoder_outputs=(text,), attention_mask=mask, decoder_input_ids=tokens.repeat(2, 1)).logits[:, -1]
            with_text, without = logits.chunk(2)
            tokens = torch.cat([tokens, (without + 3 * (with_text - without)).argmax(-1, keepdim=True)], dim=1)
    tokens = model.decoder.apply_delay_pattern_mask(tokens, pattern)
    theirs = tokens[tokens != pad].view(2, -1, frames)
    ours = generate(decoder, cond, torch.zeros(2, decoder.config.n_codebooks, 0, dtype=torch.long),
                    torch.full((decoder.config.n_codebooks, frames), -1), Sampling(top_k=1, text_strength=3), 0)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shard_size", ["1GB", "50KB"])
def test_import_from_a_folder(tmp_path, shard_size):
    model = make_musicgen(KINDS["stereo"])
    model.save_pretrained(tmp_path / "tiny", max_shard_size=shard_size)
    assert (tmp_path / "tiny" / "model.safetensors.index.json").exists() == (shard_size == "50KB")
    config, state = import_musicgen(tmp_path / "tiny")
    expected_config, expected = import_musicgen((model.config.to_dict(), model.state_dict()))
    assert config == expected_config and config.delays == (0, 0, 1, 1, 2, 2, 3, 3) and not config.emotion
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)
    assert list_models([tmp_path]) == {"tiny": tmp_path / "tiny"}
    decoder, model_config = load_model(tmp_path / "tiny", dtype=torch.float64)
    assert model_config.codec == {"name": "encodec", "channels": 2} and model_config.decoder == config
    assert torch.equal(decoder.heads.weight, expected["heads.weight"].double())


def test_import_refuses(tmp_path):
    model = make_musicgen()
    config, state = model.config.to_dict(), model.state_dict()
    lacking = {name: x for name, x in state.items() if not name.endswith("lm_heads.3.weight")}
    with pytest.raises(ValueError, match="lacks decoder.lm_heads.3.weight"):
        import_musicgen((config, lacking))
    with pytest.raises(ValueError, match="lacks enc_to_dec_proj.bias"):
        import_musicgen((config, {name: x for name, x in state.items() if not name.startswith("enc_to")}))
    with pytest.raises(ValueError, match="has decoder.surplus"):
        import_musicgen((config, state | {"decoder.surplus": torch.zeros(1)}))
    with pytest.raises(ValueError, match="'musicgen_melody'"):
        import_musicgen((config | {"model_type": "musicgen_melody"}, state))
    with pytest.raises(ValueError, match="activation is 'relu'"):
        import_musicgen((config | {"decoder": config["decoder"] | {"activation_function": "relu"}}, state))
    with pytest.raises(ValueError, match="config.json asks for"):
        build_decoder(*import_musicgen((config | {"decoder": config["decoder"] | {"ffn_dim": 65}}, state)))
    with pytest.raises(FileNotFoundError, match="no model folder"):
        import_musicgen(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "musicgen", "decoder": {}}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="a pickle"):
        import_musicgen(tmp_path)
