"""The supervisor over small real processes."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from infra.cli.launch import launch
from infra.local import probes, runtime
from infra.local.home import Home, PartState, RuntimeState
from infra.local.logfile import LogFile, tail
from infra.local.parts import FunctionsHost, parts
from infra.local.probes import Health
from infra.local.runtime_ports import RuntimePorts
from infra.local.supervisor import Part, PartFailed, Supervisor, Timing, restart_pause
from models.errors import ConfigurationError, Conflict

READY = "print('{\"ready\": true}', flush=True);"
SLEEP = "import time; time.sleep(60)"
QUICK = Timing(first_restart_s=0.01, stop_grace_s=0.5, health_every_s=0.05, silent_limit_s=0.2, probe_every_s=0.01)


def part(name: str, code: str, stage: int = 0, **more: object) -> Part:
    return Part(name=name, command=[sys.executable, "-S", "-c", code], stage=stage, env=dict(os.environ), **more)  # type: ignore[arg-type]  # keyword arguments of one test


def supervise(tmp_path: Path, *parts: Part, timing: Timing = QUICK, **more: object) -> Supervisor:
    return Supervisor(parts, logs=tmp_path, cwd=tmp_path, timing=timing, **more)  # type: ignore[arg-type]  # as above


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_later_stage_starts_only_when_the_earlier_one_is_ready(tmp_path: Path) -> None:
    order = tmp_path / "order"
    write = f"open({str(order)!r}, 'a').write"
    supervisor = supervise(
        tmp_path,
        part("first", f"import time; time.sleep(0.2); {write}('first '); {READY}{SLEEP}", announces=True),
        part("second", f"{write}('second '); {READY}{SLEEP}", stage=1, announces=True),
    )
    try:
        await supervisor.start()
        assert order.read_text() == "first second "
        assert [state.state for state in supervisor.states()] == ["ready", "ready"]
    finally:
        await supervisor.stop()


async def test_a_killed_part_is_back_within_half_a_second(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path, part("one", READY + SLEEP, announces=True), timing=Timing(stop_grace_s=1))
    try:
        await supervisor.start()
        pid = supervisor.states()[0].pid
        assert pid is not None
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: supervisor.states()[0].restarts == 1 and supervisor.states()[0].state == "ready")
        assert (
            time.monotonic() - killed < 1.0
        )  # half a second of pause and process start, with room for a busy machine
        assert supervisor.states()[0].pid != pid
    finally:
        await supervisor.stop()


async def test_pauses_grow_in_a_crash_loop_and_start_anew_after_a_stable_time(tmp_path: Path) -> None:
    now, asked, pauses = 0.0, 0, list[float]()

    async def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += 100.0 if len(pauses) == 5 else 0.0
        if len(pauses) >= 8:
            await asyncio.Event().wait()

    timing = Timing(first_restart_s=1.0, longest_restart_s=8.0, stable_after_s=10.0, stop_grace_s=1)
    lives = iter([0.0] * 5 + [50.0] + [0.0] * 5)

    def clock() -> float:
        # Asked twice per life: when it begins and when it has ended.
        nonlocal now, asked
        asked += 1
        if asked % 2 == 0:
            now += next(lives)
        return now

    supervisor = supervise(tmp_path, part("loop", "pass"), timing=timing, clock=clock, sleep=sleep)
    try:
        await supervisor.start()
        await until(lambda: len(pauses) == 8)
        assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 1.0, 2.0, 4.0]
    finally:
        await supervisor.stop()


def test_the_restart_pause_is_bounded_however_often_a_part_crashes() -> None:
    assert restart_pause(Timing(), 1) <= 0.5
    assert restart_pause(Timing(), 100_000) == Timing().longest_restart_s


async def test_a_part_that_never_gets_ready_fails_the_start_with_its_last_words(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path, part("broken", "raise SystemExit('no such table')", announces=True))
    with pytest.raises(PartFailed, match=r"broken does not start \(exit code 1\)[^$]*no such table"):
        await supervisor.start()
    await supervisor.stop()


async def test_a_part_whose_program_is_gone_for_a_while_is_started_again(tmp_path: Path) -> None:
    program, moved = tmp_path / "program", tmp_path / "moved"
    program.write_text(f"#!/bin/sh\necho '{{\"ready\": true}}'\nexec {sys.executable} -S -c '{SLEEP}'\n")
    program.chmod(0o755)
    supervisor = supervise(tmp_path, Part(name="one", command=[str(program)], env=dict(os.environ), announces=True))
    try:
        await supervisor.start()
        program.rename(moved)
        pid = supervisor.states()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: supervisor.states()[0].restarts >= 2)
        moved.rename(program)
        await until(lambda: supervisor.states()[0].state == "ready")
    finally:
        await supervisor.stop()


async def test_a_part_that_cannot_be_started_at_all_fails_the_start_and_says_why(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path, Part(name="one", command=[str(tmp_path / "none")], env={}))
    with pytest.raises(PartFailed, match=r"one does not start \(not started: .*none"):
        await supervisor.start()
    await supervisor.stop()


async def test_stop_ends_parts_in_reverse_order_and_kills_the_stubborn(tmp_path: Path) -> None:
    order = tmp_path / "order"
    polite = (
        "import signal, sys, time\n"
        f"def end(*_): open({str(order)!r}, 'a').write(sys.argv[1]); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
    )
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    base = part("base", f"{polite}{READY}{SLEEP}", announces=True)
    top = part("top", f"{polite}{READY}{SLEEP}", stage=1, announces=True)
    supervisor = supervise(
        tmp_path,
        Part(name="base", command=[*base.command, "base "], env=base.env, announces=True),
        Part(name="top", command=[*top.command, "top "], stage=1, env=top.env, announces=True),
        part("stubborn", f"{stubborn}{READY}{SLEEP}", stage=2, announces=True),
    )
    await supervisor.start()
    pids = [state.pid for state in supervisor.states()]
    await supervisor.stop()
    assert order.read_text() == "top base "
    assert not any(alive(pid) for pid in pids if pid)
    assert {state.state for state in supervisor.states()} == {"stopped"}


async def test_a_part_that_falls_silent_is_killed_and_started_again(tmp_path: Path) -> None:
    answers = [Health.OK]

    async def probe() -> Health:
        return answers[0]

    supervisor = supervise(tmp_path, part("mute", SLEEP, probe=probe))
    try:
        await supervisor.start()
        answers[0] = Health.SILENT
        await until(lambda: supervisor.states()[0].restarts == 1)
        answers[0] = Health.OK
        await until(lambda: supervisor.states()[0].state == "ready")
        answers[0] = Health.DEGRADED
        await until(lambda: supervisor.states()[0].state == "degraded")
        await asyncio.sleep(0.3)
        assert supervisor.states()[0].restarts == 1
    finally:
        await supervisor.stop()


async def test_children_left_behind_by_a_dead_part_are_killed(tmp_path: Path) -> None:
    note = tmp_path / "child"
    spawn = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-S', '-c', {SLEEP!r}]);"
    supervisor = supervise(
        tmp_path,
        part("parent", f"{spawn} open({str(note)!r}, 'w').write(str(p.pid)); {READY}{SLEEP}", announces=True),
    )
    try:
        await supervisor.start()
        child, pid = int(note.read_text()), supervisor.states()[0].pid
        assert pid is not None
        assert alive(child)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not alive(child))
    finally:
        await supervisor.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_no_part_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from infra.local.supervisor import Part, Supervisor\n"
        "async def main():\n"
        f"    code = {READY + SLEEP!r}\n"
        "    part = Part(name='p', command=[sys.executable, '-S', '-c', code], env={}, announces=True)\n"
        "    s = Supervisor([part], logs=Path(sys.argv[1]), cwd=Path(sys.argv[1]))\n"
        "    await s.start()\n"
        "    print(s.states()[0].pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    deadline = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_probes_tell_well_from_degraded_from_silent() -> None:
    status = [b"200 OK"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 " + status[0] + b"\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server: asyncio.Server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ask: Callable[[], Awaitable[Health]] = probes.http(port, "/health")
    async with server:
        assert await ask() == Health.OK
        status[0] = b"503 Service Unavailable"
        assert await ask() == Health.DEGRADED
        assert await probes.http(port, any_status=True)() == Health.OK
        assert await probes.every(probes.http(port, any_status=True), ask)() == Health.DEGRADED
    assert await ask() == Health.SILENT
    assert await probes.every(ask, ask)() == Health.SILENT


def test_logs_rotate_by_size_and_keep_the_newest(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "x.log", max_bytes=10, keep=2)
    for number in range(5):
        log.write(f"line {number}\n".encode())
    log.close()
    assert tail(tmp_path / "x.log", 5) == ["line 4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2"]
    assert tail(tmp_path / "none.log", 5) == []


def full_disk(*_args: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_part_that_talks_goes_on_when_its_log_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogFile, "write", full_disk)
    talk = "print('x' * 1_000_000, flush=True);"  # many times what a pipe holds
    supervisor = supervise(tmp_path, part("one", f"{talk}{READY}{SLEEP}", announces=True))
    try:
        async with asyncio.timeout(10):
            await supervisor.start()
    finally:
        await supervisor.stop()


def test_a_log_on_a_full_disk_fails_when_written_to_and_not_when_closed() -> None:
    log = LogFile(Path("/dev/full"))
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            log.write(b"lost")
    log.close()


async def test_parts_are_kept_while_the_state_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    home.logs.mkdir()
    lives = tmp_path / "lives"
    one = part("one", f"open({str(lives)!r}, 'a').write('x'); {READY}{SLEEP}", announces=True)
    monkeypatch.setattr(runtime, "_parts", lambda *_: [one])
    running = asyncio.create_task(runtime.run(home, RuntimePorts.free(), FunctionsHost.EMBEDDED))
    await until(lambda: (state := home.read_state()) is not None and state.state == "ready")
    state = home.read_state()
    assert state is not None
    assert state.parts[0].pid is not None
    with monkeypatch.context() as full:
        full.setattr(Home, "write_state", full_disk)
        os.kill(state.parts[0].pid, signal.SIGKILL)
        await until(lambda: lives.read_text() == "xx")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    state = home.read_state()
    assert state is not None
    assert (state.state, state.parts[0].restarts) == ("stopped", 1)


def test_a_data_folder_has_one_owner(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert not home.locked()
    with home.lock():
        assert home.locked()
        with pytest.raises(Conflict, match="already running"), home.lock(patience_s=0):
            pass
        with pytest.raises(ConfigurationError, match="penstock down"):
            home.wipe()
    assert not home.locked()


def test_of_two_started_at_once_one_is_told_of_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    monkeypatch.setattr(Home, "locked", lambda home: False)  # as it was when both looked
    with home.lock(), pytest.raises(Conflict, match=r"^Penstock is already running in "):
        launch(home, RuntimePorts())


def test_state_is_read_back_and_wiping_leaves_strangers_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    part_state = PartState(name="hub", state="ready", pid=1, restarts=0, ports={"kafka": 1}, started=0.5)
    state = RuntimeState(
        state="ready",
        supervisor=1,
        started=0.5,
        host="embedded",
        ports={},
        environment={"a": "b"},
        parts=[part_state],
    )
    assert home.read_state() is None
    home.write_state(state)
    assert home.read_state() == state
    assert home.running() is None
    (tmp_path / "mine.txt").write_text("precious")
    home.wipe()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_port_base_gives_every_endpoint_a_port_of_its_own() -> None:
    ports = RuntimePorts.from_base(17071).named()
    assert sorted(ports.values()) == list(range(17071, 17071 + len(ports)))
    assert (ports["functions"], ports["kafka"]) == (17071, 17072)
    with pytest.raises(ConfigurationError, match="1024 to 65528"):
        RuntimePorts.from_base(65_529)


def test_devices_are_given_the_emulators_key_and_never_a_real_one(tmp_path: Path) -> None:
    ports = RuntimePorts.free()
    made = parts(
        Home(tmp_path),
        ports,
        host=FunctionsHost.EMBEDDED,
        environment={"EVENTHUBS_SHARED_ACCESS_KEY": "real"},
        azurite_command=["azurite"],
    )
    [hub] = [part for part in made if part.name == "hub"]
    assert hub.env["PENSTOCK_AMQP_CONNECTION"] == (
        f"Endpoint=sb://localhost:{ports.amqp};SharedAccessKeyName=RootManageSharedAccessKey;"
        "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;EntityPath=readings"
    )
    assert hub.env["EVENTHUBS_SHARED_ACCESS_KEY"] == "SAS_KEY_VALUE"


def test_a_taken_port_is_named_with_the_remedy() -> None:
    import socket

    ports = RuntimePorts.free()
    with socket.create_server(("127.0.0.1", ports.kafka)):
        with pytest.raises(ConfigurationError, match=rf"port {ports.kafka} \(kafka\).*--port-base"):
            ports.check()
        assert RuntimePorts.free().taken() == {}
