"""What counts as an image source, what to call it, and how its bytes are read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from io import FileIO
from typing import Any, BinaryIO, Final, Protocol, TypeAlias, TypeGuard, Union, runtime_checkable
from urllib.parse import unquote_to_bytes

import numpy as np
from PIL import Image

from ..errors import ImageTooLargeError, InputError, SourceError
from .checks import MAX_BYTES

Picture: TypeAlias = Image.Image
"""An upright sRGB picture in mode RGB, as `load_image` gives it."""


@runtime_checkable
class TensorLike(Protocol):
    """A torch tensor, described without importing torch."""

    def detach(self) -> Any:
        """The tensor without its graph."""

    def cpu(self) -> Any:
        """The tensor in main memory."""

    def numpy(self) -> Any:
        """The tensor as an array."""


Source: TypeAlias = Union[
    str,
    "os.PathLike[str]",
    bytes,
    bytearray,
    memoryview,
    BinaryIO,
    Image.Image,
    "np.ndarray[Any, np.dtype[Any]]",
    TensorLike,
]
"""One image: a path, an http(s) URL, a `data:` URI, bytes, a file object, a PIL image, an array (H, W) or
(H, W, 1|3|4), or a torch tensor (H, W) or (1|3|4, H, W)."""

_BLOCK: Final = 2**20
_NAME_LENGTH: Final = 240
_URL = re.compile(r"\s*https?:|[a-z][a-z0-9+.-]+:/", re.ASCII | re.IGNORECASE)
_SCHEME = r"(\s*[A-Za-z0-9+.-]*:?[/\\]*)"
_USER = r"(?:[^/\\?#]*@|[^/\\?#@\[]*:(?!\d*[/\\?#]|\d*$).*@)"  # also with a password that ends the host too early
_LOGIN = re.compile("^" + _SCHEME + _USER, re.DOTALL)
_MARK_LENGTH: Final = 8
_MARK_KEY: Final = os.urandom(16)
"""Of this process: without it, a short secret could be guessed from its mark."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(?:[tnr]|x[0-9a-f]{2}|u[0-9a-f]{4})")


def is_tensor(value: object) -> TypeGuard[TensorLike]:
    """Whether a value is a torch tensor, told by its type's name so that torch is not imported."""
    return any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__)


def is_file_object(value: object) -> TypeGuard[BinaryIO]:
    """Whether a value is an open file: it can be read, and is no iterator of sources."""
    return callable(getattr(value, "read", None))


def is_single(value: object) -> bool:
    """Whether a value is one image source, and not several: see `Source`.

    An array of numbers is one image whatever its number of dimensions (a 4-D one is refused later, with a
    hint), an array of strings or objects is many.
    """
    if isinstance(value, np.ndarray):
        return value.dtype.kind not in "OUS"
    return (
        isinstance(value, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))
        or is_tensor(value)
        or is_file_object(value)
    )


def printable(text: str) -> str:
    """`text` with control, direction and undecodable characters escaped, so that it fits one safe line."""
    return _CONTROL.sub(lambda m: m.group().encode("unicode_escape").decode("ascii"), text)


def unprinted(text: str) -> str:
    """What `printable` may have made `text` of; a name that has such an escape of its own cannot be told from it."""
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(escape: re.Match[str]) -> str:
    character = escape.group().encode("ascii").decode("unicode_escape")
    return character if _CONTROL.match(character) else escape.group()


def describe(source: object) -> str:  # noqa: PLR0911 - a table of kinds
    """A source as a short printable string: its path, or what it is, such as `<array 480×640>`; never pixels.

    Of a URL, neither user and password nor the query, which may hold a key: `?…` and a part of its hash stand for it,
    so that two pictures of one service keep two names. The hash has a key of this process: names differ between runs.
    """
    if isinstance(source, str):
        if is_data_uri(source):
            return "<data URI>"
        return printable("".join(_public(source)) if _is_url(source) else source)
    if isinstance(source, os.PathLike):
        return printable(os.fsdecode(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"<{memoryview(source).nbytes} bytes>"
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "")
        return printable(os.fsdecode(name)) if name else f"<image {source.width}×{source.height}>"
    if isinstance(source, np.ndarray):
        return f"<array {_shape(source.shape)}>"
    if is_tensor(source):
        return f"<tensor {_shape(getattr(source, 'shape', ()))}>"
    if is_file_object(source):
        name = getattr(source, "name", None)
        return printable(name) if isinstance(name, str) else "<file object>"
    return f"<{type(source).__name__}>"


def _shape(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape)) or "0-D"


def name_for_error(source: object) -> str:
    """`describe`, short enough for a message, and nothing of a URL's query."""
    name = describe(source)
    if isinstance(source, str) and not is_data_uri(source) and _is_url(source):
        name = printable(_public(source)[0])
    if len(name) > _NAME_LENGTH:
        name = f"{name[: _NAME_LENGTH // 2]}…{name[-_NAME_LENGTH // 2 :]}"
    return name or "''"


def is_data_uri(text: str) -> bool:
    """Whether a string is a `data:` URI."""
    return text[:5].lower() == "data:"


def _is_url(text: str) -> bool:
    return bool(_URL.match(text)) or _is_share(text)


def _is_share(text: str) -> bool:
    return text.startswith(("//", "\\\\"))


def _public(url: str) -> tuple[str, str]:
    """What a URL shows without its secrets, and what stands for its query."""
    shown, _, query = _LOGIN.sub(r"\1", url, count=1).partition("#")[0].partition("?")
    mark = hashlib.blake2b(query.encode("utf-8", "surrogatepass"), key=_MARK_KEY).hexdigest()[:_MARK_LENGTH]
    return shown, f"?…{mark}" if query else ""


def read_bytes(source: str | os.PathLike[str] | BinaryIO, name: str, *, allow_private: bool = False) -> bytes:
    """The bytes behind a path, a URL, a `data:` URI or a file object, read once.

    Raises:
        SourceError: a folder, a missing or special file, or a file object that cannot be read or gives text.
        FetchError: a URL that may not be fetched, or could not be; see `fetch`.
        ImageTooLargeError: more than `MAX_BYTES`.
    """
    if isinstance(source, str):
        if is_data_uri(source):
            return _decode_data_uri(source, name)
        if _is_share(source):  # Windows would send the user's password hash there
            raise SourceError(f"cannot load {name}: it names a machine; write https:// before it, or give a local path")
        if _is_url(source):
            from .fetch import fetch

            return fetch(source, name, allow_private=allow_private)
    if isinstance(source, (str, os.PathLike)):
        return _read_file(os.fspath(source), name)
    return _read_all(source, name)


def _read_file(path: str, name: str) -> bytes:
    # O_NONBLOCK: opening a FIFO would otherwise wait for a writer for ever
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        _check_regular(os.stat(path), name)  # noqa: PTH116 - Path("") would be "."
        with os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
            _check_regular(os.fstat(file.fileno()), name)  # what was opened: the path may lead elsewhere by now
            return _read_all(file, name)
    except FileNotFoundError:
        raise SourceError(f"cannot load {name}: no such file") from None
    except OSError as err:
        raise SourceError(f"cannot load {name}: {err.strerror}") from err
    except InputError:
        raise
    except ValueError as err:  # a NUL, or characters that the file system cannot hold
        raise SourceError(f"cannot load {name}: not a possible path") from err


def _check_regular(status: os.stat_result, name: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"cannot load {name}: it is a folder; give a file, or vk.find_images(folder) for all in it")
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"cannot load {name}: it is not a regular file")


def _read_all(file: BinaryIO | FileIO, name: str) -> bytes:
    """Everything from where a file stands, block by block: one `read` may give less than there is."""
    blocks: list[bytes] = []
    size = 0
    while True:
        try:
            block: object = file.read(_BLOCK)
        except (OSError, ValueError) as err:  # ValueError: it is closed, or not open for reading
            reason = getattr(err, "strerror", None) or "the file object cannot be read; is it closed?"
            raise SourceError(f"cannot load {name}: {reason}") from err
        if not isinstance(block, (bytes, bytearray)):
            raise SourceError(
                f"cannot load {name}: the file object gives {type(block).__name__:.50}, not bytes; open it as 'rb'"
            )
        if not block:
            return b"".join(blocks)
        size += len(block)
        if size > MAX_BYTES:
            raise ImageTooLargeError(f"cannot load {name}: it has more than {MAX_BYTES} bytes")
        blocks.append(bytes(block))


def _decode_data_uri(uri: str, name: str) -> bytes:
    header, comma, body = uri.partition(",")
    if not comma:
        raise SourceError(f"cannot load {name}: it has no comma, so no data")
    if len(body) > MAX_BYTES * 4 // 3:
        raise ImageTooLargeError(f"cannot load {name}: it has more than {MAX_BYTES} bytes")
    data = unquote_to_bytes(body)
    if not header.lower().endswith(";base64"):
        return data
    packed = b"".join(data.split())  # white space, and no padding, as browsers take it
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except binascii.Error as err:
        raise SourceError(f"cannot load {name}: its base64 is broken") from err
