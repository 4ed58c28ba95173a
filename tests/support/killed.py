"""Processes that a test kills: forked from one that has imported torch, which would take each of them seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

CODE = """
import contextlib, importlib, os, sys, traceback
work = getattr(__import__(sys.argv[1]), sys.argv[2])
for name in sys.argv[3:]:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            print("begun", os.getpid(), flush=True)
            work(line[:-1])
            print("done", flush=True)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    print("over", flush=True)
"""

LATE = ("captum", "sklearn", "torchvision", "visionkit")
"""What the work imports as it goes, and this process has imported by now, is there before the forks."""


def importing(file):
    """The environment of a process that imports a test's file; no threads, which a fork would leave behind."""
    paths = os.pathsep.join([str(Path(file).parent), str(Path(__file__).parents[1])])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


class Workers:
    """Starts `work(folder)`, a function of a test's file, again and again, each time in a process of its own."""

    def __init__(self, file, work):
        late = [name for name in sys.modules if name.partition(".")[0] in LATE]
        command = [sys.executable, "-c", CODE, Path(file).stem, work, *late]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._server = subprocess.Popen(command, env=importing(file), **pipes)
        self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process is not None:
            self.kill()
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(60)

    def start(self, folder):
        """Returns when the work begins."""
        self._server.stdin.write(f"{folder}\n")
        self._server.stdin.flush()
        word, process = self._server.stdout.readline().split()
        assert word == "begun"
        self._process = os.pidfd_open(int(process))

    def kill(self):
        """Ends it with `kill -9`; whether it had been done before."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        return self.wait()

    def wait(self):
        """Whether the work was done, when the process is over."""
        lines = list(iter(self._server.stdout.readline, "over\n"))
        os.close(self._process)
        self._process = None
        return "done\n" in lines
