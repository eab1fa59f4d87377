"""The OSC Input node: what a DAW or a control surface sends comes in; a LARA_EMOTION, the tempo and a sentence on how it stands come out.

ComfyUI's page is told what is recorded while it is, and asks for it when it opens; its timelines draw it (web/lara.js)."""

import hashlib
import math
import time

import numpy as np
from comfy_api.latest import io

from ..lara_core.affect import Curve
from ..lara_core.osc.mapping import Mapping, read_mapping
from ..lara_core.osc.receiver import EVERY_ADDRESS, LOOPBACK, PORT, Receiver
from ..lara_core.osc.recorder import Recorder, at_most
from .common import CATEGORY, LaraEmotion

LISTEN = {"this machine": LOOPBACK, "the network": EVERY_ADDRESS}
RECORDED, LATEST = "recorded curve", "latest values"
EVENT, ROUTE = "lara-recorded", "/lara/recorded"
TELL_SECONDS = 1.0
PAGE_POINTS = 1000  # the timeline edits no more
listening: dict[int, Recorder] = {}  # by port; from the first run of a node on, until ComfyUI ends
closed: dict[int, Curve | None] = {}  # what was recorded on a port that is about to be opened in another way


def mappings_of(text: str) -> list[Mapping]:
    """The lines of an input. Raises ValueError in one sentence."""
    return [read_mapping(line.strip()) for line in text.splitlines() if line.strip()]


def recorder_of(port: int, listen: str, mappings: str) -> Recorder:
    """The recorder of a port, which is opened if it is not yet, and anew where `listen` was changed. Raises ValueError in one sentence."""
    wanted = mappings_of(mappings)
    host, earlier = LISTEN[listen], listening.get(port)
    if earlier is not None and earlier.receiver.host != host and earlier.receiver.users == 1:
        del listening[port]
        earlier.close()
        earlier.receiver.close()
        closed[port] = earlier.known
    receiver = Receiver.shared(port, host)
    if port in listening:
        receiver.close()  # of two users of this port, one remains
    else:
        listening[port] = Recorder(receiver, curve=closed.pop(port, None))
        tell_page(port, listening[port])
    for mapping in wanted:
        if mapping not in receiver.mappings:
            receiver.replace_mapping(mapping)
    return listening[port]


def forget(receiver: Receiver, port: int, graph: dict | None) -> None:
    """Mappings that no OSC Input of the graph, as ComfyUI runs it, has any more are gone; unless a link brings them, whom nobody can read yet."""
    all_inputs = [node["inputs"] for node in (graph or {}).values() if node["class_type"] == "LARAOSCInput"]
    if not all_inputs or any(isinstance(inputs.get(name), list) for inputs in all_inputs for name in ("port", "mappings")):
        return
    wanted = [mapping for inputs in all_inputs if inputs["port"] == port for mapping in mappings_of(inputs["mappings"])]
    for mapping in [mapping for mapping in receiver.mappings if mapping not in wanted]:
        receiver.remove_mapping(mapping)


def heard(recorder: Recorder, use: str) -> Curve:
    curve = recorder.curve() if use == RECORDED else None
    return curve or Curve.constant(round(recorder.receiver.valence, 3), round(recorder.receiver.arousal, 3))


def recorded(port: int, recorder: Recorder) -> dict | None:
    """What a port has recorded, for the page; None where that is nothing yet."""
    curve = recorder.curve()
    return None if curve is None else {"port": port, "curve": at_most(np.array(curve.points), PAGE_POINTS).to_json(),
                                       "tempo": round(recorder.receiver.transport.tempo_bpm, 3), "recording": recorder.recording}


def tell_page(port: int, recorder: Recorder) -> None:
    """Send the page what this recorder records, once a second while it changes."""
    from server import PromptServer

    told_seconds, told = -math.inf, None

    def tick(now: float) -> None:
        nonlocal told_seconds, told
        if now - told_seconds < TELL_SECONDS:
            return
        told_seconds, known = now, (recorder.known, recorder.recording)
        if recorder.recording or known != told:
            told = known
            if (message := recorded(port, recorder)) is not None:
                PromptServer.instance.send_sync(EVENT, message)

    recorder.receiver.tickers.append(tick)


def add_route() -> None:
    """Answer a page that opens later than a pass was recorded."""
    from aiohttp import web
    from server import PromptServer

    @PromptServer.instance.routes.get(ROUTE)
    async def answer(_request):
        messages = [recorded(port, recorder) for port, recorder in list(listening.items())]
        return web.json_response([message for message in messages if message is not None])


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
            hidden=[io.Hidden.prompt],
            outputs=[LaraEmotion.Output(display_name="emotion"), io.Float.Output(display_name="bpm", tooltip="The DAW's tempo, for Generate Music."),
                     io.String.Output(display_name="status", tooltip="How it stands, in a sentence.")])

    @classmethod
    def fingerprint_inputs(cls, use, port, listen, mappings):
        """So that it runs again only where something has been heard that is new; where a link brings an input, every time."""
        if None in (port, listen, mappings):
            return math.nan
        recorder = recorder_of(port, listen, mappings)
        return hashlib.sha256(f"{heard(recorder, use)} {recorder.receiver.transport.tempo_bpm:.3f}".encode()).hexdigest()

    @classmethod
    def execute(cls, use, port, listen, mappings):
        recorder = recorder_of(port, listen, mappings)
        curve, receiver = heard(recorder, use), recorder.receiver
        forget(receiver, port, cls.hidden.prompt)
        what = f"a curve of {len(curve.points)} points up to beat {curve.points[-1][0]:.1f}" if curve.unit == "beats" else \
            f"valence {receiver.valence:+.2f}, arousal {receiver.arousal:+.2f}"
        silent = time.monotonic() - receiver.last_heard_seconds
        state = f"Nothing has been heard on port {port} yet: let the DAW send there, and run again." if receiver.received == 0 else \
            f"Port {port} hears {what}; last message {silent:.0f} s ago." + (f" {receiver.last_error}" if receiver.last_error else "")
        return io.NodeOutput(curve, round(receiver.transport.tempo_bpm, 3), state)
