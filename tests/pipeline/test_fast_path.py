"""The fast path: equal to Pillow's pixels and the same resize; memory stays flat, Ctrl-C ends at once."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from visionkit.images import load_image
from visionkit.pipeline import Batches, Preprocess
from visionkit.pipeline.batches import fitted
from visionkit.pipeline.tensors import fit_pixels, normalise, pixels_of

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
PREPROCESSES = {
    "shortest": Preprocess(size_wh=(224, 224), mean=MEAN, std=STD),
    "squash": Preprocess(size_wh=(97, 33), resize="squash", interpolation="bilinear", mean=MEAN, std=STD),
    "letterbox": Preprocess(size_wh=(128, 160), resize="letterbox", mean=MEAN, std=STD),
}
LEVEL = 1 / 255 / min(STD) * 1.001


def by_pillow(source, preprocess):
    fitted_pixels = fit_pixels(pixels_of(load_image(source)), preprocess)[None]
    return normalise(fitted_pixels, preprocess.mean, preprocess.std, torch.float32)[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory, photos):
    """The photos as they are, and one of them in many forms, large and small, turned and not."""
    folder = tmp_path_factory.mktemp("fast")
    paths = list(photos)
    picture = load_image(photos[0])
    turned = Image.Exif()
    turned[0x0112] = 6
    alpha = picture.convert("L").resize((333, 222))
    rgba = picture.resize((333, 222))
    rgba.putalpha(alpha)
    for name, image, options in [
        ("large.jpg", picture.resize((1801, 1203)), {}),
        ("turned.jpg", picture.resize((1808, 1200)), {"exif": turned}),
        ("turned odd.jpg", picture.resize((1807, 1203)), {"exif": turned}),
        ("grey.jpg", picture.resize((1801, 1203)).convert("L"), {}),
        ("progressive.jpg", picture.resize((901, 1355)), {"progressive": True}),
        ("cmyk.jpg", picture.resize((600, 500)).convert("CMYK"), {}),
        ("tiny.jpg", picture.resize((3, 2)), {}),
        ("thin.jpg", picture.resize((900, 2)), {}),
        ("rgb.png", picture.resize((500, 400)), {}),
        ("rgba.png", rgba, {}),
        ("grey.png", alpha, {}),
        ("palette.png", picture.resize((300, 200)).convert("P"), {}),
        ("one.gif", picture.resize((300, 200)), {}),
        ("one.webp", picture.resize((300, 200)), {}),
    ]:
        image.save(folder / name, **options)
        paths.append(folder / name)
    return paths


@pytest.mark.parametrize("case", PREPROCESSES)
def test_exact_is_within_one_level_of_pillow(files, case):
    preprocess = PREPROCESSES[case]
    (batch,) = Batches(files, preprocess, batch_size=100, device="cpu", speed="exact")
    for path, pixels, fit in zip(files, batch.pixels, batch.fits, strict=True):
        difference = (pixels - by_pillow(path, preprocess)).abs().max()
        assert difference <= LEVEL, path.name
        assert fit == preprocess.fit(load_image(path).size)


@pytest.mark.parametrize("case", PREPROCESSES)
def test_default_decodes_smaller_and_stays_close(files, case):
    preprocess = PREPROCESSES[case]
    (batch,) = Batches(files, preprocess, batch_size=100, device="cpu")
    (exact,) = Batches(files, preprocess, batch_size=100, device="cpu", speed="exact")
    assert batch.fits == exact.fits
    changed = [p.name for p, a, b in zip(files, batch.pixels, exact.pixels, strict=True) if not torch.equal(a, b)]
    assert {"large.jpg", "turned.jpg", "grey.jpg", "progressive.jpg"} <= set(changed)
    assert all(name.endswith(".jpg") for name in changed)
    assert not {"cmyk.jpg", "tiny.jpg", "turned odd.jpg"} & set(changed)
    for path, a, b in zip(files, batch.pixels, exact.pixels, strict=True):
        assert (a - b).abs().mean() < 0.008, path.name  # photos: 0.004; these are squeezed and so sharper


def test_batches_lie_in_channels_last_memory(files):
    for batch in Batches(files, PREPROCESSES["shortest"], batch_size=4, device="cpu"):
        assert batch.pixels.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_with_failures_keeps_the_right_pixels(files):
    sources = [files[0], b"no", files[1], "missing.png", files[2]]
    preprocess = PREPROCESSES["shortest"]
    (batch,) = Batches(sources, preprocess, device="cpu", speed="exact", on_error="return")
    assert batch.indices == (0, 2, 4)
    for path, pixels in zip(files[:3], batch.pixels, strict=True):
        assert (pixels - by_pillow(path, preprocess)).abs().max() <= LEVEL


def test_fitted_is_uint8(files):
    preprocess = PREPROCESSES["letterbox"]
    batch = next(fitted(files[:3], preprocess))
    assert batch.pixels.dtype is torch.uint8
    (exact,) = Batches(files[:3], preprocess, device="cpu", speed="exact")
    assert torch.equal(normalise(batch.pixels, MEAN, STD, torch.float32), exact.pixels)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_normalising_is_the_formula(channels, layout):
    values = torch.arange(256, dtype=torch.uint8).repeat(2 * channels).view(2, channels, 16, 16)
    mean, std = [0.1 + 0.2 * c for c in range(channels)], [0.5 - 0.1 * c for c in range(channels)]
    ours = normalise(values.contiguous(memory_format=layout), mean, std, torch.float32)
    column = torch.tensor([mean, std], dtype=torch.float64).view(2, 1, channels, 1, 1)
    assert (ours - (values.double() / 255 - column[0]) / column[1]).abs().max() < 2e-6
    assert normalise(values[:0], mean, std, torch.float16).shape == (0, channels, 16, 16)


MEMORY = """
import itertools, resource, sys
from visionkit.pipeline import Batches, Preprocess
data = [open(path, "rb").read() for path in sys.argv[1:]]
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
seen, start = 0, None
sources = itertools.islice(itertools.cycle(data), 20_000)
for batch in Batches(sources, Preprocess(size_wh=(64, 64)), device="cpu"):
    seen += len(batch)
    if start is None and seen >= 1_000:
        start = resident()
assert seen == 20_000
print((resident() - start) / 1e6)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays_flat_over_20_000_pictures(tmp_path, photos):
    paths = []
    for number, kind in enumerate(["jpg", "png", "webp", "gif"]):
        paths.append(tmp_path / f"{number}.{kind}")
        load_image(photos[number % len(photos)]).resize((120 + number, 90)).save(paths[-1])
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *map(str, paths)], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr
    print("MB grown:", done.stdout)
    assert float(done.stdout) < 150


ENDLESS = """
import itertools, signal, sys, threading
from visionkit.pipeline import Batches, Preprocess
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits an ignored one
try:
    for number, batch in enumerate(Batches(itertools.cycle(sys.argv[1:]), Preprocess(size_wh=(64, 64)), device="cpu")):
        print(number, flush=True)
except KeyboardInterrupt:
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("visionkit")]
    print("ended", *left, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize(("size_wh", "most_seconds"), [((200, 150), 1.0), ((2000, 1500), 3.0)])
def test_ctrl_c_ends_the_threads_at_once(tmp_path, photos, size_wh, most_seconds):
    """Pictures in the decoders' hands are finished first, which takes longer for large ones."""
    paths = []
    for number, kind in enumerate(["jpg", "png"]):
        paths.append(tmp_path / f"{number}.{kind}")
        load_image(photos[number]).resize(size_wh).save(paths[-1])
    for wait_seconds in (0.0, 0.3, 0.7):
        command = [sys.executable, "-c", ENDLESS, *map(str, paths)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout.readline() == "0\n"
                time.sleep(wait_seconds)
                start = time.perf_counter()
                process.send_signal(signal.SIGINT)
                last = ""
                while line := process.stdout.readline():
                    last, seconds = line, time.perf_counter() - start  # without the interpreter's own end
                assert process.wait(30) == 0, process.stderr.read()
            finally:
                process.kill()
            assert (last, process.stderr.read()) == ("ended\n", "")
        print(f"{seconds:.2f} s")
        assert seconds < most_seconds


def test_pixels_are_the_callers_own():
    array = np.zeros((9, 9, 3), np.uint8)
    batch = next(Batches([array], Preprocess(size_wh=(9, 9)), device="cpu"))
    batch.pixels.add_(1)
    assert array.max() == 0


def test_the_default_type_of_the_process_changes_nothing():
    """What is kept of a first batch would else be wrong for every later one."""
    values = torch.arange(0, 192, dtype=torch.uint8).view(1, 3, 8, 8)
    mean, std = (0.1234, 0.2345, 0.3456), (0.2123, 0.2234, 0.2345)
    torch.set_default_dtype(torch.bfloat16)
    try:
        ours = normalise(values, mean, std, torch.float32)
    finally:
        torch.set_default_dtype(torch.float32)
    expected = (values / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.allclose(ours, expected, atol=1e-5)
