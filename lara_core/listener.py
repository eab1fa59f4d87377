"""Frozen music-understanding models: audio goes in, features over time come out.

    samples [B, T] or [B, C, T], any sample rate -> Features(values [B, F, D], times_seconds [F])

`MusicnnListener` (0.79 M parameters, shipped in models/listener) is quick on any CPU; `MertListener` wraps MERT and its
kin (wav2vec 2.0, HuBERT) for a GPU. Both read sound in blocks, so memory does not grow with the piece. A listener is
never trained and passes no gradient: it hears rendered sound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as nnf

from .weights import CONFIG, find_file, read_json, read_tensors

EMBEDDED_FOLDER = Path(__file__).resolve().parent.parent / "models" / "listener"
BLOCK_SECONDS, SHORTEST_SECONDS = 30, 0.05  # sound held at once; the least that can be heard

# musicnn's front end: what its weights were trained on
RATE_HZ, N_FFT, HOP, N_MELS = 16_000, 512, 256, 96
FRAME_RATE_HZ = RATE_HZ / HOP  # 62.5 mel frames a second
WINDOW = 187  # mel frames that one embedding sees: 2.992 s
LAYER_WIDTHS = {"penultimate": 200, "dense": 200, "pool": 1506, "tags": 50}

_FILTERS = {  # filters, then frames and mel bands, or width and frames
    "timbral.0": (204, 7, 38), "timbral.1": (204, 7, 67), "temporal.0": (51, 128), "temporal.1": (51, 64),
    "temporal.2": (51, 32), "middle.0": (64, 561, 7), "middle.1": (64, 64, 7), "middle.2": (64, 64, 7),
    "dense": (200, 1506), "tags": (50, 200),
}
_NORMALISED = {name: shape[:1] for name, shape in _FILTERS.items() if name != "tags"} | {"input": (1,), "pool": (1506,)}
_SHAPES = {f"{n}.weight": s for n, s in _FILTERS.items()} | {f"{n}.bias": s[:1] for n, s in _FILTERS.items()}
_SHAPES |= {f"{n}.{part}": s for n, s in _NORMALISED.items() for part in ("scale", "shift")}


@dataclass(frozen=True)
class Features:
    """What a listener heard: `values` [B, F, D] float32 and the centre of each frame, `times_seconds` [F] float64."""

    values: torch.Tensor
    times_seconds: torch.Tensor


class Listener(Protocol):
    """A frozen model behind one door. `name` tells the features of different models apart; `width` is D."""

    name: str
    width: int
    hop_seconds: float

    def features(self, samples: torch.Tensor, sample_rate_hz: float) -> Features:
        """samples [T], [B, T] (mono) or [B, C, T] (mixed to mono by the mean), float in [-1, 1] -> Features."""

    def features_of_file(self, path: str | Path) -> Features:
        """A sound file of any length, read in blocks -> Features with B = 1."""


def load_listener(
    folder_or_name: str | Path = "musicnn", *, layer: str | int | None = None, hop_seconds: float | None = None,
    device: str = "cpu", trust_remote_code: bool = False, allow_download: bool = False,
) -> Listener:
    """The shipped listener ("musicnn"), a folder like it, or a transformers model (folder or hub id), for which the last
    two arguments are. None takes the model's own layer and hop. Raises what MusicnnListener and MertListener raise."""
    folder = EMBEDDED_FOLDER if folder_or_name == "musicnn" else Path(folder_or_name)
    if folder == EMBEDDED_FOLDER or (folder.is_dir() and _config(folder).get("kind") == "musicnn"):
        return MusicnnListener(folder, layer=layer, hop_seconds=hop_seconds, device=device)
    return MertListener(
        folder_or_name, trust_remote_code, allow_download=allow_download, layer=layer,
        hop_seconds=1.0 if hop_seconds is None else hop_seconds, device=device,
    )


# ---------------------------------------------------------------------------------------------------------------- sound


class _BlockListener:
    """Cuts arrays and files into mono blocks [B, t] for the subclass's `_hear(blocks, sample_rate_hz)`."""

    def features(self, samples: torch.Tensor, sample_rate_hz: float) -> Features:
        samples = torch.as_tensor(samples)
        if samples.ndim not in (1, 2, 3) or not samples.is_floating_point() or 0 in samples.shape:
            shape = f"{samples.dtype} {list(samples.shape)}"
            raise ValueError(f"samples are {shape}: give floats shaped [T], [B, T] or [B, C, T], not empty.")
        rate_hz = _within("sample_rate_hz", sample_rate_hz, 1_000, 1_000_000)
        blocks = (samples[None] if samples.ndim == 1 else samples).split(int(BLOCK_SECONDS * rate_hz), dim=-1)
        with torch.no_grad():  # not inference_mode, whose tensors could not serve as training targets
            return self._hear((b.float().mean(1) if b.ndim == 3 else b.float() for b in blocks), rate_hz)

    def features_of_file(self, path: str | Path) -> Features:
        import soundfile

        try:
            with soundfile.SoundFile(str(path)) as file, torch.no_grad():
                rate_hz = _within("sample rate of the file", file.samplerate, 1_000, 1_000_000)
                blocks = file.blocks(int(BLOCK_SECONDS * rate_hz), dtype="float32", always_2d=True)
                mix = np.full(file.channels, 1 / file.channels, np.float32)  # in a tenth of the time of mean(1)
                return self._hear((torch.from_numpy(b @ mix)[None] for b in blocks), rate_hz)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path} cannot be read as sound ({error}): give a WAV, FLAC, OGG or MP3 file.") from error


def _within(what: str, value: float, low: float, high: float) -> float:
    if not isinstance(value, Real) or not low <= value <= high:
        raise ValueError(f"{what} is {value!r}: give a number from {low} to {high}.")
    return float(value)


def _resampled(blocks: Iterable[torch.Tensor], from_hz: float, to_hz: float) -> Iterator[torch.Tensor]:
    """Mono blocks [B, t] at one rate -> the same sound in blocks at another, without seams. NaN and snippets raise."""
    import soxr

    stream, length = None, 0
    for block in blocks:
        rows, length = len(block), length + block.shape[1]
        if not torch.isfinite(block).all():
            raise ValueError("samples hold NaN or infinity: a listener needs finite sound, check what rendered it.")
        if from_hz == to_hz:
            yield block
        else:
            stream = stream or soxr.ResampleStream(from_hz, to_hz, rows, dtype="float32")
            yield torch.from_numpy(stream.resample_chunk(block.T.contiguous().cpu().numpy())).T
    if length < SHORTEST_SECONDS * from_hz:
        raise ValueError(f"the sound lasts {length / from_hz:.3f} s: a listener needs {SHORTEST_SECONDS} s or more.")
    if stream:
        yield torch.from_numpy(stream.resample_chunk(np.zeros((0, rows), np.float32), last=True)).T


def mel_filters() -> np.ndarray:
    """Slaney's mel filter bank [96, 257]: linear below 1 kHz, logarithmic above, triangles of equal area.

    Source: Slaney 1998, Auditory Toolbox; the same numbers as librosa.filters.mel(sr=16000, n_fft=512, n_mels=96).
    """
    knee, step = 15.0, math.log(6.4) / 27  # 200/3 Hz a mel up to 1 kHz, from there 27 mels for a factor of 6.4
    mels = np.linspace(0, knee + math.log(RATE_HZ / 2 / 1000) / step, N_MELS + 2)
    edges_hz = np.where(mels < knee, mels * 200 / 3, 1000 * np.exp(step * (mels - knee)))
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    bins_hz = np.arange(N_FFT // 2 + 1) * RATE_HZ / N_FFT
    triangles = np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre))
    return np.maximum(triangles, 0) * 2 / (high - low)


def log_mel_blocks(blocks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Blocks [B, t] at 16 kHz -> log-mel frames [B, f, 96], log10(10000 power + 1).

    In all 1 + T // 256 frames, frame i centred on sample 256 i, both ends of the sound mirrored. In float32: musicnn
    itself rounds the power to float16, which overflows above a power of 6.5 and makes NaN of loud tones.
    """
    bank, hann, half = torch.from_numpy(mel_filters().T).float(), torch.hann_window(N_FFT), N_FFT // 2

    def frames(padded: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(padded.unfold(1, N_FFT, HOP) * hann.to(padded.device))
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.log10(10_000 * (power @ bank.to(padded.device)) + 1)

    held, started = None, False
    for block in blocks:
        held = block if held is None else torch.cat([held, block], dim=1)
        if not started and held.shape[1] > N_FFT:
            held, started = torch.cat([held[:, 1 : half + 1].flip(1), held], dim=1), True
        ready = (held.shape[1] - half - 1 - N_FFT) // HOP + 1  # half + 1 samples wait: the end is to be mirrored
        if started and ready > 0:
            yield frames(held[:, : (ready - 1) * HOP + N_FFT])
            held = held[:, ready * HOP :]
    yield frames(torch.cat([held, held[:, -half - 1 : -1].flip(1)], dim=1))


# -------------------------------------------------------------------------------------------------------------- musicnn


class MusicnnListener(_BlockListener):
    """MSD_musicnn (Pons and Serra 2019, https://github.com/jordipons/musicnn): a window of 3 s every `hop_seconds`.

    folder: config.json and model.safetensors, as training/convert_musicnn.py writes them. `layer` and `hop_seconds`
    override the config: "penultimate" (200: musicnn's embedding, after ReLU and normalisation), "dense" (200: before
    that ReLU), "pool" (1506: maximum and mean over time of 753 features, interleaved), "tags" (50 probabilities of
    `tags`). Windows start on mel frames, within 8 ms of the hop; `times_seconds` tells where. Sound shorter than a
    window is repeated until it fills one, as in the model's training, and gives one frame; a rest at the end that fills
    no window is not heard. Raises ValueError for damaged or foreign files, a bad layer or hop, unusable sound;
    FileNotFoundError for a missing file.

    The same numbers as the plain convolutions (the tests' slow twin) in a third of the time:
    - the 7 frames around an instant, seen by several overlapping windows, meet the timbral filters once;
    - the timbral filters act as products of 96-point spectra over the mel bands. Only their maximum over the bands is
      wanted, and the outputs +g and -g from the centre are C + S and C - S: the larger is C + |S|, half the work;
    - the temporal filters are one matrix product per 4 frames, on overlapping views;
    - bias, ReLU and scale follow the maximum; filters with a negative scale are negated, for they need the minimum.
    """

    def __init__(
        self, folder: str | Path = EMBEDDED_FOLDER, *, layer: str | None = None, hop_seconds: float | None = None,
        device: str = "cpu",
    ):
        folder = Path(folder)
        config = _config(folder)
        if config.get("kind") != "musicnn":
            raise ValueError(f"{folder / 'config.json'} has kind {config.get('kind')!r}: expected 'musicnn'.")
        self.layer = layer or config.get("layer", "penultimate")
        if self.layer not in LAYER_WIDTHS:
            raise ValueError(f"layer is {self.layer!r}: choose one of {', '.join(LAYER_WIDTHS)}.")
        self.name, self.width = f"musicnn-msd/{self.layer}", LAYER_WIDTHS[self.layer]
        hop_seconds = config.get("hop_seconds", 1.0) if hop_seconds is None else hop_seconds
        self.hop_seconds = _within("hop_seconds", hop_seconds, 0.1, 60)
        self.tags = tuple(config.get("tags", ()))
        weights = {name: value.to(device) for name, value in _read_weights(folder).items()}
        signed = {  # [filters, ...], negated where the scale after the maximum is negative
            n: weights[f"{n}.weight"] * weights[f"{n}.scale"].sign().view(-1, *[1] * (len(shape) - 1))
            for n, shape in _FILTERS.items() if n[0] == "t" and n != "tags"
        }
        self._timbral = [[t.to(device) for t in _spectral_tables(signed[f"timbral.{i}"].cpu())] for i in (0, 1)]
        self._temporal = [  # [4 * 51, K + 3]: four successive outputs at once
            torch.cat([nnf.pad(signed[f"temporal.{i}"], (shift, 3 - shift)) for shift in range(4)]) for i in (0, 1, 2)
        ]
        turns = 2 * np.pi / N_MELS * np.outer(np.arange(N_MELS), np.arange(N_MELS // 2 + 1))
        self._dft = torch.from_numpy(np.concatenate([np.cos(turns), -np.sin(turns)], 1)).float().to(device)  # [96,98]
        self._w = weights

    def _hear(self, blocks: Iterable[torch.Tensor], sample_rate_hz: float) -> Features:
        values, starts, kept, first = [], [], None, 0  # `first`: the mel frame that `kept` begins with
        for mel in log_mel_blocks(b.to(self._dft.device) for b in _resampled(blocks, sample_rate_hz, RATE_HZ)):
            kept = mel if kept is None else torch.cat([kept, mel], dim=1)
            done = len(starts)
            while (start := round(len(starts) * self.hop_seconds * FRAME_RATE_HZ)) + WINDOW <= first + kept.shape[1]:
                starts.append(start)
            if starts[done:]:
                values.append(self.embed(kept, torch.tensor(starts[done:]) - first))
                drop = min(start - first, kept.shape[1])
                kept, first = kept[:, drop:], first + drop
        if not starts:
            length = kept.shape[1]
            filled = kept.repeat(1, -(-WINDOW // length), 1)[:, :WINDOW]
            middle = torch.tensor([(length - 1) / 2 / FRAME_RATE_HZ], dtype=torch.float64)
            return Features(self.embed(filled, torch.tensor([0])), middle)
        centres = torch.tensor(starts, dtype=torch.float64) + (WINDOW - 1) / 2
        return Features(torch.cat(values, dim=1), centres / FRAME_RATE_HZ)

    @torch.no_grad()
    def embed(self, log_mel: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """log_mel [B, F, 96] and the first frames [n] of windows of 187 -> the layer [B, n, D] float32, on the CPU."""
        batch, length, _ = log_mel.shape
        frames = log_mel.reshape(-1, N_MELS) * self._w["input.scale"] + self._w["input.shift"]
        starts = (starts + length * torch.arange(batch)[:, None]).flatten()
        groups = [self._layer(frames, group) for group in starts.split(32)]  # 13 MB of activations at a time
        return torch.cat(groups).view(batch, -1, self.width).cpu()

    def _layer(self, frames: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Normalised frames [F, 96], first frames of windows [N] -> [N, D]."""
        w = self._w
        temporal = torch.stack([self._temporal_features(frames[s : s + WINDOW]) for s in starts.tolist()])
        front = torch.cat([self._timbral_features(frames, starts), temporal], dim=2).transpose(1, 2)  # [N,561,187]
        first = self._middle("middle.0", front)
        second = self._middle("middle.1", first) + first
        third = self._middle("middle.2", second) + second
        stages = (front, first, second, third)
        peak, mean = torch.cat([s.amax(2) for s in stages], 1), torch.cat([s.mean(2) for s in stages], 1)
        pool = torch.stack([peak, mean], dim=2).flatten(1)  # [N,753] twice -> [N,1506], interleaved
        if self.layer == "pool":
            return pool
        dense = nnf.linear(pool * w["pool.scale"] + w["pool.shift"], w["dense.weight"], w["dense.bias"])
        if self.layer == "dense":
            return dense
        embedding = nnf.relu(dense) * w["dense.scale"] + w["dense.shift"]
        if self.layer == "penultimate":
            return embedding
        return torch.sigmoid(nnf.linear(embedding, w["tags.weight"], w["tags.bias"]))

    def _timbral_features(self, frames: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Filters of 7 frames by 38 and 67 bands, the maximum over the bands: [F, 96] -> [N, 187, 408]."""
        inside, taps = torch.arange(WINDOW), torch.arange(7)
        clipped = (3 - inside).clamp(min=0) - (inside - WINDOW + 4).clamp(min=0)  # taps outside: left > 0 > right
        keys, where = ((starts[:, None] + inside) * 7 + clipped + 3).flatten().unique(return_inverse=True)
        centres, clipped = keys[:, None] // 7, keys[:, None] % 7 - 3
        contexts = torch.where((taps >= clipped) & (taps < 7 + clipped), centres + taps - 3, len(frames))  # [M,7]
        spectra = nnf.pad(frames, (0, 0, 0, 1)) @ self._dft  # [F+1,98]; outside a window lies the last row, zeros
        peaks = []
        for rows in contexts.to(frames.device).split(32):  # small enough to stay in the processor's cache
            x = spectra[rows].view(-1, 7, 2, 49).permute(3, 0, 2, 1).reshape(49, -1, 14)  # bin, context, part x tap
            for kernel, waves in self._timbral:
                cosine, sine = waves @ (x @ kernel).view(2, 49, -1)  # [2,49,32*204] -> twice [outputs/2, 32*204]
                peaks.append(sine.abs_().add_(cosine).amax(0).view(-1, 204))
        features = [self._activate(f"timbral.{i}", torch.cat(peaks[i::2])) for i in (0, 1)]
        return torch.cat(features, dim=1)[where].view(len(starts), WINDOW, -1)

    def _temporal_features(self, window: torch.Tensor) -> torch.Tensor:
        """Filters of 128, 64 and 32 frames on every band, the maximum over the bands: [187, 96] -> [187, 153]."""
        features = []
        for i, matrix in enumerate(self._temporal):
            reach = matrix.shape[1] - 3
            padded = nnf.pad(window, (0, 0, (reach - 1) // 2, reach // 2 + 1))
            views = padded.unfold(0, reach + 3, 4).transpose(1, 2)  # [47,K+3,96]
            peaks = torch.bmm(matrix.expand(len(views), -1, -1), views).amax(2)  # [47,4*51,96] -> [47,4*51]
            features.append(self._activate(f"temporal.{i}", peaks.view(-1, 51)[:WINDOW]))
        return torch.cat(features, dim=1)

    def _activate(self, name: str, peaks: torch.Tensor) -> torch.Tensor:
        scale, shift, bias = (self._w[f"{name}.{part}"] for part in ("scale", "shift", "bias"))
        return nnf.relu(peaks * scale.sign() + bias) * scale + shift

    def _middle(self, name: str, x: torch.Tensor) -> torch.Tensor:
        scale, shift = (self._w[f"{name}.{part}"][:, None] for part in ("scale", "shift"))
        return nnf.relu(nnf.conv1d(x, self._w[f"{name}.weight"], self._w[f"{name}.bias"], padding=3)) * scale + shift


def _spectral_tables(filters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Filters [204, 7, bands] -> kernel [2, 49, 14, 204] (part, bin, part x tap, filter), waves [2, outputs / 2, 49].

    Of a circular correlation over 96 bands, the 97 - bands valid outputs never wrap round. A phase in the kernel turns
    their centre to the origin, where outputs +g and -g share one cosine sum and one sine sum.
    """
    outputs, bins = N_MELS + 1 - filters.shape[2], np.arange(N_MELS // 2 + 1)
    turns, centre = 2 * np.pi / N_MELS * bins, (outputs - 1) / 2
    once_or_twice = np.where((bins == 0) | (bins == N_MELS // 2), 1, 2) / N_MELS
    kernel = np.fft.rfft(filters.double().numpy(), N_MELS).conj() * once_or_twice * np.exp(1j * turns * centre)
    kernel = kernel.transpose(2, 1, 0)  # [49,7,204]
    real, imaginary = (np.concatenate(parts, 1) for parts in ((kernel.real, -kernel.imag), (kernel.imag, kernel.real)))
    angles = np.outer(np.arange(outputs // 2, outputs) - centre, turns)
    tables = np.stack([real, imaginary]), np.stack([np.cos(angles), np.sin(angles)])
    return tuple(torch.from_numpy(table).float().contiguous() for table in tables)


def _config(folder: Path) -> dict:
    return read_json(find_file(folder, CONFIG))


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    weights = read_tensors(folder)
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in found.keys() | _SHAPES.keys() if found.get(name) != _SHAPES.get(name))
    if wrong:
        is_, expected = found.get(wrong[0], "absent"), _SHAPES.get(wrong[0], "absent")
        raise ValueError(f"{folder} is not MSD_musicnn: {wrong[0]} is {is_}, expected {expected}; convert it again.")
    return {name: tensor.float() for name, tensor in weights.items()}


# ----------------------------------------------------------------------------------------------------------------- MERT


class MertListener(_BlockListener):
    """A transformers audio encoder (MERT, wav2vec 2.0, HuBERT): one hidden layer, averaged over spans of `hop_seconds`.

    hub_id_or_folder: "m-a-p/MERT-v1-95M", say, or a folder (config.json, weights, preprocessor_config.json).
    layer: 0 (the encoder's input) to its depth; None takes the middle. Sound is heard in segments of about 30 s, each
    on its own (and, where the model asks for it, normalised on its own), so that attention and memory stay bounded; a
    rest of less than half a hop is not heard. MERT brings its own Python code: that needs trust_remote_code=True;
    fetching from the hub needs allow_download=True. Raises ValueError without them and for missing or foreign models.
    """

    def __init__(
        self, hub_id_or_folder: str | Path, trust_remote_code: bool = False, *, allow_download: bool = False,
        layer: int | None = None, hop_seconds: float = 1.0, device: str = "cpu",
    ):
        source, folder = str(hub_id_or_folder), Path(hub_id_or_folder)
        self.hop_seconds = _within("hop_seconds", hop_seconds, 0.1, BLOCK_SECONDS)
        if not folder.is_dir() and (source.count("/") != 1 or source[0] in "./~"):
            raise ValueError(f"{source} is no folder and no hub id: give a model's folder or, say, m-a-p/MERT-v1-95M.")
        consent = f"{source} brings its own Python code, run with your rights: read it and pass trust_remote_code=True."
        if folder.is_dir() and "auto_map" in _config(folder) and not trust_remote_code:
            raise ValueError(consent)

        from transformers import AutoModel, Wav2Vec2FeatureExtractor

        offline = {"local_files_only": not allow_download}
        try:
            extractor = Wav2Vec2FeatureExtractor.from_pretrained(source, **offline)
            model = AutoModel.from_pretrained(source, trust_remote_code=trust_remote_code, **offline)
        except (OSError, ValueError, ImportError) as error:
            if "trust_remote_code" in str(error):
                raise ValueError(consent) from error
            advice = "check its files" if folder.is_dir() or allow_download else "pass allow_download=True to fetch it"
            raise ValueError(f"{source} cannot be loaded ({str(error).splitlines()[0]}): {advice}.") from error
        depth = model.config.num_hidden_layers
        self.layer = int(_within("layer", depth // 2 if layer is None else layer, 0, depth))
        self.name, self.width = f"{folder.name}/{self.layer}", model.config.hidden_size
        self._model, self._device = model.eval().requires_grad_(False).to(device), device
        self._rate_hz, self._normalise = extractor.sampling_rate, extractor.do_normalize

    def _hear(self, blocks: Iterable[torch.Tensor], sample_rate_hz: float) -> Features:
        hop = self.hop_seconds * self._rate_hz  # samples a frame; may be fractional
        segment, values, held = round(BLOCK_SECONDS // self.hop_seconds * hop), [], None
        for block in _resampled(blocks, sample_rate_hz, self._rate_hz):
            held = block if held is None else torch.cat([held, block], dim=1)
            while held.shape[1] >= segment:
                values.append(self._segment(held[:, :segment], hop))
                held = held[:, segment:]
        if not values or held.shape[1] >= hop / 2:
            values.append(self._segment(held, hop))
        heard = torch.cat(values, dim=1)
        return Features(heard, (torch.arange(heard.shape[1], dtype=torch.float64) + 0.5) * self.hop_seconds)

    def _segment(self, samples: torch.Tensor, hop: float) -> torch.Tensor:
        """[B, t] -> [B, f, D]: the hidden layer averaged over f spans of about one hop."""
        samples = samples.to(self._device)
        if self._normalise:
            spread = (samples.var(1, keepdim=True, correction=0) + 1e-7).sqrt()
            samples = (samples - samples.mean(1, keepdim=True)) / spread
        hidden = self._model(samples, output_hidden_states=True).hidden_states[self.layer]
        spans = max(1, round(samples.shape[1] / hop))
        return nnf.adaptive_avg_pool1d(hidden.transpose(1, 2).float(), spans).transpose(1, 2).cpu()
