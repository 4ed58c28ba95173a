"""The command as people run it: in a process of its own, or in this one, which has torch already."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass

from typer.testing import CliRunner

from visionkit.cli.app import app


@dataclass(frozen=True)
class Ended:
    """What a command left with and printed, as bytes."""

    returncode: int
    out: bytes
    err: bytes

    @property
    def stdout(self):
        return self.out.decode()

    @property
    def stderr(self):
        return self.err.decode()


def run_alone(*arguments, folder=None, **env):
    """`visionkit` with these arguments in a process of its own, which takes seconds to import."""
    command = [sys.executable, "-m", "visionkit", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, cwd=folder, env={**os.environ, **env})
    return Ended(done.returncode, done.stdout, done.stderr)


def run(*arguments, folder="."):
    """The same in this process; an error that the command does not expect is raised."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, [*map(str, arguments)], prog_name="visionkit", catch_exceptions=False)
    return Ended(done.exit_code, done.stdout_bytes, done.stderr_bytes)
