from __future__ import annotations

import inspect

from infra.cli import train
from training.svm.fit import SvmOptions


def test_the_command_and_the_worker_train_with_the_same_defaults() -> None:
    parameters = inspect.signature(train.svm).parameters
    options = SvmOptions()
    for name in ("nu", "gamma", "min_windows", "max_windows"):
        assert parameters[name].default == getattr(options, name)
