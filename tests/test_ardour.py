"""A real DAW: Ardour 7 without a screen plays automation that was drawn, and the recorder gets the curve back.

Ardour listens on every address of the machine, so it runs in a network of its own, and with it our side: this file as a program.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ARDOUR_PORT, ANSWER_PORT = 3819, 8000  # as a session has them that nobody has set up
SECONDS, TEMPO_BPM = 10.0, 120.0
DRAWN = {"valence": (0.2, 0.9), "arousal": (0.8, 0.3)}  # positions of two faders at the start and after SECONDS
FRAME_SECONDS = 0.125  # a sixteenth at 120 BPM: what the score model hears of a curve
FEEDBACK = 2 + 16 + 32  # values, master section, bars and beats

CREATE = """
AudioEngine:set_backend("None (Dummy)", "", "")
local s = create_session("{folder}", "song", 44100)
for number, ends in ipairs({{{{{faders[0][0]}, {faders[0][1]}}}, {{{faders[1][0]}, {faders[1][1]}}}}}) do
  local tracks = s:new_audio_track(1, 2, nil, 1, "t" .. number, -1, ARDOUR.TrackMode.Normal, true)
  for track in tracks:iter() do
    local control = track:gain_control()
    for step = 0, 100 do
      local position = ends[1] + (ends[2] - ends[1]) * step / 100
      local gain = 2 ^ ((198 * position ^ (1 / 8) - 192) / 6)
      control:alist():add(Temporal.timepos_t(math.floor(step / 100 * {seconds} * s:nominal_sample_rate())), gain, false, true)
    end
    control:set_automation_state(ARDOUR.AutoState.Play)
  end
end
s:save_state("", false, false, false, false, false)
close_session()
"""
PLAY = """
AudioEngine:set_backend("None (Dummy)", "", "")
load_session("{folder}", "song")
ARDOUR.LuaAPI.usleep({microseconds})
close_session()
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("ardour7-lua") is None or shutil.which("unshare") is None,
                                                   reason="ardour7-lua is not installed: NOT TESTED WITH A REAL DAW")]


@pytest.fixture
def session(tmp_path) -> Path:
    folder = tmp_path / "song"
    script = tmp_path / "create.lua"
    script.write_text(CREATE.format(folder=folder, faders=list(DRAWN.values()), seconds=SECONDS))
    subprocess.run(["ardour7-lua", str(script)], check=True, capture_output=True, timeout=60, env=os.environ | {"HOME": str(tmp_path)})
    file = folder / "song.ardour"
    text = file.read_text()
    off = '<Protocol name="Open Sound Control (OSC)" active="0"'
    assert text.count(off) == 1
    file.write_text(text.replace(off, off.replace("0", "1")))
    (tmp_path / "play.lua").write_text(PLAY.format(folder=folder, microseconds=int((SECONDS + 12) * 1e6)))
    return tmp_path


def test_ardour_plays_drawn_automation_and_the_recorder_gets_it_back(session):
    command = f"ip link set lo up && exec {sys.executable} {__file__} {session}"
    root = Path(__file__).resolve().parent.parent
    run = subprocess.run(["unshare", "--map-root-user", "--net", "sh", "-c", command], capture_output=True, text=True, timeout=90,
                         env=os.environ | {"PYTHONPATH": str(root), "HOME": str(session)})
    if "unshare failed" in run.stderr:
        pytest.skip("this machine gives no network of its own: NOT TESTED WITH A REAL DAW")
    assert run.returncode == 0, run.stderr
    from lara_core.affect import Curve

    curve, told = Curve.load(session / "curve.json"), json.loads(run.stdout.splitlines()[-1])
    assert told["refused"] == 0, told
    beats = np.arange(2, SECONDS * TEMPO_BPM / 60 - 1, 0.25)
    got = curve.at(beats, tempo=60.0)
    for lane, (start, end) in enumerate(DRAWN.values()):
        drawn = 2 * (start + (end - start) * beats / (SECONDS * TEMPO_BPM / 60)) - 1
        shifts = np.arange(-FRAME_SECONDS, FRAME_SECONDS + 1e-9, FRAME_SECONDS / 8) * TEMPO_BPM / 60
        worst = {shift: np.abs(curve.at(np.maximum(beats + shift, 0), tempo=60.0)[:, lane] - drawn).max() for shift in shifts}
        print(f"lane {lane}: {np.abs(got[:, lane] - drawn).max() / 2:.4f} of the range, {min(worst.values()) / 2:.4f} within a frame")
        assert min(worst.values()) / 2 < 0.02


def listen(folder: Path) -> None:
    """Our side of it, beside Ardour: ask for feedback, play, record."""
    from lara_core.osc.mapping import Mapping
    from lara_core.osc.receiver import Receiver
    from lara_core.osc.recorder import Recorder

    faders = [Mapping("/strip/fader", name, 0.0, 1.0, (number,)) for number, name in enumerate(DRAWN, 1)]
    ardour = subprocess.Popen(["ardour7-lua", str(folder / "play.lua")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    target = ("127.0.0.1", ARDOUR_PORT)
    try:
        with Receiver(ANSWER_PORT, feedback=(), mappings=[*faders, Mapping("/position/bbt", "bars"), Mapping("/transport_play", "play")]) as receiver:
            recorder = Recorder(receiver, folder / "curve.json")
            deadline = time.monotonic() + 20
            while receiver.received == 0 and time.monotonic() < deadline:
                receiver.send_to(target, "/strip/list")
                time.sleep(0.25)
            receiver.send_to(target, "/set_surface", 0, 159, FEEDBACK, 1, 0, 0)
            receiver.send_to(target, "/locate", 0, 0)
            time.sleep(0.5)
            receiver.send_to(target, "/transport_play")
            time.sleep(SECONDS + 1)
            receiver.send_to(target, "/transport_stop")
            time.sleep(0.5)
            recorder.close()
            print(json.dumps({"received": receiver.received, "refused": receiver.refused, "problem": receiver.last_error,
                              "also": list(receiver.strangers)}))
    finally:
        ardour.kill()
        ardour.wait()


if __name__ == "__main__":
    listen(Path(sys.argv[1]))
