"""The checks that a network passes before anything is built around it: a plain image-to-image graph, nothing else.

A registered file may come from anybody. What is refused here could read other files, run code that is not ONNX's,
never end, answer differently each time, or need inputs that nobody gives it.
"""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from models.errors import ModelRefused
from models.style.manifest import Image, StyleManifest

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

MOST_BYTES: Final = 256 << 20
MOST_NODES: Final = 20_000
# Older graphs are converted to the first, where ONNX can; the wrapper is written in its operators.
OPSET: Final = 13
OLDEST_OPSET: Final = 7
_STANDARD: Final = ("", "ai.onnx")
# A film is split and its parts are repeated after a crash: the same frame must give the same picture.
_RANDOM: Final = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}
_LOOPS: Final = {"Loop", "Scan"}


def load_core(data: bytes, manifest: StyleManifest) -> "ModelProto":
    """The network in `data`, of opset 13 or later, found to be what `manifest` says. Raises ModelRefused."""
    name = manifest.file
    if len(data) > MOST_BYTES:
        raise ModelRefused(f"{name}: {len(data) >> 20} MiB; a style's network may have {MOST_BYTES >> 20}")
    if (found := hashlib.sha256(data).hexdigest()) != manifest.sha256:
        raise ModelRefused(f"{name}: its manifest expects sha256 {manifest.sha256}, the file has {found}")
    model = _parsed(data, name)
    try:
        _check_safe(model)
        _check_version(model)
        _check_valid(model)
        _check_weights(model)
        _check_side(_only(_inputs(model), "input", manifest.input), manifest.input, manifest)
        _check_side(_only(list(model.graph.output), "output", manifest.output), manifest.output, manifest)
    except ModelRefused as error:
        raise ModelRefused(f"{name}: {error}") from error
    return _converted(model, name)


def opset(model: "ModelProto") -> int:
    """The version of ONNX's own operators that the graph uses."""
    return max((int(each.version) for each in model.opset_import if each.domain in _STANDARD), default=0)


def fixed_batch(model: "ModelProto", manifest: StyleManifest) -> bool:
    """Whether the graph takes exactly one picture at a time."""
    tensors = {each.name: each for each in (*_inputs(model), *model.graph.output)}
    return any(_dimensions(tensors[side.name])[0] == 1 for side in (manifest.input, manifest.output))


def _parsed(data: bytes, name: str) -> "ModelProto":
    from onnx import ModelProto

    model = ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # DecodeError of protobuf, which has no types
        raise ModelRefused(f"{name}: not an ONNX file ({error})") from error
    if not model.graph.node:
        raise ModelRefused(f"{name}: not an ONNX file, or one without a graph")
    return model


def _check_safe(model: "ModelProto") -> None:
    if model.functions:
        raise ModelRefused("has functions of its own; export it with them inlined")
    if model.graph.sparse_initializer:
        raise ModelRefused("has sparse weights; export it with dense ones")
    for count, node in enumerate(_nodes(model.graph), start=1):
        if count > MOST_NODES:
            raise ModelRefused(f"has more than {MOST_NODES:,} nodes")
        if node.domain not in _STANDARD:
            raise ModelRefused(f"uses {node.domain}.{node.op_type}; only ONNX's own operators may be used")
        if node.op_type in _RANDOM:
            raise ModelRefused(f"uses {node.op_type}: the same frame would give another picture each time")
        if node.op_type in _LOOPS:
            raise ModelRefused(f"uses {node.op_type}: it might never end")
    for tensor in _tensors(model.graph):
        if tensor.external_data or tensor.data_location == tensor.EXTERNAL:
            raise ModelRefused(f"keeps weights in another file ({tensor.name}); export it as one file")


def _check_version(model: "ModelProto") -> None:
    from onnx import defs

    newest = defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset(model) <= newest:
        raise ModelRefused(f"is of opset {opset(model)}; expected {OLDEST_OPSET}..{newest}")


def _check_valid(model: "ModelProto") -> None:
    from onnx import checker, shape_inference

    try:
        checker.check_model(model)
    except (checker.ValidationError, shape_inference.InferenceError, ValueError) as error:
        raise ModelRefused(f"is no valid graph: {first_line(error)}") from error


def _check_weights(model: "ModelProto") -> None:
    """Refuse weights that are NaN or infinite: OpenVINO's ReLU and Clip make numbers of what they lead to, and the
    check of what comes out finds nothing.

    Minus infinity may be a mask, and a tensor of one value anything.
    """
    import numpy as np
    from onnx import TensorProto, numpy_helper

    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
    for tensor in _tensors(model.graph):
        if tensor.data_type not in floats:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size > 1 and not (values < np.inf).all():
            raise ModelRefused(f"has weights that are not finite ({tensor.name}): train or export it again")


def _converted(model: "ModelProto", name: str) -> "ModelProto":
    from onnx import version_converter

    if opset(model) >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # made in C++: RuntimeError, or classes of the converter's own
        raise ModelRefused(
            f"{name}: is of opset {opset(model)} and ONNX cannot convert it to {OPSET} ({first_line(error)}); "
            f"export it with opset 17"
        ) from error


def _inputs(model: "ModelProto") -> "list[ValueInfoProto]":
    """What a caller must give: before IR version 4 weights were listed as inputs too."""
    weights = {each.name for each in model.graph.initializer}
    return [each for each in model.graph.input if each.name not in weights]


def _only(tensors: "list[ValueInfoProto]", side: str, image: Image) -> "ValueInfoProto":
    names = [each.name for each in tensors]
    if names != [image.name]:
        raise ModelRefused(f"expected one {side}, {image.name!r}, got {', '.join(map(repr, names)) or 'none'}")
    return tensors[0]


def _check_side(tensor: "ValueInfoProto", image: Image, manifest: StyleManifest) -> None:
    from onnx import TensorProto

    types = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}
    if tensor.type.tensor_type.elem_type != types[image.dtype]:
        found = TensorProto.DataType.Name(tensor.type.tensor_type.elem_type)
        raise ModelRefused(f"{image.name}: its manifest says {image.dtype}, the graph {found}")
    sizes = _dimensions(tensor)
    if len(sizes) != 4:
        raise ModelRefused(f"{image.name}: expected 4 dimensions ({image.layout}), got {len(sizes)}")
    batch, channels, height, width = (sizes[image.layout.index(axis)] for axis in "NCHW")
    if batch not in (None, 1):
        raise ModelRefused(f"{image.name}: takes {batch} pictures at once; export it for 1 or for any number")
    if channels not in (None, 3):
        raise ModelRefused(f"{image.name}: expected 3 channels in {image.layout}, got {channels}")
    for axis, found_size, said in (("height", height, manifest.height), ("width", width, manifest.width)):
        if found_size not in (None, said):
            raise ModelRefused(f"{image.name}: the graph has {axis} {found_size}, its manifest {said or 'any'}")


def _dimensions(tensor: "ValueInfoProto") -> list[int | None]:
    """Sizes of the axes; None where the graph leaves one open."""
    return [int(each.dim_value) or None for each in tensor.type.tensor_type.shape.dim]


def _nodes(graph: "GraphProto") -> "Iterator[NodeProto]":
    for node in graph.node:
        yield node
        for each in _subgraphs(node.attribute):
            yield from _nodes(each)


def _tensors(graph: "GraphProto") -> "Iterator[TensorProto]":
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor.values
                yield attribute.sparse_tensor.indices
        for each in _subgraphs(node.attribute):
            yield from _tensors(each)


def _subgraphs(attributes: "Iterator[AttributeProto]") -> "Iterator[GraphProto]":
    for attribute in attributes:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def first_line(error: object) -> str:
    """The first line of what a runtime or checker says, which often goes on for pages; at most 300 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
