"""What can go wrong in the hub, told apart by what the caller must do.

HubError
├── CannotStart            the operator must act first: the message says how
├── StorageFailed          the disk refused: try again later, nothing was acknowledged
├── UnknownTopic           no such topic or partition
├── TopicExists
├── InvalidTopic           name, partition count or setting refused
│   ├── InvalidPartitions
│   └── InvalidConfig
├── LimitReached           the namespace's tier allows no more
├── OffsetOutOfRange       no such offset in the partition
└── BatchRefused           the producer sent something that must not be stored
    ├── CorruptBatch
    ├── MalformedBatch
    ├── BatchTooLarge
    ├── UnsupportedBatch
    ├── UnknownCodec
    ├── OutOfOrderSequence
    └── StaleProducerEpoch

These know nothing of a wire protocol: each endpoint translates them once, at its edge.
"""

from __future__ import annotations


class HubError(Exception):
    """Base of every error the hub raises on purpose."""


class CannotStart(HubError):
    """The data directory cannot be served as it is; the message says what to do."""


class StorageFailed(HubError):
    """The disk refused a write or a flush; nothing of the request was acknowledged."""


class UnknownTopic(HubError):
    """The topic, or the partition of it, does not exist."""


class TopicExists(HubError):
    """A topic of this name exists already."""


class InvalidTopic(HubError):
    """The topic's name is not allowed."""


class InvalidPartitions(InvalidTopic):
    """The number of partitions is not allowed."""


class InvalidConfig(InvalidTopic):
    """A topic setting has a value that the hub cannot honour."""


class LimitReached(HubError):
    """The namespace's tier allows no more of these."""


class OffsetOutOfRange(HubError):
    """The partition does not reach to this offset."""


class BatchRefused(HubError):
    """The record batch must not be stored."""


class CorruptBatch(BatchRefused):
    """The batch was damaged on its way: the checksum does not match. Sending it again may help."""


class MalformedBatch(BatchRefused):
    """The batch was made wrong: its lengths or counts do not fit. Sending it again cannot help."""


class BatchTooLarge(BatchRefused):
    """The batch is larger than the hub accepts."""


class UnsupportedBatch(BatchRefused):
    """The batch has an old format, belongs to a transaction, or is a control batch."""


class UnknownCodec(BatchRefused):
    """The batch is compressed in a way the hub was told to refuse."""


class OutOfOrderSequence(BatchRefused):
    """An idempotent producer left out a batch."""


class StaleProducerEpoch(BatchRefused):
    """An idempotent producer with a newer epoch has taken over."""
