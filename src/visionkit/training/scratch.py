"""Training a network from random weights, on pictures that are held in memory."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import Failure, InputError, TrainingError, VisionkitError
from ..images import load_image
from ..models import load_model
from ..models.wrap import ModuleClassifier
from ..pipeline import Preprocess
from ..pipeline.resident import channel_statistics
from ..pipeline.tensors import normalise
from .data import Labelled
from .fit import Fitted, fit, seeded
from .keeper import fingerprint, keeping
from .pictures import load_pictures, on_device
from .processes import ALONE, Processes
from .settings import Settings
from .vary import varying

MAX_OWN_SIDE: Final = 64
"""Pictures that are all alike and no larger are taken as they are: digits, icons, thumbnails."""

DEFAULT_SIZE_WH: Final = (224, 224)


@dataclass(frozen=True)
class Trained:
    """A model and how its training went; `learn` and `check` are the pictures that could be loaded."""

    model: ModuleClassifier
    fitted: Fitted
    failures: tuple[Failure, ...]
    learn: Labelled
    check: Labelled


def train_network(
    model: str | nn.Module,
    learn: Labelled,
    check: Labelled,
    *,
    settings: Settings,
    device: torch.device,
    progress: bool | None,
    folder: Path | None = None,
    resume: bool = False,
    together: Processes = ALONE,
) -> Trained:
    """Trains a network, given by a name that takes `pretrained=False` and `num_classes`, or as a module (copied).

    Raises:
        TrainingError: the network's classes are not those of the data; nothing could be loaded; the loss is NaN.
        ModelNotFoundError: no such name.
    """
    classes = learn.classes
    preprocess = Preprocess(size_wh=together.from_main(partial(_size_of, learn)))
    pictures = load_pictures(learn, check, preprocess, together)
    mean, std = together.from_main(partial(channel_statistics, pictures.examples.inputs))
    preprocess = replace(preprocess, mean=mean, std=std)
    prepare = partial(_normalised, preprocess=preprocess)
    with seeded(settings.seed, device):
        network, built_by, name = _network(model, len(classes))
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        examples, checks = on_device(pictures.examples, device), on_device(pictures.checks, device)
        _check_output(network, prepare(examples.inputs[:2]), classes)

        def begun_with() -> dict[str, Any]:
            same = fingerprint((examples.inputs, examples.targets), (checks.inputs, checks.targets))
            return {"network": built_by or {"class": name}, "settings": asdict(settings), **same}

        with keeping(folder, begun_with, resume=resume, together=together) as keeper:
            fitted = fit(
                network,
                examples,
                checks,
                classes=classes,
                prepare=prepare,
                settings=settings,
                progress=progress,
                vary=varying(settings.augment, len(classes)),
                keeper=keeper,
                together=together,
            )
    trained = ModuleClassifier(
        network,
        labels=classes,
        name=name,
        preprocess=preprocess,
        features=None,
        device=device,
        speed="default",
        built_by=built_by,
    )
    trained.multi_label = learn.multi_label
    return Trained(trained, fitted, pictures.failures, pictures.learn, pictures.check)


def named(model: str | nn.Module) -> dict[str, Any]:
    """What tells a network from others, but for its weights: its name, or how it is built, or its class and shapes."""
    if isinstance(model, str):
        return {"network": model}
    own = getattr(model, "architecture", None)
    if callable(own):
        return {"network": own()}
    values = chain(model.named_parameters(), model.named_buffers())
    shapes = [(name, None if is_lazy(value) else list(value.shape)) for name, value in values]
    return {"network": type(model).__name__, "shapes": hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16]}


def _normalised(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    return normalise(pixels, preprocess.mean, preprocess.std, torch.float32)


def _size_of(data: Labelled) -> tuple[int, int]:
    """The pictures' own size when all are alike and small, else 224×224; stops at the first that decides."""
    sizes: set[tuple[int, int]] = set()
    for source in data.sources:
        try:
            sizes.add(load_image(source).size)
        except VisionkitError:  # reported by `load_pixels`
            continue
        if len(sizes) > 1 or max(max(size) for size in sizes) > MAX_OWN_SIDE:
            return DEFAULT_SIZE_WH
    return sizes.pop() if sizes else DEFAULT_SIZE_WH


def _network(model: str | nn.Module, classes: int) -> tuple[nn.Module, dict[str, Any] | None, str]:
    """The network to train, how it can be built again, and its name."""
    if isinstance(model, nn.Module):
        own = getattr(model, "architecture", None)
        built_by: dict[str, Any] | None = own() if callable(own) else None
        return copy.deepcopy(model), built_by, type(model).__name__
    if Path(model).is_dir() or ":" not in model:
        raise InputError(
            f"train starts from random weights: name a network such as 'visionkit:simple_cnn', not "
            f"{model!r}; to go on from a trained model use vk.fine_tune"
        )
    loaded = load_model(model, pretrained=False, num_classes=classes, device="cpu")
    return loaded.module, loaded.architecture(), model


@torch.no_grad()
def _check_output(network: nn.Module, inputs: Tensor, classes: Sequence[str]) -> None:
    network.eval()
    try:
        output = network(inputs)
    except (RuntimeError, AssertionError, ValueError) as err:  # whatever a network's own checks raise
        raise TrainingError(
            f"the network does not take pictures of {tuple(inputs.shape[1:])} (channels, height, width): {err}"
        ) from err
    if not isinstance(output, Tensor) or output.shape != (len(inputs), len(classes)):
        got = output.shape[-1] if isinstance(output, Tensor) and output.ndim == 2 else type(output).__name__
        raise TrainingError(f"the network gives {got} classes, the data has {len(classes)}: {', '.join(classes[:8])}")
