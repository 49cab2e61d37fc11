"""A network from a stranger's file, tried in a process of its own whose time and memory are bounded."""

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any, Final

from models.errors import ModelRefused, PenstockError
from models.style.manifest import StyleManifest

_LIMIT_S: Final = 120.0
_MEMORY_BYTES: Final = 16 << 30
"""Of addresses, much of which runtimes reserve and never touch."""


def try_apart(graph: bytes, manifest: StyleManifest, *, limit_s: float = _LIMIT_S) -> None:
    """`models.style.tryout` in another process. Raises ModelRefused if the network is refused, crashes or hangs."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_try, args=(theirs, graph, manifest), name="try-out", daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit_s):
            raise ModelRefused(f"{manifest.file}: not done with a small picture after {limit_s:.0f} s")
        refusal: PenstockError | None = ours.recv()
    except EOFError as error:
        process.join()
        raise ModelRefused(
            f"{manifest.file}: ends the process that runs it (exit code {process.exitcode})"
        ) from error
    finally:
        process.kill()
        process.join()
        ours.close()
    if refusal is not None:
        raise refusal


def _try(pipe: "Connection[Any, Any]", graph: bytes, manifest: StyleManifest) -> None:
    import resource

    from models.style.tryout import try_out

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    try:
        try_out(graph, manifest)
    except PenstockError as error:
        pipe.send(error)
    except MemoryError:
        pipe.send(ModelRefused(f"{manifest.file}: needs more than {_MEMORY_BYTES >> 30} GiB for a small picture"))
    else:
        pipe.send(None)
