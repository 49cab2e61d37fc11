"""How ONNX Runtime is brought in."""

import os
import subprocess
import sys

import pytest

ASK = (
    "from models.inference.sessions import runtime; runtime(); import os\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
)


@pytest.mark.parametrize(("given", "seen"), [(None, "1"), ("0", "0")])
def test_onnx_runtime_sends_nothing_to_its_makers_unless_somebody_wants_it(given: str | None, seen: str) -> None:
    env = {name: text for name, text in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    env |= {} if given is None else {"ORT_DISABLE_TELEMETRY": given}
    done = subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == seen
