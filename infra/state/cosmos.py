"""StateStore on Azure Cosmos DB for NoSQL, for functions and workers on several machines.

One item per document: `id` encoded (infra.state.names), `pk` the partition, `name` the id as it is, `body` the
document's JSON as text, byte for byte. The partition key is `/pk`. Bodies are not indexed.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import msgspec
from azure.core import MatchConditions
from azure.core.exceptions import AzureError

from infra.azure.identity import identity
from infra.state.cosmos_errors import translate, translated
from infra.state.names import LONGEST, encoded_id, encoded_prefix
from models.errors import BadInput, ConfigurationError, NotFound, Superseded, TryLater
from models.ports import Document, Put, Remove, Transaction, check_transactions, check_writes

if TYPE_CHECKING:
    from azure.cosmos import ContainerProxy, CosmosClient, DatabaseProxy

# 2 MB for an item as for a batch, less what the service and the batch's own form add.
MAX_BYTES: Final = 2 * 1024 * 1024 - 16 * 1024
_MAX_PARTITION_BYTES: Final = 2_000
_PARTITION_KEY: Final = "/pk"
_AT_ONCE: Final = 8
_INDEXING: Final = {
    "indexingMode": "consistent",
    "automatic": True,
    "includedPaths": [{"path": "/*"}],
    "excludedPaths": [{"path": "/body/?"}, {"path": "/name/?"}, {"path": '/"_etag"/?'}],
}
# Throttled requests are repeated by the SDK after the pause that the service names; writes without an answer never,
# since a repeated conditional write would find its own first attempt.
_OPTIONS: Final[dict[str, Any]] = {
    "connection_timeout": 5,
    "read_timeout": 10,
    "retry_throttle_total": 9,
    "retry_throttle_backoff_max": 10,
    "retry_total": 2,
    "retry_backoff_max": 2,
    # What is not ASCII would be sent as escapes of up to three times its size, against the same limit.
    "enable_compact_utf8_item_writes": True,
}
_HERE: Final = ("http://127.0.0.1", "http://localhost")


def connect(endpoint: str, key: str | None) -> Callable[[], "CosmosClient"]:
    """What makes a client of the account at `endpoint`, by key or, without one, by the process's identity."""

    def client() -> "CosmosClient":
        from azure.core.pipeline.transport import RequestsTransport
        from azure.cosmos import CosmosClient

        local: dict[str, Any] = {}
        if endpoint.startswith(_HERE):
            # Not behind the environment's proxy, and nowhere else than it was said to be.
            local = {"transport": RequestsTransport(use_env_settings=False), "enable_endpoint_discovery": False}
        try:
            return CosmosClient(endpoint, credential=key or identity(), **_OPTIONS, **local)
        except ValueError as error:
            raise ConfigurationError(f"Cosmos DB: the endpoint or its key is wrong: {error}") from error

    return client


class CosmosState:
    """A StateStore in one database; it and its containers are made where they are missing and the key allows it.

    Every call is one request to one partition, but a query over all of them. Reads see this process's own writes
    (session consistency, the account's default); another process may see them some milliseconds later, unless the
    account is set to strong consistency. A document has at most 2 MB, as have all writes of a transaction together:
    more is BadInput. After TryLater a write may have happened. Safe to share between threads; one per process.
    """

    def __init__(self, client: Callable[[], "CosmosClient"], database: str) -> None:
        self._make_client = client
        self._name = database
        self._lock = threading.Lock()
        self._client: CosmosClient | None = None
        self._database: DatabaseProxy | None = None
        self._containers: dict[str, ContainerProxy] = {}

    def get(self, container: str, partition: str, id: str) -> Document | None:
        """The document, or None. A point read."""
        items = self._container(container)
        try:
            with translated(f"{container}/{partition}/{id}"):
                return _document(items.read_item(encoded_id(id), partition_key=partition))
        except NotFound:
            return None

    def query(
        self, container: str, *, partition: str | None = None, id_prefix: str = "", limit: int | None = None
    ) -> list[Document]:
        """Documents in (partition, id) order; over all partitions when `partition` is None.

        Over all partitions everything that matches is read before `limit` cuts it.
        """
        items = self._container(container)
        prefix = encoded_prefix(id_prefix)
        where = ["STARTSWITH(c.id, @prefix)"]
        parameters: list[dict[str, object]] = [{"name": "@prefix", "value": prefix[:LONGEST]}]
        top, order = "", ""
        scope: dict[str, Any] = {"enable_cross_partition_query": True}
        if partition is not None:
            # The key in the clause as well: not every server holds to the one in the header.
            where.append("c.pk = @pk")
            parameters.append({"name": "@pk", "value": partition})
            order, scope = " ORDER BY c.id", {"partition_key": partition}
            if limit is not None and len(prefix) <= LONGEST:
                top = f"TOP {limit} "
        text = f"SELECT {top}c.pk, c.name, c.body, c._etag FROM c WHERE {' AND '.join(where)}{order}"  # noqa: S608  # only our own words and a number are joined
        with translated(f"query of {container}"):
            found = [_document(item) for item in items.query_items(text, parameters=parameters, **scope)]
        matching = [document for document in found if document.id.startswith(id_prefix)]
        return sorted(matching, key=lambda document: (document.partition, document.id))[:limit]

    def transact(self, container: str, partition: str, writes: Sequence[Put | Remove]) -> None:
        """All writes or none. Raises Superseded if an etag does not hold. At most MAX_TRANSACTION_WRITES."""
        check_writes(writes)
        _check_sizes(container, partition, writes)
        items, left = self._container(container), list(writes)
        while left:
            try:
                _send(items, partition, left)
                return
            except AzureError as error:
                failed = left[getattr(error, "error_index", 0) or 0]
                what = f"{container}/{partition}/{failed.id}"
                ours = translate(error, what)
                if not isinstance(ours, NotFound):
                    raise ours from error
                if failed.etag:
                    raise Superseded(f"{what} does not exist any more") from error
                if isinstance(failed, Put):
                    raise TryLater(f"{what}: the container is gone") from error
                # It was to be removed and is not there: done, but with it the others were undone.
                left.remove(failed)

    def transact_many(self, container: str, transactions: Sequence[Transaction]) -> list[bool]:
        """Each on its own, as `transact`, eight at a time; whether its etags held."""
        check_transactions(transactions)

        def held(transaction: Transaction) -> bool:
            try:
                self.transact(container, *transaction)
            except Superseded:
                return False
            return True

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(held, transactions))

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client, self._database = self._client, None, None
            self._containers.clear()
        if client is not None:
            client.close()

    def _container(self, name: str) -> "ContainerProxy":
        found = self._containers.get(name)
        if found is None:
            with self._lock, translated(f"Cosmos DB container {self._name}/{name}"):
                found = self._containers.get(name) or self._opened(name)
                self._containers[name] = found
        return found

    def _opened(self, name: str) -> "ContainerProxy":
        from azure.cosmos import PartitionKey

        if self._database is None:
            self._client = self._make_client()
            self._database = self._client.create_database_if_not_exists(self._name)
        return self._database.create_container_if_not_exists(
            name, partition_key=PartitionKey(_PARTITION_KEY), indexing_policy=_INDEXING
        )


def _item(partition: str, write: Put) -> dict[str, Any]:
    try:
        body = write.body.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"document {write.id}: expected JSON, got {len(write.body)} other bytes") from error
    return {"id": encoded_id(write.id), "pk": partition, "name": write.id, "body": body}


def _document(item: dict[str, Any]) -> Document:
    return Document(item["pk"], item["name"], item["_etag"], item["body"].encode())


def _check_sizes(container: str, partition: str, writes: Sequence[Put | Remove]) -> None:
    if len(partition.encode()) > _MAX_PARTITION_BYTES:
        raise BadInput(f"partition: expected at most {_MAX_PARTITION_BYTES} bytes, got {len(partition.encode())}")
    sizes = [len(msgspec.json.encode(_item(partition, write))) for write in writes if isinstance(write, Put)]
    if sum(sizes) > MAX_BYTES:
        raise BadInput(
            f"{container}/{partition}: expected at most {MAX_BYTES} bytes in a document, and in all documents of a "
            f"transaction together (Cosmos DB takes 2 MB), got {sum(sizes)}, {max(sizes)} of them in one"
        )


def _condition(etag: str | None) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}


def _send(items: "ContainerProxy", partition: str, writes: Sequence[Put | Remove]) -> None:
    """All writes or none: one by a request of its own, several by a transactional batch."""
    if len(writes) > 1:
        items.execute_item_batch([_operation(partition, write) for write in writes], partition_key=partition)
        return
    [write] = writes
    if isinstance(write, Remove):
        items.delete_item(encoded_id(write.id), partition_key=partition, **_condition(write.etag))
    elif write.etag == "":
        items.create_item(_item(partition, write))
    elif write.etag is None:
        items.upsert_item(_item(partition, write))
    else:
        items.replace_item(encoded_id(write.id), _item(partition, write), **_condition(write.etag))


def _operation(partition: str, write: Put | Remove) -> tuple[Any, ...]:
    condition = {"if_match_etag": write.etag} if write.etag else {}
    if isinstance(write, Remove):
        return "delete", (encoded_id(write.id),), condition
    item = _item(partition, write)
    if write.etag == "":
        return "create", (item,)
    if write.etag is None:
        return "upsert", (item,)
    return "replace", (encoded_id(write.id), item), condition
