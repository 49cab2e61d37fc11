"""Contracts: old messages stay readable, and the published schemas are those of the code."""

import json
from pathlib import Path

import msgspec
import pytest

from infra.contracts import CONTRACTS, main, schemas

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_a_stored_message_reads_as_it_was_written_and_unknown_fields_are_ignored(path: Path) -> None:
    stored = json.loads(path.read_bytes())
    name = path.name.split(".")[0]
    message = msgspec.json.decode(path.read_bytes(), type=CONTRACTS[name])
    assert json.loads(msgspec.json.encode(message)) == {k: v for k, v in stored.items() if k != "unknown"}


def test_every_contract_has_a_golden_file() -> None:
    assert {path.name.split(".")[0] for path in GOLDEN.glob("*.v1.json")} == set(CONTRACTS)


def test_the_published_schemas_are_those_of_the_code(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    published = {path.name: path.read_bytes() for path in (ROOT / "docs" / "contracts").glob("*.schema.json")}
    assert published == {path.name: path.read_bytes() for path in tmp_path.iterdir()} == schemas(), (
        "run `python -m infra.contracts`"
    )


def test_the_generator_refuses_what_it_does_not_know() -> None:
    assert main(["a", "b"]) == 2
