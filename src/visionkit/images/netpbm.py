"""PPM files that Pillow decodes number by number, in Python: those of texts, and of other depths than 8 and 16 bits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ImageTooLargeError

MAX_TEXT: Final = 2**24
"""Samples of a PPM of texts, which takes 50 times as long as one of bytes: at this limit about a second."""

MAX_COMMENTS: Final = 10_000
"""Comments in such a text, which nobody writes between numbers."""

_BLOCK: Final = 2**20
_SPACE: Final = b" \t\n\v\f\r"
_COMMENT = re.compile(rb"#[^\r\n]*[\r\n]?")
_BREAK = re.compile(rb"[ \t\n\v\f\r]")


def is_slow(image: Image.Image) -> bool:
    """Whether an opened and not yet decoded picture is such a file."""
    return image.format == "PPM" and _tile(image)[0] in ("ppm", "ppm_plain")


def check_text(image: Image.Image, data: bytes, name: str) -> None:
    """Refuses a PPM of texts that has very many samples, or comments.

    Raises:
        ImageTooLargeError: it has.
    """
    if _tile(image)[0] != "ppm_plain":
        return
    samples = image.width * image.height * len(image.getbands())
    if samples > MAX_TEXT or data.count(b"#") > MAX_COMMENTS:
        raise ImageTooLargeError(
            f"cannot load {name}: a PPM file that is a text may have {MAX_TEXT} samples and {MAX_COMMENTS} comments, "
            f"and this one has more; save it in its binary form, or as PNG"
        )


def decode_slow(image: Image.Image, data: bytes) -> Image.Image:
    """Decodes such a file as Pillow does: values rounded to 8 bits, or of a grey of more than 8 to 16 (mode I).

    Raises:
        ValueError: it is damaged or cut off.
    """
    codec, start, top = _tile(image)
    shape = (image.height, image.width, len(image.getbands()))
    need = shape[0] * shape[1] * shape[2]
    out = np.empty(need, np.int32 if image.mode == "I" else np.uint8)
    at = 0
    text = codec == "ppm_plain"
    blocks = _bits(data, start) if image.mode == "1" else _samples(data, start, top, image.mode, text=text)
    for values in blocks:
        part = values[: need - at]
        out[at : at + len(part)] = part
        at += len(part)
        if at == need:
            break
    if at < need:
        raise ValueError("cut off")
    picture = Image.fromarray(out.reshape(shape) if shape[2] > 1 else out.reshape(shape[:2]))
    if image.mode == "1":
        picture = picture.convert("1", dither=Image.Dither.NONE)
    picture.format, picture.info = image.format, dict(image.info)
    return picture


def _tile(image: Image.Image) -> tuple[str, int, int]:
    """Pillow's decoder, where the pixels begin, and the largest value, which a picture of bits has not."""
    tile: Any = getattr(image, "tile", None)
    if not tile:
        return "", 0, 0
    codec, _, start, args = tile[0][:4]
    return codec, start, args[-1] if isinstance(args, tuple) and isinstance(args[-1], int) else 1


def _samples(data: bytes, start: int, top: int, mode: str, *, text: bool) -> Iterator[npt.NDArray[Any]]:
    """The samples, block by block, scaled to the mode's range."""
    scale = np.rint(np.arange(top + 1) / top * (65535 if mode == "I" else 255)).astype(np.int32)
    for values in _numbers(data, start) if text else _binary(data, start, np.dtype(">u2" if top > 255 else "u1")):
        if text and values.max() > top:
            raise ValueError("a value is too large")
        yield scale[np.minimum(values, top)]


def _binary(data: bytes, start: int, dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    for at in range(start, len(data), _BLOCK):
        block = data[at : at + _BLOCK]
        yield np.frombuffer(block[: len(block) // dtype.itemsize * dtype.itemsize], dtype)


def _numbers(data: bytes, start: int) -> Iterator[npt.NDArray[Any]]:
    for text in _texts(data, start):
        if text.translate(None, _SPACE + b"0123456789"):
            raise ValueError("not a number")
        yield np.fromstring(text, np.int64, sep=" ")


def _bits(data: bytes, start: int) -> Iterator[npt.NDArray[Any]]:
    """0, which is white, as 255; between bits there need be no space."""
    for text in _texts(data, start):
        bits = text.translate(None, _SPACE)
        if bits.translate(None, b"01"):
            raise ValueError("not a bit")
        yield np.where(np.frombuffer(bits, np.uint8) == ord("0"), 255, 0)


def _texts(data: bytes, start: int) -> Iterator[bytes]:
    """What is there without comments, cut between numbers."""
    body, at = _COMMENT.sub(b"", data[start:]), 0
    while at < len(body):
        found = _BREAK.search(body, at + _BLOCK)
        end = found.start() if found else len(body)
        if not body[at:end].isspace():
            yield body[at:end]
        at = end
