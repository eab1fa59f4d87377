"""A performance: bars and notes of a Score go in, what a synthesizer plays (seconds, velocities, channels) comes out.

Times are exact: a bar lasts bar.frames * 15 / tempo_bpm seconds, a swung eighth falls two thirds into its beat. Loudness
comes from the bar's dynamics, the lane's place in the ensemble and the accent of the beat; a small deterministic unevenness
keeps repeated notes from sounding like a machine.
"""

import bisect
from collections.abc import Callable

import numpy as np

from .score import DRUMS, METRES, ROLE_OF_LANE, ROLES, Bar, Note
from .synth import Channel, PlayedNote

BALANCE = {"lead": 12, "second": 0, "bass": 4, "comp": -8, "pad": -14}
DRUM_BALANCE = {"kick": 4, "snare": 2, "hat": -14, "ride": -12, "tom": 0, "crash": -4, "shaker": -12}
SOUNDING = {"staccato": 0.5, "detached": 0.82, "legato": 1.0, "pedal": 1.0}  # share of the written duration
PAN = {"lead": 64, "second": 44, "bass": 62, "comp": 82, "pad": 50, "kit": 64}
DRUM_CHANNEL = 9
SWELLING, SPEAKS_SECONDS = (48, 49), 0.2  # string sections, which swell: a shorter note of theirs is over before it is heard,
SOLOISTS = ((55, 40), (48, 41), (0, 42))  # so a violin, a viola or a cello joins in: lowest pitch and program


def _unevenness(lane: int, frame: int, pitch: int) -> int:
    """A velocity offset in -3..3 that depends on the note alone, so that making a segment again gives the same sound."""
    return (lane * 73856093 ^ frame * 19349663 ^ pitch * 83492791) % 7 - 3


def _accent(bar: Bar, position: int) -> int:
    return 6 if position == 0 else 2 if position % METRES[bar.metre][1] == 0 else -4 if position % 2 else -2


def note_velocity(bar: Bar, lane: int, position: int, frame: int, pitch: int = 60) -> int:
    """MIDI velocity of a note on a pitch lane; position: frame within its bar, frame: from the beginning of the piece."""
    role = ROLES[ROLE_OF_LANE[lane]]
    return int(np.clip(52 + 7.5 * bar.dynamics + BALANCE[role] + _accent(bar, position) + _unevenness(lane, frame, pitch), 8, 127))


def drum_velocity(bar: Bar, drum: str, position: int, frame: int) -> int:
    return int(np.clip(48 + 8 * bar.dynamics + DRUM_BALANCE[drum] + _accent(bar, position) + _unevenness(12, frame, DRUMS[drum]), 8, 127))


def sounding_share(bar: Bar, role: int) -> float:
    """Of its written duration how much of a note sounds."""
    return 1.0 if ROLES[role] == "pad" else SOUNDING[bar.articulation]


class Performer:
    """Knows when each frame sounds. Bars are added as they are read; bar tempi give the clock."""

    def __init__(self):
        self.bars: list[Bar] = []
        self.starts_frames: list[int] = [0]  # one more than bars: the next bar's start
        self.starts_seconds: list[float] = [0.0]

    def add(self, bar: Bar) -> None:
        self.bars.append(bar)
        self.starts_frames.append(self.starts_frames[-1] + bar.frames)
        self.starts_seconds.append(self.starts_seconds[-1] + bar.frames * bar.frame_seconds)

    def bar_at(self, frame: int) -> int:
        return min(max(bisect.bisect_right(self.starts_frames, frame) - 1, 0), len(self.bars) - 1)

    def seconds(self, frame: int, played: bool = False) -> float:
        """When a frame begins; played: with the swing that a performance gives to off-beats. Past the end the last tempo holds."""
        index = self.bar_at(frame)
        bar, position = self.bars[index], frame - self.starts_frames[index]
        lean = 0.0
        if played and bar.swing and position % 4:
            lean = (0, 1 / 3, 2 / 3, 1 / 3)[position % 4]
        return self.starts_seconds[index] + (position + lean) * bar.frame_seconds

    def beats(self, seconds: np.ndarray) -> np.ndarray:
        """Quarter notes from the beginning at given times; past the last bar its tempo holds."""
        beats = np.interp(seconds, self.starts_seconds, np.array(self.starts_frames) / 4)
        tempo = self.bars[-1].tempo_bpm if self.bars else 100.0
        return beats + np.maximum(np.asarray(seconds) - self.starts_seconds[-1], 0) * tempo / 60

    def play(self, note: Note, at_least_seconds: float, channel_of: Callable[[int, int], int]) -> list[PlayedNote]:
        """A note of a pitch lane as it sounds; nothing where its role is silent, twice where a soloist joins a section.

        It is never released before at_least_seconds: a note that was held at a joint stays so. channel_of(role, program)
        gives the MIDI channel.
        """
        index = self.bar_at(note.start)
        bar, role = self.bars[index], ROLE_OF_LANE[note.lane]
        if bar.programs[role] < 0:
            return []
        start, end = self.seconds(note.start, played=True), self.seconds(note.start + note.duration, played=True)
        duration = (end - start) * sounding_share(bar, role)
        if bar.articulation == "pedal" and ROLES[role] in ("lead", "comp", "bass"):  # the pedal is changed at the bar line
            duration = max(duration, min(self.starts_seconds[index + 1] - start, 2.5))
        players = [bar.programs[role]]
        known = max(end, at_least_seconds) < self.starts_seconds[index + 1] + 1e-6  # how long what crosses a bar line lasts may not be
        if players[0] in SWELLING and duration < SPEAKS_SECONDS and known:
            players.append(next(soloist for lowest, soloist in SOLOISTS if note.pitch >= lowest))
        duration = max(duration, at_least_seconds - start, 0.04)
        velocity = note_velocity(bar, note.lane, note.start - self.starts_frames[index], note.start, note.pitch)
        return [PlayedNote(start, duration, channel_of(role, program), note.pitch, velocity) for program in players]

    def play_drums(self, mask: int, frame: int) -> list[PlayedNote]:
        index = self.bar_at(frame)
        bar = self.bars[index]
        if mask == 0 or bar.programs[ROLES.index("kit")] < 0:
            return []
        start = self.seconds(frame, played=True)
        return [PlayedNote(start, 0.25, DRUM_CHANNEL, key, drum_velocity(bar, name, frame - self.starts_frames[index], frame))
                for i, (name, key) in enumerate(DRUMS.items()) if mask >> i & 1]


def channel(role: int, program: int) -> Channel:
    """Program and place of a role."""
    name = ROLES[role]
    return Channel(program, 100, PAN[name])
