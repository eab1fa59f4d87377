"""Brightness: who plays softly sounds darker, not only quieter; joined samples [2, T] and the bars' dynamics flow in, shaded samples out.

The renderer turns a soft note down and leaves its spectrum as it is (it has none of the SoundFont standard's default modulators, one
of which closes the filter of soft notes: SoundFont 2.04, 8.4.2). So overtones are shelved here, on the sum of all instruments, which share
their bar's dynamics. It is linear and slow against the sound, and runs on over joints: none can be heard in it.
"""

import numpy as np

DB_PER_STEP = 3.0         # of dynamics, above the corner: overtones of instruments gain about as much again as the tone does
PLAIN_DYNAMICS = 5.0      # a forte sounds as it was sampled
CORNER_HZ = 1000.0
TURN_SECONDS = 0.1        # from one bar's brightness to the next one's


class Brightness:
    """A first-order shelf whose gain follows the dynamics; streaming, without delay."""

    def __init__(self, sample_rate_hz: int):
        self._rate = sample_rate_hz
        decay = np.exp(-2 * np.pi * CORNER_HZ / sample_rate_hz)
        count = int(np.ceil(np.log(1e-5) / np.log(decay)))
        low = (1 - decay) * decay ** np.arange(count)
        self._high = (np.eye(1, count)[0] - low / low.sum()).astype(np.float32)  # what a one-pole low-pass leaves over
        self._before = np.zeros((2, count - 1), np.float32)
        self._gain_db = None

    def push(self, samples: np.ndarray, start_seconds: float = 0.0, bars: tuple[tuple[float, float], ...] = ()) -> np.ndarray:
        """Samples [2, T] that begin at start_seconds -> the same, shaded. bars: (when it begins, its dynamics 0..7) of every bar that
        begins in them; without any the last one's brightness holds."""
        times, gains_db = [], []
        for when, dynamics in bars:
            gain_db = DB_PER_STEP * (dynamics - PLAIN_DYNAMICS)
            times += [when, when + TURN_SECONDS]
            gains_db += [gain_db if self._gain_db is None else self._gain_db, gain_db]
            self._gain_db = gain_db
        if self._gain_db is None or samples.shape[1] == 0:
            return samples
        gain = 10 ** (np.interp(start_seconds + np.arange(samples.shape[1]) / self._rate, times or [start_seconds], gains_db or [self._gain_db]) / 20) - 1
        whole = np.concatenate([self._before, samples], axis=1)
        self._before = whole[:, samples.shape[1]:]
        high = np.stack([np.convolve(row, self._high, "valid") for row in whole])
        return (samples + gain * high).astype(np.float32)
