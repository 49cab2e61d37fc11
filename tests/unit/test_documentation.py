"""What the documents say that can be checked: settings with their defaults, and links."""

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from infra.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def documented_settings() -> dict[str, str]:
    """Default by variable, as the tables of docs/operations.md have them."""
    rows = re.findall(
        r"^\| `(PENSTOCK_\w+|DataStorage)` \| (.+?) \|", (ROOT / "docs/operations.md").read_text(), re.M
    )
    return {name: default.strip("`") for name, default in rows}


def test_every_setting_is_in_the_table_with_its_default() -> None:
    expected = {}
    for name, field in Settings.model_fields.items():
        assert field.default is not PydanticUndefined
        default = field.default.get_secret_value() if hasattr(field.default, "get_secret_value") else field.default
        variable = field.validation_alias or f"PENSTOCK_{name.upper()}"
        expected[variable] = "none" if default is None else str(default)
    # Read by infra.wiring.functions itself.
    schedules = {f"PENSTOCK_{name}_SCHEDULE" for name in ("SWEEP", "LEARN", "RUNS", "RETRAIN", "VIDEO")}
    found = documented_settings()
    assert schedules <= found.keys()
    assert {name: default for name, default in found.items() if name not in schedules} == expected


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", document.read_text()):
        file = (document.parent / target).resolve() if target else document
        assert file.exists(), f"{document.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}, anchor
