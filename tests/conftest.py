"""What several tests share: a tiny score model with random weights, laid out as a trained one."""

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
