"""The model card, README.md of a saved folder: what it is, in words that no label or name can turn into others."""

from __future__ import annotations

import json
from typing import Any, Final

_SHOWN: Final = 50
"""Labels in the card; all are in the settings."""

_LONG: Final = "learnt"
"""Of the record of a training: thousands of digests of pictures."""


def model_card(settings: dict[str, Any], *, name: str, parameters: int) -> str:
    """Markdown; whatever came from outside stands as JSON in a block of code, in printable ASCII."""
    preprocess = settings["preprocess"]
    labels = settings["labels"]
    about = {
        "name": name,
        "architecture": settings["architecture"].get("model"),
        "parameters": parameters,
        "input": f"{preprocess['size_wh'][0]} x {preprocess['size_wh'][1]} pixels, resize {preprocess['resize']!r}",
        "classes": len(labels) if labels is not None else None,
    }
    lines = ["# A model saved by visionkit", "", *_block(about)]
    if labels is not None:
        more = f", the first {_SHOWN} of {len(labels)}" if len(labels) > _SHOWN else ""
        lines += [f"## Labels{more}", "", *_fenced([json.dumps(label) for label in labels[:_SHOWN]])]
    training = settings.get("training")
    if isinstance(training, dict):
        lines += ["## Training", "", *_block({key: training[key] for key in training if key != _LONG})]
    lines += [
        "## Use",
        "",
        *_fenced(
            [
                "import visionkit as vk",
                'model = vk.load_model("path/to/this/folder")',
                'print(vk.verify("path/to/this/folder"))  # it still answers as when it was saved',
            ],
            "python",
        ),
        "`visionkit.json` holds all settings, `model.safetensors` the weights, `parity.safetensors` what it answered",
        "when it was saved.",
        "",
    ]
    return "\n".join(lines)


def _block(fields: dict[str, Any]) -> list[str]:
    return _fenced([f"{key}: {json.dumps(value)}" for key, value in fields.items() if value is not None], "yaml")


def _fenced(lines: list[str], language: str = "json") -> list[str]:
    return [f"```{language}", *lines, "```", ""]
