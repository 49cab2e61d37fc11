"""Workers of one process, a thread each, until a signal."""

import logging
import signal
import threading
from collections.abc import Sequence
from typing import Any

from models.worker import Worker

log = logging.getLogger(__name__)


def run_workers(workers: Sequence[Worker[Any]]) -> int:
    """Run all until SIGTERM or SIGINT, or until they end by themselves; exit code 1 if one failed.

    Jobs in progress are then cancelled and their messages sent anew.
    """
    failed = threading.Event()

    def stop(*_: object) -> None:
        for worker in workers:
            worker.stop()

    def drain(worker: Worker[Any]) -> None:
        try:
            worker.run()
        except BaseException:
            # A process with one hand would look well: whoever supervises it shall start it anew.
            log.exception("worker failed")
            failed.set()
            stop()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    threads = [threading.Thread(target=drain, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 1 if failed.is_set() else 0
