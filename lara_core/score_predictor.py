"""What the Emotion Predictor would hear of a score, from its notes alone: bars that nobody has rendered can be judged in milliseconds.

    codes -> cues and energy of every frame -> their means over a while, and how far those over the seconds that are heard as one lie from them
          -> a small network -> valence, arousal

training/labels.py learns it from pieces that were rendered and heard, and labels by it; a model that keeps one beside its weights
chooses by it among tries (see tries.py).
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .affect import write_atomic
from .codec import score as codes_of
from .codec.performance import note_velocity, sounding_share
from .codec.score import QUALITY_NAMES, ROLE_OF_LANE, ROLES, Score

FILE = "score_predictor.safetensors"
WINDOW_SECONDS = 9.0  # heard as one: the Emotion Predictor judges 3 s together with its neighbours
WHILE_SECONDS = 40.0  # what moves within them is told apart from what the whole is like
EVERY_FRAMES = 4  # of a judgement
PARTIALS = (1.0, 0.5, 0.35, 0.25, 0.2)  # of any instrument's tone, by which it is told how high what sounds lies
LOWEST_BAND, BANDS, BAND_SEMITONES = 24, 18, 6  # of their energy: the lowest pitch, how many bands and how wide
FAINT = 0.01  # energy below which less makes no difference
REACHED = (2, 98)  # percentiles of what music is heard like, for which requests of -1 and 1 stand
LEAST_REACH = 0.02  # of a model that hardly moves
EPOCHS, BATCH, LEAST_STEPS, LEARNING_RATE, WEIGHT_DECAY = 20, 256, 200, 2e-3, 0.2


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


def energy(piece: Score) -> np.ndarray:
    """How strongly a Score sounds in every frame [F,BANDS + 2], by the velocities that it is played with: partials by half octaves, all notes,
    and what is struck, a second."""
    bands, whole = np.zeros((piece.frames, BANDS)), np.zeros((piece.frames, 2))
    starts = piece.bar_starts()
    bar_of = np.repeat(np.arange(len(piece.bars)), [bar.frames for bar in piece.bars])
    heights = np.rint(12 * np.log2(np.arange(len(PARTIALS)) + 1)).astype(int)
    for note in piece.notes:
        number, role = bar_of[note.start], ROLE_OF_LANE[note.lane]
        bar, span = piece.bars[number], slice(note.start, note.start + note.duration)
        if bar.programs[role] < 0:
            continue
        struck = (note_velocity(bar, note.lane, note.start - starts[number], note.start, note.pitch) / 127) ** 2
        lasting = struck * sounding_share(bar, role)
        whole[span, 0] += lasting
        whole[note.start, 1] += struck
        for band, share in zip((note.pitch + heights - LOWEST_BAND) // BAND_SEMITONES, PARTIALS):
            if 0 <= band < BANDS:
                bands[span, band] += share * lasting
    whole[:, 1] /= frame_seconds(piece)
    return np.concatenate([bands, whole], axis=1)


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
    """A piece's codes [K,F] and emotion [F,2] -> [N,2C], the means of its cues and the logarithms of its energy over WHILE_SECONDS, and how far
    those over WINDOW_SECONDS lie from them; and the emotion [N,2] over WINDOW_SECONDS."""
    piece = codes_of.decode(codes)
    seen, sounds = cues(piece), energy(piece)
    all_along, now = (np.concatenate([around(piece, seen, seconds), np.log(around(piece, sounds, seconds) + FAINT)], axis=1)
                      for seconds in (WHILE_SECONDS, WINDOW_SECONDS))
    return np.concatenate([all_along, now - all_along], axis=1), around(piece, emotion)


def reach(heard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is heard of much music [N,2] -> the lowest and the highest [2] of it that can be asked for."""
    return tuple(np.percentile(heard, REACHED, axis=0).astype(np.float32))


def in_reach(heard: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """What is heard [N,2] in the measure of requests [N,2]: `low` is -1 and `high` 1, and halves of the way are halves of the way."""
    return (heard - (low + high) / 2) / np.maximum((high - low) / 2, LEAST_REACH)


class ScorePredictor(nn.Module):
    """Cues [2C], standardised -> two hidden layers, and a linear map beside them -> valence and arousal. low [2] and high [2]: what the music of
    a model reaches, see `reach`."""

    def __init__(self, n_cues: int, hidden: int = 256):
        super().__init__()
        self.first, self.second = nn.Linear(n_cues, hidden), nn.Linear(hidden, hidden)
        self.last, self.beside_them = nn.Linear(hidden, 2), nn.Linear(n_cues, 2, bias=False)
        for name, value in (("mean", torch.zeros(n_cues)), ("scale", torch.ones(n_cues)), ("low", -torch.ones(2)), ("high", torch.ones(2))):
            self.register_buffer(name, value)

    @classmethod
    def beside(cls, folder: Path) -> "ScorePredictor | None":
        """The one that lies in a model's folder, None where none does. Raises ValueError in one sentence where it is damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = Path(folder) / FILE
        if not path.is_file():
            return None
        try:
            stored = load_file(path)
            made = cls(*reversed(stored["first.weight"].shape))
            made.load_state_dict(stored)
            made(windows(codes_of.encode(Score([codes_of.Bar()])), np.zeros((codes_of.Bar().frames, 2)))[0])  # a silent bar
            return made.eval()
        except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0].rstrip(":.")
            raise ValueError(f"{path} is damaged, incomplete or of an earlier version ({reason}); get the model again, learn it anew (training.score_predictor), or remove this file.") from error

    def save(self, folder: Path) -> None:
        """Beside a model's weights."""
        from safetensors.torch import save

        write_atomic(Path(folder) / FILE, save(self.state_dict()))

    @classmethod
    def learnt(cls, inputs: np.ndarray, targets: np.ndarray) -> "ScorePredictor":
        """From cues [M,2C] (`windows`) and what was heard of them [M,2]: least squares, with dropout. 70,000 rows take a minute."""
        x, y = (torch.from_numpy(np.asarray(values, np.float32)) for values in (inputs, targets))
        offset, spread, deviation = y.mean(0), y.std(0) + 1e-6, x.std(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = cls(x.shape[1])
            made.mean.copy_(x.mean(0))
            made.scale.copy_(deviation + 0.05 * deviation.max())
            x, y = (x - made.mean) / made.scale, (y - offset) / spread
            steps = max(EPOCHS * len(x) // BATCH, LEAST_STEPS)
            optimizer = torch.optim.AdamW(made.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
            rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
            for _ in range(steps):
                rows = torch.randint(len(x), (min(BATCH, len(x)),))
                loss = (made.judge(x[rows]) - y[rows]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rate.step()
        with torch.no_grad():  # targets were standardised
            made.last.weight.mul_(spread[:, None])
            made.last.bias.mul_(spread).add_(offset)
            made.beside_them.weight.mul_(spread[:, None])
        return made.eval()

    def reaches(self, heard: np.ndarray) -> None:
        """Take what is heard of much music of a model [N,2] for what that model reaches."""
        for end, value in zip((self.low, self.high), reach(heard)):
            end.copy_(torch.from_numpy(value))

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """What requests of -1 [2] and of 1 [2] stand for."""
        return self.low.numpy(), self.high.numpy()

    def judge(self, x: Tensor) -> Tensor:
        """Standardised cues [N,2C] -> valence and arousal [N,2]."""
        dropped = lambda y, share: nn.functional.dropout(y, share, self.training)
        hidden = dropped(nn.functional.silu(self.first(dropped(x, 0.1))), 0.5)
        hidden = dropped(nn.functional.silu(self.second(hidden)), 0.5)
        return self.last(hidden) + self.beside_them(x)

    @torch.no_grad()
    def forward(self, cues: np.ndarray) -> np.ndarray:
        """Cues [N,2C], as `windows` gives them -> valence and arousal [N,2]."""
        return self.judge((torch.from_numpy(np.asarray(cues, np.float32)) - self.mean) / self.scale).numpy()

    def in_requests(self, cues: np.ndarray) -> np.ndarray:
        """Cues [N,2C] -> the request [N,2] that stands for what is heard there: beyond -1 and 1 too."""
        return in_reach(self(cues), *self.ends)
