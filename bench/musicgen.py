"""MusicGen on the CPU against transformers' own `generate`, with the same random weights in musicgen-small's configuration.

    python -m bench.musicgen [--columns 125 250 | 125 250 750 1500] [--steps 12] [--takes 4]

All sides take turns of a few steps in one process on one thread, so what else the machine does falls on all of them alike; and times are
CPU time of the thread, without the time it waits for a core. A turn's first step finds another side's weights in the processor's caches, as
no step of a real run does, and is not counted. A side's cost at some length is the median of the others of `steps` steps there, after
that many columns were read; a piece's is the mean over its lengths, weighted as the trapezoid rule does. Guidance is on: two rows.
"""

import argparse
import gc
import json
import statistics
import threading
import time

import torch

from lara_core.benchmark import machine
from lara_core.checkpoint import build_decoder, import_musicgen
from lara_core.conditioning import Conditioning
from lara_core.sampling import FREE, Sampling, generate, generate_naive

SMALL = dict(vocab_size=2048, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, ffn_dim=4096, num_codebooks=4)
FRAME_RATE_HZ, TEXT_TOKENS, TURN = 50, 12, 4
SAMPLING = Sampling(top_k=250, top_p=1.0, text_strength=3.0)


def make_reference(layers: int):
    """transformers' model with random weights, a tiny text encoder and codec beside it: neither is in a step that is timed."""
    import transformers

    torch.manual_seed(0)
    config = transformers.MusicgenConfig(
        text_encoder=transformers.T5Config(vocab_size=64, d_model=768, d_kv=8, d_ff=32, num_layers=1, num_heads=2),
        audio_encoder=transformers.EncodecConfig(num_filters=4, upsampling_ratios=[2, 2], hidden_size=8, codebook_size=2048, target_bandwidths=[600.0]),
        decoder=transformers.MusicgenDecoderConfig(**SMALL | {"num_hidden_layers": layers}, pad_token_id=2048, bos_token_id=2048))
    return transformers.MusicgenForConditionalGeneration(config).eval()


class Turns:
    """Sides that run one at a time, TURN steps each; `times` gets the CPU seconds of every step."""

    def __init__(self, names):
        self.names, self.condition, self.turn, self.times, self.began = list(names), threading.Condition(), 0, {name: [] for name in names}, {}

    def begin(self, name: str) -> None:
        with self.condition:
            self.condition.wait_for(lambda: self.names[self.turn] == name)
        self.began[name] = time.thread_time()

    def step(self, name: str) -> None:
        """To be called after each step of a side: its time is taken; after TURN of them the others have their turns, and it goes on."""
        self.times[name].append(time.thread_time() - self.began[name])
        if len(self.times[name]) % TURN:
            self.began[name] = time.thread_time()
            return
        with self.condition:
            self.turn = (self.turn + 1) % len(self.names)
            self.condition.notify_all()
        self.begin(name)

    def run(self, sides: dict) -> dict[str, list[float]]:
        """sides: name -> function of step(), which it calls after each of its steps; all take as many."""
        def work(name):
            torch.set_num_threads(1)
            self.begin(name)
            try:
                sides[name](lambda: self.step(name))
            finally:
                with self.condition:  # done, or failed: its turns are no more
                    place = self.names.index(name)
                    self.names.remove(name)
                    self.turn = place % max(len(self.names), 1)
                    self.condition.notify_all()

        threads = [threading.Thread(target=work, args=(name,)) for name in sides]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.times


def ours(decoder, context, steps: int, takes: int = 1):
    """A side: `generate` after a context [1,K,Fc], for so many takes at once."""
    text = torch.randn(1, TEXT_TOKENS, 768, generator=torch.Generator().manual_seed(1)).expand(takes, -1, -1)
    frames = context.shape[2] + steps
    cond = Conditioning(text, torch.ones(takes, TEXT_TOKENS, dtype=torch.bool), torch.zeros(takes, frames, 2), torch.zeros(takes, frames, dtype=torch.bool))

    def side(step):
        forced = torch.full((4, steps), FREE)
        generate(decoder, cond, context.expand(takes, -1, -1), forced, SAMPLING, 0, lambda _: step())

    return side


def theirs(model, context, steps: int):
    """A side: transformers' generate after the same context, with its guidance."""
    def side(step):
        def criterion(input_ids, scores, **_):
            step()
            return torch.zeros(len(input_ids), dtype=torch.bool)

        columns = torch.cat([torch.full((4, 1), 2048), context[0]], dim=1)
        model.generate(input_ids=torch.ones(1, TEXT_TOKENS, dtype=torch.long), attention_mask=torch.ones(1, TEXT_TOKENS, dtype=torch.long),
                       decoder_input_ids=columns, do_sample=True, top_k=250, guidance_scale=3.0, max_new_tokens=steps,
                       stopping_criteria=[criterion])

    return side


def bandwidth_gb_s() -> float:
    """How fast this thread reads memory: the best of some sums over 400 MB, per CPU second."""
    data = torch.ones(100_000_000)
    best = 0.0
    for _ in range(5):
        began = time.thread_time()
        data.sum()
        best = max(best, 0.4 / (time.thread_time() - began))
    return best


def read_bytes(layers: int, bytes_each: int, columns: int) -> int:
    """What a step has to read: all weights of blocks and heads, and both rows' keys and values of the columns before."""
    width, ffn = SMALL["hidden_size"], SMALL["ffn_dim"]
    weights = layers * (6 * width * width + 2 * width * ffn) + SMALL["num_codebooks"] * SMALL["vocab_size"] * width
    return weights * bytes_each + 2 * layers * 2 * width * 4 * columns


def median_ms(times: list[float]) -> float:
    """Of all steps but the first of each turn; the first turn's reads what was before."""
    return 1000 * statistics.median(seconds for i, seconds in enumerate(times) if i % TURN)


def mean_over(columns: list[int], costs: list[float]) -> float:
    """The mean cost of a step of a piece from column 0 to the last: the trapezoid rule, the first cost holding down to 0."""
    x, y = [0, *columns], [costs[0], *costs]
    return sum((b - a) * (u + v) / 2 for a, b, u, v in zip(x, x[1:], y, y[1:])) / x[-1]


def int8_error(exact, rounded, context) -> dict:
    """Logits of both after the same columns."""
    text = torch.randn(1, TEXT_TOKENS, 768, generator=torch.Generator().manual_seed(1))
    cond = Conditioning(text, torch.ones(1, TEXT_TOKENS, dtype=torch.bool), torch.zeros(1, 40, 2), torch.zeros(1, 40, dtype=torch.bool))
    with torch.inference_mode():
        a, b = (decoder.logits(decoder.hidden(context[:, :, :40], decoder.memory(cond))) for decoder in (exact, rounded))
    return {"largest": float((a - b).abs().max()), "relative": float((a - b).std() / a.std()), "same best token": float((a.argmax(-1) == b.argmax(-1)).float().mean()),
            "total variation": float((a.softmax(-1) - b.softmax(-1)).abs().sum(-1).mean() / 2)}


def same_as_naive(decoder, frames: int = 6) -> bool:
    text = torch.randn(1, TEXT_TOKENS, 768, generator=torch.Generator().manual_seed(1))
    cond = Conditioning(text, torch.ones(1, TEXT_TOKENS, dtype=torch.bool), torch.zeros(1, frames, 2), torch.zeros(1, frames, dtype=torch.bool))
    arguments = decoder, cond, torch.zeros(1, 4, 0, dtype=torch.long), torch.full((4, frames), FREE), SAMPLING, 0
    return torch.equal(generate(*arguments), generate_naive(*arguments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--columns", type=int, nargs="+", default=[125, 250], help="lengths at which steps are timed; 250 is 5 s, 1500 is 30 s")
    parser.add_argument("--steps", type=int, default=12, help=f"a side takes at each length, in turns of {TURN}")
    parser.add_argument("--layers", type=int, default=SMALL["num_hidden_layers"])
    parser.add_argument("--takes", type=int, default=4)
    args = parser.parse_args()
    if args.steps < 2:
        parser.error("--steps has to be 2 or more: the first step of a turn is not counted.")
    torch.set_num_threads(1)
    model = make_reference(args.layers)
    source = model.config.to_dict(), model.state_dict()
    config, weights = import_musicgen(source)
    halves = {name: x.half().float() for name, x in source[1].items()}
    decoders = {"float32": build_decoder(config, weights, packed=True),
                "float32, float16 numbers": build_decoder(*import_musicgen((source[0], halves)), packed=True),
                "int8": build_decoder(config, weights, dtype=torch.int8)}
    del halves
    gc.collect()
    bytes_each = {"float32": 4, "float32, float16 numbers": 2, "int8": 1}
    codes = torch.randint(2048, (1, 4, max(args.columns)), generator=torch.Generator().manual_seed(2))
    costs = {name: [] for name in ("transformers", *decoders)}
    gb_s = bandwidth_gb_s()
    for columns in args.columns:
        context = codes[:, :, :columns]
        sides = {"transformers": theirs(model, context, args.steps)}
        sides |= {name: ours(decoder, context, args.steps) for name, decoder in decoders.items()}
        times = Turns(sides).run(sides)
        for name in sides:
            costs[name].append(median_ms(times[name]))
        print(f"# at {columns} columns, ms a step: " + ", ".join(f"{name} {costs[name][-1]:.0f}" for name in sides), flush=True)
    context, together = codes[:, :, :args.columns[0]], {}
    for name in ("float32", "int8"):
        sides = {str(takes): ours(decoders[name], context, args.steps, takes) for takes in (1, args.takes)}
        times = Turns(sides).run(sides)
        one, many = (median_ms(times[str(takes)]) for takes in (1, args.takes))
        together[name] = one * args.takes / many
        print(f"# {args.takes} takes in one pass, {name}: {together[name]:.2f} x less a take", flush=True)

    print(f"\n{machine()}; torch {torch.__version__}, {args.layers} layers, {args.steps} steps at {args.columns} columns, reading {gb_s:.1f} GB/s\n")
    print(f"| | ms a step, CPU time, over {args.columns[-1] / FRAME_RATE_HZ:g} s | steps/s | real time | x transformers | of the bandwidth floor |")
    print("|---|---|---|---|---|---|")
    base = mean_over(args.columns, costs["transformers"])
    for name, own in costs.items():
        mean = mean_over(args.columns, own)
        floor = "" if name == "transformers" else f"{read_bytes(args.layers, bytes_each[name], args.columns[-1] // 2) / gb_s / 1e6 / mean:.0%}"
        print(f"| {name} | {mean:.0f} | {1000 / mean:.1f} | {1000 / mean / FRAME_RATE_HZ:.2f} | {base / mean:.2f} | {floor} |")
    print(f"\nfloat32 draws the tokens of the naive twin: {'yes' if same_as_naive(decoders['float32']) else 'NO'}")
    print("int8 against float32, logits: " + ", ".join(f"{name} {value:.3g}" for name, value in int8_error(decoders["float32"], decoders["int8"], codes).items()))
    print(json.dumps({"columns": args.columns, "ms": costs, "takes": together}))


if __name__ == "__main__":
    main()
