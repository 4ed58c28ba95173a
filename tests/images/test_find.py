"""`find_images`: which files of a folder are pictures."""

import os
from pathlib import Path

import pytest

from visionkit.errors import SourceError
from visionkit.images import find_images


def names(found, root):
    return [path.relative_to(root).as_posix() for path in found]


@pytest.fixture
def tree(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.webp", "sub/deep/d.tiff", "notes.txt", ".hidden.png", ".cache/e.png", "png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_sorted_by_path_hidden_and_other_files_left_out(tree):
    assert names(find_images(tree), tree) == ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d.tiff"]
    assert find_images(str(tree)) == find_images(tree)
    assert all(isinstance(path, Path) for path in find_images(str(tree)))


def test_only_the_folder_itself(tree):
    assert names(find_images(tree, recursive=False), tree) == ["a.JPG", "b.png"]


def test_each_file_once(tree):
    os.link(tree / "b.png", tree / "sub" / "same.png")
    os.link(tree / "sub" / "c.webp", tree / "z.webp")
    found = find_images(tree)
    assert len(found) == 4
    assert len({path.stat().st_ino for path in found}) == 4
    assert find_images(tree) == found


def test_links_and_loops_are_not_followed(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "secret.png").touch()
    before = find_images(tree)
    (tree / "link.png").symlink_to(elsewhere / "secret.png")
    (tree / "folder").symlink_to(elsewhere)
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "broken.png").symlink_to(tree / "gone.png")
    assert find_images(tree) == before


def test_the_folder_may_be_a_link_or_hidden(tree, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / ".link"
    link.symlink_to(tree)
    assert names(find_images(link), link) == ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d.tiff"]


def test_only_regular_files(tree):
    (tree / "folder.png").mkdir()
    (tree / "folder.png" / "inside.png").touch()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tree / "pipe.png")
    assert names(find_images(tree), tree) == [
        "a.JPG",
        "b.png",
        "folder.png/inside.png",
        "sub/c.webp",
        "sub/deep/d.tiff",
    ]


def test_names_that_are_not_text(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).touch()
    (tmp_path / "line\nbreak.png").touch()
    assert [os.fsencode(path.name) for path in find_images(tmp_path)] == [b"caf\xe9.png", b"line\nbreak.png"]


def test_an_empty_folder(tmp_path):
    assert find_images(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "gone: no such folder"),
        ("file.png", r"file\.png: it is a file, not a folder"),
        ("nul\0", r"nul\\x00: no such folder"),
        ("line\nbreak", r"line\\nbreak: no such folder"),
    ],
)
def test_no_folder(tmp_path, name, message):
    (tmp_path / "file.png").touch()
    with pytest.raises(SourceError, match=f"cannot search .*{message}"):
        find_images(tmp_path / name)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    """Silently leaving a folder out would look like an empty one."""
    (tmp_path / "a.png").touch()

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"cannot search .*: Permission denied"):
        find_images(tmp_path)
