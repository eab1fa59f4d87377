"""The weights of several models of one shape, averaged (Wortsman et al. 2022, arXiv 2203.05482): what learnt from the same beginnings
keeps, in their middle, much of what each has learnt.

    python -m training.average runs/sings runs/tidy -o runs/model
    python -m training.average models/embedded runs/tidy --shares 0.3 0.7 -o runs/model
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from lara_core.checkpoint import load_model, save_model
from lara_core.score_predictor import ScorePredictor


def average(folders: Sequence[Path], shares: Sequence[float], output: Path) -> None:
    """Folders of models and their shares of the weights -> a model, with all else, and a score predictor, like the first; ValueError where their shapes differ, or
    the shares are not numbers of sum 1, one for each."""
    if len(folders) < 2 or len(shares) != len(folders) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"The shares are {', '.join(f'{share:g}' for share in shares) or 'none'} for {len(folders)} models; give two models or more, and for each a share, of sum 1.")
    models = [load_model(folder) for folder in folders]
    decoder, config = models[0]
    for folder, (_, other) in zip(folders, models):
        if (other.decoder, other.codec, other.text) != (config.decoder, config.codec, config.text):
            raise ValueError(f"{folder} is a model of another shape, codec or text encoder than {folders[0]}; only models that are alike can be averaged.")
    states = [model.state_dict() for model, _ in models]
    with torch.no_grad():
        decoder.load_state_dict({name: sum(share * state[name] for share, state in zip(shares, states)) for name in states[0]})
    averaged = [{"model": folder.name, "share": share} for folder, share in zip(folders, shares)]
    predictor = ScorePredictor.beside(folders[0])
    save_model(output, decoder, config.codec, config.text, config.extra | {"averaged": averaged}, dtype=torch.float16)
    if predictor is not None:
        predictor.save(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", type=Path, nargs="+", help="folders of models")
    parser.add_argument("--shares", type=float, nargs="+", help="of each model, of sum 1; without them all the same")
    parser.add_argument("-o", "--output", type=Path, required=True, help="model folder to write")
    args = parser.parse_args()
    try:
        average(args.models, args.shares or [1 / len(args.models)] * len(args.models), args.output)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
