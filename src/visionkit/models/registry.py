"""Which loader stands behind a model name: built-in back ends as a table of strings, others by entry point."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from ..errors import InputError, ModelNotFoundError, RegistryError
from .catalog import nearest

ENTRY_POINT_GROUP: Final = "visionkit.backends"
_STANDARD: Final = ("device", "speed", "revision")
_PREFIX = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True)
class Backend:
    """One kind of model name.

    Attributes:
        prefix: what stands before the colon: lower-case letters, digits, `-` and `_`.
        capabilities: what its models do, of "classify", "embed", "embed_texts", "detect", "ask", "generate".
        loader: `package.module:function`; called with the name after the colon and the keywords `device` and `speed`
            (local models) and whatever options of its own it declares; returns a model.
        local: it runs on this machine; False: it is hosted and takes neither `device` nor `speed`.
        listed: it is shown in lists; False for what only saved folders name.
        summary: one line for people.
        architectures: how the architectures end, in a repository's `config.json`, that it serves; for a prefix that has
            several back ends, where a name alone does not say which.
    """

    prefix: str
    capabilities: tuple[str, ...]
    loader: str
    local: bool = True
    listed: bool = True
    summary: str = ""
    architectures: tuple[str, ...] = ()

    def load(self) -> Callable[..., Any]:
        """The loader itself, imported now."""
        module, _, function = self.loader.partition(":")
        loader: Callable[..., Any] = getattr(import_module(module), function)
        return loader


BUILT_IN: Final = (
    Backend("visionkit", ("classify", "embed"), "visionkit.cnn.embedded:load", summary="networks of ours"),
    Backend("torchvision", ("classify", "embed"), "visionkit.cnn.torchvision_models:load", summary="torchvision"),
    Backend("timm", ("classify", "embed"), "visionkit.cnn.timm_models:load", summary="timm"),
    Backend("open_clip", ("embed", "embed_texts"), "visionkit.clip.open_clip_models:load", summary="CLIP models"),
    Backend(
        "transformers",
        ("classify", "embed"),
        "visionkit.cnn.transformers_models:load",
        summary="image classifiers and backbones of transformers",
        architectures=("ForImageClassification", "ForImageClassificationWithTeacher", "Model", "Backbone"),
    ),
    Backend(
        "transformers",
        ("detect",),
        "visionkit.dense.detectors:load",
        summary="detectors of transformers",
        architectures=("ForObjectDetection",),
    ),
    Backend("onnx", ("classify", "embed"), "visionkit.models.onnx_models:load", summary="exported models in ONNX"),
    Backend("diffusers", ("generate",), "visionkit.diffusion.pipelines:load", summary="diffusion pipelines"),
    Backend("openai", ("ask",), "visionkit.providers.openai_responses:load", local=False, summary="OpenAI"),
    Backend(
        "openai-chat",
        ("ask",),
        "visionkit.providers.openai_chat:load",
        local=False,
        summary="any server that speaks OpenAI's chat completions",
    ),
    Backend("anthropic", ("ask",), "visionkit.providers.anthropic_messages:load", local=False, summary="Anthropic"),
    Backend("head", ("classify",), "visionkit.training.heads:load", listed=False),
    Backend("wrapped", ("classify", "embed"), "visionkit.models.wrap:load", listed=False),
)


def merge(built_in: Iterable[Backend], plugged_in: Iterable[tuple[str, Backend]]) -> tuple[Backend, ...]:
    """One table of both; `plugged_in` are pairs of who gives it and the back end.

    Raises:
        RegistryError: a pair of prefix and capability is taken already, or a prefix is malformed.
    """
    table = list(built_in)
    owner = {(b.prefix, c): "visionkit" for b in table for c in b.capabilities}
    for giver, backend in plugged_in:
        if not _PREFIX.fullmatch(backend.prefix):
            raise RegistryError(f"{giver} registers the malformed prefix {backend.prefix!r}")
        for capability in backend.capabilities:
            taken = owner.get((backend.prefix, capability))
            if taken is not None:
                raise RegistryError(
                    f"{giver} registers {backend.prefix!r} for {capability!r}, which {taken} has already; remove one"
                )
            owner[backend.prefix, capability] = giver
        table.append(backend)
    return tuple(table)


@lru_cache(maxsize=1)
def backends() -> tuple[Backend, ...]:
    """All back ends, those of installed plug-ins too; looked up once for each process."""
    found = entry_points(group=ENTRY_POINT_GROUP)
    return merge(BUILT_IN, [(_giver(entry), backend) for entry in found for backend in _records(entry)])


def find_backend(prefix: str, capability: str | None = None) -> Backend | None:
    """The back end of a prefix, by preference one with that capability; None when the prefix is not registered.

    Raises:
        RegistryError: plug-ins contradict each other or us.
    """
    matches = built_in(prefix)  # first, so that no plug-in is looked for in vain
    if not any(capability is None or capability in b.capabilities or derivable(capability, b) for b in matches):
        matches = tuple(b for b in backends() if b.prefix == prefix)
    able = [b for b in matches if capability in b.capabilities]
    return next(iter(able or matches), None)


def built_in(prefix: str) -> tuple[Backend, ...]:
    """Our own back ends of a prefix."""
    return tuple(b for b in BUILT_IN if b.prefix == prefix)


def derivable(task: str, backend: Backend) -> bool:
    """Whether a verb can be derived from what the back end does: see `tasks`."""
    return task == "classify" and bool({"embed_texts", "ask"} & set(backend.capabilities))


def known_prefixes() -> tuple[str, ...]:
    """The prefixes that a name can begin with."""
    return tuple(dict.fromkeys(b.prefix for b in backends() if b.listed))


def unknown_prefix(name: str) -> ModelNotFoundError:
    """The error for a name of no registered prefix."""
    prefix = name.partition(":")[0]
    close = nearest(prefix, known_prefixes())
    hint = f"; did you mean {' or '.join(f'{c}:…' for c in close)}?" if close else ""
    return ModelNotFoundError(
        f"no model {name!r}: {prefix!r} is no registered prefix{hint} (known: {', '.join(known_prefixes())})"
    )


def _giver(entry: EntryPoint) -> str:
    return f"the package {entry.dist.name!r}" if entry.dist else f"the entry point {entry.name!r}"


def _records(entry: EntryPoint) -> tuple[Backend, ...]:
    try:
        value = entry.load()
    except Exception as err:  # whatever another package's import raises
        raise RegistryError(f"{_giver(entry)} is broken: {type(err).__name__}: {err}; mend or remove it") from err
    records = (value,) if isinstance(value, Backend) else tuple(value)
    if not all(isinstance(r, Backend) for r in records):
        raise RegistryError(f"{_giver(entry)}: the entry point {entry.value!r} is no Backend, nor several")
    return records


def options_of(backend: Backend) -> list[str]:
    """The keyword arguments of a back end's loader."""
    return [p.name for p in inspect.signature(backend.load()).parameters.values() if p.kind is p.KEYWORD_ONLY]


def call_loader(backend: Backend, rest: str, *, device: Any, speed: str, **options: Any) -> Any:
    """Calls a back end's loader with the options that it declares, and refuses others."""
    loader = backend.load()
    taken = options_of(backend)
    unknown = sorted(set(options) - (set(taken) - set(_STANDARD)))
    if unknown:
        known = ", ".join(t for t in taken if t not in _STANDARD) or "none"
        raise InputError(f"{backend.prefix}: models do not take the option {unknown[0]!r}; they take: {known}")
    if not backend.local:
        if device is not None or speed != "default":
            raise InputError(f"{backend.prefix}: models are hosted and take neither device= nor speed=")
        return loader(rest, **options)
    name, at, revision = rest.rpartition("@")
    if "revision" in taken and at:
        return loader(name, device=device, speed=speed, revision=revision, **options)
    return loader(rest, device=device, speed=speed, **options)
