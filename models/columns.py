"""Which column of a file holds what, as users write it: `device=Device,ts=TS`."""

from collections.abc import Collection

from models.errors import BadInput


def parse_columns(mapping: str, fields: Collection[str]) -> dict[str, str]:
    """Column by field, for those of `fields` that are named. Raises BadInput for other text, or one named twice."""
    given: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in mapping.split(","))):
        field, equals, column = part.partition("=")
        if not equals or not column or field not in fields or field in given:
            expected = ",".join(f"{name}=..." for name in fields)
            raise BadInput(f"columns: expected '{expected}', each at most once; got {part!r}")
        given[field] = column
    return given
