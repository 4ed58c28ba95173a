"""Bytes become an open PIL image, through an allow-list of formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Final

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ..errors import ImageDecodeError, ImageError, ImageTooLargeError
from .checks import (
    MAX_PIXELS,
    check_ico,
    check_jpeg,
    check_jpeg_whole,
    check_memory,
    check_rows,
    check_size,
    check_webp,
)
from .fast import rescue
from .netpbm import check_text, decode_slow, is_slow
from .parts import check_bmp, check_exif, check_tiff

_PLUGINS = (  # importing a plug-in registers its format
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "AVIF")
"""The formats that are decoded. Most holes of image libraries are in the others, which nobody sends."""

_REFUSED: Final = (  # what the bytes begin with, what to say
    (b"%!PS", "an EPS file is a program; convert it to PNG first"),
    (b"\xc5\xd0\xd3\xc6", "an EPS file is a program; convert it to PNG first"),
    (b"%PDF", "a PDF is a document; turn its pages into pictures first"),
    (b"version https://git-lfs", "it is a Git LFS pointer, not the picture; run 'git lfs pull'"),
    (b"<svg", "an SVG is a drawing program; render it to PNG first"),
    (b"<?xml", "it is XML (an SVG?), not a picture; render it to PNG first"),
    (b"<!doctype html", "it is a web page, not a picture"),
    (b"<html", "it is a web page, not a picture"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")


MAX_READS: Final = 2**18
"""Reads of one file: Pillow takes every segment, chunk and block of a picture by some of its own, in Python. A PNG of
500 MB in chunks of 8 KB needs 190,000; of chunks that are empty, this many take a second."""

_MORE_READS: Final = {"BMP": 2**20, "TIFF": 2**20}
"""Where whole pictures take more: each run of a bitmap two, each strip of a TIFF some."""


class _Whole(BytesIO):
    """Bytes in not too many parts, whose end is an error where the user lets Pillow make up what is missing."""

    def __init__(self, data: bytes, kind: str, name: str) -> None:
        super().__init__(data)
        self._left = _MORE_READS.get(kind, MAX_READS)
        self._what = f"cannot load {name}: the {kind} file is made of too many small parts"

    def read(self, size: int | None = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ImageTooLargeError(self._what)
        block = super().read(size)
        if not block and size and ImageFile.LOAD_TRUNCATED_IMAGES:
            raise OSError("cut off")
        return block


def open_bytes(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Reads the header of an encoded picture; its pixels are not decoded yet, nor is its size checked for that.

    Pillow's own `open` is not called: it warns above a limit that is process-wide, and here `max_pixels` decides.

    Raises:
        ImageDecodeError: no allowed format recognises the bytes, or the header is damaged.
        ImageTooLargeError: opening it alone would take too much memory or time.
    """
    if not data:
        raise ImageDecodeError(
            f"cannot load {name}: it is empty (a file object is read from where it stands: seek(0) first?)"
        )
    kind = _kind_of(data)
    if kind is None:
        raise ImageDecodeError(f"cannot load {name}: {_why_refused(data)}")
    with _errors_of_ours(kind, name):
        if kind == "WEBP":
            check_webp(data, name, max_pixels)
        elif kind == "ICO":
            check_ico(data, name, max_pixels)
        elif kind == "TIFF":
            check_tiff(data, name)
        elif kind == "JPEG":
            check_exif(data, name)
        return _without_false_facts(Image.OPEN[kind][0](_Whole(data, kind, name), ""))


def open_checked(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """As `open_bytes`, and its pixels may be decoded: there are not too many of them.

    Raises:
        ImageDecodeError: as `open_bytes`, or a JPEG of more pixels than its bytes can hold.
        ImageTooLargeError: too many pixels, scans or bytes of memory.
    """
    image = open_bytes(data, name, max_pixels)
    kind = image.format or ""
    with _errors_of_ours(kind, name):
        check_size(image.size, name, max_pixels)
        check_memory(image.size, kind, image.mode, name, max_pixels)
        if kind in ("JPEG", "MPO"):
            check_jpeg(data, image.size, name)
        elif kind == "BMP":
            check_bmp(data, image.size, name)
        elif kind == "PPM":
            check_text(image, data, name)
    return image


def decode_opened(image: Image.Image, data: bytes, name: str) -> Image.Image:
    """Decodes what `open_checked` opened, as it is stored: of any mode, not turned upright.

    Raises:
        ImageDecodeError: the pixels are damaged or cut off.
        ImageTooLargeError: there is not enough memory.
    """
    with image, _errors_of_ours(image.format or "", name):
        if is_slow(image):
            return decode_slow(image, data)
        try:
            image.load()
        except OSError:
            rescued = rescue(image, data)
            if rescued is None:
                raise
            return rescued
        if image.format == "PNG":
            _without_false_facts(image)  # there may be texts behind the pixels
            check_rows(image, data, name)
        elif image.format in ("JPEG", "MPO"):
            check_jpeg_whole(image, data, name)
    return image


def decode_bytes(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """Opens, checks and decodes an encoded picture: see `open_checked` and `decode_opened`."""
    return decode_opened(open_checked(data, name, max_pixels), data, name)


def _without_false_facts(image: Image.Image) -> Image.Image:
    """The same picture, of which no text in the file says something that only a chunk of its own may say."""
    for key in ("transparency", "interlace", "icc_profile"):
        if isinstance(image.info.get(key), str):
            del image.info[key]
    return image


@contextmanager
def _errors_of_ours(kind: str, name: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as err:  # three formats ask Pillow's own limit while they open or decode
        raise ImageTooLargeError(
            f"cannot load {name}: the {kind} file has more pixels than PIL.Image.MAX_IMAGE_PIXELS allows here"
        ) from err
    except MemoryError as err:
        raise ImageTooLargeError(f"cannot load {name}: there is not enough memory for the {kind} file") from err
    except Exception as err:  # a dozen kinds leak from the decoders; their texts hold addresses, so ours is said
        raise ImageDecodeError(f"cannot load {name}: the {kind} file is damaged or cut off") from err


def _kind_of(data: bytes) -> str | None:
    for kind in FORMATS:
        _, accept = Image.OPEN[kind]
        if accept is not None and accept(data[:16]) is True:  # a string: Pillow was built without this format
            return kind
    return None


def _why_refused(data: bytes) -> str:
    head = data[:64].lstrip().lower()
    for magic, reason in _REFUSED:
        if head.startswith(magic.lower()):
            return reason
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIC is not decoded; convert it to JPEG first"
    return f"it is no picture in a format that is decoded ({', '.join(FORMATS)})"
