"""What goes wrong at a vendor, in our words: the one seam between their exceptions and ours.

Exceptions of the SDKs hold the request with its headers, and so the key. None of them leaves this room, neither raised
nor as `__cause__` or `__context__` of what is raised: they become a `Fault`, a value, and that is raised later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

from pydantic import SecretStr

from ..errors import AnswerError, AuthenticationError, ProviderError, RateLimitError, RequestError, UnavailableError

MAX_QUOTED: Final = 300
"""Characters of a vendor's text that an error repeats."""

_READ: Final = 4000  # characters of it that are looked at
_ECHO: Final = 8  # characters of a key in a row that are told as a piece of it
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_FOREIGN: Final = ("anthropic", "httpcore", "httpcore2", "httpx", "httpx2", "openai")


@dataclass(frozen=True)
class Fault:
    """Why one attempt gave no answer.

    Attributes:
        kind: the error that it becomes.
        summary: what happened, in our words.
        quoted: the vendor's words, cleaned; may be empty.
        status: the HTTP status, where there was a response.
        request_id: the vendor's id of the request.
        retry_after_seconds: how long the vendor asks to wait.
        retry: whether another attempt may help.
    """

    kind: type[ProviderError]
    summary: str
    quoted: str = ""
    status: int | None = None
    request_id: str | None = None
    retry_after_seconds: float | None = None
    retry: bool = False

    def error(self, model: str, attempts: int = 1) -> ProviderError:
        """The error to raise, which tells how many attempts were made."""
        details = [f"status {self.status}"] if self.status else []
        details += [f"request {self.request_id}"] if self.request_id else []
        if attempts and self.kind is not AnswerError:  # there, an answer came
            details += [f"{attempts} attempts" if attempts > 1 else "1 attempt"]
        text = f"{model}: {self.summary}" + (f" ({', '.join(details)})" if details else "")
        text += f": {self.quoted}" if self.quoted else ""
        if self.kind is RateLimitError:
            return RateLimitError(
                text,
                status=self.status,
                request_id=self.request_id,
                retry_after_seconds=self.retry_after_seconds,
            )
        return self.kind(text, status=self.status, request_id=self.request_id)


def fault_of(err: Exception, key: SecretStr) -> Fault | None:
    """What an exception of an SDK or its transport means; None when it is neither's, and so a mistake of ours."""
    if type(err).__module__.partition(".")[0] not in _FOREIGN:
        return None
    status = getattr(err, "status_code", None)
    response = getattr(err, "response", None)
    if not isinstance(status, int) or response is None:
        if _is_connecting(err):
            return Fault(UnavailableError, "the server cannot be reached (it takes no connection)", retry=True)
        if "Timeout" in type(err).__name__:
            # Not tried again: the vendor may still be at work, and would bill each attempt.
            return Fault(UnavailableError, "no answer came in time; a larger timeout_seconds= waits longer")
        return Fault(UnavailableError, f"the server cannot be reached or broke off ({type(err).__name__})", retry=True)
    headers: Mapping[str, str] = response.headers
    kind, summary = _meaning(status)
    said = headers.get("x-should-retry")
    return Fault(
        kind,
        summary,
        quoted=clean(_message(err), key),
        status=status,
        request_id=_request_id(headers, key),
        retry_after_seconds=retry_after_seconds(headers),
        retry=kind in (RateLimitError, UnavailableError) and said != "false" and _code(err) != "insufficient_quota",
    )


def _is_connecting(err: BaseException | None) -> bool:
    """Whether time ran out before there was a connection: nothing was sent then, and nothing is billed twice."""
    while err is not None:
        if type(err).__name__ == "ConnectTimeout":
            return True
        err = err.__cause__ or err.__context__
    return False


def _meaning(status: int) -> tuple[type[ProviderError], str]:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return AuthenticationError, "the server refuses the API key"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitError, "the server asks to slow down"
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnavailableError, "the server failed"
    if status < HTTPStatus.BAD_REQUEST:
        return RequestError, "the server redirects to another address, which is not followed: it would get the key"
    return RequestError, "the server refuses the request"


def _body_error(err: Exception) -> Mapping[str, Any]:
    """The error record inside a body: OpenAI's SDK unwraps it, Anthropic's does not."""
    body = getattr(err, "body", None)
    if not isinstance(body, Mapping):
        return {}
    inner = body.get("error")
    return inner if isinstance(inner, Mapping) else body


def _code(err: Exception) -> object:
    return _body_error(err).get("code")


def _message(err: Exception) -> str:
    text = _body_error(err).get("message")
    return text if isinstance(text, str) else str(getattr(err, "message", ""))


def _request_id(headers: Mapping[str, str], key: SecretStr) -> str | None:
    value = headers.get("x-request-id") or headers.get("request-id")
    return clean(value, key)[:80] if value else None


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """How long a response asks to wait: milliseconds, seconds or a date; None when it does not say."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return float(value) * scale
        if value and name == "retry-after":
            try:
                date = parsedate_to_datetime(value)
            except ValueError:
                return None
            return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return None


def clean(text: str, key: SecretStr) -> str:
    """A vendor's text as it may stand in an error: one line, short, without any piece of the key."""
    line = _redact(" ".join(_UNPRINTABLE.sub(" ", text[:_READ]).split()), key.get_secret_value())
    return line if len(line) <= MAX_QUOTED else f"{line[: MAX_QUOTED - 1]}…"


def _redact(text: str, key: str) -> str:
    """The text with every run of `_ECHO` or more characters of the key replaced."""
    size = min(_ECHO, len(key))
    pieces = {key[i : i + size] for i in range(len(key) - size + 1)}
    hidden = [False] * len(text)
    for i in range(len(text) - size + 1):
        if text[i : i + size] in pieces:
            hidden[i : i + size] = [True] * size
    marked = "".join("\0" if hide else char for char, hide in zip(text, hidden, strict=True))
    return re.sub("\0+", "[key]", marked)
