"""The trainer: a corpus of codes, emotions and captions goes in, a model folder comes out. One trainer for every codec.

    python -m training.train --corpus runs/corpus.npz -o runs/model --steps 6000

Loss = cross-entropy on the codes + lara * alignment with a listener's features, where the corpus has them (alignment.py).
Text and emotion are dropped at random so that guidance has its null branches. A run continues where its last checkpoint
stopped; the order of the data depends on seed, step and process alone. `accelerate launch -m training.train ...` runs the same
command on several GPUs or processes.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from tqdm import tqdm

from lara_core.alignment import ProxyNetwork, lara_loss
from lara_core.checkpoint import load_model, save_model
from lara_core.conditioning import Conditioning
from lara_core.decoder import Decoder, DecoderConfig, delay, shifted
from lara_core.text import StaticTextEncoder

from .muon import Muon

LARA_WINDOW_FRAMES = 16  # alignment is judged on means over this many frames
HEARD_EVERY_FRAMES = 4  # a corpus keeps one row of listener features for so many frames


class Corpus:
    """Windows of a corpus file. starts: frames where a window may begin; codec: what the model folder says of its codes."""

    def __init__(self, path: Path, heard_share: float = 0.0):
        """heard_share: of the windows, that begin where a listener has heard the piece."""
        with np.load(path) as data:
            self.codes = torch.from_numpy(data["codes"])  # [K,total]
            self.offsets, self.starts, self.emotion = data["offsets"], data["starts"], data["emotion"]
            self.captions, self.codec = json.loads(str(data["captions"])), json.loads(str(data["codec"]))
            self.features = data["features"] if "features" in data else None  # [total / HEARD_EVERY_FRAMES, D'], NaN: not heard; or absent
        self.heard_starts, self.heard_share = self.starts[:0], heard_share
        if self.features is not None:
            self.heard_starts = self.starts[~np.isnan(self.features[self.starts // HEARD_EVERY_FRAMES, 0])]
        if heard_share and not len(self.heard_starts):
            raise ValueError(f"No listener has heard {path}, so --heard-share cannot be {heard_share:g}; run training.features on it first.")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def batch(self, rng: np.random.Generator, size: int, window: int):
        """size windows -> codes [B,K,W] (-1 past the end), emotion [B,W,2], known [B,W], captions, features [B,W,D'] or None."""
        K = self.codes.shape[0]
        codes = torch.full((size, K, window), -1, dtype=torch.long)
        emotion, known, texts = torch.zeros(size, window, 2), torch.zeros(size, window, dtype=torch.bool), []
        width = self.features.shape[1] if self.features is not None else 0
        features, heard = torch.zeros(size, window, width), torch.zeros(size, window, dtype=torch.bool)
        for b in range(size):
            among_heard = self.heard_share > 0 and rng.random() < self.heard_share
            starts = self.heard_starts if among_heard else self.starts
            start = int(starts[rng.integers(len(starts))])
            piece = int(np.searchsorted(self.offsets, start, side="right")) - 1
            if not among_heard and rng.random() < 0.3:
                start = int(self.offsets[piece])  # openings decide tempo and ensemble from the emotion alone
            n = min(window, int(self.offsets[piece + 1]) - start)
            codes[b, :, :n] = self.codes[:, start:start + n]
            emotion[b, :n] = torch.from_numpy(self.emotion[start:start + n].astype(np.float32))
            known[b, :n] = True
            texts.append(str(rng.choice(self.captions[piece])))
            if width:
                rows = torch.from_numpy(self.features[(start + np.arange(n)) // HEARD_EVERY_FRAMES].astype(np.float32))
                features[b, :n], heard[b, :n] = rows.nan_to_num(0.0), ~rows[:, 0].isnan()
        return codes, emotion, known, texts, (features, heard) if width else None


class Trained(torch.nn.Module):
    """Decoder and proxy as one module, so that every parameter passes through one wrapped forward."""

    def __init__(self, decoder: Decoder, proxy: ProxyNetwork | None):
        super().__init__()
        self.decoder, self.proxy = decoder, proxy

    def forward(self, codes, cond: Conditioning, heard, lane_weights, lara_weight: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """-> loss to minimise, cross-entropy per lane [K] in nats a frame, alignment loss."""
        config = self.decoder.config
        steps = delay(codes, config.delays, -1)
        inputs = shifted(torch.where(steps < 0, config.codebook_size, steps), config.codebook_size)
        hidden = self.decoder.hidden(inputs, self.decoder.memory(cond))  # [B,S,D]
        logits = self.decoder.logits(hidden)  # [B,K,S,V]
        nats = F.cross_entropy(logits.flatten(0, 2), steps.flatten(), ignore_index=-1, reduction="none").view(steps.shape)
        per_lane = nats.sum((0, 2)) / (steps >= 0).sum((0, 2)).clamp_min(1)
        loss, alignment = (per_lane * lane_weights).sum(), torch.zeros(())
        if self.proxy is not None and lara_weight > 0:
            last = max(config.delays)  # at step f + last the whole of frame f has been read
            predicted = self.proxy(hidden)[:, last:last + codes.shape[2]]
            alignment = lara_loss(predicted, heard[0], heard[1], LARA_WINDOW_FRAMES)
            loss = loss + lara_weight * alignment
        return loss, per_lane.detach(), alignment.detach()


def initial(config: DecoderConfig, folder: Path | None) -> Decoder:
    """Fresh weights, or those of a model folder; raises ValueError where that model is of another shape."""
    if folder is None:
        return Decoder(config)
    decoder, found = load_model(folder)
    if found.decoder != config:
        raise ValueError(f"--init {folder} is a model of another shape ({found.decoder}); give its --width and --layers, and a corpus of its codec.")
    return decoder.float()


def learning_rate(step: int, steps: int, warmup: int, decay: float = 0.3) -> float:
    """Warm up, stay, then fall linearly to zero over the last part of the run."""
    return min((step + 1) / warmup, 1.0, max((steps - step) / (decay * steps), 0.0))


def optimizers_for(model: Trained, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings, heads, norms and small networks."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and ".blocks." in name]
    others = [p for name, p in model.named_parameters() if not (p.dim() == 2 and ".blocks." in name)]
    return [Muon(matrices, lr=lr),
            torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)]


def train(args: argparse.Namespace) -> None:
    accelerator = Accelerator(cpu=args.cpu)
    corpus = Corpus(args.corpus, args.heard_share)
    text = StaticTextEncoder(args.text)
    codec = corpus.codec
    torch.manual_seed(args.seed)
    config = DecoderConfig(codec["n_codebooks"], codec["codebook_size"], args.width, args.layers, args.width // 64, 4 * args.width,
                           text.width, tuple(codec["delays"]))
    proxy = ProxyNetwork(args.width, corpus.features.shape[1]) if corpus.features is not None and args.lara > 0 else None
    model = Trained(initial(config, args.init), proxy)
    optimizers = optimizers_for(model, args.lr)
    weights = torch.tensor(codec["loss_weights"], device=accelerator.device)
    step = resume(args.output, model, optimizers, accelerator.device)
    model, *optimizers = accelerator.prepare(model, *optimizers)
    bar = tqdm(total=args.steps, initial=step, desc="training", unit="step", disable=not accelerator.is_main_process)
    saved, recent = time.monotonic(), []
    while step < args.steps:
        rng = np.random.default_rng((args.seed, step, accelerator.process_index))
        codes, emotion, known, texts, heard = corpus.batch(rng, args.batch, args.window)
        features, mask = text.encode(texts)
        cond = Conditioning(features, mask, emotion, known).dropped(0.1, 0.1, 0.1, torch.Generator().manual_seed(int(rng.integers(2**62))))
        to = lambda x: x.to(accelerator.device)
        cond = Conditioning(to(cond.text), to(cond.text_mask), to(cond.emotion), to(cond.emotion_mask))
        heard = tuple(map(to, heard)) if heard is not None else None
        loss, lanes, alignment = model(to(codes), cond, heard, weights, args.lara)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"The loss is {loss.item()} at step {step}; start again from the last checkpoint with a lower --lr than {args.lr}.")
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = args.lr * learning_rate(step, args.steps, args.warmup)
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        recent = [*recent, ((lanes * (weights > 0)).sum().item(), alignment.item())][-args.log_steps:]
        means = dict(zip(("nats", "lara"), np.mean(recent, axis=0).round(4).tolist()))
        bar.update()
        bar.set_postfix(means)
        if accelerator.is_main_process:
            if step % args.log_steps == 0:
                row = {"step": step, **means, "lanes": [round(x, 3) for x in lanes.tolist()]}
                with open(args.output.with_suffix(".log.jsonl"), "a") as log:
                    log.write(json.dumps(row) + "\n")
            if step == args.steps or time.monotonic() - saved > args.save_seconds:
                save(args.output, accelerator.unwrap_model(model), optimizers, step, codec, text, args)
                saved = time.monotonic()


def save(folder: Path, model: Trained, optimizers, step: int, codec: dict, text, args) -> None:
    """The model folder, in float16 as it ships, and beside it what resuming needs; each appears whole or not at all."""
    save_model(folder, model.decoder, codec_config={"name": codec["name"]}, text_config={"name": "static", "path": "../text"},
               extra={"training": {"steps": step, "batch": args.batch, "window": args.window, "lr": args.lr, "lara": args.lara if model.proxy is not None else 0.0, "seed": args.seed}},
               dtype=torch.float16)
    state = {"step": step, "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
    temporary = folder.with_suffix(".resume.tmp")
    torch.save(state, temporary)
    os.replace(temporary, folder.with_suffix(".resume.pt"))


def resume(folder: Path, model: Trained, optimizers, device) -> int:
    path = folder.with_suffix(".resume.pt")
    if not path.exists():
        return 0
    state = torch.load(path, map_location=device, weights_only=True)
    model.load_state_dict(state["model"], strict=model.proxy is None)  # a proxy may join a run that began without one
    for optimizer, saved in zip(optimizers, state["optimizers"]):
        if [len(g["params"]) for g in saved["param_groups"]] == [len(g["params"]) for g in optimizer.param_groups]:
            optimizer.load_state_dict(saved)
    return state["step"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, required=True, help="a file made by training.corpus")
    parser.add_argument("-o", "--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--init", type=Path, help="a model folder whose weights a new run begins with")
    parser.add_argument("--text", type=Path, default=Path("models/text"), help="folder of the static text encoder")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=16, help="windows a step and process")
    parser.add_argument("--window", type=int, default=256, help="frames a window")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--warmup", type=int, default=100, help="steps until the learning rate is reached")
    parser.add_argument("--lara", type=float, default=0.5, help="weight of the alignment loss; 0: cross-entropy alone")
    parser.add_argument("--heard-share", type=float, default=0.0, help="of the windows from what a listener has heard, 0 to 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save-seconds", type=float, default=300, help="time between checkpoints")
    parser.add_argument("--log-steps", type=int, default=50, help="steps between lines of the log")
    parser.add_argument("--cpu", action="store_true", help="stay on the CPU even where there is a GPU")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
