"""What the Emotion Predictor would hear of a score, from its notes alone: bars that nobody has rendered can be judged in milliseconds.

    codes -> cues of every frame -> their means over a while, and how far those over the seconds that are heard as one lie from them
          -> kernel ridge regression -> valence, arousal

training/labels.py learns it from pieces that were rendered and heard, and labels by it; a model that keeps one beside its weights
chooses by it among tries (see tries.py).
"""

from pathlib import Path

import numpy as np

from .affect import write_atomic
from .codec import score as codes_of
from .codec.score import QUALITY_NAMES, ROLE_OF_LANE, ROLES, Score

FILE = "score_predictor.safetensors"
WINDOW_SECONDS = 9.0  # heard as one: the Emotion Predictor judges 3 s together with its neighbours
WHILE_SECONDS = 40.0  # what moves within them is told apart from what the whole is like
EVERY_FRAMES = 4  # of a judgement
REACHED = (2, 98)  # percentiles of what music is heard like, for which requests of -1 and 1 stand
LEAST_REACH = 0.02  # of a model that hardly moves


def cues(piece: Score) -> np.ndarray:
    """A Score -> what the notes do in every frame [F,C]: onsets and notes sounding of each role and their height, drums, pitch
    classes above the tonic and above the root, chord quality, articulation, tempo, dynamics, swing, programs that sound."""
    n, roles = piece.frames, len(ROLES) - 1
    onsets, sounding, height = np.zeros((n, roles)), np.zeros((n, roles)), np.zeros((n, roles))
    pitches, on_root, quality = np.zeros((n, 128)), np.zeros((n, 12)), np.zeros((n, len(QUALITY_NAMES)))
    for note in piece.notes:
        role, span = ROLE_OF_LANE[note.lane], slice(note.start, note.start + note.duration)
        onsets[note.start, role] += 1
        sounding[span, role] += 1
        height[span, role] += (note.pitch - 60) / 12
        pitches[span, note.pitch] += 1
    classes = np.pad(pitches, ((0, 0), (0, 4))).reshape(n, 11, 12).sum(1)
    in_key = np.roll(classes, -piece.tonic, 1)
    for chord, end in zip(piece.chords, [*(c.start for c in piece.chords[1:]), n]):
        if chord.root >= 0:
            quality[chord.start:end, QUALITY_NAMES.index(chord.quality)] = 1
            on_root[chord.start:end] = np.roll(classes[chord.start:end], -chord.root, 1)
    programs, played = np.zeros((n, 128)), np.zeros((n, 7))
    for start, bar in zip(piece.bar_starts(), piece.bars):
        span = slice(start, start + bar.frames)
        for role, program in enumerate(bar.programs[:roles]):
            if program >= 0:
                programs[span, program] += sounding[span, role] > 0
        played[span, codes_of.ARTICULATIONS.index(bar.articulation)] = 1
        played[span, 4:] = np.log2(bar.tempo_bpm / 100), bar.dynamics / 4, bar.swing
    struck = np.concatenate([onsets, onsets.sum(1, keepdims=True) > 0, np.unpackbits(piece.drums[:, None], axis=1)], 1)
    return np.concatenate([struck / frame_seconds(piece)[:, None], sounding, height, in_key, on_root, quality, played, programs], 1)


def frame_seconds(piece: Score) -> np.ndarray:
    return np.repeat([bar.frame_seconds for bar in piece.bars], [bar.frames for bar in piece.bars])


def around(piece: Score, values: np.ndarray, window_seconds: float = WINDOW_SECONDS) -> np.ndarray:
    """Values [F,C] at the frames of a Score -> their means over window_seconds around every EVERY_FRAMES frames [N,C]."""
    lasts = frame_seconds(piece)
    seconds = np.append(0, np.cumsum(lasts))
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values * lasts[:, None], 0)])
    middles = seconds[EVERY_FRAMES // 2:-1:EVERY_FRAMES]
    low, high = (np.clip(middles + side * window_seconds / 2, 0, seconds[-1]) for side in (-1, 1))

    def until(moments):
        frame = np.minimum(np.searchsorted(seconds, moments, side="right") - 1, len(lasts) - 1)
        return total[frame] + (moments - seconds[frame])[:, None] * values[frame]

    return ((until(high) - until(low)) / (high - low)[:, None]).astype(np.float32)


def windows(codes: np.ndarray, emotion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A piece's codes [K,F] and emotion [F,2] -> [N,2C], the means of its cues over WHILE_SECONDS and how far those over WINDOW_SECONDS lie
    from them; and the emotion [N,2] over WINDOW_SECONDS."""
    piece = codes_of.decode(codes)
    seen = cues(piece)
    all_along, now = around(piece, seen, WHILE_SECONDS), around(piece, seen)
    return np.concatenate([all_along, now - all_along], axis=1), around(piece, emotion)


def reach(heard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is heard of much music [N,2] -> the lowest and the highest [2] of it that can be asked for."""
    return tuple(np.percentile(heard, REACHED, axis=0).astype(np.float32))


def in_reach(heard: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """What is heard [N,2] in the measure of requests [N,2]: `low` is -1 and `high` 1, and halves of the way are halves of the way."""
    return (heard - (low + high) / 2) / np.maximum((high - low) / 2, LEAST_REACH)


class ScorePredictor:
    """Ridge regression in the sum of a linear and a Gaussian kernel (Saunders, Gammerman & Vovk 1998), inputs standardised.

    inputs [M,2C] that were learnt from, standardised; weights [M,2]; mean [2C], scale [2C]; offset [2]; width of the Gaussian. low [2] and
    high [2]: what the music of a model reaches, see `reach`.
    """

    def __init__(self, inputs: np.ndarray, weights: np.ndarray, mean: np.ndarray, scale: np.ndarray, offset: np.ndarray, width: float = 1.0,
                 low: np.ndarray = -np.ones(2, np.float32), high: np.ndarray = np.ones(2, np.float32)):
        self.inputs, self.weights, self.mean, self.scale, self.offset, self.width = inputs, weights, mean, scale, offset, float(width)
        self.low, self.high = low, high

    @classmethod
    def beside(cls, folder: Path) -> "ScorePredictor | None":
        """The one that lies in a model's folder, None where none does. Raises ValueError in one sentence where it is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = Path(folder) / FILE
        if not path.is_file():
            return None
        try:
            stored = {name: value.astype(np.float32) for name, value in load_file(path).items()}
            made = cls(**stored)
            made(windows(codes_of.encode(Score([codes_of.Bar()])), np.zeros((codes_of.Bar().frames, 2)))[0])  # a silent bar
            return made
        except (SafetensorError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged, incomplete or of an earlier version ({error}); get the model again, learn it anew (training.score_predictor), or remove this file.") from error

    def save(self, folder: Path) -> None:
        """Beside a model's weights; what was learnt from is rounded to float16."""
        from safetensors.numpy import save

        stored = {name: np.asarray(value, np.float16 if name == "inputs" else np.float32) for name, value in vars(self).items()}
        write_atomic(Path(folder) / FILE, save(stored))

    @classmethod
    def learnt(cls, inputs: np.ndarray, targets: np.ndarray, width: float = 1.0, ridge: float = 3.0) -> "ScorePredictor":
        """From cues [M,2C] (`windows`) and what was heard of them [M,2]. The cost grows with M cubed."""
        mean, scale = inputs.mean(0), inputs.std(0) + 0.05 * inputs.std(0).max()
        offset, known = targets.mean(0), ((inputs - mean) / scale).astype(np.float32)
        kernel = _kernel(known, known, width)
        weights = np.linalg.solve(kernel + ridge * np.eye(len(kernel), dtype=kernel.dtype), targets - offset)
        return cls(known, weights, mean, scale, offset, width)

    def in_requests(self, cues: np.ndarray) -> np.ndarray:
        """Cues [N,2C] -> the request [N,2] that stands for what is heard there: beyond -1 and 1 too."""
        return in_reach(self(cues), self.low, self.high)

    def __call__(self, cues: np.ndarray) -> np.ndarray:
        """Cues [N,2C], as `windows` gives them -> valence and arousal [N,2]."""
        return _kernel(((cues - self.mean) / self.scale).astype(np.float32), self.inputs, self.width) @ self.weights + self.offset


def _kernel(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    product = a @ b.T
    squares = (a ** 2).sum(1)[:, None] + (b ** 2).sum(1) - 2 * product
    return np.exp(-squares / (width * a.shape[1])) + 0.1 * product / a.shape[1]
