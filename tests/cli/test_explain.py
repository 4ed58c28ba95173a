from __future__ import annotations

import visionkit as vk
from support import commands


def run(*arguments):
    return commands.run("explain", *arguments)


def test_a_heat_map_of_a_saved_model(cat, tmp_path):
    folder = vk.save_model(vk.load_model("visionkit:simple_cnn", num_classes=2, device="cpu"), tmp_path / "model")
    done = run(cat, "--model", folder, "-o", tmp_path / "heat.png", "--label", "class 1")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{tmp_path / 'heat.png'}: class 1 ")
    assert first.endswith("%, grad_cam")
    assert second.startswith("faithfulness ")
    drawn = vk.explain(cat, model=folder, label="class 1", measured=False).overlay()
    assert vk.load_image(tmp_path / "heat.png") == drawn


def test_what_it_refuses(cat, tmp_path):
    wrong = run(cat, "-o", tmp_path / "heat.png", "--label", "tabbi")
    assert wrong.returncode == 2
    assert "did you mean 'tabby'" in wrong.stderr
    gone = run(tmp_path / "gone\x1b.jpg", "-o", tmp_path / "heat.png")
    assert gone.returncode == 1
    assert "gone\\x1b.jpg: no such file" in gone.stderr
    assert list(tmp_path.iterdir()) == []
