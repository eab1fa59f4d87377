"""Run: planned pieces go in; each is made or read and heard, here, in processes or on a Ray cluster, and goes to the journal."""
from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..affect import write_atomic
from ..audio import Audio, load, save
from ..workers import results_of
from .plan import SECONDS, Job, Piece, kept_file

FEATURE_RMS = 0.1  # level at which features for the Frechet audio distance are heard
JOURNAL = "pieces.jsonl"


# ---- one piece -----------------------------------------------------------------------------------------------------


def measure(job: Job, keep_audio: bool = False) -> tuple[dict, Audio | None]:
    """Make or read one piece and listen -> what the journal keeps of it, and the sound if it is to be kept.

    {"key", "problem"} and, unless there is a problem: seconds, level_db (RMS), point [2] or None where too little is music, times
    [W], values [W][2] of the windows that are music, music (share of all windows), features [D] (the listener's mean at one
    level), bar_seconds (median, where the codec has bars).
    """
    import torch

    torch.set_num_threads(1)  # pieces run side by side; and sums come out the same everywhere
    try:
        bar_seconds = None
        if job.file:
            audio = load(job.file)
        else:
            from ..codec import Request
            from ..sampling import Sampling

            lara = _lara(job.model, job.device, job.soundfont)
            audio, take = lara.generate(job.prompt, job.curve, Request(job.seconds, seed=job.seed), Sampling(**dict(job.strengths)),
                                        candidates=job.candidates or 1)  # 0: a model by itself
            performer = getattr(take.session, "performer", None)
            bar_seconds = performer and round(float(np.median(np.diff(performer.starts_seconds))), 6)
        heard = listen(audio, _predictor(job.predictor, job.hop_seconds), _listener())
    except (ValueError, OSError) as error:
        return {"key": job.key, "problem": " ".join(str(error).split()) or type(error).__name__}, None
    return {"key": job.key, "problem": None, "bar_seconds": bar_seconds, **heard}, audio if keep_audio else None


def listen(audio: Audio, predictor, listener) -> dict:
    import torch

    track = predictor.track(audio)
    rms = float(np.sqrt(np.mean(np.square(audio.samples, dtype=np.float64))))
    known = np.isfinite(track.values).all(1)
    level = torch.from_numpy(audio.samples * np.float32(FEATURE_RMS / max(rms, 1e-6)))[None]
    features = listener.features(level, audio.sample_rate_hz).values[0].mean(0)
    return {"seconds": round(audio.seconds, 3), "level_db": round(20 * math.log10(rms + 1e-9), 3),
            "point": np.round(track.point, 6).tolist() if track.is_music else None, "music": round(float(known.mean()), 4),
            "times": np.round(track.times_seconds[known], 4).tolist(), "values": np.round(track.values[known], 6).tolist(),
            "features": np.round(features.double().numpy(), 5).tolist()}


@functools.lru_cache(maxsize=1)  # jobs come sorted by model
def _lara(model: str, device: str, soundfont: str | None):
    from ..pipeline import Lara

    return Lara.load(model, device, soundfont)


@functools.lru_cache(maxsize=1)
def _predictor(folder: str | None, hop_seconds: float | None):
    from ..predictor import EmotionPredictor

    return EmotionPredictor.load(folder, hop_seconds)


@functools.lru_cache(maxsize=1)
def _listener():
    from ..listener import load_listener

    return load_listener()


# ---- all pieces ----------------------------------------------------------------------------------------------------


def read_journal(path: Path) -> dict[str, dict]:
    """pieces.jsonl -> measurements by key, the last of a key wins. A line that a crash tore at the end is cut off."""
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        write_atomic(path, whole)
    try:
        return {entry["key"]: entry for entry in map(json.loads, whole.splitlines())}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove it, or choose another folder") from error


def _silent(_seconds: float, _name: str):
    return contextlib.nullcontext(lambda share: None)


def measure_all(pieces: Sequence[Piece], folder: Path, workers: int = 1, ray_address: str | None = None, keep_audio: bool = False,
                progress: Callable = _silent) -> dict[str, dict]:
    """Measure what the journal in `folder` lacks or could not measure -> measurements by key.

    workers: processes, each with one thread and its own model; 1 stays in this one. ray_address: a Ray cluster instead ("local"
    starts one here); its machines need this package and the same paths. progress(seconds of music, name) is a context that
    gives a function of the share done. Raises ChildProcessError where a worker died; the journal then has the rest.
    """
    done = read_journal(folder / JOURNAL)
    places: dict[str, list[Path]] = {}
    for piece in pieces:
        if keep_audio and not piece.job.file:
            name = kept_file(folder, piece.system, piece.replicate, piece.target.name, piece.text, piece.seed)
            places.setdefault(piece.job.key, []).append(name)
    todo = {piece.job.key: piece.job for piece in pieces if done.get(piece.job.key, {"problem": "new"})["problem"]
            or not all(path.exists() for path in places.get(piece.job.key, ()))}
    if not todo:
        return done
    jobs = sorted(todo.values(), key=lambda job: job.model)
    cost = {job.key: job.seconds or SECONDS["grid"] for job in jobs}  # seconds of music; a file's are not known yet
    results = results_of(functools.partial(measure, keep_audio=keep_audio), jobs, workers, ray_address)
    total, spent = sum(cost.values()), 0.0
    with progress(total, "bench-emotion") as show, contextlib.closing(results):
        for measured, audio in results:
            for path in places.get(measured["key"], ()) if audio else ():
                path.parent.mkdir(parents=True, exist_ok=True)
                save(path, audio)
            line = json.dumps(measured, allow_nan=False).encode() + b"\n"
            with open(folder / JOURNAL, "ab", buffering=0) as file:  # one write: whole, or torn at the end
                if file.write(line) < len(line):
                    raise OSError(f"{folder / JOURNAL} could not be written, the disk is full; make room and run the same command to go on")
            done[measured["key"]] = measured
            spent += cost[measured["key"]]
            show(spent / total)
    return done
