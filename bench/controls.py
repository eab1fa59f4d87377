"""Does the music do what the curve asks? A 7x7 grid of valence and arousal at fixed texts, measured on score and sound.

    python bench/controls.py [--model NAME|PATH] [--seconds 20] [--seeds 2] [-o FILE.json]

For each point: tempo (from the score), onset rate heard in the loudness-matched sound (every piece is brought to the same RMS
before onsets are picked), and the share of major among the major and minor chords (estimated from the sounding notes, not
read from the harmony lane). Reported: Pearson r of arousal with log tempo and onset rate, Spearman's rho of valence with the major share, and the
cross terms, with 95 % intervals by bootstrap over the grid points.
"""

import argparse
import json
import platform
from pathlib import Path

import numpy as np
from scipy.signal import stft
from scipy.stats import pearsonr, spearmanr
from tqdm import tqdm

from lara_core.affect import Curve
from lara_core.codec import Request
from lara_core.codec.harmony import find_chords
from lara_core.codec.score import Score
from lara_core.pipeline import EMBEDDED, Lara

TEXTS = ("solo piano", "string ensemble", "electronic dance")
MODE_OF = dict.fromkeys(("maj", "7", "maj7", "aug"), "major") | dict.fromkeys(("min", "min7", "dim", "m7b5"), "minor")


def onset_rate_hz(samples: np.ndarray, rate_hz: int) -> float:
    """Onsets a second of a sound [C,T] brought to -20 dB RMS: peaks of the mel-like spectral flux above a fixed threshold."""
    mono = samples.mean(0)
    mono = mono * (0.1 / max(float(np.sqrt((mono ** 2).mean())), 1e-6))
    _, _, spectrum = stft(mono, rate_hz, nperseg=2048, noverlap=2048 - 512)
    edges = np.unique(np.geomspace(4, 900, 41).astype(int))
    bands = np.log1p(200 * np.add.reduceat(np.abs(spectrum), edges, axis=0))
    flux = np.maximum(np.diff(bands, axis=1), 0).mean(0)
    peaks = (flux[1:-1] > flux[:-2]) & (flux[1:-1] >= flux[2:]) & (flux[1:-1] > 0.06)
    times = np.flatnonzero(peaks)
    kept = times[np.concatenate([[True], np.diff(times) > 4])] if len(times) else times  # 50 ms apart
    return len(kept) / (mono.size / rate_hz)


def major_share(piece: Score) -> float:
    """Of the time with a major or minor chord (sevenths and diminished counted with them), the share of the major ones.

    Chords are estimated from the sounding notes, not read from the harmony lane. NaN where there is none.
    """
    chords = find_chords(piece)
    ends = [chord.start for chord in chords[1:]] + [piece.frames]
    time = {"major": 0, "minor": 0}
    for chord, end in zip(chords, ends):
        if chord.root >= 0 and chord.quality in MODE_OF:
            time[MODE_OF[chord.quality]] += end - chord.start
    return time["major"] / sum(time.values()) if sum(time.values()) else float("nan")


def measure(lara: Lara, text: str, valence: float, arousal: float, seconds: float, seed: int) -> dict:
    audio, take = lara.generate(text, Curve.constant(valence, arousal), Request(seconds, seed=seed))
    bars = take.session.piece.bars
    return {"text": text, "valence": valence, "arousal": arousal, "seed": seed,
            "tempo_bpm": float(np.exp(np.mean([np.log(bar.tempo_bpm) for bar in bars]))),
            "onsets_hz": onset_rate_hz(audio.samples, audio.sample_rate_hz), "major": major_share(take.session.piece),
            "rms_db": float(20 * np.log10(np.sqrt((audio.samples ** 2).mean()) + 1e-9))}


def interval(statistic, x: np.ndarray, y: np.ndarray, rng) -> str:
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    draws = [statistic(x[i], y[i])[0] for i in (rng.integers(len(x), size=len(x)) for _ in range(500))]
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return f"{statistic(x, y)[0]:+.2f} [{low:+.2f}, {high:+.2f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--texts", nargs="*", default=TEXTS)
    parser.add_argument("-o", "--output", type=Path, help="all measurements as JSON")
    args = parser.parse_args()
    lara = Lara.load(args.model)
    axis = np.linspace(-1, 1, 7)
    points = [(t, v, a, s) for t in args.texts for v in axis for a in axis for s in range(args.seeds)]
    rows = [measure(lara, t, float(v), float(a), args.seconds, s) for t, v, a, s in tqdm(points, desc="grid", unit="piece")]
    print(f"{lara.name} ({lara.digest}), 7x7 grid, {args.seconds:g} s, {args.seeds} seed(s), {platform.machine()}; 95 % intervals\n")
    print("| text | n | arousal ~ log tempo | arousal ~ onsets | valence ~ major share (rho) | arousal ~ major (rho) | valence ~ onsets |\n|---|---|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    for text in args.texts:
        own = [r for r in rows if r["text"] == text]
        v, a, tempo, onsets, major = (np.array([r[k] for r in own]) for k in ("valence", "arousal", "tempo_bpm", "onsets_hz", "major"))
        cells = [interval(pearsonr, a, np.log(tempo), rng), interval(pearsonr, a, onsets, rng), interval(spearmanr, v, major, rng),
                 interval(spearmanr, a, major, rng), interval(pearsonr, v, onsets, rng)]
        print(f"| {text} | {len(own)} | " + " | ".join(cells) + " |")
    if args.output:
        args.output.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
