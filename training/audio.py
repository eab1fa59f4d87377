"""Sound for training: a manifest of sound files goes in, a folder of shards comes out, which training.train reads as a corpus.

    python -m training.audio manifest.csv --base musicgen-small -o runs/shards --jobs 4        # or --ray ADDRESS

The manifest (CSV or JSON lines) has path (from the manifest's folder on), text, and, where they are known, valence and arousal on
[-1, 1] and split (train, valid, test). Of each row a shard holds the codes of the base model's EnCodec, what a frozen listener hears
(once a second), valence and arousal of every frame (of rows without them the Emotion Predictor's track), and the text as the base
model's text encoder reads it. Rows that cannot be heard are left out, counted, and listed in skipped.csv. Shard i always holds the
same rows and appears whole or not at all: a run that was stopped goes on with the same command, and nothing is lost or double.
"""

import argparse
import csv
import errno
import functools
import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lara_core.affect import write_atomic
from lara_core.audio import Audio, load, resample
from lara_core.codec.encodec import EncodecCodec
from lara_core.listener import load_listener
from lara_core.predictor import EmotionPredictor
from lara_core.text import T5TextEncoder, check_prompt, load_text_encoder
from lara_core.weights import CONFIG, find_file, fingerprint, read_json
from lara_core.workers import results_of

DESCRIPTION, SHARD, SKIPPED = "shards.json", "shard-{:05}.safetensors", "skipped.csv"
FORMAT, VERSION = "lara-shards", 1
ENCODED_SECONDS = 30  # coded at once; longer sounds in such parts, so that memory stays bounded
LONGEST_SECONDS = 1800
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Row:
    number: int  # in the manifest, from 1
    path: Path
    text: str
    emotion: tuple[float, float] | None
    split: str


@dataclass(frozen=True)
class Source:
    """What hears: the EnCodec and text encoder of a base model, and a listener by its name or folder."""

    base: Path
    listener: str = "musicnn"
    device: str = "cpu"
    trust_remote_code: bool = False  # MERT brings its own


@dataclass(frozen=True)
class Job:
    """One shard to make."""

    shard: int
    rows: tuple[Row, ...]
    folder: Path
    source: Source


# ---- manifest ------------------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> list[Row]:
    """Raises ValueError for a file that is no manifest, naming the row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The manifest {path} cannot be read ({error}); give a CSV file or JSON lines.") from error
    try:
        if path.suffix.lower() == ".csv":
            entries = list(csv.DictReader(io.StringIO(text)))
        else:
            entries = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"The manifest {path} is neither CSV (*.csv) nor JSON lines ({error}).") from error
    rows = []
    for number, entry in enumerate(entries, 1):
        try:
            rows.append(_row(number, entry, path.parent))
        except ValueError as error:
            raise ValueError(f"Row {number} of {path}: {error}") from error
    if not rows:
        raise ValueError(f"The manifest {path} has no rows; it needs the columns path and text, and may have valence, arousal and split.")
    return rows


def _row(number: int, entry: dict, folder: Path) -> Row:
    if not isinstance(entry, dict) or not entry.get("path") or entry.get("text") is None:
        raise ValueError("it has no path or no text; both are needed (text may be empty).")
    split = entry.get("split") or SPLITS[0]
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; use {', '.join(SPLITS)}, or nothing for {SPLITS[0]}.")
    given = [entry.get(name) for name in ("valence", "arousal")]
    known = [value not in (None, "") for value in given]
    if any(known) and not all(known):
        raise ValueError("it has only one of valence and arousal; give both or neither.")
    emotion = None
    if all(known):
        try:
            emotion = (float(given[0]), float(given[1]))
        except (TypeError, ValueError):
            raise ValueError(f"valence and arousal are {given}; give numbers.") from None
        if not all(-1 <= value <= 1 for value in emotion):  # also NaN
            raise ValueError(f"valence and arousal are {given}; both must lie within [-1, 1] (from 1..9: subtract 5, divide by 4).")
    return Row(number, folder / Path(str(entry["path"])).expanduser(), check_prompt(str(entry["text"])), emotion, split)


# ---- one row, one shard --------------------------------------------------------------------------------------------


def codec_digest(base: Path) -> str:
    """What tells the codes of one codec from those of another."""
    own = base / "encodec"
    return fingerprint(own if own.is_dir() else base)


def text_encoder_of(base: Path):
    data = read_json(find_file(base, CONFIG))
    return T5TextEncoder.from_folder(base) if data.get("model_type") == "musicgen" else load_text_encoder(data.get("text") or {}, base)


@functools.lru_cache(maxsize=1)
def _tools(source: Source):
    torch.set_num_threads(1)  # shards are made side by side
    listener = load_listener(source.listener, device=source.device, trust_remote_code=source.trust_remote_code)
    return EncodecCodec.from_folder(source.base, source.device), listener, EmotionPredictor.load(), text_encoder_of(source.base)


def encoded(audio: Audio, codec: EncodecCodec) -> np.ndarray:
    """Sound of any length -> codes [K,F], in parts of ENCODED_SECONDS that begin with nothing before them."""
    samples = resample(audio, codec.sample_rate_hz).samples
    part = round(ENCODED_SECONDS * codec.frame_rate_hz) * codec.hop_samples
    starts = range(0, samples.shape[1], part)
    return np.concatenate([codec.encode(Audio(np.ascontiguousarray(samples[:, at:at + part]), codec.sample_rate_hz)) for at in starts], axis=1)


def interpolated(at: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values [M,D] at times [M] -> [N,D] at other times [N]."""
    return np.stack([np.interp(at, times, column) for column in values.T], axis=1)


def frame_emotion(row: Row, audio: Audio, n_frames: int, rate_hz: float, predictor: EmotionPredictor) -> np.ndarray:
    """Valence and arousal [F,2]; NaN where nobody knows: the row has none, and the predictor hears no music there."""
    if row.emotion is not None:
        return np.tile(np.float32(row.emotion), (n_frames, 1))
    track, at = predictor.track(audio), (np.arange(n_frames) + 0.5) / rate_hz
    music = track.music >= 0.5
    if not track.is_music:
        return np.full((n_frames, 2), np.nan, np.float32)
    emotion = interpolated(at, track.times_seconds[music], track.values[music])
    nearest = np.abs(at[:, None] - track.times_seconds[None]).argmin(1)
    return np.where(music[nearest, None], emotion, np.nan)


def hear(row: Row, codec: EncodecCodec, listener, predictor: EmotionPredictor, text_encoder) -> dict[str, np.ndarray]:
    """One row -> codes [K,F], emotion [F,2], features [ceil(F / every), D'], text [L,Dt]. Raises ValueError where it cannot be heard."""
    audio = load(row.path)
    if audio.seconds > LONGEST_SECONDS:
        raise ValueError(f"it lasts {audio.seconds:.0f} s, at most {LONGEST_SECONDS} s are taken; cut it")
    heard = listener.features(torch.from_numpy(audio.samples)[None], audio.sample_rate_hz)
    codes = encoded(audio, codec)
    n_frames, rate_hz, every = codes.shape[1], codec.frame_rate_hz, feature_frames(codec)
    middles = (np.arange(math.ceil(n_frames / every)) + 0.5) * every / rate_hz
    features = interpolated(middles, heard.times_seconds.numpy(), heard.values[0].numpy())
    text, mask = text_encoder.encode([row.text])
    return {"codes": codes, "emotion": frame_emotion(row, audio, n_frames, rate_hz, predictor), "features": features,
            "text": text[0][mask[0]].numpy()}


def feature_frames(codec: EncodecCodec) -> int:
    """Frames that one row of listener features stands for: about a second."""
    return round(codec.frame_rate_hz)


def make_shard(job: Job) -> int:
    """Write one shard -> its number. Raises OSError in one sentence where the disk is full."""
    from safetensors.torch import save

    tools, pieces, kept, skipped = _tools(job.source), [], [], []
    for row in job.rows:
        try:
            pieces.append(hear(row, *tools))
            kept.append({"row": row.number, "path": str(row.path), "split": row.split, "labelled": row.emotion is not None})
        except (ValueError, OSError) as error:
            skipped.append([row.number, str(row.path), " ".join(str(error).split())])
    codec, listener, _, text_encoder = tools
    empty = {"codes": np.zeros((codec.n_codebooks, 0)), "emotion": np.zeros((0, 2)), "features": np.zeros((0, listener.width)),
             "text": np.zeros((0, text_encoder.width))}
    whole = {name: np.concatenate([none, *(piece[name] for piece in pieces)], axis=-1 if name == "codes" else 0) for name, none in empty.items()}
    offsets = {"offsets": [p["codes"].shape[1] for p in pieces], "feature_offsets": [len(p["features"]) for p in pieces],
               "text_offsets": [len(p["text"]) for p in pieces]}
    tensors = {name: torch.from_numpy(x.astype(np.int16 if name == "codes" else np.float16)) for name, x in whole.items()}
    tensors |= {name: torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int64) for name, lengths in offsets.items()}
    path = job.folder / SHARD.format(job.shard)
    try:
        write_atomic(path, save(tensors, {"notes": json.dumps({"rows": kept, "skipped": skipped})}))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(f"The disk of {job.folder} is full; the shards before {path.name} are whole. Make room and run the same command to go on.") from error
    return job.shard


def shard_notes(path: Path) -> dict[str, list]:
    """What a shard says of its rows: {"rows": [...], "skipped": [[row, path, why], ...]}. Raises ValueError for a damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["notes"])
    except SafetensorError as error:
        raise ValueError(f"The shard {path} is damaged ({error}); remove it and make the shards again, the others are kept.") from error


# ---- all shards ----------------------------------------------------------------------------------------------------


def description(rows: Sequence[Row], source: Source, per_shard: int) -> dict:
    """What shards.json says: what the shards are of, and what the codes mean."""
    codec, heard, _, text_encoder = _tools(source)
    named = [[str(row.path.absolute()), row.text, row.emotion, row.split] for row in rows]
    return {"format": FORMAT, "version": VERSION, "rows": len(rows), "per_shard": per_shard, "listener": heard.name,
            "manifest": hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16], "base": source.base.absolute().name,
            "codec_digest": codec_digest(source.base), "text_width": text_encoder.width, "feature_width": heard.width,
            "feature_frames": feature_frames(codec),
            "codec": {"name": "encodec", "channels": codec.channels, "n_codebooks": codec.n_codebooks, "codebook_size": codec.codebook_size,
                      "frame_rate_hz": codec.frame_rate_hz}}


def prepare(manifest: Path, source: Source, folder: Path, per_shard: int = 64, jobs: int = 1, ray_address: str | None = None,
            retry_skipped: bool = False, progress: Callable = iter) -> dict:
    """Make the shards that are not there yet -> counts: rows, kept, labelled by the manifest, skipped, shards.

    retry_skipped: shards with rows that could not be heard are made again. progress wraps the iterator of finished shards.
    Raises ValueError for a bad manifest or base, or a folder with shards of something else; OSError where the disk is full;
    ChildProcessError where a worker died. Whatever was raised, the same command goes on.
    """
    rows = read_manifest(manifest)
    told = description(rows, source, per_shard)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / DESCRIPTION).exists():
        found = read_json(folder / DESCRIPTION)
        other = [name for name in told if found.get(name) != told[name]]
        if other:
            raise ValueError(f"{folder} has shards of another {other[0].replace('_', ' ')}; choose another folder, or remove that one.")
    write_atomic(folder / DESCRIPTION, json.dumps(told, indent=2).encode())
    parts = [tuple(rows[at:at + per_shard]) for at in range(0, len(rows), per_shard)]
    paths = [folder / SHARD.format(i) for i in range(len(parts))]
    todo = [Job(i, part, folder, source) for i, (part, path) in enumerate(zip(parts, paths))
            if not path.exists() or (retry_skipped and shard_notes(path)["skipped"])]
    for _ in progress(results_of(make_shard, todo, jobs, ray_address, again=True) if todo else ()):
        pass
    for torn in folder.glob(".*.part"):  # of workers that were killed; all shards are whole now
        torn.unlink(missing_ok=True)
    notes = [shard_notes(path) for path in paths]
    skipped = [row for note in notes for row in note["skipped"]]
    lines = io.StringIO()
    csv.writer(lines).writerows([("row", "path", "why"), *skipped])
    write_atomic(folder / SKIPPED, lines.getvalue().encode())
    kept = [row for note in notes for row in note["rows"]]
    return {"rows": len(rows), "kept": len(kept), "labelled": sum(row["labelled"] for row in kept), "skipped": len(skipped), "shards": len(paths)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("manifest", type=Path, help="CSV or JSON lines: path, text, and maybe valence, arousal (-1..1), split")
    parser.add_argument("--base", type=Path, required=True, help="folder of the model to be finetuned: its EnCodec and text encoder are used")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of shards")
    parser.add_argument("--listener", default="musicnn", help="a listener's name or folder, such as one of MERT")
    parser.add_argument("--per-shard", type=int, default=64, help="rows of a shard")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster (host:port, or local) whose machines have this package and the same paths")
    parser.add_argument("--device", default="cpu", help="of codec and listener")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the Python code that a listener such as MERT brings")
    parser.add_argument("--retry-skipped", action="store_true", help="make shards again that have rows which could not be heard")
    args = parser.parse_args()
    if args.per_shard < 1 or args.jobs < 1:
        parser.error("--per-shard and --jobs must be at least 1.")
    try:
        told = prepare(args.manifest, Source(args.base, args.listener, args.device, args.trust_remote_code), args.output, args.per_shard,
                       args.jobs, args.ray, args.retry_skipped, lambda shards: tqdm(shards, desc="hearing", unit="shard"))
    except (ValueError, OSError, ChildProcessError) as error:
        parser.exit(2, f"{error}\n")
    print(f"{told['kept']} of {told['rows']} rows in {told['shards']} shards, {told['labelled']} with their own valence and arousal, "
          f"{told['skipped']} skipped (see {args.output / SKIPPED})")


if __name__ == "__main__":
    main()
