"""The one place where the hub's errors become Kafka's error codes."""

from __future__ import annotations

from kio.schema.errors import ErrorCode

from .. import errors
from ..groups.model import Refusal

_OF_ERROR: dict[type[errors.HubError], ErrorCode] = {
    errors.StorageFailed: ErrorCode.kafka_storage_error,
    errors.UnknownTopic: ErrorCode.unknown_topic_or_partition,
    errors.TopicExists: ErrorCode.topic_already_exists,
    errors.InvalidTopic: ErrorCode.invalid_topic_exception,
    errors.InvalidPartitions: ErrorCode.invalid_partitions,
    errors.InvalidConfig: ErrorCode.invalid_config,
    errors.LimitReached: ErrorCode.policy_violation,
    errors.OffsetOutOfRange: ErrorCode.offset_out_of_range,
    errors.CorruptBatch: ErrorCode.corrupt_message,
    errors.MalformedBatch: ErrorCode.invalid_record,
    errors.BatchTooLarge: ErrorCode.message_too_large,
    errors.UnsupportedBatch: ErrorCode.unsupported_for_message_format,
    errors.UnknownCodec: ErrorCode.unsupported_compression_type,
    errors.OutOfOrderSequence: ErrorCode.out_of_order_sequence_number,
    errors.StaleProducerEpoch: ErrorCode.invalid_producer_epoch,
}

_OF_REFUSAL: dict[Refusal, ErrorCode] = {
    Refusal.UNKNOWN_MEMBER: ErrorCode.unknown_member_id,
    Refusal.ILLEGAL_GENERATION: ErrorCode.illegal_generation,
    Refusal.REBALANCE_IN_PROGRESS: ErrorCode.rebalance_in_progress,
    Refusal.INCONSISTENT_PROTOCOL: ErrorCode.inconsistent_group_protocol,
    Refusal.INVALID_SESSION_TIMEOUT: ErrorCode.invalid_session_timeout,
    Refusal.INVALID_GROUP_ID: ErrorCode.invalid_group_id,
    Refusal.MEMBER_ID_REQUIRED: ErrorCode.member_id_required,
    Refusal.FENCED_INSTANCE: ErrorCode.fenced_instance_id,
    Refusal.GROUP_FULL: ErrorCode.group_max_size_reached,
}


def code_of(error: errors.HubError) -> ErrorCode:
    """Kafka's code for a hub error."""
    return _OF_ERROR[type(error)]


def code_of_refusal(refusal: Refusal | None) -> ErrorCode:
    """Kafka's code for what a group refuses; `none` if it does not."""
    return ErrorCode.none if refusal is None else _OF_REFUSAL[refusal]
