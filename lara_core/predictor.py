"""The Emotion Predictor: sound goes in, valence and arousal over time come out, or the word that it is not music.

    samples, Audio or file -> one level -> windows of 3 s -> listener + signal descriptors -> heads -> Track

The paper's Figure 1b (arXiv 2510.05875): features of a frozen listener, a sliding window, a regression head. But the point
of a whole clip is judged from averaged features, not averaged from judgements: that is nearer to people's ratings. Before
anything listens, the sound is brought to one level, so loudness cannot pass for arousal. Sound is read in pieces of about
half a minute; an hour-long file needs no more memory than they do. training/train_predictor.py makes the heads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .audio import Audio
from .listener import BLOCK_SECONDS, SHORTEST_SECONDS, load_listener, mel_filters
from .weights import CONFIG, find_file, read_json, read_tensors

EMBEDDED_FOLDER = Path(__file__).resolve().parent.parent / "models" / "predictor"
RATE_HZ, WINDOW_SECONDS = 16_000, 3.0
LEVEL_RMS = 0.1  # what the listener hears: -20 dBFS over all that is not a rest
SILENCE_RMS = 10 ** (-70 / 20)  # below this there is nothing to hear
GATE_SECONDS = 0.4
RESTS_BELOW = 0.01  # a window more than 40 dB below the level of the piece is a rest
PIECE_WINDOWS = 10  # heard at once
NEAR_SECONDS = 6.0  # neighbours within which are heard with a window
DIMENSIONS = ("valence", "arousal")
CLIP = 4.0  # standard deviations: nothing odd may pull a value far

FRAME, HOP = 512, 320  # of the spectral descriptors: 50 frames a second
PITCH_FRAME, PITCH_HOP, LOWEST_PITCH, PITCHES = 4096, 2048, 36, 72  # of the pitch histogram: MIDI 36..107
TEXTURE = ("centroid", "centroid_std", "flatness", "rolloff", "bass", "flux", "flux_std", "flux_peak", "onset_rate", "tonal",
           "roughness")
CHORDS = {"major": (0, 4, 7), "minor": (0, 3, 7), "diminished": (0, 3, 6), "augmented": (0, 4, 8), "dominant_7": (0, 4, 7, 10),
          "suspended_4": (0, 5, 7), "minor_7": (0, 3, 7, 10), "major_7": (0, 4, 7, 11)}
INTERVALS = 6  # semitones 1..6; with their inversions, all there are
HARMONY = len(CHORDS) + INTERVALS


@dataclass(frozen=True, eq=False)
class Track:
    """Valence and arousal over time, on [-1, 1].

    `times_seconds` [W] are the middles of the windows; `values` [W, 2] (valence, arousal) and their `uncertainty` [W, 2]
    (one standard deviation) are NaN where `music` [W], the probability that a window is music (0 in a rest), is below one
    half. `point` [2] is what the heads say of the average of the windows that are music, which is how they were trained; NaN
    where these are no majority of the windows with a sound.
    """

    times_seconds: np.ndarray
    values: np.ndarray
    uncertainty: np.ndarray
    music: np.ndarray
    point: np.ndarray

    @property
    def is_music(self) -> bool:
        return bool(2 * (self.music >= 0.5).sum() > (self.music > 0).sum())


class EmotionPredictor:
    """A Gaussian process per dimension over clips that people rated, and a logistic 'is it music'.

    k(x, y) = linear x.y + rbf exp(-|x - y|^2 / 2), x being features centred, scaled and clipped; so the uncertainty grows
    with the distance to everything that was rated (Rasmussen and Williams 2006, equations 2.25 and 2.26).
    """

    def __init__(self, config: dict, tensors: dict[str, np.ndarray], hop_seconds: float | None = None):
        self.config, self._t = config, tensors
        hop_seconds = config["hop_seconds"] if hop_seconds is None else hop_seconds
        if not 1 <= hop_seconds <= 30:
            raise ValueError(f"hop_seconds is {hop_seconds!r}: give a number from 1 to 30.")
        self.listener = load_listener(config["listener"], layer=config["layer"], hop_seconds=hop_seconds)

    @classmethod
    def load(cls, folder: str | Path | None = None, hop_seconds: float | None = None) -> EmotionPredictor:
        """A folder as training/train_predictor.py writes it; None: the shipped one. A window every `hop_seconds`, 1 to 30.
        Raises FileNotFoundError for missing files, ValueError for damaged or foreign ones."""
        folder = EMBEDDED_FOLDER if folder is None else Path(folder)
        config = read_json(find_file(folder, CONFIG))
        if config.get("kind") != "emotion-predictor":
            raise ValueError(f"{folder / CONFIG} has kind {config.get('kind')!r}: expected 'emotion-predictor'.")
        tensors = {name: tensor.numpy() for name, tensor in read_tensors(folder).items()}
        width, examples = tensors["centre"].shape[0], tensors["examples"].shape[0]
        shapes = {"centre": (width,), "examples": (examples, width), "music.centre": (width,), "music.scale": (2, width),
                  "music.weights": (width,)}
        for name in DIMENSIONS:
            shapes |= {f"{name}.scale": (2, width), f"{name}.alpha": (examples,), f"{name}.inverse": (examples, examples)}
        wrong = [name for name, shape in shapes.items() if name not in tensors or tensors[name].shape != shape]
        if wrong:
            raise ValueError(f"{folder} is not a whole predictor: {wrong[0]} is absent or misshapen; train or get it again.")
        return cls(config, tensors, hop_seconds)

    def track(self, source: str | Path | Audio | np.ndarray | torch.Tensor, sample_rate_hz: float | None = None) -> Track:
        """A sound file, Audio, or float samples [T] or [C, T] with their sample rate -> Track.

        Raises ValueError for a missing or unreadable file and for sound that is shorter than 0.05 s or not finite."""
        heard = hear(source, sample_rate_hz, self.listener)
        music = self._music(heard)
        features = smoothed(heard)
        values, uncertainty = self.judge(features)
        values[music < 0.5], uncertainty[music < 0.5] = np.nan, np.nan
        track = Track(heard.times_seconds, values, uncertainty, music, np.full(2, np.nan))
        if not track.is_music:
            return track
        return replace(track, point=self.judge(features[music >= 0.5].mean(0, keepdims=True))[0][0])

    def judge(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features [W, D] -> values and standard deviations, both [W, 2]."""
        t, columns = self._t, []
        for name in DIMENSIONS:
            x, examples = (scaled(rows, t["centre"], t[f"{name}.scale"]) for rows in (features, t["examples"]))
            columns.append(posterior(x, examples, self.config["heads"][name], t[f"{name}.alpha"], t[f"{name}.inverse"]))
        values, uncertainty = (np.stack(column, 1) for column in zip(*columns, strict=True))
        return values, uncertainty

    def _music(self, heard: Heard) -> np.ndarray:
        x = scaled(combined(heard.features, heard.descriptors), self._t["music.centre"], self._t["music.scale"])
        logit = x @ self._t["music.weights"] + self.config["music_bias"]
        audible = heard.levels > LEVEL_RMS * RESTS_BELOW
        return np.where(audible, 1 / (1 + np.exp(-logit)), 0.0)


def scaled(features: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Features [W, D] -> centred, clipped at CLIP standard deviations, weighted: `scale` [2, D] is deviation and weight."""
    return np.clip((features - centre) / scale[0], -CLIP, CLIP) * scale[1]


def kernel(x: np.ndarray, y: np.ndarray, head: dict) -> np.ndarray:
    """[W, D], [N, D] -> [W, N]."""
    product = x @ y.T
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * product
    return head["linear"] * product + head["rbf"] * np.exp(-np.maximum(squares, 0) / 2)


def posterior(x: np.ndarray, examples: np.ndarray, head: dict, alpha: np.ndarray, inverse: np.ndarray):
    """Scaled features [W, D] and those of the examples [N, D] -> values on [-1, 1] and standard deviations, both [W]."""
    cross = kernel(x, examples, head)
    prior = head["linear"] * (x * x).sum(1) + head["rbf"] + head["noise"]
    variance = prior - ((cross @ inverse) * cross).sum(1)
    return np.clip(head["mean"] + cross @ alpha, -1, 1), head["spread"] * np.sqrt(np.maximum(variance, 1e-6))


@dataclass(frozen=True, eq=False)
class Heard:
    """What reaches the heads: centres of the windows [W], listener features [W, D'], raw descriptors [W, R], RMS [W] at one
    level, and the level that the sound had, in dBFS."""

    times_seconds: np.ndarray
    features: np.ndarray
    descriptors: np.ndarray
    levels: np.ndarray
    level_db: float


def hear(source: str | Path | Audio | np.ndarray | torch.Tensor, sample_rate_hz: float | None, listener) -> Heard:
    """Any sound -> Heard. Windows every `listener.hop_seconds`; a rest of half a window or more is a window too."""
    rate_hz, blocks = _opened(source, sample_rate_hz)
    level = max(_gated_rms(blocks(), rate_hz), SILENCE_RMS)
    hop, window = round(listener.hop_seconds * RATE_HZ), round(WINDOW_SECONDS * RATE_HZ)
    piece = (PIECE_WINDOWS - 1) * hop + max(hop, window)
    times, features, descriptors, levels, held, at = [], [], [], [], np.zeros(0, np.float32), 0

    def take(samples: np.ndarray):
        nonlocal at
        heard = listener.features(torch.from_numpy(samples), RATE_HZ).values[0].numpy()
        for i, row in enumerate(heard):
            part = samples[i * hop : i * hop + window]
            times.append((at + i * hop + len(part) / 2) / RATE_HZ)
            features.append(row)
            descriptors.append(describe(part))
            levels.append(np.sqrt(np.mean(part.astype(np.float64) ** 2)))
        at += len(heard) * hop

    for block in _resampled(blocks(), rate_hz):
        held = np.concatenate([held, block * np.float32(LEVEL_RMS / level)])
        while len(held) >= piece:
            take(held[:piece])
            held = held[PIECE_WINDOWS * hop :]
    begun = at
    if len(held) >= window:
        take(held)
        held = held[at - begun :]
    if not times or len(held) - max(0, window - hop) >= window / 2:
        take(held)
    return Heard(np.array(times), np.stack(features), np.stack(descriptors), np.array(levels), 20 * np.log10(level))


# ---------------------------------------------------------------------------------------------------------------- sound


def _opened(source, sample_rate_hz) -> tuple[float, Callable[[], Iterator[np.ndarray]]]:
    """A path, Audio or samples -> the sample rate and a function that reads mono blocks [t] from the start."""
    if isinstance(source, (str, Path)):
        import soundfile

        path = Path(source).expanduser()
        if not path.is_file():
            raise ValueError(f"There is no file {path}; choose an existing sound file.")

        def of_file():
            with _readable(path), soundfile.SoundFile(path) as file:
                mix = np.full(file.channels, 1 / file.channels, np.float32)  # in a tenth of the time of mean(1)
                for block in file.blocks(BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True):
                    yield _finite(block @ mix)

        with _readable(path):
            info = soundfile.info(path)
        _check(info.frames, info.samplerate)
        return info.samplerate, of_file
    if isinstance(source, Audio):
        source, sample_rate_hz = source.samples, source.sample_rate_hz
    samples = source.detach().cpu().numpy() if isinstance(source, torch.Tensor) else np.asarray(source)
    if samples.ndim not in (1, 2) or samples.dtype.kind != "f":
        raise ValueError(f"samples are {samples.dtype} {list(samples.shape)}: give floats shaped [T] or [C, T].")
    _check(samples.shape[-1] if samples.size else 0, sample_rate_hz)
    size = int(BLOCK_SECONDS * sample_rate_hz)
    return sample_rate_hz, lambda: (
        _finite(np.atleast_2d(samples[..., start : start + size]).mean(0, dtype=np.float32))
        for start in range(0, samples.shape[-1], size))


@contextlib.contextmanager
def _readable(path: Path):
    import soundfile

    try:
        yield
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} is not a readable sound file ({error.error_string.rstrip('.')}); choose a WAV, FLAC, OGG or MP3 "
                         "file.") from error


def _check(length: int, sample_rate_hz: float | None):
    if sample_rate_hz is None or not 1_000 <= sample_rate_hz <= 1_000_000:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz!r}: give the rate of the samples, 1000 to 1000000 Hz.")
    if length < SHORTEST_SECONDS * sample_rate_hz:
        raise ValueError(f"the sound has {length} samples ({length / sample_rate_hz:.3f} s): give {SHORTEST_SECONDS} s or more.")


def _finite(block: np.ndarray) -> np.ndarray:
    if not np.isfinite(block).all():
        raise ValueError("the sound holds NaN or infinity: only finite samples can be judged, check what rendered it.")
    return block


def _gated_rms(blocks: Iterator[np.ndarray], rate_hz: float) -> float:
    """The level of all that is within 30 dB of the loudest 0.4 s, so that rests don't count; 0 for no sound."""
    size, powers = int(GATE_SECONDS * rate_hz), []
    for block in blocks:
        whole = len(block) // size * size
        parts = block[:whole].reshape(-1, size) if whole else block[None]
        powers.append(np.einsum("ij,ij->i", parts, parts, dtype=np.float64) / parts.shape[1])
    powers = np.concatenate(powers)
    return float(np.sqrt(powers[powers >= powers.max() / 1000].mean()))


def _resampled(blocks: Iterator[np.ndarray], rate_hz: float) -> Iterator[np.ndarray]:
    import soxr

    if rate_hz == RATE_HZ:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


# ------------------------------------------------------------------------------------------------------------- features


def smoothed(heard: Heard) -> np.ndarray:
    """Heard -> features [W, D] of each window with its neighbours: harmony needs more than 3 s to show.

    Rests count for nothing, as long as there is anything else near.
    """
    times, weights = heard.times_seconds, np.where(heard.levels > LEVEL_RMS * RESTS_BELOW, 1.0, 1e-6)
    first, last = (np.searchsorted(times, times + step) for step in (-NEAR_SECONDS - 1e-6, NEAR_SECONDS + 1e-6))
    near = [(slice(a, b), weights[a:b] / weights[a:b].sum()) for a, b in zip(first, last, strict=True)]
    return combined(*(np.stack([share @ rows[part] for part, share in near]) for rows in (heard.features, heard.descriptors)))


def combined(features: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
    """Listener features [W, D'] and raw descriptors [W, R], averaged or not -> what the heads read [W, D' + 11 + 14].

    The last are TEXTURE, then harmony: CHORDS, and how strongly pitch classes 1..6 semitones apart sound together (the
    autocorrelation of the chroma)."""
    rest, chroma = np.split(descriptors.astype(np.float64), [-12], axis=1)
    unit = _centred(chroma)
    intervals = [(unit * np.roll(unit, step, axis=1)).sum(1) for step in range(1, INTERVALS + 1)]
    return np.column_stack([features, rest, *intervals])


def _centred(chroma: np.ndarray) -> np.ndarray:
    """Rows [N, 12] less their mean, of length 1."""
    spread = chroma - chroma.mean(1, keepdims=True)
    return spread / (np.linalg.norm(spread, axis=1, keepdims=True) + 1e-6)


# ---------------------------------------------------------------------------------------------------------- descriptors


def describe(samples: np.ndarray) -> np.ndarray:
    """One window [t] at 16 kHz and one level -> raw descriptors [R]: TEXTURE, CHORDS (how well the best root of each fits)
    and the chroma [12] from C."""
    samples = np.pad(samples, (0, max(0, 2 * PITCH_FRAME - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP] * _HANN
    power = np.abs(np.fft.rfft(frames, axis=1)).astype(np.float32) ** 2  # [f,257]
    total = power.sum(1) + 1e-9
    centroid = np.log2((power @ _BINS_HZ + 100 * 1e-6) / (total + 1e-6) + 50)
    flatness = np.log10(power + 1e-8).mean(1) - np.log10(power.mean(1) + 1e-8)
    rolloff = (np.cumsum(power, 1) < 0.85 * total[:, None]).sum(1) / len(_BINS_HZ)
    bands = np.log10(1 + 1000 * (power @ _MELS))  # [f,96]
    onset = np.maximum(np.diff(bands, axis=0), 0).mean(1)
    peaks = (onset[1:-1] > onset[:-2]) & (onset[1:-1] >= onset[2:]) & (onset[1:-1] > onset.mean() + onset.std())
    pitch, tonal, roughness = _pitches(samples)
    texture = (centroid.mean(), centroid.std(), flatness.mean(), rolloff.mean(), power[:, :7].sum() / total.sum(), onset.mean(),
               onset.std(), onset.max(), peaks.sum() / (len(onset) * HOP / RATE_HZ), tonal, roughness)
    octaves = pitch.reshape(-1, 12)
    chords = (_CHORD_TEMPLATES @ _centred(np.sqrt(octaves).sum(0)[None])[0]).max(1)  # the root lets weak notes count
    return np.concatenate([texture, chords, octaves.sum(0)]).astype(np.float32)


def _pitches(samples: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Spectral peaks of a window -> histogram [72] of their magnitudes by semitone, their share of the power, roughness."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, PITCH_FRAME)[::PITCH_HOP] * _PITCH_HANN
    magnitude = np.abs(np.fft.rfft(frames, axis=1))[:, 14:1100].astype(np.float32)  # 55 Hz to 4.3 kHz
    left, middle, right = magnitude[:, :-2], magnitude[:, 1:-1], magnitude[:, 2:]
    floor = np.maximum(magnitude.mean(1, keepdims=True), magnitude.max(1, keepdims=True) * 0.01) + 1e-4
    row, column = np.nonzero((middle > left) & (middle >= right) & (middle > floor))
    if not len(row):
        return np.zeros(PITCHES, np.float32), 0.0, 0.0
    a, b, c = (side[row, column] for side in (left, middle, right))
    bins = 15 + column + 0.5 * (a - c) / (a - 2 * b + c - 1e-9)  # the top of a parabola through three bins
    frequency = bins * RATE_HZ / PITCH_FRAME
    midi = np.rint(69 + 12 * np.log2(frequency / 440)).astype(int) - LOWEST_PITCH
    inside = (midi >= 0) & (midi < PITCHES)
    histogram = np.bincount(midi[inside], b[inside], PITCHES) / len(frames)
    near = (row[1:] == row[:-1])
    gap, product = np.diff(frequency)[near], (b[1:] * b[:-1])[near]
    width = 0.24 / (0.0207 * frequency[:-1][near] + 18.96)  # Sethares 1993, of neighbouring partials
    rough = (product * (np.exp(-3.51 * width * gap) - np.exp(-5.75 * width * gap))).sum() / (b * b).sum()
    return histogram, float((b * b).sum() / ((magnitude ** 2).sum() + 1e-6)), float(rough)


_HANN, _PITCH_HANN = np.hanning(FRAME).astype(np.float32), np.hanning(PITCH_FRAME).astype(np.float32)
_BINS_HZ = (np.arange(FRAME // 2 + 1) * RATE_HZ / FRAME).astype(np.float32)
_MELS = mel_filters().T.astype(np.float32)
_CHORD_TEMPLATES = np.stack([  # [chords,12 roots,12]
    _centred(np.stack([np.isin(np.arange(12), (np.array(steps) + root) % 12) * 1.0 for root in range(12)])) for steps in CHORDS.values()])
