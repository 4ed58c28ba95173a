"""The scripts of examples/ run offline, as their first lines say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script, *arguments, cwd):
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    env = {**os.environ, "VISIONKIT_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd, env=env).stdout


@pytest.mark.slow
@pytest.mark.parametrize(("script", "classes"), [("digits.py", 10), ("faces.py", 2)])
def test_training_and_its_report(script, classes, tmp_path):
    said = run(script, "model", "--epochs", 2, cwd=tmp_path)
    assert said.startswith(f"TrainingRun(2 epochs, {classes} classes: accuracy ")
    assert (tmp_path / "model" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_fashion_mnist(tmp_path):
    if not Path("/usr/share/datasets/fashion-mnist").is_dir():
        pytest.skip("needs Debian's pictures: apt-get install -y dataset-fashion-mnist")
    said = run("fashion_mnist.py", "models", "--epochs", 2, "--pictures", 600, cwd=tmp_path)
    assert "Scoreboard(100 pictures, 10 classes; figures with 95% intervals)" in said
    assert f"{Path('models') / 'long'} − {Path('models') / 'short'}: " in said
