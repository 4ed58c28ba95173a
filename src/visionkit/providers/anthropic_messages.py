"""`anthropic:` – Anthropic's Messages API."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel

from ..extras import require
from ..models.protocols import Description
from . import limits
from .hosted import Question, Wire
from .loading import loader

DEFAULT_MAX_TOKENS: Final = 4096
"""This API wants a limit with each request; an answer in words seldom needs as much."""


def request(question: Question) -> dict[str, Any]:
    """The keywords of `messages.create`."""
    content: list[dict[str, Any]] = [
        {"type": "image", "source": {"type": "base64", "media_type": upload.media_type, "data": upload.base64}}
        for upload in question.uploads
    ]
    content.append({"type": "text", "text": question.prompt})
    payload: dict[str, Any] = {
        "model": question.name,
        "max_tokens": DEFAULT_MAX_TOKENS if question.max_tokens is None else question.max_tokens,
        "messages": [{"role": "user", "content": content}],
    }
    if question.system is not None:
        payload["system"] = question.system
    if question.schema is not None:
        form = {"type": "json_schema", "schema": require("anthropic").transform_schema(question.schema)}
        payload["output_config"] = {"format": form}
    return payload


class _Block(BaseModel):
    type: str
    text: str = ""


class _OutputDetails(BaseModel):
    thinking_tokens: int | None = None


class _Usage(BaseModel):
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Reply(BaseModel):
    """What we read of a message; what else is in it may change as it likes."""

    type: Literal["message"]
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Usage | None = None


_ENDED: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refused",
}


def parse(body: bytes) -> Description:
    """A message → what it says."""
    reply = _Reply.model_validate_json(body)
    reason = reply.stop_reason or "end_turn"
    return Description(
        text="".join(block.text for block in reply.content if block.type == "text"),
        parsed=None,
        finish_reason=_ENDED.get(reason, reason),
        refused=reason == "refusal",
        usage=_counts(reply.usage),
    )


def _counts(usage: _Usage | None) -> dict[str, int]:
    """Tokens by kind; unlike the other vendors, this one leaves cached ones out of `input_tokens`."""
    if usage is None:
        return {}
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    counts = {
        "input_tokens": usage.input_tokens + (cached or 0) + (written or 0),
        "output_tokens": usage.output_tokens,
        "cached_tokens": cached,
        "cache_write_tokens": written,
        "reasoning_tokens": usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else None,
    }
    return {kind: count for kind, count in counts.items() if count is not None}


WIRE = Wire(
    prefix="anthropic",
    package="anthropic",
    client="Anthropic",
    resource="messages",
    variable="ANTHROPIC_API_KEY",
    address="ANTHROPIC_BASE_URL",
    limits=limits.ANTHROPIC,
    request=request,
    parse=parse,
)

load = loader(WIRE)
