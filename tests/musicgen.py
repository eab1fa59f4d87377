"""A MusicGen with random weights, as transformers makes and saves it, for several tests."""

from pathlib import Path

TINY = dict(vocab_size=32, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, ffn_dim=64, num_codebooks=4)


def make_musicgen(given: dict = TINY, text_layers: int = 1, text_width: int = 24, half: bool = False):
    """given: of the decoder. half: weights that are float16 numbers."""
    import torch
    import transformers

    torch.manual_seed(0)
    large = text_width > 100
    config = transformers.MusicgenConfig(
        text_encoder=transformers.T5Config(vocab_size=16000 if large else 64, d_model=text_width, d_kv=text_width // 8 if large else 8,
                                           d_ff=4 * text_width if large else 32, num_layers=text_layers, num_heads=8 if large else 2),
        audio_encoder=transformers.EncodecConfig(
            sampling_rate=8000, upsampling_ratios=[8, 5, 4], num_filters=24 if large else 4, hidden_size=64 if large else 8,
            codebook_size=given["vocab_size"], target_bandwidths=[2.2 if large else 1.0], use_causal_conv=False, norm_type="weight_norm"),
        decoder=transformers.MusicgenDecoderConfig(**given, pad_token_id=given["vocab_size"], bos_token_id=given["vocab_size"]))
    model = transformers.MusicgenForConditionalGeneration(config).eval()
    for name, weight in model.named_parameters():  # biases and norms away from 0 and 1, so that none can be confused
        if weight.dim() == 1:
            torch.nn.init.normal_(weight, mean=float("norm" in name and name.endswith("weight")), std=0.2)
    return model.half().float() if half else model


def save_musicgen(folder: Path, model, **options) -> Path:
    """The folder as the hub has it: config.json, weights, tokenizer.json."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    model.save_pretrained(folder, **options)
    words = "[UNK] calm tense happy sad piano strings".split()
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
