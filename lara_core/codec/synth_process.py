"""A Synthesizer in a process of its own: the same notes go in and the same samples come out, while this process goes on.

The renderer keeps the interpreter lock for up to half a second a call. In a second process it stops neither the sampling of
the next segment nor whoever shares this process (ComfyUI's server, the OSC bridge). The child imports no torch, and ends when
its standard input does, whatever happens to the parent. Where no child can be had, the work is done here.

Messages are a length, a JSON object, and for an answer the float32 samples.
"""

import dataclasses
import functools
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .soundfont import SoundFont
from .synth import TAIL_SECONDS, Channel, PlayedNote, Synthesizer

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]  # of lara_core, whatever name ComfyUI gives to the package around it
_CHILD = "import sys; sys.path[0] = sys.argv[1]; from lara_core.codec.synth_process import serve; serve()"
_LENGTH = struct.Struct("<Q")


class SynthProcess:
    """Renders as `Synthesizer.render` does, in a child process; may be called from any thread, one call at a time runs."""

    def __init__(self, soundfont: SoundFont):
        self.soundfont = soundfont
        self._lock, self._child = threading.Lock(), _started(soundfont)
        if self._child is not None:
            weakref.finalize(self, _stop, self._child)

    def render(self, notes: Sequence[PlayedNote], channels: Mapping[int, Channel], seconds: float, start_sample: int = 0,
               tail_seconds: float = TAIL_SECONDS) -> np.ndarray:
        request = {"notes": [dataclasses.astuple(note) for note in notes],
                   "channels": {number: dataclasses.astuple(channel) for number, channel in channels.items()},
                   "seconds": seconds, "start_sample": start_sample, "tail_seconds": tail_seconds}
        with self._lock:
            if self._child is not None:
                try:
                    _send(self._child.stdin, request)
                    answer = _receive(self._child.stdout)
                    if "error" in answer:
                        raise ValueError(answer["error"])
                    samples = _read(self._child.stdout, 8 * answer["samples"])
                    return np.frombuffer(samples, np.float32).reshape(2, -1)
                except (OSError, EOFError):
                    log.warning("The synthesizer's process has ended; rendering goes on in this one.")
                    self._child = None
            return Synthesizer(self.soundfont).render(notes, channels, seconds, start_sample, tail_seconds)


@functools.lru_cache(maxsize=4)
def synthesizer_for(soundfont: SoundFont, number: int = 0) -> SynthProcess:
    """The processes of this program for a SoundFont: one for each number."""
    return SynthProcess(soundfont)


def _started(soundfont: SoundFont) -> subprocess.Popen | None:
    if not sys.executable:  # a program that embeds Python
        return None
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(_ROOT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, creationflags=flags)
        _send(child.stdin, {"soundfont": str(soundfont.path), "digest": soundfont.digest})
    except OSError as error:
        log.warning("The synthesizer gets no process of its own (%s); rendering will hold up everything else.", error)
        return None
    return child


def _stop(child: subprocess.Popen) -> None:
    child.stdout.close()
    try:
        child.stdin.close()
    except OSError:  # it has ended before
        pass
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def serve() -> None:
    """The child: answer until the parent's end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand among the answers
    try:
        hello = _receive(requests)
        synthesizer = Synthesizer(SoundFont.load(hello["soundfont"]))
        if synthesizer.soundfont.digest != hello["digest"]:
            return
        while True:
            _answer(synthesizer, _receive(requests), answers)
    except (EOFError, OSError):
        return


def _answer(synthesizer: Synthesizer, request: dict, answers: BinaryIO) -> None:
    try:
        notes = [PlayedNote(*note) for note in request.pop("notes")]
        channels = {int(number): Channel(*channel) for number, channel in request.pop("channels").items()}
        samples = synthesizer.render(notes, channels, **request)
    except ValueError as error:
        _send(answers, {"error": str(error)})
        return
    _send(answers, {"samples": samples.shape[1]}, np.ascontiguousarray(samples, np.float32).tobytes())


def _send(pipe: BinaryIO, message: dict, data: bytes = b"") -> None:
    text = json.dumps(message).encode()
    pipe.write(_LENGTH.pack(len(text)) + text + data)
    pipe.flush()


def _receive(pipe: BinaryIO) -> dict:
    return json.loads(_read(pipe, _LENGTH.unpack(_read(pipe, _LENGTH.size))[0]))


def _read(pipe: BinaryIO, count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError("the other end of the pipe is closed")
    return data
