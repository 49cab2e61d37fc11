from __future__ import annotations

import datetime
import io
import struct

import pytest
from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer

from infra.local.eventhubs.errors import HubError
from infra.local.eventhubs.groups.model import Refusal
from infra.local.eventhubs.kafka.apis import VERSIONS, Api
from infra.local.eventhubs.kafka.codec import BadRequest, Prefix, decode_request, encode_response, fill, read_prefix
from infra.local.eventhubs.kafka.error_codes import code_of, code_of_refusal

EVERY_VERSION = [
    (Api(key), version) for key, bounds in VERSIONS.items() for version in range(bounds.lowest, bounds.highest + 1)
]


def request_frame(api: Api, version: int, **fields: object) -> bytes:
    schema = load_request_schema(api, version)
    buffer = io.BytesIO()
    header = {"request_api_key": api, "request_api_version": version, "correlation_id": 7, "client_id": "test"}
    entity_writer(schema.__header_schema__)(buffer, fill(schema.__header_schema__, header))
    entity_writer(schema)(buffer, fill(schema, fields))
    return buffer.getvalue()


@pytest.mark.parametrize(("api", "version"), EVERY_VERSION)
def test_every_served_version_is_read_and_answered(api: Api, version: int) -> None:
    frame = request_frame(api, version)
    prefix = read_prefix(frame)
    assert prefix == (api, version, 7)
    request = decode_request(prefix, frame)
    assert request.client_id == "test"
    response = encode_response(prefix, {})
    assert response[:4] == struct.pack(">i", 7)
    schema = load_response_schema(api, version)
    _, header_size = entity_reader(schema.__header_schema__)(response, 0)
    _, body_size = entity_reader(schema)(response, header_size)
    assert header_size + body_size == len(response)


def test_fields_that_a_version_lacks_are_left_out_and_missing_ones_take_defaults() -> None:
    answer = {
        "responses": [
            {
                "name": "t",
                "partition_responses": [
                    {
                        "index": 3,
                        "base_offset": 42,
                        "log_append_time": datetime.datetime.fromtimestamp(1_700_000_000.123, tz=datetime.UTC),
                        "error_message": "unknown before version 8",
                    }
                ],
            }
        ]
    }
    for version in (3, 9):
        response = encode_response(Prefix(Api.PRODUCE, version, 1), answer)
        header_size = 4 if version < 9 else 5
        body, _ = entity_reader(load_response_schema(Api.PRODUCE, version))(response, header_size)
        partition = body.responses[0].partition_responses[0]
        assert (partition.index, partition.base_offset) == (3, 42)
        assert partition.error_code is ErrorCode.none
        assert round(partition.log_append_time.timestamp() * 1000) == 1_700_000_000_123


@pytest.mark.parametrize(("api", "version"), EVERY_VERSION)
def test_a_request_cut_anywhere_is_refused_as_a_bad_one(api: Api, version: int) -> None:
    frame = request_frame(api, version)
    for cut in range(len(frame)):
        with pytest.raises(BadRequest):
            decode_request(read_prefix(frame[:cut]), frame[:cut])


@pytest.mark.parametrize("count", [2**31 - 1, -2, -(2**31)])
def test_a_hostile_array_length_is_refused_without_allocating_it(count: int) -> None:
    frame = struct.pack(">hhih4s", Api.METADATA, 1, 7, 4, b"test") + struct.pack(">i", count)
    with pytest.raises(BadRequest):
        decode_request(read_prefix(frame), frame)


def test_faust_gets_a_create_topics_response_it_can_unpack() -> None:
    assert VERSIONS[Api.CREATE_TOPICS].lowest <= 3 <= VERSIONS[Api.CREATE_TOPICS].highest
    response = encode_response(Prefix(Api.CREATE_TOPICS, 3, 1), {"topics": [{"name": "t", "num_partitions": 4}]})
    assert response.endswith(struct.pack(">h1shh", 1, b"t", 0, -1)), "name, code, message and nothing else"


def test_no_version_names_topics_by_id_only() -> None:
    for api, first_by_id in ((Api.PRODUCE, 13), (Api.FETCH, 13), (Api.OFFSET_COMMIT, 10), (Api.OFFSET_FETCH, 10)):
        assert VERSIONS[api].highest < first_by_id


def _leaves(error: type[HubError]) -> list[type[HubError]]:
    return [error, *(leaf for child in error.__subclasses__() for leaf in _leaves(child))]


def test_every_error_of_a_request_and_every_refusal_has_a_code() -> None:
    abstract = {"HubError", "CannotStart", "BatchRefused"}
    for error in _leaves(HubError):
        if error.__name__ not in abstract:
            assert code_of(error("why")) is not ErrorCode.none
    for refusal in Refusal:
        assert code_of_refusal(refusal) is not ErrorCode.none
    assert code_of_refusal(None) is ErrorCode.none
