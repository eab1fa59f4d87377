"""ComfyUI's own page, in headless Chromium, with both of its ways to draw nodes: every example graph and node works there, and what
the page queues is what the other tests run. Pictures of it come into out/comfyui."""

import json
import shutil
import socket
import time

import comfy_workflows
import pytest
from comfy_server import FLAGS, open_page
from pythonosc.udp_client import SimpleUDPClient

sync_api = pytest.importorskip("playwright.sync_api")
PLAYERS = {"audioUI", "preview"}  # widgets that only show; the page sends them empty
RUN_MS, SETTLED_MS = 60_000, 500
PICTURES = comfy_workflows.FOLDER.parent / "out" / "comfyui"


@pytest.fixture(scope="module")
def page(server):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("NO CHROMIUM: the example graphs were not loaded in the page")
    server.post("/settings", {"Comfy.TutorialCompleted": True})
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        open_page(page, server)
        yield page
        browser.close()


@pytest.fixture(params=["canvas", "Nodes 2.0"])
def drawn(request, page):
    """The page with nodes on the canvas, or as elements."""
    page.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", request.param != "canvas")
    page.errors.clear()
    yield page
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{request.node.name}.png")
    assert not page.errors


def load(page, name: str) -> dict:
    """Open an example graph -> its JSON."""
    workflow = json.loads((comfy_workflows.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    page.evaluate("([workflow, name]) => app.loadGraphData(workflow, true, true, name)", [workflow, name])
    page.evaluate("() => { app.canvas.ds.scale = 1; app.canvas.ds.offset = [100, 100]; app.canvas.setDirty(true, true); }")
    return workflow


def queued(page) -> dict:
    """What the page would queue, without the widgets that only show."""
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    return {number: {"class_type": node["class_type"], "inputs": {name: value for name, value in node["inputs"].items() if name not in PLAYERS}}
            for number, node in prompt.items()}


@pytest.mark.parametrize("name", comfy_workflows.WORKFLOWS)
def test_the_page_queues_what_the_tests_run(name, drawn, object_info):
    workflow = load(drawn, name)
    assert queued(drawn) == comfy_workflows.api_format(workflow, object_info)


def test_every_node_can_be_added(drawn, object_info):
    drawn.evaluate("() => app.graph.clear()")
    kinds = [kind for kind in object_info if kind.startswith("LARA")]
    drawn.evaluate("""kinds => kinds.forEach((kind, i) => {
        const node = LiteGraph.createNode(kind);
        node.pos = [100 + 420 * (i % 5), 100 + 500 * Math.floor(i / 5)];
        app.graph.add(node);
    })""", kinds)
    assert {node["class_type"] for node in queued(drawn).values()} == set(kinds)


def test_a_graph_of_an_older_version_queues_the_same(drawn, object_info):
    """Inputs that came later are optional and come last: what an older version saved lacks them."""
    name, newer = "Emotion arc", {"report", "filename_prefix"}
    workflow = json.loads((comfy_workflows.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    older = json.loads(json.dumps(workflow))
    for node in older["nodes"]:
        if node["type"] == "LARAScoreEmotion":
            node["inputs"] = [socket for socket in node["inputs"] if socket["name"] not in newer]
            node["widgets_values"] = node["widgets_values"][:-len(newer)]
        for socket in node["inputs"]:
            socket["type"] = socket["type"].split(",")[0]
    assert older != workflow
    drawn.evaluate("workflow => app.loadGraphData(workflow, true, true, 'older')", older)
    assert queued(drawn) == comfy_workflows.api_format(workflow, object_info)


def test_sockets_have_colours_of_their_own(drawn):
    load(drawn, "First sound")
    for palette in ("light", "dark"):  # a change takes the canvas's colours away
        drawn.evaluate("name => app.extensionManager.setting.set('Comfy.ColorPalette', name)", palette)
        colours = drawn.evaluate("""async () => {
            await new Promise((done) => setTimeout(done, 700));
            const style = getComputedStyle(document.body), kinds = ["LARA_MODEL", "LARA_EMOTION", "LARA_PIECE"];
            return kinds.map((kind) => [app.canvas.default_connection_color_byType[kind], style.getPropertyValue(`--color-datatype-${kind}`).trim()]);
        }""")
        assert all(canvas == nodes and canvas for canvas, nodes in colours) and len({canvas for canvas, _ in colours}) == 3


def test_a_graph_that_is_opened_at_once_keeps_its_values(page, server, object_info):
    """ComfyUI shows the graph of the last session as soon as it can, even where what the widgets need comes late."""
    other = page.context.browser.new_page()
    other.route("**/extensions/lara-gen/*.json", lambda route: (time.sleep(1), route.continue_()))
    open_page(other, server)
    workflow = load(other, "Emotion arc")
    assert queued(other) == comfy_workflows.api_format(workflow, object_info)
    other.close()


def test_a_saved_report_can_be_opened(drawn):
    load(drawn, "Emotion arc")
    drawn.evaluate("""() => {
        const set = (kind, name, value) => { app.graph.nodes.find((node) => node.type === kind).widgets.find((w) => w.name === name).value = value; };
        set("LARAGenerateMusic", "seconds", 6);
        set("LARAScoreEmotion", "report", true);
        app.queuePrompt(0);
    }""")
    button = "app.graph.nodes.find((node) => node.type === 'LARAScoreEmotion').widgets.find((widget) => widget.name === 'Open report')"
    drawn.wait_for_function(f"() => {button}", timeout=RUN_MS)
    drawn.wait_for_timeout(SETTLED_MS)
    with drawn.expect_popup() as opened:
        drawn.evaluate(f"() => {button}.callback()")
    opened.value.get_by_role("heading", name="Emotion of 1 piece").wait_for()
    opened.value.close()
    assert "Open report" not in json.dumps(queued(drawn))


LANE = "document.querySelector('lara-timeline').shadowRoot.querySelector('.valence .recorded').getAttribute('d')"


def test_a_pass_of_a_daw_is_seen_and_taken_over(drawn, server):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    load(drawn, "Emotion arc")
    drawn.evaluate("""port => {
        const [input, shown] = ["LARAOSCInput", "PreviewAny"].map((kind) => LiteGraph.createNode(kind));
        [input, shown].forEach((node, i) => { node.pos = [100 + 350 * i, -300]; app.graph.add(node); });
        input.widgets.find((widget) => widget.name === "port").value = port;
        input.connect(2, shown, 0);
        app.graph.nodes.filter((node) => node.type.startsWith("LARA") && node !== input).forEach((node) => { node.mode = 2; }); // muted
        app.queuePrompt(0);
    }""", port)
    daw = SimpleUDPClient("127.0.0.1", port)
    end = time.monotonic() + RUN_MS / 1000
    while not drawn.evaluate(LANE):  # the node listens from its run on
        assert time.monotonic() < end
        for step in range(12):
            for address, value in (("/lara/play", True), ("/lara/position", step * 0.2), ("/lara/valence", step / 6 - 1)):
                daw.send_message(address, value)
            drawn.wait_for_timeout(100)
    daw.send_message("/lara/play", False)
    drawn.wait_for_timeout(1500)
    recorded = json.loads(server.get("/lara/recorded")[-1]["curve"])
    drawn.get_by_role("button", name="Take over").click()
    number = drawn.evaluate("app.graph.nodes.find((node) => node.type === 'LARAEmotionCurve').id")
    value = json.loads(drawn.evaluate("id => app.graph.getNodeById(id).widgets[0].value", number))
    assert value["unit"] == "beats" and [p["valence"] for p in value["points"]] == [p["valence"] for p in recorded["points"]]
    assert value["points"][-1]["t"] > 1 and value["points"][-1]["valence"] > 0.5


WIDGETS = {"pad": ("First sound", "lara-va-pad .knob", "1", "va"),
           "timeline": ("Emotion arc", "lara-timeline .lane.arousal .handle[data-index='1'] .mark", "2", "curve")}


@pytest.mark.parametrize("widget", WIDGETS)
def test_a_drag_is_queued_undone_and_reloaded(widget, drawn):
    graph, grip, number, name = WIDGETS[widget]
    load(drawn, graph)
    drawn.evaluate("""id => {  // its node into the middle of the window
        const { pos, size } = app.graph.getNodeById(id);
        app.canvas.ds.offset = [innerWidth / 2 - pos[0] - size[0] / 2, innerHeight / 2 - pos[1] - size[1] / 2];
        app.canvas.setDirty(true, true);
    }""", int(number))
    drawn.wait_for_timeout(SETTLED_MS)
    values = [queued(drawn)[number]["inputs"][name]]
    box = drawn.locator(grip).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    drawn.mouse.move(x, y)
    drawn.mouse.down()
    drawn.mouse.move(x - 30, y + 40, steps=5)
    drawn.mouse.up()
    for change in ("() => null", "() => TRACKER.undo()", "() => TRACKER.redo()", "() => app.loadGraphData(app.graph.serialize(), true, true)"):
        drawn.evaluate(change.replace("TRACKER", "app.extensionManager.workflow.activeWorkflow.changeTracker"))
        values.append(queued(drawn)[number]["inputs"][name])
    before, dragged, undone, redone, reloaded = map(json.loads, values)
    assert before == undone != dragged == redone == reloaded
    point, was = (dragged, before) if name == "va" else (dragged["points"][1], before["points"][1])
    assert point["arousal"] < was["arousal"] - 0.1
