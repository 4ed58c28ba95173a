"""`load_model`: a name becomes a model; and the bounded cache that verbs use for names."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from ..errors import CapabilityError, InputError, ModelNotFoundError
from . import catalog
from .atomic import recover
from .registry import Backend, backends, built_in, call_loader, derivable, find_backend, unknown_prefix
from .rooms import choose_room

if TYPE_CHECKING:
    import torch

    from ..images import Source
    from .protocols import Model

CACHE_SIZE: Final = 4
"""Models that verbs keep for names; the one used longest ago goes first."""

_LOOKED_AT: Final = 1000
"""Files of a folder by which it is known."""


def load_model(
    name: str | os.PathLike[str],
    *,
    task: str | None = None,
    device: str | torch.device | None = None,
    speed: str = "default",
    calibration: Iterable[Source] | None = None,
    **options: Any,
) -> Any:
    """Loads a model by its name; a fresh object each time, the caller's own.

    Args:
        name: `backend:name`, with `@revision` where the back end has revisions; or the folder of a saved model, as a
            path or as a string without a registered prefix.
        task: what it shall do, where one prefix serves several kinds: "classify", "embed", "detect", "ask", "generate".
        device: see `pipeline.choose_device`; for local models.
        speed: for local models. "default": on a CPU float32 with folded batch normalisation and channels-last memory,
            half precision on a GPU; "fast": bfloat16 weights where the processor has them; "exact": float32 and full
            decoding, pixels those of the reference implementation to one 8-bit level (rounding); "fastest": int8 by
            OpenVINO on a CPU, learnt from your pictures and held against float32 before it is used: until 256 came by,
            the model answers as with "default".
        calibration: for "fastest": a few hundred pictures like those that will come, to learn from now.
        options: what the back end's loader takes, such as `pretrained=False` or `base_url=`.

    Returns:
        A model: an object of one or more protocols of `visionkit.models.protocols`.

    Raises:
        ModelNotFoundError: no such prefix, name or folder; the message has the nearest names.
        ModelLoadError: the files are not as they must be.
        MissingExtraError: the back end's package is not installed.
        CapabilityError: the back end does not do `task`.
        InputError: an option that the loader does not take; the message lists those that it takes.
    """
    if isinstance(options.get("api_key"), str):  # hidden at once: frames may be shown with their values
        options["api_key"] = SecretStr(options["api_key"])
    model = _load(name, task=task, device=device, speed=speed, **options)
    if calibration is not None:
        from .calibrating import calibrate

        calibrate(model, calibration)
    return model


def _load(
    name: str | os.PathLike[str], *, task: str | None, device: str | torch.device | None, speed: str, **options: Any
) -> Any:
    if not isinstance(name, (str, os.PathLike)):
        raise InputError(f"a model's name is a string or a folder's path, not {type(name).__name__}")
    text = os.fspath(name)
    prefix, colon, rest = text.partition(":")
    backend = find_backend(prefix, task) if colon and isinstance(name, str) else None
    if backend is None:
        return _load_folder(text, colon and isinstance(name, str), device=device, speed=speed, **options)
    if task is not None:
        _check_able(text, task, backend)
    if not rest:
        raise ModelNotFoundError(f"no model {text!r}: a name must follow the colon")
    if task is None and len(built_in(prefix)) > 1:
        backend = choose_room(built_in(prefix), rest)
    return call_loader(backend, rest, device=device, speed=speed, **options)


def _check_able(text: str, task: str, backend: Backend) -> None:
    if task not in backend.capabilities and not derivable(task, backend):
        able = dict.fromkeys(c for b in built_in(backend.prefix) or (backend,) for c in b.capabilities)
        raise CapabilityError(f"{text!r} cannot {task}: {backend.prefix}: models do {', '.join(able)}")


def _load_folder(text: str, looks_like_name: object, **options: Any) -> Any:
    if Path(text).is_dir() or recover(Path(text)):
        from .saved import load_saved

        unknown = sorted(set(options) - {"device", "speed", "module"})
        if unknown:
            raise InputError(f"a saved folder does not take the option {unknown[0]!r}; it takes: module")
        return load_saved(Path(text), **options)
    if looks_like_name:
        raise unknown_prefix(text)
    known = [e.name for e in catalog.CATALOG]
    close = catalog.nearest(text, [*known, *(k.partition(":")[2] for k in known)])
    names = [next(k for k in known if k in (c, f"{k.partition(':')[0]}:{c}")) for c in close]
    hint = f"; did you mean {' or '.join(map(repr, dict.fromkeys(names)))}?" if names else ""
    raise ModelNotFoundError(f"no model {text!r}: it is no folder, and has no prefix such as 'timm:'{hint}")


_cache: OrderedDict[tuple[str, str | None, str | None, str, str], Any] = OrderedDict()
_lock = threading.RLock()


def load_cached(
    name: str | os.PathLike[str],
    *,
    task: str,
    device: str | torch.device | None = None,
    speed: str = "default",
) -> Model:
    """As `load_model`, but the object is shared among verbs; at most `CACHE_SIZE` are kept."""
    prefix, colon, rest = os.fspath(name).partition(":")
    backend = find_backend(prefix, task) if colon else None
    if backend is not None:  # before the cache is asked, so that the answer does not hang on what was loaded before
        _check_able(os.fspath(name), task, backend)
    files = _stamp(rest if backend else os.fspath(name)) if backend is None or backend.local else None
    key = (os.fspath(name), backend.loader if backend else None, files, str(device), speed)
    with _lock:  # held while loading, so that two threads do not load one model twice
        if key not in _cache:
            _cache[key] = load_model(name, task=task, device=device, speed=speed)
            while len(_cache) > CACHE_SIZE:
                _cache.popitem(last=False)
        _cache.move_to_end(key)
        model: Model = _cache[key]
        return model


def _stamp(name: str) -> str | None:
    """Which file or folder a name means now, if any: another after it was written again, or from another folder."""
    try:
        path = Path(name).expanduser().absolute()
        path.stat()
        files = list(islice(_within(path), _LOOKED_AT)) if path.is_dir() else [path]
    except (OSError, RuntimeError, ValueError):  # none; no such user; a character that no path has
        return None
    return f"{path} {[(str(file), _state(file)) for file in files]}"


def _within(folder: Path) -> Iterator[Path]:
    """What a folder holds, and what its own folders hold, in order: a pipeline of diffusion has a folder for each part.

    Raises:
        OSError: the folder cannot be listed.
    """
    for one in sorted(folder.iterdir()):
        yield one
        if one.is_dir():
            with suppress(OSError):
                yield from sorted(one.iterdir())


def _state(file: Path) -> tuple[int, int, int] | None:
    """Another after a file was written again; None for a link to nothing."""
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def clear_models() -> None:
    """Forgets the models that verbs loaded by name, and so frees their memory."""
    with _lock:
        _cache.clear()


def list_models(task: str | None = None) -> list[catalog.Entry]:
    """The models that visionkit names itself, with task, licence, size and source.

    A back end takes many more names: any architecture of timm, any repository of a hub. For those of a plug-in, and for
    hosted ones, an entry stands for all names of the prefix.

    Args:
        task: only those that do this: "classify", "embed", "embed_texts", "detect", "ask" or "generate".

    Raises:
        InputError: another task.
    """
    known = sorted({c for b in backends() for c in b.capabilities})
    if task is not None and task not in known:
        raise InputError(f"task {task!r} is none; the tasks are {', '.join(known)}")
    named = {e.name.partition(":")[0] for e in catalog.CATALOG}
    others = [
        catalog.Entry(f"{b.prefix}:…", b.capabilities, "the model's own", 0.0, b.summary)
        for b in backends()
        if b.listed and b.prefix not in named
    ]
    found = [*catalog.CATALOG, *others]
    if task == "classify":  # also by comparing with texts, and by asking
        return [e for e in found if {"classify", "embed_texts", "ask"} & set(e.tasks)]
    return [e for e in found if task is None or task in e.tasks]
