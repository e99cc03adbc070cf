"""Start VLM Studio: settings, studio, page, server. Also the entry point of a Hugging Face Space."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace

# Gradio reads this while it is imported; any value but True keeps it from calling home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# First of all that could touch a GPU; on ZeroGPU nothing works otherwise.
from vlm_studio import spaces_shim  # isort: skip

from vlm_studio.core.conversation import Variant
from vlm_studio.core.logs import set_up
from vlm_studio.core.ports import Engine
from vlm_studio.core.settings import Limits, Settings
from vlm_studio.serve.lifetime import run_until_stopped
from vlm_studio.serve.space_folder import missing_command
from vlm_studio.studio import Studio
from vlm_studio.ui.server import build_server

log = logging.getLogger("vlm_studio")

VISITOR_LIMITS = Limits(upload_bytes=20 * 1024**2, upload_files=8, pdf_pages=100, new_tokens=512)
"""On a shared Space: what one visitor may send at once, so that the next one is not kept waiting."""

GRACE_SECONDS = 3
"""An open page keeps a connection for ever; whoever watches a reading finds it saved."""


def space_settings(settings: Settings, env: Mapping[str, str]) -> Settings:
    """On a Space: visitors apart from each other, bfloat16 where ZeroGPU has the room for it.

    Any host name is answered: the platform routes by it, and a public app has nothing that rebinding would reach.
    """
    if "SPACE_ID" not in env:
        return settings
    return replace(
        settings,
        demo=True,
        space=env["SPACE_ID"],
        host="0.0.0.0",
        allowed_hosts=("*", *filter(None, [env.get("SPACE_HOST", "")])),
        precision="bf16" if spaces_shim.zero_gpu(env) else settings.precision,
        limits=VISITOR_LIMITS,
    )


def fetch_language_model() -> None:
    """A Space installs requirements.txt only; the wheel with the language model goes in without its dependencies."""
    command = missing_command()
    if command and subprocess.run(command, check=False).returncode != 0:
        log.error("the language model could not be installed: reading works, chatting does not")
    importlib.invalidate_caches()


class ZeroGpuStudio(Studio):
    """On ZeroGPU there is one model: what is in memory before the first question is what the forks have."""

    def load(self) -> None:
        tracer = self.tracer
        self.engine = spaces_shim.GpuEngine(self.engine)
        self.tracer = spaces_shim.GpuTracer(tracer)

    def engine_of(self, variant: Variant) -> Engine:
        return self.engine


def main() -> None:
    parser = argparse.ArgumentParser(description="Start VLM Studio.")
    parser.add_argument("--engine", metavar="URL", help="use the model behind an OpenAI-compatible API")
    args = parser.parse_args()
    settings = space_settings(Settings.from_env(os.environ), os.environ)
    settings = replace(settings, model=args.engine or settings.model)
    set_up(settings.log)
    if settings.space:
        fetch_language_model()
    studio = ZeroGpuStudio(settings) if spaces_shim.zero_gpu() else Studio(settings)
    try:
        if isinstance(studio, ZeroGpuStudio):
            studio.load()
        server = build_server(studio)
        spaces_shim.announce()
        if settings.demo:
            studio.visitors.start()
        log.info("VLM Studio is ready at http://%s:%d", settings.host, settings.port)
        run_until_stopped(server, settings.host, settings.port, GRACE_SECONDS)
    finally:
        studio.close()


if __name__ == "__main__":
    main()
