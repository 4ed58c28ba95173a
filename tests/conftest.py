"""Every test: one torch thread, no network but loopback, and no skip where none is allowed."""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two busy threads a worker are five times slower
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
for name in list(os.environ):  # what the machine's owner has in the environment takes no part
    if name.startswith(("VISIONKIT_", "OPENAI_", "ANTHROPIC_")) and name != "VISIONKIT_NO_SKIPS":
        del os.environ[name]
_cache = tempfile.TemporaryDirectory(prefix="visionkit-tests-")  # gone with the process
os.environ["VISIONKIT_CACHE"] = _cache.name

pytest_plugins = [
    "support.backbones",
    "support.browser",
    "support.clip",
    "support.detectors",
    "support.diffusion",
    "support.servers",
    "support.web",
]
"""Models and servers that tests of several folders share."""

ROOT = Path(__file__).parent.parent


def pytest_configure(config):
    """The oldest torch that is allowed warns of itself while it exports and loads; newer ones do not."""
    if version("torch").startswith("2.10."):
        config.addinivalue_line("filterwarnings", "ignore:`isinstance.treespec, LeafSpec.`:FutureWarning")
        config.addinivalue_line("filterwarnings", "ignore:The given buffer is not writable:UserWarning")


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    """The four photographs that come with the project."""
    return sorted((ROOT / "examples" / "images").glob("*.jpg"))


@pytest.fixture(scope="session")
def cat() -> Path:
    return ROOT / "examples" / "images" / "cat.jpg"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where VISIONKIT_NO_SKIPS is set, a test that is skipped has failed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("VISIONKIT_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is not allowed here: {report.longrepr}"
    return report
