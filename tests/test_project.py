"""The project as a whole: loads as ComfyUI loads it, imports run one way, and what is installed is what is tested."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "lara_core").rglob("*.py"))
PROJECT = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())  # from Python 3.11 on

# Each room may import those before it, and its neighbours in the same row.
ROWS = (("affect", "audio", "choices", "weights", "workers"),
        ("codec", "conditioning", "listener", "text", "plot"),
        ("decoder", "linear", "predictor", "score", "alignment", "clap", "adapter", "score_predictor"),
        ("sampling", "checkpoint"),
        ("take", "tries"),
        ("pipeline",),
        ("piece", "report", "benchmark"),
        ("cli", "making", "options", "osc", "daw", "__main__"))
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms} | {"__init__": -1}  # the version, for everyone

LOAD_AS_COMFYUI = """
import importlib.util, sys
root, name = sys.argv[1], sys.argv[1].replace(".", "_x_")
before = set(sys.modules)
spec = importlib.util.spec_from_file_location(name, root + "/__init__.py", submodule_search_locations=[root])
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
spec.loader.exec_module(module)
heavy = {"torch", "numpy", "transformers", "matplotlib", "mido"} & {new.split(".")[0] for new in set(sys.modules) - before}
print(module.__version__, sorted(heavy), hasattr(module, "NODE_CLASS_MAPPINGS"), "lara_core" in sys.modules)
"""


def imports(path: Path) -> list[tuple[int, str, list[str]]]:
    """Every import in a file, late ones too -> (level, module, names)."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", [alias.name for alias in node.names]))
    return found


def rooms_imported(path: Path) -> set[str]:
    """The rooms of lara_core that a file in it imports."""
    depth = len(path.relative_to(ROOT / "lara_core").parts)
    rooms = set()
    for level, module, names in imports(path):
        if level == depth:  # from the package: `from .affect import`, or in codec/ `from ..audio import`
            rooms |= {module.split(".")[0]} if module else {name if name in ROW_OF else "__init__" for name in names}
        assert level <= depth, f"{path} imports from outside the package"
    return rooms


def test_the_root_loads_as_comfyui_loads_it_and_brings_nothing_heavy(tmp_path):
    result = subprocess.run([sys.executable, "-c", LOAD_AS_COMFYUI, str(ROOT)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[0] == f"{PROJECT['project']['version']} [] False False"


def test_the_root_is_quiet_without_a_package(tmp_path):
    """pytest imports a root __init__.py by itself, where relative imports are impossible."""
    code = "import runpy, sys; print(sorted(n for n in runpy.run_path(sys.argv[1]) if not n.startswith('__')))"
    result = subprocess.run([sys.executable, "-c", code, str(ROOT / "__init__.py")], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.stdout.strip(), result.returncode) == ("[]", 0), result.stderr


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_knows_nothing_of_comfyui_nor_its_own_name(path):
    absolute = {module.split(".")[0] for level, module, _ in imports(path) if level == 0}
    assert not absolute & {"comfy", "comfy_api", "folder_paths", "nodes", "server", "lara_core"}


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    room = path.relative_to(ROOT / "lara_core").parts[0].removesuffix(".py")
    assert room in ROW_OF, f"{room} has no row yet: give it its place in ROWS"
    later = {other for other in rooms_imported(path) if ROW_OF[other] > ROW_OF[room]}
    assert not later, f"{room} imports {later}, which stand above it"


def test_no_room_is_pickled_evaluated_or_run():
    """Weights are safetensors; the registry of ComfyUI refuses eval and exec."""
    for path in CORE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in ("eval", "exec", "torch.load", "pickle.load", "pickle.loads", "os.system"), f"{path}:{node.lineno}"


def names_in(text: str) -> dict[str, str]:
    """Requirement lines -> {normalised name: the rest of the line}."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    found = (re.match(r"([A-Za-z0-9._-]+)\s*(.*)", line) for line in lines if line)
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in found}


def test_constraints_pin_every_requirement_exactly():
    pins = names_in((ROOT / "constraints.txt").read_text())
    assert all(re.fullmatch(r"==[0-9][0-9A-Za-z.]*", pin) for pin in pins.values())
    wanted = names_in((ROOT / "requirements.txt").read_text())
    for extra in PROJECT["project"]["optional-dependencies"].values():
        wanted |= names_in("\n".join(extra))
    assert wanted.keys() <= pins.keys(), wanted.keys() - pins.keys()
    assert f"torch{pins['torch']}" in (ROOT / "Makefile").read_text()
    assert "torchaudio" not in wanted and "encodec" not in wanted


def test_every_third_party_import_is_required():
    """What lara_core imports is the standard library, itself, or a line of requirements.txt."""
    names = {"pretty-midi": "pretty_midi", "python-osc": "pythonosc", "huggingface-hub": "huggingface_hub"}
    required = {names.get(name, name) for name in names_in((ROOT / "requirements.txt").read_text())}
    # used where they are there: cli.py passes on to the trainer, benchmark to a cluster, live to a device and to surfaces that look for it
    late = {"training", "ray", "sounddevice", "zeroconf", "ifaddr", "aalink"}
    for path in CORE:
        absolute = {module.split(".")[0] for level, module, _ in imports(path) if level == 0}
        assert absolute <= required | set(sys.stdlib_module_names) | late, path


def test_every_bench_and_trainer_finds_what_it_imports():
    """What a README names as a command begins at all."""
    for path in [*(ROOT / "bench").glob("*.py"), *(ROOT / "training").glob("*.py")]:
        importlib.import_module(f"{path.parent.name}.{path.stem}")


def test_what_pyproject_names_is_there():
    setuptools = PROJECT["tool"]["setuptools"]
    folders = setuptools["package-dir"]
    for package in setuptools["packages"]:
        assert (ROOT / folders.get(package, package.replace(".", "/"))).is_dir(), package
    packaged = {".".join(path.parent.relative_to(ROOT).parts) for path in CORE}
    assert packaged <= set(setuptools["packages"])
    module, function = PROJECT["project"]["scripts"]["lara"].split(":")
    source = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
    assert function in {node.name for node in source.body if isinstance(node, ast.FunctionDef)}
    assert "MIT License" in (ROOT / "LICENSE").read_text()


def test_ci_runs_the_tests():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], timeout=10).returncode == 0
