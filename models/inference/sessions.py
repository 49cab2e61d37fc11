"""onnxruntime sessions as this project runs them."""

import os
from collections.abc import Sequence
from typing import Any

from models.errors import ModelRefused


def runtime() -> Any:
    """The module `onnxruntime`, imported on first use: a process that never scores does not pay for it.

    Since 1.32 its official Linux builds send usage data to Microsoft unless this variable is set before
    (https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md). Whoever sets it to something else is left
    alone.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def open_session(graph: bytes, name: str, inputs: Sequence[str], *, threads: int = 1) -> Any:
    """A session on the CPU; `threads` share one call.

    Raises ModelRefused if `graph` cannot be loaded or takes other inputs.
    """
    ort = runtime()

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait must sleep: spinning would take the core from whoever answers the next request.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class per fault, all made in C++
        raise ModelRefused(f"{name} cannot be loaded: {error}") from error
    found = [each.name for each in session.get_inputs()]
    if found != list(inputs):
        raise ModelRefused(f"{name}: expected inputs {', '.join(inputs)}, got {', '.join(found)}")
    return session
