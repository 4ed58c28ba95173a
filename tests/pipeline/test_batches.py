"""`Batches`: order, failures, laziness, and no thread left behind."""

import gc
import io
import itertools
import os
import re
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from visionkit.errors import ImageDecodeError, InputError, SourceError
from visionkit.images import load_image
from visionkit.pipeline import Batches, Preprocess
from visionkit.pipeline.tensors import fit_pixels, normalise, pixels_of

PREPROCESS = Preprocess(size_wh=(16, 12), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def decoders():
    return [thread for thread in threading.enumerate() if thread.name.startswith("visionkit-decode")]


@pytest.fixture(autouse=True)
def no_thread_is_left_behind():
    threads = torch.get_num_threads()
    yield
    if decoders():
        gc.collect()
    assert decoders() == []
    assert torch.get_num_threads() == threads


def pictures(count):
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (20 + index, 40 - index, 3), np.uint8) for index in range(count)]


def alone(picture):
    return normalise(
        fit_pixels(pixels_of(load_image(picture)), PREPROCESS)[None], (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), torch.float32
    )[0]


@pytest.mark.parametrize("workers", [1, 2, 7, None])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 100])
def test_order_indices_and_pixels_are_those_of_single_pictures(batch_size, workers):
    sources = pictures(7)
    batches = list(Batches(sources, PREPROCESS, batch_size=batch_size, workers=workers, device="cpu"))
    assert [len(batch) for batch in batches] == [len(sources[i : i + batch_size]) for i in range(0, 7, batch_size)]
    assert [index for batch in batches for index in batch.indices] == list(range(7))
    assert [name for batch in batches for name in batch.sources] == [f"<array {20 + i}×{40 - i}×3>" for i in range(7)]
    assert [fit for batch in batches for fit in batch.fits] == [PREPROCESS.fit((40 - i, 20 + i)) for i in range(7)]
    assert all(batch.failures == () for batch in batches)
    assert torch.equal(torch.cat([batch.pixels for batch in batches]), torch.stack([alone(s) for s in sources]))
    assert batches[0].pixels.dtype is torch.float32
    assert repr(batches[0]) == f"Batch(({len(batches[0])}, 3, 12, 16) torch.float32 on cpu)"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_any_number_of_sources(count):
    sizes = [len(batch) for batch in Batches(iter(pictures(count)), PREPROCESS, batch_size=2)]
    assert sizes == [2] * (count // 2) + [1] * (count % 2)


def test_failures_are_listed_in_their_stretch():
    sources = pictures(7)
    sources[1], sources[2], sources[3], sources[6] = "missing.png", b"no picture", sources[0][None], b""
    batches = list(Batches(sources, PREPROCESS, batch_size=2, on_error="return"))
    assert [batch.indices for batch in batches] == [(0,), (), (4, 5), ()]
    assert [[f.index for f in batch.failures] for batch in batches] == [[1], [2, 3], [], [6]]
    assert batches[1].pixels.shape == (0, 3, 12, 16)
    assert batches[1].pixels.dtype is torch.float32
    first, second, third = (f for batch in batches[:2] for f in batch.failures)
    assert (first.source, type(first.error)) == ("missing.png", SourceError)
    assert (second.source, type(second.error)) == ("<10 bytes>", ImageDecodeError)
    assert "give list(x)" in str(third.error)
    assert torch.equal(batches[2].pixels[1], alone(sources[5]))


@pytest.mark.parametrize("bad", range(6))
@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_what_was_good_before_a_failure_comes_first(bad, batch_size):
    sources = pictures(6)
    sources[bad] = "missing.png"
    batches = Batches(sources, PREPROCESS, batch_size=batch_size, on_error="raise")
    seen = []
    with pytest.raises(SourceError, match=r"cannot load missing\.png: no such file"):
        seen.extend(index for batch in batches for index in batch.indices)
    assert seen == list(range(bad))
    assert next(batches, None) is None


def counted(sources, log):
    for source in sources:
        log.append(source)
        yield source


def test_nothing_is_read_before_the_first_next_and_two_batches_ahead_after():
    read = []
    batches = Batches(counted(itertools.cycle(pictures(5)), read), PREPROCESS, batch_size=3, workers=2)
    assert read == []
    assert decoders() == []
    for number in range(1, 6):
        next(batches)
        assert 3 * number <= len(read) <= 3 * (number + 2)
    batches.close()
    assert decoders() == []
    assert next(batches, None) is None


def test_closing_before_the_first_next_reads_nothing():
    read = []
    batches = Batches(counted(pictures(3), read), PREPROCESS)
    batches.close()
    assert list(batches) == []
    assert read == []


@pytest.mark.parametrize("good", range(6))
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_an_error_of_the_callers_iterator_comes_after_what_was_good(good, on_error):
    class MineError(Exception):
        pass

    def broken():
        yield from pictures(good)
        raise MineError("mine")

    seen = []
    batches = Batches(broken(), PREPROCESS, batch_size=2, on_error=on_error)
    with pytest.raises(MineError, match="mine"):
        seen.extend(index for batch in batches for index in batch.indices)
    assert seen == list(range(good))


def test_a_bad_picture_before_the_iterators_own_error_wins():
    def broken():
        yield "missing.png"
        raise RuntimeError("mine")

    with pytest.raises(SourceError, match=r"missing\.png"):
        list(Batches(broken(), PREPROCESS, batch_size=4))


def test_dropping_the_last_reference_ends_the_threads_without_the_collector():
    gc.disable()
    try:
        batches = Batches(itertools.cycle(pictures(4)), PREPROCESS, batch_size=4, workers=2)
        next(batches)
        assert len(decoders()) == 2
        del batches
        assert decoders() == []
    finally:
        gc.enable()


def test_breaking_off_ends_the_threads():
    for _ in Batches(itertools.cycle(pictures(4)), PREPROCESS, batch_size=4, workers=2):
        break
    gc.collect()
    assert decoders() == []


@pytest.mark.parametrize("where", ["consumer", "iterator"])
def test_ctrl_c_leaves_no_thread(where):
    def sources():
        yield from pictures(8)
        raise KeyboardInterrupt

    def consume():
        for batch in Batches(sources(), PREPROCESS, batch_size=4, workers=2):
            if where == "consumer" and batch.indices:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        consume()
    del caught
    gc.collect()
    assert decoders() == []


THREADS = """
import threading, numpy as np, torch
from visionkit.pipeline import Batches, Preprocess
torch.set_num_threads(3)
def later():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start(); thread.join()
    return seen[0]
batches = Batches([np.zeros((9, 9, 3), np.uint8)] * 6, Preprocess(size_wh=(4, 4)), batch_size=2, workers=2)
next(batches)
assert (torch.get_num_threads(), later()) == (3, 3), "while it runs"
list(batches)
assert (torch.get_num_threads(), later()) == (3, 3), "after"
own = []
def call():
    torch.get_num_threads()
    torch.set_num_threads(1)
    put.set(); back.wait()
    list(Batches([np.zeros((9, 9, 3), np.uint8)] * 4, Preprocess(size_wh=(4, 4)), batch_size=2, workers=2))
    own.append(torch.get_num_threads())
put, back = threading.Event(), threading.Event()
caller = threading.Thread(target=call)
caller.start(); put.wait()
torch.set_num_threads(3)
back.set(); caller.join()
assert (own, torch.get_num_threads(), later()) == ([1], 3, 3), "after a caller with a number of its own"
try:
    list(Batches(["missing.png"] * 4, Preprocess(size_wh=(4, 4)), batch_size=2))
except Exception:
    pass
assert (torch.get_num_threads(), later()) == (3, 3), "after an error"
"""


def test_torchs_thread_count_is_left_as_found():
    environment = {**os.environ, "OMP_NUM_THREADS": "4"}
    subprocess.run([sys.executable, "-W", "error", "-c", THREADS], check=True, env=environment)


def test_a_decoding_thread_has_one_torch_thread():
    seen = []

    class Watching:
        def __fspath__(self):
            seen.append((threading.current_thread().name, torch.get_num_threads()))
            return "missing.png"

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(Batches([Watching()] * 4, PREPROCESS, batch_size=4, workers=2, on_error="return"))
    finally:
        torch.set_num_threads(before)
    inside = [threads for name, threads in seen if name.startswith("visionkit-decode")]
    assert set(inside) == {1}


@pytest.mark.parametrize("batch_size", [1, 2])
def test_one_picture_needs_no_thread(batch_size):
    batches = Batches(pictures(1), PREPROCESS, batch_size=batch_size)
    assert len(next(batches)) == 1
    assert decoders() == []
    batches.close()


def test_batches_of_one_are_read_ahead():
    """The second picture is decoded while the first is in the caller's hands, in another thread."""
    readers, second = [], threading.Event()

    class Watching(io.BytesIO):
        def read(self, size=-1):
            readers.append(threading.current_thread().name)
            if len(readers) == 2:
                second.set()
            return b""

    batches = Batches([Watching() for _ in range(3)], PREPROCESS, batch_size=1, workers=2, on_error="return")
    next(batches)
    assert second.wait(10)
    assert len(list(batches)) == 2
    assert len(readers) == 3
    assert all(name.startswith("visionkit-decode") for name in readers)


@pytest.mark.parametrize(
    ("sources", "options", "message"),
    [
        ([], {"batch_size": 0}, "batch_size=0 must be a whole number of at least 1"),
        ([], {"batch_size": -3}, "batch_size=-3 must be a whole number of at least 1"),
        ([], {"workers": 0}, "workers 0 must be at least 1, or None for one for each core"),
        ([], {"workers": -1}, "workers -1 must be at least 1"),
        ([], {"on_error": "ignore"}, "on_error 'ignore' must be 'raise' or 'return'"),
        ([], {"speed": "warp"}, "speed 'warp' is not offered; choose one of"),
        ([], {"device": "nonsense"}, "device 'nonsense' is none: give 'cpu', 'cuda', 'cuda:1' or 'mps'"),
        ([], {"device": "meta"}, "device 'meta' is not on this machine; leave device=None"),
        ("cat.jpg", {}, "cat.jpg is one source: give a list, tuple or iterator of them"),
        (np.zeros((2, 4, 4, 3)), {}, "<array 2×4×4×3> is one source: give a list"),
    ],
)
def test_impossible_arguments_are_refused_at_the_call(sources, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Batches(sources, PREPROCESS, **options)


def test_a_device_that_this_machine_lacks():
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(InputError, match=f"device '{missing}' is not on this machine"):
        Batches([], PREPROCESS, device=missing)


def test_the_environment_chooses_the_device(monkeypatch):
    monkeypatch.setenv("VISIONKIT_DEVICE", "cpu")
    assert next(Batches(pictures(1), PREPROCESS)).pixels.device.type == "cpu"
    monkeypatch.setenv("VISIONKIT_DEVICE", "nonsense")
    with pytest.raises(InputError, match="device 'nonsense' is none"):
        Batches([], PREPROCESS)
    assert next(Batches(pictures(1), PREPROCESS, device="cpu")).pixels.device.type == "cpu"
    monkeypatch.setenv("VISIONKIT_DEVICE", "")
    Batches([], PREPROCESS)


def test_calls_from_several_threads_leave_the_number_of_torch_threads(photos):
    spec = Preprocess(size_wh=(8, 8))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:

        def work():
            for _ in range(20):
                list(Batches([photos[1]] * 3, spec, device="cpu"))

        callers = [threading.Thread(target=work) for _ in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        seen = []
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen == [3]
    finally:
        torch.set_num_threads(before)


def test_batches_within_inference_mode(photos):
    spec = Preprocess(size_wh=(8, 8))
    with torch.inference_mode():
        inside = [batch.pixels.clone() for batch in Batches([photos[1]] * 3, spec, batch_size=2, device="cpu")]
    outside = [batch.pixels for batch in Batches([photos[1]] * 3, spec, batch_size=2, device="cpu")]
    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_silent_server_holds_nobody_up(monkeypatch, scheme):
    """Leaving ends the waits of the threads: for an answer, or in the middle of a handshake."""
    monkeypatch.setattr("visionkit.images.fetch.why_refused", lambda *_, **__: None)  # lets the threads reach it
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/a.png"
        batches = Batches([pictures(1)[0], url, url], PREPROCESS, batch_size=1, workers=2)
        next(batches)
        taken, _ = server.accept()
        with taken:
            assert taken.recv(1)  # it is being waited for
            started = time.monotonic()
            batches.close()
            assert time.monotonic() - started < 5
        assert decoders() == []
