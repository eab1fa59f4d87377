"""Text prompts in, features [B, L, width] and a mask [B, L] out, for the decoder's cross-attention.

Two frozen encoders share one interface: `StaticTextEncoder` looks up the small table of word vectors that ships with the
embedded model (models/text), `T5TextEncoder` is the transformer of the MusicGen checkpoints. An empty prompt has a mask
of False throughout: it is the "no text" of classifier-free guidance.
"""

import hashlib
import json
import logging
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch

from .weights import read_tensors

MAX_PROMPT_CHARACTERS = 1000
STATIC_FILES = ("text.safetensors", "tokenizer.json")

log = logging.getLogger(__name__)


class TextEncoder(Protocol):
    """What a decoder needs of a text encoder.

    width: size of a feature vector. max_tokens: word pieces of a prompt that get a vector of their own.
    """

    width: int
    max_tokens: int

    def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """B prompts -> features [B, L, width] float32 (zero where masked) and mask [B, L] bool, L the longest, at least 1.

        Raises ValueError for what `check_prompt` refuses.
        """
        ...


def check_prompt(text: str) -> str:
    """The prompt with runs of white space (tabs and line ends too) made one space and the ends trimmed; may be "".

    Raises ValueError if it is not a string, is longer than 1000 characters or holds control characters.
    """
    if not isinstance(text, str):
        raise ValueError(f"A text prompt must be a string, but got {type(text).__name__}; use \"\" for no text.")
    text = " ".join(text.split())
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise ValueError(f"The text prompt has {len(text)} characters, but at most {MAX_PROMPT_CHARACTERS} are allowed; "
                         "shorten it.")
    for place, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise ValueError(f"The text prompt holds the control character U+{ord(character):04X} at position {place}, "
                             "but only printable text is allowed; remove it.")
    return text


def _check_prompts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not texts:
        raise ValueError(f"encode takes a list of one or more prompts, but got {texts!r:.60}; write [prompt].")
    return [check_prompt(text) for text in texts]


def _pad(rows: list[torch.Tensor], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """B tensors [L_b, width], some with L_b = 0 -> features [B, L, width] and mask [B, L]."""
    length = max(1, *(len(row) for row in rows))
    features = torch.zeros(len(rows), length, width)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for place, row in enumerate(rows):
        features[place, :len(row)] = row
        mask[place, :len(row)] = True
    return features, mask


def _existing(path: Path, advice: str) -> Path:
    if not path.is_file():
        raise ValueError(f"The text encoder needs the file {path}, which is missing; {advice}.")
    return path


def _read_tensors(path: Path, advice: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and the metadata of a safetensors file; nothing else (no pickle) is ever read."""
    from safetensors import SafetensorError, safe_open

    _existing(path, advice)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}); {advice}.") from error


def _read_json(path: Path, advice: str) -> dict:
    data = _existing(path, advice).read_bytes()
    try:
        content = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{path} is not complete JSON ({error}); {advice}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, but a JSON object is needed; {advice}.")
    return content


def _read_tokenizer(path: Path, advice: str):
    """A tokenizers.Tokenizer without padding and truncation; ValueError if it is missing or damaged."""
    from tokenizers import Tokenizer

    content = _read_json(path, advice)
    if not isinstance(content.get("model"), dict) or "vocab" not in content["model"]:
        raise ValueError(f"{path} holds no tokenizer model with a vocabulary; {advice}.")
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class StaticTextEncoder:
    """Word vectors distilled from a sentence model (training/distill_text.py; the idea is Minish Lab's Model2Vec).

    The first vector of a prompt is its sentence vector: the mean over all its word pieces (common words are short
    vectors, so the mean is a weighted one), scaled to unit variance. Then come the vectors of its first `max_tokens`
    pieces, whose variance is one on average. So L = 1 + pieces, at most 1 + max_tokens.
    """

    def __init__(self, folder: str | Path, max_tokens: int = 32):
        """Raises ValueError if a file of `folder` is missing, damaged or does not fit the other one."""
        if max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}, but must be at least 1.")
        weights_path, tokenizer_path = (Path(folder) / name for name in STATIC_FILES)
        advice = "get the folder again from where the model came"
        tensors, metadata = _read_tensors(weights_path, advice)
        self._tokenizer = _read_tokenizer(tokenizer_path, advice)
        rows = self._tokenizer.get_vocab_size()
        if set(tensors) != {"vectors", "scale"}:
            raise ValueError(f"{weights_path} holds {sorted(tensors)}, but 'scale' and 'vectors' are needed; {advice}.")
        self._vectors, self._scale = tensors["vectors"], tensors["scale"]  # [V,D] int8, [V] float16
        if self._vectors.dtype != torch.int8 or self._vectors.ndim != 2 or len(self._vectors) != rows:
            raise ValueError(f"'vectors' of {weights_path} is {self._vectors.dtype} {list(self._vectors.shape)}, but int8 "
                             f"[{rows}, width] is needed; {advice}.")
        if self._scale.dtype != torch.float16 or self._scale.shape != (rows,) or not self._scale.isfinite().all():
            raise ValueError(f"'scale' of {weights_path} is {self._scale.dtype} {list(self._scale.shape)}, but finite "
                             f"float16 [{rows}] is needed; {advice}.")
        digest = hashlib.sha256(tokenizer_path.read_bytes()).hexdigest()
        if metadata.get("tokenizer_sha256") != digest:
            raise ValueError(f"{weights_path} and {tokenizer_path} are not of one distillation; {advice}.")
        self.width = self._vectors.shape[1]
        self.max_tokens = max_tokens
        self._unknown = self._tokenizer.token_to_id("[UNK]")

    def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """See TextEncoder.encode; also raises ValueError for a prompt that has no piece in the vocabulary."""
        rows = []
        for text in _check_prompts(texts):
            ids = [i for i in self._tokenizer.encode(text, add_special_tokens=False).ids if i != self._unknown]
            if text and not ids:
                raise ValueError(f"The text prompt {text!r:.60} holds no word that this text encoder knows; describe the "
                                 "music in English.")
            vectors = self._vectors[ids].float() * self._scale[ids].float()[:, None]  # [L,D]
            mean = vectors.sum(0, keepdim=True)
            sentence = mean / mean.square().mean().sqrt().clamp_min(1e-6)
            rows.append(torch.cat([sentence, vectors[:self.max_tokens]])[:1 + len(ids) if ids else 0])
        return _pad(rows, self.width)


class T5TextEncoder:
    """The frozen T5 encoder of a MusicGen checkpoint: its last hidden states, float32, on the CPU."""

    PREFIX = "text_encoder."  # where a MusicGen checkpoint keeps its T5

    def __init__(self, config: Mapping, state: Mapping[str, torch.Tensor], tokenizer_folder: str | Path,
                 max_tokens: int = 256):
        """config: a T5 config, or a MusicGen config that holds one under "text_encoder". state: T5 weights by name, or a
        MusicGen state whose names start with "text_encoder." (the rest is ignored). tokenizer_folder: has tokenizer.json.

        Raises ValueError if the tokenizer is missing, the config is not T5's or weights are missing, unknown or misshapen.
        """
        self._tokenizer = _read_tokenizer(Path(tokenizer_folder) / "tokenizer.json",
                                          "copy tokenizer.json from the repository of the MusicGen checkpoint")
        self._tokenizer.enable_truncation(max_tokens)
        config = config.get("text_encoder", config)
        if config.get("model_type") != "t5":
            raise ValueError(f"The text encoder's config has model_type {config.get('model_type')!r}, but 't5' is needed.")
        from transformers import T5Config, T5EncoderModel  # takes seconds, and the embedded model needs none of it

        with torch.device("meta"):
            self._model = T5EncoderModel(T5Config.from_dict(dict(config)))
        if any(name.startswith(self.PREFIX) for name in state):
            state = {name.removeprefix(self.PREFIX): value for name, value in state.items() if name.startswith(self.PREFIX)}
        state = {name: value.float() for name, value in state.items()}
        tied = ("shared.weight", "encoder.embed_tokens.weight")  # one tensor under two names, often saved once
        state |= {name: state[other] for name, other in (tied, tied[::-1]) if name not in state and other in state}
        shapes = {name: value.shape for name, value in self._model.state_dict().items()}
        wrong = sorted(name for name in shapes.keys() | state.keys()
                       if name not in state or state[name].shape != shapes.get(name))
        if wrong:
            raise ValueError(f"{len(wrong)} T5 weights are missing, unknown or misshapen, the first is '{wrong[0]}'; take "
                             "config and weights from the same checkpoint.")
        self._model.load_state_dict(state, assign=True)
        self._model.requires_grad_(False).eval()
        self.width = self._model.config.d_model
        self.max_tokens = max_tokens

    @classmethod
    def from_folder(cls, folder: str | Path, max_tokens: int = 256) -> "T5TextEncoder":
        """From config.json, model.safetensors (or its parts) and tokenizer.json of a T5 or MusicGen folder."""
        advice = "a folder as transformers saves it is needed"
        config = _read_json(Path(folder) / "config.json", advice)
        prefix = cls.PREFIX if "text_encoder" in config else ""
        return cls(config, read_tensors(Path(folder), (prefix,)), folder, max_tokens)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """See TextEncoder.encode; a prompt of more than `max_tokens` pieces is cut."""
        ids = [self._tokenizer.encode(text).ids if text else [] for text in _check_prompts(texts)]
        said = [place for place, row in enumerate(ids) if row]
        rows = [torch.zeros(0, self.width)] * len(ids)
        if said:
            lengths = torch.tensor([len(ids[place]) for place in said])
            mask = torch.arange(int(lengths.max())) < lengths[:, None]  # [B,L]
            tokens = torch.full(mask.shape, self._model.config.pad_token_id)
            tokens[mask] = torch.tensor([i for place in said for i in ids[place]])
            hidden = self._model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state  # [B,L,D]
            for place, states, length in zip(said, hidden, lengths, strict=True):
                rows[place] = states[:length]
        return _pad(rows, self.width)


def load_text_encoder(config: dict, folder: Path) -> TextEncoder:
    """The text encoder that a model's config.json names; a relative path counts from the model's folder.

    Raises ValueError for a name this version does not know, and as the encoders do.
    """
    name = config.get("name")
    if name == "static":
        return StaticTextEncoder((Path(folder) / config.get("path", "text")).resolve())
    if name == "t5":
        return T5TextEncoder.from_folder(Path(folder) / config.get("path", ""))
    raise ValueError(f"The model's text encoder is {name!r}; this version knows 'static' and 't5': update the pack or choose another model.")
