"""Windows of a corpus: a file of training.corpus or a folder of shards of training.audio goes in, batches to train on come out.

Both draw their windows from a generator that is passed in, so the order of the data depends on its seed alone.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lara_core.affect import nearest_emotion, write_atomic
from lara_core.score_predictor import EVERY_FRAMES
from lara_core.text import TextEncoder
from lara_core.weights import read_json

from .audio import DESCRIPTION, FORMAT, SHARD, VERSION, shard_notes

HEARD_EVERY_FRAMES = EVERY_FRAMES  # a corpus of scores keeps one row of listener features for so many frames
PLACES, MOST_OFTEN = 10, 6  # rows and columns of the plane that are to come as often
MOVES, MOVING_FRAMES = 0.6, 192  # so far, within so many frames: 12 bars of 4/4
SCORE_LARA_FRAMES = 16  # alignment is judged on means over this many frames: of scores, two bars


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An npz file, whole or not at all, and its folder where there is none."""
    whole = io.BytesIO()
    np.savez_compressed(whole, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, whole.getvalue())


class _Windows:
    """codec: what is known of the codes; feature_width: of what a listener heard, 0 where none did; lara_frames: see lara_loss."""

    codec: dict
    feature_width = 0
    lara_frames = SCORE_LARA_FRAMES

    def batch(self, rng: np.random.Generator, size: int, window: int):
        """size windows -> codes [B,K,W] (-1 past the end), emotion [B,W,2], known [B,W], (text [B,L,Dt], its mask [B,L]), and
        (features [B,W,D'], where they are known [B,W]) or None."""
        codes = torch.full((size, self.codec["n_codebooks"], window), -1, dtype=torch.long)
        emotion, texts = torch.full((size, window, 2), torch.nan), []
        features, heard = torch.zeros(size, window, self.feature_width), torch.zeros(size, window, dtype=torch.bool)
        for b in range(size):
            own, emotion_of_own, text, features_of_own = self._window(rng, window)
            n = own.shape[1]
            codes[b, :, :n], emotion[b, :n] = own, emotion_of_own
            texts.append(text)
            if features_of_own is not None:
                features[b, :n], heard[b, :n] = features_of_own.nan_to_num(0.0), ~features_of_own[:, 0].isnan()
        known = ~emotion.isnan().any(-1)
        return codes, emotion.nan_to_num(0.0), known, self._encode(texts), (features, heard) if self.feature_width else None


class Corpus(_Windows):
    """Windows of a corpus file. starts: frames where a window may begin; codec: what the model folder says of its codes. Features are
    standardised over the corpus; with target "heard" they are the Emotion Predictor's valence and arousal.

    heard_share: of the windows, that begin where a listener has heard the piece; ValueError where none has. words: the emotion stands in
    the caption, as the word nearest to the window's mean, and nowhere else: the baseline of the paper. Of the other windows, rehearsed_share
    are from what a model has played, where it isn't 0 and left to chance, and moving_share begin where the emotion will move by more than MOVES, so that what was
    played is no good guess of what comes.
    """

    def __init__(self, path: Path, text: TextEncoder, heard_share: float = 0.0, words: bool = False, moving_share: float = 0.0,
                 rehearsed_share: float = 0.0, even: bool = False, target: str = "features"):
        with np.load(path) as data:
            self.codes = torch.from_numpy(data["codes"])  # [K,total]
            self.offsets, self.starts, self.emotion = data["offsets"], data["starts"], data["emotion"]
            self.captions, self.codec = json.loads(str(data["captions"])), json.loads(str(data["codec"]))
            self.features = data[target] if target in data else None  # [total / HEARD_EVERY_FRAMES, D'], NaN: not heard; or absent
            self.pieces = np.searchsorted(self.offsets, self.starts, side="right") - 1  # of every start
            rehearsed = data["rehearsed"][self.pieces] if rehearsed_share else np.zeros(len(self.starts), bool)
        self.moving_share, self.rehearsed_share = moving_share, rehearsed_share
        moving = self._moving() if moving_share else np.zeros(len(self.starts), bool)
        if rehearsed_share and not rehearsed.any():
            raise ValueError(f"No model has played in {path}, so --rehearsed-share cannot be {rehearsed_share:g}; add what training.rehearsal makes.")
        chance = self._evenly() if even else np.ones(len(self.starts))
        among = {(who, moves): np.flatnonzero((rehearsed == who) & (moving if moves else True)) for who in (False, True) for moves in (False, True)}
        for (who, moves), which in among.items():
            if not len(which) and (rehearsed_share if who else rehearsed_share < 1) and (moving_share if moves else moving_share < 1):
                raise ValueError(f"{path} has no window that a model has{'' if who else ' not'} played and where the emotion {'moves' if moves else 'may stand still'}; "
                                 "change --rehearsed-share or --moving-share, or add pieces of both kinds.")
        self.pools = {name: (self.starts[which], np.cumsum(chance[which])) for name, which in among.items()}  # starts, and up to where each is drawn
        self.text, self.heard_share, self.heard_starts, self.words = text, heard_share, self.starts[:0], words
        if self.features is not None:
            self.feature_width = self.features.shape[1]
            known = ~np.isnan(self.features[:, 0])
            self.heard_starts = self.starts[known[self.starts // HEARD_EVERY_FRAMES]]
            values = self.features[known].astype(np.float32)
            self.features[known] = (values - values.mean(0)) / (values.std(0) + 1e-6)
        if heard_share and not len(self.heard_starts):
            raise ValueError(f"No listener has heard {path}, so --heard-share cannot be {heard_share:g}; run training.features on it first.")

    def _ahead(self, frames: Sequence[int]) -> np.ndarray:
        """The emotion [len(frames),N,2] so many frames after every start, or at the end of its piece."""
        last = self.offsets[self.pieces + 1] - 1
        return np.stack([self.emotion[np.minimum(self.starts + n, last)] for n in frames]).astype(np.float32)

    def _moving(self) -> np.ndarray:
        """After which starts the emotion moves within MOVING_FRAMES; ValueError where it does after none."""
        seen = self._ahead(np.linspace(0, MOVING_FRAMES, 5).astype(int))
        moving = (np.ptp(seen, axis=0) > MOVES).any(1)
        if not moving.any():
            raise ValueError("The emotion moves nowhere in this corpus, so there is no --moving-share of it.")
        return moving

    def _evenly(self) -> np.ndarray:
        """How often each start is to be drawn, for every place of the plane that has windows to come as often as any other, as far as
        no window comes more than MOST_OFTEN times as often as on average."""
        places = self._ahead((32, 96)).mean(0)
        cells = np.clip(((places + 1) / 2 * PLACES).astype(int), 0, PLACES - 1) @ (PLACES, 1)
        chance = 1 / np.bincount(cells)[cells]
        return np.minimum(chance, MOST_OFTEN * chance.mean())

    def _window(self, rng: np.random.Generator, window: int):
        among_heard = self.heard_share > 0 and rng.random() < self.heard_share
        among_moving = not among_heard and self.moving_share > 0 and rng.random() < self.moving_share
        rehearsed = not among_heard and self.rehearsed_share > 0 and rng.random() < self.rehearsed_share
        if among_heard:
            start = int(self.heard_starts[rng.integers(len(self.heard_starts))])
        else:
            starts, upto = self.pools[rehearsed, among_moving]
            start = int(starts[np.searchsorted(upto, rng.random() * upto[-1], side="right")])
        piece = int(np.searchsorted(self.offsets, start, side="right")) - 1
        if not among_heard and not among_moving and rng.random() < 0.3:
            start = int(self.offsets[piece])  # openings decide tempo and ensemble from the emotion alone
        end = min(start + window, int(self.offsets[piece + 1]))
        emotion = torch.from_numpy(self.emotion[start:end].astype(np.float32))
        features = None
        if self.features is not None:
            features = torch.from_numpy(self.features[np.arange(start, end) // HEARD_EVERY_FRAMES].astype(np.float32))
        caption = str(rng.choice(self.captions[piece]))
        if self.words:
            caption, emotion = f"{caption}, {nearest_emotion(*emotion.mean(0).tolist())[0]}", torch.full_like(emotion, torch.nan)
        return self.codes[:, start:end], emotion, caption, features

    def _encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        return self.text.encode(texts)


class Shards(_Windows):
    """Windows of the pieces of one split in a folder of shards, which stay on the disk: their tensors are mapped.

    Every second of the split is drawn alike. Features are standardised over all shards. Raises ValueError where shards are missing,
    damaged, or hold nothing of the split.
    """

    def __init__(self, folder: Path, split: str = "train"):
        from safetensors import safe_open

        self.told = read_json(folder / DESCRIPTION)
        if self.told.get("format") != FORMAT or self.told.get("version") != VERSION:
            raise ValueError(f"{folder / DESCRIPTION} is {self.told.get('format')!r}, version {self.told.get('version')!r}; this code reads {FORMAT!r}, version {VERSION}.")
        paths = [folder / SHARD.format(i) for i in range(-(-self.told["rows"] // self.told["per_shard"]))]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise ValueError(f"{folder} lacks {len(missing)} of {len(paths)} shards, the first is {missing[0]}; run training.audio again, it makes only those.")
        self.codec = self.told["codec"] | {"loss_weights": [1.0] * self.told["codec"]["n_codebooks"]}
        self.feature_width, self.every = self.told["feature_width"], self.told["feature_frames"]
        self.lara_frames = self.every
        self.pieces: list[tuple[dict, int]] = []  # tensors of a shard, number of the piece in it
        self.splits: set[str] = set()
        lengths, count, total, squares = [], 0, np.zeros(self.feature_width), np.zeros(self.feature_width)
        for path in paths:
            rows = shard_notes(path)["rows"]
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            heard = tensors["features"].double().numpy()
            count, total, squares = count + len(heard), total + heard.sum(0), squares + (heard ** 2).sum(0)
            for i, row in enumerate(rows):
                self.splits.add(row["split"])
                if row["split"] == split:
                    self.pieces.append((tensors, i))
                    lengths.append(int(tensors["offsets"][i + 1] - tensors["offsets"][i]))
        if not self.pieces:
            raise ValueError(f"{folder} holds no row of the split {split!r}; see its skipped.csv.")
        self.ends = np.cumsum(lengths)
        mean = total / count
        self.mean, self.deviation = (torch.from_numpy(x).float() for x in (mean, np.sqrt(np.maximum(squares / count - mean ** 2, 0)) + 1e-4))

    def _window(self, rng: np.random.Generator, window: int):
        number = int(np.searchsorted(self.ends, rng.integers(self.ends[-1]), side="right"))
        tensors, i = self.pieces[number]
        begin, end = tensors["offsets"][i:i + 2].tolist()
        start = begin + int(rng.integers(max(end - begin - window, 0) + 1))
        end = min(start + window, end)
        first = int(tensors["feature_offsets"][i])
        features = tensors["features"][first + torch.arange(start - begin, end - begin) // self.every].float()
        text = tensors["text"][slice(*tensors["text_offsets"][i:i + 2].tolist())].float()
        return tensors["codes"][:, start:end].long(), tensors["emotion"][start:end].float(), text, (features - self.mean) / self.deviation

    def _encode(self, texts: list[Tensor]) -> tuple[Tensor, Tensor]:
        padded = torch.nn.utils.rnn.pad_sequence([*texts, torch.zeros(1, self.told["text_width"])], batch_first=True)[:-1]  # [B,L,Dt], L >= 1
        return padded, torch.arange(padded.shape[1])[None] < torch.tensor([len(text) for text in texts])[:, None]
