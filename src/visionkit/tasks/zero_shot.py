"""`classify` by comparing: which label's text lies nearest to the picture?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import Failure, InputError
from ..images import Source
from ..results import Classification
from ..results.classification import ScoreKind
from .arguments import text_argument
from .driver import Runner
from .local import over_batches
from .ranking import ranked
from .vectors import normalised, text_vectors

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.protocols import TextEmbedder
    from ..pipeline import Batch


def zero_shot_runner(  # noqa: PLR0917 - called once, by `classify`
    model: Any,
    labels: tuple[str, ...],
    prompts: Sequence[str] | None,
    multi_label: bool,
    abstain_below: float | None,
    batch_size: int | None,
) -> Runner[Source, Classification]:
    """A runner that compares pictures with labels; the labels' texts are encoded now, once.

    Scores are probabilities: softmax over scale · cosine + bias; or, for a model trained so (SigLIP), a sigmoid for
    each label by itself, which need not add up to 1, with or without `multi_label`. With `multi_label` a softmax model
    gives its cosines, since it never learnt to say how probable one label is by itself.

    Raises:
        InputError: a prompt without `{}`, or none.
    """
    templates = check_prompts(model.prompts if prompts is None else prompts)
    texts = label_vectors(model, labels, templates)

    def answer_batch(batch: Batch) -> list[Classification | Failure]:
        cosines = normalised(model.image_features(batch)) @ texts.T
        scores, kind = _scores(cosines, model, multi_label)
        return [
            ranked(
                dict(zip(labels, row, strict=True)),
                batch,
                i,
                model=model.name,
                score_kind=kind,
                abstain_below=abstain_below,
            )
            for i, row in enumerate(scores.cpu().tolist())
        ]

    return over_batches(model, answer_batch, batch_size)


def check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """Templates as a tuple.

    Raises:
        InputError: one string instead of several, none, or one without `{}`.
    """
    if isinstance(prompts, str):
        raise InputError(f"prompts must be a list of templates, not the one string {prompts!r}")
    templates: tuple[Any, ...] = tuple(prompts)
    if not templates:
        raise InputError("prompts must hold at least one template, such as 'a photo of a {}.'")
    for template in templates:
        if not isinstance(template, str) or "{}" not in template:
            raise InputError(f"prompt {template!r} has no {{}} for the label, as in 'a photo of a {{}}.'")
    return templates


def label_vectors(model: TextEmbedder, labels: Sequence[str], templates: Sequence[str]) -> Tensor:
    """float32 (K, D): for each label the mean direction of its texts, as open_clip's zero-shot classifier has it."""
    texts = [text_argument("a label's text", t.replace("{}", label)) for label in labels for t in templates]
    vectors = text_vectors(model, texts)
    return normalised(vectors.reshape(len(labels), len(templates), -1).mean(1))


def _scores(cosines: Tensor, model: TextEmbedder, multi_label: bool) -> tuple[Tensor, ScoreKind]:
    logits = cosines * model.logit_scale + model.logit_bias
    if model.score_activation == "sigmoid":
        return logits.sigmoid(), "probability"
    return (cosines, "similarity") if multi_label else (logits.softmax(1), "probability")
