"""Files exchanged with DAWs: automation comes in as an emotion curve, and a piece goes out as what a DAW opens.

    .als .rpp .mid .json .csv -> Arrangement (lanes, tempo, markers) -> Curve
    a piece's .json, .wav and .mid -> .dawproject, or a folder with WAV (time reference, markers), MIDI and .dawproject

`lanes` holds what all readers have in common; each other file is a format, and `export` puts a piece together.
"""

from pathlib import Path

from .lanes import TOLERANCE, Arrangement

READ = (".als", ".mid", ".midi", ".rpp", ".json", ".csv")


def read(path: str | Path) -> Arrangement:
    """What a file says of automation, by its ending. Raises ValueError in one sentence, or OSError where it cannot be read."""
    path = Path(path).expanduser()
    if path.suffix.lower() not in READ:
        raise ValueError(f"{path.name} ends in {path.suffix!r}; automation is read from {', '.join(READ)}")
    if not path.is_file():
        raise ValueError(f"there is no file {path}; give an existing one")
    if path.suffix.lower() == ".als":
        from .ableton import read_als as reader
    elif path.suffix.lower() == ".rpp":
        from .reaper import read_rpp as reader
    elif path.suffix.lower() == ".json":
        from .tables import read_json as reader
    elif path.suffix.lower() == ".csv":
        from .tables import read_csv as reader
    else:
        from .controllers import read_controllers as reader
    return reader(path)


def read_tempo(path: str | Path) -> float | tuple[tuple[float, float], ...]:
    """The tempo of a DAW's file as Request takes it: one number, or a map. Raises as `read` does, and where the file has none."""
    tempo = read(path).tempo
    if not tempo:
        raise ValueError(f"{Path(path).name} has no tempo; give beats per minute")
    return tempo[0][1] if len(tempo) == 1 else tempo
