"""The command `generate`: options go in; a WAV with its MIDI, JSON and picture comes out for every take.

Everything that can be wrong is looked at before a model is loaded.
"""

import argparse
import dataclasses
import logging
import time
from pathlib import Path

from .choices import EMBEDDED, MAX_CANDIDATES, PRECISIONS
from .options import add_emotion, asked_curve, device_of, limit_threads, pitch_class, progress, tempo, whole
from .piece import BESIDE, MAX_SEED, Piece, write_take

MAX_TAKES = 99
SAMPLING_OPTIONS = ("text_strength", "emotion_strength", "temperature", "top_p", "top_k")
FIXED_WHEN_REDONE = ("seconds", "tempo", "metre", "key", "seed")

log = logging.getLogger(__name__)


def add_arguments(sub: argparse.ArgumentParser) -> None:
    number = {"type": float, "metavar": "X"}
    add = sub.add_argument
    add("--prompt", metavar="TEXT", help="what to play, in words")
    add("--seconds", type=float, metavar="S", help="exact length")
    add("-o", "--output", type=Path, required=True, metavar="OUT.wav", help="OUT.mid, OUT.json and OUT.png come beside it")
    add_emotion(sub, "one of these; without any the model chooses")
    group = sub.add_argument_group("music")
    group.add_argument("--tempo", type=tempo, metavar="BPM|FILE",
                       help="exact tempo in quarter notes a minute, or the tempo map of an .als, .mid or .rpp")
    group.add_argument("--metre", help="4/4 (default), 3/4, 6/8, 2/4 or 5/4")
    group.add_argument("--key", type=pitch_class, metavar="C..B", help="tonic")
    group.add_argument("--seed", type=whole(0, MAX_SEED), metavar="N", help="the same seed makes the same piece")
    group.add_argument("--takes", type=whole(1, MAX_TAKES), default=1, metavar="N", help="OUT-1.wav, OUT-2.wav ... with seeds N, N+1 ...")
    group.add_argument("--candidates", type=whole(1, MAX_CANDIDATES), default=0, metavar="N",
                       help="tries for each segment, of which the nearest to the curve is kept: the embedded model judges them by their notes (default 4). "
                            "For a MusicGen checkpoint, which has no emotion encoder: words+takes, emotion words in the prompt and the best "
                            "try by the predictor (not LARA)")
    group.add_argument("--no-score", action="store_true", help="do not measure what was made")
    group = sub.add_argument_group("model")
    group.add_argument("--model", metavar="NAME|PATH", help="see `lara models`, or a hub id such as facebook/musicgen-small; without it the embedded model")
    group.add_argument("--soundfont", type=Path, metavar="SF2")
    group.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu")
    group.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the decoder; int8 on the CPU, where it is quickest for large models")
    for name in SAMPLING_OPTIONS[:-1]:
        group.add_argument("--" + name.replace("_", "-"), **number)
    group.add_argument("--top-k", type=int, metavar="K")
    group = sub.add_argument_group("an earlier piece", "what is not given comes from its JSON")
    group.add_argument("--redo", type=Path, metavar="PIECE.json", help="make this piece again")
    group.add_argument("--from-segment", type=whole(0, 10 ** 6), metavar="I", help="keep the segments before I as they are")
    group.add_argument("--segment-seed", type=whole(0, MAX_SEED), metavar="N", help="another seed for segment I")


# ---- what is wanted -----------------------------------------------------------------------------------------------


def asked_request(args: argparse.Namespace, earlier: Piece | None) -> "Request":
    from .codec import Request
    from .codec.score import METRES

    if args.metre is not None and args.metre not in METRES:
        raise ValueError(f"the metre is {args.metre[:60]!r}; use one of {', '.join(METRES)}")
    wanted = {"seconds": args.seconds, "tempo": args.tempo, "metre": args.metre, "tonic": args.key, "seed": args.seed}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    if earlier is not None:
        return dataclasses.replace(earlier.request, **wanted)
    return Request(**({"seed": time.time_ns() % 2 ** 31} | wanted))  # nobody asked for a seed: a new piece every time


def asked_sampling(args: argparse.Namespace, earlier: Piece | None) -> "Sampling":
    from .sampling import Sampling

    wanted = {} if earlier is None else dict(earlier.sampling)
    wanted |= {name: getattr(args, name) for name in SAMPLING_OPTIONS if getattr(args, name) is not None}
    try:
        return Sampling(**wanted)
    except TypeError as error:  # only a record can hold other names, or words for numbers
        raise ValueError(f"the sampling in {args.redo} cannot be read ({error}); give the .json file as it was written") from error


def check_redo(args: argparse.Namespace, earlier: Piece | None) -> None:
    """Raise ValueError unless the options fit what is made: a new piece, an earlier one, or an earlier one from a segment on."""
    if earlier is None:
        for name in ("prompt", "seconds"):
            if getattr(args, name) is None:
                raise ValueError(f"--{name} is missing; give --prompt TEXT and --seconds S, or an earlier piece with --redo")
        if args.from_segment is not None or args.segment_seed is not None:
            raise ValueError("--from-segment and --segment-seed need an earlier piece; give its JSON with --redo")
        return
    start = args.from_segment or 0
    if start >= len(earlier.segments):
        raise ValueError(f"--from-segment is {start}; {args.redo} has segments 0 to {len(earlier.segments) - 1}")
    changed = [name for name in FIXED_WHEN_REDONE if getattr(args, name) is not None]
    if start and changed:
        advice = "use --segment-seed" if changed == ["seed"] else "leave it out, or make the whole piece anew"
        raise ValueError(f"--{changed[0]} would change the segments that --from-segment {start} keeps; {advice}")


def output_files(args: argparse.Namespace) -> list[Path]:
    """The WAV of every take; raises ValueError where one, or a file beside it, could not be written."""
    from .audio import check_output_path

    wav = check_output_path(args.output)
    takes = [wav] if args.takes == 1 else [wav.with_name(f"{wav.stem}-{n}{wav.suffix}") for n in range(1, args.takes + 1)]
    for take in takes:
        for path in (take, *(take.with_suffix(suffix) for suffix in BESIDE)):
            check_output_path(path, (".wav", *BESIDE))
            if args.curve is not None and path.resolve() == args.curve.resolve():
                raise ValueError(f"the output {path} would replace the curve that is read; choose another name")
    return takes


def seeds_of_take(number: int, args: argparse.Namespace, request: "Request", earlier: Piece | None) -> tuple["Request", dict[int, int]]:
    """Take number 0, 1, ... -> its request, and the seeds of single segments.

    A new piece counts its seed up. An earlier one keeps the seed of every segment, and counts up that of the first segment
    that is made again.
    """
    if earlier is None or args.seed is not None:
        seeds = {} if args.segment_seed is None else {0: args.segment_seed}
        return dataclasses.replace(request, seed=request.seed + number), seeds
    start = args.from_segment or 0
    seeds = {index: segment["seed"] for index, segment in enumerate(earlier.segments)}  # of those that are kept too, for the record
    first = seeds[start] if args.segment_seed is None else args.segment_seed
    return request, seeds | {start: first + number}


# ---- how it is made -----------------------------------------------------------------------------------------------


def generate(args: argparse.Namespace) -> None:
    outputs = output_files(args)
    earlier = None if args.redo is None else Piece.read(args.redo)
    check_redo(args, earlier)
    curve, request, prompt = asked_curve(args), asked_request(args, earlier), args.prompt
    if prompt is not None and not prompt.strip():
        raise ValueError("the prompt is empty; say in words what to play")
    if earlier is not None:
        curve = earlier.curve if curve is None else curve
        prompt = earlier.prompt if prompt is None else prompt
    candidates = args.candidates or (earlier.candidates if earlier is not None else 0)
    if args.candidates and curve is None:
        raise ValueError("--candidates needs an emotion to choose by; give one with --curve, --preset, --emotion, --valence or --arousal")

    limit_threads()
    import torch

    from . import report
    from .pipeline import Lara, find_model
    from .take import unpack_codes
    from .text import check_prompt

    sampling, prompt = asked_sampling(args, earlier), check_prompt(prompt)
    kept = [unpack_codes(segment["codes"]) for segment in earlier.segments[:args.from_segment or 0]] if earlier else []
    begin = None if earlier is None or earlier.begin is None else unpack_codes(earlier.begin)
    model = find_model(args.model or (earlier.model["name"] if earlier else EMBEDDED))
    lara = Lara.load(model, device_of(args.device), args.soundfont, dtype=getattr(torch, args.precision))
    if earlier is not None:
        _check_same(lara, earlier, kept if begin is None else [*kept, begin])

    scores = []
    requests, seeds = zip(*(seeds_of_take(number, args, request, earlier) for number in range(len(outputs))))
    together, sampling_seconds = [], 0.0
    if len(outputs) > 1 and lara.has_steady_segments and not candidates:
        with progress(requests[0].seconds, f"{len(outputs)} takes") as show:
            started = time.perf_counter()
            together = lara.takes(prompt, curve, requests, sampling, kept, seeds, show, begin=begin)
            sampling_seconds = (time.perf_counter() - started) / len(outputs)
    for number, (wav, own_request) in enumerate(zip(outputs, requests)):
        with progress(own_request.seconds, wav.name) as show:
            started = time.perf_counter()
            take = together[number] if together else lara.stream(prompt, curve, own_request, sampling, kept, seeds[number], show,
                                                                 begin=begin, candidates=candidates)
            scores.append((wav.name, write_take(take, wav, scored=not args.no_score)))
            took = time.perf_counter() - started + sampling_seconds
        heard = scores[-1][1]
        print(f"{wav}: {own_request.seconds:g} s, seed {own_request.seed}, {own_request.seconds / took:.1f} x real time"
              + (f", score {heard.adherence:.2f}" if heard is not None and heard.evaluation is not None else ""))
    if not args.no_score and len(outputs) > 1:
        print(report.ranking(scores))


def _check_same(lara, earlier: Piece, kept) -> None:
    """Refuse kept codes that the model cannot read; warn where the rest will differ from the earlier piece."""
    for codes in kept:
        if codes.shape[0] != lara.codec.n_codebooks or codes.max() >= lara.codec.codebook_size:
            raise ValueError(f"the earlier piece has {codes.shape[0]} codebooks and codes up to {codes.max()}; the "
                             f"model {lara.name} has {lara.codec.n_codebooks} and codes below {lara.codec.codebook_size}: choose "
                             "the model that made it")
    if earlier.model["digest"] != lara.digest:
        log.warning("the piece was made with other weights (%s, %s); what is made anew will differ.", earlier.model["name"], earlier.model["digest"])
    font = getattr(lara.codec, "soundfont", None)
    if earlier.soundfont is not None and font is not None and earlier.soundfont.get("digest") != font.digest:
        log.warning("the piece was made with the SoundFont %s; it will sound different with %s.", earlier.soundfont.get("name"), font.name)
