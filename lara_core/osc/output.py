"""Where live bars go: their samples and notes go in; WAV and MIDI files, a WAV that grows, a record, and a sound device's queue come out."""

import json
import threading
from collections import deque
from pathlib import Path

import numpy as np

from ..affect import write_atomic
from ..audio import Audio, Cue, WavWriter, save
from ..codec.midi import write_midi
from .maker import MadeBar

FADE_SECONDS = 0.005  # where two bars meet that do not follow each other


def check_free(folder: Path) -> None:
    """Raise ValueError where a folder holds a session already."""
    if (folder / "live.wav").exists():
        raise ValueError(f"{folder} holds a session already; choose another folder")


class SegmentFolder:
    """A folder of one session: segments/0000.wav and .mid ..., live.wav, which grows, and session.json. A context manager.

    Raises ValueError or OSError where the folder cannot be written or holds a session already.
    """

    def __init__(self, folder: Path, sample_rate_hz: int, channels: int):
        self.folder, self.sample_rate_hz = folder, sample_rate_hz
        self.records: list[dict] = []
        check_free(folder)
        (folder / "segments").mkdir(parents=True, exist_ok=True)
        self.whole = WavWriter(folder / "live.wav", sample_rate_hz, channels, growing=True)

    def __enter__(self) -> "SegmentFolder":
        self.whole.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.whole.__exit__(None, None, None)  # what was played stays, whatever happened

    def add(self, index: int, bar_index: int, start_beat: float, samples: np.ndarray, bar: MadeBar, repeated: bool) -> Path:
        """Segment `index`, which sounds at a bar of the song -> its WAV."""
        path = self._write(index, samples, bar)
        valence, arousal = (round(float(value), 4) for value in bar.emotion.mean(0))
        self.records.append({"index": index, "start_beat": start_beat, "beats": bar.piece.frames / 4, "samples": samples.shape[1],
                             "tempo_bpm": bar.tempo_bpm, "seed": bar.seed, "repeated": repeated, "valence": valence, "arousal": arousal,
                             "file": f"segments/{path.name}"})
        self._tell()
        self.whole.add_cue(Cue(self.whole.frames, f"bar {bar_index + 1}" + (" (repeated)" if repeated else "")))
        self.whole.write(samples)
        return path

    def replace(self, index: int, samples: np.ndarray, bar: MadeBar) -> Path:
        """Write segment `index`, over what it was -> its WAV. live.wav keeps what was heard."""
        path = self._write(index, samples, bar)
        for record in self.records:
            if record["index"] == index:
                record |= {"samples": samples.shape[1], "seed": bar.seed}
        self._tell()
        return path

    def _write(self, index: int, samples: np.ndarray, bar: MadeBar) -> Path:
        path, (valence, arousal) = self.folder / "segments" / f"{index:04}.wav", bar.emotion.T
        save(path, Audio(samples, self.sample_rate_hz))
        beats = np.arange(len(valence)) / 4
        write_midi(path.with_suffix(".mid"), bar.piece, path.stem, valence=(beats, valence), arousal=(beats, arousal))
        return path

    def _tell(self) -> None:
        record = {"format": "lara-live", "sample_rate_hz": self.sample_rate_hz, "segments": self.records}
        write_atomic(self.folder / "session.json", json.dumps(record, indent=1).encode())


class SoundQueue:
    """Samples [C, T] for a sound device, which reads them in its own thread."""

    def __init__(self, sample_rate_hz: int, channels: int):
        self.sample_rate_hz, self.channels = sample_rate_hz, channels
        self.gaps = 0  # times that it ran dry while something was playing
        self._parts: deque[np.ndarray] = deque()
        self._lock, self._playing, self._dry = threading.Lock(), False, False

    def begin(self, delay_seconds: float) -> None:
        """What is put next begins after so long."""
        with self._lock:
            self._parts.clear()
            self._parts.append(np.zeros((self.channels, round(max(delay_seconds, 0.0) * self.sample_rate_hz)), np.float32))

    def put(self, samples: np.ndarray) -> None:
        with self._lock:
            self._parts.append(samples)
            self._playing, self._dry = True, False

    def stop(self) -> None:
        """Fade out what plays, and forget the rest."""
        fade = round(4 * FADE_SECONDS * self.sample_rate_hz)
        tail = self.read(fade) * np.linspace(1, 0, fade, dtype=np.float32)
        with self._lock:
            self._parts.clear()
            self._parts.append(tail)
            self._playing = False

    def read(self, frames: int) -> np.ndarray:
        """The next samples [C, frames]; silence where there are none."""
        out, at = np.zeros((self.channels, frames), np.float32), 0
        with self._lock:
            while at < frames and self._parts:
                part = self._parts.popleft()
                taken = part[:, :frames - at]
                out[:, at:at + taken.shape[1]] = taken
                at += taken.shape[1]
                if taken.shape[1] < part.shape[1]:
                    self._parts.appendleft(part[:, taken.shape[1]:])
            if at < frames and self._playing and not self._dry:
                self.gaps += 1
                self._dry = True
        return out


def open_device(queue: SoundQueue, device: str | None):
    """The started stream of a sound device that reads the queue. Raises ValueError where there is none."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the package is there, PortAudio is not
        raise ValueError(f"sound needs the package sounddevice and PortAudio ({error}); pip install sounddevice, or leave out --play") from error

    def fill(out, frames, _time, _status) -> None:
        out[:] = queue.read(frames).T

    try:
        stream = sounddevice.OutputStream(queue.sample_rate_hz, device=device, channels=queue.channels, dtype="float32", callback=fill)
        stream.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise ValueError(f"no sound device can be opened ({error}); choose another with --device, or leave out --play") from error
    return stream


def faded(samples: np.ndarray, sample_rate_hz: int, start: bool, end: bool) -> np.ndarray:
    """Samples [C, T] with a short fade at their start, their end, or both."""
    samples, length = samples.copy(), min(round(FADE_SECONDS * sample_rate_hz), samples.shape[1])
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    if start:
        samples[:, :length] *= ramp
    if end and length:
        samples[:, -length:] *= ramp[::-1]
    return samples
