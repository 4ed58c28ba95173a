"""A file is there as a whole or not at all, whatever call fails, and on the disk itself before it counts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from visionkit.atomic import FileWriter, sync_folder, write_file, write_new

CALLS = ("open", "write", "fsync", "replace", "close")


def failing(patch, call, number, code, seen):
    """Fails the n-th of a call, and notes that it did."""
    original = getattr(os, call)
    count = iter(range(1, 100))

    def wrapped(*args, **options):
        result = original(*args, **options) if call == "close" else None  # the descriptor is given back all the same
        if next(count) == number:
            seen.append(call)
            raise OSError(code, os.strerror(code))
        return result if call == "close" else original(*args, **options)

    patch.setattr(os, call, wrapped)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", CALLS)
def test_an_error_at_every_call(tmp_path, call, code):
    path, met = tmp_path / "x", 0
    while True:
        path.write_bytes(b"old")
        with pytest.MonkeyPatch.context() as patch:
            failing(patch, call, met + 1, code, seen := [])
            try:
                write_file(path, b"new" * 1000)
            except OSError as err:
                assert err.errno == code  # noqa: PT017 - whether there is an error is what ends the loop
                assert seen
        assert os.listdir(tmp_path) == ["x"]
        if not seen:
            break
        met += 1
        assert path.read_bytes() in (b"old", b"new" * 1000)
    assert path.read_bytes() == b"new" * 1000
    assert met == {"open": 2, "write": 1, "fsync": 2, "replace": 1, "close": 2}[call]


def test_the_order_that_a_power_cut_asks_for(tmp_path, monkeypatch):
    """Written, synced, renamed, its folder synced; the names are those of the descriptors."""
    seen = []
    calls = {name: getattr(os, name) for name in ("write", "fsync", "replace")}

    def noted(name):
        def call(first, *rest, **options):
            path = Path(first) if name == "replace" else Path(f"/proc/self/fd/{first}").readlink()
            seen.append((name, "folder" if path == tmp_path else path.name.rsplit(".", 2)[-1]))
            return calls[name](first, *rest, **options)

        return call

    for name in calls:
        monkeypatch.setattr(os, name, noted(name))
    write_file(tmp_path / "x", b"data")
    assert seen == [("write", "new"), ("fsync", "new"), ("replace", "new"), ("fsync", "folder")]


@pytest.mark.parametrize("write", [write_file, write_new])
def test_a_short_write_is_gone_on_with(tmp_path, monkeypatch, write):
    original = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: original(descriptor, data[:7]))
    write(tmp_path / "x", bytes(range(256)))
    assert (tmp_path / "x").read_bytes() == bytes(range(256))


def test_a_folder_that_cannot_be_synced_is_no_fault_of_the_file(tmp_path, monkeypatch):
    def refuse(code):
        def fsync(descriptor):
            raise OSError(code, os.strerror(code))

        return fsync

    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(tmp_path)


def test_a_new_file_takes_no_others_place(tmp_path):
    write_new(tmp_path / "x", b"one")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"one"


def test_a_name_as_long_as_the_disk_takes(tmp_path):
    for name in ("n" * 255, "é" * 127, "😀" * 63):
        write_file(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"


def test_a_writer_that_was_discarded_or_kept_takes_no_more(tmp_path):
    file = FileWriter(tmp_path / "x")
    file.write(b"a")
    file.discard()
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="was kept or discarded: nothing more can be written"):
        file.write(b"b")
    with pytest.raises(ValueError, match="was kept or discarded already"):
        file.keep()
