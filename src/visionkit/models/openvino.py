"""OpenVINO: a module of torch becomes a network of its runtime, as it is or in int8, and runs there.

Importing OpenVINO reports to its makers, unless its telemetry package is missing: here it always is.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ..extras import require

Network: TypeAlias = tuple[bytes, bytes]
"""A network as OpenVINO writes it: structure (XML), weights."""

_TELEMETRY: Final = "openvino_telemetry"
_importing = threading.Lock()
_LONGEST_SECONDS: Final = 1800


class UnfitError(Exception):
    """A module that OpenVINO cannot take, or pixels that it could not learn from; the message has the reason."""


def runtime(package: str = "openvino") -> Any:
    """OpenVINO, or NNCF, imported without their telemetry.

    Raises:
        MissingExtraError: it is not installed.
    """
    with _importing:
        here = _TELEMETRY in sys.modules
        if not here:
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # so that importing it is an ImportError
        try:
            return require(package)
        finally:
            if not here:
                del sys.modules[_TELEMETRY]


class Engine:
    """A network that is ready to run; threads may share it.

    Args:
        network: what to run.
        outputs: for each output of the module, which of the network's it is; None for one that it does not give.

    Raises:
        UnfitError: OpenVINO does not take it.
    """

    def __init__(self, network: Network, outputs: Sequence[int | None]) -> None:
        openvino = runtime()
        # the caller's number of threads holds here too
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
        try:
            core = openvino.Core()
            model = core.read_model(network[0], openvino.Tensor(np.frombuffer(network[1], np.uint8)))
            self._compiled = core.compile_model(model, "CPU", options)
        except RuntimeError as err:  # OpenVINO's own kinds
            raise UnfitError(_reason(err)) from err
        self._weights = network[1]  # the runtime reads them where they are
        self._outputs = tuple(outputs)
        self._local = threading.local()

    def __call__(self, pixels: Tensor) -> tuple[Tensor | None, ...]:
        """Runs pixels (N, C, H, W) of any precision and layout; gives float32 tensors, as the module does.

        Raises:
            UnfitError: OpenVINO does not run it.
        """
        request = getattr(self._local, "request", None)
        try:
            if request is None:
                request = self._local.request = self._compiled.create_infer_request()
            request.infer([pixels.float().contiguous().cpu().numpy()], share_inputs=True)
        except RuntimeError as err:  # OpenVINO's own kinds
            raise UnfitError(_reason(err)) from err
        found = [torch.from_numpy(np.array(o.data)) for o in request.output_tensors]
        return tuple(None if i is None else found[i] for i in self._outputs)


def convert(module: nn.Module, run: Callable[[Tensor], tuple[Any, ...]], pixels: Tensor) -> tuple[Network, list[Any]]:
    """A module as a float32 network of OpenVINO that takes any number of pictures.

    Args:
        module: holds the weights; in evaluation mode.
        run: what the network shall do: pixels → outputs, by way of `module`.
        pixels: an example, two pictures or more.

    Returns:
        The network, and its `outputs` for `Engine`.

    Raises:
        UnfitError: it cannot be converted.
    """
    openvino = runtime()
    with torch.inference_mode(mode=False), torch.no_grad():
        example = pixels.detach().cpu().float().contiguous().clone()
        steps = _Steps(run, module)
        try:
            outputs = steps.outputs(example)
            batch = torch.export.Dim("batch", min=1, max=4096)
            program = torch.export.export(steps, (example,), dynamic_shapes=({0: batch},), strict=False)
            model = openvino.convert_model(program)
        except Exception as err:  # a module of anyone's, in the hands of two compilers
            raise UnfitError(_reason(err)) from err
    with _a_folder() as place:
        return _written(openvino, model, place), outputs


def quantize(network: Network, pixels: np.ndarray[Any, Any], *, without: Sequence[str] = ()) -> Network:
    """A network in int8, which has learnt the ranges of its values from pictures.

    In a process of its own: NNCF, which does it, logs and draws to the standard output and sets up loggers.

    Args:
        network: in float32.
        pixels: float16 or float32 (N, C, H, W), normalised.
        without: types of operations of OpenVINO that stay as they are.

    Raises:
        UnfitError: it cannot be done, or takes more than half an hour.
        MissingExtraError: NNCF is not installed.
    """
    with _a_folder() as place:
        (place / "float.xml").write_bytes(network[0])
        (place / "float.bin").write_bytes(network[1])
        np.save(place / "pixels.npy", pixels, allow_pickle=False)
        command = [sys.executable, "-P", "-m", "visionkit.models.quantizing", str(place), *without]
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        try:
            done = subprocess.run(  # noqa: S603 - our own module
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                env=environment,
                timeout=_LONGEST_SECONDS,
            )
        except subprocess.TimeoutExpired as err:
            raise UnfitError(f"NNCF was not done after {_LONGEST_SECONDS} seconds") from err
        if done.returncode:
            last = next(iter(reversed(done.stderr.strip().splitlines())), "no reason given")
            raise UnfitError(f"NNCF: {last[:200]}")
        return (place / "int8.xml").read_bytes(), (place / "int8.bin").read_bytes()


def quantize_folder(place: Path, without: Sequence[str]) -> None:
    """What `quantize` does, in the other process: `float.xml` and `pixels.npy` become `int8.xml`."""
    openvino, nncf = runtime(), runtime("nncf")
    advanced = runtime("nncf.quantization.advanced_parameters")
    pixels = np.load(place / "pixels.npy", mmap_mode="r", allow_pickle=False)
    # Processors without VNNI add products in 16 bits: where they overflow, every tenth answer becomes another.
    fix = advanced.OverflowFix.DISABLE if has_vnni() else advanced.OverflowFix.ENABLE
    small = nncf.quantize(
        openvino.Core().read_model(place / "float.xml"),
        nncf.Dataset(pixels, lambda one: one[None].astype(np.float32)),
        subset_size=len(pixels),
        ignored_scope=nncf.IgnoredScope(types=list(without), validate=False) if without else None,
        advanced_parameters=advanced.AdvancedQuantizationParameters(overflow_fix=fix),
    )
    openvino.save_model(small, place / "int8.xml", compress_to_fp16=False)


def has_vnni() -> bool:
    """Whether the processor adds products of 8 bits in 32."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    features: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch has it not
    return any("vnni" in name and has for name, has in features.items())


@contextmanager
def _a_folder() -> Iterator[Path]:
    """A folder for a while; a disk that refuses is a reason not to go on."""
    try:
        with tempfile.TemporaryDirectory(prefix="visionkit-") as place:
            yield Path(place)
    except OSError as err:
        where = f"{tempfile.tempdir}: " if tempfile.tempdir else ""  # asking for it fails where there is none
        raise UnfitError(f"{where}{err.strerror or err}") from err


def _reason(err: Exception) -> str:
    return f"{type(err).__name__}: {next(iter(str(err).strip().splitlines()), '')[:200]}"


def _written(openvino: Any, model: Any, place: Path) -> Network:
    openvino.save_model(model, place / "float.xml", compress_to_fp16=False)
    return (place / "float.xml").read_bytes(), (place / "float.bin").read_bytes()


class _Steps(nn.Module):
    """A model's steps as a module whose outputs are tensors, each once."""

    def __init__(self, run: Callable[[Tensor], tuple[Any, ...]], module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._run = run

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(_distinct(self._run(pixels)))

    def outputs(self, pixels: Tensor) -> list[int | None]:
        """Which of the tensors of `forward` each output of the model is."""
        found = self._run(pixels)
        tensors = _distinct(found)
        return [None if o is None else next(i for i, t in enumerate(tensors) if t is o) for o in found]


def _distinct(outputs: Sequence[Any]) -> list[Tensor]:
    distinct: dict[int, Tensor] = {}
    for output in outputs:
        if output is not None and not isinstance(output, Tensor):
            raise TypeError(f"an output is a {type(output).__name__}, not a tensor")
        if output is not None:
            distinct.setdefault(id(output), output)
    return list(distinct.values())
