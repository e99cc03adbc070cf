"""Every place where bytes from outside are parsed, with examples of good input and a way to spoil them.

An entry may return, or raise a StudioError: anything else is a fault of ours. `benchmarks/faults_inputs.py` tries many
more spoilt inputs through the same entries than the tests do.
"""

from __future__ import annotations

import base64
import io
import json
import random
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image
from safetensors.numpy import save

from tests.ingest.test_upload import encoded, picture
from tests.security.pdf_entry import open_pdf, pdf_seeds
from tests.security.spoiling import Spoil, spoilt, spoilt_image, spoilt_json, spoilt_pdf, spoilt_zip
from tests.serve.scripted import CARD
from tests.serve.test_remote import trace
from tests.tasks.chat_fakes import Desk
from tests.tasks.chat_fakes import ScriptedEngine as ScriptedChat
from tests.tasks.fakes import CountingReader, page_image, png
from tests.tasks.test_evidence import evidence, packed
from vlm_studio.core.adapters import AdapterFacts
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.upload import open_pages
from vlm_studio.model.adapter_file import parse_adapter, read_config
from vlm_studio.model.characters import ALPHABET
from vlm_studio.model.remote_wire import Reply, card_from_json
from vlm_studio.model.tower import FEATURE_SIZE
from vlm_studio.model.trace_wire import trace_from_json, trace_to_json
from vlm_studio.serve.fields import json_object
from vlm_studio.serve.requests import chat_request, read_request, token_list
from vlm_studio.store.evidence_files import read_pack, write_pack
from vlm_studio.studio import Studio
from vlm_studio.trace.store_format import pack, unpack

CORPUS = Path(__file__).resolve().parents[1] / "data" / "fuzz"
LIMITS = Limits(image_pixels=4_000_000, page_seconds=5.0)
OWNER = "local"


@dataclass(frozen=True, slots=True)
class Entry:
    seeds: tuple[bytes, ...]
    parse: Callable[[bytes], object]
    spoil: Spoil = spoilt
    cost: int = 1
    """How many cheap inputs one of these is worth."""


def entries(studio: Studio, folder: Path) -> dict[str, Entry]:
    """By name. `studio` takes the imports, `folder` holds files on the way."""
    return {
        "image": Entry(_images(), lambda data: list(open_pages(data, "a.png", LIMITS)), spoilt_image),
        "pdf": Entry(pdf_seeds(), open_pdf, spoilt_pdf, 4),
        "api body": Entry(_bodies(), _api, spoilt_json),
        "adapter": Entry((_adapter(),), _parse_adapter),
        "adapter file": Entry((_adapter_file(studio),), lambda data: _take_in(studio, data), spoilt_zip, 4),
        "trace over the network": Entry(
            (json.dumps(trace_to_json(trace())).encode(),),
            lambda data: trace_from_json(json_object(data)),
            spoilt_json,
        ),
        "kept trace": Entry((pack(trace()),), unpack, spoilt_zip),
        "server's answer": Entry(_answers(), _reply, spoilt_json),
        "evidence pack": _packs(folder),
        "session import": Entry(
            (_exported(studio, folder),), lambda data: _import(studio, folder, data), spoilt_zip, 4
        ),
        "backup": Entry(
            (_backup(studio, folder),), lambda data: _restore(studio, folder, data), spoilt_zip, 10
        ),
    }


def _images() -> tuple[bytes, ...]:
    kinds = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture()).save(buffer)
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100)
    clear = picture().convert("RGBA")
    clear.putalpha(80)
    return (
        *(encoded(picture(), kind) for kind in kinds), buffer.getvalue(),
        encoded(picture(), "JPEG", progressive=True, exif=turned), encoded(picture().convert("CMYK"), "JPEG"),
        encoded(deep, "PNG"), encoded(clear, "PNG"), encoded(picture().convert("P"), "PNG", transparency=0),
        encoded(picture(), "WEBP", lossless=True), encoded(picture(), "WEBP", save_all=True, append_images=[clear]),
        encoded(picture().convert("1"), "TIFF", compression="group4"), encoded(picture(), "TIFF", compression="tiff_lzw"), encoded(deep, "TIFF"),
        encoded(picture(), "TIFF", save_all=True, append_images=[picture()]),
        encoded(picture(), "TIFF", compression="jpeg"), encoded(picture(), "AVIF"),
    )  # fmt: skip


def _bodies() -> tuple[bytes, ...]:
    uri = "data:image/png;base64," + base64.b64encode(encoded(picture(), "PNG")).decode()
    parts = [{"type": "text", "text": "Read."}, {"type": "image_url", "image_url": {"url": uri}}]
    body: dict[str, Any] = {
        "model": "m:a", "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": parts}],
        "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["x"], "stream": True, "logprobs": True,
        "top_logprobs": 3, "stream_options": {"include_usage": True}, "adapter_scale": 1.0, "continuation": [1, 2],
        "images": [uri], "response_format": {"type": "text"}, "prompt_cache_key": "k",
    }  # fmt: skip
    return (json.dumps(body).encode(), b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}')


def _api(data: bytes) -> None:
    asked = chat_request(data, "m", ("a",), LIMITS)
    for turn in asked.ask.turns:
        turn.text.encode()
    token_list(data, "continuation")
    read_request(data, "m", ("a",), LIMITS)


def _adapter() -> bytes:
    """Configuration and weights with the length of the first in front."""
    config = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}).encode()
    name = "base_model.model.model.text_model.layers.0.self_attn.q_proj.lora_"
    half = np.zeros((2, 4), np.float16)
    weights = save({f"{name}A.weight": half, f"{name}B.weight": np.ascontiguousarray(half.T)})
    return struct.pack("<I", len(config)) + config + weights


def _parse_adapter(data: bytes) -> None:
    length = struct.unpack("<I", data[:4].ljust(4, b"\0"))[0]
    parse_adapter(read_config(data[4 : 4 + length]), data[4 + length :])


def _adapter_file(studio: Studio) -> bytes:
    """An adapter of the line reader as the app exports it, learned from nothing."""
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["head"]}
    name, letters = "base_model.model.head.lora_", len(ALPHABET)
    weights = save(
        {
            f"{name}A.weight": np.zeros((1, FEATURE_SIZE), np.float32),
            f"{name}B.weight": np.zeros((letters + 1, 1), np.float32),
        }
    )
    hand = studio.hand_model
    facts = AdapterFacts("hand", hand.name, hand.sha256, 1, hand.parameters(config, weights), 20, "0.1.0")
    made = studio.adapter_store.add(
        OWNER, "My hand", facts, hand.clean(config, weights), weights, "trained", None, "notes"
    )
    return studio.adapters.export(OWNER, made.id)[0]


def _take_in(studio: Studio, data: bytes) -> None:
    taken = studio.adapters.take_in(OWNER, data)
    studio.adapters.export(OWNER, taken.id)
    studio.adapters.delete(OWNER, taken.id)


def _answers() -> tuple[bytes, ...]:
    token = {"token": "a", "logprob": -1.0, "token_id": 3, "top_logprobs": [{"token": "b", "logprob": -2.0}]}
    choice = {
        "index": 0,
        "delta": {"content": "a"},
        "logprobs": {"content": [token]},
        "finish_reason": "stop",
    }
    return (
        json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3}}).encode(),
        json.dumps(asdict(CARD)).encode(),
    )


def _reply(data: bytes) -> None:
    value = json_object(data)
    reply = Reply()
    list(reply.add(value))
    reply.answer(cancelled=False)
    if "choices" not in value:
        card_from_json(value)


def _packs(folder: Path) -> Entry:
    """What stands in run.json of a pack whose hashes are right, and the file as it is."""
    desk = Desk(folder / "desk", ScriptedChat(sees=True), CountingReader("fast"))
    whole = packed(desk, folder / "packs")
    parts = dict(read_pack(whole))
    replayed = evidence(desk)

    def parse(data: bytes) -> None:
        path = folder / "pack.zip"
        if data[:2] == b"PK":
            path.write_bytes(data)
        else:
            path.unlink(missing_ok=True)
            write_pack(path, parts | {"run.json": data})
        replayed.replay(path)

    def spoil(seed: bytes, dice: random.Random) -> bytes:
        return (spoilt_zip if seed[:2] == b"PK" else spoilt_json)(seed, dice)

    return Entry((parts["run.json"], whole.read_bytes()), parse, spoil, 4)


def _exported(studio: Studio, folder: Path) -> bytes:
    studio.transcriptions.add_files(OWNER, "", [("a.png", png(page_image(2)))])
    path, _ = studio.sessions.export(OWNER, [], "zip", folder)
    return path.read_bytes()


def _import(studio: Studio, folder: Path, data: bytes) -> None:
    path = folder / "import.zip"
    path.write_bytes(data)
    before = studio.session_store.count(OWNER, archived=None)
    try:
        studio.sessions.import_file(OWNER, path)
    except Exception:
        # All of it, or nothing.
        assert studio.session_store.count(OWNER, archived=None) == before
        raise


def _backup(studio: Studio, folder: Path) -> bytes:
    path = folder / "backup.zip"
    studio.sessions.backup(path)
    return path.read_bytes()


def _restore(studio: Studio, folder: Path, data: bytes) -> None:
    path = folder / "restore.zip"
    path.write_bytes(data)
    before = studio.session_store.count(OWNER, archived=None)
    try:
        studio.sessions.restore(path)
    except Exception:
        assert studio.session_store.count(OWNER, archived=None) == before
        raise
