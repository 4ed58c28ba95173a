"""`visionkit evaluate`, as people run it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import visionkit as vk
from support import commands


def run(*arguments):
    return commands.run("evaluate", *arguments)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cats")
    for name, value in (("tabby", 90), ("espresso", 200)):
        (folder / name).mkdir()
        for i in range(2):
            vk.load_image(np.full((40, 40, 3), value + i, np.uint8)).save(folder / name / f"{i}.png")
    return folder


def test_a_table_for_people_and_json_for_programs(data):
    name = "visionkit:efficientnet_lite0"
    done = run(name, data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Scoreboard(4 pictures, 2 classes; figures with 95% intervals)\nmodel  ")
    assert f"{name} has 998 labels that the data lacks" in done.stdout
    read = json.loads(run(name, data, "--json").stdout)
    assert read["rows"][0]["model"] == name
    assert read["labels"] == ["espresso", "tabby"]


def test_a_broken_picture_is_told(data, tmp_path):
    for folder in ("tabby", "espresso"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes((data / folder / "0.png").read_bytes())
    (tmp_path / "tabby" / "bad.png").write_bytes(b"no picture")
    done = run("visionkit:efficientnet_lite0", tmp_path)
    assert done.returncode == 1
    assert "1 pictures were left out for all models" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/x"], "give a model, or several, and then the data: visionkit evaluate MODEL DATA"),
        (["visionkit:efficientnet_lite", "nowhere"], "no such"),
    ],
)
def test_wrong_usage(arguments, message, tmp_path):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
