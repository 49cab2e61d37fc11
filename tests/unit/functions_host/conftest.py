"""Function apps written by tests, indexed in this process without leaving traces in it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local.functions_host.bindings import IndexedFunction
from infra.local.functions_host.indexing import index_app

PRELUDE = "import typing\nimport azure.functions as func\napp = func.FunctionApp()\n"

Index = Callable[..., list[IndexedFunction]]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """Write function_app.py (and other files given by name) and index it."""
    path, modules = list(sys.path), set(sys.modules)

    def write_and_index(body: str, *, prelude: str = PRELUDE, **files: str) -> list[IndexedFunction]:
        (tmp_path / "function_app.py").write_text(prelude + textwrap.dedent(body))
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return index_app(tmp_path)

    yield write_and_index
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]
