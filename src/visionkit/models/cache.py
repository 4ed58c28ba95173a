"""Where visionkit keeps what it can make again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """`VISIONKIT_CACHE`, else `visionkit` in the user's cache folder; it may not be there yet."""
    own = os.environ.get("VISIONKIT_CACHE")
    if own:
        return Path(own).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local").expanduser() / "visionkit" / "cache"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/visionkit").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "visionkit"
