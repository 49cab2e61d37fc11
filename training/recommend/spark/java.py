"""Whether there is a Java that Spark can run on."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from models.errors import ConfigurationError

_OLDEST: Final = 17
_INSTALL: Final = (
    "Debian and Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17; "
    "elsewhere set JAVA_HOME. Or train without Java: --engine native"
)


def require_java() -> int:
    """Major version of the Java that Spark will use: that of JAVA_HOME, else the one on PATH.

    Raises ConfigurationError, with the command that installs one, if there is none or it is older than 17.
    """
    command = _java()
    if command is None:
        raise ConfigurationError(f"Spark needs Java {_OLDEST} or newer, found none. {_INSTALL}")
    try:
        said = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(
            f"Spark needs Java {_OLDEST} or newer, {command} fails: {error}. {_INSTALL}"
        ) from error
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found is None or int(found[1]) < _OLDEST:
        line = said.strip().splitlines()[0] if said.strip() else "nothing"
        raise ConfigurationError(f"Spark needs Java {_OLDEST} or newer, {command} says: {line}. {_INSTALL}")
    return int(found[1])


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    if not home:
        return shutil.which("java")
    inside = Path(home) / "bin" / "java"
    return str(inside) if inside.exists() else None
