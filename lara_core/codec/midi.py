"""MIDI files <-> Scores: `read_midi` takes any file of notes, `write_midi` gives a file that a DAW lays out by itself."""

import io
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .harmony import KRUMHANSL_KESSLER, estimate_key
from .parts import Part, from_parts, last_bass_pitch, pitch_class_weights
from .performance import DRUM_CHANNEL, drum_velocity, note_velocity
from .score import DRUMS, METRES, ROLE_OF_LANE, ROLES, Note, Score, bar_number
from .timeline import PartNote

TICKS_PER_QUARTER = 480
TICKS_PER_FRAME = TICKS_PER_QUARTER // 4
VALENCE_CC, AROUSAL_CC, AFFECT_CHANNEL, CC_STEP_QUARTERS = 20, 21, 15, 0.25
TRACK_NAMES = {"lead": "Lead", "second": "Second", "bass": "Bass", "comp": "Comp", "pad": "Pad", "kit": "Drums"}
CHANNELS = {"lead": 0, "second": 1, "bass": 2, "comp": 3, "pad": 4, "kit": DRUM_CHANNEL}
MAJOR_KEYS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MINOR_KEYS = ("Cm", "C#m", "Dm", "Ebm", "Em", "Fm", "F#m", "Gm", "G#m", "Am", "Bbm", "Bm")
MAX_FILE_BYTES = 32_000_000


# ---- reading -------------------------------------------------------------------------------------------------------


def read_midi(path: str | Path, max_bars: int | None = None) -> Score:
    """A MIDI file of format 0 or 1 -> Score: notes on sixteenths in eight pitch lanes, drums of channel 10 as seven drums.

    Metres a Score lacks are cut into bars of the nearest one (12/8 -> 6/8, 2/2 -> 4/4, see `parts.plan_bars`); a short first bar
    is a pickup and is padded in front. Every (track, channel, program) is a part; `parts.allocate` says how parts become lanes.
    A key signature of C may be a DAW's default and only favours C major and A minor; any other one is believed.

    Raises ValueError for what is no MIDI file or is cut off, has no notes, counts in SMPTE frames, has absurd tempi or metres,
    or lasts more than two hours.
    """
    import mido
    path = Path(path)
    midi = open_midi(path)
    tempi, metres, key, pedal = [], [], None, []
    notes: dict[tuple[int, int, int], list[PartNote]] = defaultdict(list)
    for index, track in enumerate(midi.tracks):
        tick, program, sounding, pressed = 0, defaultdict(int), {}, {}
        for message in track:
            tick += message.time
            quarters = tick / midi.ticks_per_beat
            if message.type == "set_tempo":
                tempi.append((quarters, 60e6 / message.tempo if message.tempo else float("inf")))
            elif message.type == "time_signature":
                if not 1 <= message.numerator <= 64 or not 1 <= message.denominator <= 64:
                    raise ValueError(f"{path.name} has a time signature of {message.numerator}/{message.denominator}; numbers from 1 "
                                     "to 64 are read: correct it in a DAW.")
                metres.append((quarters, message.numerator, message.denominator))
            elif message.type == "key_signature" and key is None:
                key = message.key
            elif message.type == "program_change":
                program[message.channel] = message.program
            elif message.type == "control_change" and message.control == 64:
                if message.value >= 64:
                    pressed.setdefault(message.channel, quarters)
                elif message.channel in pressed:
                    pedal.append((pressed.pop(message.channel), quarters))
            elif message.type in ("note_on", "note_off"):
                place = message.channel, message.note
                if place in sounding:
                    start, velocity, part = sounding.pop(place)
                    notes[part].append(PartNote(start, quarters - start, message.note, velocity))
                if message.type == "note_on" and message.velocity > 0:
                    sounding[place] = quarters, message.velocity, (index, message.channel, program[message.channel])
        for (_, pitch), (start, velocity, part) in sounding.items():  # keys that are never released
            notes[part].append(PartNote(start, tick / midi.ticks_per_beat - start, pitch, velocity))
        pedal += [(down, tick / midi.ticks_per_beat) for down in pressed.values()]
    parts = [Part(program, channel == DRUM_CHANNEL, sorted(found)) for (_, channel, program), found in sorted(notes.items())]
    if not any(not part.is_drum for part in parts):
        tonic = 0
    else:
        tonic = _tonic(key, parts)
    tempi.sort(key=lambda t: t[0])
    metres = sorted(dict((m[0], m) for m in metres).values())
    return from_parts(parts, tempi if tempi and tempi[0][0] == 0 else [(0.0, 120.0), *tempi],
                      metres if metres and metres[0][0] == 0 else [(0.0, 4, 4), *metres], path.name, tonic, pedal=_joined(pedal),
                      max_bars=max_bars)


def open_midi(path: Path):
    """A file of format 0 or 1 in ticks -> mido.MidiFile; raises ValueError in one sentence for anything else."""
    import mido
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"The MIDI file {path} cannot be read ({error.strerror}); give the path of a .mid file.") from error
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{path.name} has {len(data) / 1e6:.0f} MB; at most {MAX_FILE_BYTES / 1e6:.0f} MB are read: cut it into shorter pieces.")
    if not data.startswith(b"MThd"):
        raise ValueError(f"{path.name} is not a MIDI file (it does not begin with MThd); export a standard MIDI file (.mid).")
    try:
        midi = mido.MidiFile(file=io.BytesIO(data), clip=True)
    except (OSError, EOFError, ValueError, IndexError, KeyError, TypeError, mido.KeySignatureError) as error:
        raise ValueError(f"{path.name} is a damaged or cut off MIDI file ({error or 'unexpected end'}); export it anew.") from error
    if midi.type == 2:
        raise ValueError(f"{path.name} is a MIDI file of format 2 (independent patterns); export it as format 0 or 1.")
    if midi.ticks_per_beat <= 0:
        raise ValueError(f"{path.name} counts in SMPTE frames, not in beats; export it with ticks per quarter note.")
    return midi


def _tonic(key: str | None, parts: Sequence[Part]) -> int:
    if key in MINOR_KEYS or key in ("D#m", "A#m", "Abm"):
        return {"D#m": 3, "A#m": 10, "Abm": 8}.get(key, MINOR_KEYS.index(key) if key in MINOR_KEYS else 0)
    majors = {**{name: i for i, name in enumerate(MAJOR_KEYS)}, "C#": 1, "Gb": 6, "Cb": 11}
    sharps = (majors[key] * 7 + 5) % 12 - 5 if key is not None else None
    return estimate_key(pitch_class_weights(parts), sharps, last_bass_pitch(parts), trust_sharps=key != "C")[0]


def _joined(spans) -> list[tuple[float, float]]:
    """Overlapping spans -> their union."""
    union: list[tuple[float, float]] = []
    for down, up in sorted(spans):
        if union and down <= union[-1][1]:
            union[-1] = union[-1][0], max(union[-1][1], up)
        else:
            union.append((down, up))
    return union


# ---- writing -------------------------------------------------------------------------------------------------------


def write_midi(path: str | Path, score: Score, title: str = "LARA", markers: Sequence[tuple[float, str]] = (),
               valence: tuple[Sequence[float], Sequence[float]] | None = None,
               arousal: tuple[Sequence[float], Sequence[float]] | None = None) -> None:
    """Score -> a MIDI file of format 1, 480 ticks a quarter, replaced in one step.

    Track 1 holds tempi, metres, key and markers (quarters, text); then one track for each role that sounds, its program changed
    where the bars say so, drums on channel 10. Notes lie exactly on the grid with their written duration and the velocities of
    the performance; swing and articulation are the performer's and are left out, so that a DAW shows clean notes. Where two
    voices of a role hold the same key the later one ends the earlier. valence and arousal, each (quarters, values in -1..1), go to
    CC 20 and 21 on channel 16, linear between the points.

    Raises ValueError for a score without bars, points out of order or out of range, and a path that cannot be written.
    """
    path = Path(path)
    if not score.bars:
        raise ValueError("The score has no bars, so there is no MIDI to write; give a score of at least one bar.")
    midi = midi_of(score, title, markers, valence, arousal)
    buffer = io.BytesIO()
    midi.save(file=buffer)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(buffer.getvalue())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ValueError(f"The MIDI file {path} cannot be written ({error.strerror}); choose a folder that exists and is writable.") from error


def midi_of(score: Score, title: str = "LARA", markers=(), valence=None, arousal=None):
    """`write_midi` without the file: a mido.MidiFile."""
    import mido
    midi = mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_QUARTER, charset="utf8")
    starts = score.bar_starts().tolist()
    midi.tracks.append(_track(_conductor(score, starts, title, markers), score.frames))
    for role in ROLES:
        events = _drum_events(score, starts) if role == "kit" else _note_events(score, starts, role)
        if events:
            name = mido.MetaMessage("track_name", name=TRACK_NAMES[role])
            midi.tracks.append(_track([(0, 0, name), *_program_events(score, starts, role), *events], score.frames))
    affect = [(cc, name, points) for cc, name, points in ((VALENCE_CC, "valence", valence), (AROUSAL_CC, "arousal", arousal)) if points is not None]
    if affect:
        events = [(0, 0, mido.MetaMessage("track_name", name="Valence and arousal"))]
        for cc, name, points in affect:
            events += _control_events(cc, name, *points, score.frames)
        midi.tracks.append(_track(events, score.frames))
    return midi


def _track(events, frames: int):
    """(tick, order, message) in any order -> a track that ends with the score."""
    import mido
    track, last = mido.MidiTrack(), 0
    for tick, _, message in sorted(events, key=lambda e: e[:2]):
        track.append(message.copy(time=tick - last))
        last = tick
    track.append(mido.MetaMessage("end_of_track", time=max(frames * TICKS_PER_FRAME - last, 0)))
    return track


def _conductor(score: Score, starts, title: str, markers) -> list:
    import mido
    events = [(0, 0, mido.MetaMessage("track_name", name=title)),
              (0, 1, mido.MetaMessage("key_signature", key=key_name(score)))]
    metre = tempo = None
    for bar, at in zip(score.bars, starts):
        tick = at * TICKS_PER_FRAME
        if bar.metre != metre:
            metre = bar.metre
            numerator, denominator = map(int, metre.split("/"))
            events.append((tick, 2, mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator,
                                                     clocks_per_click=METRES[metre][1] * 6)))
        if bar.tempo_bpm != tempo:
            tempo = bar.tempo_bpm
            events.append((tick, 3, mido.MetaMessage("set_tempo", tempo=min(round(60e6 / tempo), 0xFFFFFF))))
    for quarters, text in markers:
        if not -0.5 <= quarters * 4 <= score.frames + 0.5:  # half a frame of rounding is forgiven
            raise ValueError(f"The marker {text!r} lies at beat {quarters:g}; the score has beats 0 to {score.frames / 4:g}.")
        tick = int(np.clip(round(quarters * TICKS_PER_QUARTER), 0, score.frames * TICKS_PER_FRAME))
        events.append((tick, 4, mido.MetaMessage("marker", text=str(text))))
    return events


def key_name(score: Score) -> str:
    """The score's tonic with the mode that its notes fit better, as MIDI spells it: 'Eb', 'C#m'."""
    weights = np.zeros(12)
    for note in score.notes:
        weights[note.pitch % 12] += note.duration
    if weights.std() == 0:
        return MAJOR_KEYS[score.tonic]
    fit = {mode: np.corrcoef(weights, np.roll(profile, score.tonic))[0, 1] for mode, profile in KRUMHANSL_KESSLER.items()}
    return (MINOR_KEYS if fit["minor"] > fit["major"] else MAJOR_KEYS)[score.tonic]


def _program_events(score: Score, starts, role: str) -> list:
    import mido
    index, channel = ROLES.index(role), CHANNELS[role]
    events, current = [], None
    for bar, at in zip(score.bars, starts):
        program = bar.programs[index]
        if program >= 0 and program != current:
            tick = at * TICKS_PER_FRAME if current is not None else 0  # set before the first note, for DAWs that read tick 0
            events.append((tick, 1, mido.Message("program_change", channel=channel, program=min(program, 127))))
            current = program
    return events


def _note_events(score: Score, starts, role: str) -> list:
    import mido
    index, channel = ROLES.index(role), CHANNELS[role]
    events = []
    for note in sounding_notes(score, role):
        b = bar_number(starts, note.start)
        velocity = note_velocity(score.bars[b], note.lane, note.start - starts[b], note.start)
        if score.bars[b].programs[index] < 0:
            continue
        events.append((note.start * TICKS_PER_FRAME, 3, mido.Message("note_on", channel=channel, note=note.pitch, velocity=velocity)))
        events.append(((note.start + note.duration) * TICKS_PER_FRAME, 0, mido.Message("note_off", channel=channel, note=note.pitch, velocity=0)))
    return events


def sounding_notes(score: Score, role: str) -> list[Note]:
    """The notes of one role, each key struck by one voice at a time: a note ends where its key is struck again."""
    result: list[Note] = []
    last: dict[int, int] = {}  # pitch -> index into result
    for note in sorted((n for n in score.notes if ROLES[ROLE_OF_LANE[n.lane]] == role), key=lambda n: (n.start, -n.duration, n.lane)):
        before = result[last[note.pitch]] if note.pitch in last else None
        if before is not None and before.start == note.start:
            continue
        if before is not None and before.start + before.duration > note.start:
            result[last[note.pitch]] = before._replace(duration=note.start - before.start)
        last[note.pitch] = len(result)
        result.append(note)
    return result


def _drum_events(score: Score, starts) -> list:
    import mido
    events = []
    for frame in np.flatnonzero(score.drums).tolist():
        b = bar_number(starts, frame)
        if score.bars[b].programs[ROLES.index("kit")] < 0:
            continue
        for bit, (name, key) in enumerate(DRUMS.items()):
            if score.drums[frame] >> bit & 1:
                velocity = drum_velocity(score.bars[b], name, frame - starts[b], frame)
                events.append((frame * TICKS_PER_FRAME, 3, mido.Message("note_on", channel=DRUM_CHANNEL, note=key, velocity=velocity)))
                events.append(((frame + 1) * TICKS_PER_FRAME, 0, mido.Message("note_off", channel=DRUM_CHANNEL, note=key, velocity=0)))
    return events


def _control_events(cc: int, name: str, quarters, values, frames: int) -> list:
    import mido
    quarters, values = np.asarray(quarters, float), np.asarray(values, float)
    if quarters.shape != values.shape or quarters.ndim != 1 or not len(quarters) or np.any(np.diff(quarters) < 0):
        raise ValueError(f"The {name} lane has {len(quarters)} beats and {len(values)} values; give as many of each, beats rising.")
    if not np.all(np.abs(values) <= 1):
        raise ValueError(f"The {name} lane holds {values[~(np.abs(values) <= 1)][0]:g}; give values from -1 to 1.")
    beats = np.arange(0, frames / 4, CC_STEP_QUARTERS)
    levels = np.round((np.interp(beats, quarters, values) + 1) / 2 * 127).astype(int)
    new = np.flatnonzero(np.diff(levels, prepend=-1))
    return [(round(beats[i] * TICKS_PER_QUARTER), 1, mido.Message("control_change", channel=AFFECT_CHANNEL, control=cc, value=int(levels[i])))
            for i in new]
