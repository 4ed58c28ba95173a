"""Where a diffusers pipeline comes from: a folder or a repository, its index checked before any of it is used."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..errors import CapabilityError, ModelLoadError, ModelNotFoundError
from ..extras import require
from ..models.hub import fetching, offline_variable, repository_files

INDEX: Final = "model_index.json"
_LIBRARIES: Final = ("diffusers", "transformers")
_CODE_KEYS: Final = ("auto_map", "custom_pipelines", "custom_pipeline", "trust_remote_code")
_OTHER_TASKS: Final = ("strength", "mask_image", "num_frames", "video", "audio_length_in_s")
"""Parameters of pipelines that change pictures, or make videos or sound."""

_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def find_pipeline(name: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder of a pipeline, fetched if it must be, checked; and the commit, where it is a repository's.

    Args:
        name: a folder or a repository.
        revision: a branch, tag or commit of the repository.

    Raises:
        ModelNotFoundError: no such folder; or the repository is not on this machine and cannot or must not be fetched.
        ModelLoadError: it is no pipeline, or one that would run code of its own.
        CapabilityError: its pipeline does not make pictures from words alone.
    """
    shown = f"diffusers:{name}" + (f"@{revision}" if revision else "")
    folder = Path(f"{name}@{revision}" if revision and Path(f"{name}@{revision}").is_dir() else name)
    if folder.is_dir():
        if revision and folder == Path(name):
            raise ModelLoadError(f"{shown}: a folder has no revisions; leave out @{revision}")
        check_folder(folder)
        return folder, None
    if not _REPOSITORY.fullmatch(name):
        raise ModelNotFoundError(
            f"no model {shown!r}: there is no folder {name!r}, and a repository is named like 'owner/name'"
        )
    folder = _cached(name, revision) or _fetch(name, revision, shown)
    check_folder(folder)
    return folder, folder.name if _COMMIT.fullmatch(folder.name) else None


def check_folder(folder: Path) -> None:
    """Refuses a folder that is no text-to-image pipeline, or that would make a library run code of the folder's.

    Raises:
        ModelLoadError: no index, a broken one, or one that names code.
        CapabilityError: the pipeline does something else.
    """
    if not (folder / INDEX).is_file():
        raise ModelLoadError(
            f"{folder} is no diffusers pipeline: it has no {INDEX}; give a folder that save_pretrained wrote, "
            "or a repository name"
        )
    check_index(_read_json(folder / INDEX), str(folder))
    for path in sorted(folder.glob("*/*config.json")):
        _refuse_code_keys(_read_json(path), str(path))


def check_index(index: Mapping[str, Any], where: str) -> None:
    """The same for an index alone, before anything else of a repository is fetched."""
    _refuse_code_keys(index, f"{where}/{INDEX}")
    for component, value in index.items():
        if isinstance(value, (list, tuple)) and component != "_class_name":
            _check_library(value[0] if value else None, f"the component {component!r}", where)
    wanted = index.get("_class_name")
    if not isinstance(wanted, str):
        raise ModelLoadError(
            f"{where} asks for a pipeline class of its own code, {wanted!r}, which visionkit never runs"
        )
    diffusers = require("diffusers")
    found = getattr(diffusers, wanted, None)
    if not (inspect.isclass(found) and issubclass(found, diffusers.DiffusionPipeline)):
        raise ModelLoadError(
            f"{where} is a pipeline of the class {wanted!r}, which diffusers {diffusers.__version__} does not have; "
            "code that a folder or repository brings is never run"
        )
    if getattr(found, "_load_connected_pipes", False):
        raise ModelLoadError(f"{where}: a {wanted} loads further repositories that its README names, so it is refused")
    _check_task(found, where)


def _check_library(library: object, what: str, where: str) -> None:
    """Only the two libraries, and the folders of pipelines in diffusers (safety checkers are of those)."""
    if library is None or library in _LIBRARIES:
        return
    if not isinstance(library, str) or not hasattr(require("diffusers").pipelines, library):
        raise ModelLoadError(
            f"{where}: {what} is of {library!r}, which is neither diffusers nor transformers; "
            "code that a folder or repository brings is never run"
        )


def _check_task(pipeline_class: type, where: str) -> None:
    parameters = inspect.signature(pipeline_class.__call__).parameters
    needed = [
        p.name
        for p in list(parameters.values())[1:]
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "prompt"
    ]
    other = [name for name in _OTHER_TASKS if name in parameters]
    if "prompt" in parameters and "generator" in parameters and not needed and not other:
        return
    takes = ", ".join([*needed, *other]) or "no prompt"
    raise CapabilityError(
        f"{where} is a {pipeline_class.__name__} ({takes}), which does not make pictures from words alone; "
        "generate needs a text-to-image pipeline such as StableDiffusionPipeline"
    )


def _refuse_code_keys(settings: Mapping[str, Any], where: str) -> None:
    for key in _CODE_KEYS:
        if settings.get(key):
            raise ModelLoadError(f"{where} has {key!r}, which switches on code that the folder brings; it is never run")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise ModelLoadError(f"{path} cannot be read as JSON: {err}") from err
    if not isinstance(settings, dict):
        raise ModelLoadError(f"{path} holds no settings, but a {type(settings).__name__}")
    return settings


def _cached(repository: str, revision: str | None) -> Path | None:
    """The repository's folder if all of the pipeline is on this machine; then no network is asked."""
    with suppress(OSError, ValueError):  # the kinds for "not here, or not all of it"
        folder = require("diffusers").DiffusionPipeline.download(
            repository, revision=revision, use_safetensors=True, local_files_only=True
        )
        return Path(folder) if (Path(folder) / INDEX).is_file() else None
    return None


def _fetch(repository: str, revision: str | None, shown: str) -> Path:
    pipelines = require("diffusers").DiffusionPipeline
    source = f"Hugging Face, repository {repository}"
    ahead = f"hf download {repository}" + (f" --revision {revision}" if revision else "")
    megabytes = None
    if not offline_variable():
        with suppress(Exception):  # of which there are many; the one that matters comes again below
            megabytes = _size_in_megabytes(repository, revision)
    with fetching(shown, source=source, ahead=ahead, megabytes=megabytes):
        if megabytes is None:
            _size_in_megabytes(repository, revision)  # says why the hub cannot be asked; diffusers says only OSError
        check_index(pipelines.load_config(repository, revision=revision), repository)
        return Path(pipelines.download(repository, revision=revision, use_safetensors=True))


def _size_in_megabytes(repository: str, revision: str | None) -> float:
    """About what a download takes."""
    return _weights(repository_files(repository, revision)) / 1e6


def _weights(files: Iterable[tuple[str, int]]) -> int:
    """Bytes of the weights in components' folders, without the variants (`….fp16.safetensors`)."""
    plain = re.compile(r"[^/]+/[^/.]+\.safetensors")
    return sum(size for name, size in files if plain.fullmatch(name))
