"""OSC: the table, the strict parser against python-osc and against damage, the receiver on a real socket, and real peers."""

import logging
import math
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from bench.osc import fuzz, mutated
from lara_core.osc import discovery, protocol
from lara_core.osc.mapping import Learner, Mapping, load_mappings, read_mapping, save_mappings
from lara_core.osc.protocol import INCOMING, OscError, encode, parse
from lara_core.osc.receiver import Receiver

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def receiver():
    with Receiver(0, feedback=()) as made:
        yield made


def test_surfaces_find_the_receiver_in_the_network():
    zeroconf = pytest.importorskip("zeroconf")
    with discovery.announced(9400, ["127.0.0.1"]) as name, zeroconf.Zeroconf(interfaces=["127.0.0.1"]) as surface:
        found = surface.get_service_info("_osc._udp.local.", f"{name}._osc._udp.local.", 5000)
        assert name.startswith("LARA on ") and found.port == 9400 and found.parsed_addresses() == ["127.0.0.1"]


@pytest.mark.parametrize("missing", ["the package", "a network"])
def test_a_receiver_that_cannot_be_announced_is_used_all_the_same(missing, monkeypatch, caplog):
    if missing == "the package":
        monkeypatch.setitem(sys.modules, "zeroconf", None)
    else:
        pytest.importorskip("zeroconf")
        monkeypatch.setattr("ifaddr.get_adapters", lambda: [])
    with discovery.announced(9400) as name:
        assert name is None and "port 9400" in caplog.text


def send(receiver: Receiver, *packets: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for packet in packets:
            sender.sendto(packet, ("127.0.0.1", receiver.port))


def wait_for(condition, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def message(address: str, tags: str, body: bytes = b"") -> bytes:
    """A packet by hand."""
    def padded(text: str) -> bytes:
        return text.encode() + b"\0" * (4 - len(text.encode()) % 4)
    return padded(address) + padded("," + tags) + body


def bundle(*elements: bytes, time_tag: bytes = bytes(7) + b"\1") -> bytes:
    return b"#bundle\0" + time_tag + b"".join(len(one).to_bytes(4, "big") + one for one in elements)


# ---- the parser ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(), (0.5,), (3, -0.25, "solo piano", True, False), ("",), ("four",), (b"\1\2\3",), (None,), ([1, ["a", 2.5]],),
                                    ((2 ** 40, "h"), (0.1, "d")), ("ünï",)])
def test_what_python_osc_builds_is_read_as_python_osc_reads_it(values):
    builder = OscMessageBuilder("/a/b")
    for value in values:
        builder.add_arg(*value) if isinstance(value, tuple) else builder.add_arg(value)
    packet = builder.build().dgram

    def tuples(value):
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    assert parse(packet) == [("/a/b", tuples(list(OscMessage(packet).params)))]


def test_bundles_within_bundles_come_in_order_and_future_time_tags_are_not_waited_for():
    inner = OscBundleBuilder(time.time() + 1e6)
    outer = OscBundleBuilder(time.time() + 1e6)
    for builder, value in ((inner, 2), (outer, 1)):
        one = OscMessageBuilder("/x")
        one.add_arg(value)
        builder.add_content(one.build())
    outer.add_content(inner.build())
    started = time.perf_counter()
    assert parse(outer.build().dgram) == [("/x", (1,)), ("/x", (2,))]
    assert time.perf_counter() - started < 0.1


def test_the_types_that_say_nothing_here_are_skipped_in_their_size():
    packet = message("/x", "cmrtIi", b"\0\0\0a" + bytes(4) + bytes(4) + bytes(8) + struct.pack(">i", 7))
    assert parse(packet)[0][1][-2:] == (math.inf, 7)


@pytest.mark.parametrize("packet, said", [
    (b"", "0 bytes"), (b"abc", "3 bytes"), (b"/ab\0" * 2049, "more than 8192"), (b"abcd\0\0\0\0", "no OSC address"),
    (b"/\xff\0\0,\0\0\0", "not UTF-8"), (b"/abc", "does not end"), (message("/x", "f"), "breaks off"), (message("/x", "f", bytes(8)), "4 bytes more"),
    (message("/x", "q", bytes(4)), "unknown type"), (message("/x", "b", b"\xff\xff\xff\xff"), "blob of -1"),
    (message("/x", "b", b"\0\0\0\x09abcd"), "blob of 9"),
    (message("/x", "s", b"abcd"), "does not end"), (message("/x", "[i", bytes(4)), "does not end"), (message("/x", "]"), "ends before"),
    (message("/x", "[" * 9 + "]" * 9), "more than 8 deep"), (message("/" + "*" * 30, "f", bytes(4)), "wildcards"), (message("/a[b]", ""), "wildcards"),
    (b"#bundle\0" + bytes(4), "time tag"), (bundle(b"") , "element of 0"), (b"#bundle\0" + bytes(8) + b"\xff\xff\xff\xfc" + bytes(8), "element of -4"),
    (b"#bundle\0" + bytes(8) + b"\0\0\0\x40" + bytes(8), "element of 64"), (b"/abc\0\0\0\0xx\0\0", "type tag")])
def test_damage_is_one_sentence(packet, said):
    with pytest.raises(OscError, match=said) as refused:
        parse(packet)
    assert str(refused.value).endswith(".") and "\n" not in str(refused.value)


def test_what_is_read_from_memory_is_what_is_read_anew():
    rng = random.Random(3)
    for _ in range(20_000):
        packet = mutated(rng)
        for _ in range(2):
            read = []
            for way in (protocol.parse_whole, parse):
                try:
                    read.append(repr(way(packet)))  # NaN is not itself
                except OscError as error:
                    read.append(str(error))
            assert read[0] == read[1], packet
    assert 0 < len(protocol._ONE_FLOAT) <= protocol.MAX_KNOWN


def test_bundles_nest_to_the_stated_depth_and_no_deeper():
    packet = encode("/x", 1)
    for _ in range(protocol.MAX_DEPTH):
        packet = bundle(packet)
    assert parse(packet) == [("/x", (1,))]
    with pytest.raises(OscError, match="deep"):
        parse(bundle(packet))


# ---- the table -----------------------------------------------------------------------------------------------------


def test_the_page_shows_the_table_as_it_is():
    page = (ROOT / "docs" / "osc.md").read_text(encoding="utf-8")
    assert protocol.with_tables(page) == page, "run: python -m lara_core.osc.protocol docs/osc.md"


@pytest.mark.parametrize("one", INCOMING.values(), ids=lambda one: one.name)
def test_every_address_takes_what_it_says_and_refuses_the_rest(one, receiver):
    good = {"f": max(one.low, 0.0) if math.isfinite(one.low) else 1.0, "i": 3, "b": True, "s": "002|03|0960"}
    heard = []
    receiver.listeners.append(lambda name, values, now: heard.append((name, values)))
    receiver.handle(encode(one.address, *(good[kind] for kind in one.kinds)), time.monotonic())
    arrives_as = dict.fromkeys(("valence", "arousal", "va", "xy"), "affect") | {"bars": "position"}
    assert [name for name, _ in heard if name != "jump"] == [arrives_as.get(one.name, one.name)]
    for index, kind in enumerate(one.kinds):
        bad_values = [float("nan"), float("inf"), "text", None] if kind in "fib" else [1.0]
        bad_values += [one.high * 2] if kind in "fi" and math.isfinite(one.high) else []
        for bad in bad_values + ([2.5] if kind == "i" else []):
            values = [good[other] for other in one.kinds]
            values[index] = bad
            before, refused = len(heard), receiver.refused
            receiver.handle(message_of(one.address, values), time.monotonic())
            assert (len(heard), receiver.refused) == (before, refused + 1), (kind, bad)
            assert one.address in receiver.last_error


def message_of(address: str, values: list) -> bytes:
    builder = OscMessageBuilder(address)
    for value in values:
        builder.add_arg(value, "d" if isinstance(value, float) else None)
    return builder.build().dgram


@pytest.mark.parametrize("tags, body, value", [("f", struct.pack(">f", 0.5), 0.5), ("d", struct.pack(">d", 0.5), 0.5), ("i", struct.pack(">i", 1), 1.0),
                                               ("h", struct.pack(">q", -1), -1.0), ("T", b"", 1.0), ("F", b"", 0.0), ("f", struct.pack(">f", 1.00001), 1.0),
                                               ("fsi", struct.pack(">f", 0.25) + b"abc\0" + bytes(4), 0.25)])
def test_any_number_is_a_number_and_what_is_too_much_is_ignored(receiver, tags, body, value):
    receiver.handle(message("/lara/arousal", tags, body), 0.0)
    assert receiver.arousal == pytest.approx(value, abs=1e-6) and receiver.refused == 0


def test_missing_values_and_buttons_without_a_value(receiver):
    receiver.handle(encode("/lara/va", 0.5), 0.0)
    assert "1 of its 2" in receiver.last_error
    receiver.handle(b"/lara/play\0\0", 0.0)
    assert receiver.transport.playing
    receiver.handle(encode("/lara/xy", 0.75, 0.0), 0.0)
    assert (receiver.valence, receiver.arousal) == (0.5, -1.0)


def test_bars_beats_and_ticks(receiver):
    receiver.handle(encode("/lara/bars", "004|02|0960"), 0.0)
    assert receiver.transport.beat(0.0) == 13.5
    for text in ("4|2", "0|1|0", "a|b|c", "-1|1|0", "1|1|99999999999"):
        refused = receiver.refused
        receiver.handle(encode("/lara/bars", text), 0.0)
        assert receiver.refused == refused + 1 and "bar|beat|tick" in receiver.last_error


# ---- mappings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapping, arguments, expected", [
    (Mapping("/fader", "arousal", 0, 1), (0.75,), (0.0, 0.5)), (Mapping("/track/1/volume", "valence", 0, 127), (127,), (1.0, 0.0)),
    (Mapping("/1/xy", "va", 0, 1), (0.0, 1.0), (-1.0, 1.0)), (Mapping("/strip/fader", "arousal", 0, 1, (2,)), (2, 0.0), (0.0, -1.0)),
    (Mapping("/strip/fader", "arousal", 0, 1, (2,)), (3, 1.0), (0.0, 0.0))])
def test_a_mapped_address_means_emotion_in_its_own_range(receiver, mapping, arguments, expected):
    receiver.add_mapping(mapping)
    receiver.handle(encode(mapping.address, *arguments), 0.0)
    assert (receiver.valence, receiver.arousal) == pytest.approx(expected) and receiver.refused == 0


def test_a_mapped_transport_and_a_value_out_of_its_range(receiver):
    receiver.add_mapping(Mapping("/tempo/raw", "tempo"))
    receiver.add_mapping(Mapping("/fader", "valence", 0, 1))
    receiver.handle(encode("/tempo/raw", 97.5), 0.0)
    receiver.handle(encode("/fader", 127), 0.0)
    assert receiver.transport.tempo_bpm == 97.5 and "0 to 1" in receiver.last_error


def test_learning_finds_the_control_that_moves_and_its_range_and_is_kept(receiver, tmp_path):
    learner = Learner("arousal")
    receiver.on_stranger = learner.hear
    for step in range(32):
        receiver.handle(encode("/strip/meter", 1, -60.0 + step % 3), 0.0)
        receiver.handle(encode("/strip/fader", 2, step * 4), 0.0)
        receiver.handle(encode("/1/xy", step / 31, step / 31), 0.0)  # a pair is no single control
    mapping = learner.wait(0.1)
    assert mapping == Mapping("/strip/fader", "arousal", 0.0, 124.0, (2,))
    save_mappings(tmp_path / "map.json", [mapping, read_mapping("/a=valence:0..1")])
    assert load_mappings(tmp_path / "map.json") == [mapping, Mapping("/a", "valence", 0, 1)]


def test_learning_a_pad_and_nothing(receiver):
    learner = Learner("va")
    for step in range(16):
        learner.hear("/1/xy", (step / 15, 1 - step / 15))
    assert learner.wait(0.1) == Mapping("/1/xy", "va", 0.0, 1.0)
    with pytest.raises(ValueError, match="nothing was heard"):
        Learner("valence").wait(0.05)


def test_learning_beside_a_meter_that_never_rests():
    learner, over = Learner("arousal"), threading.Event()

    def meter():
        while not over.wait(0.005):
            learner.hear("/track/1/vu", (time.monotonic() % 1,))

    thread = threading.Thread(target=meter)
    thread.start()
    try:
        learner.leave_out(0.1)
        for step in range(32):
            learner.hear("/fader", (step / 31,))
        began = time.monotonic()
        assert learner.wait(10.0) == Mapping("/fader", "arousal", 0.0, 1.0) and time.monotonic() - began < 3
        restless = Learner("arousal")
        for step in range(4):
            restless.hear("/vu", (step,))
        with pytest.raises(ValueError, match="only /vu was heard"):
            restless.wait(0.2)
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "lara-osc-map"}', '{"format": "lara-osc-map", "mappings": [{"address": "/x"}]}',
                                  '{"format": "lara-osc-map", "mappings": [{"address": "x", "to": "valence", "low": 0, "high": 1, "leading": []}]}',
                                  '{"format": "lara-osc-map", "mappings": [{"address": "/x", "to": "joy", "low": 0, "high": 1, "leading": []}]}'])
def test_another_file_is_no_mapping(tmp_path, text):
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(ValueError, match="no file of mappings"):
        load_mappings(tmp_path / "map.json")


@pytest.mark.parametrize("text", ["", "/x", "/x=joy", "/x=valence:a..b", "/x=valence:1..0", "x=valence"])
def test_a_mapping_that_is_none_is_refused(text):
    with pytest.raises(ValueError):
        read_mapping(text)


# ---- the receiver --------------------------------------------------------------------------------------------------


def test_what_comes_through_the_socket_arrives_in_order(receiver):
    heard = []
    receiver.listeners.append(lambda name, values, now: heard.append(values[0]))
    values = [i / 2000 for i in range(2000)]
    send(receiver, *(encode("/lara/valence", value) for value in values))
    wait_for(lambda: len(heard) == 2000)
    assert heard == pytest.approx(values, abs=1e-7) and receiver.refused == 0


def test_mutated_packets_harm_nothing_and_the_next_good_one_works():
    result = fuzz(50_000, seed=7)
    assert result["next_good_message_works"] and result["refused"] > 20_000 and result["log_lines"] <= 2 + result["seconds"] / 2, result
    assert result["slowest_ms"] < 1000


def test_one_port_is_shared_by_all_in_a_process_and_freed_by_the_last():
    first = Receiver.shared(0)
    first.close()
    with Receiver(0) as probe:
        port = probe.port
    one, two = Receiver.shared(port), Receiver.shared(port)
    assert one is two
    with pytest.raises(ValueError, match="already heard"):
        Receiver.shared(port, "0.0.0.0")
    one.close()
    send(two, encode("/lara/valence", 0.5))
    wait_for(lambda: two.valence == 0.5)
    two.close()
    two.close()
    Receiver.shared(port).close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lara-osc")]


def test_a_port_that_is_taken_is_a_sentence_with_a_remedy(receiver):
    with pytest.raises(ValueError, match=rf"Port {receiver.port} .* choose another port here and in the DAW"):
        Receiver(receiver.port)
    for port, host in ((70_000, "127.0.0.1"), (0, "no.such.host.invalid")):
        with pytest.raises(ValueError):
            Receiver(port, host)


def test_loopback_by_default_and_an_allow_list(caplog):
    with Receiver(0, feedback=()) as receiver:
        assert receiver._socket.getsockname()[0] == "127.0.0.1"
    with Receiver(0, allow=["10.0.0.0/8"], feedback=()) as receiver:
        send(receiver, encode("/lara/valence", 0.5))
        wait_for(lambda: receiver.received == 1)  # this machine is always heard: AbletonOSC answers from it
        assert receiver._welcome("10.1.2.3") and not receiver._welcome("192.168.1.2")
        assert receiver.refused == 1 and "192.168.1.2 sends, and is not among" in receiver.last_error
    with pytest.raises(ValueError, match="network"):
        Receiver(0, allow=["my laptop"])


def test_answers_echoes_and_errors_go_where_the_surface_listens():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as surface:
        surface.bind(("127.0.0.1", 0))
        surface.settimeout(3)
        with Receiver(0, feedback=[surface.getsockname()], mappings=[Mapping("/1/fader", "arousal", 0, 1)]) as receiver:
            receiver.send(protocol.READY, 3, 12.0, 4.0, "/tmp/0003.wav")
            send(receiver, encode("/1/fader", 0.25))
            heard = []
            while ("/lara/arousal", (-0.5,)) not in heard:
                heard += parse(surface.recv(8192))
            assert "/1/fader" not in dict(heard)  # it knows
            send(receiver, encode("/lara/va", 0.5, 1.0), encode("/lara/valence", "loud"))
            while not {"/1/fader", "/lara/error"} <= dict(heard).keys():
                heard += parse(surface.recv(8192))
    assert ("/lara/segment/ready", (3, 12.0, 4.0, "/tmp/0003.wav")) in heard
    heard = dict(heard)
    assert heard["/1/fader"] == (1.0,) and heard["/lara/arousal"] == (1.0,) and "'loud'" in heard["/lara/error"][0]


def test_two_programs_at_once_are_told_and_one_is_not(receiver):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for _ in range(3):
            send(receiver, encode("/lara/valence", 0.1))  # a new socket each time, as oscsend does
        time.sleep(0.05)
        assert receiver.last_error == ""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            for _ in range(3):
                for sender in (one, other):
                    sender.sendto(encode("/lara/valence", 0.1), ("127.0.0.1", receiver.port))
        wait_for(lambda: "Two programs send /lara/valence at once" in receiver.last_error)


def test_a_daw_and_a_tablet_that_share_no_address_are_no_rivals(receiver):
    for step in range(20):
        receiver.handle(encode("/lara/position", step * 0.1), step * 0.1, ("127.0.0.1", 5000))
        receiver.handle(encode("/lara/arousal", 0.1), step * 0.1, ("192.168.1.20", 6000))
    assert receiver.last_error == ""


def test_a_button_that_is_let_go_asks_for_nothing(receiver):
    heard = []
    receiver.listeners.append(lambda name, values, now: heard.append(name))
    for value in (1.0, 0.0):
        receiver.handle(encode("/lara/generate", value), 0.0)
    receiver.handle(encode("/lara/generate"), 0.0)
    assert heard == ["generate", "generate"]


def test_the_log_is_not_flooded(receiver, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(500):
            receiver.handle(b"nonsense", 0.0)
    assert len(caplog.records) == 1 and receiver.refused == 500


# ---- real peers ----------------------------------------------------------------------------------------------------

needs = {name: pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed: NOT TESTED WITH A REAL PEER")
         for name in ("oscsend", "oscdump", "pd", "csound", "sclang")}


@needs["oscsend"]
def test_oscsend(receiver):
    heard = []
    receiver.listeners.append(lambda name, values, now: heard.append((name, values)))
    for arguments in (["/lara/valence", "f", "0.5"], ["/lara/arousal", "d", "-0.25"], ["/lara/valence", "i", "1"], ["/lara/play", "T"], ["/lara/play", "F"],
                      ["/lara/prompt", "s", "solo piano"], ["/lara/seed", "h", "12"], ["/lara/va", "ff", "0.5", "0.5"], ["/lara/valence", "N"],
                      ["/odd", "c", "a"]):
        subprocess.run(["oscsend", "localhost", str(receiver.port), *arguments], check=True, timeout=10)
    wait_for(lambda: receiver.received == 10)
    assert heard == [("affect", (0.5, 0.0)), ("affect", (0.5, -0.25)), ("affect", (1.0, -0.25)), ("play", (True,)), ("play", (False,)),
                     ("prompt", ("solo piano",)), ("seed", (12,)), ("affect", (0.5, 0.5))]
    assert receiver.refused == 1 and "/odd" in receiver.strangers


@needs["oscdump"]
def test_oscdump_reads_our_answers():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dump = subprocess.Popen(["oscdump", "-L", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        with Receiver(0, feedback=[("127.0.0.1", port)]) as receiver:
            time.sleep(0.3)
            receiver.send(protocol.READY, 1, 4.0, 4.0, "a b.wav")
            line = dump.stdout.readline()
            while "/lara/segment" not in line:
                line = dump.stdout.readline()
    finally:
        dump.terminate()
        dump.wait(5)
    assert '/lara/segment/ready iffs 1 4.000000 4.000000 "a b.wav"' in line


@needs["pd"]
def test_pure_data(receiver, tmp_path):
    objects = ["obj 10 10 loadbang", "obj 10 40 del 100", "msg 10 70 0.25 -0.5", "obj 10 100 oscformat lara va", "obj 10 120 list prepend send",
               "obj 10 140 list trim", "obj 10 160 netsend -u -b", f"msg 120 40 connect 127.0.0.1 {receiver.port}"]
    wires = [(0, 7), (7, 6), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]
    patch = ["#N canvas 0 0 450 300 10;", *(f"#X {one};" for one in objects), *(f"#X connect {one} 0 {other} 0;" for one, other in wires)]
    (tmp_path / "send.pd").write_text("\n".join(patch))
    pd = subprocess.Popen(["pd", "-nogui", "-noaudio", "-nomidi", str(tmp_path / "send.pd")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: receiver.arousal == -0.5, 10)
    finally:
        pd.terminate()
        pd.wait(5)
    assert receiver.valence == 0.25 and receiver.refused == 0


@needs["csound"]
def test_csound(receiver, tmp_path):
    program = f"""<CsoundSynthesizer>
<CsOptions>
-n
-d
</CsOptions>
<CsInstruments>
ksmps = 64
instr 1
  kchange init 0
  kchange += 1
  OSCsend kchange, "127.0.0.1", {receiver.port}, "/lara/va", "ff", kchange / 1000, -0.5
endin
</CsInstruments>
<CsScore>
i 1 0 0.2
</CsScore>
</CsoundSynthesizer>"""
    (tmp_path / "send.csd").write_text(program)
    subprocess.run(["csound", str(tmp_path / "send.csd")], capture_output=True, timeout=30)
    wait_for(lambda: receiver.received > 10)
    assert receiver.arousal == -0.5 and receiver.valence > 0 and receiver.refused == 0


@needs["sclang"]
def test_sclang(receiver, tmp_path):
    program = f"""n = NetAddr("127.0.0.1", {receiver.port});
n.sendMsg("/lara/va", 0.5, -0.25);
n.sendMsg("/lara/play", 1);
n.sendBundle(0.2, ["/lara/valence", 0.75], ["/lara/seed", 7]);
n.sendMsg("/lara/prompt", "solo piano");
0.exit;
"""
    (tmp_path / "send.scd").write_text(program)
    without_a_screen = {"QT_QPA_PLATFORM": "offscreen", "QTWEBENGINE_DISABLE_SANDBOX": "1", "HOME": str(tmp_path)}
    subprocess.run(["sclang", str(tmp_path / "send.scd")], env=os.environ | without_a_screen, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    wait_for(lambda: receiver.prompt == "solo piano")
    assert (receiver.valence, receiver.arousal, receiver.seed) == (0.75, -0.25, 7) and receiver.transport.playing
    assert receiver.received == 5 and receiver.refused == 0
