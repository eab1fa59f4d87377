"""A session with a DAW runs until it is stopped (Ctrl-C), and leaves a folder of segments and a curve. Options go in."""

import argparse
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..affect import Curve
from ..codec.score import METRES
from .discovery import announced
from .link import linked
from .mapping import EMOTIONS, Learner, Mapping, load_mappings, read_mapping, save_mappings
from .output import check_free
from .receiver import EVERY_ADDRESS, FEEDBACK_PORT, LOOPBACK, PORT, Receiver
from .recorder import Recorder

STEP_SECONDS = 0.01
LEARN_SECONDS = 60.0
RESTLESS_SECONDS = 1.0  # before a control is to be moved: what moves by itself then is none
CURVE_FILE, MAP_FILE = "curve.json", "map.json"


def add_arguments(parser: argparse.ArgumentParser, pitch_class: Callable[[str], int], seed: Callable[[str], int]) -> None:
    """pitch_class, seed: read --key and --seed."""
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="segments, live.wav, curve.json; made where it is missing")
    add("--prompt", default="cinematic orchestra with piano", metavar="TEXT", help="what to play, in words; /lara/prompt changes it")
    add("--record-only", action="store_true", help="no music: only record the curve")
    add("--play", action="store_true", help="play on a sound device (needs sounddevice)")
    add("--device", metavar="NAME", help="which sound device")
    add("--minutes", type=float, metavar="M", help="end by itself; without it Ctrl-C ends")
    group = parser.add_argument_group("emotion")
    group.add_argument("--curve", type=Path, metavar="FILE.json", help="an earlier curve in beats: it is read ahead where the DAW plays it again, and "
                       "recorded over only while /lara/record is on")
    group.add_argument("--map", action="append", default=[], metavar="ADDRESS=NAME:LOW..HIGH|FILE.json",
                       help="hear another address, for example /1/fader1=arousal:0..1; or all that a file holds")
    group.add_argument("--learn", nargs="+", default=[], choices=EMOTIONS, metavar="NAME",
                       help=f"move a control to map it to valence, arousal or va; kept in FOLDER/{MAP_FILE}")
    group.add_argument("--ableton", action="store_true", help="read macros and transport of Ableton Live through AbletonOSC")
    group = parser.add_argument_group("music")
    group.add_argument("--metre", default="4/4", choices=METRES)
    group.add_argument("--key", type=pitch_class, metavar="C..B", help="tonic")
    group.add_argument("--seed", type=seed, default=0, metavar="N")
    group.add_argument("--model", metavar="NAME|PATH", help="see `lara models`; without it the embedded model")
    group.add_argument("--soundfont", type=Path, metavar="SF2")
    group = parser.add_argument_group("network")
    group.add_argument("--port", type=int, default=PORT, help=f"to listen on (default {PORT})")
    group.add_argument("--lan", action="store_true", help="hear the network too, not this machine only; announced there where the package zeroconf is installed")
    group.add_argument("--allow", nargs="+", default=[], metavar="ADDRESS", help="with --lan: of the network hear only these, for example 192.168.1.0/24")
    group.add_argument("--link", action="store_true", help="follow the tempo, beats and start/stop of the Ableton Link session in the network (needs aalink)")
    group.add_argument("--feedback", action="append", metavar="HOST:PORT", help=f"where answers go (default {LOOPBACK}:{FEEDBACK_PORT})")


def main(args: argparse.Namespace) -> None:
    """Run what add_arguments describes. Raises ValueError or OSError in one sentence."""
    if args.minutes is not None and not 0 < args.minutes <= 1440:
        raise ValueError(f"--minutes is {args.minutes:g}; give more than 0 and at most 1440")
    if not args.prompt.strip():
        raise ValueError("the prompt is empty; say in words what to play")
    if args.allow and not args.lan:
        raise ValueError("--allow chooses among the addresses of the network, which is heard with --lan; give both, or neither")
    if args.link and args.ableton:
        raise ValueError("--link and --ableton both tell where the song is; give --ableton for Live, --link for everything else")
    if not args.record_only:
        from ..choices import EMBEDDED
        from ..pipeline import find_model

        args.model = find_model(args.model or EMBEDDED)
    mappings = [mapping for text in args.map for mapping in (load_mappings(text) if text.endswith(".json") else [read_mapping(text)])]
    curve = None if args.curve is None else Curve.load(args.curve)
    feedback = [_target(text) for text in args.feedback] if args.feedback else [(LOOPBACK, FEEDBACK_PORT)]
    args.output.mkdir(parents=True, exist_ok=True)
    kept = args.output / CURVE_FILE
    has_curve = curve is None and kept.exists()
    if not args.record_only:
        check_free(args.output)
        if has_curve:
            raise ValueError(f"{args.output} holds a recorded curve; give it with --curve, or choose another folder")
    elif has_curve:
        curve = Curve.load(kept)  # a further pass is punched in
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(Receiver(args.port, EVERY_ADDRESS if args.lan else LOOPBACK, args.allow, feedback, mappings))
        if args.lan and (name := stack.enter_context(announced(receiver.port))):
            print(f"Surfaces find this in the network as {name!r}.", flush=True)
        if args.learn:
            _learn(receiver, args.learn, mappings, args.output / MAP_FILE)
        if args.ableton:
            from .ableton import AbletonLive

            live = AbletonLive(receiver)
            stack.callback(live.close)
        if args.link:
            others = stack.enter_context(linked(receiver, METRES[args.metre][0] // 4))
            print(f"In the Link session with {others} other{'s' * (others != 1)}." if others else
                  "Nobody else is in a Link session here yet; switch Link on in the other program.", flush=True)
        recorder = Recorder(receiver, kept, curve, armed=args.curve is None)
        stack.callback(recorder.close)
        conductor = None if args.record_only else _conductor(args, receiver, recorder, stack)
        _run(receiver, recorder, conductor, args.minutes)


def _target(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--feedback is {text[:60]!r}; give HOST:PORT, for example 192.168.1.20:9000")
    return host, int(port)


def _learn(receiver: Receiver, names: list[str], mappings: list[Mapping], path: Path) -> None:
    for name in names:
        learner = Learner(name)
        receiver.on_stranger = learner.hear
        learner.leave_out(RESTLESS_SECONDS)
        print(f"Move the control for {name} slowly from end to end (heard on port {receiver.port}) ...", flush=True)
        mapping = learner.wait(LEARN_SECONDS)
        receiver.on_stranger = None
        receiver.add_mapping(mapping)
        mappings.append(mapping)
        print(f"{name}: {mapping.address} from {mapping.low:g} to {mapping.high:g}", flush=True)
    save_mappings(path, mappings)


def _conductor(args: argparse.Namespace, receiver: Receiver, recorder: Recorder, stack: contextlib.ExitStack) -> "Conductor":
    from ..codec import Request
    from ..pipeline import Lara
    from ..text import check_prompt
    from .live import Conductor
    from .maker import LiveEmotion, Maker
    from .output import SegmentFolder, SoundQueue, open_device

    prompt = check_prompt(args.prompt)
    lara = Lara.load(args.model, soundfont=args.soundfont)
    maker = Maker(lara, LiveEmotion(recorder, receiver.clock), prompt, Request(1.0, metre=args.metre, tonic=args.key, seed=args.seed))
    queue = None
    if args.play:
        queue = SoundQueue(maker.sample_rate_hz, maker.channels)
        stream = open_device(queue, args.device)
        stack.callback(stream.close)
    folder = stack.enter_context(SegmentFolder(args.output, maker.sample_rate_hz, maker.channels))
    pool = ThreadPoolExecutor(1, "lara-maker")
    stack.callback(pool.shutdown)
    conductor = Conductor(receiver, maker, pool, folder, queue, receiver.clock)
    stack.callback(conductor.close)
    return conductor


def _run(receiver: Receiver, recorder: Recorder, conductor, minutes: float | None) -> None:
    from .monitor import Monitor, lines

    monitor, end = Monitor(), None if minutes is None else time.monotonic() + 60 * minutes
    print(f"Listening on {receiver.host} port {receiver.port}; see docs/osc.md for the DAW's side. Ctrl-C ends.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # the usual end
        while end is None or time.monotonic() < end:
            if conductor is not None:
                conductor.step(receiver.clock())
            monitor.draw(lambda: lines(receiver, recorder, conductor, receiver.clock()))
            time.sleep(STEP_SECONDS)
