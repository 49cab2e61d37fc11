"""Log files of supervised parts, rotated by size."""

from pathlib import Path


class LogFile:
    """Appends to `path`; beyond `max_bytes` it becomes `<path>.1`, then `.2`, up to `keep` old files."""

    def __init__(self, path: Path, *, max_bytes: int = 10_000_000, keep: int = 3) -> None:
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Add `data`, visible to readers at once. Raises OSError on a full disk; later calls may succeed again."""
        if self._file.tell() and self._file.tell() + len(data) > self._max_bytes:
            self._rotate()
        self._file.write(data)

    def close(self) -> None:
        """Release the file; later writes fail."""
        self._file.close()

    def _rotate(self) -> None:
        for age in range(self._keep, 0, -1):
            older = self._path if age == 1 else _aged(self._path, age - 1)
            if older.exists():
                older.replace(_aged(self._path, age))
        full, self._file = self._file, self._path.open("ab", buffering=0)
        full.close()


def tail(path: Path, lines: int) -> list[str]:
    """The last `lines` lines of a log, oldest first; empty when there is no such log."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - max(lines, 1) * 400))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:] if lines > 0 else []


def _aged(path: Path, age: int) -> Path:
    return path.with_name(f"{path.name}.{age}")
