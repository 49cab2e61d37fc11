"""onnxruntime sessions as this project runs them."""

from typing import Any

from models.errors import ModelRefused


def open_session(graph: bytes, name: str, *, threads: int = 1) -> Any:
    """A session on the CPU; `threads` share one call. Raises ModelRefused if `graph` cannot be loaded."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait must sleep: spinning would take the core from whoever answers the next request.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class per fault, all made in C++
        raise ModelRefused(f"{name} cannot be loaded: {error}") from error
