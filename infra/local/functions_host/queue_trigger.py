"""Queue-triggered functions: a message becomes an invocation."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from azure.functions.meta import Datum
from azure.storage.queue import QueueMessage

from infra.local.functions_host.bindings import IndexedFunction
from infra.local.functions_host.conversion import json_datum, text_datum
from infra.local.functions_host.invocation import Invoker, Trigger
from infra.local.functions_host.placeholders import names_in
from infra.local.functions_host.queue_listener import Handler


def queue_handler(function: IndexedFunction, invoker: Invoker) -> Handler:
    """Runs `function` for each message of its queue."""
    needed = _expression_names(function)

    async def handle(message: QueueMessage, body: bytes) -> bool:
        outcome = await invoker.invoke(function, _trigger(function, message, body, needed))
        return outcome.ok

    return handle


def by_hand(function: IndexedFunction, text: str) -> Trigger:
    """What the admin endpoint runs: a message that was never in the queue."""
    now = datetime.now(UTC)
    message = QueueMessage(content=text, id="", inserted_on=now, expires_on=now, next_visible_on=now)
    message.dequeue_count = 1
    message.pop_receipt = ""
    return _trigger(function, message, text.encode("utf-8"), _expression_names(function))


def _trigger(function: IndexedFunction, message: QueueMessage, body: bytes, needed: set[str]) -> Trigger:
    is_binary = str(function.trigger.binding.properties.get("dataType", "")).lower() == "binary"
    text = body.decode("utf-8", errors="replace")
    values = {
        "queueTrigger": text,
        "id": str(message.id),
        "dequeueCount": str(message.dequeue_count),
        "popReceipt": str(message.pop_receipt),
    }
    if not needed <= values.keys():
        values = {**_json_values(body), **values}
    metadata = {
        "Id": text_datum(str(message.id)),
        "DequeueCount": json_datum(message.dequeue_count),
        "ExpirationTime": _time_datum(message.expires_on),
        "InsertionTime": _time_datum(message.inserted_on),
        "NextVisibleTime": _time_datum(message.next_visible_on),
        "PopReceipt": text_datum(str(message.pop_receipt)),
        "QueueTrigger": text_datum(text),
    }
    # Bytes that are no text reach the function as they are; it, not the host, says what is wrong with them.
    is_text = not is_binary and text.encode("utf-8") == body
    data = text_datum(text) if is_text else Datum(body, "bytes")
    return Trigger(data, metadata, values)


def _time_datum(moment: datetime | None) -> Datum:
    return json_datum(moment.isoformat() if moment else None)


def _expression_names(function: IndexedFunction) -> set[str]:
    """Names that the function's other bindings take from the trigger."""
    return {
        name
        for parameter in (*function.inputs, *function.outputs, *([function.result] if function.result else []))
        for key in ("path", "queueName")
        for name in names_in(str(parameter.binding.properties.get(key) or ""))
    }


def _json_values(body: bytes) -> dict[str, str]:
    """The top-level properties of a JSON message, which expressions may use."""
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(content, dict):
        return {}
    return {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in content.items()}
