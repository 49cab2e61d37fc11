"""Every error of the project, split by what the caller must do.

    PenstockError
    ├── BadInput            the data is wrong and will stay wrong: set it aside, never retry
    │   └── ModelRefused    a model that would answer nonsense (degenerate fit, wrong shapes, wrong digest)
    ├── TryLater            the outside failed: the same call may succeed later (`retry_after_s`)
    │   └── TooMany         the caller has used up what it may ask for; the outside is well
    ├── Conflict            somebody else was first: read again, then decide
    │   ├── AlreadyExists   a create-only write found the name taken
    │   └── Superseded      a conditional write found another version than the one it read
    ├── NotFound            the named thing does not exist
    ├── Damaged             what is stored of one thing cannot be read: everything else goes on without it
    └── ConfigurationError  settings or installation are wrong; the message says what to do

Anything else that is raised is a bug and may end the process: its supervisor restarts it.
Edges alone (functions, CLI, stream worker) turn these into HTTP codes, poison messages and exit codes.
"""


class PenstockError(Exception):
    """Base of the tree above."""


class BadInput(PenstockError):
    """The data is wrong and will stay wrong; the message says what was expected and what came."""


class ModelRefused(BadInput):
    """A model that must not be used; the message says which check failed."""


class TryLater(PenstockError):
    """The outside failed; the same call may succeed after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooMany(TryLater):
    """The caller has used up what it may ask for; there is more after `retry_after_s` seconds."""


class Conflict(PenstockError):
    """Somebody else was first."""


class AlreadyExists(Conflict):
    """A create-only write found the name taken."""


class Superseded(Conflict):
    """A conditional write found another version than the one it was based on."""


class NotFound(PenstockError):
    """The named thing does not exist."""


class Damaged(PenstockError):
    """What is stored of one thing cannot be read; the message names it."""


class ConfigurationError(PenstockError):
    """Settings or installation are wrong; the message says what to do."""
