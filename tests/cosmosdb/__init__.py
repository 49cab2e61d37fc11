"""`@vercel/cosmosdb-server`, a Cosmos DB server in memory, installed with npm on first use and run over HTTP.

It shows that the adapter speaks the protocol, not what Cosmos DB guarantees: by itself it does not undo a batch that
fails, and it knows neither throttling nor limits nor consistency. `server.js` says what is patched.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from infra.local.azurite import node, npm_install

HERE = Path(__file__).parent
# The key of Microsoft's emulator, published in its documentation; this server takes any.
KEY = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="


@contextlib.contextmanager
def running_cosmosdb() -> Iterator[str]:
    """The endpoint of a fresh server, ended with the block."""
    prefix = Path(sys.prefix) / "cosmosdb-server"
    npm_install(HERE / "package.json", prefix)
    with subprocess.Popen(
        [str(node()), str(HERE / "server.js"), str(prefix)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()
