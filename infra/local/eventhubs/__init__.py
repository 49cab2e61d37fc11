"""A local Event Hubs: one durable log on disk, read and written by unmodified Kafka and Event Hubs clients.

It is a package of its own that happens to live here: it imports nothing from the rest of the repository, and nothing
else may be needed to lift it out. `log` stores record batches, `groups` decides who reads what, `kafka` and `amqp`
speak the wire protocols, and `hub` ties them together for whichever protocol asks.
"""
