"""The live session in real time: a simulated DAW plays over a real socket, arousal jumps, a sound device's queue is read.

    python -m bench.live [--minutes 10] [--seed 1]

Says how many bars were late, whether the sound had gaps, whether every segment has its length to the sample, how long after a jump
of arousal the first bar begins that was made with it (in bars), and how many times faster than real time bars are made.
"""

import argparse
import os
import random
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import torch

from bench.simulated_daw import SimulatedDaw
from lara_core.affect import Curve
from lara_core.codec import Request
from lara_core.osc.live import Conductor
from lara_core.osc.maker import LiveEmotion, Maker
from lara_core.osc.output import SegmentFolder, SoundQueue
from lara_core.osc.receiver import Receiver
from lara_core.osc.recorder import Recorder
from lara_core.pipeline import Lara

TEMPI = (90, 118, 140, 104, 132)
BLOCK_SECONDS = 0.01


def jumping(rng: random.Random, beats: float) -> tuple[Curve, list[float]]:
    """Arousal that jumps between -0.8 and 0.8 every four to eight bars -> the curve, and where it jumps."""
    points, jumps, at, value = [(0.0, 0.0, -0.8)], [], 0.0, -0.8
    while True:
        at += rng.uniform(16, 32)
        if at > beats:
            return Curve(tuple(points), "beats"), jumps
        points += [(at, 0.0, value), (at + 1e-3, 0.0, -value)]
        value = -value
        jumps.append(at)


def latencies(delivered, jumps: list[float], first_value: float = -0.8) -> list[float]:
    """Beats from each jump to the line of the first bar that was made with the new value."""
    found, value = [], first_value
    for at in jumps:
        value = -value
        later = [bar.bar * 4 - at for bar in delivered if bar.bar * 4 > at and np.sign(bar.arousal) == np.sign(value) and abs(bar.arousal) > 0.7]
        if later:
            found.append(later[0])
    return found


def cpu_seconds(lara: Lara) -> float:
    """CPU time of this process and of its synthesizers so far; without the latter where there is no /proc."""
    ticks = 0
    for synthesizer in (lara.codec.synthesizer, lara.codec.second_synthesizer):
        stat = Path(f"/proc/{synthesizer._child.pid}/stat") if synthesizer._child is not None else Path("/none")
        if stat.is_file():
            ticks += sum(map(int, stat.read_text().rsplit(")", 1)[1].split()[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng, lara, seconds = random.Random(args.seed), Lara.load(), args.minutes * 60
    automation, jumps = jumping(rng, 140 / 60 * seconds)
    steps = [(n * 160.0, tempo) for n, tempo in enumerate(TEMPI * 10)]
    with tempfile.TemporaryDirectory() as folder, Receiver(0, feedback=()) as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        recorder = Recorder(receiver, Path(folder) / "curve.json")
        maker = Maker(lara, LiveEmotion(recorder, receiver.clock), "cinematic orchestra with piano", Request(1.0, seed=args.seed))
        queue, stop, heard = SoundQueue(maker.sample_rate_hz, maker.channels), threading.Event(), [0, 0]
        daw = SimulatedDaw(lambda packet, _seconds: sender.sendto(packet, ("127.0.0.1", receiver.port)), automation, steps, seed=args.seed)
        begin = time.monotonic()

        def act() -> None:
            daw.play()
            while not stop.wait(0.005):
                daw.advance(time.monotonic() - begin)

        def listen() -> None:  # as a sound device would
            block = round(BLOCK_SECONDS * maker.sample_rate_hz)
            while not stop.wait(max(begin + heard[0] * BLOCK_SECONDS - time.monotonic(), 0)):
                heard[0] += 1
                heard[1] += bool(np.abs(queue.read(block)).max() > 0)

        with SegmentFolder(Path(folder), maker.sample_rate_hz, maker.channels) as files, ThreadPoolExecutor(1) as pool:
            conductor = Conductor(receiver, maker, pool, files, queue, receiver.clock)
            threads = [threading.Thread(target=target) for target in (act, listen)]
            cpu = cpu_seconds(lara)
            for thread in threads:
                thread.start()
            while time.monotonic() - begin < seconds:
                conductor.step(receiver.clock())
                time.sleep(0.01)
            stop.set()
            for thread in threads:
                thread.join()
            cpu, gaps = cpu_seconds(lara) - cpu, queue.gaps
            conductor.close()
        recorder.close()
        files_exact = all(soundfile.info(Path(folder) / record["file"]).frames == bar.samples for record, bar in zip(files.records, conductor.delivered))
        made = [bar for bar in conductor.delivered if not bar.repeated]
        ends = np.cumsum([0.0] + [240 / bar.tempo_bpm for bar in made]) * maker.sample_rate_hz
        exact = all(abs(bar.samples - length) <= 1 for bar, length in zip(made, np.diff(np.rint(ends))))
        whole = soundfile.info(Path(folder) / "live.wav").frames == sum(bar.samples for bar in conductor.delivered)
    lag = np.array(latencies(conductor.delivered, jumps)) / 4
    margin = np.array([240 / bar.tempo_bpm / bar.made_seconds for bar in made])
    following = all(b.bar == a.bar + 1 for a, b in zip(conductor.delivered, conductor.delivered[1:]))
    print(f"{args.minutes:g} min, {len(conductor.delivered)} bars at {min(TEMPI)} to {max(TEMPI)} BPM, {conductor.late} late, {gaps} gaps in the sound, "
          f"bars follow each other: {following}, lengths exact: {exact and files_exact and whole}")
    print(f"jump of arousal to the bar line where it is heard: median {np.median(lag):.2f}, worst {lag.max():.2f} bars (n={len(lag)})")
    print(f"faster than real time: median {np.median(margin):.1f}, 5 % {np.percentile(margin, 5):.1f}, worst {margin.min():.1f} (n={len(margin)}); "
          f"CPU of all its processes {cpu / seconds:.2f} of a core, so a free core makes {seconds / cpu:.1f} s of it a second")


if __name__ == "__main__":
    main()
