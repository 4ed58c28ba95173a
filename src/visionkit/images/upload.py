"""A picture becomes the payload of a hosted model: a format and size that it takes, without metadata."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from ..errors import ImageTooLargeError
from .fit import Fit
from .sources import Picture

_QUALITIES = (92, 85, 75, 60)


@dataclass(frozen=True)
class UploadRules:
    """What a vendor takes.

    Attributes:
        max_side: longest side in pixels; a larger picture is shrunk.
        max_bytes: size of the encoded picture, before base64.
    """

    max_side: int
    max_bytes: int


@dataclass(frozen=True)
class Upload:
    """One encoded picture.

    Attributes:
        data: JPEG bytes of an upright sRGB picture, without any metadata.
        media_type: `image/jpeg`.
        fit: how the picture lies in the upload, for places in the answer.
    """

    data: bytes
    media_type: str
    fit: Fit

    def __repr__(self) -> str:
        return f"Upload({self.media_type}, {len(self.data)} bytes, {self.fit.input_wh[0]}×{self.fit.input_wh[1]})"

    @property
    def base64(self) -> str:
        """The data in base64."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_uri(self) -> str:
        """The data as a `data:` URI."""
        return f"data:{self.media_type};base64,{self.base64}"


def encode_upload(picture: Picture, rules: UploadRules) -> Upload:
    """A picture (mode RGB, upright) as JPEG within a vendor's rules; it is only ever shrunk.

    Raises:
        ImageTooLargeError: it does not fit in `rules.max_bytes` at any quality worth sending.
    """
    width, height = picture.size
    scale = min(1.0, rules.max_side / max(width, height))
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = picture if size_wh == picture.size else picture.resize(size_wh, Image.Resampling.LANCZOS)
    fit = Fit(picture.size, size_wh, (size_wh[0] / width, size_wh[1] / height), (0.0, 0.0))
    for quality in _QUALITIES:
        buffer = BytesIO()
        small.save(buffer, "JPEG", quality=quality, subsampling=0 if quality > 90 else 2, exif=b"", icc_profile=None)
        if buffer.tell() <= rules.max_bytes:
            return Upload(buffer.getvalue(), "image/jpeg", fit)
    raise ImageTooLargeError(
        f"a picture of {width}×{height} stays over {rules.max_bytes} bytes as JPEG; shrink it before sending"
    )
