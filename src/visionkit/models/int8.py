"""`speed="fastest"`: a module in int8 that has learnt from the caller's own pictures, held against float32 first."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from ..atomic import write_new
from ..errors import InputError, ModelLoadError
from ..log import log
from .atomic import replacing
from .cache import cache_folder
from .folder import parse_json, read_file
from .openvino import Engine, Network, UnfitError, convert, has_vnni, quantize, runtime

WANTED: Final = 256
"""Pictures to learn from, and to compare on; more changed no answer of ours."""
LEAST: Final = 16
_HELD_OUT: Final = 4
"""One picture in so many is kept for the comparison."""
LEAST_COSINE: Final = 0.99
LEAST_AGREEMENT: Final = 0.97

_TRIES: Final = (("int8", ()), ("int8, depthwise convolutions in float32", ("GroupConvolution",)))
_FILES: Final = ("network.xml", "network.bin", "int8.json")
_MAX_BYTES: Final = 2**33
_FORMAT: Final = 1

Run = Callable[[Tensor], tuple[Any, ...]]


@dataclass(frozen=True)
class Likeness:
    """How near another form's answers are to those of float32.

    Attributes:
        cosine: mean over the pictures, the least of all outputs.
        agreement: how often the best label is the same; 1.0 where there are no labels. Where float32 itself gives two
            labels the same probability to a hundredth, either is right.
    """

    cosine: float
    agreement: float

    @property
    def near(self) -> bool:
        """Whether it is near enough to be used."""
        return self.cosine >= LEAST_COSINE and self.agreement >= LEAST_AGREEMENT

    def __str__(self) -> str:
        return f"cosine {self.cosine:.4f}, best label the same {self.agreement:.1%}"


class Int8:
    """The int8 engine of a module as it is at one moment.

    It looks into the cache; else it collects what pictures come by, and once there are enough, makes the engine, holds
    it against float32 on pictures that it did not learn from, and keeps it. Where it is not near, less is made int8,
    down to nothing, and that is said. Until then, and then, the answer is that of the form that it is asked for.

    Args:
        module: the plain module.
        twin: makes a copy of it, and what the model does with pixels by way of the copy.
        shape: (C, H, W) of the pictures that the engine takes; for others the answer is that of the form.
        what: what the model does with the module, beside what the module says of itself, for the cache.
        chosen: the caller gives pictures of his choice, and calls `learn` at their end.
    """

    def __init__(
        self,
        module: nn.Module,
        twin: Callable[[], tuple[nn.Module, Run]],
        *,
        shape: tuple[int, ...],
        what: str,
        chosen: bool,
    ) -> None:
        self._module = module
        self._twin = twin
        self._shape = tuple(shape)
        self._what = what
        self._chosen = chosen
        self._lock = threading.Lock()
        self._seen: list[Tensor] = []
        self._last: Tensor | None = None
        self._count = 0
        self._begun = False
        self._done = False
        self._engine: Engine | None = None

    def engine(self, run: Run, pixels: Tensor | None) -> Engine | None:
        """What shall run in place of `run`, a float32 form; None while, or where, there is nothing better.

        Args:
            run: the form that is used until then.
            pixels: (N, C, H, W), normalised: what the model is asked about now, to learn from.
        """
        if pixels is not None and tuple(pixels.shape[1:]) != self._shape:
            return None
        done = self._done
        if done or pixels is None or not len(pixels):
            return self._engine
        with self._lock:
            if self._done or pixels is self._last:  # labels and features are two questions about one batch
                return self._engine
            self._last = pixels
            if not self._begun:
                self._begun = True
                if not self._chosen and self._from_cache(run, pixels, "seen"):
                    return self._engine
            self._seen.append(pixels[: WANTED - self._count].detach().to("cpu", torch.float16, copy=True))
            self._count += len(self._seen[-1])
            if self._count >= WANTED and not self._chosen:
                self._learn(run)
            return self._engine

    def give_up(self, engine: Engine, err: UnfitError) -> None:
        """Uses an engine no more that failed on pictures, as for want of memory."""
        with self._lock:
            if self._engine is engine:
                self._engine = None
                name = type(self._module).__name__
                log.warning("visionkit: %s runs as with speed='default' from now on: OpenVINO failed: %s", name, err)

    def learn(self, run: Run) -> None:
        """Makes the engine of the pictures that came by.

        Raises:
            InputError: too few.
        """
        with self._lock:
            if self._count < LEAST:
                raise InputError(
                    f"calibration= has {self._count} pictures that load; give {LEAST} or more, best {WANTED}"
                )
            if not self._done:
                self._learn(run)

    def _learn(self, run: Run) -> None:
        pixels = torch.cat(self._seen)
        self._seen.clear()
        self._last = None
        self._done = True
        name = type(self._module).__name__
        which = hashlib.sha256(pixels.numpy().tobytes()).hexdigest() if self._chosen else "seen"
        held_out = torch.arange(len(pixels)) % _HELD_OUT == 0
        if self._chosen and self._from_cache(run, pixels[held_out].float(), which):
            return
        log.info("visionkit: making %s int8 from %d pictures", name, len(pixels))
        try:
            float32, outputs = convert(*self._twin(), pixels[:2].float())
        except UnfitError as err:
            log.warning("visionkit: %s runs as with speed='default': OpenVINO does not take it: %s", name, err)
            return
        for what, without in _TRIES:
            if not all(f'type="{kind}"'.encode() in float32[0] for kind in without):
                continue  # there is none of them to leave out
            try:
                network = quantize(float32, pixels[~held_out].numpy(), without=without)
                near = self._accept(run, network, outputs, pixels[held_out].float(), what)
            except UnfitError as err:
                log.warning("visionkit: %s could not be made %s: %s", name, what, err)
                continue
            if near:
                self._keep(network, outputs, which, what)
                return
        log.warning("visionkit: %s runs in float32 by OpenVINO, as in int8 it does not answer as it should", name)
        try:
            if self._accept(run, float32, outputs, pixels[held_out].float(), "float32"):
                self._keep(float32, outputs, which, "float32")
        except UnfitError as err:
            log.warning("visionkit: %s runs as with speed='default': OpenVINO does not run it: %s", name, err)

    def _accept(self, run: Run, network: Network, outputs: list[int | None], pixels: Tensor, what: str) -> bool:
        """Uses a network, if its answers are near those of `run`.

        Raises:
            UnfitError: OpenVINO does not run it.
        """
        engine = Engine(network, outputs)
        likeness = compare(engine, run, pixels)
        near = likeness.near
        level = log.info if near else log.warning
        level("visionkit: %s in %s: %s%s", type(self._module).__name__, what, likeness, "" if near else ", not near")
        if near:
            self._engine = engine
            self._last = None
            self._done = True
        return near

    def _from_cache(self, run: Run, pixels: Tensor, which: str) -> bool:
        """Uses what an earlier process made of the same module, if its answers about `pixels` are near."""
        folder = self._folder(which)
        if not (folder / _FILES[2]).is_file():
            return False
        try:
            record, network = _kept(folder)
            return self._accept(run, network, record["outputs"], pixels, f"{record['what']}, from {folder}")
        except (ModelLoadError, UnfitError, LookupError, TypeError, ValueError, RuntimeError) as err:
            log.warning("visionkit: what is kept in %s cannot be used, and is made again: %s", folder, err)
            return False

    def _keep(self, network: Network, outputs: list[int | None], which: str, what: str) -> None:
        record = {"what": what, "outputs": outputs, "sha256": [hashlib.sha256(data).hexdigest() for data in network]}
        folder = self._folder(which)
        try:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replacing(folder) as building:
                for name, data in zip(_FILES, (*network, json.dumps(record).encode()), strict=True):
                    write_new(building / name, data)
        except OSError as err:
            log.warning("visionkit: the int8 form could not be kept for the next time: %s", err)

    def _folder(self, which: str) -> Path:
        """Where the engine of this module, as it is used, these pictures and these versions is kept."""
        digest = hashlib.sha256()
        for name, tensor in self._module.state_dict().items():
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        versions = [f"{p} {version(p)}" for p in ("openvino", "nncf", "torch")]
        # the module's own words have its strides and activations; on a shared disk, processors may differ
        words = re.sub(r" at 0x[0-9a-f]+", "", str(self._module))  # of functions: other in each process
        said = [
            f"{type(self._module).__module__}.{type(self._module).__qualname__}",
            words,
            self._what,
            str(self._shape),
            str(has_vnni()),
        ]
        digest.update("\n".join([*said, which, str(_FORMAT), *versions]).encode())
        return cache_folder() / "int8" / digest.hexdigest()[:32]


def _kept(folder: Path) -> tuple[dict[str, Any], Network]:
    """What `Int8` has written there.

    Raises:
        ModelLoadError: it is not whole, or is another.
    """
    record = parse_json(read_file(folder, _FILES[2], 2**16).decode(), folder)
    network = (read_file(folder, _FILES[0], _MAX_BYTES), read_file(folder, _FILES[1], _MAX_BYTES))
    if record["sha256"] != [hashlib.sha256(data).hexdigest() for data in network]:
        raise ModelLoadError(f"{folder} is not what was kept")
    return record, network


def check_installed() -> None:
    """Says what to install, before any picture is looked at.

    Raises:
        MissingExtraError: OpenVINO or NNCF is missing.
    """
    runtime()
    if find_spec("nncf") is None:  # importing it sets up loggers
        runtime("nncf")


def compare(engine: Run, run: Run, pixels: Tensor) -> Likeness:
    """Holds a network's answers about pictures against those of float32."""
    cosines: list[Tensor] = []
    same: list[Tensor] = []
    for part in pixels.split(32):
        ours, theirs = engine(part), run(part)
        pairs = [
            (o.flatten(1).float(), t.flatten(1).float()) for o, t in zip(ours, theirs, strict=True) if t is not None
        ]
        cosines.append(torch.stack([torch.cosine_similarity(o, t, dim=1) for o, t in pairs]))
        if len(pairs) > 1:  # logits and features; features alone have no best label
            (logits, expected), *_ = pairs
            chances = expected.softmax(1)
            chosen = chances.gather(1, logits.argmax(1, keepdim=True))[:, 0]
            same.append(chances.amax(1) - chosen <= 0.01)
    cosine = torch.cat(cosines, 1).nan_to_num(nan=-1.0).mean(1).min()
    return Likeness(float(cosine), float(torch.cat(same).float().mean()) if same else 1.0)
