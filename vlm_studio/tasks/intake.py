"""Files of one upload on their way into a session: each is kept by itself, one that cannot be used stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vlm_studio.core.errors import InvalidRequest, NotFound, PasswordNeeded, StudioError
from vlm_studio.core.settings import Limits

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Taken(Generic[Thing]):
    """What became of the files of one upload."""

    session_id: str
    """The session that they are in; empty where there was none and no file could be used."""
    kept: tuple[Thing, ...]
    problems: tuple[str, ...]
    """A sentence for each file that could not be used, or not all of it."""
    locked: tuple[int, ...]
    """Which of the files, by number, wait for their password."""

    @property
    def wants_password(self) -> bool:
        return bool(self.locked)


def take_files(
    session_id: str,
    files: Sequence[tuple[str, bytes]],
    limits: Limits,
    keep: Callable[[str, str, bytes], Iterable[tuple[str, Thing]]],
) -> Taken[Thing]:
    """`keep` (session id or empty, file name, bytes) yields, for all that it has kept, the session and the thing.

    Raises NotFound for somebody else's session, InvalidRequest for too many files.
    """
    if len(files) > limits.upload_files:
        raise InvalidRequest(
            f"{len(files)} files at once are too many.", f"Send up to {limits.upload_files}."
        )
    kept: list[Thing] = []
    problems: list[str] = []
    locked: list[int] = []
    for number, (name, data) in enumerate(files):
        try:
            for place, thing in keep(session_id, name, data):
                session_id = place  # a new session takes the next files too
                kept.append(thing)
        except NotFound:
            raise
        except StudioError as problem:
            if isinstance(problem, PasswordNeeded):
                locked.append(number)
            problems.append(str(problem))
    return Taken(session_id, tuple(kept), tuple(problems), tuple(locked))
