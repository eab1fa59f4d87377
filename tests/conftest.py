"""What several tests share: a tiny model of each codec with random weights, laid out as a trained one."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # at these sizes a second thread waits more than it works

SHIPPED_TEXT = Path(__file__).parent.parent / "models" / "text"
WORDS = "[UNK] soft slow fast sad happy solo piano strings drums orchestra cinematic music".split()


def tiny_text_encoder(folder: Path) -> None:
    """A static text encoder of a dozen words, written as training/distill_text.py writes the real one."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir()
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    generator = torch.Generator().manual_seed(5)
    tensors = {"vectors": torch.randint(-127, 128, (len(WORDS), 16), generator=generator).to(torch.int8),
               "scale": torch.full((len(WORDS),), 1 / 64, dtype=torch.float16)}
    digest = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    save_file(tensors, folder / "text.safetensors", metadata={"tokenizer_sha256": digest})


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> Path:
    """A folder of models: `tiny` (score codec, width 64, one layer, random weights) and beside it the text encoder that it reads."""
    import torch

    from lara_core.checkpoint import save_model
    from lara_core.codec import score
    from lara_core.decoder import Decoder, DecoderConfig
    from lara_core.text import StaticTextEncoder

    folder = tmp_path_factory.mktemp("models")
    if SHIPPED_TEXT.is_dir():
        shutil.copytree(SHIPPED_TEXT, folder / "text")
    else:
        tiny_text_encoder(folder / "text")
    with torch.random.fork_rng():
        torch.manual_seed(11)
        config = DecoderConfig(score.K, score.V, 64, 1, 1, 128, StaticTextEncoder(folder / "text").width, tuple(range(score.K)))
        decoder = Decoder(config)
        with torch.no_grad():  # hold most of the time: random notes on every lane at every frame take long to play
            decoder.norm.bias[0] = 5.0
            decoder.heads.weight[torch.arange(score.K) * score.V + score.HOLD, 0] = 1.4
        save_model(folder / "tiny", decoder, {"name": "score"}, {"name": "static", "path": "../text"},
                   {"training": {"steps": 0}}, card="# Tiny\n\nRandom weights, figures: none.\n\n## Data\n\nnone\n")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_models) -> Path:
    return tiny_models / "tiny"


@pytest.fixture(scope="session")
def tiny_neural(tiny_models, tmp_path_factory) -> Path:
    """A model with an EnCodec (8 kHz mono, 50 frames a second, 4 codebooks of 32), random weights."""
    import torch
    transformers = pytest.importorskip("transformers")

    from lara_core.checkpoint import save_model
    from lara_core.decoder import Decoder, DecoderConfig
    from lara_core.text import StaticTextEncoder

    folder = tmp_path_factory.mktemp("neural") / "neural"
    with torch.random.fork_rng():
        torch.manual_seed(4)
        config = DecoderConfig(4, 32, 16, 1, 1, 32, StaticTextEncoder(tiny_models / "text").width, (0, 1, 2, 3))
        save_model(folder, Decoder(config), {"name": "encodec"}, {"name": "static", "path": str(tiny_models / "text")})
        encodec = transformers.EncodecConfig(sampling_rate=8000, upsampling_ratios=[8, 5, 4], num_filters=4, hidden_size=8, codebook_size=32,
                                             codebook_dim=8, target_bandwidths=[1.0], num_lstm_layers=1, use_causal_conv=False,
                                             norm_type="weight_norm")
        model = transformers.EncodecModel(encodec)
        with torch.no_grad():  # codebooks of what it hears in noise: random ones would give every sound the same codes
            heard = model.encoder(torch.randn(1, 1, 160 * 32) * torch.linspace(0, 1, 160 * 32))[0].T  # [32,D]
            for layer in model.quantizer.layers:
                layer.codebook.embed.copy_(heard)
                heard = (heard - heard.mean(0)).roll(1, 0) / 2
        model.save_pretrained(folder / "encodec")
    return folder


@pytest.fixture(scope="session")
def tiny_musicgen(tmp_path_factory) -> Path:
    """A stock MusicGen folder as transformers saves it: T5, EnCodec (8 kHz, 50 frames a second) and decoder, random weights."""
    import torch
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("musicgen") / "musicgen-tiny"
    with torch.random.fork_rng():
        torch.manual_seed(6)
        model = transformers.MusicgenForConditionalGeneration(transformers.MusicgenConfig(
            text_encoder=transformers.T5Config(vocab_size=len(WORDS), d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2),
            audio_encoder=transformers.EncodecConfig(
                sampling_rate=8000, upsampling_ratios=[8, 5, 4], num_filters=4, hidden_size=8, codebook_size=32, codebook_dim=8,
                target_bandwidths=[1.0], num_lstm_layers=1, use_causal_conv=False, norm_type="weight_norm"),
            decoder=transformers.MusicgenDecoderConfig(vocab_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64,
                                                       num_codebooks=4, pad_token_id=32, bos_token_id=32)))
        model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
