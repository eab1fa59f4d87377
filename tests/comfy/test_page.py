"""ComfyUI's own page, in headless Chromium: what it queues for each example graph is what the other tests run."""

import json
import shutil

import comfy_workflows
import pytest

sync_api = pytest.importorskip("playwright.sync_api")
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
PLAYERS = {"audioUI", "preview"}  # widgets that only show; the page sends them empty
START_MS = 120_000


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
        page.goto(server.url, timeout=START_MS)
        page.wait_for_function("window.app?.graph && window.app?.extensionManager?.workflow?.activeWorkflow", timeout=START_MS)
        yield page
        browser.close()


@pytest.mark.parametrize("path", sorted(comfy_workflows.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_the_page_queues_what_the_tests_run(path, page, object_info):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    queued = page.evaluate("async () => (await app.graphToPrompt()).output")
    shown = {number: {"class_type": node["class_type"], "inputs": {name: value for name, value in node["inputs"].items() if name not in PLAYERS}}
             for number, node in queued.items()}
    assert shown == comfy_workflows.api_format(workflow, object_info)
    assert not page.errors
