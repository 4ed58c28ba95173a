"""Several processes that save to one place, or load from it: each sees whole folders, and takes nothing from others.

Another process is played by a lock on the folder above, by which one keeps the others out; a second lock of the same
process counts as another's.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time

from visionkit.models import atomic

OLD = ".model.0123456789ab.old"


class AtWork:
    """Another process, which has the folder to itself until it is done, and `work`, which is begun meanwhile."""

    def __init__(self, folder, work):
        self.found = []
        self._lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._thread = threading.Thread(target=lambda: self.found.append(work()))
        self._thread.start()
        time.sleep(0.05)

    def done(self):
        os.close(self._lock)
        self._thread.join()
        return self.found[0]


def save(target, text):
    with atomic.replacing(target) as building:
        (building / "file").write_text(text)


def kept(target):
    return (target / "file").read_text()


def test_a_folder_is_never_there_without_its_lock(tmp_path):
    """Else a sweep of another process, between the two, would take it for one that a killed process left."""
    other = AtWork(tmp_path, lambda: save(tmp_path / "model", "new"))
    begun = os.listdir(tmp_path)
    other.done()
    assert begun == []
    assert kept(tmp_path / "model") == "new"


def test_a_save_between_its_two_renames_is_not_undone(tmp_path):
    target = tmp_path / "model"
    save(tmp_path / OLD, "old")
    other = AtWork(tmp_path, lambda: atomic.recover(target) and kept(target))
    looked = sorted(os.listdir(tmp_path))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("new")
    (tmp_path / "new").rename(target)
    assert other.done() == "new"
    assert looked == [OLD]
    assert (tmp_path / OLD).is_dir(), "what the other process still needs to take its save back"


def test_a_killed_save_is_found_again_by_all_who_look(tmp_path):
    target = tmp_path / "model"
    for _ in range(20):
        save(tmp_path / OLD, "old")
        found = []
        threads = [
            threading.Thread(target=lambda seen: seen.append(atomic.recover(target)), args=(found,)) for _ in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 4
        assert kept(target) == "old"
        target.rename(tmp_path / OLD)


def test_saves_of_one_place_at_once(tmp_path, monkeypatch):
    """Without the system's exchange, too: each save succeeds, one of them stays, and nothing lies beside."""
    monkeypatch.setattr(atomic, "_renameat2", lambda: None)
    failed = []

    def work(name):
        try:
            for turn in range(15):
                save(tmp_path / "model", f"{name} {turn}")
        except OSError as err:
            failed.append(err)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert os.listdir(tmp_path) == ["model"]
    assert kept(tmp_path / "model")[2:] == "14"


def test_a_place_that_stays_held_is_written_to_all_the_same(tmp_path, monkeypatch):
    """What holds it so long is stopped, or is no save."""
    monkeypatch.setattr(atomic, "_PATIENCE_SECONDS", 0.1)
    lock = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        save(tmp_path / "model", "new")
        assert kept(tmp_path / "model") == "new"
    finally:
        os.close(lock)
