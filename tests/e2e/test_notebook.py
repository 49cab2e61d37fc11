"""The quick-start notebook, run from top to bottom beside a Penstock that has no recommender yet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.e2e.conftest import Penstock

pytestmark = [pytest.mark.e2e, pytest.mark.scheduled, pytest.mark.timeout(600)]

NOTEBOOK = Path(__file__).parents[2] / "examples" / "recommendations.ipynb"


def test_the_notebook_runs_to_its_end_and_asks_the_running_functions(
    penstock: Penstock, monkeypatch: pytest.MonkeyPatch
) -> None:
    penstock.run("up", "--detach")
    monkeypatch.setenv("PENSTOCK_HOME", str(penstock.home))
    notebook = nbformat.read(NOTEBOOK, 4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    asyncio.run(client.async_execute())

    text = "\n".join(_texts(notebook))
    assert "**For user 17**" in text
    # Over HTTP: a user with a trained vector, a caller with one rating, and items like one.
    assert "personal" in text
    assert "for one rating: fold-in" in text
    assert "like item 50: ['" in text
    live = penstock.json("models", "list", "--model", "recommender")["live"]
    assert live is not None
    assert live in text


def _texts(notebook: Any) -> list[str]:
    """What the cells print and show, but for pictures."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output["data"].get("text/markdown", "") for output in outputs if output["output_type"] == "display_data"]
    return [*(output["text"] for output in outputs if output["output_type"] == "stream"), *shown]
