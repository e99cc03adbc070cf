"""Every failure a person can meet, as one tree.

::

    StudioError
    ├── UserInputError          something the person gave cannot be used
    │   ├── UnsupportedFile     not an image or PDF we read
    │   ├── DamagedFile         right kind, but broken or cut short
    │   ├── FileTooLarge        bytes, pixels, pages or time over a limit
    │   ├── PasswordNeeded      an encrypted PDF
    │   └── InvalidRequest      empty question, unknown marker, bad option
    ├── NotFound                no such session, page, run... (or another person's)
    ├── ModelError
    │   ├── ModelUnavailable    weights missing, hub unreachable, card too old
    │   ├── OutOfMemory         of the device that runs the model
    │   ├── AdapterRejected     wrong base, hostile or damaged adapter file
    │   └── GenerationFailed    the model ran and failed
    ├── TraceUnavailable        nothing was recorded for this run
    ├── StoreError              disk full, database damaged
    ├── Busy                    more than is taken at once, or too often: come back later
    └── Cancelled               the person pressed Stop

Each carries a message (what happened, one sentence) and a hint (what to do). Foreign exceptions become
one of these once, at the boundary where they arise; the original stays as ``__cause__`` for the log.
"""


class StudioError(Exception):
    """A failure with a message for a person and a hint that says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UserInputError(StudioError):
    """Something the person gave cannot be used."""


class UnsupportedFile(UserInputError):
    """The bytes are not an image or a PDF that we read."""


class DamagedFile(UserInputError):
    """The right kind of file, but broken or cut short."""


class FileTooLarge(UserInputError):
    """Over a limit: bytes, pixels, pages or seconds."""


class PasswordNeeded(UserInputError):
    """An encrypted PDF without a password, or with a wrong one."""


class InvalidRequest(UserInputError):
    """An empty question, an unknown image marker, an option out of range."""


class NotFound(StudioError):
    """No such thing, or it belongs to somebody else: both read the same on purpose."""


class ModelError(StudioError):
    """A model could not be loaded or run."""


class ModelUnavailable(ModelError):
    """Weights missing or damaged, hub unreachable, no suitable device."""


class OutOfMemory(ModelError):
    """The device that runs the model ran out of memory."""


class AdapterRejected(ModelError):
    """An adapter file that does not fit its base, is damaged, or is not safe to load."""


class GenerationFailed(ModelError):
    """The model was running and failed."""


class TraceUnavailable(StudioError):
    """Nothing was recorded for this run, or the recording is of an unknown version."""


class StoreError(StudioError):
    """Saving or loading failed: disk full, database locked or damaged."""


class Busy(StudioError):
    """More work than is taken at once, or too often from one visitor; nothing was begun."""


class Cancelled(StudioError):
    """The person pressed Stop; what was made until then is kept."""
