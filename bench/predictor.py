"""How fast does the Emotion Predictor listen, does its memory grow with the file, and what moves its point that should not?

    python -m bench.predictor [--minutes 5 60]
    python -m bench.predictor --clips MUSIFEAST-17/stimuli [--count 20]

One core. For each length a process of its own warms up and judges a synthetic FLAC file (44.1 kHz stereo: plucked chords and
hiss): CPU seconds (steadier than the clock on a shared machine) and the clock, both as multiples of real time, and the growth
of the peak of memory beyond that of a half-minute sound. With --clips, files of a folder, evenly picked, are judged as they are
and at other levels, rates and formats: the mean and the largest change of the point.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from bench.foundation import peak_mb
from lara_core.audio import Audio, load, resample, to_mono
from lara_core.predictor import EmotionPredictor

RATE_HZ = 44_100


def write_music(path: Path, minutes: float):
    """A minute of plucked chords over hiss, again and again, FLAC in stereo."""
    random, t = np.random.default_rng(0), np.arange(RATE_HZ) / RATE_HZ
    seconds = []
    for _ in range(60):
        root_hz = 110 * 2 ** (random.integers(24) / 12)
        chord = sum(np.sin(2 * np.pi * root_hz * ratio * k * t) / k for ratio in (1, 1.26, 1.5) for k in (1, 2, 3, 4))
        seconds.append(0.1 * chord * np.exp(-3 * (t % 0.5)) + 0.01 * random.normal(size=RATE_HZ))
    minute = np.stack([np.concatenate(seconds), np.roll(np.concatenate(seconds), 400)], 1).astype(np.float32)
    with soundfile.SoundFile(path, "w", RATE_HZ, 2) as file:
        for _ in range(int(minutes)):
            file.write(minute)


def measure(path: str):
    torch.set_num_threads(1)
    predictor = EmotionPredictor.load()
    predictor.track(np.random.default_rng(0).normal(size=30 * RATE_HZ).astype(np.float32), RATE_HZ)  # whatever is set up at first
    loaded_mb = peak_mb()
    seconds, cpu, clock = soundfile.info(path).duration, time.process_time(), time.perf_counter()
    windows = len(predictor.track(path).times_seconds)
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    print(f"{seconds / 60:.0f} min: {windows} windows, {seconds / cpu:.0f}x real time by CPU time, {seconds / clock:.0f}x by the clock, "
          f"+{peak_mb() - loaded_mb:.0f} MB at the peak", flush=True)


def robustness(folder: Path, count: int):
    torch.set_num_threads(1)
    predictor, files, changes = EmotionPredictor.load(), sorted(folder.glob("*.mp3")), {}
    with tempfile.TemporaryDirectory() as temporary:
        def written(audio: Audio, name: str, subtype: str) -> Path:
            soundfile.write(Path(temporary) / name, audio.samples.T, audio.sample_rate_hz, subtype)
            return Path(temporary) / name

        for file in files[:: max(1, len(files) // count)][:count]:
            audio = load(file)
            point = predictor.track(audio).point
            changed = {
                "20 dB softer": Audio(audio.samples * np.float32(0.1), audio.sample_rate_hz), "mono": to_mono(audio),
                "22.05 kHz": resample(audio, 22_050), "OGG Vorbis": written(audio, "a.ogg", "VORBIS"),
                "MP3 once more": written(audio, "a.mp3", "MPEG_LAYER_III"), "8 bit": written(audio, "a.wav", "PCM_U8"),
            }
            for name, sound in changed.items():
                changes.setdefault(name, []).append(np.abs(predictor.track(sound).point - point))
    for name, rows in changes.items():
        mean, most = np.mean(rows, 0), np.max(rows, 0)
        print(f"{name:14} n {len(rows)}: valence {mean[0]:.3f} (at most {most[0]:.3f}), arousal {mean[1]:.3f} (at most {most[1]:.3f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=int, nargs="*", default=[5, 60])
    parser.add_argument("--clips", type=Path, help="a folder of MP3 files")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.file:
        return measure(args.file)
    if args.clips:
        return robustness(args.clips, args.count)
    for minutes in args.minutes:
        with tempfile.TemporaryDirectory() as folder:
            write_music(path := Path(folder) / "music.flac", minutes)
            subprocess.run([sys.executable, "-m", "bench.predictor", "--file", str(path)], check=True)


if __name__ == "__main__":
    main()
