"""Does the Emotion Predictor, trained on recordings, hear rendered MIDI as people do? Looked at, never trained or tuned on.

    git clone https://github.com/lucasnfe/vgmidi
    python -m bench.transfer vgmidi [--seconds 60]

VGMIDI (Ferreira and Whitehead, ISMIR 2019): 200 piano arrangements of game music, each rated over time by about 30 people; here
each piece is the mean over raters and time. The MIDI is rendered with the installed SoundFont; the first `--seconds` are judged.
Prints r with a 95 % bootstrap interval over pieces, and the cross terms; and how far judgements go with ratings within a piece,
beside how far halves of the raters agree there.
"""

import argparse
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import midirenderer
import numpy as np
import soundfile
import torch
from tqdm import tqdm

from lara_core.codec.soundfont import SoundFont, find_soundfont
from lara_core.predictor import DIMENSIONS, EmotionPredictor, Track
from lara_core.score import bootstrap, pearson

SETTLED_SECONDS = 10.0


class Rated(NamedTuple):
    seconds: float
    ratings: np.ndarray  # of each rater in each bar [raters,2,bars], on [-1, 1]; raters of whom a last bar is absent shorten all


def rated_pieces(folder: Path) -> dict[Path, Rated]:
    """MIDI files and how they were rated."""
    pieces = {}
    for table in sorted((folder / "labelled" / "annotations").glob("vgmidi_raw_*.json")):
        data, raters = json.loads(table.read_text(encoding="utf-8")), defaultdict(list)
        for name, rater in data["annotations"].items():
            if rater["valence"] and rater["arousal"]:
                raters[name.rsplit("_", 1)[0]].append([rater[dimension] for dimension in DIMENSIONS])
        for name in data["pieces"].keys() & raters.keys():
            bars = min(len(track) for rater in raters[name] for track in rater)
            ratings = np.array([[track[:bars] for track in rater] for rater in raters[name]])
            pieces[folder / "labelled" / "midi" / Path(data["pieces"][name]["midi"]).name] = Rated(data["pieces"][name]["duration"], ratings)
    return {path: pieces[path] for path in sorted(pieces)}


def over_time(rated: Rated, track: Track, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    """r [2] of what is judged with the mean rating within a piece, and of one half of the raters with the other; None where less than
    20 s are rated and judged. The first 10 s, in which raters move away from where they begin, are left out."""
    bars = rated.ratings.shape[2]
    times = (np.arange(bars) + 0.5) * rated.seconds / bars
    known = np.isfinite(track.values).all(1)
    inside = (times >= SETTLED_SECONDS) & (times <= track.times_seconds[-1])
    if known.sum() < 3 or inside.sum() < 3 or np.ptp(times[inside]) < 20:
        return None
    judged = [np.interp(times[inside], track.times_seconds[known], column[known]) for column in track.values.T]
    ratings = rng.permutation(rated.ratings[:, :, inside])
    one, other = (half.mean(0) for half in np.array_split(ratings, 2))
    rows = lambda a, b: np.array([pearson(x, y) for x, y in zip(a, b)])
    return rows(judged, ratings.mean(0)), rows(one, other)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("vgmidi", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pieces, predictor, soundfont = rated_pieces(args.vgmidi), EmotionPredictor.load(), SoundFont.load(find_soundfont())
    points, music, within, rng = [], [], [], np.random.default_rng(1)
    for path, piece in tqdm(pieces.items()):
        wav = midirenderer.render_wave_from(soundfont.data, path.read_bytes())
        with soundfile.SoundFile(io.BytesIO(wav)) as file:
            samples = file.read(int(args.seconds * file.samplerate), dtype="float32", always_2d=True).T
            track = predictor.track(samples, file.samplerate)
        points.append(track.point)
        within.append(over_time(piece, track, rng))
        music.append(track.is_music)
    rated, points = np.stack([piece.ratings.mean((0, 2)) for piece in pieces.values()]), np.stack(points)
    heard = np.isfinite(points[:, 0])
    print(f"{len(pieces)} pieces with {soundfont.name}, {np.mean(music):.3f} of them called music")
    for i, judged in enumerate(DIMENSIONS):
        for j, felt in enumerate(DIMENSIONS):
            r = bootstrap(pearson, (rated[heard, j], points[heard, i]))
            print(f"judged {judged} with rated {felt}: r {r.value:+.2f} [{r.low:+.2f}, {r.high:+.2f}]")
    print("judged mean", points[heard].mean(0).round(2), "spread", points[heard].std(0).round(2),
          "rated mean", rated.mean(0).round(2), "spread", rated.std(0).round(2))
    for who, rows in zip(("judged with rated", "half of the raters with the other"), zip(*(pair for pair in within if pair))):
        for name, row in zip(DIMENSIONS, np.transpose(rows)):
            r = bootstrap(np.mean, (row[np.isfinite(row)],))
            print(f"within a piece, {name}, {who}: mean r {r.value:+.2f} [{r.low:+.2f}, {r.high:+.2f}], n={np.isfinite(row).sum()}")


if __name__ == "__main__":
    main()
