"""A system call that fails at its n-th call, where Python has no function of its own to replace."""

from __future__ import annotations

import ctypes

from visionkit.models import atomic


def fail_exchanges(patch, fault, code):
    """Fails the n-th swap of two folders: `fault` counts down in `left`, and is told in `failed`."""
    original = atomic._renameat2()

    def wrapped(*args):
        fault.left -= 1
        if fault.left == 0:
            fault.failed = True
            ctypes.set_errno(code)
            return -1
        return original(*args)

    patch.setattr(atomic, "_renameat2", lambda: original and wrapped)
