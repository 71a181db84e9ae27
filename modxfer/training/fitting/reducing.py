"""From logits to a loss, and to what is kept of them: both on the device, as the trainers hand them over."""

from collections.abc import Callable
from typing import Any

import torch

from modxfer.training.data.encoding import IGNORED
from modxfer.training.tasks import Kind

Collator = Callable[[list[Any]], Any]


def mean_loss(kind: Kind, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | int | None) -> torch.Tensor:
    """Compute the cross entropy of a batch, or of a piece of it.

    The pieces of a batch add up to the batch's mean, however it was cut and padded. A library's own loss is the mean of its
    piece, so that a label would count the more the fewer are in its piece.

    Args:
        kind: Kind of the task.
        outputs: What the model gave.
        labels: Shape (rows,) or (rows, tokens).
        num_items: Labels that count in the whole batch; None if this is the whole batch.

    Returns:
        The loss, a scalar.
    """
    logits, labels = _aligned(kind, outputs.logits, labels)
    total = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), labels.reshape(-1), ignore_index=IGNORED, reduction="sum"
    )
    items = labels.ne(IGNORED).sum() if num_items is None else torch.as_tensor(num_items, device=total.device)
    return total / items.clamp(min=1)


def reduce_logits(kind: Kind, logits: Any, labels: torch.Tensor) -> torch.Tensor:
    """Keep of logits what scores are computed from, so that they need not be kept themselves.

    Args:
        kind: Kind of the task.
        logits: Shape (rows, labels) or (rows, tokens, labels), or a tuple that begins with them.
        labels: Shape (rows,) or (rows, tokens).

    Returns:
        Tagging: the best label of each token, -100 where there is none to predict, shape (rows, tokens). Classification: the
        best label, shape (rows,). Language modelling: summed negative log likelihood in nats, and tokens predicted, float64
        (float32 where the device has no more), shape (rows, 2).
    """
    logits = logits[0] if isinstance(logits, tuple) else logits
    if kind == "classification":
        best: torch.Tensor = logits.argmax(dim=-1)
        return best
    if kind == "tagging":
        return torch.where(labels.eq(IGNORED), IGNORED, logits.argmax(dim=-1))
    logits, labels = _aligned(kind, logits, labels)
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    nats = torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    ).sum(dim=1, dtype=wide)
    return torch.stack([nats, labels.ne(IGNORED).sum(dim=1).to(wide)], dim=1)


def collator_for(kind: Kind, collate: Collator) -> Collator:
    """Make a collator hide the first label where nothing predicts it, so that a batch's labels are counted right.

    `transformers` 5 leaves it out of the count of most models by itself, and 4.57 of none. The collator's tokenizer is hidden
    in any case: trainers that find one write it into every checkpoint.

    Args:
        kind: Kind of the task.
        collate: Makes a batch of examples.

    Returns:
        A collator.
    """

    def collate_and_hide(examples: list[Any]) -> Any:
        batch = collate(examples)
        if kind == "causal-lm":
            batch["labels"][:, 0] = IGNORED
        return batch

    return collate_and_hide


def _aligned(kind: Kind, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Put each logit beside the label that it predicts: in language modelling, that of the next token."""
    return (logits[:, :-1], labels[:, 1:]) if kind == "causal-lm" else (logits, labels)
