"""Load a function app and index it as the Python worker does: all of its functions or none."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import traceback
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from azure.functions.decorators.function_app import FunctionRegister

from infra.local.functions_host.bindings import (
    READABLE_INPUTS,
    RUNNABLE_TRIGGERS,
    WRITABLE_OUTPUTS,
    Binding,
    IndexedFunction,
    RetryPolicy,
)
from infra.local.functions_host.errors import AppRefused
from infra.local.functions_host.signature import BadSignature, bind_parameters
from infra.local.functions_host.timespan import parse_timespan

MODULE_NAME = "function_app"


def index_app(app_dir: Path, script: str = "function_app.py") -> list[IndexedFunction]:
    """The functions of the app in `app_dir`, in the order of their definition.

    Runs the app's module, once per process. Raises AppRefused with every problem found where the worker
    would refuse, or where a function needs a binding this host does not run.
    """
    app = _top_level_app(_import(app_dir, script), script)
    functions, problems = _build(app)
    indexed = []
    for function in functions:
        try:
            indexed.append(_index(function))
        except BadSignature as error:
            problems.append(f"{function.get_function_name()} ({_place(function)}): {error}")
    if problems:
        raise AppRefused(problems)
    if not indexed:
        raise AppRefused([f"{script} defines no function"])
    return indexed


def _import(app_dir: Path, script: str) -> ModuleType:
    path = app_dir / script
    if not path.is_file():
        raise AppRefused([f"{path} does not exist"])
    # Last, as Core Tools and Linux Consumption have it: an installed package of the same name wins there too.
    if str(app_dir) not in sys.path:
        sys.path.append(str(app_dir))
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        # SystemExit too: an app that exits at import time has no functions either.
        raise AppRefused([f"{script} cannot be imported:\n{_app_traceback(error)}"]) from error
    return module


def _app_traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error)).rstrip()
    return "\n".join(f"      {line}" for line in text.splitlines())


def _top_level_app(module: ModuleType, script: str) -> FunctionRegister:
    found = {name: value for name, value in vars(module).items() if isinstance(value, FunctionRegister)}
    if not found:
        raise AppRefused([f"{script} has no top-level function app (app = func.FunctionApp())"])
    if len(found) > 1:
        raise AppRefused([f"{script} has more than one top-level function app: {', '.join(found)}"])
    return next(iter(found.values()))


def _build(app: FunctionRegister) -> tuple[list[Any], list[str]]:
    """What `get_functions()` gives and no problem, or all that can be built and all problems."""
    try:
        # Once only: the library keeps the names it has seen and refuses them the second time.
        return app.get_functions(), []
    except Exception as error:
        functions, problems = _build_one_by_one(app)
        return functions, problems or [f"{type(error).__name__}: {error}"]


def _build_one_by_one(app: FunctionRegister) -> tuple[list[Any], list[str]]:
    functions: list[Any] = []
    problems: list[str] = []
    # The library stops at the first bad function; its builders are the only way to name all of them.
    for builder in getattr(app, "_function_builders", []):
        try:
            functions.append(builder.build(app.auth_level))
        except Exception as error:
            problems.append(f"{_builder_name(builder)}: {error}")
    counts = Counter(function.get_function_name() for function in functions)
    problems += [
        f"{name} is the name of {count} functions: " + _places(functions, name)
        for name, count in counts.items()
        if count > 1
    ]
    return functions, problems


def _builder_name(builder: Any) -> str:
    function = getattr(builder, "_function", None)
    return str(getattr(getattr(function, "_func", None), "__name__", "a function"))


def _places(functions: Iterable[Any], name: str) -> str:
    return ", ".join(_place(function) for function in functions if function.get_function_name() == name)


def _place(function: Any) -> str:
    code = getattr(inspect.unwrap(function.get_user_function()), "__code__", None)
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}" if code else "unknown place"


def _index(function: Any) -> IndexedFunction:
    bindings = [Binding.from_metadata(json.loads(raw)) for raw in function.get_raw_bindings()]
    _check_supported(bindings)
    call = function.get_user_function()
    parameters, result, wants_context = bind_parameters(call, bindings)
    trigger = next(parameter for parameter in parameters.values() if parameter.binding.is_trigger)
    return IndexedFunction(
        name=function.get_function_name(),
        call=call,
        is_async=inspect.iscoroutinefunction(call),
        wants_context=wants_context,
        trigger=trigger,
        inputs=tuple(p for p in parameters.values() if p.binding.direction == "in" and p is not trigger),
        outputs=tuple(p for p in parameters.values() if p.binding.direction == "out"),
        result=result,
        retry=_retry_policy(function.get_settings_dict("retry_policy")),
    )


def _check_supported(bindings: list[Binding]) -> None:
    triggers = [binding for binding in bindings if binding.is_trigger]
    if len(triggers) != 1:
        raise BadSignature(f"it has {len(triggers)} triggers, a function has exactly one")
    for binding in bindings:
        if binding.is_trigger:
            runnable = RUNNABLE_TRIGGERS
        elif binding.direction == "in":
            runnable = READABLE_INPUTS
        else:
            runnable = WRITABLE_OUTPUTS
        if binding.type not in runnable:
            raise BadSignature(
                f"{binding.name} has the binding {binding.type} ({binding.direction}), "
                f"which this host does not run; it runs {', '.join(sorted(runnable))}"
            )


def _retry_policy(settings: dict[str, Any] | None) -> RetryPolicy | None:
    if not settings:
        return None
    try:
        exponential = str(settings["strategy"]).lower() == "exponential_backoff"
        minimum = _interval(settings, "minimum_interval" if exponential else "delay_interval")
        maximum = _interval(settings, "maximum_interval") if exponential else minimum
        return RetryPolicy(int(settings["max_retry_count"]), minimum, maximum, exponential)
    except (KeyError, ValueError, TypeError) as error:
        raise BadSignature(f"its retry policy cannot be read: {error}") from error


def _interval(settings: dict[str, Any], key: str) -> timedelta:
    value = settings.get(key)
    if not value:
        raise ValueError(f"{key} is missing")
    return parse_timespan(str(value))
