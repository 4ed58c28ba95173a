"""Optional packages: which extra brings each, and the one place that imports them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Final

from .errors import MissingExtraError

DISTRIBUTION: Final = "visionkit-py"
"""Our name on the package index; `visionkit` there is another project."""

EXTRA: Final = {
    "timm": "timm",
    "captum": "explain",
    "open_clip": "clip",
    "peft": "lora",
    "diffusers": "diffusion",
    "transformers": "dense",
    "supervision": "dense",
    "openai": "hosted",
    "anthropic": "hosted",
    "openvino": "openvino",
    "nncf": "openvino",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "pandas": "pandas",
    "pyarrow": "pandas",
}
"""Import name of an optional package → the extra that installs it."""


def require(package: str, *, extra: str | None = None) -> ModuleType:
    """Imports an optional package.

    Args:
        package: its import name; a dotted submodule of one in `EXTRA` may be given.
        extra: the extra to name in the hint, where the package is in several (transformers).

    Raises:
        MissingExtraError: it is not installed; the message has the line that installs it.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as err:
        if not f"{package}.".startswith(f"{err.name}."):
            raise  # installed, but broken: its own error is the useful one
        root = package.partition(".")[0]
        wanted = extra or EXTRA.get(root)
        line = f"'{DISTRIBUTION}[{wanted}]'" if wanted else f"--force-reinstall {DISTRIBUTION}"  # of the core
        raise MissingExtraError(f"this needs the package {root!r}, which is not installed: pip install {line}") from err
