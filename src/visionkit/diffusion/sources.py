"""Where a diffusers pipeline comes from: a folder or a repository, its index checked before any of it is used."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..errors import CapabilityError, ModelLoadError
from ..extras import require
from ..models.configs import check_weight_maps, read_config, refuse_code
from ..models.hub import fetching_repository, offline_variable, repository_state
from ..models.snapshots import check_repository, find_folder, remember, whole_tokenizer, whole_weights

INDEX: Final = "model_index.json"
_LIBRARIES: Final = ("diffusers", "transformers")
_OTHER_TASKS: Final = ("strength", "mask_image", "num_frames", "video", "audio_length_in_s")
"""Parameters of pipelines that change pictures, or make videos or sound."""

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
    folder = find_folder(name, prefix="diffusers", revision=revision)
    if folder is not None:
        check_folder(folder)
        return folder, None
    shown = f"diffusers:{name}" + (f"@{revision}" if revision else "")
    check_repository(name, shown)
    folder = _cached(name, revision, shown) or _fetch(name, revision, shown)
    check_folder(folder)
    return folder, folder.name if _COMMIT.fullmatch(folder.name) else None


def check_folder(folder: Path) -> None:
    """Refuses a folder that is no text-to-image pipeline, or that would make a library run code of the folder's.

    Raises:
        ModelLoadError: no index, a broken one, one that names code, or weights that lie elsewhere.
        CapabilityError: the pipeline does something else.
    """
    if not (folder / INDEX).is_file():
        raise ModelLoadError(
            f"{folder} is no diffusers pipeline: it has no {INDEX}; give a folder that save_pretrained wrote, "
            "or a repository name"
        )
    check_index(read_config(folder / INDEX, str(folder)), str(folder))
    for path in sorted(folder.glob("*/*config.json")):
        read_config(path, str(folder))
    for component in sorted(p for p in folder.iterdir() if p.is_dir()):
        check_weight_maps(component, str(folder))


def check_index(index: Mapping[str, Any], where: str) -> None:
    """The same for an index alone, before anything else of a repository is fetched."""
    refuse_code(index, f"{where}/{INDEX}")
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


def _cached(repository: str, revision: str | None, shown: str) -> Path | None:
    """The repository's folder if all of the pipeline is on this machine; then no network is asked."""
    with suppress(OSError, ValueError):  # the kinds for "not here, or not all of it"
        folder = require("diffusers").DiffusionPipeline.download(
            repository, revision=revision, use_safetensors=True, local_files_only=True
        )
        return Path(folder) if _is_whole(Path(folder), shown) else None
    return None


def _is_whole(folder: Path, shown: str) -> bool:
    """Whether each component that the index names has its files: an interrupted download leaves a part."""
    if not (folder / INDEX).is_file():
        return False
    index = read_config(folder / INDEX, shown)
    named = [k for k, v in index.items() if isinstance(v, list) and v and v[0] is not None and k != "_class_name"]
    return all(_is_component(folder / name) for name in named)


def _is_component(folder: Path) -> bool:
    """A network with weights, a tokenizer with its words, or what has settings only: schedulers, image processors."""
    if (folder / "config.json").exists():
        return whole_weights(folder)
    if (folder / "tokenizer_config.json").exists():
        return whole_tokenizer(folder)
    return any(folder.glob("*config.json"))


def _fetch(repository: str, revision: str | None, shown: str) -> Path:
    pipelines = require("diffusers").DiffusionPipeline
    state = None
    if not offline_variable():
        with suppress(Exception):  # of which there are many; the one that matters comes again below
            state = repository_state(repository, revision)
    megabytes = _weights(state[1]) / 1e6 if state else None
    with fetching_repository(shown, repository, revision=revision, megabytes=megabytes):
        # all at the one commit that is checked: a branch may move in between. When the hub cannot be asked, this
        # says why; diffusers says only OSError
        commit = (state or repository_state(repository, revision))[0]
        check_index(pipelines.load_config(repository, revision=commit), repository)
        folder = Path(pipelines.download(repository, revision=commit, use_safetensors=True))
    remember(folder, revision)
    return folder


def _weights(files: Iterable[tuple[str, int]]) -> int:
    """Bytes of the weights in components' folders, without the variants (`….fp16.safetensors`)."""
    plain = re.compile(r"[^/]+/[^/.]+\.safetensors")
    return sum(size for name, size in files if plain.fullmatch(name))
