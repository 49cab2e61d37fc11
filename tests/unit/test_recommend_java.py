"""What is said where Spark's Java is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigurationError
from training.recommend.spark.java import require_java


def java_that_says(folder: Path, text: str, code: int = 0) -> None:
    (folder / "bin").mkdir()
    java = folder / "bin" / "java"
    java.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit {code}\n")
    java.chmod(0o755)


def test_a_missing_java_is_said_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"found none.*apt-get install openjdk-17-jre-headless"):
        require_java()


@pytest.mark.parametrize(
    ("text", "version"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "21" 2023-09-19', 21)],
)
def test_a_java_that_will_do_is_taken_from_java_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, version: int
) -> None:
    java_that_says(tmp_path, text)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert require_java() == version


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ('java version "1.8.0_402"', 0, r'says: java version "1\.8'),
        ("no such thing", 0, "says: no such thing"),
        ("broken", 1, "fails"),
    ],
)
def test_a_java_that_will_not_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: int, reason: str
) -> None:
    java_that_says(tmp_path, text, code)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=reason):
        require_java()
