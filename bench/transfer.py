"""Does the Emotion Predictor, trained on recordings, hear rendered MIDI as people do? Looked at, never trained or tuned on.

    git clone https://github.com/lucasnfe/vgmidi
    python -m bench.transfer vgmidi [--seconds 60]

VGMIDI (Ferreira and Whitehead, ISMIR 2019): 200 piano arrangements of game music, each rated over time by about 30 people; here
each piece is the mean over raters and time. The MIDI is rendered with the installed SoundFont; the first `--seconds` are judged.
Prints r with a 95 % bootstrap interval over pieces, and the cross terms.
"""

import argparse
import io
import json
from collections import defaultdict
from pathlib import Path

import midirenderer
import numpy as np
import soundfile
import torch
from tqdm import tqdm

from lara_core.codec.soundfont import SoundFont, find_soundfont
from lara_core.predictor import DIMENSIONS, EmotionPredictor
from lara_core.score import bootstrap, pearson


def rated_pieces(folder: Path) -> dict[Path, np.ndarray]:
    """MIDI files with their mean rating [2] on [-1, 1]."""
    pieces = {}
    for table in sorted((folder / "labelled" / "annotations").glob("vgmidi_raw_*.json")):
        data, ratings = json.loads(table.read_text(encoding="utf-8")), defaultdict(list)
        for name, rater in data["annotations"].items():
            if rater["valence"] and rater["arousal"]:
                ratings[name.rsplit("_", 1)[0]].append([np.mean(rater[dimension]) for dimension in DIMENSIONS])
        for name in data["pieces"].keys() & ratings.keys():
            pieces[folder / "labelled" / "midi" / Path(data["pieces"][name]["midi"]).name] = np.mean(ratings[name], axis=0)
    return {path: pieces[path] for path in sorted(pieces)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("vgmidi", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pieces, predictor, soundfont = rated_pieces(args.vgmidi), EmotionPredictor.load(), SoundFont.load(find_soundfont())
    points, music = [], []
    for path in tqdm(pieces):
        wav = midirenderer.render_wave_from(soundfont.data, path.read_bytes())
        with soundfile.SoundFile(io.BytesIO(wav)) as file:
            samples = file.read(int(args.seconds * file.samplerate), dtype="float32", always_2d=True).T
            track = predictor.track(samples, file.samplerate)
        points.append(track.point)
        music.append(track.is_music)
    rated, points = np.stack(list(pieces.values())), np.stack(points)
    heard = np.isfinite(points[:, 0])
    print(f"{len(pieces)} pieces with {soundfont.name}, {np.mean(music):.3f} of them called music")
    for i, judged in enumerate(DIMENSIONS):
        for j, felt in enumerate(DIMENSIONS):
            r = bootstrap(pearson, (rated[heard, j], points[heard, i]))
            print(f"judged {judged} with rated {felt}: r {r.value:+.2f} [{r.low:+.2f}, {r.high:+.2f}]")
    print("judged mean", points[heard].mean(0).round(2), "spread", points[heard].std(0).round(2),
          "rated mean", rated.mean(0).round(2), "spread", rated.std(0).round(2))


if __name__ == "__main__":
    main()
