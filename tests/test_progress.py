"""The bar: in a terminal after two seconds, in no pipe, at once when it is asked for; and no thread of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

CODE = """
import sys, threading, time
from visionkit.progress import bar
{before}
with bar(12, {progress}, unit="input") as shown:
    for _ in range(12):
        time.sleep({pause})
        shown.update()
assert threading.active_count() == 1
"""


def in_a_terminal(code):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs) as process:
        os.close(theirs)
        printed = b""
        while True:
            try:
                printed += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.returncode == 0
    return printed.decode()


def in_a_pipe(code):
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=True)
    return done.stderr


@pytest.mark.parametrize(
    ("where", "progress", "pause", "before", "shown"),
    [
        (in_a_terminal, None, 0.2, "", True),
        (in_a_terminal, None, 0.01, "", False),
        (in_a_terminal, True, 0.01, "", True),
        (in_a_terminal, False, 0.2, "", False),
        (in_a_pipe, None, 0.2, "", False),
        (in_a_pipe, True, 0.01, "", True),
        (in_a_pipe, None, 0.2, "sys.modules['ipykernel'] = sys", True),  # what tells a notebook
        (in_a_pipe, None, 0.01, "sys.stderr = None", False),  # as under pythonw
    ],
)
def test_who_sees_a_bar(where, progress, pause, before, shown):
    printed = where(CODE.format(progress=progress, pause=pause, before=before))
    if shown:
        assert "12/12" in printed
        assert "input" in printed
    else:
        assert printed == ""
