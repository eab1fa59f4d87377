"""What does the alignment loss ask of the emotion? Of models that training.train made: cross-entropy and alignment on windows that a listener has
heard, with the emotion that was asked for, with another window's, and with none.

    python -m bench.alignment runs/ce runs/lara --corpus runs/held.npz [--batches 40]

What is lost with another's emotion is what a loss asks of the emotion; the rest is told by text and codes. Of a model trained without alignment
cross-entropy alone is printed; the proxy of others lies in the file that their run goes on from, MODEL.resume.pt. Means over batches, and of what
is lost the standard errors.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lara_core.alignment import ProxyNetwork
from lara_core.checkpoint import load_model
from lara_core.conditioning import Conditioning
from lara_core.text import StaticTextEncoder
from training.train import Alignment, Trained
from training.windows import Corpus

WINDOW_FRAMES, SIZE = 128, 12


def trained(folder: Path) -> Trained:
    """A model, with its proxy if it has learnt with one. Raises ValueError or OSError in one sentence."""
    decoder, config = load_model(folder)
    facts = config.extra.get("training", {}).get("alignment")
    if facts is None:
        return Trained(decoder.float())
    state = torch.load(folder.with_suffix(".resume.pt"), map_location="cpu", weights_only=True)["model"]
    weights = {name.removeprefix("proxy."): weight for name, weight in state.items() if name.startswith("proxy.")}
    proxy = ProxyNetwork(decoder.config.width, len(weights["net.3.bias"]))
    proxy.load_state_dict(weights)
    return Trained(decoder.float(), proxy, Alignment(**facts))


@torch.no_grad()
def losses(model: Trained, corpus: Corpus, batches: int) -> np.ndarray:
    """[batches,2,3]: nats a frame, and the alignment loss, NaN without a proxy; with the emotion asked for, another window's, and none."""
    weights = torch.tensor(corpus.codec["loss_weights"])
    rows = np.full((batches, 2, 3), np.nan)
    for i in range(batches):
        codes, emotion, known, text, heard = corpus.batch(np.random.default_rng(i), SIZE, WINDOW_FRAMES)
        for j, own in enumerate(((emotion, known), (emotion.roll(1, 0), known.roll(1, 0)), (emotion, torch.zeros_like(known)))):
            _, lanes, alignment, _ = model(codes, Conditioning(*text, *own), heard, weights, 1.0)
            rows[i, 0, j] = (lanes * (weights > 0)).sum()
            if model.proxy is not None:
                rows[i, 1, j] = alignment
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--corpus", type=Path, required=True, help="a corpus that training.features has heard, best of pieces that no model has learnt from")
    parser.add_argument("--batches", type=int, default=40, help=f"of {SIZE} windows of {WINDOW_FRAMES} frames")
    parser.add_argument("--text", type=Path, default=Path("models/text"), help="folder of the static text encoder")
    args = parser.parse_args()
    text, rows = StaticTextEncoder(args.text), []
    for folder in tqdm(args.models, unit="model"):
        try:
            model = trained(folder)
            target = "features" if model.alignment is None else model.alignment.target
            rows.append((folder.name, losses(model, Corpus(args.corpus, text, heard_share=1.0, target=target), args.batches)))
        except (ValueError, OSError) as problem:
            parser.error(str(problem))
    print("| | nats a frame | another's emotion costs | none costs | alignment | another's costs | none costs |\n|---|---|---|---|---|---|---|")
    for name, values in rows:
        cells = [name]
        for of_loss in values.swapaxes(0, 1):
            lost = of_loss[:, 1:] - of_loss[:, :1]
            error = lost.std(0, ddof=1) / np.sqrt(len(lost))
            cells += ["-"] * 3 if np.isnan(of_loss).all() else [f"{of_loss[:, 0].mean():.3f}", *(f"{mean:.4f} ± {e:.4f}" for mean, e in zip(lost.mean(0), error))]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
