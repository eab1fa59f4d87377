"""What ComfyUI's registry asks of a pack, by its own tool: it is valid, and what would be published is what a user needs."""

import os
import subprocess
import zipfile

import comfy_server
import pytest

NEEDED = {"__init__.py", "requirements.txt", "pyproject.toml", "README.md", "LICENSE", "models/embedded/model.safetensors", "nodes/generate.py",
          "web/timeline.js", "workflows/First sound.json", "locales/de/nodeDefs.json"}


def comfy(folder, home, command: str) -> str:
    """`comfy node ...` of the prepared ComfyUI's environment -> what it says."""
    if not comfy_server.is_prepared():
        pytest.skip("NO REAL COMFYUI: its registry's tool was not asked (make comfy)")
    program = [str(comfy_server.python()), "-m", "comfy_cli", "--skip-prompt", "--no-enable-telemetry", "node", command]
    done = subprocess.run(program, cwd=folder, env=os.environ | {"HOME": str(home)}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_pack_is_valid(tmp_path):
    assert "passed" in comfy(comfy_server.ROOT, tmp_path, "validate")


def test_what_is_packed_is_what_a_user_needs(tmp_path):
    if not (comfy_server.ROOT / ".git").exists():
        pytest.skip("this is no checkout, and the tool packs what git knows")
    copy = tmp_path / "pack"
    subprocess.run(["git", "clone", "-q", comfy_server.ROOT, copy], check=True)
    comfy(copy, tmp_path, "pack")
    with zipfile.ZipFile(copy / "node.zip") as packed:
        names = set(packed.namelist())
        assert sum(file.file_size for file in packed.infolist()) < 60e6
    assert NEEDED <= names and not {name for name in names if name.startswith(("tests/", "training/", "bench/", ".ci/", "runs/"))}
