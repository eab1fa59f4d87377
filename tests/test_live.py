"""The live session: in virtual time with a maker that does nothing, against the real maker with a tiny model, and as a command."""

import dataclasses
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.simulated_daw import SimulatedDaw
from lara_core.affect import Curve
from lara_core.cli import main
from lara_core.codec import Request
from lara_core.codec.score import Bar, Score
from lara_core.osc.live import MAX_BEND, Conductor
from lara_core.osc.maker import Cancelled, LiveEmotion, MadeBar, Maker
from lara_core.osc.monitor import lines
from lara_core.osc.output import SegmentFolder, SoundQueue
from lara_core.osc.protocol import encode, parse
from lara_core.osc.receiver import Receiver
from lara_core.osc.recorder import Recorder

ROOT = Path(__file__).resolve().parent.parent
STEP_SECONDS = 0.04
JUMP = Curve(((0, -0.5, -0.8), (101.0, -0.5, -0.8), (101.01, -0.5, 0.8), (2000, -0.5, 0.8)), "beats")


class SilentMaker:
    """Makes bars of the right length without music, and keeps the lengths that an exact clock gives."""

    sample_rate_hz, channels, beats_per_bar = 8000, 2, 4.0

    def __init__(self, emotion):
        self.emotion, self.position_seconds, self.made, self.cancelled = emotion, 0.0, 0, False

    def make(self, start_beat, tempo_bpm, prompt=None, seed=None) -> MadeBar:
        beats = np.arange(16) / 4
        self.emotion.start_beat = start_beat
        emotion = self.emotion.at(beats, None, lambda seconds: seconds)
        end = self.position_seconds + 240 / tempo_bpm
        length = round(end * self.sample_rate_hz) - round(self.position_seconds * self.sample_rate_hz)
        self.position_seconds, self.made = end, self.made + 1
        if self.cancelled:
            self.cancelled = False
            raise Cancelled
        piece = Score([Bar(tempo_bpm=tempo_bpm)], drums=np.zeros(16, np.uint8))
        return MadeBar(self.made - 1, np.full((2, length), 0.5, np.float32), tempo_bpm, piece, emotion, np.zeros((13, 16), np.int64), seed or 0)

    def again(self, number, seed) -> MadeBar:
        return dataclasses.replace(self.make(0.0, 120.0), number=number, seed=seed)

    def hear(self, samples):
        return 0.25, -0.5

    def cancel(self):
        self.cancelled = True


class VirtualPool:
    """Runs at once, and is done when the clock says so."""

    def __init__(self, clock, cost_seconds):
        self.clock, self.cost_seconds = clock, cost_seconds

    def submit(self, function, *arguments):
        pool, due = self, self.clock() + self.cost_seconds()

        class Done:
            error = made = None

            def done(self):
                return pool.clock() >= due

            def result(self):
                if self.error:
                    raise self.error
                return self.made

        done = Done()
        try:
            done.made = function(*arguments)
        except (Cancelled, ValueError) as error:
            done.error = error
        return done


class Studio:
    """A DAW, a receiver, a recorder and a conductor in virtual time."""

    def __init__(self, automation=JUMP, tempo=120.0, cost_seconds=lambda: 0.4, folder=None, queue=None, maker=SilentMaker, **daw):
        self.now = 0.0
        self.receiver = Receiver(0, feedback=(), clock=lambda: self.now)
        self.sent = []
        self.receiver.send = lambda answer, *values: self.sent.append((getattr(answer, "address", answer), *values))
        self.recorder = Recorder(self.receiver)
        self.daw = SimulatedDaw(lambda packet, seconds: self.receiver.handle(packet, max(seconds, self.now)), automation, tempo, **daw)
        self.maker = maker(LiveEmotion(self.recorder, lambda: self.now))
        self.conductor = Conductor(self.receiver, self.maker, VirtualPool(lambda: self.now, cost_seconds), folder, queue, lambda: self.now)

    def run(self, seconds: float) -> list:
        for _ in range(round(seconds / STEP_SECONDS)):
            self.now += STEP_SECONDS
            self.daw.advance(self.now)
            self.conductor.step(self.now)
        return self.conductor.delivered


@pytest.fixture
def studio():
    made = []

    def make(**options) -> Studio:
        made.append(Studio(**options))
        return made[-1]

    yield make
    for one in made:
        one.conductor.close()
        one.receiver.close()


# ---- in virtual time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tempo", [90.0, 133.7])
def test_ten_minutes_without_a_gap_at_the_tempo_of_the_daw(studio, tempo):
    one = studio(tempo=tempo)
    one.daw.play()
    bars = one.run(600)
    assert len(bars) >= math.floor(600 * tempo / 240) - 2 and one.conductor.late == 0
    assert [bar.bar for bar in bars] == list(range(bars[0].bar, bars[0].bar + len(bars))) and bars[0].bar <= 2
    total = np.cumsum([bar.samples for bar in bars])
    exact = np.round(np.arange(1, len(bars) + 1) * 240 / bars[0].tempo_bpm * SilentMaker.sample_rate_hz)
    assert np.abs(total - exact).max() <= 1 and all(bar.tempo_bpm == pytest.approx(tempo) for bar in bars)  # of 32 bits
    assert min(bar.ahead_beats for bar in bars[1:]) > 0


def test_ten_minutes_with_changes_of_tempo_meet_the_bar_lines_again(studio):
    one = studio(tempo=[(0, 90), (62, 120), (201, 140), (400.5, 97), (800, 132)])
    one.daw.play()
    bars = one.run(600)
    assert one.conductor.late == 0
    assert [bar.bar for bar in bars] == list(range(bars[0].bar, bars[0].bar + len(bars)))
    for bar in bars:
        low, high = 90 / (1 + MAX_BEND), 140 / (1 - MAX_BEND)
        assert low - 1e-6 <= bar.tempo_bpm <= high + 1e-6
    # where each bar sounds, against where the DAW has its line
    sound, worst_late = np.cumsum([0] + [bar.samples for bar in bars]) / SilentMaker.sample_rate_hz, {}
    edges = np.array([0, 62, 201, 400.5, 800])
    tempi = np.array([90, 120, 140, 97, 132])
    seconds = np.concatenate([[0], np.cumsum(np.diff(edges) * 60 / tempi[:-1])])

    def line(beat):
        i = np.searchsorted(edges, beat, side="right") - 1
        return seconds[i] + (beat - edges[i]) * 60 / tempi[i]

    off = np.array([start - (line(bar.bar * 4) - line(bars[0].bar * 4)) for start, bar in zip(sound, bars)])
    settled = [abs(value) for value, bar in zip(off, bars) if all(not 0 <= bar.bar * 4 - edge < 28 for edge in edges[1:])]
    assert max(settled) < 0.15, max(settled)  # seven bars after a change they are together again


def test_no_bar_is_made_before_the_tempo_is_told(studio):
    one = studio(tempo=140.0)
    one.daw.send(encode("/lara/play", True), 0.0)
    one.now = 0.4  # this machine or the network is busy
    one.conductor.step(one.now)
    one.daw.play()
    assert [bar.tempo_bpm for bar in one.run(8.0)] == [pytest.approx(140.0)] * len(one.conductor.delivered) and one.conductor.delivered


def test_positions_alone_tell_the_tempo_of_the_first_bar_and_after_a_jump(studio):
    one = studio(tempo=140.0, jitter_seconds=0.0)
    send = one.daw.send
    one.daw.send = lambda packet, seconds: None if packet.startswith(b"/lara/tempo") else send(packet, seconds)
    one.daw.play()
    one.run(8.0)
    one.daw.locate(400.0)
    delivered = one.run(6.0)
    assert {bar.bar >= 100 for bar in delivered} == {True, False}
    assert [bar.tempo_bpm for bar in delivered] == [pytest.approx(140.0, rel=0.08)] * len(delivered)  # messages are up to 40 ms late, of half a second


def test_a_daw_that_never_tells_its_tempo_has_120(studio):
    one = studio(tempo=140.0)
    one.daw.send(encode("/lara/play", True), 0.0)
    for _ in range(100):
        one.now += STEP_SECONDS
        one.conductor.step(one.now)
    assert [bar.tempo_bpm for bar in one.conductor.delivered] == [120.0] * len(one.conductor.delivered) and one.conductor.delivered


@pytest.mark.parametrize("tempo, cost", [(90, 0.1), (90, 0.6), (120, 0.5), (140, 0.4)])
def test_a_jump_of_arousal_is_heard_within_two_bars(studio, tempo, cost):
    latencies = []
    for at in np.arange(64, 72, 0.71):
        jump = Curve(((0, 0, -0.8), (at, 0, -0.8), (at + 0.01, 0, 0.8), (2000, 0, 0.8)), "beats")
        one = studio(automation=jump, tempo=float(tempo), cost_seconds=lambda: cost)
        one.daw.locate(56)
        one.daw.play()
        bars = one.run(28 * 60 / tempo)
        latencies.append(next(bar.bar * 4 for bar in bars if bar.arousal > 0.7) - at)
    assert 0 < min(latencies) and max(latencies) <= 8


def test_what_was_played_before_is_read_ahead(studio):
    one = studio()
    one.daw.locate(80)
    one.daw.play()
    one.run(20)
    one.daw.play(False)
    one.run(1)
    one.daw.locate(80)
    one.daw.play()
    bars = one.run(14)
    again = [bar for bar in bars[-6:] if bar.bar in (25, 26)]
    assert [bar.arousal > 0 for bar in again] == [True, True]  # the jump at beat 101 lies in bar 25, and its share of it is loud
    assert again[0].arousal == pytest.approx(-0.8 + 1.6 * 0.71, abs=0.2)


def test_a_tempo_that_falls_in_mid_bar_leaves_no_gap(studio):
    queue = SoundQueue(SilentMaker.sample_rate_hz, 2)
    one = studio(tempo=[(0, 140), (21.5, 97), (70.2, 140), (121, 90)], cost_seconds=lambda: 0.15, queue=queue)
    one.daw.play()
    for _ in range(round(80 / STEP_SECONDS)):
        one.run(STEP_SECONDS)
        queue.read(round(STEP_SECONDS * SilentMaker.sample_rate_hz))
    assert queue.gaps == 0 and one.conductor.late == 0


def test_a_bar_that_is_late_is_replaced_told_and_comes_later(studio, tmp_path):
    cost = iter([0.4] * 4 + [4.0] + [0.4] * 100)
    with SegmentFolder(tmp_path, SilentMaker.sample_rate_hz, 2) as folder:
        one = studio(cost_seconds=lambda: next(cost), folder=folder)
        one.daw.play()
        bars = one.run(40)
    repeated = [bar.index for bar in bars if bar.repeated]
    assert repeated == [4, 5] and bars[4].made == bars[5].made == bars[3].made and bars[6].made == 4
    assert [bar.bar for bar in bars] == list(range(bars[0].bar, bars[0].bar + len(bars)))
    assert any(address == "/lara/error" and "not ready in time" in values[0] for address, *values in one.sent)
    assert any(address == "/lara/status" and values[0].startswith("late") for address, *values in one.sent)
    sound, _ = soundfile.read(tmp_path / "live.wav")
    assert len(sound) == sum(bar.samples for bar in bars)


def test_the_folder_has_every_segment_to_the_sample(studio, tmp_path):
    with SegmentFolder(tmp_path, SilentMaker.sample_rate_hz, 2) as folder:
        one = studio(folder=folder, tempo=97.3)
        one.daw.play()
        one.run(10)
        growing, _ = soundfile.read(tmp_path / "live.wav")  # in the middle of it
        bars = one.run(10)
    assert 0 < len(growing) < len(soundfile.read(tmp_path / "live.wav")[0]) == sum(bar.samples for bar in bars)
    ready = [values for address, *values in one.sent if address == "/lara/segment/ready"]
    assert [values[:3] for values in ready] == [[bar.index, bar.bar * 4.0, 4.0] for bar in bars]
    import mido
    for bar, values in zip(bars, ready):
        assert soundfile.info(values[3]).frames == bar.samples
        assert mido.MidiFile(Path(values[3]).with_suffix(".mid")).length == pytest.approx(240 / bar.tempo_bpm, rel=1e-3)
    record = json.loads((tmp_path / "session.json").read_text())
    assert [segment["samples"] for segment in record["segments"]] == [bar.samples for bar in bars]
    with pytest.raises(ValueError, match="holds a session already"):
        SegmentFolder(tmp_path, 44100, 2)


def test_stopping_jumping_and_looping(studio):
    queue = SoundQueue(SilentMaker.sample_rate_hz, 2)
    one = studio(queue=queue)
    one.daw.play()
    one.run(10)
    one.daw.play(False)
    before = len(one.run(2))
    assert len(one.run(5)) == before and one.conductor.status == "stopped" and one.conductor.ahead_beats == 0
    one.daw.locate(200)
    one.daw.play()
    bars = one.run(10)
    assert bars[before].bar in (51, 52) and [bar.bar for bar in bars[before:]] == list(range(bars[before].bar, bars[before].bar + len(bars) - before))
    one.daw.locate(40)
    bars = one.run(10)
    assert any(a.bar > 50 and b.bar in (11, 12) for a, b in zip(bars, bars[1:]))


def test_the_sound_device_hears_no_gap(studio):
    queue = SoundQueue(SilentMaker.sample_rate_hz, 2)
    one = studio(queue=queue)
    one.daw.play()
    heard = []
    for _ in range(3000):
        one.run(STEP_SECONDS)
        heard.append(queue.read(round(STEP_SECONDS * SilentMaker.sample_rate_hz)))
    sound = np.concatenate(heard, axis=1)[0]
    first = np.flatnonzero(sound)[0]
    assert queue.gaps == 0 and (sound[first + 100:] == 0.5).all()  # behind the short fade in
    bar = one.conductor.delivered[0].bar
    assert first / SilentMaker.sample_rate_hz == pytest.approx(bar * 2, abs=0.05)


def test_a_machine_that_slept_begins_anew(studio):
    one = studio()
    one.daw.play()
    before = len(one.run(10))
    one.now += 3600
    one.daw.advance(one.now)
    bars = one.run(6)
    assert len(bars) < before + 5 and bars[before].bar > 1800


def test_commands(studio, tmp_path):
    with SegmentFolder(tmp_path, SilentMaker.sample_rate_hz, 2) as folder:
        one = studio(folder=folder)
        say = lambda *message: one.receiver.handle(encode(*message), one.now)  # noqa: E731
        say("/lara/generate")
        say("/lara/generate")
        assert [bar.bar for bar in one.run(2)] == [0, 1]
        before = json.loads((tmp_path / "session.json").read_text())["segments"]
        say("/lara/segment/redo", 1)
        one.run(1)
        after = json.loads((tmp_path / "session.json").read_text())["segments"]
        assert after[0] == before[0] and after[1]["seed"] != before[1]["seed"], "the record tells the seed of what lies there"
        assert [values[0] for address, *values in one.sent if address == "/lara/segment/ready"] == [0, 1, 1]
        say("/lara/segment/redo", 7)
        one.run(0.1)
        assert "no segment 7" in one.receiver.last_error
        one.daw.play()
        one.run(4)
        say("/lara/generate")
        one.run(0.1)
        assert "made anyway" in one.receiver.last_error
        say("/lara/cancel")
        one.run(6)
        assert one.maker.made > len(one.conductor.delivered)


def test_what_was_played_is_heard_now_and_then_and_told(studio):
    one = studio(cost_seconds=lambda: 0.2, tempo=90)
    one.daw.play()
    one.run(60)
    scores = [values for address, *values in one.sent if address == "/lara/score"]
    assert scores == [[0.25, -0.5]] * len(scores) and 2 <= len(scores) <= 3 and one.conductor.late == 0


def test_the_monitor_says_what_a_musician_wants_to_know(studio):
    one = studio()
    quiet = " ".join(lines(one.receiver, one.recorder, one.conductor, one.now))
    assert "nothing heard yet" in quiet
    one.daw.play()
    one.run(60)
    one.receiver.handle(encode("/1/fader", 0.5), one.now)
    one.receiver.handle(encode("/lara/valence", "x"), one.now)
    text = "\n".join(lines(one.receiver, one.recorder, one.conductor, one.now))
    for part in ("hears the DAW", "playing, beat 1", "120.0 BPM", "recording", "arousal +0.80", "▁", "bars", "/1/fader", "last problem: /lara/valence",
                 "heard as valence +0.25"):
        assert part in text, text


# ---- with music ----------------------------------------------------------------------------------------------------


@pytest.fixture
def maker(tiny_model):
    from lara_core.pipeline import Lara

    with Receiver(0, feedback=(), clock=lambda: 0.0) as receiver:
        recorder = Recorder(receiver)
        receiver.handle(encode("/lara/va", 0.5, -0.5), 0.0)
        yield Maker(Lara.load(tiny_model), LiveEmotion(recorder, lambda: 0.0), "solo piano", Request(1.0, seed=3))


def test_bars_are_exact_in_any_tempo_and_read_the_emotion_of_the_moment(maker):
    tempi, receiver = [90.0, 140.0, 97.3, 120.0], maker.emotion.recorder.receiver
    bars = [maker.make(16.0, tempi[0])]
    receiver.handle(encode("/lara/arousal", 0.75), 0.0)
    bars += [maker.make(20.0 + 4 * n, tempo) for n, tempo in enumerate(tempi[1:])]
    ends = np.cumsum([240 / tempo for tempo in tempi])
    assert np.cumsum([bar.samples.shape[1] for bar in bars]).tolist() == [round(end * maker.sample_rate_hz) for end in ends]
    assert np.allclose(bars[0].emotion, [0.5, -0.5]) and np.allclose(bars[1].emotion, [0.5, 0.75])
    assert [bar.piece.bars[0].tempo_bpm for bar in bars] == tempi and all(bar.piece.frames == 16 for bar in bars)


def test_a_bar_can_be_dropped_and_made_again(maker):
    maker.make(0.0, 120.0)
    maker._stop_if_cancelled = lambda share: None
    original = maker.make(4.0, 120.0)
    same = maker.again(1, 3)
    assert same.samples.shape[1] == original.samples.shape[1] and same.number == 1
    other = maker.again(1, 4)
    assert not np.array_equal(other.codes, original.codes)


def test_cancelling_leaves_the_piece_as_it_was(maker):
    maker.make(0.0, 120.0)
    maker.take.on_progress = lambda share: maker.cancel() or maker._stop_if_cancelled(share)
    with pytest.raises(Cancelled):
        maker.make(4.0, 120.0)
    maker.take.on_progress = None
    assert maker.make(4.0, 120.0).number == 1


def test_a_prompt_that_cannot_be_used_costs_one_bar(maker):
    maker.make(0.0, 120.0, "quiet strings")
    with pytest.raises(ValueError, match="prompt"):
        maker.make(4.0, 120.0, "x" * 2000)
    assert maker.make(4.0, 120.0, "x" * 2000).number == 1 and maker.take.prompt == "quiet strings"


def test_the_last_bar_by_itself_has_what_sounds_in_it(maker):
    for n in range(6):
        bar = maker.make(4.0 * n, 120.0)
        assert all(0 <= note.start < 16 and 0 < note.start + note.duration <= 16 for note in bar.piece.notes)
    piece = maker.take.session.piece
    known = {(note.lane, note.pitch) for note in piece.notes if note.start + note.duration > 80}
    assert known <= {(note.lane, note.pitch) for note in bar.piece.notes}


def test_a_model_without_bars_says_so(maker):
    class Neural:
        pass

    maker.lara.codec, kept = Neural(), maker.lara.codec
    with pytest.raises(ValueError, match="cannot play live"):
        maker.lara.live("x", None, Request(1.0), lambda: 120.0)
    maker.lara.codec = kept


# ---- the command ---------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_session_in_real_time(tmp_path, tiny_model):
    port, back = free_port(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    back.bind(("127.0.0.1", 0))
    back.settimeout(60)
    command = [sys.executable, "-m", "lara_core", "live", "-o", str(tmp_path / "out"), "--model", str(tiny_model), "--port", str(port),
               "--prompt", "solo piano",
               "--feedback", f"127.0.0.1:{back.getsockname()[1]}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # what a shell starts in its background ignores Ctrl-C
    heard, ready = "", []
    try:
        while "waiting" not in heard:  # it is there
            heard += str(parse(back.recv(8192)))
        with back, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            daw = SimulatedDaw(lambda packet, _seconds: sender.sendto(packet, ("127.0.0.1", port)), JUMP, 140.0)
            daw.play()
            start, back_seconds = time.monotonic(), 0.05
            back.settimeout(back_seconds)
            while len(ready) < 3 and time.monotonic() - start < 60:
                daw.advance(time.monotonic() - start)
                try:
                    ready += [values for address, values in parse(back.recv(8192)) if address == "/lara/segment/ready"]
                except TimeoutError:
                    pass
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert len(ready) == 3 and [values[0] for values in ready] == [0, 1, 2], err
    for values in ready:
        assert soundfile.info(values[3]).frames == pytest.approx(44100 * 240 / 140, rel=0.11)
    assert Curve.load(tmp_path / "out" / "curve.json").unit == "beats" and "Listening on" in out
    assert soundfile.info(tmp_path / "out" / "live.wav").frames >= sum(soundfile.info(values[3]).frames for values in ready)


@pytest.mark.parametrize("options, said", [
    ([], "-o/--output"), (["--minutes", "0"], "--minutes"), (["--map", "/x=joy"], "mapped to 'joy'"), (["--map", "none.json"], "none.json"),
    (["--feedback", "here"], "HOST:PORT"), (["--port", "99999999"], "no place to listen"), (["--lan", "--allow", "me"], "network"),
    (["--allow", "10.0.0.1"], "--lan"), (["--map", "/tempo/raw=tempo:0..1"], "range"),
    (["--curve", "none.json"], "none.json"),
    (["--seed", "-1"], "whole number"), (["--key", "H"], "'H'"), (["--metre", "7/8"], "7/8"), (["--prompt", " "], "prompt"),
    (["--model", "nobody"], "nobody")])
def test_what_is_wrong_is_one_sentence(tmp_path, capsys, options, said):
    arguments = options if options == [] else ["-o", str(tmp_path / "out"), "--port", "0", "--minutes", "0.001", *options]
    assert main(["live", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lara: ") and error.count("\n") == 1 and said in error


def test_recording_only_needs_no_model_and_ends_by_itself(tmp_path, capsys):
    assert main(["live", "-o", str(tmp_path), "--record-only", "--port", "0", "--minutes", "0.005"]) == 0
    assert "nothing heard yet" in capsys.readouterr().out and not (tmp_path / "live.wav").exists()


def test_a_further_pass_is_punched_into_the_curve_of_its_folder(tmp_path):
    Curve(((0, -1, -1), (100, 1, 1)), "beats", "linear").save(tmp_path / "curve.json")
    port = free_port()

    def play():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daw:
            daw.connect(("127.0.0.1", port))
            for message in (("/lara/tempo", 120.0), ("/lara/va", 0.5, 0.5), ("/lara/play", True), ("/lara/position", 8.0)):
                daw.send(encode(*message))
            for poll in range(1, 11):
                time.sleep(0.1)
                daw.send(encode("/lara/position", 8 + poll * 0.2))
            daw.send(encode("/lara/play", False))

    daw = threading.Timer(0.7, play)
    daw.start()
    assert main(["live", "-o", str(tmp_path), "--record-only", "--port", str(port), "--minutes", "0.05"]) == 0
    daw.join()
    recorded = Curve.load(tmp_path / "curve.json")
    assert recorded.points[0] == (0, -1, -1) and recorded.points[-1] == (100, 1, 1)
    assert recorded.at(np.array([8.2, 9.0]), tempo=60.0).ravel() == pytest.approx(0.5)


def test_a_folder_that_holds_a_session_is_refused_at_once_and_a_start_that_failed_leaves_it_free(tmp_path, capsys, monkeypatch):
    from lara_core.osc import command, output

    def no_device(*_):
        raise ValueError("no sound device can be opened")

    monkeypatch.setattr(output, "open_device", no_device)
    live = ["live", "-o", str(tmp_path / "out"), "--port", "0", "--minutes", "0.001"]
    for _ in range(2):
        assert main([*live, "--play"]) == 2 and "no sound device" in capsys.readouterr().err
    (tmp_path / "out" / "live.wav").touch()
    monkeypatch.setattr(command, "_conductor", None)  # no model is loaded for that
    assert main(live) == 2 and "holds a session already" in capsys.readouterr().err
