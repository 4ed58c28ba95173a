"""What an `open_clip:` name stands for: a configuration, and the file of weights that goes with it.

A configuration is in the layout of the hub's `open_clip_config.json`: `model_cfg`, the network, and `preprocess_cfg`,
how it wants its pictures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from ..errors import InputError, ModelLoadError, ModelNotFoundError
from ..models.catalog import CATALOG, nearest
from ..models.configs import read_config, refuse_code
from ..models.hub import fetching_repository, offline_variable
from ..models.snapshots import find_folder, shorten

CONFIG_FILE: Final = "open_clip_config.json"
WEIGHTS_FILES: Final = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""As open_clip looks for them, the safe format first."""

AHEAD: Final = " --local-dir FOLDER (then give it as 'open_clip:FOLDER')"
"""What else to say of how to fetch weights ahead."""

_TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model")


@dataclass(frozen=True)
class Remote:
    """Weights of a tag that are not on this machine.

    Attributes:
        name: the model's, for messages.
        repository: on the hub.
        files: the names that the weights may have there, in the order to try.
    """

    name: str
    repository: str
    files: tuple[str, ...]

    def fetch(self, open_clip: Any, megabytes: float | None) -> Path:
        """Downloads them, and says so before.

        Raises:
            ModelNotFoundError: downloads are forbidden, or this one failed.
        """
        with fetching_repository(self.name, self.repository, megabytes=megabytes, hint=AHEAD):
            for file in self.files[:-1]:
                try:
                    return Path(open_clip.pretrained.hf_hub_download(self.repository, file))
                except OSError as err:  # of the hub's client; a file that is not there leaves the next
                    if getattr(getattr(err, "response", None), "status_code", None) != HTTPStatus.NOT_FOUND:
                        raise
            return Path(open_clip.pretrained.hf_hub_download(self.repository, self.files[-1]))


@dataclass(frozen=True)
class Blueprint:
    """What to build and what to fill it with.

    Attributes:
        label: the architecture or folder, for the record in a saved model.
        config: JSON values in the hub's layout.
        weights: a file, or what is to be fetched; None: random weights.
        tokenizer: the folder that holds it, where the configuration does not name a public one.
    """

    label: str
    config: dict[str, Any]
    weights: Path | Remote | None
    tokenizer: Path | None = None


def read_name(open_clip: Any, name: str, *, pretrained: bool, config: Mapping[str, Any] | None) -> Blueprint:
    """Finds out what a name stands for, and whether it can be had; downloads nothing.

    Raises:
        ModelNotFoundError: no such architecture, tag or folder; weights that are not here and may not be fetched.
        ModelLoadError: a folder that lacks a file, or a configuration that is none.
        InputError: `config` with weights.
    """
    full = f"open_clip:{name}"
    if config is not None:
        if pretrained:
            raise InputError("config= describes a network without weights: it goes with pretrained=False")
        return Blueprint(name, checked_config(config, full), None)
    architecture, _, tag = name.partition("/")
    if architecture in open_clip.list_models():
        return _built_in(open_clip, architecture, tag, pretrained)
    folder = find_folder(name, prefix="open_clip")
    if folder is not None:
        return _folder(folder, full, pretrained)
    close = nearest(architecture, open_clip.list_models())
    hint = f"; did you mean {' or '.join(f'open_clip:{c}' for c in close)}?" if close else ""
    raise ModelNotFoundError(
        f"no model {shorten(full)!r}: {shorten(architecture)!r} is no architecture of open_clip, and "
        f"{shorten(name)!r} is no folder{hint}"
    )


def _built_in(open_clip: Any, architecture: str, tag: str, pretrained: bool) -> Blueprint:
    full = f"open_clip:{architecture}/{tag}" if tag else f"open_clip:{architecture}"
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    known = (
        f"the tags of {architecture} are {', '.join(tags)}" if tags else f"open_clip has no weights of {architecture}"
    )
    if tag and not open_clip.is_pretrained_cfg(architecture, tag):
        raise ModelNotFoundError(f"no model {full!r}: {tag!r} is no tag of open_clip's; {known}")
    if pretrained and not tag:
        raise ModelNotFoundError(
            f"{full!r} does not say which weights: add a tag after a slash ({known}), or pretrained=False"
        )
    record = open_clip.get_pretrained_cfg(architecture, tag) if tag else {}
    model = open_clip.get_model_config(architecture)
    if record.get("quick_gelu"):
        model["quick_gelu"] = True  # as the weights were trained; open_clip only warns when the name lacks "-quickgelu"
    keys = ("mean", "std", "interpolation", "resize_mode", "fill_color")
    config = {"model_cfg": model, "preprocess_cfg": {k: record[k] for k in keys if record.get(k) is not None}}
    blueprint = Blueprint(architecture, checked_config(config, full), None)
    if not pretrained:
        return blueprint
    repository, file = os.path.split(record["hf_hub"])
    wanted = WEIGHTS_FILES if not file else (f"{file.rpartition('.')[0]}.safetensors", file)
    weights = cached_file(open_clip, repository, *wanted) or Remote(full, repository, wanted)
    if isinstance(weights, Remote) and offline_variable():
        weights.fetch(open_clip, next((e.megabytes for e in CATALOG if e.name == full), None))
    return replace(blueprint, weights=weights)


def _folder(folder: Path, full: str, pretrained: bool) -> Blueprint:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ModelLoadError(
            f"{full}: the folder has no {CONFIG_FILE}; a folder that visionkit saved is given without 'open_clip:'"
        )
    config = checked_config(read_config(path, full), full)
    weights = next((folder / f for f in WEIGHTS_FILES if (folder / f).is_file()), None)
    if pretrained and weights is None:
        raise ModelLoadError(
            f"{full}: the folder has no weights: {WEIGHTS_FILES[0]} or {WEIGHTS_FILES[-1]} "
            f"(pretrained=False builds the network with random ones)"
        )
    tokenizer = None
    if config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"):
        if not any((folder / f).is_file() for f in _TOKENIZER_FILES):
            raise ModelLoadError(f"{full}: the folder has no tokenizer, such as {_TOKENIZER_FILES[0]}")
        tokenizer = folder
    return Blueprint(folder.resolve().name, config, weights if pretrained else None, tokenizer)


def checked_config(config: object, full: str) -> dict[str, Any]:
    """A configuration as JSON values, with both parts there.

    Raises:
        ModelLoadError: it is none, or has a key that would run code of its own.
    """
    try:
        plain = json.loads(json.dumps(config))
    except (TypeError, ValueError, RecursionError) as err:
        raise ModelLoadError(f"{full}: the configuration is not of JSON values: {err}") from err
    model = plain.get("model_cfg") if isinstance(plain, dict) else None
    if not isinstance(model, dict) or not all(isinstance(model.get(k), dict) for k in ("vision_cfg", "text_cfg")):
        raise ModelLoadError(f"{full}: the configuration has no 'model_cfg' with 'vision_cfg' and 'text_cfg'")
    preprocess = plain.get("preprocess_cfg") or {}
    if not isinstance(preprocess, dict):
        raise ModelLoadError(f"{full}: 'preprocess_cfg' of the configuration must map names to values")
    refuse_code(plain, f"{full}: the configuration")
    backbone = model["vision_cfg"].get("timm_model_name")
    if backbone is not None and (not isinstance(backbone, str) or ":" in backbone):
        raise ModelLoadError(
            f"{full}: the configuration's timm_model_name, {backbone!r}, must be an architecture of timm; names that "
            f"lead elsewhere (hf-hub:, local-dir:) are not followed"
        )
    return {"model_cfg": model, "preprocess_cfg": preprocess}


def cached_file(open_clip: Any, repository: str, *files: str) -> Path | None:
    """The first of the files that the hub's cache on this machine has."""
    for file in files:
        try:
            return Path(open_clip.pretrained.hf_hub_download(repository, file, local_files_only=True))
        except OSError:  # not there
            continue
    return None
