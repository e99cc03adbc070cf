"""Which language model answers: what can be chosen here, why ``auto`` is what it is, and what images cost it.

Nothing of torch is imported until a model of the hub is asked about: a page that only shows the choice stays light.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from vlm_studio.core.conversation import Splitting, Variant
from vlm_studio.core.ports import Engine, ModelCard
from vlm_studio.core.settings import Settings

if TYPE_CHECKING:
    from PIL.Image import Image

NANO = "idefics2-nano"
TITLES = {NANO: NANO, "idefics2-8b": "Idefics2-8B", "idefics2-8b-chatty": "Idefics2-8B chatty"}
"""Every model that can be chosen, the embedded one first."""
_AUTO = frozenset({"", "auto"})
NANO_ANSWERS = f"{NANO} answers and says so"
QUOTE_STANDS = "the quote stands alone"

Crops = Callable[["Image", Splitting, int], int]
"""(image, splitting, longest edge in pixels): how many crops of it are fed."""


class Choice(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def runs(self) -> bool: ...
    @property
    def why(self) -> str: ...


class Shelf(Protocol):
    """The engines of this machine."""

    @property
    def default(self) -> Engine: ...
    def get(self, name: str) -> Engine: ...
    def choose_default(self) -> tuple[str, str]: ...
    def choices(self) -> Sequence[Choice]: ...


class Models:
    """Cards, engines and their costs by `Variant`. Thread-safe where the shelf is."""

    def __init__(
        self,
        settings: Settings,
        shelf: Callable[[], Shelf],
        remote: Callable[[], Engine],
        nano_card: Callable[[], ModelCard | None],
        crops: Crops,
    ) -> None:
        """`remote` is the engine of a server that was set; `nano_card` is None where its weights are missing."""
        self.settings, self.crops = settings, crops
        self._shelf, self._remote, self._nano_card = shelf, remote, nano_card

    @property
    def is_remote(self) -> bool:
        return self.settings.model.startswith(("http://", "https://"))

    @property
    def only_nano(self) -> bool:
        """Whether ``auto`` can be nothing but nano here: told without torch, by the driver's own program."""
        light = self.settings.model in {"auto", NANO} and not self.settings.space
        return light and shutil.which("nvidia-smi") is None

    def choices(self) -> tuple[tuple[str, str], ...]:
        """(label, name) of what a person may choose."""
        if self.is_remote:
            return (("The server that was set", "auto"), (f"{NANO}, on this machine", NANO))
        return (("auto (best here)", "auto"), *((title, name) for name, title in TITLES.items()))

    def default(self) -> tuple[str, str]:
        """The name of what ``auto`` is here, and why, in a sentence or two. Raises as the shelf does."""
        if self.is_remote:
            return self.settings.model.partition("#")[0], "It is the server that was set."
        if self.only_nano:
            set_so = self.settings.model == NANO
            return NANO, "As set." if set_so else (
                "It runs on any processor; Idefics2-8B wants a CUDA card, and none was found."
            )
        return self._shelf().choose_default()

    def explain(self, name: str, otherwise: str = NANO_ANSWERS) -> str:
        """What is to be expected of a choice here, before it is used; `otherwise` is what happens without it."""
        if name in _AUTO:
            chosen, why = self.default()
            return f"auto is {TITLES.get(chosen, chosen)}. {why}"
        if name == NANO:
            return f"{NANO} runs on any processor. It reads writing, and does not see what a photo shows."
        found = next((c for c in self._shelf().choices() if c.name == name), None)
        if found is None:
            return f"There is no model {name!r}."
        told = f"{TITLES.get(name, name)}: {found.why}"
        return f"{told} {'Where it cannot be loaded' if found.runs else 'So'} {otherwise}."

    def card(self, variant: Variant) -> ModelCard:
        """What the engine of `variant` can do; the embedded one is not loaded for it. Raises as `engine`."""
        name = self._name(variant)
        if name is None:
            return self._remote().card
        card = self._nano_card() if name == NANO else None
        return card or self._shelf().get(name).card

    def engine(self, variant: Variant) -> Engine:
        """The engine of `variant.model_id`; ``auto``: the default one. Raises InvalidRequest, ModelUnavailable."""
        name = self._name(variant)
        if name is None:
            return self._remote()
        return self._shelf().default if variant.model_id in _AUTO else self._shelf().get(name)

    def _name(self, variant: Variant) -> str | None:
        """None: the server that was set. Nano on this machine can be chosen beside it."""
        if self.is_remote:
            return NANO if variant.model_id == NANO else None
        return self.default()[0] if variant.model_id in _AUTO else variant.model_id

    def image_tokens(self, variant: Variant, images: Sequence[Image]) -> tuple[int, ...]:
        """How many tokens each image costs with `variant`'s splitting; empty for a model that sees no pictures."""
        card = self.card(variant)
        if not card.sees_pictures:
            return ()
        return tuple(
            self.crops(image, variant.splitting, card.longest_edge) * card.image_seq_len for image in images
        )
