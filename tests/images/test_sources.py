"""What counts as a source, and what the others are told."""

import base64
import io
import os
import re
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from visionkit.errors import ImageDecodeError, ImageTooLargeError, InputError, SourceError
from visionkit.images import describe, load_image, sources
from visionkit.images.thumbnails import read_again


@pytest.fixture
def data(photo):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def file(tmp_path, data):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    return path


class Dribble(io.RawIOBase):
    """A file whose `read` gives at most seven bytes, as a socket's may."""

    def __init__(self, data):
        self.rest = io.BytesIO(data)

    def read(self, size=-1):
        return self.rest.read(7)


def refused(source, message, error=SourceError, **options):
    """Loads what must be refused, and looks at the message as a reader of a log would."""
    with pytest.raises(error, match=message) as caught:
        load_image(source, **options)
    text = str(caught.value)
    assert len(text) < 500
    assert re.search(r"0x[0-9a-f]{6,}", text) is None
    assert re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text) is None
    return text


def test_every_kind_of_source_gives_the_same_picture(file, data, photo):
    encoded = base64.b64encode(data).decode()
    kinds = [
        str(file),
        file,
        data,
        bytearray(data),
        memoryview(data),
        memoryview(data + b"\0" * (-len(data) % 4)).cast("B"),
        io.BytesIO(data),
        Dribble(data),
        f"data:image/png;base64,{encoded}",
        f"DATA:;BASE64,{encoded}",
        f"data:image/png;base64,{encoded.rstrip('=')[:40]}\n {encoded.rstrip('=')[40:]}",
        f"data:image/png;base64,{quote(encoded, safe='')}",
        f"data:text/html;charset=utf-8,{quote(data)}",
        Image.open(file),
        Image.fromarray(photo),
        photo,
    ]
    for source in kinds:
        loaded = load_image(source)
        assert type(loaded) is Image.Image
        assert np.array_equal(np.asarray(loaded), photo)
    with file.open("rb") as opened, file.open("rb", buffering=0) as raw:
        assert np.array_equal(np.asarray(load_image(opened)), photo)
        assert np.array_equal(np.asarray(load_image(raw)), photo)
        assert not opened.closed  # whoever opened it closes it


def test_a_file_object_is_read_from_where_it_stands(data, photo):
    stream = io.BytesIO(b"header" + data)
    stream.seek(6)
    assert np.array_equal(np.asarray(load_image(stream)), photo)
    refused(stream, r"<file object>: it is empty \(a file object is read from where it stands", ImageDecodeError)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_pil_image_is_not_changed(file, mode, photo):
    image = Image.fromarray(photo).convert(mode)
    exif = image.getexif()
    exif[0x0112] = 6
    image.info.update(exif=exif.tobytes(), icc_profile=b"broken", note="mine")
    before = (image.tobytes(), dict(image.info), image.size, image.mode)
    loaded = load_image(image)
    assert loaded.size == (48, 64)
    assert (image.tobytes(), dict(image.info), image.size, image.mode) == before
    assert image.getexif()[0x0112] == 6
    loaded.putpixel((0, 0), (1, 2, 3))
    assert image.tobytes() == before[0]


def test_a_lazily_opened_pil_image_stays_usable(file, photo):
    with Image.open(file) as image:
        assert np.array_equal(np.asarray(load_image(image)), photo)
        assert (image.format, image.filename) == ("PNG", str(file))
        assert np.array_equal(np.asarray(image), photo)


def test_a_closed_pil_image_names_its_file(file):
    image = Image.open(file)
    image.close()
    refused(image, r"a\.png: the PNG file is damaged, cut off or already closed", ImageDecodeError)


def test_no_file_and_no_picture(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "page.png").write_text("\n <!DOCTYPE html><html>")
    (tmp_path / "html.png").write_text("<HTML><head>")
    (tmp_path / "lfs.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    (tmp_path / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "drawing2.svg").write_text("<?xml version='1.0'?><svg/>")
    (tmp_path / "eps.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n{} loop")
    (tmp_path / "dos.png").write_bytes(b"\xc5\xd0\xd3\xc6" + b"\0" * 30)
    (tmp_path / "paper.png").write_bytes(b"%PDF-1.7\n")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "one.png").write_bytes(b"P")
    (tmp_path / ("n" * 255)).write_bytes(b"x")
    table = {
        "folder.png": (SourceError, r"it is a folder; give a file, or vk\.find_images\(folder\) for all in it"),
        "missing.png": (SourceError, "no such file"),
        "broken.png": (SourceError, "no such file"),
        "loop.png": (SourceError, "[Ss]ymbolic links"),
        "empty.png": (ImageDecodeError, "it is empty"),
        "text.jpg": (ImageDecodeError, r"it is no picture in a format that is decoded \(JPEG, PNG, GIF,"),
        "page.png": (ImageDecodeError, "it is a web page, not a picture"),
        "html.png": (ImageDecodeError, "it is a web page, not a picture"),
        "lfs.png": (ImageDecodeError, "it is a Git LFS pointer, not the picture; run 'git lfs pull'"),
        "drawing.svg": (ImageDecodeError, "an SVG is a drawing program; render it to PNG first"),
        "drawing2.svg": (ImageDecodeError, r"it is XML \(an SVG\?\), not a picture"),
        "eps.png": (ImageDecodeError, "an EPS file is a program; convert it to PNG first"),
        "dos.png": (ImageDecodeError, "an EPS file is a program"),
        "paper.png": (ImageDecodeError, "a PDF is a document; turn its pages into pictures first"),
        "phone.heic": (ImageDecodeError, "HEIC is not decoded; convert it to JPEG first"),
        "one.png": (ImageDecodeError, "it is no picture"),
        "n" * 255: (ImageDecodeError, "it is no picture"),
        "n" * 300: (SourceError, "[Nn]ame too long"),
        "nul\0.png": (SourceError, r"nul\\x00\.png: not a possible path"),
        "lone\ud800.png": (SourceError, r"lone\\ud800\.png: not a possible path"),
        "line\nbreak\x1b[31m\u202e.png": (SourceError, r"line\\nbreak\\x1b\[31m\\u202e\.png: no such file"),
        "é" * 2000: (SourceError, "[Nn]ame too long"),
        "empty.png/a.png": (SourceError, "[Nn]ot a directory"),
    }
    for name, (error, message) in table.items():
        for source in (str(tmp_path / name), tmp_path / name):
            text = refused(source, message, error)
            assert (tmp_path.name if len(name) < 120 else "…") in text


def test_names_that_are_not_text(tmp_path, data, photo):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(data)
    assert np.array_equal(np.asarray(load_image(str(path))), photo)
    path.write_bytes(b"x")
    refused(path, r"caf\\udce9\.png: it is no picture", ImageDecodeError)


@pytest.mark.parametrize(
    "name", [b"caf\xe9.png", b"two\nlines.png", b"\x1b[31m\xe2\x80\xae.png", b"a\\n.png", b"plain.png"]
)
def test_a_results_source_leads_back_to_its_file(tmp_path, data, photo, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.write_bytes(data)
    assert describe(path).isprintable()
    assert np.array_equal(np.asarray(read_again(describe(path))), photo)
    with pytest.raises(SourceError, match="no such file"):
        read_again(describe(path.with_suffix(".jpg")))


def test_the_empty_path_is_shown():
    refused("", "cannot load '': no such file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO on this system")
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    started = time.monotonic()
    for name in ("pipe.png", "zero.png"):
        refused(tmp_path / name, f"{name}: it is not a regular file")
    assert time.monotonic() - started < 1


def test_the_content_of_a_refused_file_is_not_repeated(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("hunter2" * 20)
    assert "hunter2" not in refused(path, "it is no picture", ImageDecodeError)


def test_file_objects_that_give_no_bytes(tmp_path, file):
    with file.open(encoding="latin-1") as text:
        refused(text, "the file object gives str, not bytes; open it as 'rb'")
    with file.open("rb") as closed:
        pass
    refused(closed, "the file object cannot be read; is it closed")
    with (tmp_path / "new.png").open("wb") as writing:
        refused(writing, "the file object cannot be read; is it closed")

    class Waiting(io.RawIOBase):
        def read(self, size=-1):
            return None

    refused(Waiting(), "<file object>: the file object gives NoneType, not bytes")

    class Failing(io.RawIOBase):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    refused(Failing(), "Input/output error")


def test_broken_data_uris():
    refused("data:image/png;base64", "<data URI>: it has no comma, so no data")
    refused("data:image/png;base64,@@@@", "<data URI>: its base64 is broken")
    refused("data:image/png;base64,AAAAA", "its base64 is broken")
    refused("data:,", "<data URI>: it is empty", ImageDecodeError)
    refused("data:text/html,<h1>hi</h1>", "<data URI>: it is no picture", ImageDecodeError)
    refused("data:;base64," + "A" * 1000, "<data URI>: it is no picture", ImageDecodeError)


def test_too_many_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_BYTES", 1000)
    path = tmp_path / "large.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 1000)
    refused(path, r"large\.png: it has more than 1000 bytes", ImageTooLargeError)
    refused(io.BytesIO(path.read_bytes()), "it has more than 1000 bytes", ImageTooLargeError)
    refused("data:;base64," + "A" * 1400, "it has more than 1000 bytes", ImageTooLargeError)


def test_an_endless_file_object_is_stopped(monkeypatch):
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size=-1):
            self.given += size
            return bytes(size)

    monkeypatch.setattr(sources, "MAX_BYTES", 10 * 2**20)
    endless = Endless()
    refused(endless, "it has more than 10485760 bytes", ImageTooLargeError)
    assert endless.given <= 11 * 2**20


@pytest.mark.parametrize("source", [None, 3, 1.5, object(), ["a.png"], {"a": 1}, iter(["a.png"])])
def test_what_is_no_source_at_all(source):
    name = type(source).__name__
    refused(
        source,
        f"cannot load <{name}>: an image is a path, a URL, a data: URI, bytes, .* an array or a tensor, not {name}",
    )


def test_impossible_arguments(photo):
    for background in ("no colour", "#12", "", (255, 0, 0), None, "x" * 200):
        refused(photo, "is no colour; give a name or '#rrggbb'", InputError, background=background)
    for max_pixels in (0, -1, None, "many", 1.5):
        refused(photo, f"max_pixels {max_pixels!r} must be a positive whole number", InputError, max_pixels=max_pixels)


def test_descriptions(photo, file):
    assert describe(photo) == "<array 48×64×3>"
    assert describe(Image.fromarray(photo)) == "<image 64×48>"
    assert describe(b"1234") == "<4 bytes>"
    assert describe(memoryview(photo)) == f"<{photo.nbytes} bytes>"
    assert describe(io.BytesIO()) == "<file object>"
    assert describe("data:,x") == "<data URI>"
    assert describe(file) == str(file)
    with file.open("rb") as opened:
        assert describe(opened) == str(file)
    assert describe("a" * 1000) == "a" * 1000  # a result's source is whole; only messages are short
