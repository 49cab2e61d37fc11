"""Which state store the settings name."""

from infra.settings import Settings
from infra.state.cosmos import CosmosState, connect
from infra.state.sqlite import SqliteState
from models.ports import StateStore


def open_state(settings: Settings) -> StateStore:
    """The state store of this installation: Cosmos DB where an endpoint is set, else the SQLite file."""
    if settings.cosmos_endpoint is None:
        return SqliteState(settings.state_path)
    key = settings.cosmos_key.get_secret_value() if settings.cosmos_key else None
    return CosmosState(connect(settings.cosmos_endpoint, key), settings.cosmos_database)
