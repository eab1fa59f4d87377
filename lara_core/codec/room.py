"""The room: dry samples [2, T] flow in piece by piece, the same samples with the room's answer flow out.

There is one room for everything that plays, and it is linear: so it is added once, to the sum of all instruments after their
segments are joined, and no join can be heard in it.
"""

import functools

import numpy as np

LEVEL = 0.25  # of full wetness: some 12 dB below the dry sound
SECONDS, DELAY_SECONDS = 1.6, 0.015
_FFT_SIZE = 1 << 17


class Room:
    """Streaming convolution; holds no more than the answer still to come."""

    def __init__(self, sample_rate_hz: int, level: float = LEVEL):
        self._spectrum, self._count = _response(sample_rate_hz)
        self._level = np.float32(level)
        self._answer = np.zeros((2, self._count - 1), np.float32)  # to what has been pushed

    def push(self, dry: np.ndarray) -> np.ndarray:
        """Dry samples [2, T] -> the same with the room, [2, T]."""
        wet, send = dry.astype(np.float32), dry.sum(0, dtype=np.float32) * self._level
        step = _FFT_SIZE - self._count + 1
        for at in range(0, dry.shape[1], step):
            block = send[at:at + step]
            answer = np.fft.irfft(np.fft.rfft(block, _FFT_SIZE) * self._spectrum, _FFT_SIZE)[:, :len(block) + self._count - 1]
            answer[:, :self._count - 1] += self._answer
            wet[:, at:at + len(block)] += answer[:, :len(block)]
            self._answer = answer[:, len(block):]
        return wet

    def finish(self) -> np.ndarray:
        """What the room still answers to all that was pushed -> [2, T]; the room is silent afterwards."""
        answer, self._answer = self._answer, np.zeros_like(self._answer)
        return answer


@functools.lru_cache(maxsize=1)
def _response(sample_rate_hz: int) -> tuple[np.ndarray, int]:
    impulse = room_impulse(sample_rate_hz)
    return np.fft.rfft(impulse, _FFT_SIZE).astype(np.complex64), impulse.shape[1]


def room_impulse(sample_rate_hz: int) -> np.ndarray:
    """The room's impulse response -> float32 [2, N]: 15 ms of delay, then noise that dies away 60 dB in 1.5 s at low and
    0.6 s at high frequencies. At full level it is about as loud as the dry sound."""
    count = round(SECONDS * sample_rate_hz)
    time = np.arange(count) / sample_rate_hz
    spectrum = np.fft.rfft(np.random.RandomState(1).standard_normal((2, count)))  # RandomState: a frozen stream
    frequency_hz = np.fft.rfftfreq(count, 1 / sample_rate_hz)
    edges_hz = (150, 500, 2000, 6000, 12000)
    decays_seconds = (1.5, 1.5, 1.0, 0.6)
    impulse = np.zeros((2, count))
    for low, high, decay_seconds in zip(edges_hz, edges_hz[1:], decays_seconds):
        band = np.fft.irfft(spectrum * ((frequency_hz >= low) & (frequency_hz < high)), count)
        impulse += band * 10 ** (-3 * time / decay_seconds)
    impulse *= np.clip((SECONDS - DELAY_SECONDS - time) / 0.1, 0, 1)  # ends in silence
    impulse /= np.sqrt((impulse ** 2).sum(1, keepdims=True)) * 4  # the send is the sum of left and right
    return np.pad(impulse, ((0, 0), (round(DELAY_SECONDS * sample_rate_hz), 0)))[:, :count].astype(np.float32)
