"""DAWproject: sound, emotion, tempo and markers go in; a .dawproject comes out, which Bitwig, Studio One and Cubase open.

The format is a ZIP with project.xml, metadata.xml and the sound (github.com/bitwig/dawproject, version 1.0). Valence and arousal
are automation of MIDI controllers on a track of their own: unlike parameters of a device, these need none at the other end.
"""

import zipfile
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import soundfile

from .. import __version__
from ..codec.midi import AFFECT_CHANNEL, AROUSAL_CC, VALENCE_CC
from .lanes import Arrangement

CONTROLLERS = {"valence": VALENCE_CC, "arousal": AROUSAL_CC}


def write_dawproject(path: Path, title: str, wav: Path, arrangement: Arrangement, metre: str = "4/4") -> None:
    """Write a project with a track of sound from time 0 on, and a track with the lanes 'valence' and 'arousal'.

    arrangement: in beats with a tempo map, or in seconds without one; lanes, markers and the sound's length are in its unit.
    metre: such as "3/4". The file is written as it grows; give a temporary one and rename it. Raises OSError.
    """
    info = soundfile.info(wav)
    project = Element("Project", version="1.0")
    SubElement(project, "Application", name="LARA-Gen", version=__version__)
    if arrangement.tempo:
        transport = SubElement(project, "Transport")
        SubElement(transport, "Tempo", id="tempo", name="Tempo", unit="bpm", min="20", max="666", value=_text(arrangement.tempo[0][1]))
        numerator, denominator = metre.split("/")
        SubElement(transport, "TimeSignature", id="metre", numerator=numerator, denominator=denominator)
    structure = SubElement(project, "Structure")
    _track(structure, "sound", title, "audio", "regular", info.channels)
    if arrangement.lanes:
        _track(structure, "emotion", "Valence and arousal", "notes", "regular", 2)
    _track(structure, "master", "Master", "audio notes", "master", 2)

    arranged = SubElement(project, "Arrangement", id="arrangement")
    lanes = SubElement(arranged, "Lanes", id="lanes", timeUnit=arrangement.unit)
    _sound(lanes, title, wav.name, info, arrangement)
    if arrangement.lanes:
        emotion = SubElement(lanes, "Lanes", id="emotion-lanes", track="emotion")
        SubElement(emotion, "Clips", id="emotion-clips")  # empty; some readers need one in every track
        for lane in arrangement.lanes:
            points = _points(emotion, f"{lane.name}-points", zip(lane.times, (lane.scaled() + 1) / 2), "normalized", "linear", name=lane.name)
            points.insert(0, Element("Target", expression="channelController", channel=str(AFFECT_CHANNEL),
                                     controller=str(CONTROLLERS[lane.name])))
    if arrangement.markers:
        markers = SubElement(arranged, "Markers", id="markers", timeUnit=arrangement.unit)
        for time, name in arrangement.markers:
            SubElement(markers, "Marker", time=_text(time), name=name)
    if len(arrangement.tempo) > 1:
        tempo = _points(arranged, "tempo-points", arrangement.tempo, "bpm", "hold", "TempoAutomation", timeUnit=arrangement.unit)
        tempo.insert(0, Element("Target", parameter="tempo"))
    metadata = Element("MetaData")
    SubElement(metadata, "Title").text = title
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.xml", _xml(metadata))
        archive.writestr("project.xml", _xml(project))
        archive.write(wav, f"audio/{wav.name}", zipfile.ZIP_STORED)


def _track(structure: Element, name: str, title: str, content: str, role: str, channels: int) -> None:
    track = SubElement(structure, "Track", id=name, name=title, contentType=content, loaded="true")
    channel = SubElement(track, "Channel", id=f"{name}-channel", role=role, audioChannels=str(channels), solo="false")
    if role != "master":
        channel.set("destination", "master-channel")
    SubElement(channel, "Mute", id=f"{name}-mute", name="Mute", value="false")
    SubElement(channel, "Pan", id=f"{name}-pan", name="Pan", unit="normalized", min="0", max="1", value="0.5")
    SubElement(channel, "Volume", id=f"{name}-volume", name="Volume", unit="linear", min="0", max="2", value="1")


def _sound(lanes: Element, title: str, file: str, info, arrangement: Arrangement) -> None:
    """A clip of the whole file, whose content is in seconds: it is not stretched. It holds a clip as those of Bitwig do, whose files
    every program has to read."""
    seconds = info.frames / info.samplerate
    length = _text(arrangement.at_seconds(seconds))
    clips = SubElement(SubElement(lanes, "Lanes", id="sound-lanes", track="sound"), "Clips", id="sound-clips")
    outer = SubElement(clips, "Clip", name=title, time="0.0", duration=length, playStart="0.0")
    inner = SubElement(SubElement(outer, "Clips", id="sound-events"), "Clip", time="0.0", duration=length, contentTimeUnit="seconds",
                       playStart="0.0", playStop=_text(seconds))
    audio = SubElement(inner, "Audio", id="sound-audio", algorithm="raw", channels=str(info.channels), sampleRate=str(info.samplerate),
                       duration=_text(seconds))
    SubElement(audio, "File", path=f"audio/{file}")


def _points(parent: Element, key: str, points, unit: str, interpolation: str, tag: str = "Points", **attributes) -> Element:
    element = SubElement(parent, tag, id=key, unit=unit, **attributes)
    for time, value in points:
        SubElement(element, "RealPoint", time=_text(time), value=_text(value), interpolation=interpolation)
    return element


def _text(number: float) -> str:
    return repr(round(float(number), 9) + 0.0)


def _xml(element: Element) -> bytes:
    ElementTree.indent(element)
    return ElementTree.tostring(element, "utf-8", xml_declaration=True)
