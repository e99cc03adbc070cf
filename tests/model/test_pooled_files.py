"""What a model made from a person's pages goes with the last session that has them."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tasks.fakes import page_image, png
from vlm_studio.core.settings import Settings
from vlm_studio.model.cache import PooledCache
from vlm_studio.model.pooled_files import POOLED, file_key
from vlm_studio.studio import Studio

OWNER = "local"


def test_tokens_of_an_image_go_with_the_last_session_that_has_it(tmp_path: Path) -> None:
    studio = Studio(Settings(data_dir=tmp_path, offline=True))
    cache = PooledCache(10_000, tmp_path / POOLED)
    shared, alone = png(page_image(1)), png(page_image(2))
    first = studio.chats.attach(OWNER, "", [("a.png", shared), ("b.png", alone)]).session_id
    second = studio.chats.attach(OWNER, "", [("a.png", shared)]).session_id
    keys = [file_key(image.sha256, "0" * 64) for image in studio.chats.images(OWNER, first)]
    for key in keys:
        cache.put(key, torch.ones(2, 4))

    def kept() -> list[bool]:
        # A cache of its own: what another one holds in memory is not what is on disk.
        return [PooledCache(10_000, tmp_path / POOLED).get(key) is not None for key in keys]

    studio.sessions.delete(OWNER, first)
    assert kept() == [True, False]
    studio.sessions.undelete(OWNER, first)
    studio.sessions.delete(OWNER, second)
    assert kept() == [True, False]
    studio.sessions.delete(OWNER, first)
    studio.sessions.purge(OWNER, first)
    assert kept() == [False, False] and not list((tmp_path / POOLED).iterdir())
    studio.close()


def test_in_memory_too(tmp_path: Path) -> None:
    cache = PooledCache(10_000, tmp_path)
    for name in ("mine", "gone"):
        cache.put(file_key(name, "1"), torch.ones(2, 4))
    cache.forget(lambda names: {n for n in names if n == "mine"})
    assert cache.get(file_key("mine", "1")) is not None and cache.get(file_key("gone", "1")) is None
