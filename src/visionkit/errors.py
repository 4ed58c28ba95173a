"""Everything that visionkit raises, and `Failure`, the value that stands for a bad input in a batch.

VisionkitError
├── InputError (ValueError)      an argument cannot be used as given
│   ├── SourceError              an image source that is none: a folder, a missing file, a wrong array
│   └── ImageError               a source that is one, but cannot become a picture
│       ├── FetchError           a URL that may not be fetched, or did not answer; `.status`
│       ├── ImageDecodeError     unknown format, corrupt, truncated
│       └── ImageTooLargeError   more pixels or bytes than allowed
├── ModelError                   a model cannot be had, or cannot do this
│   ├── ModelNotFoundError       no such name (the nearest names are given), or not on this machine
│   ├── ModelLoadError           the name is right, the files or settings are not
│   ├── SaveError                what was saved is not what the model is
│   ├── CapabilityError          the model is of another kind than the verb needs
│   └── RegistryError            two back ends claim one name
├── MissingExtraError (ImportError)   an optional package is not installed
├── TrainingError                training cannot go on
└── ProviderError                a hosted model did not answer
├── AuthenticationError      no key, or one that the vendor refuses
├── RateLimitError           too many requests; `.retry_after_seconds`
├── RequestError             the vendor says the request is wrong
├── UnavailableError         the vendor is down or unreachable
└── AnswerError              an answer came that does not fit what was asked
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


class VisionkitError(Exception):
    """Root of all errors of visionkit.

    Attributes:
        results: what a verb had answered, in order, before the input that this error is about.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.results: list[Any] = []


class InputError(VisionkitError, ValueError):
    """An argument cannot be used as given."""


class SourceError(InputError):
    """What was given as an image is no image source: a folder, a missing file, a wrong array."""


class ImageError(InputError):
    """An image source cannot become a picture."""


class FetchError(ImageError):
    """A URL may not be fetched, or its server did not give the picture.

    Attributes:
        status: the HTTP status, where there was a response.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ImageDecodeError(ImageError):
    """The bytes are no picture in an allowed format, or a damaged one."""


class ImageTooLargeError(ImageError):
    """The picture has more pixels or bytes than allowed; found before decoding."""


class ModelError(VisionkitError):
    """A model cannot be had, or cannot do what was asked."""


class ModelNotFoundError(ModelError):
    """No model of that name is registered or on this machine."""


class ModelLoadError(ModelError):
    """The model's files or settings are not as they must be."""


class SaveError(ModelError):
    """A model was not saved, because what was written does not answer as it does."""


class CapabilityError(ModelError):
    """The model cannot do what the verb needs."""


class RegistryError(ModelError):
    """Two back ends claim the same name and capability."""


class MissingExtraError(VisionkitError, ImportError):
    """An optional package is not installed; the message holds the line that installs it."""


class TrainingError(VisionkitError):
    """Training cannot start or go on with this data or these settings."""


class ProviderError(VisionkitError):
    """A hosted model did not give an answer.

    Attributes:
        status: the HTTP status, where there was a response.
        request_id: the vendor's id of the request, for its support.
    """

    def __init__(self, message: str, *, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id


class AuthenticationError(ProviderError):
    """There is no API key, or the vendor refuses it."""


class RateLimitError(ProviderError):
    """The vendor asks to slow down.

    Attributes:
        retry_after_seconds: how long the vendor asks to wait, where it says so.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id)
        self.retry_after_seconds = retry_after_seconds


class RequestError(ProviderError):
    """The vendor refuses the request as wrong: an unknown model, a picture it does not take."""


class UnavailableError(ProviderError):
    """The vendor's server is down, broken or unreachable."""


class AnswerError(ProviderError):
    """The answer does not fit what was asked: cut off, or not of the schema."""


@dataclass(frozen=True)
class Failure:
    """Stands in a list of results, under `on_error="return"`, where an input could not be answered.

    Attributes:
        source: the input as a string: path, URL, or a description such as `<array 480×640>`.
        index: its position among the inputs, from 0.
        error: what went wrong.
    """

    source: str
    index: int
    error: VisionkitError = field(compare=False)

    def __repr__(self) -> str:
        return f"Failure(#{self.index} {self.source}: {type(self.error).__name__}: {self.error})"

    def model_dump(self) -> dict[str, str | int]:
        """The failure as plain values: source, index, error (the type's name), message."""
        return {
            "source": self.source,
            "index": self.index,
            "error": type(self.error).__name__,
            "message": str(self.error),
        }

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from html import escape  # here: this module is imported with the package

        text = f"#{self.index} {self.source}: {type(self.error).__name__}: {self.error}"
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
        style = "color:#d62728;font:13px/1.45 system-ui,sans-serif;overflow-wrap:anywhere"
        return f'<div style="{style}">{escape(shown)}</div>'

    def model_dump_json(self) -> str:
        """The failure as JSON, as results give theirs."""
        return json.dumps(self.model_dump(), ensure_ascii=False)
