"""What a model's scores are heard like, from their notes: learnt from a corpus that was rendered and heard, and put beside the model.

    python -m training.score_predictor runs/rehearsed.npz runs/studies.npz -o models/embedded

The model then chooses among its tries by it (lara_core/tries.py). The first corpus is what the model itself has played (training.rehearsal):
what it reaches is learnt from that alone, how notes are heard from all, best from training.studies too. r with what was heard is printed, over
pieces that were left out of the learning.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lara_core.score_predictor import ScorePredictor

from .labels import MOST_ROWS, correlations, heard_rows, left_out, skipped_rows


def learn(corpora: Sequence[dict], most_rows: int = MOST_ROWS) -> tuple[ScorePredictor, np.ndarray]:
    """Of corpus files that were heard, the model's own first -> the predictor, and its r [2] (valence, arousal) over pieces that it has not
    learnt from."""
    inputs, targets, pieces, step = [], [], [], skipped_rows(corpora, most_rows)
    for corpus in corpora:
        seen, _, heard, own = heard_rows(corpus, step)
        pieces.append(own + 1 + max((p.max() for p in pieces), default=-1))
        inputs.append(seen)
        targets.append(heard)
    of_model = slice(len(inputs[0]))
    inputs, targets, pieces = (np.concatenate(rows) for rows in (inputs, targets, pieces))
    r = np.array(correlations(left_out(inputs, targets, pieces), targets))
    print(f"{len(np.unique(pieces))} pieces, {len(inputs)} stretches; r with heard, pieces left out of the learning: valence {r[0]:.2f}, arousal {r[1]:.2f}")
    predictor = ScorePredictor.learnt(inputs, targets)
    predictor.reaches(targets[of_model])
    print("requests of -1 and 1 stand for {} and {}".format(*(end.numpy().round(2) for end in (predictor.low, predictor.high))))
    return predictor, r


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpora", type=Path, nargs="+", help="files that training.features has heard")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL", help="the model's folder")
    args = parser.parse_args()
    corpora = [dict(np.load(path)) for path in args.corpora]
    if not all("heard" in corpus for corpus in corpora):
        parser.error("the predictor has not heard all of these; run training.features on them first")
    args.output.mkdir(parents=True, exist_ok=True)
    learn(corpora)[0].save(args.output)


if __name__ == "__main__":
    main()
