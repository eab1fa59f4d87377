"""The OSC Input node: what a DAW or a control surface sends comes in; a LARA_EMOTION, the tempo and a sentence on how it stands come out."""

import hashlib
import time

from comfy_api.latest import io

from ..lara_core.affect import Curve
from ..lara_core.osc.mapping import read_mapping
from ..lara_core.osc.receiver import EVERY_ADDRESS, LOOPBACK, PORT, Receiver
from ..lara_core.osc.recorder import Recorder
from .common import CATEGORY, LaraEmotion

LISTEN = {"this machine": LOOPBACK, "the network": EVERY_ADDRESS}
RECORDED, LATEST = "recorded curve", "latest values"
listening: dict[int, Recorder] = {}  # by port; from the first run of a node on, until ComfyUI ends


def recorder_of(port: int, listen: str, mappings: str) -> Recorder:
    """The recorder of a port, which is opened if it is not yet. Raises ValueError in one sentence."""
    wanted = [read_mapping(line.strip()) for line in mappings.splitlines() if line.strip()]
    receiver = Receiver.shared(port, LISTEN[listen])
    if port in listening:
        receiver.close()  # of two users of this port, one remains
    else:
        listening[port] = Recorder(receiver)
    for mapping in wanted:
        if mapping not in receiver.mappings:
            receiver.replace_mapping(mapping)
    return listening[port]


def heard(recorder: Recorder, use: str) -> Curve:
    curve = recorder.curve() if use == RECORDED else None
    return curve or Curve.constant(round(recorder.receiver.valence, 3), round(recorder.receiver.arousal, 3))


class OSCInput(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LARAOSCInput", display_name="OSC Input", category=CATEGORY,
            description="Emotion from a DAW or a control surface over OSC: the curve of a recorded pass, or the latest values.",
            inputs=[io.Combo.Input("use", options=[RECORDED, LATEST],
                                   tooltip="The curve lies on the song's beats; before there is one, the latest values count."),
                    io.Int.Input("port", default=PORT, min=1024, max=65535, tooltip="What the DAW sends to. All nodes with the same port share it."),
                    io.Combo.Input("listen", options=list(LISTEN), tooltip="Who is heard: programs on this machine, or the network too."),
                    io.String.Input("mappings", multiline=True, default="", placeholder="/1/fader1=arousal:0..1",
                                    tooltip="Other addresses, one a line, with the range of their values; /lara/valence and /lara/arousal are "
                                            "heard anyway.")],
            outputs=[LaraEmotion.Output(display_name="emotion"), io.Float.Output(display_name="bpm", tooltip="The DAW's tempo, for Generate Music."),
                     io.String.Output(display_name="status", tooltip="How it stands, in a sentence.")])

    @classmethod
    def fingerprint_inputs(cls, use, port, listen, mappings):
        """So that it runs again only where something has been heard that is new."""
        recorder = recorder_of(port, listen, mappings)
        return hashlib.sha256(f"{heard(recorder, use)} {recorder.receiver.transport.tempo_bpm:.3f}".encode()).hexdigest()

    @classmethod
    def execute(cls, use, port, listen, mappings):
        recorder = recorder_of(port, listen, mappings)
        curve, receiver = heard(recorder, use), recorder.receiver
        what = f"a curve of {len(curve.points)} points up to beat {curve.points[-1][0]:.1f}" if curve.unit == "beats" else \
            f"valence {receiver.valence:+.2f}, arousal {receiver.arousal:+.2f}"
        silent = time.monotonic() - receiver.last_heard_seconds
        state = f"Nothing has been heard on port {port} yet: let the DAW send there, and run again." if receiver.received == 0 else \
            f"Port {port} hears {what}; last message {silent:.0f} s ago." + (f" {receiver.last_error}" if receiver.last_error else "")
        return io.NodeOutput(curve, round(receiver.transport.tempo_bpm, 3), state)
