"""Speed, memory and sameness of generation, measured through the public API -> a Markdown table with n and spread.

    python -m bench.foundation [--model NAME|PATH] [--repeats 3]

Every measurement is a fresh process, so that memory and loading count as a user meets them. Lengths are interleaved, so that a
busy moment of the machine does not fall on one of them alone.
"""

import argparse
import itertools
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

from lara_core.benchmark import machine

ROOT = Path(__file__).resolve().parent.parent
PROMPT, PRESET, SEED = "cinematic orchestra with piano", "calm-tense-resolve", 7
LENGTHS_SECONDS = (60, 300, 600)


def worker(model: str, seconds: float) -> dict:
    """One piece from import to WAV -> times in seconds, peak memory in MB, digest of the samples."""
    import hashlib
    import tempfile
    import time

    begun = time.perf_counter()
    from lara_core.affect import PRESETS
    from lara_core.audio import WavWriter
    from lara_core.options import limit_threads
    from lara_core.codec import Request
    from lara_core.pipeline import Lara

    limit_threads()
    lara = Lara.load(model)
    loaded, heard, digest = time.perf_counter(), None, hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        with WavWriter(Path(folder) / "piece.wav", lara.codec.sample_rate_hz, lara.codec.channels) as writer:
            for segment in lara.stream(PROMPT, PRESETS[PRESET], Request(seconds, seed=SEED)):
                if heard is None and segment.samples.shape[1]:
                    heard = time.perf_counter()
                writer.write(segment.samples)
                digest.update(segment.samples.tobytes())
        ended, samples, peak = time.perf_counter(), writer.frames, peak_mb()
    assert samples == round(seconds * lara.codec.sample_rate_hz), f"{samples} samples for {seconds} s"
    again = time.perf_counter()
    next(iter(lara.stream(PROMPT, PRESETS[PRESET], Request(seconds, seed=SEED))))
    return {"load": loaded - begun, "first": heard - loaded, "later": time.perf_counter() - again, "made": ended - loaded,
            "peak_mb": peak, "digest": digest.hexdigest(), "made_by": [lara.digest, code_digest()]}


def peak_mb() -> float:
    """Largest resident memory so far of this process and its children together, in 10^6 bytes; NaN where there is no /proc."""
    processes = ["self", *itertools.chain(*(path.read_text().split() for path in Path("/proc/self/task").glob("*/children")))]
    peaks = [re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text()) for process in processes if Path("/proc/self/status").is_file()]
    return sum(int(peak[1]) for peak in peaks) * 1024 / 1e6 if peaks else float("nan")


def code_digest() -> str:
    """Of the sources, so that a change in the middle of a measurement is not taken for chance."""
    import hashlib

    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted((ROOT / "lara_core").rglob("*.py")))).hexdigest()[:16]


def measure(model: str, seconds: float) -> dict:
    command = [sys.executable, "-m", "bench.foundation", "--model", model, "--worker", str(seconds)]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f"The measurement of {seconds} s failed; its error stands above.")
    return json.loads(result.stdout)


def spread(values: list[float], digits: int = 2) -> str:
    """Median (least to most, how many)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f}, n={len(values)})"


def weights_mb() -> float:
    return sum(path.stat().st_size for path in (ROOT / "models").rglob("*.safetensors")) / 1e6


def table(runs: dict[int, list[dict]]) -> list[tuple[str, str, str]]:
    """Runs by length -> rows of figure, median with spread, and what is wanted."""
    minute, five, ten = (runs[seconds] for seconds in LENGTHS_SECONDS)
    everything = [run for group in runs.values() for run in group]
    same = all(len({run["digest"] for run in group}) == 1 for group in runs.values())
    rows = [("Real time, prompt to WAV, 60 s", spread([60 / run["made"] for run in minute], 1) + " x", ">= 15 x"),
            ("the same, with imports and loading", spread([60 / (run["load"] + run["made"]) for run in minute], 1) + " x", ""),
            ("First audio of a stream, model loaded", spread([run["later"] for run in everything]) + " s", "<= 0.5 s"),
            ("First audio of the first stream, model loaded", spread([run["first"] for run in everything]) + " s", "<= 0.5 s"),
            ("the same, with imports and loading", spread([run["load"] + run["first"] for run in everything]) + " s", ""),
            ("Cost of 10 minutes / 5 minutes", spread([b["made"] / a["made"] for a, b in zip(five, ten)]), "<= 2.1")]
    rows += [(f"Peak memory, {seconds // 60} min", spread([run["peak_mb"] for run in group], 0) + " MB", "<= 700 MB") for seconds, group in runs.items()]
    rows += [("Peak memory, 10 min / 1 min", f"{statistics.median(r['peak_mb'] for r in ten) / statistics.median(r['peak_mb'] for r in minute):.2f}", "flat"),
             ("Same seed, same samples", f"{'yes' if same else 'NO'} ({len(minute)} processes for each length)", "yes"),
             ("Weights in the repository", f"{weights_mb():.1f} MB", "<= 60 MB")]
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="embedded", help="name or folder")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each length")
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        print(json.dumps(worker(args.model, args.worker)))
        return
    if args.repeats < 2:
        parser.error("--repeats must be at least 2: a spread and a comparison need two runs.")
    where, runs = machine(), {seconds: [] for seconds in LENGTHS_SECONDS}
    for number in range(args.repeats):
        for seconds, group in runs.items():
            print(f"run {number + 1} of {args.repeats}: {seconds} s of music", file=sys.stderr, flush=True)
            group.append(measure(args.model, seconds))
    if len({str(run["made_by"]) for group in runs.values() for run in group}) > 1:
        sys.exit("The model or the code was changed during the measurement; measure again.")
    print(f"Model {Path(args.model).name}; {where}. Median (least to most).\n")
    print("| figure | measured | wanted |\n|---|---|---|")
    for row in table(runs):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
