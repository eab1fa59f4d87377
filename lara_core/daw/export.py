"""Export: a finished piece's JSON, with the WAV and MIDI beside it, goes in; what a DAW opens comes out."""

import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from ..affect import MAX_POINTS, thin
from ..audio import SUBTYPES, Cue, WavWriter, check_output_path
from ..piece import Piece
from .controllers import read_controllers
from .dawproject import write_dawproject
from .lanes import Arrangement, Lane

BLOCK_FRAMES = 1 << 16
STEPS_A_SECOND = 20  # how finely the curve is drawn before it is thinned
DRAWN_WITHIN = 0.005  # of the curve
MAX_AT_SECONDS = 7 * 24 * 3600


def export(record: Path, to: Path, at_seconds: float = 0.0) -> list[Path]:
    """Write the piece whose JSON is `record` -> the files that were written, all of them or none.

    to: a name that ends in .dawproject, or a folder, which is made if its parent is there: it gets the WAV with its time
    reference and a marker at every joint, the MIDI, and a .dawproject. at_seconds: where the piece begins on the clock of the
    DAW's session, for the time reference. Raises ValueError in one sentence, or OSError where the disk fails.
    """
    record, to = Path(record).expanduser(), Path(to).expanduser()
    if not 0 <= at_seconds <= MAX_AT_SECONDS:
        raise ValueError(f"--at is {at_seconds:g}; give seconds from 0 to {MAX_AT_SECONDS}")
    piece, wav, midi = Piece.read(record), record.with_suffix(".wav"), record.with_suffix(".mid")
    if not wav.is_file():
        raise ValueError(f"there is no {wav}; the WAV has to lie beside the piece's JSON, under the same name")
    single = to.suffix.lower() == ".dawproject" and not to.is_dir()
    if not single and not to.is_dir() and (to.exists() or re.fullmatch(r"\.[A-Za-z0-9]+", to.suffix)):
        raise ValueError(f"{to} neither is a folder nor ends in .dawproject; give one of the two, or make the folder first")
    near = to if to.is_dir() else to.parent  # on the same disk, so that renaming is enough
    check_output_path(near / (to.name if single else f"{record.stem}.dawproject"), (".dawproject",))
    if not single and to.resolve() == wav.resolve().parent:
        raise ValueError(f"{to} is the folder of the piece itself, whose WAV would be replaced; choose another folder")
    title = "".join(character for character in piece.prompt if character.isprintable()).strip() or record.stem
    arrangement = arrangement_of(piece, midi if midi.is_file() else None)
    with tempfile.TemporaryDirectory(dir=near, prefix=".lara-") as folder:
        sound, project = Path(folder) / wav.name, Path(folder) / (to.name if single else f"{record.stem}.dawproject")
        _copy_wav(wav, sound, piece, at_seconds)
        write_dawproject(project, title, sound, arrangement, piece.request.metre)
        made = [project] if single else [sound, project]
        if not single and midi.is_file():
            made.append(Path(shutil.copyfile(midi, Path(folder) / midi.name)))
        target = to.parent if single else to
        target.mkdir(exist_ok=True)
        for path in made:
            os.replace(path, target / path.name)
    return [target / path.name for path in made]


def arrangement_of(piece: Piece, midi: Path | None) -> Arrangement:
    """A piece's tempo map, curve and joints: in beats by its MIDI file, or by a tempo that was asked for; else in seconds."""
    tempo = piece.request.tempo_steps if piece.request.free_from_beat == np.inf else ()
    time = Arrangement("the piece", (), "beats" if tempo else "seconds", tempo)
    if midi is not None:
        time = read_controllers(midi)
    else:
        time = replace(time, markers=tuple((float(time.at_seconds(start)), name) for start, name in joints(piece)))
    seconds = np.linspace(0, piece.request.seconds, min(int(piece.request.seconds * STEPS_A_SECOND) + 2, MAX_POINTS))
    lanes = []
    if piece.curve is not None:
        values = piece.curve.at(seconds, piece.request.seconds, piece.beats_at)  # [F,2]
        for column, name in enumerate(("valence", "arousal")):
            points = np.column_stack([time.at_seconds(seconds), values[:, column]])
            lanes.append(Lane.of(name, thin(points, DRAWN_WITHIN), -1, 1))
    return replace(time, lanes=tuple(lanes))


def joints(piece: Piece) -> list[tuple[float, str]]:
    """Where segments meet: (seconds, name), as the markers in a piece's WAV and MIDI call them."""
    return [(segment["start_seconds"], f"segment {index}") for index, segment in enumerate(piece.segments) if index]


def _copy_wav(wav: Path, to: Path, piece: Piece, at_seconds: float) -> None:
    """The same samples, with the markers and the time reference."""
    try:
        info = soundfile.info(wav)
        subtype = info.subtype if info.subtype in SUBTYPES else "PCM_24"
        with WavWriter(to, info.samplerate, info.channels, subtype, round(at_seconds * info.samplerate)) as writer:
            for block in soundfile.blocks(wav, BLOCK_FRAMES, dtype="float64", always_2d=True):
                writer.write(block.T)
            for start, name in joints(piece):
                writer.add_cue(Cue(min(round(start * info.samplerate), writer.frames), name))
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{wav} is not a readable sound file ({error.error_string.rstrip('.')}); give it as it was written with the "
                         "piece") from error
