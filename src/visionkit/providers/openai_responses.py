"""`openai:` – OpenAI's Responses API. Nothing is stored there: `store=False`."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel

from ..errors import ProviderError, RateLimitError, RequestError, UnavailableError
from ..models.protocols import Description
from . import limits
from .hosted import Question, Wire
from .loading import loader
from .schemas import strict_schema


def request(question: Question) -> dict[str, Any]:
    """The keywords of `responses.create`."""
    content: list[dict[str, Any]] = [
        {"type": "input_image", "image_url": upload.data_uri, "detail": "auto"} for upload in question.uploads
    ]
    content.append({"type": "input_text", "text": question.prompt})
    payload: dict[str, Any] = {"model": question.name, "input": [{"role": "user", "content": content}], "store": False}
    if question.system is not None:
        payload["instructions"] = question.system
    if question.max_tokens is not None:
        payload["max_output_tokens"] = question.max_tokens
    if question.schema is not None:
        form = {
            "type": "json_schema",
            "name": "answer",
            "schema": strict_schema(question.schema),
            "strict": True,
        }
        payload["text"] = {"format": form}
    return payload


class _Content(BaseModel):
    type: str
    text: str = ""
    refusal: str = ""


class _Item(BaseModel):
    type: str
    content: list[_Content] | None = None
    phase: str | None = None


class _Reason(BaseModel):
    reason: str | None = None


class _Error(BaseModel):
    code: str | None = None
    message: str = ""


class _InputDetails(BaseModel):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(BaseModel):
    reasoning_tokens: int | None = None


class _Usage(BaseModel):
    input_tokens: int
    output_tokens: int
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Reply(BaseModel):
    """What we read of a response; what else is in it may change as it likes."""

    object: Literal["response"]
    status: str | None = None
    error: _Error | None = None
    incomplete_details: _Reason | None = None
    output: list[_Item]
    usage: _Usage | None = None


def parse(body: bytes) -> Description:
    """A response → what it says."""
    reply = _Reply.model_validate_json(body)
    if reply.error is not None or reply.status == "failed":
        raise _failure(reply.error or _Error())
    said = [i for i in reply.output if i.type == "message" and i.phase in (None, "final_answer")]  # no commentary
    parts = [c for item in said for c in item.content or []]
    refusal = "".join(c.refusal for c in parts)
    reason = reply.incomplete_details.reason if reply.incomplete_details else None
    refused = bool(refusal) or reason == "content_filter"
    ended = {None: "stop", "max_output_tokens": "length"}.get(reason, reason or "stop")
    return Description(
        text=refusal or "".join(c.text for c in parts if c.type == "output_text"),
        parsed=None,
        finish_reason="refused" if refused else ended,
        refused=refused,
        usage=_counts(reply.usage),
    )


_FAILURES: Final[dict[str | None, type[ProviderError]]] = {
    "rate_limit_exceeded": RateLimitError,
    "server_error": UnavailableError,
    None: UnavailableError,
}


def _failure(error: _Error) -> ProviderError:
    return _FAILURES.get(error.code, RequestError)(error.message or "no reason given")


def _counts(usage: _Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    counts: dict[str, int | None] = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    counts |= usage.input_tokens_details.model_dump() if usage.input_tokens_details else {}
    counts |= usage.output_tokens_details.model_dump() if usage.output_tokens_details else {}
    return {kind: count for kind, count in counts.items() if count is not None}


WIRE = Wire(
    prefix="openai",
    package="openai",
    client="OpenAI",
    resource="responses",
    variable="OPENAI_API_KEY",
    address="OPENAI_BASE_URL",
    limits=limits.OPENAI,
    request=request,
    parse=parse,
)

load = loader(WIRE)
