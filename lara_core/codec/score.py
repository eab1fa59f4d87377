"""Scores as codes: a Score (notes, chords and performance controls on a 16th grid) <-> codes [K,F].

Every lane is one codebook with the same vocabulary of 128; frame f is the f-th sixteenth. Pitches and chords are relative to
the tonic, so that a small model learns harmony once instead of twelve times. A pitch lane is monophonic:

    HOLD (0) what sounds goes on     REST (1) what sounds ends     2 + n  a note starts, n semitones above MIDI 0 in C

    lane          what a frame holds
    grid          frame 0 of a bar: metre and bars left to the end; 1: tonic; 2: bar within 8; else the position in the bar
    performance   frame 0: tempo; 1: dynamics; 2: articulation and swing; else HOLD
    orchestra     frames 0..5: General MIDI program of lead, second, bass, comp, pad, drum kit; else HOLD
    harmony       on beats: chord relative to the tonic, or HOLD; stated anew at every bar line
    bass ... pad2 pitch lanes; comp has three voices and pad two
    drums         a mask of seven instruments struck together

The grid is given in generation, never sampled: metre, bar lines and form are exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

LANES = ("grid", "performance", "orchestra", "harmony", "bass", "lead", "second",
         "comp1", "comp2", "comp3", "pad1", "pad2", "drums")
LANE = {name: k for k, name in enumerate(LANES)}
PITCH_LANES = range(LANE["bass"], LANE["drums"])
K, V = len(LANES), 128
HOLD, REST, FIRST_PITCH = 0, 1, 2
OCTAVES_PER_AROUSAL, LEAP_OCTAVES = 0.75, 0.2  # of tempo: what the composer of the training data writes, and how far beyond it a bar may go
HAMMERS, STRIKES = 3, 0.8  # so many voices that strike so much of a bar hammer
SECTIONS = ({40, 41, 42, 43, 44, 48, 49}, {27, 29, 30}, {80, 81, 87})  # programs of one kind: who bow, electric guitars, synthesizers that sing
STUCK_NOTES, STUCK_PITCHES = 6, 2  # so many notes of a melody, or more, and in two bars so many pitches, or fewer

ROLES = ("lead", "second", "bass", "comp", "pad", "kit")
ROLE_OF_LANE = {LANE[name]: ROLES.index(name.rstrip("123")) for name in LANES[LANE["bass"]:LANE["drums"]]}

METRES = {"4/4": (16, 4), "3/4": (12, 4), "6/8": (12, 6), "2/4": (8, 4), "5/4": (20, 4)}  # frames a bar, frames a beat
METRE_NAMES = tuple(METRES)
CLOSING_BARS = 2  # have a cadence of their own
COUNTDOWN = ((1, 1), (2, 2), (4, 3), (8, 4))  # bars left (this one included) up to n -> class; more: 0
TEMPO_LOW_BPM, TEMPO_HIGH_BPM, N_TEMPI = 40.0, 208.0, 48
N_DYNAMICS = 8  # ppp .. fff
ARTICULATIONS = ("staccato", "detached", "legato", "pedal")
QUALITIES = {"maj": (0, 4, 7), "min": (0, 3, 7), "dim": (0, 3, 6), "aug": (0, 4, 8), "7": (0, 4, 7, 10),
             "maj7": (0, 4, 7, 11), "min7": (0, 3, 7, 10), "m7b5": (0, 3, 6, 10), "sus4": (0, 5, 7), "sus2": (0, 2, 7)}
QUALITY_NAMES = tuple(QUALITIES)
DRUMS = {"kick": 36, "snare": 38, "hat": 42, "ride": 51, "tom": 45, "crash": 49, "shaker": 70}  # bit order; MIDI keys
DRUM_KEYS = tuple(DRUMS.values())

COUNTDOWN_CLASSES = 1 + len(COUNTDOWN)
GRID_TONIC = COUNTDOWN_CLASSES * len(METRES)
GRID_PHRASE = GRID_TONIC + 12
GRID_POSITION = GRID_PHRASE + 8
DYNAMICS_0 = 1 + N_TEMPI
FEEL_0 = DYNAMICS_0 + N_DYNAMICS
NO_PROGRAM, FIRST_PROGRAM = 1, 2
NO_CHORD, FIRST_CHORD = 1, 2


class Note(NamedTuple):
    lane: int
    start: int  # frames from the beginning
    duration: int  # frames
    pitch: int  # MIDI


class Chord(NamedTuple):
    start: int  # frames from the beginning
    root: int  # pitch class; -1: no chord
    quality: str


@dataclass(frozen=True)
class Bar:
    metre: str = "4/4"
    tempo_bpm: float = 100.0  # quarter notes a minute
    dynamics: int = 4  # 0..7
    articulation: str = "detached"
    swing: bool = False
    programs: tuple[int, ...] = (0, -1, -1, 0, -1, -1)  # by ROLES; -1: silent
    bars_left: int = 99  # this one included

    @property
    def frames(self) -> int:
        return METRES[self.metre][0]

    @property
    def frame_seconds(self) -> float:
        return 15.0 / self.tempo_bpm


@dataclass
class Score:
    """Bars, notes and chords in frames; drums as a mask per frame [F]."""

    bars: list[Bar]
    tonic: int = 0  # pitch class
    notes: list[Note] = field(default_factory=list)
    chords: list[Chord] = field(default_factory=list)
    drums: np.ndarray = None

    def __post_init__(self):
        if self.drums is None:
            self.drums = np.zeros(self.frames, np.uint8)

    @property
    def frames(self) -> int:
        return sum(bar.frames for bar in self.bars)

    def bar_starts(self) -> np.ndarray:
        return np.cumsum([0] + [bar.frames for bar in self.bars])[:-1]


def bar_number(starts: Sequence[int], frame: int) -> int:
    """The bar that a frame lies in, of bars that begin at `starts`."""
    return int(np.searchsorted(starts, frame, side="right")) - 1


def tempo_token(bpm: float) -> int:
    position = np.log(bpm / TEMPO_LOW_BPM) / np.log(TEMPO_HIGH_BPM / TEMPO_LOW_BPM) * (N_TEMPI - 1)
    return 1 + int(np.clip(round(position), 0, N_TEMPI - 1))


def token_tempo(token: int) -> float:
    return TEMPO_LOW_BPM * (TEMPO_HIGH_BPM / TEMPO_LOW_BPM) ** ((token - 1) / (N_TEMPI - 1))


def chord_token(interval: int, quality: str) -> int:
    """A chord whose root lies so many semitones (0..11) above the tonic."""
    return FIRST_CHORD + interval * len(QUALITIES) + QUALITY_NAMES.index(quality)


def key_shift(tonic: int) -> int:
    """Semitones from C to the tonic, the nearer way: -5..6."""
    return (tonic + 5) % 12 - 5


def bar_starts(codes: np.ndarray) -> np.ndarray:
    """codes [K,F] -> the frames where bars begin."""
    return np.flatnonzero(codes[LANE["grid"]] < GRID_TONIC)


def bars_of(codes: np.ndarray) -> list[np.ndarray]:
    """codes [K,F] -> those of each bar."""
    starts = bar_starts(codes)
    return np.split(codes, starts[1:], axis=1) if len(starts) else []


def ends_piece(codes: np.ndarray) -> bool:
    """Whether the last bar of codes [K,F] is that of the piece."""
    return int(codes[LANE["grid"], bar_starts(codes)[-1]]) % COUNTDOWN_CLASSES == COUNTDOWN[0][1]


def grid_tokens(metre: str, bars_left: int, tonic: int, bar_index: int) -> np.ndarray:
    """The grid lane of one bar [F]: everything about form that is known before a note is chosen."""
    frames = METRES[metre][0]
    tokens = GRID_POSITION + np.arange(frames)
    countdown = next((c for n, c in COUNTDOWN if bars_left <= n), 0)
    tokens[0] = METRE_NAMES.index(metre) * COUNTDOWN_CLASSES + countdown
    tokens[1] = GRID_TONIC + tonic
    tokens[2] = GRID_PHRASE + bar_index % 8
    return tokens


def encode(score: Score) -> np.ndarray:
    """Score -> codes uint8 [K,F]. Lost: velocities within a bar, what lies between sixteenths, a lane's overlapping notes."""
    codes = np.zeros((K, score.frames), np.int64)
    shift = key_shift(score.tonic)
    starts = score.bar_starts()
    for i, (bar, at) in enumerate(zip(score.bars, starts)):
        codes[LANE["grid"], at:at + bar.frames] = grid_tokens(bar.metre, bar.bars_left, score.tonic, i)
        feel = ARTICULATIONS.index(bar.articulation) * 2 + bar.swing
        codes[LANE["performance"], at:at + 3] = tempo_token(bar.tempo_bpm), DYNAMICS_0 + bar.dynamics, FEEL_0 + feel
        codes[LANE["orchestra"], at:at + 6] = [NO_PROGRAM if p < 0 else FIRST_PROGRAM + min(p, 125) for p in bar.programs]
    for lane in PITCH_LANES:
        sounding_until = -1
        for note in sorted(n for n in score.notes if n.lane == lane):
            if 0 <= sounding_until < note.start:
                codes[lane, sounding_until] = REST
            codes[lane, note.start] = FIRST_PITCH + np.clip(note.pitch - shift, 0, V - FIRST_PITCH - 1)
            sounding_until = note.start + note.duration
        if 0 <= sounding_until < score.frames:
            codes[lane, sounding_until] = REST
    chords = {chord.start: chord for chord in score.chords}
    current, downbeats = None, set(starts.tolist())
    for frame in range(score.frames):
        new = chords.get(frame)
        if new is not None or (frame in downbeats and current is not None):
            current = new or current
            codes[LANE["harmony"], frame] = NO_CHORD if current.root < 0 else chord_token((current.root - score.tonic) % 12, current.quality)
    codes[LANE["drums"]] = score.drums
    return codes.astype(np.uint8)


def without_leaps(context: np.ndarray, codes: np.ndarray, arousal: np.ndarray) -> np.ndarray:
    """codes [K,F] after context [K,Fc], and arousal [Fc+F], NaN: none -> codes in which every bar that follows one with a tempo states its own, which
    goes no farther than arousal does, and a little. Led far, a model doubles it at one bar line of a long rise: so it gets there over some bars."""
    codes, before, last = np.concatenate([context, codes], axis=1), context.shape[1], None
    tempi = codes[LANE["performance"]]
    for bar in bar_starts(codes):
        stated = 1 <= tempi[bar] <= N_TEMPI
        if bar >= before and last is not None:
            octaves = LEAP_OCTAVES + OCTAVES_PER_AROUSAL * abs(np.nan_to_num(arousal[bar] - arousal[last]))
            low, high = (tempo_token(token_tempo(int(tempi[last])) * 2 ** (side * octaves)) for side in (-1, 1))
            tempi[bar] = np.clip(tempi[bar], low, high) if stated else tempi[last]
        elif not stated:
            continue
        last = bar
    return codes[:, before:]


def without_hanging_notes(context: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """codes [K,F] after context [K,Fc] -> codes in which, where a bar begins, a note ends that has been held for a bar or more and is foreign to
    the new chord. The bass may stay, as a pedal point. A model forgets to end a note that way in one bar of 13; people leave it in one of 2,000."""
    codes, before = np.concatenate([context, codes], axis=1), context.shape[1]
    starts = bar_starts(codes)
    for last_bar, bar in zip(starts, starts[1:]):
        chord = int(codes[LANE["harmony"], bar]) - FIRST_CHORD
        if bar < before or not 0 <= chord < 12 * len(QUALITIES):
            continue
        root, quality = divmod(chord, len(QUALITIES))
        tones = [(root + step) % 12 for step in QUALITIES[QUALITY_NAMES[quality]]]
        for lane in PITCH_LANES:
            struck = np.flatnonzero(codes[lane, :bar + 1] != HOLD)
            if lane != LANE["bass"] and len(struck) and struck[-1] <= last_bar:
                note = int(codes[lane, struck[-1]]) - FIRST_PITCH
                if note >= 0 and note % 12 not in tones:
                    codes[lane, bar] = REST
    return codes[:, before:]


def without_mute_notes(context: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """codes [K,F] after context [K,Fc] -> codes without notes and strokes of roles that have no player, which nobody would hear. A model
    writes three notes of a hundred so, people and the composer none."""
    codes, before = np.concatenate([context, codes], axis=1), context.shape[1]
    starts, programs = bar_starts(codes), np.full(len(ROLES), NO_PROGRAM)
    for start, end in zip(starts, [*starts[1:], codes.shape[1]]):
        stated = codes[LANE["orchestra"], start:start + len(ROLES)]
        programs = np.where(stated == HOLD, programs, stated)
        if start < before:
            continue
        for lane in PITCH_LANES:
            if programs[ROLE_OF_LANE[lane]] == NO_PROGRAM:
                notes = codes[lane, start:end]
                notes[notes >= FIRST_PITCH] = REST
        if programs[ROLES.index("kit")] == NO_PROGRAM:
            codes[LANE["drums"], start:end] = 0
    return codes[:, before:]


def without_strangers(context: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """codes [K,F] after context [K,Fc] -> codes in which nobody takes a role over who has not played before: a role that comes in may be
    anyone's, and players may change places. Led far by an emotion, a model would bring in whomever, whatever the text says. Where two or more
    of one of SECTIONS have played, or the bass is of it, all of it is at hand: the strings of an orchestra may play tremolo together where it
    grows dark."""
    codes, before = np.concatenate([context, codes], axis=1), context.shape[1]
    last, known = np.full(len(ROLES), -1), set()  # programs; -1: nobody so far
    has_bass = lambda section: last[ROLES.index("bass")] in section
    at_hand = lambda: known.union(*(section for section in SECTIONS if len(section & known) > 1 or has_bass(section)))
    for start in bar_starts(codes):
        stated = codes[LANE["orchestra"], start:start + len(ROLES)]
        programs = stated - FIRST_PROGRAM
        if start >= before:
            taken_over = (programs >= 0) & (last >= 0)
            strange = taken_over & ~np.isin(programs, list(at_hand()))
            strange[-1] = taken_over[-1]  # kits have numbers of their own
            programs[strange] = last[strange]
            stated[strange] = programs[strange] + FIRST_PROGRAM
        last = np.where(programs >= 0, programs, last)
        known.update(programs[:-1][programs[:-1] >= 0].tolist())
    return codes[:, before:]


def is_silent(codes: np.ndarray) -> bool:
    """Whether nothing is struck in codes [K,F]."""
    return not (codes[PITCH_LANES.start:PITCH_LANES.stop] >= FIRST_PITCH).any() and not codes[LANE["drums"]].any()


def hammered(codes: np.ndarray) -> np.ndarray:
    """Which bars of codes [K,F] nobody would write: HAMMERS voices or more strike nearly every frame. People have three such bars in a thousand
    at most; a model that is led far by arousal comes to it and stays there."""
    return np.array([((bar[PITCH_LANES] >= FIRST_PITCH).mean(1) > STRIKES).sum() >= HAMMERS for bar in bars_of(codes)], bool)


def unstruck(codes: np.ndarray) -> np.ndarray:
    """In which bars of codes [K,F] nothing is struck, and what sounded dies away."""
    return np.array([is_silent(bar) for bar in bars_of(codes)], bool)


def stuck(codes: np.ndarray) -> np.ndarray:
    """In which pairs of bars of codes [K,F] the melody goes back and forth between two pitches, or stays on one. People write one such pair in a
    hundred; a model that is led far comes to it where it is dark and tense."""
    pairs = [np.concatenate([bar[LANE["lead"]] for bar in pair]) for pair in zip(*[iter(bars_of(codes))] * 2)]
    struck = [lead[lead >= FIRST_PITCH] for lead in pairs]
    return np.array([len(pitches) >= STUCK_NOTES and len(set(pitches.tolist())) <= STUCK_PITCHES for pitches in struck], bool)


def grinding(piece: Score) -> float:
    """Of the time in which anything sounds, the share in which two voices stand a semitone apart."""
    sounds = np.zeros((128, piece.frames), bool)
    for note in piece.notes:
        sounds[note.pitch, note.start:note.start + note.duration] = True
    return float((sounds[1:] & sounds[:-1]).any(0).sum() / max(sounds.any(0).sum(), 1))


def sounding_thirds(piece: Score) -> np.ndarray:
    """How many minor and major thirds above the tonic sound in every frame [F,2]."""
    sounds = np.zeros((piece.frames, 2), int)
    for note in piece.notes:
        third = (note.pitch - piece.tonic) % 12 - 3
        if third in (0, 1):
            sounds[note.start:note.start + note.duration, third] += 1
    return sounds


def sounding(piece: Score) -> np.ndarray:
    """How long each role plays each General MIDI program [6,128], in frames, more than the piece has where a role has several voices; of the
    kit, in strokes."""
    lengths, starts = np.zeros((len(ROLES), 128)), piece.bar_starts()
    for frame, role, length in [(note.start, ROLE_OF_LANE[note.lane], note.duration) for note in piece.notes] + \
                               [(int(frame), ROLES.index("kit"), 1) for frame in np.flatnonzero(piece.drums)]:
        program = piece.bars[bar_number(starts, frame)].programs[role]
        if program >= 0:
            lengths[role, program] += length
    return lengths


def rests_on_tonic(piece: Score) -> bool:
    """Whether the lowest note of the bass in the last bar is the tonic; of all notes where the bass is silent."""
    last = piece.bar_starts()[-1]
    sounding = [note for note in piece.notes if note.start + note.duration > last]
    bass = [note for note in sounding if note.lane == LANE["bass"]] or sounding
    return bool(bass) and (min(note.pitch for note in bass) - piece.tonic) % 12 == 0


class ScoreReader:
    """Codes, as they come bar by bar -> a growing Score. Tokens out of place mean HOLD, so any codes give a score."""

    def __init__(self):
        self.score = Score([])
        self._frames = 0  # of the score
        self._open: dict[int, Note] = {}  # lane -> the note that sounds

    def read_bar(self, codes: np.ndarray, metre: str, tonic: int, bars_left: int, tempo_bpm: float | None = None) -> Bar:
        """Append one bar of codes [K,F]; tempo_bpm overrides the tempo token."""
        codes = codes.astype(np.int64)
        at, score = self._frames, self.score
        score.tonic = tonic
        shift = key_shift(tonic)
        last = score.bars[-1] if score.bars else Bar()
        tempo, dynamics, feel = codes[LANE["performance"], :3]
        programs = list(last.programs)
        for role, token in enumerate(codes[LANE["orchestra"], :len(ROLES)]):
            if token != HOLD:
                programs[role] = int(token) - FIRST_PROGRAM if token >= FIRST_PROGRAM else -1
        bar = replace(last, metre=metre, bars_left=bars_left, programs=tuple(programs))
        if tempo_bpm is not None or 1 <= tempo <= N_TEMPI:
            bar = replace(bar, tempo_bpm=tempo_bpm or token_tempo(int(tempo)))
        if DYNAMICS_0 <= dynamics < FEEL_0:
            bar = replace(bar, dynamics=int(dynamics) - DYNAMICS_0)
        if FEEL_0 <= feel < FEEL_0 + 2 * len(ARTICULATIONS):
            bar = replace(bar, articulation=ARTICULATIONS[(feel - FEEL_0) // 2], swing=bool((feel - FEEL_0) % 2))
        score.bars.append(bar)
        self._frames += bar.frames
        for lane in PITCH_LANES:
            for frame in np.flatnonzero(codes[lane] != HOLD).tolist():
                token = int(codes[lane, frame])
                self.release(lane, at + frame)
                if token >= FIRST_PITCH:
                    self._open[lane] = Note(lane, at + frame, 0, min(max(token - FIRST_PITCH + shift, 0), 127))
        for frame in np.flatnonzero(codes[LANE["harmony"]] >= NO_CHORD).tolist():
            token = int(codes[LANE["harmony"], frame])
            if token < FIRST_CHORD + 12 * len(QUALITIES):
                root, quality = divmod(token - FIRST_CHORD, len(QUALITIES))
                chord = Chord(at + frame, -1 if token == NO_CHORD else (root + tonic) % 12, QUALITY_NAMES[quality])
                if not score.chords or score.chords[-1][1:] != chord[1:]:
                    score.chords.append(chord)
        score.drums = np.concatenate([score.drums, codes[LANE["drums"]].astype(np.uint8)])
        return bar

    def release(self, lane: int, frame: int | None = None):
        """End what sounds on a lane, at a frame or at the end so far."""
        frame = self._frames if frame is None else frame
        note = self._open.pop(lane, None)
        if note is not None:
            self.score.notes.append(note._replace(duration=frame - note.start))

    def open_notes(self) -> list[Note]:
        """Notes that still sound, with the duration known so far."""
        return [note._replace(duration=self._frames - note.start) for note in self._open.values()]

    def finish(self) -> Score:
        for lane in list(self._open):
            self.release(lane)
        self.score.notes.sort(key=lambda n: (n.start, n.lane))
        return self.score


def decode(codes: np.ndarray) -> Score:
    """codes [K,F] -> Score. The grid lane says where bars begin; codes without a bar line raise ValueError."""
    codes = np.asarray(codes).astype(np.int64)
    if codes.ndim != 2 or codes.shape[0] != K:
        raise ValueError(f"Score codes have shape {list(codes.shape)}; they need {K} lanes: give codes of a score model.")
    grid = codes[LANE["grid"]]
    starts = bar_starts(codes)
    if len(starts) == 0 or starts[0] != 0:
        raise ValueError("Score codes do not begin with a bar line; give codes cut at a bar.")
    reader = ScoreReader()
    left_of = {0: 99, **{c: n for n, c in COUNTDOWN}}
    for start, end in zip(starts, [*starts[1:], codes.shape[1]]):
        metre, countdown = divmod(int(grid[start]), COUNTDOWN_CLASSES)
        reader.read_bar(codes[:, start:end], METRE_NAMES[metre], int(grid[start + 1] - GRID_TONIC) % 12, left_of[countdown])
    return reader.finish()
