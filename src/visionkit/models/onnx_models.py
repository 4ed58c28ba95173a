"""`onnx:` names: classifiers and embedders in ONNX, by onnxruntime; `export_model`'s own files, and foreign ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, ModelLoadError, ModelNotFoundError
from ..extras import require
from ..pipeline import Preprocess
from ..pipeline.device import check_speed
from .exported import RECORD, ExportedModel, Record, Run, exported_model
from .folder import read_file

_MAX_BYTES: Final = 2**31 - 1
"""No ONNX file without files beside it can be larger."""


def load(
    name: str,
    *,
    device: str | torch.device | None,
    speed: str,
    preprocess: Preprocess | dict[str, Any] | None = None,
    labels: Sequence[str] | None = None,
) -> ExportedModel:
    """Loads a network in ONNX; on the CPU, in float32.

    Args:
        name: the file. Weights in other files are refused.
        device: "cpu", or None.
        speed: any; it runs in float32.
        preprocess: for a file that visionkit did not write: how the network wants its pictures.
        labels: for such a file: its first output are logits of these; without them it is an embedding.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
        ModelNotFoundError: there is no such file.
        ModelLoadError: it is no ONNX, has weights elsewhere, was changed, or wants other inputs than pictures.
        InputError: another device; `preprocess` or `labels` that the file has itself, or lacks.
    """
    check_speed(speed)
    if device is not None and str(device).partition(":")[0] != "cpu":
        raise InputError(f"onnx: models run on the CPU, not on {device}")
    path = Path(name)
    if not path.is_file():
        raise ModelNotFoundError(f"no model 'onnx:{name}': there is no such file")
    data = read_file(path.parent, path.name, _MAX_BYTES)
    record = read_record(data, path)
    if record is not None and (preprocess is not None or labels is not None):
        raise InputError(f"{path} says itself how it wants its pictures: leave out preprocess= and labels=")
    if record is None:
        if preprocess is None:
            raise InputError(
                f"{path} was not written by vk.export_model, so it does not say how it wants its pictures: give "
                f"preprocess=vk.Preprocess(…), and labels=[…] if it classifies"
            )
        record = Record(
            name=str(path),
            preprocess=preprocess if isinstance(preprocess, Preprocess) else Preprocess.from_dict(preprocess),
            labels=None if labels is None else tuple(labels),
            temperature=1.0,
            multi_label=False,
            outputs=("features",) if labels is None else ("logits",),
            answers=b"",
        )
    return exported_model(open_session(data, record.outputs, path), record, name=f"onnx:{name}", speed=speed)


def read_record(data: bytes, where: object) -> Record | None:
    """What a file says of itself; None for one that visionkit did not write.

    Raises:
        ModelLoadError: it is no ONNX, has weights in other files, or was changed.
    """
    onnx: Any = require("onnx", extra="onnx")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as err:  # protobuf's own kinds
        raise ModelLoadError(f"{where} is no ONNX file: {type(err).__name__}") from err
    if any(_is_elsewhere(tensor, onnx) for tensor in _tensors(model)):
        raise ModelLoadError(f"{where} has its weights in other files, which are never opened; export it into one file")
    found = [entry.value for entry in model.metadata_props if entry.key == RECORD]
    return Record.from_json(found[0], where) if found else None


def open_session(data: bytes, outputs: Sequence[str], where: object) -> Run:
    """A network of onnxruntime as a function of pixels.

    Args:
        data: the file's; checked by `read_record`.
        outputs: what its outputs are, in order; further ones are left out.
        where: the file, for messages.

    Raises:
        ModelLoadError: onnxruntime refuses it, or it takes other inputs than pictures in float32.
    """
    runtime: Any = require("onnxruntime", extra="onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # its warnings go to the terminal
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as err:  # onnxruntime's own kinds
        first = next(iter(str(err).strip().splitlines()), "")
        raise ModelLoadError(f"{where} cannot be run: {first[:200]}") from err
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        got = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise ModelLoadError(f"{where} takes {got[:200]}, not one input of pictures, float (N, 3, height, width)")
    names = [o.name for o in session.get_outputs()]
    if len(names) < len(outputs):
        raise ModelLoadError(f"{where} gives {len(names)} outputs, not {', '.join(outputs)}")
    size = inputs[0].shape[0]
    fixed = size if isinstance(size, int) else None

    def run(pixels: Tensor) -> dict[str, Tensor]:
        parts = [session.run(names[: len(outputs)], {inputs[0].name: part}) for part in _parts(pixels.numpy(), fixed)]
        joined = [torch.from_numpy(np.concatenate(values)[: len(pixels)]) for values in zip(*parts, strict=True)]
        return dict(zip(outputs, joined, strict=True))

    def checked(pixels: Tensor) -> dict[str, Tensor]:
        try:
            return run(pixels)
        except Exception as err:  # onnxruntime's own kinds: sizes that do not fit
            first = next(iter(str(err).strip().splitlines()), "")
            raise ModelLoadError(f"{where} does not run on {tuple(pixels.shape)}: {first[:200]}") from err

    return checked


def _parts(pixels: np.ndarray[Any, Any], size: int | None) -> Iterator[np.ndarray[Any, Any]]:
    """The pictures in the number that a network takes at once; the last part is filled up."""
    if size is None or size == len(pixels):
        yield np.ascontiguousarray(pixels)
        return
    for start in range(0, len(pixels), size):
        part = pixels[start : start + size]
        short = size - len(part)
        yield np.concatenate([part, np.repeat(part[-1:], short, 0)]) if short else np.ascontiguousarray(part)


def _tensors(model: Any) -> Iterator[Any]:
    """All tensors of a model: of its graph, the graphs inside operations, and functions with their defaults."""
    nodes = [node for function in model.functions for node in function.node]
    attributes = [default for function in model.functions for default in function.attribute_proto]
    graphs = [model.graph, *(info.initialization for info in model.training_info)]
    graphs += [info.algorithm for info in model.training_info]
    while graphs or nodes or attributes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes.extend(graph.node)
        elif nodes:
            attributes.extend(nodes.pop().attribute)
        else:
            attribute = attributes.pop()
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            graphs.extend(graph for graph in (attribute.g, *attribute.graphs) if graph.ByteSize())  # not one unset


def _is_elsewhere(tensor: Any, onnx: Any) -> bool:
    return bool(tensor.external_data) or tensor.data_location == onnx.TensorProto.EXTERNAL
