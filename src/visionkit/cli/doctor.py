"""What is installed, and what would run where."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from .. import __version__
from ..errors import VisionkitError
from ..extras import DISTRIBUTION, EXTRA
from ..models import CATALOG
from ..models.catalog import is_here
from ..models.hub import offline_variable

_CORE = ("torch", "torchvision", "numpy", "pillow", "pydantic", "safetensors", "scikit-learn")
_DISTRIBUTION_OF = {"open_clip": "open-clip-torch"}


def report() -> Iterator[str]:
    """Lines for people: versions, device, threads, extras, models on this machine."""
    import torch

    from ..pipeline import choose_device

    yield f"visionkit    {__version__} ({DISTRIBUTION})"
    yield f"python       {platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in _CORE:
        yield f"{name:<13}{_version(name) or 'missing'}"
    try:
        yield f"device       {choose_device()}"
    except VisionkitError as err:
        yield f"device       {err}"
    yield f"threads      {torch.get_num_threads()} of torch, {os.cpu_count()} cores"
    yield f"offline      {offline_variable() or 'no: models may be fetched'}"
    yield ""
    for package, extra in EXTRA.items():
        name = _DISTRIBUTION_OF.get(package, package)
        yield f"{name:<16} {_version(name) or f'''not installed: pip install '{DISTRIBUTION}[{extra}]' '''.rstrip()}"
    yield ""
    for entry in CATALOG:
        yield f"{'on this machine' if is_here(entry) else 'to be fetched':<16} {entry.name}"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
