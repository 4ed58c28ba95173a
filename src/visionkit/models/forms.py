"""The form in which a module runs: a folded, laid out or rounded copy of it, proven equal before it is used.

The module itself stays plain float32, for training, saving and looking into.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..log import log
from ..pipeline.device import compute_dtype, full_precision, weights_dtype
from .fold import conv_norm_pairs, fold
from .int8 import Int8, check_installed
from .openvino import Engine, UnfitError

TOLERANCE: Final = 1e-4
"""The largest difference between a form in float32 and its module, relative to the largest output."""
HALF_TOLERANCE: Final = 0.1
"""The same for half precision: only what breaks is refused, the measured differences are below 0.02."""

_SMALL: Final = 1024
"""Values of a tensor that are all held against what they were: biases, and what normalises."""
_LOOKED_AT: Final = 64
"""Of a larger tensor so many are, spread over it: to read all of ViT-B/16 takes 30 ms and more, at each batch."""

Forward: TypeAlias = Callable[[Any, Any, Tensor], tuple[Any, ...]]
"""Runs a module: (module, its tap, pixels) → outputs, all that the model will ask of it."""

_exactly: ContextVar[bool] = ContextVar("visionkit_exactly", default=False)


@contextmanager
def exactly() -> Iterator[None]:
    """Within it, in this thread, every model of a module answers as with speed="exact", whatever its own is."""
    token = _exactly.set(True)
    try:
        yield
    finally:
        _exactly.reset(token)


@contextmanager
def inference(device: torch.device, speed: str) -> Iterator[None]:
    """No gradients; and for speed="exact" no TF32 in convolutions, which CUDA otherwise uses."""
    with torch.inference_mode(), full_precision(device, "exact" if _exactly.get() else speed):
        yield


@dataclass(frozen=True)
class Form:
    """A module ready to run.

    Attributes:
        module: the plain one, or a copy.
        tap: the one that listens to `module`.
        dtype: of its weights, and so of its pixels.
        layout: the memory format of its pixels.
        engine: what runs in place of the module, in int8.
        learner: of the engine; told where it fails.
    """

    module: nn.Module
    tap: Any
    dtype: torch.dtype = torch.float32
    layout: torch.memory_format = torch.contiguous_format
    engine: Engine | None = None
    learner: Int8 | None = None

    def run(self, forward: Forward, pixels: Tensor) -> tuple[Any, ...]:
        """Runs `forward` over pixels (N, C, H, W) of any precision and layout."""
        if self.engine is not None:
            try:
                return self.engine(pixels)
            except UnfitError as err:
                if self.learner is not None:
                    self.learner.give_up(self.engine, err)
        return forward(self.module, self.tap, pixels.to(dtype=self.dtype, memory_format=self.layout))


class Forms:
    """Makes the form of a module at its first use, and again when the module has changed since.

    A change is seen by the tensors' version counters; and where torch does not count, as for optimizers with fused=True
    and what is written through `tensor.data`, by values: all of a small tensor, 64 of a large one. So a few weights
    of many that are written through `.data` may go unseen: write them under `torch.no_grad()`.

    On a CPU, speed="default" folds batch normalisation into the convolutions before it and lays tensors out
    channels-last; "fast" also rounds the weights to bfloat16, where the processor has it; "fastest" is "default" until
    enough pictures came by to make an int8 form of them, see `models.int8`. On a GPU all three are half precision.
    "exact" is the module itself.
    """

    def __init__(self, device: torch.device, speed: str) -> None:
        compute_dtype(device, speed)  # refuses an unknown speed now
        self._device = device
        self._speed = speed
        self._lock = threading.Lock()
        self._made: tuple[_State, Form] | None = None
        self._learner: Int8 | None = None
        self._calibrates = False
        if speed == "fastest":
            check_installed()
            if device.type != "cpu":
                _say_no_int8()

    def __deepcopy__(self, memo: dict[int, Any]) -> Forms:
        return Forms(self._device, self._speed)  # of another module: made anew when it is needed

    def of(
        self, module: nn.Module, tap: Any, shape: tuple[int, ...], forward: Forward, pixels: Tensor | None = None
    ) -> Form:
        """The form of a module that takes pixels of `shape` (C, H, W); call it within `inference`.

        `pixels` are those it shall run on: for speed="fastest", which learns from them.
        """
        if self._speed == "exact" or _exactly.get():
            return Form(module, tap)
        made = self._made
        if made is None or not made[0].is_of(module):
            with self._lock:
                made = self._made
                if made is None or not made[0].is_of(module):
                    self._made = None  # its memory goes before the next copy is made
                    state = _State(module)
                    form = self._make(module, tap, shape, forward)
                    self._learner = self._new_learner(module, tap, shape, forward)
                    made = self._made = (state, form)
        form, learner = made[1], self._learner
        if learner is None:
            return form
        return replace(form, engine=learner.engine(partial(form.run, forward), pixels), learner=learner)

    @contextmanager
    def calibrating(self, forward: Forward) -> Iterator[None]:
        """Within it, pictures come by for int8 to learn from, and at its end it learns; for speed="fastest" on a CPU.

        Raises:
            InputError: another speed or device, or too few pictures.
        """
        if self._speed != "fastest" or self._device.type != "cpu":
            raise InputError("calibration= goes with speed='fastest' on a CPU")
        self._forget()
        self._calibrates = True
        try:
            yield
            if self._made is None or self._learner is None:
                raise InputError("calibration= has no picture that loads")
            with inference(self._device, self._speed):
                self._learner.learn(partial(self._made[1].run, forward))
        finally:
            self._calibrates = False

    def _forget(self) -> None:
        self._made = self._learner = None

    def _new_learner(self, module: nn.Module, tap: Any, shape: tuple[int, ...], forward: Forward) -> Int8 | None:
        if self._speed != "fastest" or self._device.type != "cpu":
            return None

        def twin() -> tuple[nn.Module, Callable[[Tensor], tuple[Any, ...]]]:
            with torch.inference_mode(mode=False):  # its tensors are to be traced
                copied, its_tap = copy.deepcopy((module, tap))
            return copied.eval(), partial(forward, copied, its_tap)

        what = f"{getattr(forward, '__qualname__', '')} {getattr(tap, 'layer', None)}"
        return Int8(module, twin, shape=shape, what=what, chosen=self._calibrates)

    def _make(self, module: nn.Module, tap: Any, shape: tuple[int, ...], forward: Forward) -> Form:
        dtype = weights_dtype(self._device, self._speed)
        if self._speed == "fast" and dtype == torch.float32:
            _say_no_bfloat16()
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randn((1, *shape), generator=generator).to(self._device)
        plain = Form(module, tap)
        folds = self._device.type == "cpu"
        form = _folded(plain, forward, pixels) if folds else plain
        if dtype == torch.float32:
            return form
        rounded = _rounded(form, forward, pixels, dtype, plain=form is plain)
        if rounded is None:
            rounded = _folded(plain, forward, pixels) if folds else plain
        return rounded


class _State:
    """What a module is made of, at this moment; keeps it alive, so that no address is used twice."""

    def __init__(self, module: nn.Module) -> None:
        self._modules = list(module.modules())
        self._tensors = [*module.parameters(), *module.buffers()]
        self._key = _counted(self._modules, self._tensors)
        self._views = _some_of(self._tensors)
        self._values = [torch.cat(views) for views in self._views]

    def is_of(self, module: nn.Module) -> bool:
        """Whether the module is still what it was."""
        if self._key != _counted(module.modules(), [*module.parameters(), *module.buffers()]):
            return False
        return all(
            torch.equal(torch.cat(views).view(torch.uint8), values.view(torch.uint8))  # bits: NaN is as it was, too
            for views, values in zip(self._views, self._values, strict=True)
        )


def _counted(modules: Iterable[nn.Module], tensors: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    """Which layers and tensors there are, and how often torch has seen each tensor change."""
    return (
        *((id(m), len(m._forward_hooks) + len(m._forward_pre_hooks)) for m in modules),  # noqa: SLF001
        *((id(t), t.data_ptr(), -1 if t.is_inference() else t._version) for t in tensors),  # noqa: SLF001
    )


def _some_of(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Values of each tensor as views (K,) of its memory, by device and type, so that few steps look at all."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        # subclasses have ways of their own
        plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided
        if plain and tensor.is_floating_point() and tensor.numel():
            groups.setdefault((tensor.device, tensor.dtype), []).append(_spread(tensor.detach()))
    return list(groups.values())


def _spread(tensor: Tensor) -> Tensor:
    across = tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))  # as it lies in memory
    if not across.is_contiguous():
        return tensor[(0,) * (tensor.ndim - 1)][:_LOOKED_AT]
    step = 1 if tensor.numel() <= _SMALL else tensor.numel() // _LOOKED_AT | 1  # odd: not one column alone
    return across.view(-1)[::step]


def _folded(plain: Form, forward: Forward, pixels: Tensor) -> Form:
    """A copy with folded batch normalisation in channels-last layout; less of it, or `plain`, where that is unequal."""
    convolutions = sum(isinstance(m, nn.Conv2d) for m in plain.module.modules())
    if convolutions < 2:  # a transformer's one patch embedding gains nothing
        return plain
    for folds, layout in ((True, torch.channels_last), (True, torch.contiguous_format), (False, torch.channels_last)):
        try:
            module, tap = copy.deepcopy((plain.module, plain.tap))
            module.eval()
            pairs, expected = conv_norm_pairs(module, partial(forward, module, tap, pixels))
            if folds:
                fold(module, pairs)
            form = Form(module.to(memory_format=layout), tap, torch.float32, layout)
            if _equal(form.run(forward, pixels), expected, TOLERANCE):
                return form
        except Exception as err:  # noqa: BLE001 - a module of anyone's: what breaks the copy must not break the answer
            log.debug("visionkit: a form of %s failed: %s", type(plain.module).__name__, err)
    return plain


def _rounded(form: Form, forward: Forward, pixels: Tensor, dtype: torch.dtype, *, plain: bool) -> Form | None:
    """The form with weights in half precision; None, said so, where the module does not run in it."""
    name = type(form.module).__name__
    reason = "it gives no answer near that of float32"
    try:
        expected = form.run(forward, pixels)
        module, tap = copy.deepcopy((form.module, form.tap)) if plain else (form.module, form.tap)
        rounded = Form(module.eval().to(dtype), tap, dtype, form.layout)
        if _equal(rounded.run(forward, pixels), expected, HALF_TOLERANCE):
            return rounded
    except Exception as err:  # noqa: BLE001 - as above
        reason = f"{type(err).__name__}: {err}"
    log.warning("visionkit: %s runs in float32, not in %s: %s", name, dtype, reason)
    return None


def _equal(ours: tuple[Any, ...], expected: tuple[Any, ...], tolerance: float) -> bool:
    """Whether all outputs are tensors of the same shapes whose differences are small beside the largest value.

    None stands for an output that the module does not give.
    """
    for mine, theirs in zip(ours, expected, strict=True):
        if mine is None and theirs is None:
            continue
        if not isinstance(mine, Tensor) or not isinstance(theirs, Tensor) or mine.shape != theirs.shape:
            return False
        if not theirs.numel() or not float((mine.float() - theirs).abs().max()) <= tolerance * float(
            theirs.abs().max()
        ):
            return False
    return True


@lru_cache(maxsize=1)
def _say_no_int8() -> None:
    """Once for each process."""
    log.warning("visionkit: int8 is for CPUs, so speed='fastest' is speed='fast' on this device")


@lru_cache(maxsize=1)
def _say_no_bfloat16() -> None:
    """Once for each process."""
    log.warning("visionkit: this processor has no bfloat16, so speed='fast' is speed='default' here")
