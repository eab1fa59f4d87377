"""The synthesizer's own process: the same samples, errors as sentences, an end with its parent, and work that goes on without it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lara_core.codec.soundfont import SoundFont, find_soundfont
from lara_core.codec.synth import Channel, PlayedNote, Synthesizer
from lara_core.codec.synth_process import SynthProcess

NOTES = [PlayedNote(0.1 * i, 0.3, i % 2, 60 + i, 90) for i in range(8)] + [PlayedNote(0.4, 0.1, 9, 38, 100)]
CHANNELS = {0: Channel(0), 1: Channel(48, pan=30, chorus=20), 9: Channel(0)}
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def font():
    return SoundFont.load(find_soundfont())


@pytest.fixture(scope="module")
def here(font):
    return Synthesizer(font).render(NOTES, CHANNELS, 1.0, 12_345, 2.0)


def test_the_samples_are_those_of_a_synthesizer_in_this_process(font, here):
    there = SynthProcess(font)
    assert np.array_equal(there.render(NOTES, CHANNELS, 1.0, 12_345, 2.0), here)
    assert there.render([], {}, 0.5).shape == (2, 22_050)


def test_a_refused_request_says_why_and_the_next_one_is_served(font, here):
    there = SynthProcess(font)
    with pytest.raises(ValueError, match="channel 0, which has no Channel settings"):
        there.render(NOTES[:1], {}, 1.0)
    assert np.array_equal(there.render(NOTES, CHANNELS, 1.0, 12_345, 2.0), here)


def test_this_process_goes_on_while_the_other_one_renders(font):
    """The renderer holds the interpreter lock of its process; a thread here must still get its turns."""
    from threading import Thread

    there = SynthProcess(font)
    there.render(NOTES, CHANNELS, 0.1)  # it has started
    thread = Thread(target=there.render, args=(NOTES, CHANNELS, 60.0), kwargs={"tail_seconds": 100.0})
    thread.start()
    longest, last = 0.0, time.perf_counter()
    while thread.is_alive():
        time.sleep(0.001)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    begun = time.perf_counter()
    Synthesizer(font).render(NOTES, CHANNELS, 60.0, tail_seconds=100.0)
    assert longest < 0.5 * (time.perf_counter() - begun)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_it_alone_and_its_death_is_survived(font, here, caplog):
    there = SynthProcess(font)
    there.render([], {}, 0.1)
    there._child.send_signal(signal.SIGINT)
    assert np.array_equal(there.render(NOTES, CHANNELS, 1.0, 12_345, 2.0), here) and not caplog.records
    there._child.kill()
    there._child.wait()
    assert np.array_equal(there.render(NOTES, CHANNELS, 1.0, 12_345, 2.0), here)
    assert "has ended" in caplog.text


def test_without_a_python_to_start_the_work_is_done_here(font, here, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", str(ROOT / "no_such_python"))
    assert np.array_equal(SynthProcess(font).render(NOTES, CHANNELS, 1.0, 12_345, 2.0), here)
    assert "no process of its own" in caplog.text


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_it_ends_when_its_parent_is_killed():
    code = ("import time; from lara_core.codec.score_codec import ScoreCodec; c = ScoreCodec(); c.synthesizer.render([], {}, 0.1);"
            "print(c.synthesizer._child.pid, flush=True); time.sleep(60)")
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the synthesizer's process outlived its parent by five seconds")
