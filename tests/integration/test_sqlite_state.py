"""SqliteState between processes: no lost update, whole transactions after `kill -9`."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.state.sqlite import SqliteState
from models.errors import ConfigurationError
from models.ports import Put

pytestmark = pytest.mark.integration

ADD = """
import sys
from pathlib import Path
from infra.state.sqlite import SqliteState
from models.errors import Superseded
from models.ports import Put
state = SqliteState(Path(sys.argv[1]))
done = 0
while done < int(sys.argv[2]):
    found = state.get("box", "p", "a")
    n = int(found.body) + 1 if found else 1
    try:
        state.transact("box", "p", [Put("a", b"%d" % n, etag=found.etag if found else ""), Put("b", b"%d" % n)])
    except Superseded:
        continue
    done += 1
    print(done, flush=True)
"""


def adding(path: Path, times: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", ADD, str(path), str(times)], stdout=subprocess.PIPE)


def test_processes_that_compare_and_set_lose_no_update(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    workers = [adding(path, 40) for _ in range(3)]
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    with_all = SqliteState(path)
    assert with_all.get("box", "p", "a").body == b"120"
    with_all.close()


def test_a_killed_writer_leaves_whole_transactions_and_every_one_that_it_reported(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    for _ in range(3):
        state = SqliteState(path)
        before = state.get("box", "p", "a")
        worker = adding(path, 1_000_000)
        while int(worker.stdout.readline()) < 20:
            pass
        worker.send_signal(signal.SIGKILL)
        rest = worker.communicate()[0].split()
        reported = int(rest[-1]) if rest else 20
        a, b = state.get("box", "p", "a"), state.get("box", "p", "b")
        assert a.body == b.body
        assert int(a.body) - (int(before.body) if before else 0) >= reported
        state.transact("box", "p", [Put("c", b"")])
        state.close()


def test_an_impossible_path_is_a_configuration_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="file"):
        SqliteState(tmp_path / "file" / "state.sqlite")


def test_a_file_that_is_no_database_is_a_configuration_error_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"my notes, " * 1000)
    with pytest.raises(ConfigurationError, match="another kind of file"):
        SqliteState(path)
    assert path.read_bytes().startswith(b"my notes")
