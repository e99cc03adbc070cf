"""Start VLM Studio: settings, studio, page, server. Also the entry point of a Hugging Face Space."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

# Gradio reads this while it is imported; any value but True keeps it from calling home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import uvicorn

from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.ui.server import build_server

log = logging.getLogger("vlm_studio")


def space_settings(settings: Settings, env: dict[str, str]) -> Settings:
    """On a Space: every visitor apart, reachable under the Space's own host name."""
    if "SPACE_ID" not in env:
        return settings
    host = env.get("SPACE_HOST", "*.hf.space")
    return replace(settings, demo=True, host="0.0.0.0", allowed_hosts=(host, "127.0.0.1", "localhost"))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = space_settings(Settings.from_env(os.environ), dict(os.environ))
    studio = Studio(settings)
    try:
        server = build_server(studio)
        log.info("VLM Studio is ready at http://%s:%d", settings.host, settings.port)
        uvicorn.run(
            server,
            host=settings.host,
            port=settings.port,
            log_level="warning",
            # An open page keeps a connection for ever; whoever watches a reading finds it saved.
            timeout_graceful_shutdown=3,
        )
    finally:
        studio.close()


if __name__ == "__main__":
    main()
