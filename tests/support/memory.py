"""What a stretch of a test costs: seconds of the processor, and bytes of memory at its highest point."""

import re
import time
from contextlib import contextmanager
from pathlib import Path


def forget_the_peak():
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak():
    """Bytes of resident memory, the most since it was forgotten."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@contextmanager
def at_most(seconds, memory):
    """Fails where what is done within takes more of the processor's seconds, or more bytes of memory."""
    forget_the_peak()
    before, started = peak(), time.process_time()
    yield
    taken = time.process_time() - started
    assert taken < seconds, f"{taken:.1f} s"
    assert peak() - before < memory, f"{(peak() - before) >> 20} MB"
