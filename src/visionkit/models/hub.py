"""Weights that must be fetched: announced before, forbidden when offline, one clear error when they cannot be had."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..errors import ModelLoadError, ModelNotFoundError, VisionkitError
from ..log import log

_OFFLINE: Final = ("VISIONKIT_OFFLINE", "HF_HUB_OFFLINE")
_REACHED_SECONDS: Final = 5.0


def offline_variable() -> str | None:
    """The environment variable that forbids downloads, if one does."""
    return next((v for v in _OFFLINE if os.environ.get(v, "").lower() not in ("", "0", "false", "no")), None)


@contextmanager
def fetching(
    name: str, *, source: str, ahead: str, megabytes: float | None = None, cached: bool = False
) -> Iterator[None]:
    """Goes around a call of another library that may download a model.

    Args:
        name: the model's name, for messages.
        source: where it comes from: "Hugging Face, repository …".
        ahead: how to fetch it ahead, on a machine with a network.
        megabytes: its size, where it is known.
        cached: it is on this machine already, so that nothing is announced or forbidden.

    Raises:
        ModelNotFoundError: downloads are forbidden, or the download failed.
        ModelLoadError: what is cached is damaged.
    """
    size = f" ({megabytes:.0f} MB)" if megabytes else ""
    variable = offline_variable()
    if variable and not cached:
        raise ModelNotFoundError(
            f"{name} is not on this machine and {variable} forbids to fetch it{size} from {source}; "
            f"fetch it ahead: {ahead}; or give a local folder"
        )
    if not cached:
        line = f"visionkit: fetching {name}{size} from {source}"
        log.info(line)
        print(line, file=sys.stderr)  # noqa: T201 - nobody configures logging to learn of a download
    try:
        yield
    except VisionkitError:
        raise
    except Exception as err:  # every library's hub code raises its own kinds, down to the sockets'
        if cached:
            raise ModelLoadError(
                f"{name} is on this machine, but cannot be loaded ({type(err).__name__}): delete what is cached of it "
                f"and fetch it again: {ahead}"
            ) from err
        raise ModelNotFoundError(
            f"{name} could not be fetched{size} from {source} ({type(err).__name__}); "
            f"fetch it ahead: {ahead}; or give a local folder"
        ) from err


@contextmanager
def fetching_repository(
    name: str,
    repository: str,
    *,
    revision: str | None = None,
    megabytes: float | None = None,
    hint: str = "",
    cached: bool = False,
) -> Iterator[None]:
    """`fetching` for a repository at Hugging Face, which is told within seconds where there is no network.

    Args:
        name: what is fetched, for messages.
        repository: as `owner/name`.
        revision: a branch, tag or commit of it.
        megabytes: its size, where it is known.
        hint: what else to say of how to fetch it ahead.
        cached: it is on this machine already.

    Raises:
        ModelNotFoundError: downloads are forbidden, or the download failed.
        ModelLoadError: what is cached is damaged.
    """
    ahead = f"hf download {repository}{f' --revision {revision}' if revision else ''}{hint}"
    source = f"Hugging Face, repository {repository}"
    with fetching(name, source=source, ahead=ahead, megabytes=megabytes, cached=cached):
        if not cached:
            _check_reachable(repository, revision)
        yield


def _check_reachable(repository: str, revision: str | None) -> None:
    """Asks the hub one small question: its client goes on trying a download for half a minute, and takes no setting.

    Raises:
        Exception: there is no way to the hub. What the hub itself says, or that it is slow, is left to the download.
    """
    from huggingface_hub import model_info  # here: many names need no hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        model_info(repository, revision=revision, timeout=_REACHED_SECONDS)
    except HfHubHTTPError:
        pass
    except Exception as err:
        if type(err).__name__ != "ReadTimeout":  # of httpx, or of httpx2 below newer clients
            raise


def is_cached(repository: str, file: str) -> bool:
    """Whether a file of a repository is in Hugging Face's cache on this machine."""
    from huggingface_hub import try_to_load_from_cache  # here: many names need no hub

    return isinstance(try_to_load_from_cache(repository, file), str)


def repository_state(repository: str, revision: str | None = None) -> tuple[str, list[tuple[str, int]]]:
    """What a branch or tag at Hugging Face is now: its commit, and its files with their sizes in bytes.

    Raises:
        Exception: whatever kind the hub's client or the sockets below it raise; call it within `fetching`.
    """
    from huggingface_hub import model_info  # here: many names need no hub

    info = model_info(repository, revision=revision, files_metadata=True, timeout=10)
    if not info.sha:
        raise ValueError(f"the hub names no commit of {repository}")
    return info.sha, [(file.rfilename, file.size or 0) for file in info.siblings or ()]
