"""The score codec: codes of score.py <-> 44.1 kHz stereo sound, bar by bar, in exact tempo and metre.

A session plans whole bars. With a requested tempo the bars lie on it to the sample; without, the model's own tempo is bent by
a few per cent so that the last bar ends with the piece. The last bar rests on the tonic's chord: major where its last moment is
asked to be glad, minor where it is to be dark. A note that still sounds at a joint is rendered held, and rendered anew with its
true length when that is known: both sound alike up to the joint, so nothing clicks and nothing is cut.
"""

import bisect
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import MAX_SECONDS, Plan, Request, score
from .brightness import Brightness
from .performance import Performer, channel
from .room import Room
from .score import LANE, METRES, Bar, Note, Score, ScoreReader, grid_tokens, token_tempo
from .soundfont import SoundFont, find_soundfont
from .synth import CUT_FADE_SECONDS, SAMPLE_RATE_HZ, Channel, PlayedNote, TailJoiner, add, master
from .synth_process import SynthProcess, synthesizer_for
from .themes import Themes

CONTEXT_FRAMES = 160  # what the model reads of the past: ten bars of 4/4
SEGMENT_BARS = 4
AHEAD_FRAMES = 24  # of its time a model is told of valence: asked for another mode, harmony and players turn two to three seconds later
DEFAULT_TEMPO_BPM = 100.0
RING_OUT_SECONDS = 2.0  # the last chord rings about so long, where the tempo is ours to choose
MAX_HOLD_FRAMES = 96  # longer notes are released
CLEAR_VALENCE = 0.1  # of the last moment, from which on it decides the mode of the last chord
CLOSING_FADE_SECONDS = 0.35
NOTES_LED = 0.75  # of the guidance that tempo, dynamics and harmony take: led as far, notes become a caricature
TAIL_SECONDS = 4.0  # releases and cymbals ring so long behind a segment's last note


class ScoreCodec:
    n_codebooks, codebook_size = score.K, score.V
    frame_rate_hz, sample_rate_hz, channels = 8.0, SAMPLE_RATE_HZ, 2
    text_led = (LANE["orchestra"],)  # who plays is the text's to say, however strong the emotion is
    likely_only = (LANE["performance"],)  # else what should be loudest is played softer again
    emotion_shares = tuple(0.0 if name == "orchestra" else NOTES_LED if k >= LANE["bass"] else 1.0 for name, k in LANE.items())

    def __init__(self, soundfont: str | Path | None = None, folder: Path | None = None):
        self.soundfont = SoundFont.load(find_soundfont(soundfont, folder))
        self.synthesizer, self.second_synthesizer = (synthesizer_for(self.soundfont, number) for number in range(2))

    def encode(self, piece: Score) -> np.ndarray:
        """Score -> codes uint8 [K,F]. Raises ValueError for sound, which is not turned into notes."""
        if not isinstance(piece, Score):
            raise ValueError("This model writes notes and cannot go on from a recording: continue a piece that it made itself, or use a model "
                             "whose codec reads sound, such as MusicGen.")
        return score.encode(piece)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Whole codes [K,F] -> samples [2,T], in the tempo that their lane states, with the last notes ringing out."""
        piece = score.decode(codes)
        seconds = sum(bar.frames * bar.frame_seconds for bar in piece.bars)
        session, bars, at = ScoreSession(self, Request(seconds + RING_OUT_SECONDS)), [], 0
        for bar in piece.bars:
            bars.append((bar, codes[:, at:at + bar.frames]))
            at += bar.frames
        return np.concatenate([session.sound(bars, piece.tonic)(), session.finish()], axis=1)

    def mended(self, context: np.ndarray, codes: np.ndarray, emotion: np.ndarray, new_text: bool = False) -> np.ndarray:
        codes = score.without_leaps(context, codes, emotion[:, 1])
        codes = codes if new_text else score.without_strangers(context, codes)
        return score.without_hanging_notes(context, score.without_mute_notes(context, codes))

    def is_silent(self, codes: np.ndarray) -> bool:
        return score.is_silent(codes)

    def session(self, request: Request) -> "ScoreSession":
        return ScoreSession(self, request)

    def live_session(self, request: Request, next_tempo: Callable[[], float | None]) -> "LiveSession":
        return LiveSession(self, request, next_tempo)


class ScoreSession:
    def __init__(self, codec: ScoreCodec, request: Request):
        if request.metre not in METRES:
            raise ValueError(f"The metre is {request.metre!r}; choose one of {', '.join(METRES)}.")
        self.codec, self.request = codec, request
        self.tonic = request.tonic if request.tonic is not None else int(np.random.default_rng(request.seed).integers(12))
        self.reader, self.performer = ScoreReader(), Performer()
        self.joiner, self.brightness, self.room = TailJoiner(), Brightness(SAMPLE_RATE_HZ), Room(SAMPLE_RATE_HZ)
        self.total_samples = round(request.seconds * SAMPLE_RATE_HZ)
        self.emitted = 0
        self._end_sample = 0  # of what was read; sound follows
        self.model_tempo_bpm = DEFAULT_TEMPO_BPM  # what the model last asked for; the first bar is heard before anything is known
        self._stretch = 1.0  # tempo played / tempo asked for
        self.themes = Themes(METRES[request.metre][0])
        self._bars: list[tuple[int, float | None]] = []  # the planned segment: bars left, tempo where it is given
        self._held: list[Note] = []  # notes that sounded at the last joint
        self._closed: list[Note] = []  # that ended in the segment before it
        self._fading = np.zeros((2, 0), np.float32)
        self._channels: dict[tuple[int, int], int] = {}  # (role, program) -> MIDI channel

    # -- planning -----------------------------------------------------------------------------------------------------

    @property
    def position_seconds(self) -> float:
        return self.performer.starts_seconds[-1]

    @property
    def _ring_out_seconds(self) -> float:
        return min(RING_OUT_SECONDS, 0.08 * self.request.seconds)

    def _bar_seconds(self, tempo_bpm: float) -> float:
        return METRES[self.request.metre][0] * 15.0 / tempo_bpm

    def _given_tempi(self) -> list[float]:
        """Tempo of every bar still to come, as far as the requested tempo map gives it; each bar lasts what the map says, to the sample."""
        bar_beats, tempi = METRES[self.request.metre][0] / 4, []
        beat, at = self.performer.starts_frames[-1] / 4, self.request.seconds_at
        while beat < self.request.free_from_beat and (not tempi or at(beat + bar_beats) <= self.request.seconds + 1e-6):
            tempi.append(float(bar_beats * 60 / (at(beat + bar_beats) - at(beat))))
            beat += bar_beats
        return tempi

    def plan(self) -> Plan | None:
        """The next bars: one first, so that something is heard soon, then up to the end of the four-bar phrase."""
        position, done = self.position_seconds, len(self.performer.bars)
        count = 1 if done == 0 else SEGMENT_BARS - done % SEGMENT_BARS
        tempi = self._given_tempi()
        if tempi and self.request.free_from_beat < np.inf:
            after = self.request.seconds - self._ring_out_seconds - position - sum(map(self._bar_seconds, tempi))
            left = len(tempi) + max(1, round(after / self._bar_seconds(tempi[-1])))
            self._bars = [(left - i, tempo) for i, tempo in enumerate(tempi[:count])]
            played = tempi[0]
        elif tempi:
            if done and position + self._bar_seconds(tempi[0]) > self.request.seconds + 1e-6:
                return None
            if len(tempi) - count == 1:  # no segment of a single last bar
                count += 1
            self._bars = [(len(tempi) - i, tempo) for i, tempo in enumerate(tempi[:count])]
            played = tempi[0]
        else:
            remaining = self.request.seconds - self._ring_out_seconds - position
            if done and (self._bars[-1][0] == 1 or remaining < 0.5 * self._bar_seconds(self.model_tempo_bpm * self._stretch)):
                return None
            left = max(1, round(remaining / self._bar_seconds(self.model_tempo_bpm)))
            if left <= 2:  # by themselves, when it is known how long those before them lasted
                count = left
            else:  # were the tempo halved now, there would still be time to close
                count = min(count, max(left // 2 - 1, 1))
            self._stretch = float(np.clip(left * self._bar_seconds(self.model_tempo_bpm) / max(remaining, 1e-3), 0.96, 1.04)) if done else 1.0
            self._bars = [(left - i, None) for i in range(count)]
            played = self.model_tempo_bpm * self._stretch
        return self._planned(played)

    def given(self, plan: Plan, emotion: np.ndarray) -> np.ndarray:
        forced = self.themes.given(plan.forced, emotion, [left for left, _ in self._bars])
        if self._bars[-1][0] == 1 and self.performer.bars:
            last = forced[LANE["harmony"], -METRES[self.request.metre][0]:]
            last[0], last[1:] = score.chord_token(0, self._home_quality(emotion[-1, 0])), score.HOLD
        return forced

    def _planned(self, played: float) -> Plan:
        """self._bars as a Plan; played: the tempo where none is given."""
        position, done = self.position_seconds, len(self.performer.bars)
        frames = METRES[self.request.metre][0]
        forced = np.full((score.K, frames * len(self._bars)), -1, np.int64)
        forced[LANE["grid"]] = np.concatenate([grid_tokens(self.request.metre, left, self.tonic, done + i) for i, (left, _) in enumerate(self._bars)])
        for i, (_, tempo) in enumerate(self._bars):
            if tempo is not None:
                forced[LANE["performance"], i * frames] = score.tempo_token(tempo)
        durations = np.repeat([15.0 / (tempo or played) for _, tempo in self._bars], frames)
        seconds = position + np.concatenate([[0], np.cumsum(durations)[:-1]])
        beats = (self.performer.starts_frames[-1] + np.arange(forced.shape[1])) / 4
        context = min(CONTEXT_FRAMES // frames * frames, self.performer.starts_frames[-1])
        return Plan(forced, seconds, beats, context, AHEAD_FRAMES)

    def _home_quality(self, valence: float) -> str:
        """The triad on which the piece comes to rest: that of the mode which its last moment is asked for (NaN: nothing is), else of the
        thirds above its tonic that were played."""
        if abs(valence) >= CLEAR_VALENCE:
            return "maj" if valence > 0 else "min"
        above = [(note.pitch - self.tonic) % 12 for note in self.reader.score.notes]
        return "min" if above.count(3) > above.count(4) else "maj"

    # -- sound --------------------------------------------------------------------------------------------------------

    def push(self, codes: np.ndarray) -> Callable[[], np.ndarray]:
        """Codes [K,F] of the planned bars -> what renders their samples [2,T], up to the end of the last bar."""
        frames = METRES[self.request.metre][0]
        if codes.shape != (score.K, frames * len(self._bars)):
            raise ValueError(f"The segment's codes have shape {list(codes.shape)}; the plan asks for [{score.K}, {frames * len(self._bars)}].")
        self.themes.add(codes)
        bars, tempi = [], []
        for i in range(len(self._bars)):
            token = int(codes[LANE["performance"], i * frames])
            if 1 <= token <= score.N_TEMPI:
                self.model_tempo_bpm = token_tempo(token)
            tempi.append(self.model_tempo_bpm)
        if self._bars[0][1] is None:
            stretch = self._stretch
            if self._bars[-1][0] == 1:  # the last bars: what remains is theirs, and the ring-out gives way before the tempo does
                natural, ring_out = sum(map(self._bar_seconds, tempi)), self._ring_out_seconds
                remaining = self.request.seconds - ring_out - self.position_seconds
                wanted = np.clip(natural, remaining - 0.25 * ring_out, remaining + 0.6 * ring_out)
                stretch = float(np.clip(natural / max(wanted, 1e-3), 0.8, 1.25))
            tempi = [tempo * stretch for tempo in tempi]
        else:
            tempi = [tempo for _, tempo in self._bars]
        for i, ((left, _), tempo) in enumerate(zip(self._bars, tempi)):
            bars.append((score.Bar(self.request.metre, tempo, bars_left=left), codes[:, i * frames:(i + 1) * frames]))
        return self.sound(bars, self.tonic)

    def sound(self, bars: list[tuple[score.Bar, np.ndarray]], tonic: int) -> Callable[[], np.ndarray]:
        """Read bars (metre, tempo and bars left are those of the Bar) -> what renders the samples [2,T] they add."""
        reader, performer = self.reader, self.performer
        start_seconds, start_frame, known = self.position_seconds, performer.starts_frames[-1], len(reader.score.notes)
        for bar, codes in bars:
            performer.add(reader.read_bar(codes, bar.metre, tonic, bar.bars_left, bar.tempo_bpm))
        dynamics = tuple(zip(performer.starts_seconds[-len(bars) - 1:], (bar.dynamics for bar in performer.bars[-len(bars):])))
        for note in reader.open_notes():
            if note.duration > MAX_HOLD_FRAMES:
                reader.release(note.lane)
        start_sample = self._end_sample
        self._end_sample = max(min(round(self.position_seconds * SAMPLE_RATE_HZ), self.total_samples), start_sample)
        length = self._end_sample - start_sample
        was_held = {(n.lane, n.start) for n in self._held}
        closed = self._closed = reader.score.notes[known:]
        self._held = reader.open_notes()
        fresh = self._played([n for n in closed if (n.lane, n.start) not in was_held])
        for frame in np.flatnonzero(reader.score.drums[start_frame:]):
            fresh += self.performer.play_drums(int(reader.score.drums[start_frame + frame]), start_frame + int(frame))
        ended = self._played([n for n in closed if (n.lane, n.start) in was_held], start_seconds)
        held = self._played(self._held, self.position_seconds + 0.01)
        settings = self._settings()

        def carried(mix: np.ndarray) -> np.ndarray:  # over a joint: up to it, and again when the notes' end is known
            mix = self._mixed(mix, held, settings, start_sample, length, self.codec.second_synthesizer)
            return self._mixed(mix, ended, settings, start_sample, None, self.codec.second_synthesizer)

        def render() -> np.ndarray:
            mix = np.zeros((2, length), np.float32)
            with ThreadPoolExecutor(1, "lara-carried") as beside:
                over = beside.submit(carried, mix)
                mix = self._mixed(mix, fresh, settings, start_sample, None, self.codec.synthesizer)  # with their tails
            joined = self.joiner.push(add(mix, over.result()), length)
            return self._emit(self.room.push(self.brightness.push(joined, start_sample / SAMPLE_RATE_HZ, dynamics)))

        return render

    def _played(self, notes: list[Note], at_least_seconds: float = 0.0) -> list[PlayedNote]:
        return [played for note in notes for played in self.performer.play(note, at_least_seconds, self._channel_of)]

    def _channel_of(self, role: int, program: int) -> int:
        """A MIDI channel for a role's instrument; with all fifteen taken that of who has rested longest is given away."""
        key = (role, program)
        number = self._channels.pop(key, None)
        if number is None:
            free = [c for c in range(16) if c != 9 and c not in self._channels.values()]
            number = free[0] if free else self._channels.pop(next(iter(self._channels)))
        self._channels[key] = number  # last in the row
        return number

    def _mixed(self, mix: np.ndarray, notes: list[PlayedNote], settings: dict[int, Channel], start_sample: int, cut: int | None,
               synthesizer: SynthProcess) -> np.ndarray:
        """Add rendered notes (times in the piece) to a segment that begins at start_sample; cut: nothing beyond so many samples."""
        if not notes:
            return mix
        origin = min(int(min(n.start_seconds for n in notes) * SAMPLE_RATE_HZ), start_sample)
        shifted = [PlayedNote(max(n.start_seconds - origin / SAMPLE_RATE_HZ, 0.0), n.duration_seconds, n.channel, n.pitch, n.velocity) for n in notes]
        tail = TAIL_SECONDS if cut is None else 2 * CUT_FADE_SECONDS  # what is cut away here must not be faded before
        sound = synthesizer.render(shifted, settings, 0.0, origin, tail)[:, start_sample - origin:]
        sound = sound[:, :cut] if cut is not None else sound
        return add(mix, sound)

    def _settings(self) -> dict[int, Channel]:
        kits = [bar.programs[5] for bar in self.performer.bars[-SEGMENT_BARS - 1:] if bar.programs[5] >= 0]
        settings = {9: channel(5, kits[-1] if kits else 0)}
        return settings | {number: channel(role, program) for (role, program), number in self._channels.items()}

    def _emit(self, samples: np.ndarray) -> np.ndarray:
        """Hold back the last moments of the piece: finish() fades them."""
        samples = np.concatenate([self._fading, master(samples)], axis=1)
        free = self.total_samples - round(CLOSING_FADE_SECONDS * SAMPLE_RATE_HZ) - self.emitted
        out, self._fading = samples[:, :max(free, 0)], samples[:, max(free, 0):]
        self.emitted += out.shape[1]
        return out

    def finish(self) -> np.ndarray:
        """The last notes ring out and fade -> samples [2,T], so that the piece has its exact length."""
        remaining = self.total_samples - self.emitted
        ended = self._played(self._held, self.position_seconds)  # what sounded at the last bar line is released there
        self.joiner.push(self._mixed(np.zeros((2, 0), np.float32), ended, self._settings(), self._end_sample, None, self.codec.synthesizer), 0)
        self._held = []
        tail = self.joiner.finish(max_seconds=max(remaining - self._fading.shape[1], 0) / SAMPLE_RATE_HZ)
        tail = self.room.push(self.brightness.push(tail))
        tail = np.concatenate([tail, self.room.finish()], axis=1)
        out = np.zeros((2, remaining), np.float32)
        samples = np.concatenate([self._fading, master(tail)], axis=1)[:, :remaining]
        out[:, :samples.shape[1]] = samples
        fade = min(remaining, round(CLOSING_FADE_SECONDS * SAMPLE_RATE_HZ))
        if fade:
            out[:, -fade:] *= np.cos(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
        self.emitted, self._fading = self.total_samples, samples[:, :0]
        self.reader.finish()
        return out

    @property
    def piece(self) -> Score:
        """The score so far; complete after finish()."""
        return self.reader.score


class LiveSession(ScoreSession):
    """A piece whose end is not known, planned a bar at a time, each in the tempo that `next_tempo` gives when it is planned; None
    ends the piece. request: its metre, tonic and seed count; its length and tempo do not."""

    def __init__(self, codec: ScoreCodec, request: Request, next_tempo: Callable[[], float | None]):
        super().__init__(codec, replace(request, seconds=MAX_SECONDS, tempo=DEFAULT_TEMPO_BPM))
        self.next_tempo, self.total_samples = next_tempo, sys.maxsize

    def plan(self) -> Plan | None:
        tempo = self.next_tempo()
        if tempo is None:
            return None
        self._bars = [(Bar().bars_left, tempo)]
        return replace(self._planned(tempo), ahead_frames=0)  # nobody knows what will be asked for

    def given(self, plan: Plan, emotion: np.ndarray) -> np.ndarray:
        return plan.forced  # a bar that is made again has forgotten the themes

    def last_bar(self) -> Score:
        """The last bar by itself; notes that sound into it begin with it, and those that sound on end with it."""
        piece, end = self.piece, self.performer.starts_frames[-1]
        start = self.performer.starts_frames[-2]
        sounding = [note for note in (*self._closed, *self._held) if note.start + note.duration > start]
        notes = [note._replace(start=max(note.start, start) - start, duration=min(note.start + note.duration, end) - max(note.start, start)) for note in sounding]
        first = max(bisect.bisect_right(piece.chords, start, key=lambda chord: chord.start) - 1, 0)  # the one that sounds already
        chords = [chord._replace(start=max(chord.start - start, 0)) for chord in piece.chords[first:]]
        return Score(piece.bars[-1:], piece.tonic, sorted(notes, key=lambda note: (note.start, note.lane)), chords, piece.drums[start:])

    def finish(self) -> np.ndarray:
        self.total_samples = self._end_sample + round(RING_OUT_SECONDS * SAMPLE_RATE_HZ)
        return super().finish()
