"""Configurations that came with a model: read within bounds, and refused where they would run or fetch code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ..errors import ModelLoadError

MAX_CONFIG_BYTES: Final = 2**23
"""The largest real ones name 22,000 classes twice, in 2 MB."""

_RUNS_CODE: Final = frozenset(
    {"auto_map", "code_revision", "custom_code", "custom_pipeline", "custom_pipelines", "trust_remote_code"}
)
_KERNEL: Final = re.compile(r"_?(attn|experts)_implementation.*")
"""Keys that name a repository of compiled code (CVE-2026-4372, CVE-2026-5241), or one of transformers' own ways."""

_OWN_WAYS: Final = ("eager", "sdpa")


def read_config(path: Path, name: str) -> dict[str, Any]:
    """A configuration file as JSON values, checked by `refuse_code`.

    Args:
        path: the file.
        name: the model's, for messages.

    Raises:
        ModelLoadError: no file, not to be read, too large, no JSON object, or one that would run code.
    """
    try:
        if not path.is_file():  # also a folder of that name, or a pipe that would never end
            raise ModelLoadError(f"{name}: the folder {path.parent} has no file {path.name}")
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise ModelLoadError(
                f"{name}: {path} is larger than any configuration ({MAX_CONFIG_BYTES:,} bytes); is it another file?"
            )
        fields = json.loads(content.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise ModelLoadError(f"{name}: {path} cannot be read as JSON: {err}") from err
    if not isinstance(fields, dict):
        raise ModelLoadError(f"{name}: {path} is no JSON object, but a {type(fields).__name__}")
    refuse_code(fields, f"{name}: {path}")
    return fields


def refuse_code(fields: object, where: str) -> None:
    """Refuses JSON values that have, at any depth, a key by which a library runs or fetches code.

    An empty value (None, False) is nothing that runs.

    Raises:
        ModelLoadError: names the key.
    """
    for key, value in _items(fields):
        runs = key in _RUNS_CODE or (_KERNEL.fullmatch(key) and value not in _OWN_WAYS)
        if runs and value:
            raise ModelLoadError(
                f"{where} has the key {key!r}, which makes a library run code that is not its own; that is never done: "
                f"remove the key, if the model works without"
            )


def check_weight_maps(folder: Path, name: str) -> None:
    """Refuses a folder whose index of weights (`model.safetensors.index.json`) names files elsewhere.

    Raises:
        ModelLoadError: an index that cannot be read, or a name that is not a bare one of a safetensors file.
    """
    for path in sorted(folder.glob("*.index*.json")):
        for file in weight_files(path, name):
            if not re.fullmatch(r"[^/\\:\0]+\.safetensors", file):
                raise ModelLoadError(
                    f"{name}: {path} names the weights {file!r}; only safetensors files of that folder are loaded"
                )


def weight_files(index: Path, name: str) -> set[str]:
    """The files that an index of weights names.

    Raises:
        ModelLoadError: it cannot be read, or maps nothing to files.
    """
    files = read_config(index, name).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(f, str) for f in files.values()):
        raise ModelLoadError(f"{name}: {index} has no 'weight_map' from weights to files")
    return set(files.values())


def _items(value: object) -> Iterator[tuple[str, object]]:
    """All keys of JSON values with what they hold, at every depth; without recursion, so that no depth is too deep."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
