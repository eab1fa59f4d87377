"""What is heard in a corpus: excerpts are rendered, a frozen listener and the Emotion Predictor hear them, and both go into the corpus file.

    python -m training.features runs/corpus.npz --pieces 600 --jobs 2

Per HEARD_EVERY_FRAMES frames: the listener's features, interpolated from its windows, and heard
(valence, arousal); NaN where nothing was heard, which takes no part in the alignment loss. Each excerpt is kept in a folder beside the
corpus under a digest of its codes, so a run that was stopped goes on, and a corpus that grew hears only what is new.
"""

import argparse
import functools
import hashlib
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lara_core.audio import Audio
from lara_core.codec import score
from lara_core.codec.performance import Performer
from lara_core.codec.score_codec import ScoreCodec
from lara_core.listener import Listener, load_listener
from lara_core.pipeline import Lara
from lara_core.workers import results_of

from .audio import interpolated
from .windows import HEARD_EVERY_FRAMES, write_arrays


def excerpt(codes: np.ndarray, n_bars: int) -> tuple[int, int]:
    """The frames of n_bars bars of a piece, from a phrase's first on; which phrase, the piece's codes decide."""
    starts = np.append(score.bar_starts(codes), codes.shape[1])
    begins = range(0, max(len(starts) - n_bars, 1), 4)
    first = begins[int(digest(codes), 16) % len(begins)]
    return int(starts[first]), int(starts[min(first + n_bars, len(starts) - 1)])


def digest(codes: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(codes)).hexdigest()[:24]


@functools.cache
def ears(listener_name: str) -> tuple[ScoreCodec, Listener]:
    torch.set_num_threads(1)
    return ScoreCodec(), load_listener(listener_name)


def hear(codes: np.ndarray, listener_name: str) -> tuple[np.ndarray, np.ndarray]:
    """codes [K,F] -> features [F / HEARD_EVERY_FRAMES, D'] and heard (valence, arousal) [.., 2] at the middles of those frames; NaN
    where the predictor hears no music at all."""
    codec, listener = ears(listener_name)
    sound = Audio(codec.decode(codes), codec.sample_rate_hz)
    features = listener.features(torch.from_numpy(sound.samples.mean(0))[None], sound.sample_rate_hz)
    return interpolated(middles_seconds(codes), np.asarray(features.times_seconds), features.values[0].numpy()), heard_in_sound(codes, sound)


def middles_seconds(codes: np.ndarray) -> np.ndarray:
    """When the middles of every HEARD_EVERY_FRAMES frames of codes [K,F] sound."""
    clock = Performer()
    for bar in score.decode(codes).bars:
        clock.add(bar)
    return np.array([clock.seconds(f) for f in range(HEARD_EVERY_FRAMES // 2, codes.shape[1], HEARD_EVERY_FRAMES)])


def heard_in_sound(codes: np.ndarray, sound: Audio) -> np.ndarray:
    """What the Emotion Predictor hears of codes [K,F] in their sound [F / HEARD_EVERY_FRAMES, 2]; NaN where it hears no music at all."""
    middles, track = middles_seconds(codes), Lara.score(sound).track
    return interpolated(middles, track.times_seconds, track.values) if track.is_music else np.full((len(middles), 2), np.nan)

def hear_into(job: tuple[Path, np.ndarray, str]) -> None:
    """Hear one excerpt: where it is kept, its codes [K,F], the listener's name."""
    path, codes, listener_name = job
    features, heard = hear(codes, listener_name)
    write_arrays(path, {"features": features.astype(np.float16), "heard": heard.astype(np.float32)})


def add_features(path: Path, n_pieces: int, n_bars: int = 8, listener_name: str = "musicnn", jobs: int = 1, folder: Path | None = None) -> None:
    """Let an excerpt of n_pieces of a corpus file, drawn by their digests, be heard by `jobs` processes, and write what was heard into
    the file."""
    with np.load(path) as data:
        corpus = dict(data)
    codes, offsets = corpus["codes"], corpus["offsets"]
    pieces = [codes[:, start:end] for start, end in zip(offsets, offsets[1:])]
    digests = [digest(piece) for piece in pieces]
    chosen = sorted(range(len(pieces)), key=digests.__getitem__)[:n_pieces]
    folder = folder or path.with_suffix(".heard")
    folder.mkdir(parents=True, exist_ok=True)
    spans = [[int(offsets[i]) + frame for frame in excerpt(pieces[i], n_bars)] for i in chosen]
    files = [folder / f"{digest(codes[:, start:end])}-{Path(listener_name).name}.npz" for start, end in spans]
    todo = [(file, codes[:, start:end], listener_name) for file, (start, end) in zip(files, spans) if not file.exists()]
    for _ in tqdm(results_of(hear_into, todo, jobs), total=len(todo), desc="listening", unit="piece"):
        pass
    rows = codes.shape[1] // HEARD_EVERY_FRAMES
    features, heard = None, np.full((rows, 2), np.nan, np.float32)
    for (start, end), file in zip(spans, files):
        own = slice(start // HEARD_EVERY_FRAMES, end // HEARD_EVERY_FRAMES)
        with np.load(file) as data:
            features = np.full((rows, data["features"].shape[1]), np.nan, np.float16) if features is None else features
            features[own], heard[own] = data["features"], data["heard"]
    write_arrays(path, corpus | {"features": features, "heard": heard})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--pieces", type=int, default=600, help="how many, drawn from the whole corpus")
    parser.add_argument("--bars", type=int, default=8, help="of each piece")
    parser.add_argument("--listener", default="musicnn", help="a listener's name or folder")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--kept", type=Path, metavar="FOLDER", help="where what was heard is kept; without it beside the corpus")
    args = parser.parse_args()
    add_features(args.corpus, args.pieces, args.bars, args.listener, args.jobs, args.kept)


if __name__ == "__main__":
    main()
