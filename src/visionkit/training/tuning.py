"""Fine-tuning: a new head, and all, the last blocks, or small additions of the network below it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import torch
from torch import Tensor, nn

from ..errors import CapabilityError, InputError
from ..pipeline.tensors import normalise
from .blocks import blocks_of
from .checkpoint import read_checkpoint
from .fit import Examples, fit, seeded
from .frozen import Headed, train_head
from .heads import HeadClassifier
from .keeper import fingerprint, keeping
from .learner import Group
from .lora import add_lora, merge_lora
from .pictures import load_pictures, on_device
from .processes import ALONE, Processes
from .settings import Settings
from .vary import varying

if TYPE_CHECKING:
    from .data import Labelled

BACKBONE_SHARE: Final = 0.03
"""Of the learning rate, for weights that know much already."""

_HEAD_EPOCHS: Final = 20


@dataclass(frozen=True)
class Part:
    """Which part of a network is trained: `kind` "head", "all", "last" or "lora"; `blocks`: how many of "last"."""

    kind: str
    blocks: int = 0


def read_part(train: object) -> Part:
    """What `train=` says.

    Raises:
        InputError: it says nothing known.
    """
    if isinstance(train, str):
        if train in ("head", "all", "lora"):
            return Part(train)
        found = re.fullmatch(r"last:([1-9][0-9]{0,3})", train)
        if found:
            return Part("last", int(found[1]))
    raise InputError(f"train={train!r} is not offered; choose 'head', 'all', 'lora', or 'last:N' such as 'last:2'")


class _Network(nn.Module):
    """A head over a model's features, for pixels: float (N, 3, H, W), normalised → logits (N, K)."""

    def __init__(self, model: HeadClassifier) -> None:
        super().__init__()
        self.model = model
        self.backbone = model.module["backbone"]  # type: ignore[index]  # it is a ModuleDict
        self.head = model.head
        self.quiet: list[nn.Module] = []

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.quiet:  # no dropout in what stays as it is, and no new statistics
            module.training = False
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.plain_logits(pixels)


def tune(
    embedder: Any,
    learn: Labelled,
    check: Labelled,
    *,
    part: Part,
    settings: Settings,
    progress: bool | None,
    folder: Path | None,
    resume: bool,
    together: Processes = ALONE,
) -> Headed:
    """Trains a head alone first, then it and a part of the network together, in place.

    A head that knows the classes keeps the first steps from spoiling what the network knows: Kumar et al.,
    "Fine-tuning can distort pretrained features" (2022).

    Raises:
        CapabilityError: the model has no module that can be trained.
        TrainingError: see `fit`.
    """
    if not hasattr(embedder, "module") or not hasattr(embedder, "plain_features"):
        raise CapabilityError(f"{embedder.name} has no module to train: use train='head'")
    together.check_place(embedder.module, embedder.name)
    device, classes = embedder.device, learn.classes
    pictures = load_pictures(learn, check, embedder.preprocess, together)
    if together.from_main(lambda: folder is not None and resume and read_checkpoint(folder) is not None):
        model = HeadClassifier(embedder, nn.Linear(_feature_count(embedder), len(classes)), classes)
    else:
        first = Settings(epochs=_HEAD_EPOCHS, batch_size=32, learning_rate=1e-2, weight_decay=0.1, seed=settings.seed)
        headed = train_head(embedder, pictures.learn, pictures.check, settings=first, progress=False, together=together)
        model = headed.model
    examples, checks = on_device(pictures.examples, device), on_device(pictures.checks, device)

    def begun_with() -> dict[str, Any]:
        same = fingerprint((examples.inputs, examples.targets), (checks.inputs, checks.targets))
        return {"network": model.architecture(), "train": asdict(part), "settings": asdict(settings), **same}

    with seeded(settings.seed, device), keeping(folder, begun_with, resume=resume, together=together) as keeper:
        network = _Network(model)
        groups = _choose(network, part, examples)
        fitted = fit(
            network,
            examples,
            checks,
            classes=classes,
            prepare=partial(_normalised, model=model),
            settings=settings,
            progress=progress,
            vary=varying(settings.augment, len(classes)),
            groups=groups,
            keeper=keeper,
            together=together,
        )
    if part.kind == "lora":
        merge_lora(network.backbone)
    network.requires_grad_().eval()
    model.multi_label = learn.multi_label
    return Headed(model, fitted, pictures.failures, pictures.learn, pictures.check)


def _normalised(pixels: Tensor, model: HeadClassifier) -> Tensor:
    return normalise(pixels, model.preprocess.mean, model.preprocess.std, torch.float32)


def _feature_count(embedder: Any) -> int:
    width, height = embedder.preprocess.size_wh
    with torch.no_grad():
        return int(embedder.plain_features(torch.zeros(2, 3, height, width, device=embedder.device)).shape[1])


def _choose(network: _Network, part: Part, examples: Examples) -> list[Group]:
    """What is trained of a network, and at which rates; the rest of it is set to stay as it is.

    Raises:
        InputError: more blocks than there are.
        CapabilityError: see `add_lora`.
    """
    backbone, name = network.backbone, network.model.embedder.name
    used = _used(network, examples)
    chosen: list[nn.Parameter]
    # Statistics of batches stay those of the many pictures before: of a hundred new ones (faces: 96%, else 88%).
    network.quiet = _with_statistics(backbone)
    if part.kind == "all":
        chosen = [p for p in backbone.parameters() if id(p) in used]
    elif part.kind == "lora":
        chosen = add_lora(backbone, used, name)
    else:
        blocks = [b for b in blocks_of(backbone) if any(id(p) in used for p in b.parameters())]
        if part.blocks > len(blocks):
            raise InputError(f"train='last:{part.blocks}': {name} has {len(blocks)} blocks")
        last = blocks[-part.blocks :]
        chosen = [p for block in last for p in block.parameters() if id(p) in used]
        inside = {id(m) for block in last for top in block.modules for m in top.modules()}
        network.quiet += [m for m in backbone.modules() if id(m) not in inside]
    network.requires_grad_(requires_grad=False)
    head = tuple(network.head.parameters())
    for parameter in (*chosen, *head):
        parameter.requires_grad_()
    share = 1.0 if part.kind == "lora" else BACKBONE_SHARE
    return [Group(tuple(chosen), share), Group(head)]


def _used(network: _Network, examples: Examples) -> set[int]:
    """The ids of the parameters that the answers depend on: not those of a former head."""
    network.eval().requires_grad_()
    network(_normalised(examples.inputs[:2], network.model)).sum().backward()
    used = {id(p) for p in network.parameters() if p.grad is not None}
    network.zero_grad()
    return used


def _with_statistics(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if hasattr(m, "running_mean")]
