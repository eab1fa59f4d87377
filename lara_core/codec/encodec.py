"""The EnCodec codec: Audio <-> codes [K,F], on transformers' EncodecModel with the weights of a MusicGen or LARA model.

Codes become sound in pieces: `ChunkedDecoder` gives the samples of decoding everything at once, at constant memory. The
LSTM's state is carried along; the convolutions see as many frames before and after a piece as they reach.
Stereo MusicGen uses a mono EnCodec twice: even codebooks are the left channel, odd ones the right (arXiv 2306.05284, 2.2).
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import Plan, Request
from ..audio import Audio, resample, to_mono
from ..weights import CONFIG, find_file, read_json, read_tensors

MUSICGEN_PREFIX = "audio_encoder."
TRAINING_ONLY = ("inited", "cluster_size", "embed_avg")  # statistics of the codebooks that decoding doesn't use
CONTEXT_SECONDS = 10.0  # what the model reads of the past
FIRST_SEGMENT_SECONDS, SEGMENT_SECONDS = 1.0, 5.0
CHUNK_SECONDS = 1.0  # decoding in pieces of about a second is faster than in one: its activations stay in the cache


class EncodecCodec:
    """A frozen EnCodec: n_codebooks, codebook_size, frame_rate_hz, sample_rate_hz, channels; encode, decode."""

    text_led, emotion_shares, likely_only = (), (), ()

    def __init__(self, model, channels: int | None = None, n_codebooks: int | None = None, device: str | torch.device = "cpu"):
        """model: a transformers EncodecModel, which is changed (its weight norm is folded). channels: 2 with a mono model means
        one set of codebooks for each side. n_codebooks: in all; None takes all that the model has. Raises ValueError."""
        config = model.config
        if config.normalize or config.chunk_length_s is not None or config.norm_type != "weight_norm":
            raise ValueError("This EnCodec normalises whole pieces of sound, as the 48 kHz model does; use the 32 or 24 kHz one.")
        self.channels = channels or config.audio_channels
        if self.channels not in (config.audio_channels, 2):
            raise ValueError(f"This EnCodec has {config.audio_channels} channels; it can't serve a model with {self.channels}.")
        self.n_streams = self.channels // config.audio_channels  # 2: left and right are coded apart
        self.n_codebooks = n_codebooks or config.num_quantizers * self.n_streams
        if self.n_codebooks % self.n_streams or self.n_codebooks // self.n_streams > config.num_quantizers:
            raise ValueError(f"This EnCodec has {config.num_quantizers} codebooks for each of {self.n_streams} streams; "
                             f"it can't serve a model with {self.n_codebooks} codebooks.")
        self.codebook_size, self.sample_rate_hz = config.codebook_size, config.sampling_rate
        self.hop_samples = math.prod(config.upsampling_ratios)
        self.frame_rate_hz = self.sample_rate_hz / self.hop_samples
        for module in model.modules():
            if torch.nn.utils.parametrize.is_parametrized(module, "weight"):
                torch.nn.utils.parametrize.remove_parametrizations(module, "weight")
        self.model = model.to(device).eval().requires_grad_(False)

    @classmethod
    def from_folder(cls, folder: str | Path, device: str | torch.device = "cpu") -> "EncodecCodec":
        """From a MusicGen checkpoint, a LARA model with an EnCodec in its folder "encodec", or an EncodecModel.

        Raises FileNotFoundError or ValueError in one sentence.
        """
        folder = Path(folder)
        data = read_json(find_file(folder, CONFIG))
        if data.get("model_type") == "musicgen":
            decoder = data.get("decoder") or {}
            return cls.from_weights(data.get("audio_encoder") or {}, read_tensors(folder, (MUSICGEN_PREFIX,)),
                                    decoder.get("audio_channels", 1), decoder.get("num_codebooks", 4), device)
        if data.get("format") == "lara":
            own = folder / "encodec"
            return cls.from_weights(read_json(find_file(own, CONFIG)), read_tensors(own), (data.get("codec") or {}).get("channels"),
                                    (data.get("decoder") or {}).get("n_codebooks"), device)
        return cls.from_weights(data, read_tensors(folder), device=device)

    @classmethod
    def from_weights(cls, config: dict, weights: Mapping[str, Tensor], channels: int | None = None,
                     n_codebooks: int | None = None, device: str | torch.device = "cpu") -> "EncodecCodec":
        """From an EncodecConfig as a dict and tensors, alone or inside a MusicGen checkpoint (audio_encoder.*)."""
        from transformers import EncodecConfig, EncodecModel

        if config.get("model_type") != "encodec":
            raise ValueError(f"The audio encoder is {config.get('model_type')!r}; only 'encodec' can be used.")
        with torch.random.fork_rng(devices=[]):  # the constructor draws weights that are replaced at once
            model = EncodecModel(EncodecConfig.from_dict(dict(config)))
        expected = model.state_dict()
        inside = any(name.startswith(MUSICGEN_PREFIX) for name in weights)
        given = {_new_name(name.removeprefix(MUSICGEN_PREFIX)): x for name, x in weights.items()
                 if name.startswith(MUSICGEN_PREFIX) or not inside}
        needed = {name for name in expected if not name.endswith(TRAINING_ONLY)}
        for what, names in (("lack", needed - given.keys()), ("have too many:", given.keys() - expected.keys())):
            if names:
                raise ValueError(f"EnCodec's weights {what} {min(names)}; they don't belong to its config, get the model again.")
        for name in needed:
            if given[name].shape != expected[name].shape:
                raise ValueError(f"EnCodec's {name} has shape {list(given[name].shape)}; its config asks for {list(expected[name].shape)}.")
        model.load_state_dict({name: given[name].float() for name in needed}, strict=False)
        return cls(model, channels, n_codebooks, device)

    @torch.inference_mode()
    def encode(self, audio: Audio) -> np.ndarray:
        """Sound at any rate, mono or stereo -> codes [K,F], F = its length in frames, rounded up."""
        if audio.samples.shape[1] == 0:
            raise ValueError("The sound is empty; give at least one sample.")
        audio = to_mono(audio) if self.channels == 1 else audio
        samples = resample(audio, self.sample_rate_hz).samples
        if samples.shape[0] == 1:
            samples = samples.repeat(self.channels, axis=0)
        if samples.shape[0] != self.channels:
            raise ValueError(f"The sound has {samples.shape[0]} channels; give mono or stereo.")
        x = torch.from_numpy(samples).to(self._device).view(self.n_streams, -1, samples.shape[1])  # [streams,C,T]
        codes = self.model.quantizer.encode(self.model.encoder(x))[:self.n_codebooks // self.n_streams]  # [K/streams,streams,F]
        return codes.flatten(0, 1).cpu().numpy()  # streams alternate

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes [K,F] -> samples [C,T], T = F * hop_samples."""
        decoder = ChunkedDecoder(self)
        return np.concatenate([decoder.push(codes), decoder.finish()], axis=1)

    def mended(self, context: np.ndarray, codes: np.ndarray, emotion: np.ndarray, new_text: bool = False) -> np.ndarray:
        return codes

    def is_silent(self, codes: np.ndarray) -> bool:
        return False  # who knows before it is sound

    def session(self, request: Request) -> "EncodecSession":
        return EncodecSession(self, request)

    @property
    def _device(self) -> torch.device:
        return self.model.quantizer.layers[0].codebook.embed.device


class ChunkedDecoder:
    """Codes pushed as they come -> samples, final and continuous: all together are those of one decoding (to 2e-6 of the
    peak, the rounding of sums in another order), whatever the pieces. The last frames are held back, about
    `lookahead_frames`, until more come or finish() is called. Memory doesn't grow with the length."""

    def __init__(self, codec: EncodecCodec):
        self.codec, config = codec, codec.model.config
        layers = list(codec.model.decoder.layers)
        self._lstm, self._state = layers[1].lstm, None
        reach_in, reach_up = _reach(config)
        self._into = _Window(layers[0], *reach_in, scale=1)
        self._upsample = _Window(torch.nn.Sequential(*layers[2:]), *reach_up, scale=codec.hop_samples)
        self.lookahead_frames = reach_in[1] + reach_up[1]
        self._chunk_frames = max(1, round(CHUNK_SECONDS * codec.frame_rate_hz))
        self._finished = False

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Codes [K,f] -> the samples [C,t] that are now final; t may be 0."""
        codec = self.codec
        if self._finished:
            raise ValueError("This piece is finished; decode the next one with a new ChunkedDecoder.")
        if codes.ndim != 2 or codes.shape[0] != codec.n_codebooks:
            raise ValueError(f"The codes have shape {list(codes.shape)}; this codec needs [{codec.n_codebooks}, frames].")
        if codes.size and not 0 <= codes.min() <= codes.max() < codec.codebook_size:
            raise ValueError(f"The codes run from {codes.min()} to {codes.max()}; this codec allows 0 to {codec.codebook_size - 1}.")
        pieces = [self._run(codes[:, i:i + self._chunk_frames], last=False) for i in range(0, codes.shape[1], self._chunk_frames)]
        return np.concatenate([np.zeros((codec.channels, 0), np.float32), *pieces], axis=1)

    def finish(self) -> np.ndarray:
        """The samples [C,t] that were held back."""
        self._finished = True
        return self._run(np.zeros((self.codec.n_codebooks, 0), np.int64), last=True)

    @torch.inference_mode()
    def _run(self, codes: np.ndarray, last: bool) -> np.ndarray:
        codec = self.codec
        tokens = torch.from_numpy(np.ascontiguousarray(codes, np.int64)).to(codec._device)
        tokens = tokens.unflatten(0, (codec.n_codebooks // codec.n_streams, codec.n_streams))  # [K,f] -> [K/streams,streams,f]
        x = self._into.push(codec.model.quantizer.decode(tokens), last)  # [streams,D,f]
        if x is not None:
            steps = x.permute(2, 0, 1)
            y, self._state = self._lstm(steps, self._state)
            x = (y + steps).permute(1, 2, 0)
        samples = self._upsample.push(x, last)
        if samples is None:
            return np.zeros((codec.channels, 0), np.float32)
        return samples.flatten(0, 1).cpu().numpy()  # [streams,C,t] -> [C,t]


class EncodecSession:
    """A piece in segments of seconds; metre and tonic mean nothing here. See codec.Session."""

    def __init__(self, codec: EncodecCodec, request: Request):
        self.codec, self.request = codec, request
        self.decoder = ChunkedDecoder(codec)
        self.total_frames = math.ceil(request.seconds * codec.frame_rate_hz)
        self.total_samples = round(request.seconds * codec.sample_rate_hz)
        self.frames = self.emitted = self._planned = 0

    @property
    def position_seconds(self) -> float:
        return min(self.frames / self.codec.frame_rate_hz, self.request.seconds)

    def plan(self) -> Plan | None:
        left = self.total_frames - self.frames
        if left <= 0:
            return None
        rate = self.codec.frame_rate_hz
        wanted = round((SEGMENT_SECONDS if self.frames else FIRST_SEGMENT_SECONDS) * rate)
        self._planned = left if left < 1.3 * wanted else wanted  # no stump at the end
        seconds = (self.frames + np.arange(self._planned)) / rate
        beats = None if self.request.tempo is None else self.request.beats_at(seconds)
        return Plan(np.full((self.codec.n_codebooks, self._planned), -1, np.int64), seconds, beats,
                    min(self.frames, round(CONTEXT_SECONDS * rate)))

    def given(self, plan: Plan, emotion: np.ndarray) -> np.ndarray:
        return plan.forced

    def push(self, codes: np.ndarray) -> Callable[[], np.ndarray]:
        if codes.shape != (self.codec.n_codebooks, self._planned):
            raise ValueError(f"The segment's codes have shape {list(codes.shape)}; the plan asks for [{self.codec.n_codebooks}, {self._planned}].")
        self.frames += codes.shape[1]
        return lambda: self._emit(self.decoder.push(codes))

    def finish(self) -> np.ndarray:
        return self._emit(self.decoder.finish())

    def _emit(self, samples: np.ndarray) -> np.ndarray:
        samples = samples[:, :self.total_samples - self.emitted]
        self.emitted += samples.shape[1]
        return samples


class _Window:
    """Runs a stage of convolutions over a stream [B,D,f], piece by piece, as if over the whole: an output frame is computed
    with at least `left` frames before it and `right` after it, unless the stream begins or ends there."""

    def __init__(self, stage: Callable[[Tensor], Tensor], left: int, right: int, scale: int):
        self.stage, self.left, self.right, self.scale = stage, left, right, scale
        self.buffer: Tensor | None = None
        self.done = 0  # frames of the buffer whose output is out

    def push(self, x: Tensor | None, last: bool) -> Tensor | None:
        """New frames or None -> the output of all frames that are now final, or None."""
        if x is not None:
            self.buffer = x if self.buffer is None else torch.cat([self.buffer, x], dim=2)
        frames = 0 if self.buffer is None else self.buffer.shape[2]
        ready = frames if last else frames - self.right
        # a stage reflects its input at the ends, so it must know more than its reach there, on either side
        if ready <= self.done or (not last and frames <= self.left + self.right):
            return None
        y = self.stage(self.buffer)[:, :, self.done * self.scale:ready * self.scale]
        self.done = min(ready, self.left + self.right)
        self.buffer = self.buffer[:, :, ready - self.done:].clone()
        return y


def _reach(config) -> tuple[tuple[int, int], tuple[int, int]]:
    """Frames before and after a frame that its output depends on: of the first convolution, and of all after the LSTM."""
    def conv(kernel: int, dilation: int = 1) -> tuple[int, int]:
        padding = (kernel - 1) * dilation
        right = 0 if config.use_causal_conv else padding // 2
        return padding - right, right

    left, right = conv(config.last_kernel_size)
    for ratio in reversed(config.upsampling_ratios):
        for layer in range(config.num_residual_layers):
            before, after = conv(config.residual_kernel_size, config.dilation_growth_rate ** layer)
            left, right = left + before, right + after
        cut = ratio - (math.ceil(ratio * config.trim_right_ratio) if config.use_causal_conv else ratio // 2)
        left, right = math.ceil(left / ratio) + 1, math.ceil((right + cut) / ratio)  # a transposed convolution of kernel 2 * ratio
    return conv(config.kernel_size), (left, right)


def _new_name(name: str) -> str:
    """Weight norm has had two spellings: weight_g and weight_v in older files."""
    for old, new in (("weight_g", "parametrizations.weight.original0"), ("weight_v", "parametrizations.weight.original1")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
