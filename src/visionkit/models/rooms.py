"""Which back end a bare name means, where one prefix serves several kinds: its `config.json` says."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CapabilityError
from ..images.sources import printable
from .configs import read_config
from .registry import Backend
from .snapshots import model_folder


def choose_room(backends: Sequence[Backend], name: str) -> Backend:
    """The one of several back ends of a prefix that serves the architecture of a folder or repository.

    Args:
        backends: of one prefix.
        name: what follows the colon: a folder or a repository, with `@revision` perhaps.

    Raises:
        ModelNotFoundError: no such folder or repository, or it cannot or must not be fetched.
        ModelLoadError: its configuration cannot be read.
        CapabilityError: the configuration names no architecture that one of them serves; the message has the tasks.
    """
    prefix = backends[0].prefix
    place, at, revision = name.rpartition("@")
    folder = model_folder(
        place if at else name,
        prefix=prefix,
        revision=revision if at else None,
        patterns=("config.json",),
        whole=lambda folder: (folder / "config.json").exists(),
    )
    named = read_config(folder / "config.json", f"{prefix}:{name}").get("architectures")
    architectures = [str(a) for a in named] if isinstance(named, list) else []
    for backend in backends:
        if any(a.endswith(backend.architectures) for a in architectures):
            return backend
    tasks = [capability for backend in backends for capability in backend.capabilities]
    says = (
        f"names {', '.join(printable(a[:80]) for a in architectures[:3])}"
        if architectures
        else "names no architectures"
    )
    raise CapabilityError(
        f"cannot tell what {prefix}:{name} does: its config.json {says}; say it: "
        f"vk.load_model(…, task={tasks[-1]!r}), of {', '.join(tasks)}"
    )
