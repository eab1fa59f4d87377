"""What a model's scores are heard like, from their notes: learnt from a corpus that was rendered and heard, and put beside the model.

    python -m training.score_predictor runs/rehearsed.npz runs/studies.npz -o models/embedded
    python -m training.score_predictor runs/heard.npz --keep models/embedded runs/corpus.npz -o runs/ear    # what an earlier one knows, and more

The model then chooses among its tries by it (lara_core/tries.py). The first corpus is what the model itself has played (training.rehearsal):
what it reaches is learnt from that alone, how notes are heard from all, best from training.studies too. r with what was heard is printed, over
pieces that were left out of the learning. With --keep nothing is forgotten that an earlier one has learnt from what is no longer there: what it says
of a part of a corpus that nobody has heard is learnt as well.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lara_core.score_predictor import ScorePredictor

from .labels import MOST_ROWS, correlations, heard_rows, left_out, predictor_given, skipped_rows, some_rows, with_kept

KEPT_PIECES, KEPT_STEP = 1500, 6  # of a corpus that an earlier predictor reads, and every how manieth row of them


def known(earlier: ScorePredictor, corpus: dict) -> tuple[np.ndarray, np.ndarray]:
    """Cues [M,2C] of a part of a corpus, and what an earlier predictor says of them [M,2]."""
    pieces = np.random.default_rng(0).permutation(len(corpus["offsets"]) - 1)[:KEPT_PIECES]
    rows, *_ = some_rows(corpus, pieces, KEPT_STEP)
    return rows, earlier(rows)


def learn(corpora: Sequence[dict], most_rows: int = MOST_ROWS, kept: tuple[np.ndarray, np.ndarray] | None = None) -> tuple[ScorePredictor, np.ndarray]:
    """Of corpus files that were heard, the model's own first -> the predictor, and its r [2] (valence, arousal) over pieces that it has not
    learnt from. kept: rows as `known` gives them, which are learnt too."""
    inputs, targets, pieces, step = [], [], [], skipped_rows(corpora, most_rows)
    for corpus in corpora:
        seen, _, heard, own = heard_rows(corpus, step)
        pieces.append(own + 1 + max((p.max() for p in pieces), default=-1))
        inputs.append(seen)
        targets.append(heard)
    of_model = slice(len(inputs[0]))
    inputs, targets, pieces = (np.concatenate(rows) for rows in (inputs, targets, pieces))
    r = np.array(correlations(left_out(inputs, targets, pieces, kept), targets))
    print(f"{len(np.unique(pieces))} pieces, {len(inputs)} stretches; r with heard, pieces left out of the learning: valence {r[0]:.2f}, arousal {r[1]:.2f}")
    predictor = ScorePredictor.learnt(*with_kept(inputs, targets, kept))
    predictor.reaches(targets[of_model])
    print("requests of -1 and 1 stand for {} and {}".format(*(end.numpy().round(2) for end in (predictor.low, predictor.high))))
    return predictor, r


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpora", type=Path, nargs="+", help="files that training.features has heard")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL", help="the model's folder")
    parser.add_argument("--keep", type=Path, nargs=2, metavar=("MODEL", "CORPUS"), help="what that model's predictor says of a corpus is learnt too")
    args = parser.parse_args()
    corpora = [dict(np.load(path)) for path in args.corpora]
    if not all("heard" in corpus for corpus in corpora):
        parser.error("the predictor has not heard all of these; run training.features on them first")
    kept = known(predictor_given(parser, args.keep[0]), dict(np.load(args.keep[1]))) if args.keep else None
    args.output.mkdir(parents=True, exist_ok=True)
    learn(corpora, kept=kept)[0].save(args.output)


if __name__ == "__main__":
    main()
