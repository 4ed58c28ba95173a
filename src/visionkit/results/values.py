"""`Result`, the root of all results, and NumPy arrays as fields of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from ..errors import Failure, VisionkitError

ColumnKind = Literal[
    "text", "number", "integer", "flag", "texts", "numbers", "integers", "boxes", "scores", "counts", "json"
]
"""What a column of a table holds: one value; a list; float32 (N, 4); label → score, best first; name → count; any."""


class Result(BaseModel):
    """A frozen answer of a verb.

    Attributes:
        model: the name of the model that answered.
        source: what it was asked about, as a string: path, or a description such as `<array 480×640>`.
    """

    model_config = ConfigDict(
        frozen=True, arbitrary_types_allowed=True, extra="forbid", protected_namespaces=(), ser_json_inf_nan="null"
    )

    table_columns: ClassVar[Mapping[str, ColumnKind]] = {"source": "text", "model": "text"}
    """The columns of this result in a table, and what each holds."""

    model: str
    source: str

    def table_rows(self) -> Iterator[dict[str, Any]]:
        """Its rows in a table, by the names of `table_columns`: one, where nothing else is said."""
        yield {name: getattr(self, name) for name in self.table_columns}

    def __str__(self) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = vars(self), vars(other)
        return all(_same(mine[name], theirs[name]) for name in type(self).model_fields)

    __hash__ = None  # type: ignore[assignment]  # results hold mappings and arrays


def _same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(np.asarray(one), np.asarray(other))
    return one == other


def _float32(value: Any) -> npt.NDArray[np.float32]:
    array = np.array(value, dtype=np.float32)  # a copy: the caller's own stays writable
    array.setflags(write=False)
    return array


def _failure(value: Any) -> Failure:
    if isinstance(value, dict) and value.keys() >= {"source", "index", "error", "message"}:
        return Failure(value["source"], value["index"], VisionkitError(f"{value['error']}: {value['message']}"))
    if isinstance(value, Failure):
        return value
    raise ValueError("a failure is a Failure or what its model_dump gave")


def failure_row(failure: Failure) -> dict[str, Any]:
    """A failure's row in a table of results."""
    return {"source": failure.source, "error": type(failure.error).__name__, "message": str(failure.error)}


Float32Array: TypeAlias = Annotated[
    npt.NDArray[np.float32], BeforeValidator(_float32), PlainSerializer(lambda a: a.tolist(), when_used="json")
]
"""A read-only float32 array; a nested list in JSON."""

FailureField: TypeAlias = Annotated[Failure, BeforeValidator(_failure), PlainSerializer(lambda f: f.model_dump())]
"""A `Failure`; read back from JSON, its error is a `VisionkitError` with the type's name in the text."""
