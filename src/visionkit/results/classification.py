"""`Classification`: what a picture shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

from . import html
from .values import ColumnKind, Result

ScoreKind = Literal["probability", "similarity", "said"]


class Prediction(NamedTuple):
    """One label and its score."""

    label: str
    score: float


class Classification(Result):
    """The labels of one picture, by score.

    Attributes:
        label: the best label, or None when the model abstained.
        score: the best label's score.
        score_kind: "probability"; "similarity"; or "said": a hosted model named the label, which has 1.0, the rest 0.0.
        scores: every label's score, best first.
        usage: tokens by kind, from a hosted model, as in `Answer`; None from a local one.
        cost: None: not yet worked out.
    """

    table_columns: ClassVar[Mapping[str, ColumnKind]] = {
        **Result.table_columns,
        "label": "text",
        "score": "number",
        "score_kind": "text",
        "scores": "scores",
        "usage": "counts",
    }

    label: str | None
    score: float
    score_kind: ScoreKind
    scores: dict[str, float]
    usage: dict[str, int] | None = None
    cost: None = None

    @classmethod
    def from_scores(
        cls,
        scores: Mapping[str, float],
        *,
        model: str,
        source: str,
        score_kind: ScoreKind = "probability",
        abstain_below: float | None = None,
        usage: dict[str, int] | None = None,
    ) -> Classification:
        """Ranks scores and chooses the best, or none when it is below `abstain_below`."""
        ranked = dict(sorted(scores.items(), key=lambda item: -item[1]))
        label, score = next(iter(ranked.items()))
        return cls(
            label=None if abstain_below is not None and score < abstain_below else label,
            score=score,
            score_kind=score_kind,
            scores=ranked,
            usage=usage,
            model=model,
            source=source,
        )

    def top(self, k: int = 5) -> tuple[Prediction, ...]:
        """The k best labels with their scores, best first; fewer when there are fewer labels."""
        return tuple(Prediction(*item) for item in list(self.scores.items())[: max(0, k)])

    def _repr_html_(self) -> str:
        rows = [(label, score, _written(score, self.score_kind)) for label, score in self.top()]
        more = [html.note(f"… {len(self.scores) - len(rows)} more")] if len(self.scores) > len(rows) else []
        said = html.title("abstained" if self.label is None else self.label)
        below = html.note(self.source, self.model, self.score_kind)
        return html.card(html.thumbnail(self.source), said, html.bars(rows), *more, below)

    def __repr__(self) -> str:
        best = " · ".join(f"{label} {score:.2f}" for label, score in self.top(3))
        said = "abstained: " if self.label is None else ""
        more = f" · … {len(self.scores) - 3} more" if len(self.scores) > 3 else ""
        return f"Classification({self.source}: {said}{best}{more}; {self.score_kind}, {self.model})"


def _written(score: float, kind: ScoreKind) -> str:
    return f"{score:.1%}" if kind == "probability" else f"{score:.2f}"
