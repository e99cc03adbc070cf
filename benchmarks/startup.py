"""How long does a second start take? Run: python benchmarks/startup.py

`python run.py --no-browser` is started in this folder, whose .venv must be complete (`python run.py install`), and the
time until /healthz answers and until the first page is served is taken, several times, with the machine's load and the
processor time of the whole start and stop beside it: on a busy machine only that says something. Also says which heavy libraries a start has imported; none should be there. Writes results/startup.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).resolve().parent / "results" / "startup.json"
HEAVY = ("torch", "transformers", "onnxruntime", "rapidocr", "pymupdf", "peft")


def one_start(data: Path) -> dict[str, float]:
    """Seconds from the command to an answer, and to the whole first page."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "VLM_STUDIO_PORT": str(port), "VLM_STUDIO_DATA_DIR": str(data)}
    begun, spent = time.perf_counter(), _children_cpu()
    process = subprocess.Popen(
        [sys.executable, "run.py", "--no-browser"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/healthz", process)
        answers = time.perf_counter() - begun
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).read()
        assert b"VLM Studio" in page
        taken = {"answers": round(answers, 2), "page": round(time.perf_counter() - begun, 2)}
    finally:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        process.wait(60)
    return {**taken, "cpu": round(_children_cpu() - spent, 2)}


def _children_cpu() -> float:
    """Processor seconds of all ended children so far."""
    times = os.times()
    return times.children_user + times.children_system


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
        else:
            return
    raise SystemExit("The app ended instead of starting. Run: python run.py")


def heavy_imports() -> list[str]:
    """Of HEAVY, what is imported once the page is built."""
    code = (
        "import os, sys, tempfile, pathlib; os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'; import app;"
        "from vlm_studio.core.settings import Settings;"
        "app.build_server(app.Studio(Settings(data_dir=pathlib.Path(tempfile.mkdtemp()))));"
        f"print(*[m for m in {HEAVY!r} if m in sys.modules])"
    )
    python = ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = subprocess.run([python, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=3)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as data:
        for number in range(args.starts):
            load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
            rows.append({**one_start(Path(data)), "load": load})
            print(f"start {number + 1}: {json.dumps(rows[-1])}", flush=True)
    result: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "starts": rows,
        "median_page": statistics.median(row["page"] for row in rows),
        "median_cpu": statistics.median(row["cpu"] for row in rows),
        "heavy_imports": heavy_imports(),
    }
    print(
        f"median to the first page: {result['median_page']} s; heavy imports: {result['heavy_imports'] or 'none'}"
    )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
