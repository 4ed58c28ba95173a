"""`ask`: a question about a picture, to a hosted model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, overload

from pydantic import BaseModel
from pydantic.errors import PydanticUserError

from ..errors import CapabilityError, Failure, InputError
from ..images import Picture, Source
from ..models.protocols import Describer
from ..results import Answer
from .arguments import text_argument, whole_number
from .driver import Many, OnError, answer
from .hosted import over_pictures
from .misfits import fitting
from .resolve import resolve


@overload
def ask(  # type: ignore[overload-overlap]  # a file object is one source, though Python calls it an iterator
    images: Source,
    prompt: str,
    *,
    model: object,
    schema: type[BaseModel] | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
    on_error: Literal["raise"] = "raise",
    progress: bool | None = None,
) -> Answer: ...


@overload
def ask(
    images: Many[Source],
    prompt: str,
    *,
    model: object,
    schema: type[BaseModel] | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
    on_error: Literal["raise"] = "raise",
    progress: bool | None = None,
) -> list[Answer]: ...


@overload
def ask(
    images: Iterator[Source],
    prompt: str,
    *,
    model: object,
    schema: type[BaseModel] | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
    on_error: Literal["raise"] = "raise",
    progress: bool | None = None,
) -> Iterator[Answer]: ...


@overload
def ask(  # type: ignore[overload-overlap]  # a file object is one source, though Python calls it an iterator
    images: Source,
    prompt: str,
    *,
    model: object,
    schema: type[BaseModel] | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
    on_error: Literal["return"],
    progress: bool | None = None,
) -> Answer | Failure: ...


@overload
def ask(
    images: Many[Source],
    prompt: str,
    *,
    model: object,
    schema: type[BaseModel] | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
    on_error: Literal["return"],
    progress: bool | None = None,
) -> list[Answer | Failure]: ...


@overload
def ask(
    images: Iterator[Source],
    prompt: str,
    *,
    model: object,
    schema: type[BaseModel] | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
    on_error: Literal["return"],
    progress: bool | None = None,
) -> Iterator[Answer | Failure]: ...


def ask(
    images: Any,
    prompt: str,
    *,
    model: object = None,
    schema: type[BaseModel] | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
    on_error: OnError = "raise",
    progress: bool | None = None,
) -> Any:
    """Asks a hosted model a question about each picture.

    The pictures are sent upright, without metadata, as JPEG of a size that the vendor takes. They stand in the user's
    turn: text in a picture can still sway an answer, so bound with `schema` what can come back.

    Args:
        images: one source, a sequence of them, or an iterator; see `load_image`. Each is asked about on its own.
        prompt: the question.
        model: a name such as "openai:…", "anthropic:…", or a model object, such as that of
            `load_model("openai-chat:…", base_url=…)`. There is no default: a hosted model costs money.
        schema: a pydantic class: the answer comes back as an object of it, in `.parsed`.
        system: instructions that hold for the whole conversation.
        max_tokens: the longest answer, in tokens; None: the vendor's own limit (Anthropic: 4,096).
        on_error: "raise" stops at the first bad input or answer, with an error that carries the answers before it in
            `.results`; "return" puts a `Failure` in its place.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Returns:
        An `Answer` for one source, a list for a sequence, an iterator for an iterator (read lazily). As many questions
        are under way at once as `model.concurrency` says; answers keep the order.

    Raises:
        InputError: an empty prompt, a system prompt that is no text, a schema that is no pydantic class or that the
            vendor does not take, no model; a bad source.
        CapabilityError: the model cannot answer questions.
        AuthenticationError: there is no API key (the message names the environment variable), or it is refused.
        RateLimitError: the vendor asks to slow down, after all attempts.
        RequestError: the vendor refuses the request.
        UnavailableError: the vendor is down or unreachable, after all attempts.
        AnswerError: with a schema: the answer does not fit it, is cut off, or the model declined. Without one, such an
            answer comes back, with its `.finish_reason` and `.refused`.
    """
    _check(prompt, schema)
    if system is not None:
        text_argument("system", system)
    limit = None if max_tokens is None else whole_number("max_tokens", max_tokens, 1)
    if model is None:
        raise InputError("ask has no default model, since hosted models cost money: give model=, such as 'openai:…'")
    loaded = resolve(model, "ask")
    if not isinstance(loaded, Describer):
        raise CapabilityError(f"{getattr(loaded, 'name', type(loaded).__name__)} cannot answer questions")

    def work(picture: Picture, source: str) -> Answer:
        said = loaded.describe([picture], prompt, system=system, schema=schema, max_tokens=limit)
        with fitting(loaded.name, "its answer"):
            return Answer(
                text=said.text,
                parsed=said.parsed,
                usage=said.usage,
                finish_reason=said.finish_reason,
                refused=said.refused,
                model=loaded.name,
                source=source,
            )

    return answer(images, over_pictures(work, loaded.concurrency), on_error=on_error, progress=progress)


def _check(prompt: object, schema: object) -> None:
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f"prompt={prompt!r} asks nothing; give a question as a string")
    text_argument("prompt", prompt)
    if schema is None:
        return
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        raise InputError(f"schema={schema!r} must be a class that inherits from pydantic.BaseModel")
    try:
        schema.model_json_schema()
    except PydanticUserError as err:
        raise InputError(f"schema {schema.__name__} cannot be written as JSON schema: {err.message}") from err
