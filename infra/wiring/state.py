"""Which state store the settings name."""

from infra.settings import Settings
from infra.state.sqlite import SqliteState
from models.ports import StateStore


def open_state(settings: Settings) -> StateStore:
    """The state store of this installation."""
    return SqliteState(settings.state_path)
