"""ONNX files of users: read whole, checked to do nothing but compute, and run by onnxruntime on the CPU."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from mia_core.errors import Refused, shorten
from mia_core.opening import MEBIBYTE, read_regular
from mia_core.paths import expanded

MOST_BYTES = 2000 * MEBIBYTE
"""A file of protocol buffers has less than 2 GiB."""
DOMAINS = ("", "ai.onnx")
"""Of the operators that onnxruntime brings along."""
NEEDED = "an ONNX network needs onnxruntime and onnx; install mia-study[onnx]"


def read_onnx(path: str, key: str, where: str) -> bytes:
    """A file's content. key: the setting that names it; where: the section, of messages. Refused unless it is harmless.

    Only standard operators, no functions, and all weights in the file.
    """
    try:
        data = read_regular(expanded(path), MOST_BYTES)
    except OSError as error:
        raise Refused(f"{where}.{key}: {path} cannot be read: {error.strerror or error}") from None
    _require_harmless(data, where)
    return data


def session(data: bytes, where: str, what: str) -> Any:
    """An onnxruntime session on the CPU, deterministic. what: the network, of messages."""
    try:
        import onnxruntime
    except ImportError:
        raise Refused(f"{where}: {NEEDED}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime, which has classes for each code
        raise Refused(f"{where}: onnxruntime does not take {what}: {_line(error)}") from None


def computed(session: Any, output: str, given: Mapping[str, np.ndarray], where: str, what: str) -> np.ndarray:
    """What a network makes of its inputs. Refused where it does not take them, or makes no array of numbers of them."""
    try:
        found = session.run([output], dict(given))[0]
    except Exception as error:  # of onnxruntime, which has classes for each code
        shapes = ", ".join(str(list(value.shape)) for value in given.values())
        raise Refused(f"{where}: {what} does not take inputs of {shapes}: {_line(error)}") from None
    if not isinstance(found, np.ndarray) or found.dtype != np.float32 or not np.isfinite(found).all():
        raise Refused(f"{where}: {what} gives no finite numbers")
    return found


def the_one(found: Sequence[Any], words: str, needed: str, where: str, what: str) -> str:
    """The name of a network's one input or output, of float32. words: `inputs` or `outputs`; needed: what they are."""
    if len(found) != 1 or found[0].type != "tensor(float)":
        named = ", ".join(f"{item.name} {item.type}" for item in found)
        raise Refused(f"{where}: {what} has the {words} {named}; one of float32 {needed} is needed")
    return str(found[0].name)


class OnnxNetwork:
    """A file's content and its session on the CPU, which a pickle leaves out. where, what: of messages."""

    def __init__(self, data: bytes, where: str, what: str) -> None:
        self.data = data
        self.where = where
        self.what = what

    @cached_property
    def session(self) -> Any:
        """See `session`."""
        return session(self.data, self.where, self.what)

    def computed(self, output: str, given: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `computed`."""
        return computed(self.session, output, given, self.where, self.what)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "session"}


def _require_harmless(data: bytes, where: str) -> None:
    """Refused for what is no ONNX model, has operators that are not standard, functions, or data in other files."""
    try:
        import onnx
    except ImportError:
        raise Refused(f"{where}: {NEEDED}") from None
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # of protobuf
        raise Refused(f"{where}: no ONNX model, as torch.onnx.export writes one: {_line(error)}") from None
    if not model.graph.node:
        raise Refused(f"{where}: no ONNX model, or one without operators")
    if model.functions:
        raise Refused(
            f"{where}: the ONNX model defines functions of its own, which are not run; export it without them"
        )
    for graph in _graphs(model.graph):
        for node in graph.node:
            if node.domain not in DOMAINS:
                name = shorten(f"{node.domain}.{node.op_type}")
                raise Refused(f"{where}: the ONNX model has the operator {name}, and only standard ones are run")
        for tensor in (*graph.initializer, *_tensors(graph.node)):
            _require_inside(tensor, where)
        for sparse in (*graph.sparse_initializer, *_sparse_tensors(graph.node)):
            _require_inside(sparse.values, where)
            _require_inside(sparse.indices, where)


def _require_inside(tensor: Any, where: str) -> None:
    if tensor.external_data or tensor.data_location == 1:
        raise Refused(
            f"{where}: the ONNX model keeps weights in other files, which are not read; save it as one file "
            "(torch.onnx.export with external_data=False, or onnx.save of what onnx.load reads)"
        )


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those within its operators."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def _tensors(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _sparse_tensors(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor
            yield from attribute.sparse_tensors


def _line(error: Exception) -> str:
    return shorten(" ".join(str(error).split()) or type(error).__name__, 200)
