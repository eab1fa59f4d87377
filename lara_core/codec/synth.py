"""Notes become sound: played notes and channel settings flow in, 44.1 kHz stereo samples [2, T] flow out.

A piece is rendered segment by segment. Every note is rendered whole, with its release, in the segment where
it starts; `TailJoiner` adds what rings past a segment's end to the segments after it, so a join cannot click.

The voices come from `midirenderer` (RustySynth). What it does, and what is done about it here:
- it works in blocks of 64 samples at 48 kHz: onsets fall on a grid of 1.33 ms that is counted from the start of the
  piece (error at most 0.67 ms, no drift), and the result is resampled to 44.1 kHz;
- it ends at the last MIDI event, so that event is put behind the release;
- it has 64 voices and clips hard at 16 bits: crowded segments are rendered in parts, loud ones again with headroom;
- its reverb drops out below a velocity of about 70 (sends under -60 dB are skipped), so the room is our own (room.py).
It keeps the interpreter lock during a call: sessions render in processes of their own (synth_process.py).
Across a join two things differ from an uncut render: a key struck again while it sounds rings on beside the new note,
and a closed hi-hat does not silence an open one.
"""

import io
import itertools
import math
import struct
import wave
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from .soundfont import SoundFont, voice_counts

SAMPLE_RATE_HZ = 44100
DRUM_CHANNEL = 9
MASTER_GAIN_DB = 5.5         # a forte ensemble peaks near -3 dBFS
KNEE = 10 ** (-3 / 20)       # up to here the master stage is a plain gain
TAIL_SECONDS = 6.0           # the longest release that is kept
CUT_FADE_SECONDS = 0.5       # a release that rings even longer is faded over this
MAX_SECONDS = 600.0          # longer material is rendered in segments

_RENDER_RATE_HZ = 48000
_BLOCKS_PER_SECOND = _RENDER_RATE_HZ // 64
_CHORUS_PERIOD = SAMPLE_RATE_HZ * 5 // 2   # the chorus swings in 2.5 s, a whole number of blocks: segments start in phase
_VOICES = 64
_CROWD_RELEASE_SECONDS = 0.5  # reckoned for every note; voices that fade longer are soft, and the first to be taken away
_HEADROOM_STEPS = (127, 64, 32, 16)        # values of the expression controller, gain (value/127)^2
_SILENCE = 1e-5              # -100 dBFS


@dataclass(frozen=True)
class PlayedNote:
    """One note: seconds from the start of its segment, channel 0..15 (9 = drums), pitch 0..127, velocity 1..127."""

    start_seconds: float
    duration_seconds: float
    channel: int
    pitch: int
    velocity: int

    def __post_init__(self):
        # A start may lie a rounding error before its segment; render() checks it against the segment's limit.
        for name, low, high in (("start_seconds", -1e-3, 86400), ("duration_seconds", 0, MAX_SECONDS),
                                ("channel", 0, 15), ("pitch", 0, 127), ("velocity", 1, 127)):
            _check_range(f"note {name}", getattr(self, name), low, high)


@dataclass(frozen=True)
class Channel:
    """General MIDI settings of a channel, each 0..127; on channel 9 `program` chooses the drum kit."""

    program: int
    volume: int = 100
    pan: int = 64
    chorus: int = 0

    def __post_init__(self):
        for item in fields(self):
            _check_range(f"channel {item.name}", getattr(self, item.name), 0, 127)


def _check_range(name: str, value: float, low: float, high: float):
    if not low <= value <= high:  # also false for NaN
        raise ValueError(f"{name} is {value}, but it must lie in {low}..{high}.")


class Synthesizer:
    """Renders notes with one SoundFont. Calls are independent and deterministic."""

    def __init__(self, soundfont: SoundFont):
        self.soundfont = soundfont

    def render(self, notes: Sequence[PlayedNote], channels: Mapping[int, Channel], seconds: float,
               start_sample: int = 0, tail_seconds: float = TAIL_SECONDS) -> np.ndarray:
        """Render a segment -> float32 [2, T], T >= seconds * 44100: every note whole, with its release until
        silent. Levels are before `master`, and dry.

        tail_seconds: how long releases may ring after the last note; what rings on is faded.

        start_sample: where the segment starts in its piece, in samples at 44.1 kHz. It keeps the renderer's block grid
            and chorus in phase, so that the pieces of a cut sound like the uncut whole.
        Raises ValueError for seconds outside 0..600, a note on a channel without settings, and an unusable SoundFont.
        """
        _check_range("segment length in seconds", seconds, 0, MAX_SECONDS)
        _check_range("segment start_sample", start_sample, 0, math.inf)
        _check_range("the last note's start_seconds", max((note.start_seconds for note in notes), default=0), 0, MAX_SECONDS)
        missing = {note.channel for note in notes} - set(channels)
        if missing:
            raise ValueError(f"notes play on channel {min(missing)}, which has no Channel settings; give its program.")
        lead = int(start_sample) % _CHORUS_PERIOD  # always: fonts send some instruments to the chorus of their own accord
        out = np.zeros((2, math.ceil(seconds * SAMPLE_RATE_HZ)), np.float32)
        for part in _parts(notes, channels, self.soundfont):
            out = add(out, self._render_part(part, channels, lead, tail_seconds))
        loud = np.flatnonzero(np.abs(out).max(0) > _SILENCE)
        keep = max(math.ceil(seconds * SAMPLE_RATE_HZ), int(loud[-1]) + 1 if loud.size else 0)
        return out[:, :keep]

    def _render_part(self, notes: Sequence[PlayedNote], channels: Mapping[int, Channel], lead: int,
                     tail_seconds: float) -> np.ndarray:
        """Voices of one part -> float32 [2, T] from the segment's start on."""
        import soxr

        for expression in _HEADROOM_STEPS:
            pcm = self._call_renderer(midi_bytes(notes, channels, lead / SAMPLE_RATE_HZ, expression, tail_seconds))
            if -32768 < pcm.min() and pcm.max() < 32767:
                break
        sounding = np.flatnonzero(pcm.view(np.uint32)[:, 0])  # either channel
        if sounding.size == 0:
            return np.zeros((2, 0), np.float32)
        fade = round(CUT_FADE_SECONDS * _RENDER_RATE_HZ)
        still_ringing = sounding[-1] + 64 >= len(pcm)
        pcm = pcm[:sounding[-1] + 1].astype(np.float32) * np.float32((127 / expression) ** 2 / 32768)
        if still_ringing:
            pcm[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
        samples = soxr.resample(np.pad(pcm, ((0, 64), (0, 0))), _RENDER_RATE_HZ, SAMPLE_RATE_HZ)
        return np.ascontiguousarray(samples[lead:].T)

    def _call_renderer(self, midi: bytes) -> np.ndarray:
        import midirenderer

        try:
            wav = midirenderer.render_wave_from(self.soundfont.data, midi)
        except RuntimeError as error:
            raise ValueError(f"SoundFont {self.soundfont.name} cannot be rendered ({error}); "
                             "choose another .sf2 file.") from error
        with wave.open(io.BytesIO(wav)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (_RENDER_RATE_HZ, 2, 2)
            return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)


def _parts(notes: Sequence[PlayedNote], channels: Mapping[int, Channel], soundfont: SoundFont):
    """Yield lists of notes: what the renderer can play in one call. A part is filled key by key while its voices
    last; the drums stay together, since some silence each other."""
    by_key = defaultdict(list)
    for note in notes:
        by_key[note.channel, 0 if note.channel == DRUM_CHANNEL else note.pitch].append(note)
    voices = {number: voice_counts(soundfont, 128 if number == DRUM_CHANNEL else 0, channels[number].program)
              for number in {note.channel for note in notes}}
    part = []
    for _, group in sorted(by_key.items()):
        if part and _most_at_once(part + group, voices) > _VOICES:
            yield part
            part = []
        part = part + group
    if part:
        yield part


def _most_at_once(notes: Sequence[PlayedNote], voices: Mapping[int, np.ndarray]) -> int:
    """The largest number of voices that these notes use at one time."""
    steps = []
    for note in notes:
        count = voices[note.channel][note.pitch, note.velocity]
        steps.append((note.start_seconds, count))
        steps.append((note.start_seconds + note.duration_seconds + _CROWD_RELEASE_SECONDS, -count))
    return max(itertools.accumulate(count for _, count in sorted(steps)))


def midi_bytes(notes: Sequence[PlayedNote], channels: Mapping[int, Channel], lead_seconds: float = 0.0,
               expression: int = 127, tail_seconds: float = TAIL_SECONDS) -> bytes:
    """A type 0 MIDI file for the renderer: 1500 ticks a second, two to each of its blocks.

    An event takes effect at the first block that starts at or after it, so it is put half a block early: rounding
    errors in the renderer's clock then cannot delay it. Settings come first; at one tick a note ends before one starts.
    A note struck again while it sounds ends there, since a note-off would end both.
    """
    def tick(seconds: float) -> int:  # the 1e-6 lets ties fall the same way in every segmentation
        return 2 * math.floor((lead_seconds + seconds) * _BLOCKS_PER_SECOND + 0.5 + 1e-6)

    events = []
    used = {note.channel for note in notes}
    for number in sorted(used):
        channel = channels[number]
        events.append((0, 0, bytes((0xC0 | number, channel.program))))
        for control, value in ((7, channel.volume), (10, channel.pan), (11, expression), (91, 0), (93, channel.chorus)):
            events.append((0, 0, bytes((0xB0 | number, control, value))))
    struck = {}  # (channel, pitch) -> (start, end, velocity) in ticks
    strikes = [(tick(n.start_seconds), tick(n.start_seconds + n.duration_seconds), n) for n in notes]
    for start, end, note in sorted(strikes, key=lambda strike: (strike[0], strike[2].velocity)):
        key = (int(note.channel), int(note.pitch))
        before = struck.get(key)
        if before and before[0] < start:
            events += _note_events(key, before[0], min(before[1], start), before[2])
        struck[key] = (start, max(end, start + 2), int(note.velocity))  # of two struck together the louder stays
    for key, (start, end, velocity) in struck.items():
        events += _note_events(key, start, end, velocity)
    last = max((event[0] for event in events), default=0)
    events.append((last + round(tail_seconds * 2 * _BLOCKS_PER_SECOND), 3, b"\xff\x2f\x00"))
    events.sort(key=lambda event: event[:2])
    track, now = bytearray(), 0
    for at, _, message in events:
        track += _variable_length(at - now) + message
        now = at
    return struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, _BLOCKS_PER_SECOND, b"MTrk", len(track)) + bytes(track)


def _note_events(key: tuple[int, int], start: int, end: int, velocity: int):
    channel, pitch = key
    return ((max(0, start - 1), 2, bytes((0x90 | channel, pitch, velocity))),
            (end - 1, 1, bytes((0x80 | channel, pitch, 0))))


def _variable_length(number: int) -> bytes:
    out = [number & 127]
    while number := number >> 7:
        out.append(128 | number & 127)
    return bytes(reversed(out))


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of [C, Ta] and [C, Tb] -> [C, max(Ta, Tb)]."""
    long, short = (a, b) if a.shape[1] >= b.shape[1] else (b, a)
    out = long.copy()
    out[:, :short.shape[1]] += short
    return out


def master(samples: np.ndarray) -> np.ndarray:
    """Fixed gain, then a soft limit -> float32 of the same shape, inside [-1, 1].

    Each sample is mapped for itself: up to -3 dBFS linearly, above it bent smoothly (slope 1 at the knee) towards 1.
    So nothing is ever normalised, and a segment sounds the same whatever surrounds it. Apply it after `TailJoiner`.
    """
    out = np.asarray(samples, np.float32) * np.float32(10 ** (MASTER_GAIN_DB / 20))
    over = np.abs(out) > KNEE
    if over.any():
        loud = out[over]
        out[over] = np.sign(loud) * (KNEE + (1 - KNEE) * np.tanh((np.abs(loud) - KNEE) / (1 - KNEE)))
    return out


class TailJoiner:
    """Overlap-adds rendered segments; holds no more than the tail still ringing."""

    def __init__(self):
        self._tail = np.zeros((2, 0), np.float32)

    def push(self, rendered: np.ndarray, length_samples: int) -> np.ndarray:
        """Add a segment [2, T] that lasts `length_samples` -> its final [2, length_samples]; the rest is carried on."""
        if rendered.ndim != 2 or rendered.shape[0] != 2 or length_samples < 0:
            raise ValueError(f"a segment of shape {rendered.shape} and length {length_samples} was given; "
                             "allowed are [2, T] and a length of 0 samples or more.")
        mixed = add(self._tail, rendered)
        if mixed.shape[1] < length_samples:
            mixed = np.pad(mixed, ((0, 0), (0, length_samples - mixed.shape[1])))
        self._tail = mixed[:, length_samples:].copy()
        return mixed[:, :length_samples]

    def finish(self, max_seconds: float = TAIL_SECONDS, fade_seconds: float = 1.0) -> np.ndarray:
        """What still rings after the last segment -> [2, T], at most `max_seconds`, faded out over its last
        `fade_seconds` so that it ends in silence. The joiner is empty afterwards."""
        _check_range("max_seconds", max_seconds, 0, MAX_SECONDS)
        _check_range("fade_seconds", fade_seconds, 0, MAX_SECONDS)
        limit = round(max_seconds * SAMPLE_RATE_HZ)
        tail, self._tail = self._tail[:, :limit].copy(), self._tail[:, :0]
        fade = min(tail.shape[1], round(fade_seconds * SAMPLE_RATE_HZ))
        if fade:
            tail[:, -fade:] *= np.cos(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
        return tail
