"""`openai-chat:` – OpenAI's chat completions, the language of llama.cpp, vLLM, Ollama and most other servers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from ..models.protocols import Description
from . import limits
from .hosted import Question, Wire
from .loading import loader
from .schemas import strict_schema


def request(question: Question) -> dict[str, Any]:
    """The keywords of `chat.completions.create`."""
    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": upload.data_uri}} for upload in question.uploads
    ]
    content.append({"type": "text", "text": question.prompt})
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if question.system is not None:
        messages.insert(0, {"role": "system", "content": question.system})
    payload: dict[str, Any] = {"model": question.name, "messages": messages}
    if question.max_tokens is not None:
        # `max_completion_tokens` is OpenAI's newer word, which not all servers know.
        payload["max_tokens"] = question.max_tokens
    if question.schema is not None:
        form = {"name": "answer", "schema": strict_schema(question.schema), "strict": True}
        payload["response_format"] = {"type": "json_schema", "json_schema": form}
    return payload


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _InputDetails(BaseModel):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    image_tokens: int | None = None


class _OutputDetails(BaseModel):
    reasoning_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Reply(BaseModel):
    """What we read of a completion; what else is in it may change as it likes."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def parse(body: bytes) -> Description:
    """A chat completion → what it says."""
    reply = _Reply.model_validate_json(body)
    choice = reply.choices[0]
    refused = bool(choice.message.refusal) or choice.finish_reason == "content_filter"
    return Description(
        text=choice.message.refusal or choice.message.content or "",
        parsed=None,
        finish_reason="refused" if refused else choice.finish_reason or "stop",
        refused=refused,
        usage=_counts(reply.usage),
    )


def _counts(usage: _Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    counts: dict[str, int | None] = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
    counts |= usage.prompt_tokens_details.model_dump() if usage.prompt_tokens_details else {}
    counts |= usage.completion_tokens_details.model_dump() if usage.completion_tokens_details else {}
    return {kind: count for kind, count in counts.items() if count is not None}


WIRE = Wire(
    prefix="openai-chat",
    package="openai",
    client="OpenAI",
    resource="chat.completions",
    variable="OPENAI_API_KEY",
    address="OPENAI_BASE_URL",
    limits=limits.LOCAL,
    request=request,
    parse=parse,
    keyless_on_this_machine=True,
)

load = loader(WIRE)
"""A model of a server at `base_url` (with its `/v1`), by its name there. A server on this machine gets no key, not even
that of the environment, unless `api_key` is given."""
