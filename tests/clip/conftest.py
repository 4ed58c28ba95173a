"""Photographs of several shapes."""

from pathlib import Path

import pytest
import skimage


@pytest.fixture(scope="session")
def photos(photos):
    """More than the four of the project: grey ones, a wide one, a square one."""
    data = Path(skimage.__file__).parent / "data"
    return [*photos, *(data / name for name in ("coins.png", "text.png", "camera.png", "ihc.png"))]
