from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import infra.local.eventhubs


def test_the_package_works_when_lifted_out_of_the_repository(tmp_path: Path) -> None:
    source = Path(infra.local.eventhubs.__file__).parent
    shutil.copytree(source, tmp_path / "lifted", ignore=shutil.ignore_patterns("__pycache__"))
    program = "import sys, lifted.cli, lifted.testing; print([m for m in sys.modules if m.startswith('infra')])"
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
