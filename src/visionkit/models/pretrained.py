"""Folders in the layout of transformers, loaded without code of their own, from safetensors, and only whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelLoadError
from .configs import check_weight_maps
from .quiet import no_bars


def check_weights(folder: Path, name: str) -> None:
    """Refuses a folder whose weights transformers would look for elsewhere, or read in another form.

    Raises:
        ModelLoadError: an adapter, no safetensors, or an index that names files outside.
    """
    if (folder / "adapter_config.json").exists():  # transformers would follow it to a model that was not checked
        raise ModelLoadError(f"{name}: the folder {folder} holds an adapter of another model; merge it into that first")
    if not any(folder.glob("*.safetensors")):
        raise ModelLoadError(
            f"{name}: the folder {folder} has no weights as safetensors, the only form that is loaded; "
            f"convert them with model.save_pretrained(folder)"
        )
    check_weight_maps(folder, name)


def from_folder(transformers: Any, auto_class: str, folder: Path, name: str, **options: Any) -> Any:
    """One of transformers' `from_pretrained`, offline, without remote code, its many errors mapped to ours.

    Args:
        transformers: the package.
        auto_class: "AutoImageProcessor", "AutoModel", …
        folder: what is loaded; its configurations have been checked.
        name: the model's, for messages.
        options: more arguments.

    Raises:
        ModelLoadError: it cannot be loaded.
    """
    try:
        with no_bars(transformers.utils.logging):
            auto = getattr(transformers, auto_class)
            return auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **options)
    except Exception as err:  # OSError, ValueError, KeyError, RuntimeError, safetensors' own, …
        first = next(iter(str(err).strip().splitlines()), "")
        raise ModelLoadError(f"{name}: transformers cannot load {folder}: {type(err).__name__}: {first}") from err


def check_complete(loading: Mapping[str, Any], name: str) -> None:
    """Refuses a model of which some weights would be random; transformers only warns.

    Raises:
        ModelLoadError: names the first.
    """
    absent = sorted(map(str, [*loading["missing_keys"], *loading["mismatched_keys"]]))
    if absent:
        raise ModelLoadError(f"{name}: {len(absent)} weights are not in its files or of another shape: {absent[0]}, …")


def unique_labels(id2label: dict[int, str]) -> tuple[str, ...]:
    """A configuration's names in the order of their ids; those that it gives twice are told apart by the id.

    COCO's 91 ids, for one, have eleven that are called "N/A": they become "N/A (12)" and so on.
    """
    names = [id2label[i] for i in sorted(id2label)]
    repeated = {n for n, times in Counter(names).items() if times > 1}
    return tuple(f"{n} ({i})" if n in repeated else n for i, n in zip(sorted(id2label), names, strict=True))


def check_ids(id2label: dict[int, str], name: str) -> None:
    """Refuses names that do not fit the outputs: the network counts its classes from 0.

    Raises:
        ModelLoadError: names the first id that is odd.
    """
    ids = sorted(id2label)
    if ids != list(range(len(ids))):
        odd = next(i for i, (found, wanted) in enumerate(zip(ids, range(len(ids)), strict=True)) if found != wanted)
        raise ModelLoadError(
            f"{name}: its configuration's id2label must name the ids 0 to {len(ids) - 1}, each once, as the network "
            f"counts its classes; it has {ids[odd]} in place of {odd}"
        )
