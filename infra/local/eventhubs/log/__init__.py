"""The log on disk: partitions of segments of verbatim Kafka record batches, and small journals for everything else.

Nothing here knows a protocol or a socket. All calls are made from one event loop; only flushes run in a thread.
"""
