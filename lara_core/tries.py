"""Control by choice: of N tries for a segment, sampled in one pass, the one that lies nearest to the curve is kept.

`BestRead`: a score model that follows the curve by itself follows it closer where its tries are judged by their notes, before they are
heard (score_predictor). `WordsAndTakes`: a stock model without an emotion encoder is asked in emotion words (the baseline of the
paper, arXiv 2510.05875), and the Emotion Predictor hears its tries. That is not LARA: what follows the curve follows it by choice
among what came anyway; records and nodes call it "words+takes".
"""

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .affect import nearest_emotion
from .audio import Audio
from .choices import MAX_CANDIDATES
from .codec.harmony import scale_consistency
from .codec.score import LANE, Score, decode, ends_piece, grinding, hammered, rests_on_tonic, sounding_thirds, stuck, unstruck
from .predictor import EmotionPredictor
from .score_predictor import EVERY_FRAMES, ScorePredictor, windows

if TYPE_CHECKING:
    from .take import Ask, Take

KIND = "words+takes"
HEARD_BEFORE_SECONDS = 5.0  # of the piece so far, which a candidate is heard after
LEAD = 0.5  # of what the bars so far lack, that every second try asks for too
GRINDING = 2.0  # of the distance, for semitones at once all the time
FOREIGN = 4.0  # for notes that are all foreign to the scale that fits the segment best
CONTRARY = 1.0  # and for thirds that contradict a valence of -1 or 1 all the time
STUCK = 1.0  # and for each two bars in which the melody goes nowhere
RESTLESS = 10.0  # added to the distance of an end that does not come to rest
UNWRITTEN = 20.0  # and for each bar that nobody would write, hammered or with nothing struck
SEED_STEP = 1_000_003  # between candidates: the seeds of other segments are far from these

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _BestOfTries:
    """candidates: how many are sampled for each segment. predictor: the judge."""

    candidates: int
    predictor: ScorePredictor | EmotionPredictor

    def __post_init__(self):
        if not 1 <= self.candidates <= MAX_CANDIDATES:
            raise ValueError(f"candidates is {self.candidates}; give 1 to {MAX_CANDIDATES} tries for each segment.")

    def alike(self, ask: "Ask") -> list["Ask"]:
        """The same asked once for each try of a segment."""
        return [replace(ask, seed=ask.seed + n * SEED_STEP) for n in range(self.candidates)]

    def asks(self, ask: "Ask") -> list["Ask"]:
        """What the model is asked for each try of a segment."""
        return self.alike(ask)

    def tries(self, take: "Take", ask: "Ask") -> list[np.ndarray]:
        """Codes [K,F] of each."""
        return [codes for codes, _ in take.sample(self.asks(ask))]

    def sample(self, take: "Take", ask: "Ask") -> tuple[np.ndarray, dict]:
        """Codes [K,F] of the best candidate, and for the record: which it is, and how far each lies from the curve."""
        codes = self.tries(take, ask)
        distances = [self.distance(take, ask, row) for row in codes] if len(codes) > 1 else [None]
        known = [distance for distance in distances if distance is not None]
        best = distances.index(min(known)) if known else 0
        return codes[best], {"candidate": best, "distances": [None if distance is None else round(distance, 4) for distance in distances]}


class BestRead(_BestOfTries):
    """For a score model that knows of its scores how they are heard."""

    def record(self) -> dict:
        return {"kind": "lara", "candidates": self.candidates}

    def tries(self, take: "Take", ask: "Ask") -> list[np.ndarray]:
        """Those of a piece's first segment are all for the players of the first of them, whom the text has chosen. Where nobody would write any,
        as many more follow that the emotion leads no farther than the model has learnt: what has got in goes on."""
        if ask.context.shape[1]:
            rows = super().tries(take, ask)
        else:
            (first, _), = take.sample([ask])
            ask = for_players_of(ask, first)
            rows = [first] + [codes for codes, _ in take.sample(self._leading(ask, first)[1:])]
        if all(_unwritten(row) for row in rows):
            rows += [codes for codes, _ in take.sample(self.alike(replace(ask, seed=ask.seed + len(rows) * SEED_STEP)), plainly=True)]
        return rows

    def asks(self, ask: "Ask") -> list["Ask"]:
        return self.alike(ask) if ends_piece(ask.forced) else self._leading(ask, ask.context)

    def _leading(self, ask: "Ask", played: np.ndarray) -> list["Ask"]:
        """Every second try asks for half of what has been played [K,F] lacks as well: a solo piano is heard calmer than an orchestra,
        whatever both are asked for."""
        before = ask.context.shape[1]
        judged, wanted = self._read(ask, played)
        led = ask.emotion.copy()
        led[before:] = np.clip(led[before:] + LEAD * (wanted - judged).mean(0), -1, 1)
        return [replace(own, emotion=led) if n % 2 else own for n, own in enumerate(self.alike(ask))]

    def distance(self, take: "Take", ask: "Ask", codes: np.ndarray) -> float:
        """How far from the curve a candidate would be heard, and what else counts against it."""
        return self.off_curve(ask, codes) + faults(ask, codes)

    def off_curve(self, ask: "Ask", codes: np.ndarray) -> float:
        """How far from the curve a candidate would be heard, by its notes and those of the bars before it."""
        judged, wanted = self._read(ask, np.concatenate([ask.context, codes], axis=1))
        new = slice(-(codes.shape[1] // EVERY_FRAMES), None)
        return float(np.linalg.norm(judged[new] - wanted[new], axis=1).mean())

    def _read(self, ask: "Ask", codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The context and what follows it [K,F] -> how they would be heard, and what was asked for, both [N,2] in the measure of
        requests: -1 and 1 are the ends of what the model can play. What is heard spans less than that: by its own measure each of two tries would
        be too tame for a request of 0.4 and of 0.9 alike, and a curve would lose its shape to the tries that are most extreme."""
        seen, wanted = windows(codes, ask.emotion[:codes.shape[1]])
        return self.predictor.in_requests(seen), wanted


class WordsAndTakes(_BestOfTries):
    """For a stock model."""

    def record(self) -> dict:
        return {"kind": KIND, "candidates": self.candidates,
                "note": "emotion words in the prompt and the best of several candidates by the predictor; not LARA"}

    def asks(self, ask: "Ask") -> list["Ask"]:
        """In words alone."""
        return self.alike(replace(ask, prompt=self._prompt(ask), emotion=np.full_like(ask.emotion, np.nan)))

    def sample(self, take: "Take", ask: "Ask") -> tuple[np.ndarray, dict]:
        codes, facts = super().sample(take, ask)
        return codes, {"prompt": self._prompt(ask)} | facts

    @staticmethod
    def _prompt(ask: "Ask") -> str:
        words = nearest_emotion(*map(float, ask.wanted.mean(0)))[0]
        return f"{ask.prompt}, {words}" if ask.prompt else words

    def distance(self, take: "Take", ask: "Ask", codes: np.ndarray) -> float | None:
        """How far from the curve a candidate is heard after the end of what was before it; None where it can't be heard."""
        codec, context = take.lara.codec, ask.context
        before = context[:, max(0, context.shape[1] - round(HEARD_BEFORE_SECONDS * codec.frame_rate_hz)):]
        samples = codec.decode(np.concatenate([before, codes], axis=1))
        try:
            track = self.predictor.track(Audio(samples, codec.sample_rate_hz))
        except ValueError as error:  # too short
            log.debug("a candidate is not judged: %s", error)
            return None
        own = (track.times_seconds >= before.shape[1] / codec.frame_rate_hz) & np.isfinite(track.values).all(1)
        values = track.values[own] if own.any() else track.values[np.isfinite(track.values).all(1)][-1:]
        return float(np.linalg.norm(values.mean(0) - ask.wanted.mean(0))) if len(values) else None


def for_players_of(ask: "Ask", codes: np.ndarray) -> "Ask":
    """The same for the players of codes [K,F], which are as long."""
    forced = ask.forced.copy()
    forced[LANE["orchestra"]] = codes[LANE["orchestra"]]
    return replace(ask, forced=forced)


def faults(ask: "Ask", codes: np.ndarray) -> float:
    """What counts against a candidate, whatever it is heard like: semitones at once, notes foreign to its scale, thirds of the other mode, and a
    melody that goes nowhere; more than any distance an end that does not rest on the tonic; and most of all bars that nobody would write."""
    whole, piece = np.concatenate([ask.context, codes], axis=1), decode(codes)
    restless = ends_piece(whole) and not rests_on_tonic(decode(whole))
    foreign = 1 - scale_consistency(piece.notes) if piece.notes else 0.0
    return (GRINDING * grinding(piece) + FOREIGN * foreign + CONTRARY * contrary(ask, piece) + STUCK * stuck(codes).sum() + RESTLESS * restless
            + UNWRITTEN * _unwritten(codes))


def contrary(ask: "Ask", piece: Score) -> float:
    """Of the thirds above the tonic that sound in a candidate the share in the mode that contradicts the valence asked for, each as far as that
    lies from 0: a resolution that stays in minor is none, however bright it sounds."""
    valence, thirds = ask.wanted[:, 0], sounding_thirds(piece)
    return float((thirds * np.maximum(np.column_stack([valence, -valence]), 0)).sum() / max(thirds.sum(), 1))


def _unwritten(codes: np.ndarray) -> int:
    """How many bars of codes [K,F] nobody would write."""
    return int((hammered(codes) | unstruck(codes)).sum())
