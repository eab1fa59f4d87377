"""Sound files: WAV and whatever libsndfile reads flow in, `Audio` with samples [C, T] flows out, and back into WAV with
cue markers and a broadcast time reference.

Files are written beside their destination and renamed when they are whole, so an interrupted or failed write never
leaves a damaged file and never harms the one that was there. No dither is added: the same samples give the same bytes.
"""

import contextlib
import logging
import os
import struct
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)

SUBTYPES = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}  # bytes per sample
MAX_RIFF_BYTES = 2 ** 32 - 1
_MARKER_BYTES = 1 << 20  # kept free below the RIFF limit for markers and headers


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound: float32 samples [C, T], nominally within [-1, 1]."""

    samples: np.ndarray
    sample_rate_hz: int

    def __post_init__(self):
        if self.samples.ndim != 2 or self.samples.dtype != np.float32:
            raise ValueError(f"samples have shape {self.samples.shape} and type {self.samples.dtype}; give float32 [C, T].")
        if self.sample_rate_hz <= 0:
            raise ValueError(f"sample_rate_hz is {self.sample_rate_hz}, but it must be positive.")

    @property
    def seconds(self) -> float:
        return self.samples.shape[1] / self.sample_rate_hz


@dataclass(frozen=True)
class Cue:
    """A marker at a sample of the file."""

    sample: int
    label: str


def load(path: str | Path) -> Audio:
    """Read a sound file, 8 bit to float, any channels -> Audio with samples [C, T].

    Raises ValueError for a file that is missing, not sound, empty, or holds NaN or infinity.
    """
    import soundfile

    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"There is no file {path}; choose an existing sound file.")
    try:
        samples, sample_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise ValueError(f"{path} is not a readable sound file ({reason}); choose a WAV, FLAC, OGG or MP3 file.") from error
    if samples.size == 0:
        raise ValueError(f"{path} holds no samples; choose a file with sound in it.")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds NaN or infinite samples; export it again.")
    return Audio(np.ascontiguousarray(samples.T), sample_rate_hz)


def save(path: str | Path, audio: Audio, subtype: str = "PCM_16", cues: Sequence[Cue] = (),
         time_reference_samples: int | None = None) -> None:
    """Write a whole WAV file; see `WavWriter` for the arguments and errors."""
    with WavWriter(path, audio.sample_rate_hz, audio.samples.shape[0], subtype, time_reference_samples) as writer:
        writer.write(audio.samples)
        for cue in cues:
            writer.add_cue(cue)


def resample(audio: Audio, sample_rate_hz: int) -> Audio:
    """The same sound at another rate; band-limited, time-aligned, T scaled by the ratio."""
    import soxr

    if sample_rate_hz <= 0:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}, but it must be positive.")
    if sample_rate_hz == audio.sample_rate_hz:
        return audio
    samples = soxr.resample(audio.samples.T, audio.sample_rate_hz, sample_rate_hz)
    return Audio(np.ascontiguousarray(samples.T), sample_rate_hz)


def to_mono(audio: Audio) -> Audio:
    """The mean of the channels -> samples [1, T]."""
    return Audio(audio.samples.mean(0, keepdims=True, dtype=np.float32), audio.sample_rate_hz)


def check_output_path(path: str | Path, suffixes: Sequence[str] = (".wav",)) -> Path:
    """Say before a long generation, as a ValueError, why a file could not be written there later -> the path."""
    path = Path(path).expanduser()
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"The output {path.name!r} ends in {path.suffix!r}; use {' or '.join(suffixes)}.")
    if path.is_dir():
        raise ValueError(f"The output {path} is a folder; add a file name.")
    if not path.parent.is_dir():
        raise ValueError(f"The output folder {path.parent} does not exist; create it or choose another.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):  # permission bits alone do not tell on Windows and network disks
            pass
    except OSError as error:
        raise ValueError(f"The output folder {path.parent} cannot be written to ({error.strerror}); choose another.") from error
    return path


class WavWriter:
    """Writes a WAV file chunk by chunk at constant memory; a context manager.

    path: ends in .wav; it appears, or is replaced, only when the `with` block ends without an exception. growing: it is there from
    the start and whole after every write, for others to read meanwhile; it stays whatever happens.
    subtype: PCM_16, PCM_24 or FLOAT. Integer samples are rounded, and clipped outside [-1, 1) with a warning in the log.
    time_reference_samples: samples since midnight at which the file starts, for the `bext` chunk (EBU Tech 3285).
    Raises ValueError for bad arguments and OSError where the disk fails.
    """

    def __init__(self, path: str | Path, sample_rate_hz: int, channels: int, subtype: str = "PCM_16",
                 time_reference_samples: int | None = None, growing: bool = False):
        self.path, self.growing = check_output_path(path), growing
        if subtype not in SUBTYPES:
            raise ValueError(f"subtype is {subtype!r}; use {', '.join(SUBTYPES)}.")
        if channels not in (1, 2) or sample_rate_hz <= 0:
            raise ValueError(f"a WAV file with {channels} channels at {sample_rate_hz} Hz was asked for; use 1 or 2 channels "
                             "and a positive rate.")
        if time_reference_samples is not None and not 0 <= time_reference_samples < 2 ** 64:
            raise ValueError(f"time_reference_samples is {time_reference_samples}, but it must lie in 0..2^64-1.")
        self.sample_rate_hz, self.channels, self.subtype = int(sample_rate_hz), channels, subtype
        self.frames = 0  # written so far
        self._clipped = 0
        self._cues: list[Cue] = []
        self._frame_bytes = channels * SUBTYPES[subtype]
        head = b"" if time_reference_samples is None else _chunk(b"bext", _broadcast_extension(time_reference_samples))
        float_format = subtype == "FLOAT"
        head += _chunk(b"fmt ", struct.pack("<HHIIHH", 3 if float_format else 1, channels, self.sample_rate_hz,
                                            self.sample_rate_hz * self._frame_bytes, self._frame_bytes, 8 * SUBTYPES[subtype])
                       + (b"\0\0" if float_format else b""))
        if float_format:
            head += _chunk(b"fact", bytes(4))  # the number of frames, set at the end
        self._head = b"RIFF\0\0\0\0WAVE" + head + b"data\0\0\0\0"
        self._part = self.path if growing else self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.part")

    def __enter__(self) -> "WavWriter":
        with contextlib.ExitStack() as stack:
            if not self.growing:
                stack.callback(self._part.unlink, missing_ok=True)  # last of all; once renamed, there is no part left
            self._file = stack.enter_context(open(self._part, "wb" if self.growing else "xb", buffering=0))  # a full disk shows at the write itself
            self._write_bytes(self._head)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, kind, error, trace):
        with self._cleanup:
            if kind is None:
                self._finish()

    def write(self, samples: np.ndarray) -> None:
        """Append float samples [C, T]."""
        if samples.ndim != 2 or samples.shape[0] != self.channels:
            raise ValueError(f"samples of shape {samples.shape} were given; this file takes [{self.channels}, T].")
        if not np.isfinite(samples).all():
            raise ValueError("samples hold NaN or infinity; only finite sound can be written.")
        if (self.frames + samples.shape[1]) * self._frame_bytes > MAX_RIFF_BYTES - _MARKER_BYTES:
            raise ValueError("the file would exceed the 4 GB of a WAV file; write shorter files or PCM_16.")
        self._write_bytes(self._encode(samples))
        self.frames += samples.shape[1]
        if self.growing:
            self._write_sizes()
            self._file.seek(0, os.SEEK_END)

    def add_cue(self, cue: Cue) -> None:
        """Set a marker, at any sample written before the end of the block (its last frame + 1 included)."""
        if cue.sample < 0:
            raise ValueError(f"cue {cue.label!r} is at sample {cue.sample}, but it must not be negative.")
        self._cues.append(cue)

    def _write_bytes(self, data: bytes):
        view = memoryview(data)
        while view:  # a raw file may take less than it was given
            view = view[self._file.write(view):]

    def _write_sizes(self):
        total, data_bytes = self._file.tell(), self.frames * self._frame_bytes
        for at, number in ((4, total - 8), (len(self._head) - 4, data_bytes)):
            self._file.seek(at)
            self._write_bytes(struct.pack("<I", number))
        if self.subtype == "FLOAT":
            self._file.seek(len(self._head) - 12)
            self._write_bytes(struct.pack("<I", self.frames))

    def _encode(self, samples: np.ndarray) -> bytes:
        frames = np.ascontiguousarray(samples.T, np.float64)  # [T, C]; float64 holds 24 bits exactly
        if self.subtype == "FLOAT":
            return frames.astype("<f4").tobytes()
        full = 2 ** (8 * SUBTYPES[self.subtype] - 1)
        scaled = np.rint(frames * full)
        self._clipped += int(np.count_nonzero(np.abs(frames) > 1))
        scaled = np.clip(scaled, -full, full - 1)
        if self.subtype == "PCM_16":
            return scaled.astype("<i2").tobytes()
        return scaled.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()

    def _finish(self):
        data_bytes = self.frames * self._frame_bytes
        for cue in self._cues:
            if cue.sample > self.frames:
                raise ValueError(f"cue {cue.label!r} is at sample {cue.sample}, behind the end at {self.frames}.")
        if data_bytes % 2:
            self._write_bytes(b"\0")
        self._write_bytes(_markers(sorted(self._cues, key=lambda cue: cue.sample)))
        self._write_sizes()
        os.fsync(self._file.fileno())  # some disks only say now that they are full; the old file is still there
        self._file.close()
        if not self.growing:
            os.replace(self._part, self.path)
        if self._clipped:
            logger.warning("%s: %d samples lay outside [-1, 1] and were clipped.", self.path.name, self._clipped)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _broadcast_extension(time_reference_samples: int) -> bytes:
    """The body of a version 1 `bext` chunk (EBU Tech 3285); without a date, so that the same sound gives the same file."""
    return struct.pack("<256s32s32s10s8sQH254x", b"", b"LARA-Gen", b"", b"", b"", time_reference_samples, 1)


def _markers(cues: Sequence[Cue]) -> bytes:
    """`cue ` and `LIST`/`adtl`/`labl` chunks (Microsoft Multimedia Data Standards Update 1991)."""
    if not cues:
        return b""
    points = b"".join(struct.pack("<II4sIII", number, cue.sample, b"data", 0, 0, cue.sample)
                      for number, cue in enumerate(cues, 1))
    labels = b"".join(_chunk(b"labl", struct.pack("<I", number) + cue.label.encode() + b"\0")
                      for number, cue in enumerate(cues, 1))
    return _chunk(b"cue ", struct.pack("<I", len(cues)) + points) + _chunk(b"LIST", b"adtl" + labels)
