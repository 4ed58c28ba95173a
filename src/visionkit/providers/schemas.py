"""A pydantic class as the strict JSON schema that OpenAI asks for."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ..extras import require


def strict_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """Every property required and no others allowed, as the SDK makes it for `parse`.

    Through the SDK's function for tools, which is public and builds the very same schema.
    """
    tool: dict[str, Any] = require("openai").pydantic_function_tool(schema, name="answer")
    parameters: dict[str, Any] = tool["function"]["parameters"]
    return parameters
