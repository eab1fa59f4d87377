"""Piece: a take goes in; a WAV with its MIDI, JSON and picture comes out. The JSON goes in; what was asked for comes out."""

import dataclasses
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from . import __version__
from .choices import MAX_CANDIDATES

BESIDE = (".mid", ".json", ".png")  # what appears beside the WAV
MAX_SEED = 2 ** 63 - 1


@dataclasses.dataclass(frozen=True)
class Piece:
    """What an earlier piece's JSON says. segments: start_seconds, seed and packed codes of each, as take.Take records them; begin: packed
    codes that it was given to begin with."""

    prompt: str
    curve: "Curve | None"
    request: "Request"
    sampling: dict
    model: dict
    soundfont: dict | None
    segments: list[dict]
    bar_lines: dict | None = None
    candidates: int = 0
    begin: dict | None = None
    reach: "tuple[np.ndarray, np.ndarray] | None" = None  # of the model; see pipeline.Score

    @property
    def beats_at(self) -> Callable | None:
        """Seconds -> beats of a curve in beats: by the tempo asked for, or where the music chose it, by its bar lines."""
        import numpy as np

        if self.request.free_from_beat == np.inf:
            return self.request.beats_at
        return None if self.bar_lines is None else lambda seconds: np.interp(seconds, self.bar_lines["seconds"], self.bar_lines["beats"])

    @classmethod
    def read(cls, path: Path) -> "Piece":
        """Raises ValueError in one sentence, or OSError where there is no such file."""
        import numpy as np

        from .affect import Curve
        from .codec import Request
        from .score import DIMENSIONS

        try:
            record = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON ({error}); give the .json file that was written with a piece") from error
        if not isinstance(record, dict) or record.get("format") != "lara-piece" or record.get("version") != 1:
            raise ValueError(f"{path} is not the record of a piece that this version can read; give the .json file that was "
                             "written with a piece")
        try:
            request, curve, tempo = dict(record["request"]), record["curve"], record["request"]["tempo"]
            request["tempo"] = tuple(map(tuple, tempo)) if isinstance(tempo, list) else tempo
            segments = [{"start_seconds": float(segment["start_seconds"]), "seed": segment["seed"], "codes": segment["codes"]}
                        for segment in record["segments"]]
            font = record["soundfont"]
            for seed in (request["seed"], *(segment["seed"] for segment in segments)):
                if type(seed) is not int or not 0 <= seed <= MAX_SEED:
                    raise ValueError(f"the seed {seed!r:.60} is not a whole number from 0 to {MAX_SEED}")
            bar_lines = record.get("bar_lines")
            if bar_lines is not None:
                bar_lines = {name: [float(value) for value in bar_lines[name]] for name in ("seconds", "beats")}
                if not bar_lines["beats"] or len(bar_lines["beats"]) != len(bar_lines["seconds"]):
                    raise ValueError("the bar_lines have no beat for each second")
            model = {name: str(record["model"][name]) for name in ("name", "digest")}
            begin, reach = record.get("begin"), (record.get("score") or {}).get("reach")
            if reach is not None:
                reach = np.array([reach[name] for name in DIMENSIONS], np.float32).T
                if reach.shape != (2, 2) or not (reach[0] < reach[1]).all():
                    raise ValueError("the reach has no low and high of valence and arousal")
            candidates = (record.get("control") or {}).get("candidates", 0)
            if type(candidates) is not int or not 0 <= candidates <= MAX_CANDIDATES:
                raise ValueError(f"the candidates {candidates!r:.60} are not a whole number from 0 to {MAX_CANDIDATES}")
            return cls(str(record["prompt"]), None if curve is None else Curve.from_json(curve), Request(**request),
                       dict(record["sampling"]), model, None if font is None else dict(font), segments, bar_lines, candidates,
                       None if begin is None else dict(begin), None if reach is None else tuple(reach))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged or incomplete ({type(error).__name__}: {error}); give the .json file as it was "
                             "written with the piece") from error


def write_take(take, wav: Path, scored: bool = True, segments: "Iterable[Segment] | None" = None) -> "Score | None":
    """Generate a take into OUT.wav and the files beside it, at constant memory. All of them appear, or none does.

    segments: those of a take that is finished, which is then only written.
    scored: measure the sound, draw what was measured, and keep the Score in the record -> the Score. Nothing that is wrong
    with the sound stops the piece: the record then says why it has no figures, and None comes back.
    """
    from .affect import write_atomic
    from .audio import Cue, WavWriter
    from .plot import EnvelopeMeter, plot_piece

    rate_hz, seconds, meter = take.lara.codec.sample_rate_hz, take.request.seconds, EnvelopeMeter()
    with tempfile.TemporaryDirectory(dir=wav.parent, prefix=".lara-") as folder:  # the same disk, so that renaming is enough
        part = Path(folder) / wav.name
        with WavWriter(part, rate_hz, take.lara.codec.channels, time_reference_samples=0) as writer:
            for segment in take if segments is None else segments:
                if segment.index > 0:
                    writer.add_cue(Cue(min(round(segment.start_seconds * rate_hz), round(seconds * rate_hz)), f"segment {segment.index}"))
                writer.write(segment.samples)
                meter.add(segment.samples)
        joints = [segment["start_seconds"] for segment in take.segments[1:]]
        performer = getattr(take.session, "performer", None)  # bars and tempi, where the codec has them
        tempo = None if performer is None else (performer.starts_seconds[:-1], [bar.tempo_bpm for bar in performer.bars])
        record, score = take.record() | {"written_by": written_by()}, None
        if performer is not None and take.curve is not None and take.curve.unit == "beats" and take.request.free_from_beat < float("inf"):
            record["bar_lines"] = {"seconds": list(map(float, performer.starts_seconds)), "beats": [frame / 4 for frame in performer.starts_frames]}
        if scored:
            score, record["score"] = _measured(part, take)
        write_atomic(part.with_suffix(".json"), json.dumps(record, indent=1, allow_nan=False).encode())
        plot_piece(part.with_suffix(".png"), meter.peaks(), seconds, take.curve, curve_tempo=take.beats_at, joints_seconds=joints,
                   title=take.prompt, tempo=tempo, **(score.drawn() if score else {}))
        if performer is not None:
            _write_midi(part.with_suffix(".mid"), take, joints)
        for made in sorted(Path(folder).iterdir()):
            os.replace(made, wav.with_name(made.name))
    return score


def _measured(wav: Path, take) -> tuple["Score | None", dict]:
    """The Score of a take's file and what the record says of it."""
    from .pipeline import Lara

    try:
        score = Lara.score(wav, take.curve, take.beats_at, take.lara.reach)
    except ValueError as error:  # too short to be heard
        return None, {"remarks": [str(error)]}
    return score, score.to_dict()


def _write_midi(path: Path, take, joints: Sequence[float]) -> None:
    import numpy as np

    from .codec.midi import write_midi

    performer, piece = take.session.performer, take.session.piece
    frames = np.arange(piece.frames)
    affect = {}
    if take.curve is not None:
        seconds = np.interp(frames, performer.starts_frames, performer.starts_seconds)
        values = take.curve.at(seconds, take.request.seconds, performer.beats)  # [F,2]
        affect = {"valence": (frames / 4, values[:, 0]), "arousal": (frames / 4, values[:, 1])}
    beats = np.clip(performer.beats(np.array(joints, float)), 0, piece.frames / 4)
    markers = [(round(float(beat) * 4) / 4, f"segment {index}") for index, beat in enumerate(beats, 1)]
    write_midi(path, piece, take.prompt, markers, **affect)


def written_by() -> dict:
    """What made a file; with the seed and the codes it says what "the same machine" means."""
    import numpy as np
    import torch

    return {"program": "lara", "version": __version__, "torch": torch.__version__, "numpy": np.__version__,
            "python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
