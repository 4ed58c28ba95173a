"""The documentation's pictures are those that `docs/figures.py` draws, and its tables those that benchmarks write."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def drawing():
    spec = spec_from_file_location("figures", DOCS / "figures.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_are_the_ones_that_are_drawn():
    figures = drawing()
    for name, draw in figures.FIGURES.items():
        path = DOCS / "images" / f"{name}.jpg"
        assert figures.difference(path, draw()) <= figures.TOLERANCE, f"{path.name}: run python docs/figures.py"
        assert path.stat().st_size < 100_000


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_pictures_and_tables_of_a_page_are_there(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"!\[[^\]]+\]\((images/[^)]+)\)", text):
        assert (DOCS / name).is_file(), f"{page.name} shows {name}"
    for name in re.findall(r'^--8<-- "([^"]+)"$', text, re.MULTILINE):
        assert (DOCS / name).read_text(encoding="utf-8").startswith("Measured on "), f"{page.name} includes {name}"
