"""The quick-start notebook as it is committed; tests/e2e/test_notebook.py runs it."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "recommendations.ipynb"
CELLS = json.loads(NOTEBOOK.read_bytes())["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


@pytest.mark.parametrize("cell", CODE, ids=lambda cell: cell["id"])
def test_every_code_cell_is_python(cell: dict[str, object]) -> None:
    source = "".join(cell["source"])
    assert source.strip()
    compile(source, f"{NOTEBOOK.name}, {cell['id']}", "exec")


def test_the_notebook_is_kept_without_outputs() -> None:
    assert len(CODE) >= 8
    assert [cell["id"] for cell in CODE if cell["outputs"] or cell["execution_count"] is not None] == []


def test_the_notebook_links_to_files_that_exist() -> None:
    texts = "\n".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", texts)
    assert targets
    assert [target for target in targets if not (NOTEBOOK.parent / target).exists()] == []
