"""What the OSC receiver stands: messages a second from a sender in C, latency from packet to curve, idle CPU, fuzzed packets.

    python -m bench.osc [--rate 20000] [--seconds 10] [--packets 1000000] [--repeats 3]
"""

import argparse
import logging
import random
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from lara_core.osc.protocol import encode
from lara_core.osc.receiver import Receiver
from lara_core.osc.recorder import Recorder

SEEDS = [encode("/lara/valence", 0.5), encode("/lara/va", 0.5, -0.5), encode("/lara/prompt", "solo piano"), encode("/lara/play", True),
         encode("/lara/position", 12.5), encode("/lara/seed", 7), encode("/lara/segment/redo", 3), encode("/1/xy", 0.2, 0.9, [1, ["a", 2.0]])]
SEEDS.append(b"#bundle\0" + bytes(8) + b"".join(len(one).to_bytes(4, "big") + one for one in SEEDS))


def build_sender(folder: Path) -> Path:
    sender = folder / "osc_sender"
    subprocess.run(["cc", "-O2", "-o", sender, Path(__file__).with_name("osc_sender.c")], check=True)
    return sender


def flood(sender: Path, rate: int, seconds: int, folder: Path) -> dict:
    """One run of the sender -> what arrived."""
    count = rate * seconds
    with Receiver(0, feedback=()) as receiver:
        recorder, heard, jumps = Recorder(receiver), [], []

        def hear(name, values, now):
            if name == "affect":
                heard.append((values[0], time.monotonic()))
            elif name == "jump":
                jumps.append(now)

        receiver.listeners.append(hear)
        receiver.handle(encode("/lara/tempo", 120.0), time.monotonic())
        receiver.handle(encode("/lara/play", True), time.monotonic())
        cpu = time.process_time()
        subprocess.run([sender, str(receiver.port), str(rate), str(seconds), folder / "sent"], check=True)
        time.sleep(0.5)
        cpu = time.process_time() - cpu
        curve = recorder.curve()
        recorder.close()
    sent, wanted = np.fromfile(folder / "sent"), np.linspace(-1, 1, count).astype(np.float32)
    values, arrived = np.array(heard).T
    found = np.searchsorted(wanted, values.astype(np.float32))
    lost = count - len(np.unique(found))
    exact = lost == 0 and np.array_equal(values.astype(np.float32), wanted)
    latency = (arrived - sent[np.minimum(found, count - 1)]) * 1000
    beats = (sent - sent[0]) * 2
    settled = beats > 0.1  # before it, the valence was 0
    error = np.abs(curve.at(beats, tempo=60.0)[:, 0] - wanted)[settled].max()
    return {"sent": count, "lost": lost, "exact": exact, "jumps": len(jumps), "median_ms": np.median(latency), "p99_ms": np.percentile(latency, 99),
            "curve_error": error, "points": len(curve.points), "cpu": cpu / seconds}


def mutated(rng: random.Random) -> bytes:
    """A packet that was right, damaged in one of the ways networks and programs damage them; or noise; or right."""
    packet, kind = bytearray(rng.choice(SEEDS)), rng.randrange(7)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 200))
    if kind == 1:
        del packet[rng.randrange(len(packet)):]
    elif kind == 2:
        at = rng.randrange(0, len(packet), 4)
        packet[at:at + 4] = rng.choice([b"\xff\xff\xff\xfc", b"\x7f\xff\xff\xff", bytes(4), rng.randbytes(4)])
    elif kind == 3:
        for _ in range(rng.randrange(1, 9)):
            packet[rng.randrange(len(packet))] = rng.randrange(256)
    elif kind == 4:
        at = rng.randrange(len(packet) + 1)
        packet[at:at] = rng.choice([b"*" * 30, b"#bundle\0", b",[[[[[[[[[[", rng.randbytes(rng.randrange(1, 40))])
    elif kind == 5:
        for _ in range(rng.randrange(1, 12)):
            packet = bytearray(b"#bundle\0" + rng.randbytes(8) + len(packet).to_bytes(4, "big") + packet)
    return bytes(packet)


class Lines(logging.Handler):
    """Counts the lines of the log."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, record):
        self.count += 1


def fuzz(packets: int, seed: int) -> dict:
    """Mutated packets straight into the receiver, and one in a hundred through the socket -> what became of them."""
    rng, slowest, lines = random.Random(seed), 0.0, Lines()
    logger = logging.getLogger("lara_core.osc.receiver")
    logger.addHandler(lines)
    logger.propagate = False
    try:
        with Receiver(0, feedback=()) as receiver:
            recorder = Recorder(receiver)
            start = time.perf_counter()
            for _ in range(packets):
                packet = mutated(rng)
                before = time.perf_counter()
                receiver.handle(packet, time.monotonic())
                slowest = max(slowest, time.perf_counter() - before)
            took = time.perf_counter() - start
            receiver._socket.sendto(encode("/lara/va", 0.25, -0.75), ("127.0.0.1", receiver.port))
            deadline = time.monotonic() + 2
            while receiver.arousal != -0.75 and time.monotonic() < deadline:
                time.sleep(0.01)
            good = (receiver.valence, receiver.arousal) == (0.25, -0.75) and all(thread.is_alive() for thread in receiver._threads)
            recorder.close()
            return {"packets": packets, "refused": receiver.refused, "slowest_ms": slowest * 1000, "log_lines": lines.count,
                    "seconds": took, "next_good_message_works": good}
    finally:
        logger.removeHandler(lines)
        logger.propagate = True


def idle(seconds: float) -> float:
    """CPU share of a receiver with a recorder that hears nothing."""
    with Receiver(0) as receiver:
        recorder = Recorder(receiver)
        cpu, start = time.process_time(), time.perf_counter()
        threading.Event().wait(seconds)
        share = (time.process_time() - cpu) / (time.perf_counter() - start)
        recorder.close()
        return share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("rate", 20_000), ("seconds", 10), ("packets", 1_000_000), ("repeats", 3), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    print(f"idle CPU {100 * idle(10):.2f} % over 10 s")
    with tempfile.TemporaryDirectory() as folder:
        sender = build_sender(Path(folder))
        for _ in range(args.repeats):
            print("flood", {name: round(float(value), 5) for name, value in flood(sender, args.rate, args.seconds, Path(folder)).items()}, flush=True)
    print("fuzz", fuzz(args.packets, args.seed))


if __name__ == "__main__":
    main()
