"""Control without LARA weights: a stock model and a curve go in; of N candidates for each segment, asked for in words, the one that
the Emotion Predictor hears nearest to the curve comes out.

This is not LARA: the emotion reaches the model only as words of its prompt (the baseline of the paper, arXiv 2510.05875), and what
follows the curve follows it by choice among what came anyway. Records and nodes call it "words+takes".
"""

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .affect import nearest_emotion
from .audio import Audio
from .choices import MAX_CANDIDATES
from .predictor import EmotionPredictor

if TYPE_CHECKING:
    from .take import Ask, Take

KIND = "words+takes"
HEARD_BEFORE_SECONDS = 5.0  # of the piece so far, which a candidate is heard after
SEED_STEP = 1_000_003  # between candidates: the seeds of other segments are far from these

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WordsAndTakes:
    """candidates: how many are sampled for each segment, in one pass. predictor: the judge."""

    candidates: int
    predictor: EmotionPredictor

    def __post_init__(self):
        if not 1 <= self.candidates <= MAX_CANDIDATES:
            raise ValueError(f"candidates is {self.candidates}; give 1 to {MAX_CANDIDATES} tries for each segment.")

    def record(self) -> dict:
        return {"kind": KIND, "candidates": self.candidates,
                "note": "emotion words in the prompt and the best of several candidates by the predictor; not LARA"}

    def sample(self, take: "Take", ask: "Ask") -> tuple[np.ndarray, dict]:
        """Codes [K,F] of the best candidate, and for the record: its prompt, which it is, and how far each is heard from the curve."""
        new = ask.emotion[ask.context.shape[1]:]
        wanted = new.mean(0)
        words = nearest_emotion(float(wanted[0]), float(wanted[1]))[0]
        unled = np.full_like(ask.emotion, np.nan)  # the model is asked in words alone
        asks = [replace(ask, prompt=f"{ask.prompt}, {words}" if ask.prompt else words, emotion=unled, seed=ask.seed + n * SEED_STEP)
                for n in range(self.candidates)]
        codes = [row for row, _ in take.sample(asks)]
        distances = [self.distance(take.lara.codec, ask.context, row, wanted) for row in codes] if len(codes) > 1 else [None]
        heard = [distance for distance in distances if distance is not None]
        best = distances.index(min(heard)) if heard else 0
        rounded = [None if distance is None else round(distance, 4) for distance in distances]
        return codes[best], {"prompt": asks[best].prompt, "candidate": best, "distances": rounded}

    def distance(self, codec, context: np.ndarray, codes: np.ndarray, wanted: np.ndarray) -> float | None:
        """How far a candidate is heard from an emotion [2], after the end of what was before it; None where it can't be heard."""
        before = context[:, max(0, context.shape[1] - round(HEARD_BEFORE_SECONDS * codec.frame_rate_hz)):]
        samples = codec.decode(np.concatenate([before, codes], axis=1))
        try:
            track = self.predictor.track(Audio(samples, codec.sample_rate_hz))
        except ValueError as error:  # too short
            log.debug("a candidate is not judged: %s", error)
            return None
        own = (track.times_seconds >= before.shape[1] / codec.frame_rate_hz) & np.isfinite(track.values).all(1)
        values = track.values[own] if own.any() else track.values[np.isfinite(track.values).all(1)][-1:]
        return float(np.linalg.norm(values.mean(0) - wanted)) if len(values) else None
