"""The trainer: a corpus of codes, emotions and captions goes in, a model folder comes out. One trainer for every codec.

    python -m training.train --corpus runs/corpus.npz -o runs/model --steps 6000
    python -m training.train --corpus runs/shards --init musicgen-small --lora 16 -o runs/adapter       # sound; see docs/finetuning.md

Loss = cross-entropy on the codes + lara * alignment with a listener's features, where the corpus has them (alignment.py).
Text and emotion are dropped at random so that guidance has its null branches. A run continues where its last checkpoint
stopped; the order of the data depends on seed, step and process alone. `accelerate launch -m training.train ...` runs the same
command on several GPUs or processes. With shards, or with LoRA, what comes out is an adapter to the model that was begun with.
"""

import argparse
import copy
import json
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator, DistributedType
from tqdm import tqdm

from lara_core.adapter import add_emotion, check_output, save_adapter
from lara_core.alignment import ProxyNetwork, lara_loss
from lara_core.checkpoint import load_model, save_model
from lara_core.conditioning import Conditioning
from lara_core.decoder import Decoder, DecoderConfig, columns_of
from lara_core.text import StaticTextEncoder

from .audio import codec_digest
from .lora import add_lora
from .muon import Muon
from .preferences import Pairs, likelihoods, preference_loss
from .windows import Corpus, Shards

LEARNING_RATES = {"muon": 4e-3, "adamw": 3e-5, "lora": 5e-4}  # where --lr is not given
VALID_BATCHES = 4  # judged at each checkpoint, always the same
PREFERENCE = 2.0  # of the loss, beside the nats of all lanes
FRESH_RATE = 10  # times the learning rate: what begins with random weights beside a trained decoder


def surprise(decoder: Decoder, codes: torch.Tensor, cond: Conditioning) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """codes [B,K,F] (-1: none) -> cross-entropy in nats [B,K,S], 0 where no code is; the delayed codes [B,K,S]; hidden states [B,S,D]."""
    steps, inputs = columns_of(codes, decoder.config)
    hidden = decoder.hidden(inputs, decoder.memory(cond))
    logits = decoder.logits(hidden)  # [B,K,S,V]
    return F.cross_entropy(logits.flatten(0, 2), steps.flatten(), ignore_index=-1, reduction="none").view(steps.shape), steps, hidden


@dataclass(frozen=True)
class Alignment:
    """What the proxy reads and has to say. target: the listener's features, or the predictor's valence and arousal. layer: the hidden states after so
    many blocks; 0: the last, as logits are made of. frames: pooled, see lara_loss. distance: its kind there. ahead: frames, by which what was
    heard is later than what is read."""

    target: str
    layer: int
    frames: int
    distance: str
    ahead: int


class Trained(torch.nn.Module):
    """Decoder and proxy as one module, so that every parameter passes through one wrapped forward."""

    def __init__(self, decoder: Decoder, proxy: ProxyNetwork | None = None, alignment: Alignment | None = None):
        super().__init__()
        self.decoder, self.proxy, self.alignment = decoder, proxy, alignment
        if alignment is not None and alignment.layer:
            decoder.blocks[alignment.layer - 1].register_forward_hook(lambda _block, _inputs, states: setattr(self, "read", states))

    def learned(self) -> dict[str, torch.Tensor]:
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}

    def forward(self, codes, cond: Conditioning, heard, lane_weights, lara_weight: float, judged=None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """judged: what preferences.likelihoods takes, and how likely it was before, or None -> loss to minimise, cross-entropy per lane [K] in nats a frame, alignment loss,
        share of the pairs of which the better is preferred."""
        nats, steps, hidden = surprise(self.decoder, codes, cond)
        per_lane = nats.sum((0, 2)) / (steps >= 0).sum((0, 2)).clamp_min(1)
        loss, alignment = (per_lane * lane_weights).sum(), nats.new_zeros(())
        if self.proxy is not None and lara_weight > 0:
            last, asked = max(self.decoder.config.delays), self.alignment  # at step f + last the whole of frame f has been read
            states = self.read if asked.layer else hidden
            predicted = self.proxy(states)[:, last:last + codes.shape[2] - asked.ahead]
            alignment = lara_loss(predicted, heard[0][:, asked.ahead:], heard[1][:, asked.ahead:], asked.frames, asked.distance)
            loss = loss + lara_weight * alignment
        preferred = nats.new_zeros(())
        if judged is not None:
            *tries, before = judged
            preference, preferred = preference_loss(likelihoods(self.decoder, *tries), before)
            loss = loss + PREFERENCE * preference
        return loss, per_lane.detach(), alignment.detach(), preferred


def open_corpus(args: argparse.Namespace) -> Corpus | Shards:
    if not args.corpus.is_dir():
        return Corpus(args.corpus, StaticTextEncoder(args.text), args.heard_share, args.words, args.moving_share, args.rehearsed_share, args.even,
                      args.lara_target)
    if args.words or args.heard_share or args.moving_share or args.rehearsed_share or args.even or args.lara_target != "features":
        raise ValueError("--words, --heard-share, --moving-share, --rehearsed-share, --even and --lara-target are for a corpus of scores; leave them out for shards of sound.")
    return Shards(args.corpus)


def proxy_for(decoder: Decoder, corpus: Corpus | Shards, args: argparse.Namespace) -> tuple[ProxyNetwork | None, Alignment | None]:
    """A proxy and what it is to say; neither where nothing was heard or --lara is 0. ValueError where no window could be aligned so."""
    if not corpus.feature_width or args.lara <= 0:
        return None, None
    alignment = Alignment(args.lara_target, args.lara_layer, args.lara_frames or corpus.lara_frames, args.lara_distance, args.lara_ahead)
    if not 0 <= alignment.layer <= decoder.config.n_layers:
        raise ValueError(f"--lara-layer is {alignment.layer}; this decoder has {decoder.config.n_layers} blocks: give 1 to {decoder.config.n_layers}, or 0 for what logits are made of.")
    if alignment.ahead < 0 or not 0 < alignment.frames <= args.window - alignment.ahead:
        raise ValueError(f"Means over {alignment.frames} frames, {alignment.ahead} ahead, do not fit into windows of {args.window}: "
                         "--lara-frames and --lara-ahead are frames, 0 or more, together at most --window.")
    return ProxyNetwork(decoder.config.width, corpus.feature_width), alignment


def initial(corpus: Corpus | Shards, args: argparse.Namespace) -> Decoder:
    """Fresh weights, or those of --init, an AV encoder added where it has none; raises ValueError where that model does not fit."""
    codec = corpus.codec
    if isinstance(corpus, Shards):
        if codec_digest(args.init) != corpus.told["codec_digest"]:
            raise ValueError(f"The shards in {args.corpus} were made with the EnCodec of {corpus.told['base']}; {args.init} has another one: "
                             "make shards with --base of that model.")
        decoder = load_model(args.init)[0]
        if decoder.av_encoder is None:
            add_emotion(decoder)
        return decoder.train()
    config = DecoderConfig(codec["n_codebooks"], codec["codebook_size"], args.width, args.layers, args.width // 64, 4 * args.width,
                           corpus.text.width, tuple(codec["delays"]), emotion=not args.words)
    if args.init is None:
        return Decoder(config)
    decoder, found = load_model(args.init)
    if found.decoder != config:
        raise ValueError(f"--init {args.init} is a model of another shape ({found.decoder}); give its --width and --layers, and a corpus of its codec.")
    decoder = decoder.float()
    decoder.heads.weight.data *= found.extra.get("training", {}).get("temperature", 1.0)  # as it was before it was written for that
    return decoder


def learning_rate(step: int, steps: int, warmup: int, decay: float = 0.3) -> float:
    """Warm up, stay, then fall linearly to zero over the last part of the run."""
    return min((step + 1) / warmup, 1.0, max((steps - step) / (decay * steps), 0.0))


def optimizers_for(model: Trained, name: str, lr: float, fresh_rate: float) -> list[torch.optim.Optimizer]:
    """muon: Muon for the matrices of the blocks, AdamW for embeddings, heads, norms and small networks; adamw: that for all, the AV
    encoder and the proxy with fresh_rate times the learning rate."""
    learned = model.learned()
    adamw = lambda groups: torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    if name == "adamw":
        fresh = [name for name in learned if name.startswith(("proxy.", "decoder.av_encoder."))]
        return [adamw([{"params": [p for name, p in learned.items() if name not in fresh], "scale": 1.0},
                       {"params": [learned[name] for name in fresh], "scale": fresh_rate}])]
    matrices = [name for name, p in learned.items() if p.dim() == 2 and ".blocks." in name]
    return [Muon([learned[name] for name in matrices], lr=lr), adamw([p for name, p in learned.items() if name not in matrices])]


def train(args: argparse.Namespace) -> None:
    accelerator = Accelerator(cpu=args.cpu)
    if accelerator.mixed_precision == "bf16":
        torch.set_float32_matmul_precision("medium")  # of Muon too: a fifth of a step, on a CPU with units for it
    corpus = open_corpus(args)
    sound = isinstance(corpus, Shards)
    if not 0 < args.temperature <= 10:
        raise ValueError(f"--temperature is {args.temperature}; give a number above 0, up to 10 (1 writes the model as it is).")
    if sound or args.lora:
        check_output(args.output)
        if args.temperature != 1:
            raise ValueError("--temperature is for a whole model of scores; leave it out, and give one to what generates.")
        if args.init is None:
            raise ValueError("LoRA and shards of sound need a trained model; give its folder with --init.")
    torch.manual_seed(args.seed)
    decoder = initial(corpus, args)
    pairs = None
    if args.judged:
        if sound or args.lora or args.init is None:
            raise ValueError("--judged is for a whole model of scores, which tried them; give its folder with --init.")
        pairs, began = Pairs(args.judged, corpus.text), copy.deepcopy(decoder).to(accelerator.device).eval().requires_grad_(False)
    if args.lora:
        add_lora(decoder, args.lora)
    model = Trained(decoder, *proxy_for(decoder, corpus, args))
    args.optimizer = args.optimizer or ("adamw" if sound or args.lora else "muon")
    sharded = accelerator.distributed_type == DistributedType.FSDP
    if args.optimizer == "muon" and (args.lora or sharded):
        raise ValueError("Muon needs whole matrices, which LoRA and FSDP have not; choose --optimizer adamw.")
    if sharded and not (accelerator.is_fsdp2 and (sound or args.lora)):
        raise ValueError("FSDP serves adapters only, and in its version 2 (fsdp_version: 2 in accelerate's configuration).")
    args.lr = args.lr or LEARNING_RATES[args.optimizer if not args.lora else "lora"]
    optimizers = optimizers_for(model, args.optimizer, args.lr, 1.0 if args.lora else FRESH_RATE)
    weights = torch.tensor(corpus.codec["loss_weights"], device=accelerator.device)
    step = resume(args.output, model, optimizers, accelerator.device)
    model, *optimizers = accelerator.prepare(model, *optimizers)
    if sharded:
        gather_for_memory(accelerator.unwrap_model(model).decoder)
    judging = sound and "valid" in corpus.splits and accelerator.is_main_process and not sharded
    valid = Shards(args.corpus, "valid") if judging else None
    log = Log(args.output) if accelerator.is_main_process else None
    bar = tqdm(total=args.steps, initial=step, desc="training", unit="step", disable=not accelerator.is_main_process)
    saved, recent = time.monotonic(), []
    while step < args.steps:
        rng = np.random.default_rng((args.seed, step, accelerator.process_index))
        judged = None if pairs is None else pairs.drawn(rng, args.pairs, began, args.temperature, accelerator)
        loss, lanes, alignment, preferred = losses(model, corpus, rng, args, weights, dropped=True, judged=judged)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"The loss is {loss.item()} at step {step}; start again from the last checkpoint with a lower --lr than {args.lr}.")
        accelerator.backward(loss)
        accelerator.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = args.lr * group.get("scale", 1.0) * learning_rate(step, args.steps, args.warmup)
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        recent = [*recent, ((lanes * (weights > 0)).sum().item(), alignment.item(), preferred.item())][-args.log_steps:]
        means = dict(zip(("nats", "lara", "preferred"), np.mean(recent, axis=0).round(4).tolist()))
        bar.update()
        bar.set_postfix(means)
        if accelerator.is_main_process and step % args.log_steps == 0:
            log.write(step, **means, lanes=[round(x, 3) for x in lanes.tolist()])
        due = step == args.steps or time.monotonic() - saved > args.save_seconds
        if sharded:  # all take part in gathering the weights, so all have to agree
            due = bool(accelerator.gather(torch.tensor([float(due)], device=accelerator.device)).max())
        gathered = accelerator.get_state_dict(model) if due and sharded else None
        if due and accelerator.is_main_process:
            plain = accelerator.unwrap_model(model)
            if valid is not None:
                log.write(step, valid_nats=validated(plain, valid, args, weights))
            save(args.output, plain, [] if sharded else optimizers, step, corpus, args, gathered)
        if due:
            saved = time.monotonic()


def losses(model, corpus: Corpus | Shards, rng: np.random.Generator, args, weights: torch.Tensor, dropped: bool, judged=None):
    """One batch -> what Trained.forward gives."""
    to = lambda x: x.to(weights.device)
    codes, emotion, known, text, heard = corpus.batch(rng, args.batch, args.window)
    cond = Conditioning(*text, emotion, known)
    if dropped:
        cond = cond.dropped(0.1, 0.1, 0.1, torch.Generator().manual_seed(int(rng.integers(2**62))))
    cond = Conditioning(to(cond.text), to(cond.text_mask), to(cond.emotion), to(cond.emotion_mask))
    return model(to(codes), cond, tuple(map(to, heard)) if heard is not None else None, weights, args.lara, judged)


@torch.no_grad()
def validated(model: Trained, corpus: Shards, args, weights: torch.Tensor) -> float:
    """Cross-entropy in nats a frame on the same windows of the split valid at every call."""
    nats = [losses(model, corpus, np.random.default_rng((args.seed, i)), args, weights, dropped=False)[1].sum().item() for i in range(VALID_BATCHES)]
    return round(float(np.mean(nats)), 4)


class Log:
    """JSON lines beside the model, and TensorBoard's files where it is installed."""

    def __init__(self, output: Path):
        self.path = output.with_suffix(".log.jsonl")
        try:
            from torch.utils.tensorboard import SummaryWriter
            self.board = SummaryWriter(str(output.with_suffix(".tensorboard")))
        except ImportError:
            self.board = None

    def write(self, step: int, **values) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self.board is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self.board.add_scalar(name, value, step)
            self.board.flush()


def gather_for_memory(decoder: Decoder) -> None:
    """FSDP 2 gathers a block's weights when the block is called; the decoder also calls this method of it."""
    from torch.distributed.fsdp import register_fsdp_forward_method

    for block in decoder.blocks:
        register_fsdp_forward_method(block, "cross_memory")


def save(folder: Path, model: Trained, optimizers, step: int, corpus: Corpus | Shards, args, weights: dict[str, torch.Tensor] | None = None) -> None:
    """The model or adapter, in float16 as it ships, and beside it what resuming needs; each appears whole or not at all. weights:
    gathered ones, where FSDP has the model's in parts."""
    weights = model.state_dict() if weights is None else weights
    learned = {name: weights[name] for name in model.learned()}
    facts = {"training": {"steps": step, "batch": args.batch, "window": args.window, "lr": args.lr, "lara": args.lara if model.proxy is not None else 0.0,
                          "alignment": None if model.alignment is None else asdict(model.alignment), "seed": args.seed,
                          "heard_share": args.heard_share, "moving_share": args.moving_share, "rehearsed_share": args.rehearsed_share, "even": args.even,
                          "judged": bool(args.judged), "words": args.words, "temperature": args.temperature}}
    if isinstance(corpus, Shards) or args.lora:
        tensors = {name.removeprefix("decoder."): x for name, x in learned.items() if name.startswith("decoder.")}
        save_adapter(folder, tensors, args.init, facts, adapter_card(folder, corpus, step, args))
    else:
        decoder = copy.deepcopy(model.decoder)
        decoder.heads.weight.data /= args.temperature
        save_model(folder, decoder, codec_config={"name": corpus.codec["name"]}, text_config={"name": "static", "path": "../text"},
                   extra=facts, dtype=torch.float16)
    state = {"step": step, "model": learned, "optimizers": [o.state_dict() for o in optimizers]}
    temporary = folder.with_suffix(".resume.tmp")
    torch.save(state, temporary)
    os.replace(temporary, folder.with_suffix(".resume.pt"))


def adapter_card(folder: Path, corpus: Corpus | Shards, step: int, args) -> str:
    how = f"LoRA of rank {args.lora}" if args.lora else "all weights"
    loss = f"cross-entropy + {args.lara:g} L_LARA" if corpus.feature_width and args.lara > 0 else "cross-entropy"
    return (f"# {folder.name}\n\nAn adapter to {args.init.absolute().name}, which has to lie beside it: {how} and the AV encoder, {step} steps of "
            f"{args.batch} windows of {args.window} frames, {loss}.\n\n## Data\n\nSay here what it was trained on, and under which licence.\n")


def resume(folder: Path, model: Trained, optimizers, device) -> int:
    path = folder.with_suffix(".resume.pt")
    if not path.exists():
        return 0
    state = torch.load(path, map_location=device, weights_only=True)
    lacking = {name for name in model.learned().keys() - state["model"].keys() if not name.startswith("proxy.")}  # a proxy may join later
    if lacking or state["model"].keys() - model.state_dict().keys() and model.proxy is None:
        raise ValueError(f"{path} is of a run with other options ({min(lacking, default='a proxy')}); give its --lora, --width and --layers, or another -o.")
    model.load_state_dict(state["model"], strict=False)
    for optimizer, saved in zip(optimizers, state["optimizers"]):
        if [len(g["params"]) for g in saved["param_groups"]] == [len(g["params"]) for g in optimizer.param_groups]:
            optimizer.load_state_dict(saved)
    return state["step"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, required=True, help="a file made by training.corpus, or a folder of shards made by training.audio")
    parser.add_argument("-o", "--output", type=Path, required=True, help="model or adapter folder to write")
    parser.add_argument("--init", type=Path, help="a model folder, such as a MusicGen checkpoint, whose weights a new run begins with")
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="train a change of this rank instead of the whole decoder")
    parser.add_argument("--text", type=Path, default=Path("models/text"), help="folder of the static text encoder")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=16, help="windows a step and process")
    parser.add_argument("--window", type=int, default=256, help="frames a window")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--optimizer", choices=("muon", "adamw"), help="muon, or adamw for sound and LoRA")
    parser.add_argument("--lr", type=float, help="; ".join(f"{name}: {lr:g}" for name, lr in LEARNING_RATES.items()))
    parser.add_argument("--warmup", type=int, default=100, help="steps until the learning rate is reached")
    parser.add_argument("--lara", type=float, default=0.5, help="weight of the alignment loss; 0: cross-entropy alone")
    parser.add_argument("--lara-target", choices=("features", "heard"), default="features", help="align with a listener's features, or with the valence and arousal that the Emotion Predictor heard; for a corpus of scores")
    parser.add_argument("--lara-layer", type=int, default=0, metavar="N", help="align the hidden states after N blocks; 0: the last, as logits are made of")
    parser.add_argument("--lara-frames", type=int, default=0, metavar="F", help="align means over F frames; 0: two bars of a score, a row of features of sound")
    parser.add_argument("--lara-distance", choices=("cosine", "l2"), default="cosine", help="between what the proxy says and what was heard")
    parser.add_argument("--lara-ahead", type=int, default=0, metavar="F", help="align with what is heard F frames later")
    parser.add_argument("--heard-share", type=float, default=0.0, help="of the windows from what a listener has heard, 0 to 1; for a corpus of scores")
    parser.add_argument("--rehearsed-share", type=float, default=0.0, help="of the other windows from what a model has played, 0 to 1; 0: as it comes")
    parser.add_argument("--even", action="store_true", help="draw the other windows evenly from the plane of valence and arousal; for a corpus of scores")
    parser.add_argument("--moving-share", type=float, default=0.0, help="of the other windows from where the emotion moves, 0 to 1; for a corpus of scores")
    parser.add_argument("--judged", type=Path, nargs="*", default=[], help="files made by training.preferences with the model of --init: which tries to prefer")
    parser.add_argument("--pairs", type=int, default=8, help="of judged tries a step and process")
    parser.add_argument("--words", action="store_true", help="the emotion as a word in the caption instead of a curve, the paper's baseline; for a corpus of scores")
    parser.add_argument("--temperature", type=float, default=1.0, help="at which a model of scores is heard best: it is written so that this is its 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save-seconds", type=float, default=300, help="time between checkpoints")
    parser.add_argument("--log-steps", type=int, default=50, help="steps between lines of the log")
    parser.add_argument("--cpu", action="store_true", help="stay on the CPU even where there is a GPU")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    try:
        train(parser.parse_args())
    except (ValueError, OSError, FloatingPointError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
