"""Does another ear hear it too? VibeNet (valence and energy), which nothing here has learnt from, hears what a run of the benchmark made.

    python -m lara_core bench-emotion --systems four=tries:embedded --grid 5 --seeds 1 --seconds 20 --keep-audio --jobs 2 -o runs/kept
    python -m bench.other_ear runs/kept         # needs `pip install vibenet`

Every piece is brought to one level. Prints r of requested with heard, 95 % intervals over the points, which other request moves what is heard,
and r of this ear with the Emotion Predictor. Seen in development: for looking, never for training, tuning or choosing.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lara_core.audio import load, resample
from lara_core.benchmark.plan import kept_file
from lara_core.benchmark.report import ASKED, GOT, POINT_MEASURES, estimate
from lara_core.predictor import LEVEL_RMS, RATE_HZ
from lara_core.score import pearson


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of a run with --keep-audio, whose targets are a grid")
    args = parser.parse_args()
    try:
        import vibenet
    except ImportError:
        parser.error("VibeNet is not installed: pip install vibenet (GPL-3), best into an environment of its own with this project's requirements")
    try:
        with open(args.folder / "results.csv", newline="") as file:
            rows = [row for row in csv.DictReader(file) if not row["problem"]]
        paths = [kept_file(args.folder, row["system"], row["replicate"], row["target"], row["text"], int(row["seed"])) for row in rows]
    except (OSError, KeyError) as error:
        parser.error(f"{args.folder} is no folder of a finished bench-emotion run ({error}).")
    if missing := [path for path in paths if not path.is_file()]:
        parser.error(f"{len(missing)} of {len(rows)} pieces are not kept, such as {missing[0]}; make the run with --keep-audio.")
    model, heard = vibenet.load_model(), []
    for path in tqdm(paths, desc="listening", unit="piece"):
        sound = resample(load(path), RATE_HZ).samples.mean(0)
        result = model.predict([(sound * (LEVEL_RMS / np.sqrt(np.mean(sound ** 2)))).astype(np.float32)], sr=RATE_HZ)[0]
        heard.append((result.valence, result.energy))
    heard, asked, ours = np.array(heard), *(np.array([[float(row[name]) for name in names] for row in rows]) for names in (ASKED, GOT))
    texts, targets = (np.array([row[name] for row in rows]) for name in ("text", "target"))
    print(f"{len(rows)} pieces at {len(set(targets))} points; valence, and arousal by energy")
    for d, name in enumerate(ASKED):
        r = estimate(POINT_MEASURES[name, "pearson"], (asked, heard), targets)
        by_text = ", ".join(f"{text} {pearson(asked[texts == text, d], heard[texts == text, d]):.2f}" for text in dict.fromkeys(texts))
        print(f"{name}: r {r['value']:.2f} [{r['low_95']:.2f}, {r['high_95']:.2f}] ({by_text}); with the other request "
              f"{pearson(asked[:, 1 - d], heard[:, d]):.2f}; with the Emotion Predictor {pearson(ours[:, d], heard[:, d]):.2f}")


if __name__ == "__main__":
    main()
