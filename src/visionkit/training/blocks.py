"""The blocks of a network: what `train="last:N"` counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass
class Block:
    """A part of a network that is trained or left as a whole.

    Attributes:
        name: of its first module.
        modules: a module with parameters, and the normalisations after it.
    """

    name: str
    modules: list[nn.Module] = field(default_factory=list)

    def parameters(self) -> Iterator[nn.Parameter]:
        """All of the block's."""
        for module in self.modules:
            yield from module.parameters()


def blocks_of(module: nn.Module) -> list[Block]:
    """The blocks of a network, in the order in which it defines them; each holds parameters.

    The network itself is opened, and so is every container (`Sequential`, `ModuleList`, `ModuleDict`) in it and every
    module that holds, at any depth, a stack: a container of two or more modules of one class that have parts of their
    own. What is not opened is a block: a residual block, a layer of a transformer, a single convolution. A
    normalisation that stands by itself belongs to the block before it. Parameters that stand directly in an opened
    module, such as position embeddings, are of no block.
    """
    blocks: list[Block] = []
    for name, part in _closed_parts(module, ""):
        if blocks and _is_norm(part):
            blocks[-1].modules.append(part)
        else:
            blocks.append(Block(name, [part]))
    return blocks


def _closed_parts(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if not any(True for _ in child.parameters()):
            continue
        if isinstance(child, _CONTAINERS) or any(_is_stack(part) for part in child.modules()):
            yield from _closed_parts(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _is_stack(module: nn.Module) -> bool:
    if not isinstance(module, _CONTAINERS):
        return False
    kinds = Counter(
        type(child)
        for child in module.children()
        if not isinstance(child, _CONTAINERS) and any(True for _ in child.children())
    )
    return any(count > 1 for count in kinds.values())


def _is_norm(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__ and not any(True for _ in module.children())
