"""Pictures of the example graphs after a run, as ComfyUI's page draws them: workflows/*.jpg, which its template browser shows.

    python tests/comfy/comfy_thumbnails.py ["First sound" ...]    # needs the prepared ComfyUI (make comfy) and Chromium
"""

import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

import comfy_server
import comfy_workflows
from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(comfy_server.ROOT))
from lara_core import cli

WIDTH, QUALITY, MARGIN, TITLE, SETTLED_MS = 1120, 82, 24, 30, 3000
YOUR_MUSIC = ("--prompt", "string quartet", "--preset", "heartbreak", "--seconds", "30", "--seed", "1", "--no-score")
PLACED = """([margin, title]) => {  // all nodes into the upper left corner, at their own size -> how large a window they need
    const left = Math.min(...app.graph.nodes.map(({ pos }) => pos[0])), top = Math.min(...app.graph.nodes.map(({ pos }) => pos[1])) - title;
    const right = Math.max(...app.graph.nodes.map(({ pos, size }) => pos[0] + size[0])), bottom = Math.max(...app.graph.nodes.map(({ pos, size }) => pos[1] + size[1]));
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [margin - left, margin - top];
    app.canvas.setDirty(true, true);
    return [right - left + 2 * margin, bottom - top + 2 * margin].map(Math.ceil);
}"""


def picture(page, server, name: str) -> Image.Image:
    """An example graph, run."""
    graph = json.loads((comfy_workflows.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    page.evaluate("([graph, name]) => app.loadGraphData(graph, true, true, name)", [graph, name])
    with page.expect_response("**/prompt") as queued:
        page.evaluate("() => app.queuePrompt(0)")
    server.outputs(queued.value.json()["prompt_id"])
    width, height = page.evaluate(PLACED, [MARGIN, TITLE])
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate(PLACED, [MARGIN, TITLE])
    page.wait_for_timeout(SETTLED_MS)
    whole = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return whole.resize((WIDTH, round(height * WIDTH / width)), Image.Resampling.LANCZOS)


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, comfy_server.running(Path(folder)) as server, sync_playwright() as playwright:
        cli.main(["generate", *YOUR_MUSIC, "-o", str(server.base / "input" / "your-music.wav")])
        server.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.Graph.CanvasInfo": False, "Comfy.Graph.CanvasMenu": False})
        page = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=comfy_server.FLAGS).new_page(viewport={"width": 1600, "height": 900})
        comfy_server.open_page(page, server)
        page.evaluate("() => { app.extensionManager.command.execute('Workspace.ToggleFocusMode'); }")
        page.add_style_tag(content=".comfy-menu-hamburger { display: none !important; }")
        for name in names or comfy_workflows.WORKFLOWS:
            picture(page, server, name).save(comfy_workflows.FOLDER / f"{name}.jpg", quality=QUALITY)
            print(comfy_workflows.FOLDER / f"{name}.jpg")


if __name__ == "__main__":
    main(sys.argv[1:])
