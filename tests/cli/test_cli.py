"""The command, as people run it: what it prints and what it leaves with."""

from __future__ import annotations

import json
import sys

import pytest

import visionkit
from support.commands import run, run_alone


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, photos):
    """A folder of two good pictures and a broken one, with a text beside them."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "a.jpg").write_bytes(photos[1].read_bytes())
    (folder / "b.jpg").write_bytes(photos[1].read_bytes()[:3000])
    (folder / "c.png").write_bytes(photos[2].read_bytes())
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_one_picture(cat):
    done = run_alone("classify", cat)
    assert done.returncode == 0
    first, *rest = done.stdout.splitlines()
    assert first == str(cat)
    assert {line.split("  ")[1] for line in rest[:3]} == {"tiger cat", "Egyptian cat", "tabby"}
    assert len(rest) == 5
    assert rest[0].endswith("38.58%")
    assert done.stderr == ""


def test_a_folder_with_a_broken_picture(mixed):
    done = run("classify", mixed, "--top-k", 1)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0::2] == [str(mixed / "a.jpg"), str(mixed / "c.png")]
    assert done.stderr.startswith(f"{mixed / 'b.jpg'}\n  failed: cannot load")


def test_json_lines(mixed):
    done = run("classify", mixed / "a.jpg", mixed / "b.jpg", "--json", "--top-k", "2")
    assert done.returncode == 1
    good, bad = [json.loads(line) for line in done.stdout.splitlines()]
    assert good["source"] == str(mixed / "a.jpg")
    assert good["label"] == good["top"][0]["label"] == "tiger cat"
    assert good["score_kind"] == "probability"
    assert len(good["top"]) == 2
    assert bad["error"] == "ImageDecodeError"
    assert str(mixed / "b.jpg") in bad["message"]


def test_another_model(cat):
    done = run("classify", cat, "--model", "colors:mean", "--top-k", 3)
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == {"red", "green", "blue"}


def test_labels_of_ones_own(cat, tiny_folder):
    done = run("classify", cat, "--model", f"open_clip:{tiny_folder}", "--labels", "cat, dog ,rocket", "--json")
    assert done.returncode == 0, done.stderr
    assert {item["label"] for item in json.loads(done.stdout)["top"]} == {"cat", "dog", "rocket"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify"], "Missing argument"),
        (["classify", "x.jpg", "--model", "timn:x"], "visionkit: no model 'timn:x': 'timn' is no registered prefix"),
        (["classify", "x.jpg", "--labels", "a,a"], "visionkit: label 'a' is given twice"),
        (["classify", "x.jpg", "--top-k", "0"], "top-k"),
        (["classify", "x.jpg", "--nonsense"], "No such option"),
        (["classify", "{empty}"], "visionkit: there are no images in the folder"),
        (["models", "--task", "sing"], "visionkit: task 'sing' is none; the tasks are ask, classify"),
        (["nonsense"], "No such command"),
    ],
)
def test_wrong_usage(arguments, message, tmp_path):
    done = run(*(argument.format(empty=tmp_path) for argument in arguments))
    assert done.returncode == 2
    assert message in done.stderr


def test_wrong_usage_in_a_process_of_its_own():
    done = run_alone("classify", "x.jpg", "--labels", "a,a")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("visionkit: label 'a' is given twice")
    assert len(done.stderr.splitlines()) == 1, "no traceback"


def test_names_that_could_harm_a_terminal(tmp_path, photos):
    path = tmp_path / "a\x1b[31m\n.jpg"
    path.write_bytes(photos[1].read_bytes())
    done = run("classify", path, "--top-k", 1)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"{tmp_path}/a\\x1b[31m\\n.jpg"
    missing = run("classify", tmp_path / "b\x1b[31m.jpg")
    assert missing.returncode == 1
    assert "\x1b" not in missing.stderr


def test_models():
    lines = run("models").stdout.splitlines()
    assert lines[0].split() == ["name", "tasks", "licence", "size"]
    [embedded] = [line for line in lines if line.startswith("visionkit:efficientnet_lite0 ")]
    assert embedded.endswith("here")
    asked = run("models", "--task", "ask").stdout
    assert "anthropic:" in asked
    assert "timm:" not in asked


def test_doctor():
    done = run("doctor")
    assert done.returncode == 0
    words = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line)
    assert words["visionkit"] == f"{visionkit.__version__} (visionkit-py)"
    assert words["device"] == "cpu"
    assert words["torch"][0].isdigit()
    assert "on this machine  visionkit:efficientnet_lite0" in done.stdout


def test_version():
    assert run_alone("--version").stdout.strip() == visionkit.__version__


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_a_models_name_writes_no_line_of_its_own(tmp_path):
    folder = tmp_path / "evil\x1b[31m\nFAKE"
    folder.mkdir()
    (folder / "visionkit.json").write_text("{")
    done = run("verify", folder)
    assert done.returncode == 1
    assert r"evil\x1b[31m\nFAKE" in done.stderr
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
