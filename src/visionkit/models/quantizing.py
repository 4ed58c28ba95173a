"""The process in which a network becomes int8: `python -m visionkit.models.quantizing FOLDER [TYPE …]`."""

from __future__ import annotations

import sys
from pathlib import Path

from .openvino import quantize_folder

if __name__ == "__main__":
    quantize_folder(Path(sys.argv[1]), sys.argv[2:])
