"""What alignment is wanted, which one was found, and whether a map that somebody else computed will do."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modxfer.alignments.aligners import ALIGNERS, AUTO, DEFAULT_PENALTY
from modxfer.alignments.alignment_map import AlignmentMap, BaseRecord, SitePair
from modxfer.alignments.compute import DEFAULT_TOKENS
from modxfer.alignments.request import PairUse, covers
from modxfer.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentChoice:
    """How to align, as the user said it.

    Attributes:
        aligner: "auto", or a name from the table of aligners.
        alignment: A map to use: a folder, the start of an id in the store, a Hub id, or `registry:` with the id of an entry;
            None to look one up or compute it.
        corpus: A file or data set; None for the module's own data set, else the text that ships with the package.
        column: The corpus's column that holds the text.
        tokens: Matched tokens to use at most.
        penalty: Ridge penalty, in units of the mean variance.
        device: Where to run, "auto" for a GPU where there is one.
        registry: Where modules and maps with `registry:` are, and where maps are looked for; None for what
            `MODXFER_REGISTRY` names, if anything.
    """

    aligner: str = AUTO
    alignment: str | None = None
    corpus: str | None = None
    column: str | None = None
    tokens: int = DEFAULT_TOKENS
    penalty: float = DEFAULT_PENALTY
    device: str = "auto"
    registry: str | None = None

    def __post_init__(self) -> None:
        if self.aligner != AUTO and self.aligner not in ALIGNERS:
            raise UsageError(f"There is no aligner `{self.aligner}`.", do=f"Use one of {', '.join([AUTO, *ALIGNERS])}.")
        if not 0 < self.penalty < math.inf:
            raise UsageError(f"`--penalty {self.penalty}` is not a number above 0.", do="Leave it out.")
        if self.alignment is not None and self.aligner != AUTO:
            raise UsageError(
                f"`--align {self.aligner}` and `--alignment {self.alignment}` were both given, and a map has its aligner.",
                do="Leave one of them out.",
            )
        if self.tokens < 1:
            raise UsageError(f"`--tokens {self.tokens}` is not a number above 0.", do="Leave it out, or give some thousands.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAlignment:
    """An alignment, and where it came from.

    Attributes:
        source: "identity", "file", "store", "registry", "hub" or "computed".
        alignment: The map; None where the spaces are stated to be the same.
        seconds: Time it took to find or compute.
        published: Where it is on the Hub, if it was fetched from there: repository and revision, and the id of the entry that
            led to it, if one did.
        warnings: What was met on the way to it; its own warnings are in the map.
    """

    source: str
    alignment: AlignmentMap | None
    seconds: float = 0.0
    published: Mapping[str, str] | None = None
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give what `convert --json` prints of it.

        Returns:
            Plain values.
        """
        found = self.alignment
        return {
            "source": self.source,
            "published": dict(self.published) if self.published else None,
            "id": found.key if found else None,
            "aligner": found.aligner if found else "identity",
            "requested": found.requested if found else "identity",
            "reason": found.reason if found else "",
            "corpus": found.corpus.name if found else None,
            "tokens": found.corpus.tokens if found else 0,
            "mean_correlation": found.mean_correlation if found else None,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a map must be to serve a conversion in place of one that would be computed.

    Attributes:
        teacher: The teacher.
        student: The student.
        uses: The pairs of sites that the module needs, and what it does there.
        choice: What the user said.
        corpus: Fingerprint of the corpus, if the user named one.
    """

    teacher: BaseRecord
    student: BaseRecord
    uses: Mapping[SitePair, PairUse]
    choice: AlignmentChoice
    corpus: str | None

    @property
    def takes_others(self) -> bool:
        """Whether a map that somebody else computed can do at all."""
        return (self.choice.tokens, self.choice.penalty) == (DEFAULT_TOKENS, DEFAULT_PENALTY)

    def may_be_served_by(self, record: Mapping[str, Any]) -> bool:
        """Say whether a map is worth fetching.

        Args:
            record: What it says of itself.

        Returns:
            Whether it is of these two base models, and was computed as the user asks.
        """
        named = [record.get(key) for key in ("teacher", "student", "corpus")]
        prints = [item.get("fingerprint") if isinstance(item, Mapping) else None for item in named]
        return self._is_as_asked(*prints, requested=record.get("requested"))

    def is_served_by(self, alignment: AlignmentMap) -> bool:
        """Say whether a map will do.

        Args:
            alignment: The map.

        Returns:
            Whether it is of these two base models, was computed as the user asks, and has all that the module needs.
        """
        prints = [item.fingerprint for item in (alignment.teacher, alignment.student, alignment.corpus)]
        return self._is_as_asked(*prints, requested=alignment.requested) and covers(alignment, self.uses)

    def _is_as_asked(self, teacher: object, student: object, corpus: object, *, requested: object) -> bool:
        """Compare fingerprints and aligner with what is wanted."""
        return (
            self.takes_others
            and (teacher, student) == (self.teacher.fingerprint, self.student.fingerprint)
            and requested == self.choice.aligner
            and self.corpus in (None, corpus)
        )
