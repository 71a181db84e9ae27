"""Streaming moments: one pass over activations, memory independent of the number of tokens, mergeable in any order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from modxfer.alignments.statistics import PairStatistics, standard_deviation
from modxfer.errors import AlignmentError

if TYPE_CHECKING:
    import torch

Pair = tuple[str, str]


@dataclass(slots=True)
class _Total:
    """Centred sums over the tokens seen so far, in float64: Chan, Golub and LeVeque 1979's mean and co-moments."""

    tokens: int
    means: "dict[str, torch.Tensor]"
    squares: "dict[str, torch.Tensor]"
    products: "dict[Pair, torch.Tensor]"

    def copy(self) -> "_Total":
        products = {pair: product.clone() for pair, product in self.products.items()}
        return _Total(tokens=self.tokens, means=self.means, squares=self.squares, products=products)


@dataclass(slots=True)
class Moments:
    """Means, variances and chosen co-moments of several sites over the same tokens.

    Activations are gathered into chunks; within a chunk they are centred on the chunk's own mean before anything is multiplied,
    so a unit with a mean of thousands and a deviation of one loses no digits. Chunks are then merged by the pairwise update of
    Chan et al., which is the same update that merges two objects.

    Attributes:
        pairs: The pairs of sites whose co-moments are kept; (a, a) keeps the covariance of one site.
        chunk_tokens: Tokens gathered before a chunk is added up; memory grows with it.
    """

    pairs: Sequence[Pair]
    chunk_tokens: int = 2048
    _total: _Total | None = None
    _buffer: "dict[str, list[torch.Tensor]]" = field(default_factory=dict)
    _buffered: int = 0

    @property
    def tokens(self) -> int:
        """Tokens seen so far."""
        return self._buffered + (self._total.tokens if self._total else 0)

    def update(self, activations: "Mapping[str, torch.Tensor]") -> None:
        """Add tokens.

        Args:
            activations: Site to activations, floating, shape (tokens, units); the same tokens for every site.

        Raises:
            AlignmentError: the sites have different numbers of tokens.
        """
        counts = {tensor.shape[0] for tensor in activations.values()}
        if len(counts) != 1:
            raise AlignmentError(
                f"The sites of one batch have different numbers of tokens: {sorted(counts)}.",
                do="Give every site the same tokens.",
            )
        for site, tensor in activations.items():
            self._buffer.setdefault(site, []).append(tensor)
        self._buffered += counts.pop()
        if self._buffered >= self.chunk_tokens:
            self._flush()

    def merge(self, other: "Moments") -> None:
        """Add what another object has seen; the order does not matter beyond rounding.

        Args:
            other: Moments of the same pairs over other tokens.

        Raises:
            AlignmentError: the two keep different pairs.
        """
        if list(self.pairs) != list(other.pairs):
            raise AlignmentError("Two sets of moments keep different pairs of sites.", do="Merge moments of the same request.")
        self._flush()
        other._flush()
        if other._total is not None:
            self._add(other._total.copy())

    def statistics(self, student: str, teacher: str) -> PairStatistics:
        """Give the statistics of one pair of sites.

        Args:
            student: The student's site, first of a pair that is kept.
            teacher: The teacher's site, second of that pair.

        Returns:
            Population statistics over all tokens seen; covariances of one site only where (site, site) is kept.

        Raises:
            AlignmentError: no token was seen, or an activation was not finite.
        """
        self._flush()
        if self._total is None:
            raise AlignmentError("No token was seen, so there are no statistics.", do="Give more text with `--corpus`.")
        total = self._total
        cross = total.products[student, teacher]
        if not bool(cross.isfinite().all()):
            raise AlignmentError(
                f"Activations at `{student}` or `{teacher}` are not finite.",
                do="Check the base models: run them on a sentence and look for NaN or overflow.",
            )
        means = {site: total.means[site].cpu().numpy() for site in (student, teacher)}
        stds = {
            site: standard_deviation(total.squares[site].cpu().numpy() / total.tokens, means[site])
            for site in (student, teacher)
        }
        return PairStatistics(
            tokens=total.tokens,
            student_mean=means[student],
            teacher_mean=means[teacher],
            student_std=stds[student],
            teacher_std=stds[teacher],
            cross=(cross / total.tokens).cpu().numpy(),
            student_covariance=self._covariance(total, student),
            teacher_covariance=self._covariance(total, teacher),
        )

    def _covariance(self, total: _Total, site: str) -> np.ndarray | None:
        product = total.products.get((site, site))
        return None if product is None else (product / total.tokens).cpu().numpy()

    def _flush(self) -> None:
        """Turn the gathered activations into one total and add it."""
        if not self._buffered:
            return
        import torch

        tokens, centred, residues, means = self._buffered, {}, {}, {}
        for site, parts in self._buffer.items():
            rows = torch.cat(parts) if len(parts) > 1 else parts[0]
            rows = rows if rows.dtype == torch.float64 else rows.float()
            shift = rows.mean(dim=0)
            centred[site] = rows - shift
            residues[site] = centred[site].mean(dim=0).double()
            means[site] = shift.double() + residues[site]
        self._buffer, self._buffered = {}, 0
        self._add(_chunk_total(tokens, centred, residues, means, self.pairs))

    def _add(self, other: _Total) -> None:
        if self._total is None:
            self._total = other
            return
        mine = self._total
        tokens = mine.tokens + other.tokens
        weight = mine.tokens * other.tokens / tokens
        gaps = {site: other.means[site] - mine.means[site] for site in mine.means}
        self._total = _Total(
            tokens=tokens,
            means={site: mine.means[site] + gap * (other.tokens / tokens) for site, gap in gaps.items()},
            squares={site: mine.squares[site] + other.squares[site] + weight * gap.square() for site, gap in gaps.items()},
            products={
                (a, b): mine.products[a, b].add_(other.products[a, b]).addr_(gaps[a], gaps[b], alpha=weight)
                for a, b in self.pairs
            },
        )


def _chunk_total(
    tokens: int,
    centred: "Mapping[str, torch.Tensor]",
    residues: "Mapping[str, torch.Tensor]",
    means: "dict[str, torch.Tensor]",
    pairs: Iterable[Pair],
) -> _Total:
    """Add up one chunk: products in the activations' precision over at most a chunk of centred values, totals in float64.

    A float32 mean is off by its rounding, which beside a mean of thousands is not small: what is left of the mean
    (`residues`) is taken out of the sums.
    """
    import torch

    squares = {
        site: (rows.square().sum(dim=0, dtype=torch.float64) - tokens * residues[site].square()).clamp_(min=0.0)
        for site, rows in centred.items()
    }
    products = {(a, b): (centred[a].T @ centred[b]).double().addr_(residues[a], residues[b], alpha=-tokens) for a, b in pairs}
    return _Total(tokens=tokens, means=means, squares=squares, products=products)
