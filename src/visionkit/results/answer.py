"""`Answer`: what a model said about pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic_core import to_jsonable_python

from . import html
from .values import ColumnKind, Result


class Answer(Result):
    """A model's answer to a question.

    `model_dump_json` writes `parsed` as plain JSON, and `model_validate_json` gives it back as a dict: the JSON does
    not know the schema's class; `Schema.model_validate(answer.parsed)` makes the object again.

    Attributes:
        text: what it said; with a schema, the JSON.
        parsed: the object of the schema's class, when a schema was given; else None.
        usage: tokens by kind. `input_tokens` counts all that went in, cached ones and pictures too, `output_tokens` all
            that came out; those of them that the vendor counts apart are `cached_tokens`, `cache_write_tokens`,
            `image_tokens`, `reasoning_tokens`.
        cost: None: not yet worked out.
        finish_reason: "stop"; "length": cut off by `max_tokens`; "refused"; or the vendor's own word.
        refused: the model declined to answer.
    """

    table_columns: ClassVar[Mapping[str, ColumnKind]] = {
        **Result.table_columns,
        "text": "text",
        "parsed": "json",
        "finish_reason": "text",
        "refused": "flag",
        "usage": "counts",
    }

    text: str
    parsed: Any = None
    usage: dict[str, int]
    cost: None = None
    finish_reason: str
    refused: bool = False

    def _repr_html_(self) -> str:
        said = self.text
        if self.parsed is not None:
            said = json.dumps(to_jsonable_python(self.parsed, fallback=str), ensure_ascii=False, indent=2)
        ended = [] if self.finish_reason == "stop" else [html.warning(self.finish_reason)]
        tokens = [f"{count} {name.replace('_', ' ')}" for name, count in self.usage.items()]
        below = html.note(self.source, self.model, *tokens)
        return html.card(html.thumbnail(self.source), html.paragraph(said), *ended, below)

    def __repr__(self) -> str:
        said = repr(self.parsed) if self.parsed is not None else repr(self.text)
        short = said if len(said) <= _SHOWN else f"{said[:_SHOWN]}…"
        ended = "" if self.finish_reason == "stop" else f"; {self.finish_reason}"
        return f"Answer({self.source}: {short}{ended}; {self.model})"


_SHOWN = 100  # characters of an answer in its repr
