"""Adapters of the StateStore port: SQLite for one machine, Cosmos DB for several."""
