"""Set up and start VLM Studio with nothing but Python: ``python run.py [install|test|start] [...]``.

    python run.py            make .venv, install what is missing, start the app and open it
    python run.py install    only install
    python run.py test ...   install, then run the tests (further words go to pytest)

Standard library only. An interrupted installation goes on where it stopped: pip keeps what it has
already downloaded, and the stamp that says "complete" is written last.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
RUNTIME = ("requirements.txt",)
WITHOUT_DEPENDENCIES = ("requirements-nodeps.txt",)
DEVELOPMENT = ("requirements-dev.txt",)
FREE_BYTES_NEEDED = 4 * 1024**3
"""Measured: 2.4 GB with a CPU build of torch, and what pip unpacks on the way."""

FREE_BYTES_CUDA = 9 * 1024**3
"""The CUDA build of torch, which the package index gives to Linux, takes about 7 GB."""

STOP_SECONDS = 20.0
"""What the app is given to save what it is reading."""


class SetupError(Exception):
    """What is missing, and what to do about it."""


def main(argv: list[str]) -> int:
    command = argv[0] if argv and argv[0] in {"install", "test", "start"} else "start"
    rest = argv[1:] if argv and argv[0] == command else argv
    if command == "start" and rest and not rest[0].startswith("-"):
        print(f"Unknown command {rest[0]!r}: use install, test or start.", file=sys.stderr)
        return 2
    try:
        if not _supported(sys.version_info[:2]):
            other = _other_python()
            if other is not None:
                print(
                    f"This is Python {sys.version_info[0]}.{sys.version_info[1]}; going on with {other}.",
                    flush=True,
                )
                return subprocess.call([other, str(Path(__file__).resolve()), *argv])
        check_python(sys.version_info[:2])
        python = ensure_venv()
        install(python, development=command == "test")
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where it stopped.", file=sys.stderr)
        return 130
    if command == "install":
        print("Installed. Start with: python run.py")
        return 0
    if command == "test":
        return subprocess.call([str(python), "-m", "pytest", *rest], cwd=ROOT)
    return start(python, rest)


def _supported(version: tuple[int, ...]) -> bool:
    return (3, 11) <= version <= (3, 12)


def _other_python() -> str | None:
    """A supported Python beside the one that runs this, or None."""
    return shutil.which("python3.12") or shutil.which("python3.11")


def check_python(version: tuple[int, ...]) -> None:
    """Raises SetupError for a Python that the pinned packages do not support."""
    if not _supported(version):
        raise SetupError(
            f"This is Python {version[0]}.{version[1]}; VLM Studio needs 3.11 or 3.12.\n"
            "Install one from your system's packages or python.org, then run: python3.12 run.py"
        )


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def ensure_venv() -> Path:
    """The Python of .venv, made when it is missing or broken. Raises SetupError when it cannot be."""
    python = venv_python()
    # A folder from an older set-up may hold another Python, or have moved with its disk.
    if python.exists() and _works(
        python, "import pip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))"
    ):
        return python
    print(f"Making a virtual environment in {VENV.name} ...", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
    if made.returncode != 0 or not _works(python, "import pip"):
        detail = (made.stdout + made.stderr).strip().splitlines()[-1:] or ["no message"]
        raise SetupError(
            f"The virtual environment could not be made ({detail[0]}).\n"
            "On Debian or Ubuntu: sudo apt install python3-venv.\n"
            "Elsewhere: install Python again, with venv and pip."
        )
    return python


def _works(python: Path, code: str) -> bool:
    try:
        return subprocess.run([str(python), "-c", code], capture_output=True).returncode == 0
    except OSError:
        return False


def install(python: Path, development: bool) -> None:
    """Bring .venv up to the requirement files; does nothing when it already is. Raises SetupError."""
    steps = [(RUNTIME, ["--prefer-binary"]), (WITHOUT_DEPENDENCIES, ["--no-deps"])]
    if development:
        steps.append((DEVELOPMENT, []))
    for files, options in steps:
        stamp = VENV / f".complete-{Path(files[0]).stem}"
        digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in files)).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            continue
        if files == RUNTIME:
            _check_disk()
        print(f"Installing {', '.join(files)} (the first time this takes some minutes) ...", flush=True)
        names = [part for name in files for part in ("-r", str(ROOT / name))]
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *options, *names]
        if subprocess.call(command, cwd=ROOT) != 0:
            raise SetupError(_diagnosis())
        stamp.write_text(digest)


def _check_disk() -> None:
    free = shutil.disk_usage(ROOT).free
    if free < FREE_BYTES_NEEDED:
        raise SetupError(
            f"Only {free / 1024**3:.1f} GB are free here; the installation needs "
            f"{FREE_BYTES_NEEDED / 1024**3:.0f} GB.\nFree some space, or move this folder to a larger disk."
        )
    if free < FREE_BYTES_CUDA and sys.platform == "linux":
        print(
            f"Note: {free / 1024**3:.1f} GB are free. A CUDA build of torch can need "
            f"{FREE_BYTES_CUDA / 1024**3:.0f} GB."
        )


def _diagnosis() -> str:
    """The likeliest reason why pip failed, as one message; pip's own words stand above it."""
    free = shutil.disk_usage(ROOT).free
    if free < 512 * 1024**2:
        return (
            "The disk is full. Free some space and run the same command again: it goes on where it stopped."
        )
    return (
        "The installation did not finish; pip's message is above.\n"
        "No network? Connect and run the same command again: what was downloaded is kept.\n"
        "Behind a proxy? Set HTTPS_PROXY first."
    )


def start(python: Path, options: list[str]) -> int:
    """Run the app until it ends; open a browser once it answers, unless --no-browser is given."""
    port = os.environ.get("VLM_STUDIO_PORT", "7860")
    address = f"http://127.0.0.1:{port}"
    browser = "--no-browser" not in options and not os.environ.get("CI")
    if _answers(address):
        print(f"VLM Studio is already running at {address}.")
        if browser:
            webbrowser.open(address)
        return 0
    if _taken(port):
        print(
            f"Port {port} is used by another program.\n"
            "Choose another one first: VLM_STUDIO_PORT=7861 (Windows: set VLM_STUDIO_PORT=7861).",
            file=sys.stderr,
        )
        return 1
    if browser:
        threading.Thread(target=_open_when_ready, args=(address,), daemon=True).start()
    print(f"Starting VLM Studio at {address} (Ctrl+C stops it) ...", flush=True)
    app = subprocess.Popen([str(python), str(ROOT / "app.py")], cwd=ROOT)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return app.wait()
    except KeyboardInterrupt:
        # Ctrl+C reaches the app too, and it saves what it is reading; a kill would not let it.
        if not _ended(app, 1.0):
            app.terminate()
        if not _ended(app, STOP_SECONDS):
            app.kill()
        return 0


def _ended(app: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        app.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _taken(port: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return port.isdigit() and probe.connect_ex(("127.0.0.1", int(port))) == 0


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=1) as answer:
            return b'"status":"ok"' in answer.read(200).replace(b" ", b"")
    except (OSError, ValueError):
        return False


def _open_when_ready(address: str) -> None:
    for _ in range(240):
        if _answers(address):
            webbrowser.open(address)
            return
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
