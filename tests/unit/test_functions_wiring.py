"""The composition root: clients on first use, once; wrong settings say what is wrong, every time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.wiring import functions as wiring
from models.errors import ConfigurationError


def test_threads_that_come_at_once_share_one_set_of_services() -> None:
    built = []
    together = threading.Barrier(4)

    def build() -> object:
        built.append(object())
        return built[-1]

    once = wiring._Once(build)

    def call(_n: int) -> object:
        together.wait(10)
        return once()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(call, range(4))) == set(built)
    assert len(built) == 1


def test_a_failed_start_is_tried_again() -> None:
    outcomes = [ConfigurationError("no"), "services"]

    def build() -> object:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    once = wiring._Once(build)
    with pytest.raises(ConfigurationError):
        once()
    assert once() == "services"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DataStorage", "nonsense"),
        ("PENSTOCK_TRAIN_MIN_WINDOWS", "many"),
        ("PENSTOCK_WINDOW", "weekly"),
    ],
)
def test_a_wrong_setting_is_a_configuration_error(monkeypatch, tmp_path: Path, name: str, value: str) -> None:
    monkeypatch.setenv("PENSTOCK_STATE_PATH", str(tmp_path / "state.sqlite"))
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError):
        wiring.build()
