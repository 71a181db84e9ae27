"""Metrics as functions of sums: what each example adds, so that scores, intervals and tests all come from the same counts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

Metric = Callable[[Float[np.ndarray, "*draws columns"]], Float[np.ndarray, "*draws"]]
"""From sums of counts to values; the leading axes are draws of a bootstrap, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What each example adds to the metrics of a task.

    Attributes:
        counts: Float64, shape (examples, columns): right, predicted and true of each label, or summed loss and tokens.
        metrics: Name to metric, the task's main one first; percentages are 0 to 100.
        details: Label (a span's kind, a class) to its own metrics, such as precision, recall, f1 and support.
        units: What the metrics are counted over, such as "spans" or "tokens", to how many there are in all.
        columns: What the columns are of, in order: the kinds of spans, the classes. Tallies with others cannot be compared.
    """

    counts: Float[np.ndarray, "examples columns"]
    metrics: Mapping[str, Metric]
    details: Mapping[str, Mapping[str, Metric]]
    units: Mapping[str, int]
    columns: tuple[str, ...] = ()

    def values(self) -> dict[str, float]:
        """Compute every metric over all examples.

        Returns:
            Name to value.
        """
        totals = self.counts.sum(axis=0)
        return {name: float(metric(totals)) for name, metric in self.metrics.items()}

    def pick(self, rows: np.ndarray) -> "Tally":
        """Keep some examples, such as those of one language.

        Args:
            rows: Their indices, or a mask.

        Returns:
            Their tally; `units` stays that of all.
        """
        return replace(self, counts=self.counts[rows])


def finite(value: float) -> float | None:
    """Give a value as JSON can hold it, which has no infinity; a perplexity can be that.

    Args:
        value: What a metric gave.

    Returns:
        The value; None for what is no finite number.
    """
    return float(value) if math.isfinite(value) else None
