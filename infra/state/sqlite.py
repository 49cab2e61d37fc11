"""StateStore in one SQLite file, for all processes of one machine."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Final

from models.errors import ConfigurationError, Superseded, TryLater
from models.ports import Document, Put, Remove, Transaction, check_transactions, check_writes

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS documents (
    container TEXT NOT NULL,
    partition TEXT NOT NULL,
    id TEXT NOT NULL,
    etag TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (container, partition, id)
) WITHOUT ROWID
"""
_BUSY_TIMEOUT_S: Final = 10.0
# What is written by one commit: its cost is shared, and other writers wait some milliseconds for it.
_TOGETHER: Final = 200
_LAST_CODE_POINT: Final = chr(0x10FFFF)


class SqliteState:
    """A StateStore in the file `path`, made with its folder if missing.

    Write-ahead log: readers and the one writer do not wait for each other; writers queue for up to ten seconds, then
    TryLater is raised. Every transaction is on disk when `transact` returns, and after `kill -9` or a power cut the
    file holds whole transactions only. Safe to share between threads; other processes open the file themselves.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"state store: cannot make the folder of {path}: {error}") from error
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_SCHEMA)

    def get(self, container: str, partition: str, id: str) -> Document | None:
        """The document, or None."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT etag, body FROM documents WHERE container = ? AND partition = ? AND id = ?",
                (container, partition, id),
            ).fetchone()
        return None if row is None else Document(partition, id, *row)

    def query(
        self, container: str, *, partition: str | None = None, id_prefix: str = "", limit: int | None = None
    ) -> list[Document]:
        """Documents in (partition, id) order; over all partitions when `partition` is None."""
        where, values = ["container = ?"], [container]
        if partition is not None:
            where.append("partition = ?")
            values.append(partition)
        if id_prefix:
            where.append("id >= ?")
            values.append(id_prefix)
        after = _after_prefix(id_prefix)
        if after:
            where.append("id < ?")
            values.append(after)
        statement = (
            "SELECT partition, id, etag, body FROM documents "  # noqa: S608  # only our own column names are joined
            f"WHERE {' AND '.join(where)} ORDER BY partition, id LIMIT ?"
        )
        with self._connection() as connection:
            rows = connection.execute(statement, (*values, -1 if limit is None else limit)).fetchall()
        return [Document(*row) for row in rows]

    def transact(self, container: str, partition: str, writes: Sequence[Put | Remove]) -> None:
        """All writes or none. Raises Superseded if an etag does not hold. At most MAX_TRANSACTION_WRITES."""
        check_writes(writes)
        with self._writing() as connection:
            _check(connection, container, partition, writes)
            _write(connection, container, partition, writes)

    def transact_many(self, container: str, transactions: Sequence[Transaction]) -> list[bool]:
        """Each on its own, as `transact`; whether its etags held. 200 at a time are on disk together."""
        check_transactions(transactions)
        held: list[bool] = []
        for begin in range(0, len(transactions), _TOGETHER):
            with self._writing() as connection:
                held += [_held(connection, container, *each) for each in transactions[begin : begin + _TOGETHER]]
        return held

    def close(self) -> None:
        """Close the connections that no thread is using."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A connection as the one writer: what the block writes is on disk after it, or nothing is if it raises."""
        with self._connection() as connection:
            # IMMEDIATE: taken as a writer at once, else two readers that turn writers would deadlock.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one thread at a time; SQLite's errors come out as ours."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        try:
            connection = connection or self._open()
            yield connection
        except sqlite3.OperationalError as error:
            if connection is not None:
                connection.close()
                connection = None
            raise TryLater(f"state store {self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ConfigurationError(
                f"state store {self._path} is damaged or another kind of file: {error}"
            ) from error
        finally:
            if connection is not None:
                with self._lock:
                    self._idle.append(connection)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = FULL")
        return connection


def _check(connection: sqlite3.Connection, container: str, partition: str, writes: Sequence[Put | Remove]) -> None:
    for write in writes:
        if write.etag is None:
            continue
        row = connection.execute(
            "SELECT etag FROM documents WHERE container = ? AND partition = ? AND id = ?",
            (container, partition, write.id),
        ).fetchone()
        if write.etag != ("" if row is None else row[0]):
            raise Superseded(f"{container}/{partition}/{write.id} has another version")


def _held(connection: sqlite3.Connection, container: str, partition: str, writes: Sequence[Put | Remove]) -> bool:
    """Write if all etags hold, which are checked first; whether they did."""
    try:
        _check(connection, container, partition, writes)
    except Superseded:
        return False
    _write(connection, container, partition, writes)
    return True


def _write(connection: sqlite3.Connection, container: str, partition: str, writes: Sequence[Put | Remove]) -> None:
    etag = token_hex(8)  # never the same again, even for a document that was removed and made anew
    connection.executemany(
        "INSERT INTO documents (container, partition, id, etag, body) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (container, partition, id) DO UPDATE SET etag = excluded.etag, body = excluded.body",
        [(container, partition, write.id, etag, bytes(write.body)) for write in writes if isinstance(write, Put)],
    )
    connection.executemany(
        "DELETE FROM documents WHERE container = ? AND partition = ? AND id = ?",
        [(container, partition, write.id) for write in writes if isinstance(write, Remove)],
    )


def _after_prefix(prefix: str) -> str:
    """The first text after all texts that start with `prefix`; empty if there is none."""
    stem = prefix.rstrip(_LAST_CODE_POINT)
    if not stem:
        return ""
    following = ord(stem[-1]) + 1
    # Surrogates are no characters: after the last one before them comes the first one behind.
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)
