"""Who may import whom, who alone may import what, how long files may be, and that importing does no I/O."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vlm_studio"

ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "ingest": {"core"},
    "reading": {"core"},
    "model": {"core"},
    "trace": {"core"},
    "store": {"core"},
    "views": {"core"},
    "adapt": {"core", "model"},
    # Of trace, what is arithmetic on arrays; what touches a model comes through a port.
    "tasks": {
        "core",
        "ingest",
        "reading",
        "trace.maps",
        "trace.geometry",
        "trace.honesty",
        "trace.store_format",
    },
    "ui": {"core", "tasks", "views", "studio", "serve.access", "serve.guards"},
    # Images that come over the network pass the same intake as uploads.
    "serve": {"core", "ingest", "model", "studio"},
    "recipe": {"core", "model", "reading", "ingest"},
    "shipped": {"core", "model", "tasks"},
    "studio": {
        "core",
        "ingest",
        "reading",
        "model",
        "trace",
        "store",
        "tasks",
        "adapt",
        "views",
        "serve",
        "shipped",
    },
    # A shell hands in paths, so reading files is the command line's own edge.
    "cli": {"core", "ingest", "tasks", "studio", "ui", "serve", "views"},
}
ONLY_IMPORTER: dict[str, str] = {
    "gradio": "vlm_studio/ui/",
    "sqlite_utils": "vlm_studio/store/",
    "pymupdf": "vlm_studio/ingest/pdf_worker.py",
    "rapidocr": "vlm_studio/reading/",
    "spaces": "vlm_studio/spaces_shim.py",
    "ray": "vlm_studio/serve/",
}


def sources() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p.stat().st_size)


def imports(path: Path) -> Iterator[str]:
    """Dotted names a file imports at run time, those under TYPE_CHECKING left out."""
    tree = ast.parse(path.read_text("utf-8"))
    checked_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in checked_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "cli" if first.startswith("cli") or first == "__main__" else first


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_towards_core(path: Path) -> None:
    layer = layer_of(path)
    if layer == "__init__":
        return
    for name in imports(path):
        if not name.startswith("vlm_studio."):
            continue
        target = name.removeprefix("vlm_studio.")
        top = target.split(".")[0]
        top = "cli" if top.startswith("cli") else top
        if top == layer or target in {"__version__", "SOURCE_URL"}:
            continue
        allowed = ALLOWED.get(layer, {"core"})
        assert top in allowed or any(target == a or target.startswith(a + ".") for a in allowed), (
            f"{path.relative_to(ROOT)} imports {name}: {layer} may import {sorted(allowed)}"
        )


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_foreign_packages_have_one_importer(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    for name in imports(path):
        owner = ONLY_IMPORTER.get(name.split(".")[0])
        assert owner is None or place.startswith(owner), f"{place} imports {name}; only {owner} may"


def test_core_is_standard_library_only() -> None:
    known = set(sys.stdlib_module_names) | {"vlm_studio"}
    for path in (PACKAGE / "core").glob("*.py"):
        assert {name.split(".")[0] for name in imports(path)} <= known, path.name


def test_file_sizes() -> None:
    lengths = {p: len(p.read_text("utf-8").splitlines()) for p in sources()}
    assert {p.name: n for p, n in lengths.items() if n > 600} == {}
    assert statistics.median(lengths.values()) <= 150


def test_nobody_loads_code_from_a_file() -> None:
    for path in sources():
        text = path.read_text("utf-8")
        assert "trust_remote_code=True" not in text, path
        assert not any(name.split(".")[0] in {"pickle", "dill", "joblib"} for name in imports(path)), path


def test_importing_does_no_io(tmp_path: Path) -> None:
    """Every light module is imported in a fresh process; no file outside Python's own is opened for writing,
    and no name is looked up on the network."""
    code = """
import importlib, sys
bad = []
def hook(event, args):
    if event == "open" and isinstance(args[1], str) and any(c in args[1] for c in "wax+"):
        if "__pycache__" not in str(args[0]):
            bad.append((event, str(args[0])))
    if event in {"socket.getaddrinfo", "socket.connect", "sqlite3.connect", "subprocess.Popen"}:
        bad.append((event, str(args)))
sys.addaudithook(hook)
for name in sys.argv[1:]:
    importlib.import_module(name)
assert not bad, bad
"""
    light = [
        p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for p in sources()
        if layer_of(p) in {"core", "tasks", "store", "views", "studio"} or p.parent.name == "ingest"
    ]
    names = [n.removesuffix(".__init__") for n in light if not n.endswith("pdf_worker")]
    done = subprocess.run(
        [sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
