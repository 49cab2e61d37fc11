"""Function signatures against bindings: the checks of the Python worker, with its verdicts.

The worker's rules decide (azure-functions-python-worker 4.34, functions.py), not what Python could do: PEP 585
and union annotations are refused although they run, because there they take the whole app down.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

from azure.functions._thirdparty import typing_inspect

from infra.local.functions_host.bindings import RETURN, Binding, Parameter
from infra.local.functions_host.conversion import GENERIC, converter


class BadSignature(Exception):
    """The worker would not load this function."""


def bind_parameters(
    function: Callable[..., Any], bindings: Sequence[Binding]
) -> tuple[dict[str, Parameter], Parameter | None, bool]:
    """The parameters by name, the return value's binding, and whether the function takes `context`.

    Raises BadSignature where the worker refuses.
    """
    parameters = dict(inspect.signature(function).parameters)
    annotations = _annotations(function)
    bound = {binding.name: binding for binding in bindings if binding.name != RETURN}
    result = next((binding for binding in bindings if binding.name == RETURN), None)
    for binding in bindings:
        if binding.direction == "inout":
            raise BadSignature(f'{binding.name}: "inout" bindings are not supported')
    wants_context = _takes_context(parameters, bound, annotations)
    _check_names(set(parameters), set(bound))
    return (
        {name: _parameter(bound[name], annotations) for name in parameters},
        _result(result, annotations),
        wants_context,
    )


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception as error:
        # Evaluating an annotation runs the app's code, so anything can come out of it.
        raise BadSignature(f"its annotations cannot be read: {type(error).__name__}: {error}") from error


def _takes_context(
    parameters: dict[str, inspect.Parameter], bound: dict[str, Binding], annotations: dict[str, Any]
) -> bool:
    if "context" not in parameters or "context" in bound:
        return False
    del parameters["context"]
    annotation = annotations.get("context")
    if annotation is not None and getattr(annotation, "__name__", "") != "Context":
        raise BadSignature(f'the "context" parameter has to be annotated azure.functions.Context, not {annotation!r}')
    return True


def _check_names(declared: set[str], bound: set[str]) -> None:
    if declared - bound:
        raise BadSignature(f"parameters in no binding: {_names(declared - bound)}")
    if bound - declared:
        raise BadSignature(f"bindings whose arg_name is no parameter: {_names(bound - declared)}")


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _parameter(binding: Binding, annotations: dict[str, Any]) -> Parameter:
    if binding.name not in annotations:
        return Parameter(binding, binding.type, None)
    annotation = annotations[binding.name]
    is_out = _is_out(annotation)
    python_type = typing.get_args(annotation)[0] if is_out and typing.get_args(annotation) else annotation
    if is_out and not typing.get_args(annotation):
        raise BadSignature(f"{binding.name} has the annotation Out without a type: use func.Out[...]")
    if not isinstance(python_type, type) and not typing_inspect.is_generic_type(python_type):
        raise BadSignature(
            f"binding {binding.name} has invalid non-type annotation {annotation!r}"
            " (the worker takes typing.List[...], neither list[...] nor unions)"
        )
    is_output = binding.direction == "out"
    if is_output and not is_out:
        raise BadSignature(f"{binding.name} is an output, so it has to be annotated func.Out[...]")
    if is_out and not is_output:
        raise BadSignature(f"{binding.name} is an input, so it must not be annotated func.Out")
    name = GENERIC if python_type in (str, bytes) else binding.type
    _check_type(binding, name, python_type, is_output)
    return Parameter(binding, name, python_type)


def _is_out(annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    return isinstance(origin, type) and origin.__name__ == "Out"


def _result(binding: Binding | None, annotations: dict[str, Any]) -> Parameter | None:
    if binding is None:
        return None
    if "return" not in annotations:
        return Parameter(binding, binding.type, None)
    annotation = annotations["return"]
    if _is_out(annotation):
        raise BadSignature("the return annotation must not be func.Out")
    if not isinstance(annotation, type):
        raise BadSignature(f"it has invalid non-type return annotation {annotation!r}")
    _check_type(binding, binding.type, annotation, is_output=True)
    return Parameter(binding, binding.type, annotation)


def _check_type(binding: Binding, name: str, python_type: Any, is_output: bool) -> None:
    try:
        rules = converter(name)
        check = rules.check_output_type_annotation if is_output else rules.check_input_type_annotation
        fits = check(python_type)
    except (TypeError, AttributeError):
        # The library's checks call issubclass on whatever they get.
        fits = False
    if not fits:
        raise BadSignature(
            f'the annotation {python_type!r} of {binding.name} does not match its binding "{binding.type}"'
        )
