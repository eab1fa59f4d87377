"""SoundFonts: a name or nothing goes in, an SF2 file in memory comes out, and what its tables say of a preset's voices."""

import functools
import hashlib
import importlib.util
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

_LARGE_GM_FONTS = ("FluidR3_GM.sf2", "GeneralUser-GS.sf2", "GeneralUser GS.sf2", "GeneralUser GS v1.471.sf2",
                   "MuseScore_General.sf2")
_SYSTEM_FOLDERS = ("/usr/share/sounds/sf2", "/usr/share/soundfonts", "/usr/local/share/soundfonts",
                   "~/.local/share/soundfonts", "~/.local/share/sounds/sf2", "~/Library/Audio/Sounds/Banks",
                   "/Library/Audio/Sounds/Banks", "C:/soundfonts")


@dataclass(frozen=True)
class SoundFont:
    """A SoundFont in memory. `name` and `digest` (first 16 hex digits of the SHA-256) belong into a result's record."""

    path: Path
    name: str
    digest: str
    data: bytes = field(repr=False, compare=False)

    @classmethod
    def load(cls, path: str | Path) -> "SoundFont":
        """Read an SF2 file, once per process and file version; raises ValueError where it is not one."""
        path = Path(path).expanduser()
        check_soundfont(path)
        status = path.stat()
        return _read_soundfont(path.resolve(), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=2)  # large fonts take 150 MB each
def _read_soundfont(path: Path, _mtime_ns: int, _size: int) -> SoundFont:
    data = path.read_bytes()
    return SoundFont(path, path.name, hashlib.sha256(data).hexdigest()[:16], data)


def check_soundfont(path: Path):
    """Raise ValueError unless `path` is a whole SF2 file (RIFF sfbk with plain samples)."""
    try:
        with open(path, "rb") as file:
            riff, size, kind = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
            if (riff, kind) != (b"RIFF", b"sfbk"):
                raise ValueError(f"{path} is not a SoundFont; choose an .sf2 file.")
            if size + 8 > path.stat().st_size:
                raise ValueError(f"SoundFont {path} is cut off at {path.stat().st_size} of {size + 8} bytes; copy it again.")
            while len(header := file.read(12)) == 12 and header[8:] != b"sdta":
                length = int.from_bytes(header[4:8], "little")
                file.seek(length + length % 2 - 4, os.SEEK_CUR)
            if file.read(12)[8:] == b"OggS":
                raise ValueError(f"{path} holds compressed samples (SF3), which the renderer cannot read; choose an .sf2 file.")
    except OSError as error:
        raise ValueError(f"SoundFont {path} cannot be read ({error.strerror}); choose an existing .sf2 file.") from error


def find_soundfont(named: str | Path | None = None, model_dir: Path | None = None) -> Path:
    """The SoundFont to use: the named file, else an .sf2 in the model's folder, else LARA_SOUNDFONT, else a large
    General MIDI font installed on this computer, else the small TimGM6mb of pretty_midi.

    The first of these that exists is checked and never silently replaced: a broken one raises ValueError.
    """
    in_model = sorted(Path(model_dir).glob("*.sf2")) if model_dir is not None else []
    from_environment = os.environ.get("LARA_SOUNDFONT")
    if named:
        path = Path(named).expanduser()
    elif in_model:
        path = in_model[0]
    elif from_environment:
        path = Path(from_environment).expanduser()
    else:
        path = _installed_soundfont()
    check_soundfont(path)
    return path


def _installed_soundfont() -> Path:
    folders = [Path(os.path.expanduser(folder)) for folder in _SYSTEM_FOLDERS]
    candidates = [folder / name for name in _LARGE_GM_FONTS for folder in folders if folder.is_absolute()]
    package = importlib.util.find_spec("pretty_midi")  # located, not imported: its import takes half a second
    candidates += [Path(folder) / "TimGM6mb.sf2" for folder in (package.submodule_search_locations if package else [])]
    for path in candidates:
        if path.is_file():
            return path
    raise ValueError("No SoundFont was found; install pretty_midi, or set LARA_SOUNDFONT to an .sf2 file.")


@functools.lru_cache(maxsize=256)
def voice_counts(soundfont: SoundFont, bank: int, program: int) -> np.ndarray:
    """How many voices a note of this preset starts -> int [128 keys, 128 velocities]: zones of the preset times zones of
    their instruments whose key and velocity ranges meet (SoundFont 2.04, section 7). As the renderer does, an absent
    preset falls back to the first of its bank."""
    key_range, velocity_range, instrument_link, sample_link = 43, 44, 41, 53
    presets, instruments = _soundfont_tables(soundfont)
    zones = presets.get((bank, program)) or presets.get((bank, 0)) or []

    def span(kind, *zones):  # a range is stored as low + 256 high
        ranges = [zone.get(kind, 127 << 8) for zone in zones]
        return slice(max(low & 255 for low in ranges), min(high >> 8 for high in ranges) + 1)

    starts = np.zeros((128, 128), int)
    for zone in zones:
        for inner in instruments[zone[instrument_link]] if instrument_link in zone else ():
            if sample_link in inner:
                starts[span(key_range, zone, inner), span(velocity_range, zone, inner)] += 1
    return starts


@functools.lru_cache(maxsize=2)
def _soundfont_tables(soundfont: SoundFont):
    """The zones of every preset, by (bank, program), and of every instrument; a zone is {generator: amount}."""
    try:
        return _read_tables(soundfont.data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"SoundFont {soundfont.name} has damaged tables ({error}); choose another .sf2 file.") from error


def _read_tables(data: bytes):
    tables = {}
    at = data.rfind(b"pdtaphdr") + 4
    for name, layout in (("phdr", "<20sHHHIII"), ("pbag", "<HH"), ("pmod", "<10s"), ("pgen", "<HH"),
                         ("inst", "<20sH"), ("ibag", "<HH"), ("imod", "<10s"), ("igen", "<HH")):
        size = int.from_bytes(data[at + 4:at + 8], "little")
        tables[name] = list(struct.iter_unpack(layout, data[at + 8:at + 8 + size]))
        at += 8 + size

    def zones(bags, generators, first, end):
        found = [dict(generators[bags[i][0]:bags[i + 1][0]]) for i in range(first, end)]
        if found and not {41, 53} & found[0].keys():  # a global zone: defaults for the others
            found = [found[0] | zone for zone in found[1:]]
        return found

    heads, names = tables["phdr"], tables["inst"]
    instruments = [zones(tables["ibag"], tables["igen"], a[1], b[1]) for a, b in zip(names, names[1:])]
    presets = {(a[2], a[1]): zones(tables["pbag"], tables["pgen"], a[3], b[3]) for a, b in zip(heads, heads[1:])}
    return presets, instruments
