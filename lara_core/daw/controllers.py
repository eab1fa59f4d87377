"""MIDI controllers: a MIDI file goes in; its CC lanes, tempo map and markers come out as an Arrangement in beats."""

from collections import defaultdict
from pathlib import Path

from ..codec.midi import AFFECT_CHANNEL, AROUSAL_CC, CC_STEP_QUARTERS, VALENCE_CC, open_midi
from .lanes import Arrangement, Lane

CHANNEL_MODE = 120  # controllers from here on are commands: all notes off and the like
AFFECT = {(AFFECT_CHANNEL, VALENCE_CC): " (valence)", (AFFECT_CHANNEL, AROUSAL_CC): " (arousal)"}


def read_controllers(path: Path) -> Arrangement:
    """A MIDI file -> its controllers as lanes of 0 to 127, called 'track / CC number', with the channel where a track has several.

    A controller holds its value until the next event, unless that comes within a sixteenth: then the two are a ramp. Controllers
    20 and 21 on channel 16, which is where our own files have the emotion, say so in their names. Raises ValueError in one sentence
    for what is no MIDI file.
    """
    midi = open_midi(path)
    tempo, markers, lanes = {0.0: 120.0}, [], []
    for number, track in enumerate(midi.tracks, 1):
        tick, found = 0, defaultdict(list)
        for message in track:
            tick += message.time
            beat = tick / midi.ticks_per_beat
            if message.type == "set_tempo" and message.tempo > 0:
                tempo[beat] = 60e6 / message.tempo
            elif message.type in ("marker", "cue_marker"):
                markers.append((beat, _text(message.text)))
            elif message.type == "control_change" and message.control < CHANNEL_MODE:
                found[message.channel, message.control].append((beat, message.value))
        name, several = _text(track.name).strip() or f"track {number}", len({channel for channel, _ in found}) > 1
        for (channel, control), events in sorted(found.items()):
            where = f"{name} / channel {channel + 1}" if several else name
            lanes.append(Lane.of(f"{where} / CC {control}{AFFECT.get((channel, control), '')}", _polyline(events), 0, 127))
    return Arrangement(path.name, tuple(lanes), "beats", tuple(sorted(tempo.items())), tuple(sorted(markers)))


def _polyline(events: list[tuple[float, int]]) -> list[tuple[float, int]]:
    points = []
    for (beat, value), (after, _) in zip(events, [*events[1:], events[-1]]):
        points.append((beat, value))
        if after - beat > CC_STEP_QUARTERS:
            points.append((after, value))
    return points


def _text(text: str) -> str:
    """Text of a meta event, which mido reads as Latin-1 and most programs write as UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
