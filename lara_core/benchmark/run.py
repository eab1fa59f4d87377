"""Run: planned pieces go in; each is made or read and heard, here, in processes or on a Ray cluster, and goes to the journal."""
from __future__ import annotations

import contextlib
import functools
import json
import math
import multiprocessing
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from ..affect import write_atomic
from ..audio import Audio, load, save
from .plan import SECONDS, Job, Piece, file_name

FEATURE_RMS = 0.1  # level at which features for the Frechet audio distance are heard
JOURNAL = "pieces.jsonl"


# ---- one piece -----------------------------------------------------------------------------------------------------


def measure(job: Job, keep_audio: bool = False) -> tuple[dict, Audio | None]:
    """Make or read one piece and listen -> what the journal keeps of it, and the sound if it is to be kept.

    {"key", "problem"} and, unless there is a problem: seconds, level_db (RMS), point [2] or None where nothing is music, times
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

            lara = _lara(job.model, job.device, job.soundfont)
            audio, take = lara.generate(job.prompt, job.curve, Request(job.seconds, seed=job.seed), candidates=job.candidates)
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
            "point": np.round(track.point, 6).tolist() if known.any() else None, "music": round(float(known.mean()), 4),
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
            name = folder / "audio" / f"{piece.system}-{piece.replicate}" / file_name(piece.target.name, piece.text, piece.seed)
            places.setdefault(piece.job.key, []).append(name)
    todo = {piece.job.key: piece.job for piece in pieces if done.get(piece.job.key, {"problem": "new"})["problem"]
            or not all(path.exists() for path in places.get(piece.job.key, ()))}
    if not todo:
        return done
    jobs = sorted(todo.values(), key=lambda job: job.model)
    cost = {job.key: job.seconds or SECONDS["grid"] for job in jobs}  # seconds of music; a file's are not known yet
    if ray_address is not None:
        results = _on_ray(jobs, ray_address, workers, keep_audio)
    else:
        results = _in_processes(jobs, workers, keep_audio) if workers > 1 else (measure(job, keep_audio) for job in jobs)
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


def _in_flight(jobs: Sequence[Job], most: int, submit: Callable, wait_for_one: Callable, result: Callable) -> Iterator[tuple]:
    """Results as they come, with at most so many asked for at a time: sound that is kept does not pile up."""
    waiting, pending = iter(jobs), []
    while True:
        while len(pending) < most and (job := next(waiting, None)) is not None:
            pending.append(submit(job))
        if not pending:
            return
        ready, pending = wait_for_one(pending)
        for one in ready:
            yield result(one)


def _in_processes(jobs: Sequence[Job], workers: int, keep_audio: bool) -> Iterator[tuple]:
    def wait_for_one(pending):
        ready, rest = wait(pending, return_when=FIRST_COMPLETED)
        return ready, list(rest)

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read when a process starts: those to come
        os.environ.setdefault(name, "1")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield from _in_flight(jobs, 2 * workers, lambda job: pool.submit(measure, job, keep_audio), wait_for_one, lambda one: one.result())
    except BrokenProcessPool as error:
        raise ChildProcessError(_DEAD) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - others:  # whoever stops early does not wait for half a piece
            worker.terminate()
            worker.join()


def _start_worker() -> None:
    """Ctrl-C is the parent's to hear; and where the parent is killed, nobody is left behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _on_ray(jobs: Sequence[Job], address: str, workers: int, keep_audio: bool) -> Iterator[tuple]:
    try:
        import ray.exceptions  # not `ray`: any folder of that name would do
    except ImportError as error:
        raise ValueError("--ray needs the package ray; install it with: pip install 'lara-gen[ray]'") from error
    place = re.fullmatch(r"([^/]+):(\d{1,5})", address)
    if place:  # Ray itself would go on trying for many minutes
        try:
            socket.create_connection((place[1], int(place[2])), 5).close()
        except (OSError, OverflowError) as error:
            raise ValueError(_NO_RAY.format(address, error)) from error
    where = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(None if address == "local" else address, log_to_driver=False, logging_level="ERROR", **where)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(_NO_RAY.format(address, error)) from error
    try:
        there = ray.remote(num_cpus=1, max_retries=0)(measure)
        most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield from _in_flight(jobs, most, lambda job: there.remote(job, keep_audio), lambda pending: ray.wait(pending, num_returns=1), ray.get)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError) as error:
        raise ChildProcessError(_DEAD) from error
    finally:
        ray.shutdown()


_NO_RAY = "no Ray cluster answers at {} ({}); give host:port of a running one, or local"
_DEAD = ("a worker process died, killed from outside or out of memory; what was measured is kept, run the same command to go on, "
         "perhaps with fewer --jobs")
