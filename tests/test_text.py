"""Text encoders: prompts are checked, similar words lie together, damaged files are refused, T5 matches transformers."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lara_core.text import StaticTextEncoder, T5TextEncoder, check_prompt, load_text_encoder

MODEL = Path(__file__).parents[1] / "models" / "text"

# Prompts (every sixth of the section "prompt" in training/text_lexicon.txt, never learned from) and the cosine similarity of
# each pair, row by row, in hundredths, from the sentence model itself (all-MiniLM-L6-v2)
PROMPTS = (
    "epic orchestral battle music with war drums and choir",
    "bossa nova for a beach bar at sunset",
    "dreamy ambient pads, floating in outer space",
    "mysterious forest at dawn, flute and harp",
    "a bright spring morning in the countryside",
    "nostalgic tune that reminds me of my grandmother",
    "sad violin",
    "scottish bagpipes on a battlefield",
    "a snowy night before christmas with bells",
    "meditation music with tibetan bowls",
    "drum and bass with a reese bass",
    "spaghetti western showdown with whistling",
    "relaxing farm simulation game",
    "soft and warm",
    "viking longship rowing song",
    "greek island wedding with bouzouki",
    "hip hop with a jazzy piano sample",
    "the end credits roll",
)
REFERENCE = (
    18, 6, 38, 16, 32, 35, 46, 16, 40, 34, 35, 10, 10, 35, 4, 37, 6, 20, 34, 22, 14, 16, 15, 23, 17, 17, 21, 9, 17,
    11, 17, 15, 9, 12, 18, 13, 4, 8, 9, 16, 10, 3, 10, 25, 4, 15, 13, -1, 41, 33, 29, 44, 38, 32, 35, 24, 10, 11, 21,
    5, 24, 6, 20, 6, 19, 42, 8, 5, 24, 19, 30, 18, 13, 10, 8, 37, 25, 29, 32, 19, 21, 5, 12, 35, 3, 37, 11, 31, 19,
    36, 26, 28, 4, 13, 29, 2, 28, 17, 26, 20, 40, 32, 10, 8, 34, 0, 29, 6, 14, 16, 27, 4, 21, 17, 8, 13, 23, 28, 26,
    9, 9, 27, 10, 39, 6, 13, 5, 20, 19, 1, 40, 5, 19, 11, 24, 18, 23, 24, 4, 16, 2, 9, 9, 9, 5, 8, -2, 12, 26, 16, 8,
    13, 20,
)
# The first group are tokens of their own, the second is split into pieces: (word, near, far)
WHOLE_WORDS = [
    ("violoncello", "cello", "drum kit"),
    ("spooky", "scary", "happy"),
    ("nintendo", "8-bit chiptune", "string quartet"),
    ("koto", "shamisen", "electric guitar"),
    ("ghoulish", "haunted house", "sunny"),
    ("synthwave", "neon lights of the eighties", "gregorian chant"),
    ("melancholic", "sad", "cheerful"),
    ("discotheque", "disco", "church"),
]
SPLIT_WORDS = [
    ("bagpiper", "bagpipes", "piano"),
    ("zombielike", "zombies", "sunshine"),
    ("gleefully", "happy", "sad"),
    ("guitarra", "guitar", "flute"),
    ("xylophonist", "xylophone", "cello"),
]
SPEARMAN_FLOOR = 0.75


@pytest.fixture(scope="module")
def encoder() -> StaticTextEncoder:
    return StaticTextEncoder(MODEL)


def sentences(encoder: StaticTextEncoder, *texts: str) -> torch.Tensor:
    """Sentence vectors of length one: [B, D]."""
    return torch.nn.functional.normalize(encoder.encode(texts)[0][:, 0], dim=1)


def ranks(values: torch.Tensor) -> torch.Tensor:
    return values.argsort(stable=True).argsort().double()


def test_prompt_is_tidied():
    assert check_prompt("  slow \t sad\r\n piano ") == "slow sad piano"
    assert check_prompt("") == check_prompt(" \n ") == ""
    assert check_prompt("café für zwei, 音楽 🎻") == "café für zwei, 音楽 🎻"
    assert len(check_prompt("x" * 1000)) == 1000


@pytest.mark.parametrize("prompt, said", [
    (None, "must be a string, but got NoneType"),
    (b"piano", "must be a string, but got bytes"),
    ("x" * 10_000, "has 10000 characters, but at most 1000"),
    ("sad\x00piano", r"control character U\+0000 at position 3"),
    ("sad \x1b[31m piano", r"U\+001B"),
    ("piano \ud83c", r"U\+D83C"),
])
def test_bad_prompts_are_refused_in_one_sentence(prompt, said):
    with pytest.raises(ValueError, match=said) as error:
        check_prompt(prompt)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_shapes_mask_and_no_text(encoder):
    features, mask = encoder.encode(["sad piano", "", "double bass and loud drums"])
    assert features.shape == (3, 5, encoder.width) and features.dtype == torch.float32
    assert mask.dtype == torch.bool and mask.sum(1).tolist()[:2] == [3, 0] and mask.sum(1)[2] > 3  # one sentence vector before the pieces
    assert not features[~mask].any() and features[mask].isfinite().all()
    features, mask = encoder.encode(["", "  "])
    assert features.shape == (2, 1, encoder.width) and not mask.any()


def test_a_prompt_does_not_depend_on_its_neighbours(encoder):
    alone, _ = encoder.encode(["Sad  PIANO"])
    beside, mask = encoder.encode(["a very long prompt about a small brass band in the rain", "sad piano"])
    assert torch.equal(alone[0], beside[1, mask[1]])


def test_sentence_vector_hears_what_the_cap_cuts(encoder):
    start = "piano " * encoder.max_tokens
    features, mask = encoder.encode([start, start + "and drums and thunder"])
    assert mask.sum(1).tolist() == [1 + encoder.max_tokens] * 2
    assert torch.equal(features[0, 1:], features[1, 1:])
    assert not torch.allclose(features[0, 0], features[1, 0], atol=0.01)
    assert StaticTextEncoder(MODEL, max_tokens=4).encode([start])[0].shape[1] == 5


def test_features_have_unit_variance(encoder):
    features, mask = encoder.encode(list(PROMPTS))
    assert torch.allclose(features[:, 0].square().mean(1), torch.ones(len(PROMPTS)), atol=1e-4)
    pieces = features[:, 1:][mask[:, 1:]]
    assert 0.7 < pieces.square().mean() < 1.4
    spread = pieces.std(0)  # no dimension rules or idles
    assert spread.max() < 3 * spread.min()


def test_common_words_weigh_less(encoder):
    def length(word):
        return float(encoder.encode([word])[0][0, 1].norm())

    assert length("the") < 0.5 * length("violin") and length("of") < 0.5 * length("techno")


@pytest.mark.parametrize("word, near, far", WHOLE_WORDS + SPLIT_WORDS)
def test_words_lie_near_words_of_like_meaning(encoder, word, near, far):
    word, near, far = sentences(encoder, word, near, far)
    assert word @ near > word @ far + 0.1


def test_split_words_are_split(encoder):
    assert all(encoder.encode([word])[1].sum() > 2 for word, _, _ in SPLIT_WORDS)
    assert all(encoder.encode([word])[1].sum() == 2 for word, _, _ in WHOLE_WORDS)


def test_spelling_variants_are_one(encoder):
    one, *others = sentences(encoder, "lo-fi hip-hop", "Lo-Fi Hip-Hop", "lo fi hip hop", "LO‐FI hip‑hop")
    assert all(torch.equal(one, other) for other in others)


def test_similarities_follow_the_sentence_model(encoder):
    texts = list(PROMPTS)
    ours = sentences(encoder, *texts)
    theirs = torch.tensor([value / 100 for value in REFERENCE])
    places = torch.triu_indices(len(texts), len(texts), 1)
    similarities = (ours @ ours.T)[places[0], places[1]]
    assert len(theirs) == len(similarities)
    spearman = torch.corrcoef(torch.stack([ranks(similarities), ranks(theirs)]))[0, 1]
    assert spearman > SPEARMAN_FLOOR


def test_features_equal_the_files_own_numbers(encoder):
    """An independent reading of the two files: piece by piece, in NumPy-like steps."""
    tensors = load_file(MODEL / "text.safetensors")
    tokenizer = json.loads((MODEL / "tokenizer.json").read_text(encoding="utf-8"))
    ids = [tokenizer["model"]["vocab"][piece] for piece in ("sad", "piano")]
    rows = torch.stack([tensors["vectors"][i].double() * tensors["scale"][i].double() for i in ids])
    features = encoder.encode(["sad piano"])[0][0].double()
    assert torch.allclose(features[1:], rows, rtol=1e-6)
    mean = rows.mean(0)
    assert torch.allclose(features[0], mean / mean.norm() * encoder.width ** 0.5, rtol=1e-5)


def test_words_without_any_known_piece_are_refused(encoder):
    with pytest.raises(ValueError, match="describe the music in English"):
        encoder.encode(["🎻🎻"])
    beside, _ = encoder.encode(["sad piano 🎹 音楽"])
    assert torch.equal(beside, encoder.encode(["sad piano"])[0])


@pytest.mark.parametrize("texts", ["sad piano", [], None])
def test_encode_wants_a_list(encoder, texts):
    with pytest.raises(ValueError, match="list of one or more prompts"):
        encoder.encode(texts)


def test_a_models_config_names_its_encoder(encoder, tmp_path):
    shutil.copytree(MODEL, tmp_path / "text")
    found = load_text_encoder({"name": "static", "path": "../text"}, tmp_path / "model")
    assert torch.equal(found.encode(["sad piano"])[0], encoder.encode(["sad piano"])[0])
    with pytest.raises(ValueError, match="'bert'; this version knows 'static' and 't5'"):
        load_text_encoder({"name": "bert"}, tmp_path)


def test_loading_is_quick_and_small():
    def seconds() -> float:
        start = time.process_time()
        StaticTextEncoder(MODEL)
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.5, "the quickest: a collection of what other tests have left is not its own"
    assert (MODEL / "text.safetensors").stat().st_size <= 5_000_000


def damaged(name, change):
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
    return damage


def tensors_changed(change):
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "text.safetensors")
        change(tensors)
        save_file(tensors, folder / "text.safetensors")
    return damage


@pytest.mark.parametrize("damage, said", [
    (lambda folder: (folder / "text.safetensors").unlink(), "text.safetensors, which is missing"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json, which is missing"),
    (damaged("text.safetensors", lambda data: data[:-100]), "not a complete safetensors file"),
    (damaged("text.safetensors", lambda data: data[:6]), "not a complete safetensors file"),
    (lambda folder: torch.save({"vectors": torch.zeros(2)}, folder / "text.safetensors"), "not a complete safetensors"),
    (damaged("tokenizer.json", lambda data: data[:-100]), "not complete JSON"),
    (damaged("tokenizer.json", lambda data: b"[]"), "a JSON object is needed"),
    (damaged("tokenizer.json", lambda data: b"{}"), "no tokenizer model"),
    (damaged("tokenizer.json", lambda data: data.replace(b'"drums":', b'"drumz":')), "not of one distillation"),
    (tensors_changed(lambda tensors: tensors.pop("scale")), r"holds \['vectors'\]"),
    (tensors_changed(lambda tensors: tensors.update(vectors=tensors["vectors"][1:].clone())), "int8 .* is needed"),
    (tensors_changed(lambda tensors: tensors.update(vectors=tensors["vectors"].half())), "torch.float16"),
    (tensors_changed(lambda tensors: tensors["scale"].fill_(float("nan"))), "finite float16"),
])
def test_damaged_folders_are_refused(tmp_path, damage, said):
    folder = shutil.copytree(MODEL, tmp_path / "text")
    damage(folder)
    with pytest.raises(ValueError, match=said) as error:
        StaticTextEncoder(folder)
    assert "\n" not in str(error.value)


# T5: a tiny seeded model in the two forms in which it comes


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("t5")
    words = ["<pad>", "</s>", "<unk>", "sad", "happy", "piano", "drums", "and"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.enable_padding(length=20)  # as some checkpoints ship it; must not leak into the features
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    T5EncoderModel(T5Config(vocab_size=8, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=2)).save_pretrained(folder)
    return folder


def test_t5_equals_transformers(t5_folder):
    from transformers import T5EncoderModel

    peer = T5EncoderModel.from_pretrained(t5_folder, local_files_only=True).eval()
    encoder = T5TextEncoder.from_folder(t5_folder)
    features, mask = encoder.encode(["sad piano and drums", "", "happy drums"])
    assert encoder.width == 16 and features.shape == (3, 5, 16) and mask.sum(1).tolist() == [5, 0, 3]
    assert not features.requires_grad and not features[~mask].any()
    for place, ids in ((0, [3, 5, 7, 6, 1]), (2, [4, 6, 1])):
        with torch.no_grad():
            expected = peer(torch.tensor([ids])).last_hidden_state[0]
        assert torch.allclose(features[place, mask[place]], expected, atol=1e-5)
    assert not encoder.encode([""])[1].any()


def test_t5_out_of_a_musicgen_state(t5_folder, tmp_path):
    config = {"model_type": "musicgen", "text_encoder": json.loads((t5_folder / "config.json").read_text())}
    state = {f"text_encoder.{name}": value.clone() for name, value in load_file(t5_folder / "model.safetensors").items()}
    state |= {"decoder.lm_heads.0.weight": torch.zeros(2, 2), "enc_to_dec_proj.weight": torch.zeros(2, 2)}
    prompts = ["sad piano", "happy drums and piano"]
    expected, _ = T5TextEncoder.from_folder(t5_folder).encode(prompts)
    assert torch.equal(T5TextEncoder(config, state, t5_folder).encode(prompts)[0], expected)
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copy(t5_folder / "tokenizer.json", tmp_path)
    assert torch.equal(T5TextEncoder.from_folder(tmp_path).encode(prompts)[0], expected)


def test_t5_cut_keeps_the_end_mark(t5_folder):
    encoder = T5TextEncoder.from_folder(t5_folder, max_tokens=3)
    whole = T5TextEncoder.from_folder(t5_folder)
    features, mask = encoder.encode(["sad piano and drums"])
    assert mask.shape == (1, 3) and torch.allclose(features, whole.encode(["sad piano"])[0], atol=1e-6)


def test_t5_errors_name_the_file_or_weight(t5_folder, tmp_path):
    config = json.loads((t5_folder / "config.json").read_text())
    state = load_file(t5_folder / "model.safetensors")
    with pytest.raises(ValueError, match="tokenizer.json, which is missing") as error:
        T5TextEncoder(config, state, tmp_path)
    assert str(tmp_path / "tokenizer.json") in str(error.value)
    with pytest.raises(ValueError, match="model_type 'bert', but 't5' is needed"):
        T5TextEncoder(config | {"model_type": "bert"}, state, t5_folder)
    name = "encoder.final_layer_norm.weight"
    for broken in ({k: v for k, v in state.items() if k != name}, state | {name: torch.zeros(3)}):
        with pytest.raises(ValueError, match=f"the first is '{name}'"):
            T5TextEncoder(config, broken, t5_folder)
    with pytest.raises(ValueError, match="the first is 'surplus'"):
        T5TextEncoder(config, state | {"surplus": torch.zeros(3)}, t5_folder)
    with pytest.raises(ValueError, match="config.json, which is missing"):
        T5TextEncoder.from_folder(tmp_path)
