"""Computing an alignment map: corpus -> matched tokens -> activations -> moments -> aligner -> map."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modxfer.alignments.aligners import ALIGNERS, AUTO, DEFAULT_PENALTY, Evidence
from modxfer.alignments.aligners.auto import choose, explain
from modxfer.alignments.aligners.evidence import chance_correlation, measure, score
from modxfer.alignments.alignment_map import (
    AlignmentMap,
    BaseRecord,
    CorpusRecord,
    SiteMap,
    SitePair,
    SiteScore,
)
from modxfer.alignments.corpus import Corpus
from modxfer.alignments.moments import Moments
from modxfer.alignments.patches import Patches, match_patches
from modxfer.alignments.probe import Encoded, Probe, batches, pool
from modxfer.alignments.request import AlignmentRequest, PairUse, check_kinds, split_vocabularies
from modxfer.alignments.statistics import PairStatistics
from modxfer.alignments.tokens import Matches, Mode, TokenSpans, match_spans
from modxfer.alignments.vocabulary import read_vocabulary, score_vocabulary, vocabulary_map, vocabulary_warnings
from modxfer.architectures import Architecture, Kind, Site
from modxfer.errors import AlignmentError, CorpusError

if TYPE_CHECKING:
    import torch

DEFAULT_TOKENS = 20_000
"""Matched tokens to use at most: some twenty for each unit of a common residual stream."""

ALGORITHM = 1
"""Raised with every change after which the same inputs give another map."""

FEW_TOKENS = 10
"""Below this many tokens a unit, statistics are shaky and the user is told."""

ENOUGH_MATCHES = 0.5
"""Below this part of tokens that match one to one, whole words are matched instead."""

SAMPLE_BATCHES = 8
"""Batches that this is decided on."""

CHANCE_MARGIN = 1.25
"""An assignment counts as better than chance above this multiple of the chance correlation."""

KEPT_BYTES = 256 * 2**20
"""Memory for matrices of all pairs of sites that are kept between measuring and fitting."""

CHUNK_BYTES = 64 * 2**20
"""Memory for activations that wait to be added up."""

SEED = 0
"""Of the random rotation that measures chance: the only random thing in an alignment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """A base model that can be run.

    Attributes:
        folder: Where its config, tokenizer and weights lie.
        architecture: Its structure.
        record: What to write down of it.
    """

    folder: Path
    architecture: Architecture
    record: BaseRecord


Progress = Callable[[int, int], None]
"""Called with the matched tokens seen so far, and the number asked for."""


def compute_alignment(
    request: AlignmentRequest,
    *,
    teacher: BaseModel,
    student: BaseModel,
    corpus: Corpus,
    tokens: int = DEFAULT_TOKENS,
    aligner: str = AUTO,
    penalty: float = DEFAULT_PENALTY,
    device: str = "cpu",
    progress: Progress = lambda done, total: None,
) -> AlignmentMap:
    """Run both base models over a corpus and align the sites that a module needs.

    Args:
        request: The sites, and what is done there.
        teacher: The teacher.
        student: The student.
        corpus: The text.
        tokens: Matched tokens to use at most.
        aligner: A name from the table of aligners, or "auto".
        penalty: Ridge penalty, in units of the mean variance.
        device: Where to run, as torch names it.
        progress: Called after every batch.

    Returns:
        The alignment map.

    Raises:
        AlignmentError: the two are of different kinds, a tokenizer is not fast, or an activation is not finite.
        CorpusError: the corpus gives fewer matched tokens than a site has units, or is not of what the two read.
    """
    check_kinds(teacher.architecture, student.architecture)
    _check_corpus(corpus, teacher.architecture)
    uses, words = split_vocabularies(request.uses(teacher.architecture, student.architecture), student.architecture)
    moments = Moments(_co_moments(uses), chunk_tokens=_chunk_tokens(uses, teacher.architecture, student.architecture))
    record = _run(
        uses, moments, teacher=teacher, student=student, corpus=corpus, tokens=tokens, device=device, progress=progress
    )
    warnings = _check_tokens(record.tokens, uses, teacher.architecture, student.architecture, corpus)
    sites = _Sites(uses=uses, moments=moments, penalty=penalty)
    evidence = {pair: sites.measure(pair, with_linear=aligner in (AUTO, "linear")) for pair in uses}
    chosen = _choose(evidence, student.architecture) if aligner == AUTO else dict.fromkeys(uses, aligner)
    maps, scores = _fit(chosen, sites, evidence, with_chance=aligner != AUTO)
    vocabularies = {pair: _map_vocabularies(pair, teacher, student) for pair in words}
    return AlignmentMap(
        teacher=teacher.record,
        student=student.record,
        corpus=record,
        aligner="+".join(name for name in ALIGNERS if name in chosen.values()),
        requested=aligner,
        reason=explain(chosen, evidence) if aligner == AUTO else "",
        parameters={"penalty": penalty, "tokens": tokens},
        maps=maps | vocabularies,
        scores=scores | {pair: score_vocabulary(found) for pair, found in vocabularies.items()},
        warnings=(
            *warnings,
            *_warn_of_scores(scores),
            *dict.fromkeys(text for found in vocabularies.values() for text in vocabulary_warnings(found)),
        ),
    )


def _check_corpus(corpus: Corpus, base: Architecture) -> None:
    """Refuse text for encoders of images and images for the others, and base models that read both at once."""
    kind = base.family.kind
    if kind.reads_text and kind.reads_images:
        raise AlignmentError(
            f"`{base.name}` is an {kind}, and an alignment is computed over one of the two.",
            do="Align its two encoders as base models of their own, or use `--align identity` or `--alignment`.",
        )
    if kind.reads_images != (corpus.kind == "images"):
        holds, reads = ("text", "images") if kind.reads_images else ("images", "text")
        raise CorpusError(
            f"The corpus `{corpus.name}` holds {holds}, and `{base.name}` reads {reads}.",
            do=f"Give {'a folder of images' if kind.reads_images else 'text'} with `--corpus`.",
        )


def _map_vocabularies(pair: SitePair, teacher: BaseModel, student: BaseModel) -> SiteMap:
    """Map a pair of sites that hold token ids: by the two tokenizers, since ids are no activations."""
    theirs, ours = (
        read_vocabulary(base.folder, size=base.architecture.width(site), name=base.architecture.name)
        for base, site in ((teacher, pair.teacher), (student, pair.student))
    )
    return vocabulary_map(theirs, ours)


def _run(
    uses: Mapping[SitePair, PairUse],
    moments: Moments,
    *,
    teacher: BaseModel,
    student: BaseModel,
    corpus: Corpus,
    tokens: int,
    device: str,
    progress: Progress,
) -> CorpusRecord:
    """Feed matched activations of both base models to the moments until there are enough."""
    texts_read = 0
    teacher_sites, student_sites = {pair.teacher for pair in uses}, {pair.student for pair in uses}
    with (
        Probe(teacher.folder, teacher.architecture, teacher_sites, device=device) as teacher_probe,
        Probe(student.folder, student.architecture, student_sites, device=device) as student_probe,
    ):
        stream = ((len(texts), teacher_probe.encode(texts), student_probe.encode(texts)) for texts in batches(corpus.texts()))
        first = list(itertools.islice(stream, SAMPLE_BATCHES))
        mode = _matching_mode([batch[1:] for batch in first], teacher.architecture.family.kind)
        for count, *encoded in itertools.chain(first, stream):
            texts_read += count
            matches = _limit(_match(*encoded, mode=mode), tokens - moments.tokens)
            if any(item.count for item in matches):
                moments.update(_matched_rows((teacher_probe, student_probe), encoded, matches))
            progress(moments.tokens, tokens)
            if moments.tokens >= tokens:
                break
    return CorpusRecord(
        name=corpus.name,
        revision=corpus.revision,
        fingerprint=corpus.fingerprint,
        texts=texts_read,
        tokens=moments.tokens,
        matching=mode,
    )


def _match(teacher: Encoded, student: Encoded, *, mode: Mode) -> list[Matches]:
    return [_match_one(a, b, mode=mode) for a, b in zip(teacher.spans, student.spans, strict=True)]


def _match_one(teacher: TokenSpans | Patches, student: TokenSpans | Patches, *, mode: Mode) -> Matches:
    if isinstance(teacher, Patches) and isinstance(student, Patches):
        return match_patches(teacher, student)
    assert isinstance(teacher, TokenSpans)  # both are of one kind, which is checked first
    assert isinstance(student, TokenSpans)
    return match_spans(teacher, student, mode=mode)


def _matched_rows(
    probes: tuple[Probe, Probe], encoded: Sequence[Encoded], matches: Sequence[Matches]
) -> "dict[str, torch.Tensor]":
    """Run both base models on a batch and keep the activations of matched tokens."""
    return {
        _key(side, site): pool(activations, matches, teacher=side == "teacher")
        for side, probe, batch in zip(("teacher", "student"), probes, encoded, strict=True)
        for site, activations in probe.run(batch).items()
    }


def _matching_mode(sample: Sequence[Sequence[Encoded]], kind: Kind) -> Mode:
    """Match single tokens where enough of them cover the same characters, else whole words; by their ends, where a token has
    read nothing behind it; and images by their patches.
    """
    if kind.is_causal or kind.reads_images:
        return "ends" if kind.is_causal else "patches"
    matched = usable = 0
    for encoded in sample:
        matched += sum(item.count for item in _match(*encoded, mode="spans"))
        usable += min(sum(int(spans.usable.sum()) for spans in side.spans if isinstance(spans, TokenSpans)) for side in encoded)
    return "spans" if matched >= ENOUGH_MATCHES * usable else "words"


def _limit(matches: Sequence[Matches], room: int) -> list[Matches]:
    """Keep the first matches, up to a number of them."""
    kept = []
    for item in matches:
        count = min(item.count, room)
        room -= count
        teacher, student = item.teacher_group < count, item.student_group < count
        kept.append(
            Matches(
                teacher_token=item.teacher_token[teacher],
                teacher_group=item.teacher_group[teacher],
                student_token=item.student_token[student],
                student_group=item.student_group[student],
                count=count,
            )
        )
    return kept


def _choose(evidence: Mapping[SitePair, Evidence], student: Architecture) -> dict[SitePair, str]:
    """Choose an aligner for every space: one for the residual stream, and one for each other space of each pair of layers."""
    spaces: dict[tuple[object, ...], list[SitePair]] = {}
    for pair in evidence:
        dimension, site = student.dimension(pair.student), pair.student
        is_residual = dimension in student.residuals
        space = (dimension,) if is_residual else (dimension, site.stack, site.layer, pair.teacher.layer)
        spaces.setdefault(space, []).append(pair)
    return {pair: name for pairs in spaces.values() for name in (choose([evidence[pair] for pair in pairs]),) for pair in pairs}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sites:
    """What is known of all pairs of sites; the matrices of one pair at a time are taken out of the moments."""

    uses: Mapping[SitePair, PairUse]
    moments: Moments
    penalty: float

    def statistics(self, pair: SitePair) -> PairStatistics:
        return self.moments.statistics(_key("student", pair.student), _key("teacher", pair.teacher))

    def measure(self, pair: SitePair, *, with_linear: bool) -> Evidence:
        """Measure a pair; its matrices are kept only where those of all pairs are small, and else measured again."""
        evidence = measure(self.statistics(pair), ridge=self.penalty if with_linear else None)
        units = sum(evidence.widths) ** 2
        return evidence if 8 * units * len(self.uses) <= KEPT_BYTES else evidence.light()


def _fit(
    chosen: Mapping[SitePair, str], sites: _Sites, evidence: Mapping[SitePair, Evidence], *, with_chance: bool
) -> tuple[dict[SitePair, SiteMap], dict[SitePair, SiteScore]]:
    """Fit one pair of sites after the other; what `linear` needs is measured again, so as not to hold it for all of them."""
    maps: dict[SitePair, SiteMap] = {}
    scores: dict[SitePair, SiteScore] = {}
    for pair, pair_use in sites.uses.items():
        aligner = ALIGNERS[chosen[pair]]
        borrowed = pair_use.written_from if aligner.writes_as_read else None
        found = evidence[borrowed or pair]
        if borrowed and found.widths != evidence[pair].widths:
            raise AlignmentError(
                f"`{aligner.name}` uses the assignment of `{borrowed.student}` at `{pair.student}`, and they differ in width.",
                do="Use `--align lsa`.",
            )
        if aligner.needs_matrices and found.ridge is None:
            found = measure(sites.statistics(pair), ridge=sites.penalty)
        maps[pair] = site_map = aligner.fit(found, pair_use.use)
        assignment = _partners(site_map, found)
        is_judged = with_chance and site_map.form == "assignment"
        chance = chance_correlation(sites.statistics(borrowed or pair), seed=SEED) if is_judged else None
        scores[pair] = score(
            found,
            aligner=aligner.name,
            correlation=site_map.correlation.astype(np.float64),
            assignment=assignment,
            chance=chance,
        )
    return maps, scores


def _partners(site_map: SiteMap, evidence: Evidence) -> np.ndarray:
    """Which teacher unit the correlations of a map are with."""
    return np.arange(len(site_map.correlation)) if site_map.form == "identity" else evidence.assignment


def _chance_bound(chance: float) -> float:
    """Correlation up to which a match counts as chance; where chance is high, half of what is left to 1 is better."""
    return min(CHANCE_MARGIN * chance, (1.0 + chance) / 2)


def _warn_of_scores(scores: Mapping[SitePair, SiteScore]) -> Iterator[str]:
    constant = {str(pair): item.constant_units for pair, item in scores.items() if item.constant_units}
    if constant:
        where, count = max(constant.items(), key=lambda item: item[1])
        yield f"{sum(constant.values())} units never vary (most at {where}: {count}); their correlation counts as 0."
    weak = [pair for pair, item in scores.items() if item.chance and item.mean_correlation <= _chance_bound(item.chance)]
    if weak:
        matched = float(np.mean([scores[pair].mean_correlation for pair in weak]))
        chance = float(np.mean([scores[pair].chance or 0.0 for pair in weak]))
        yield (
            f"At {len(weak)} of {len(scores)} pairs of sites the `{scores[weak[0]].aligner}` assignment is no better than "
            f"chance: its matched correlation is {matched:.2f}, and {chance:.2f} where the units are mixed at random. "
            "Use `--align auto`."
        )


def _check_tokens(
    tokens: int, uses: Mapping[SitePair, PairUse], teacher: Architecture, student: Architecture, corpus: Corpus
) -> Iterator[str]:
    """Refuse fewer tokens than the widest site has units; warn below ten times as many."""
    units = max(max(teacher.width(pair.teacher), student.width(pair.student)) for pair in uses)
    if tokens < units:
        raise CorpusError(
            f"The corpus `{corpus.name}` gives {tokens} matched tokens, and the widest site has {units} units: too few.",
            do="Give more text with `--corpus`, or raise `--tokens`.",
        )
    if tokens < FEW_TOKENS * units:
        return iter(
            [
                f"Only {tokens} matched tokens for sites of up to {units} units; {FEW_TOKENS * units} or more are better. "
                "Give more text with `--corpus`, or raise `--tokens`."
            ]
        )
    return iter(())


def _co_moments(uses: Mapping[SitePair, PairUse]) -> list[tuple[str, str]]:
    """Which co-moments the aligners and the scores look at: every pair, every student site, and teacher sites of updates."""
    pairs = {(_key("student", pair.student), _key("teacher", pair.teacher)): None for pair in uses}
    for pair, pair_use in uses.items():
        pairs.setdefault((_key("student", pair.student), _key("student", pair.student)))
        if pair_use.use.updates:
            pairs.setdefault((_key("teacher", pair.teacher), _key("teacher", pair.teacher)))
    return list(pairs)


def _chunk_tokens(uses: Mapping[SitePair, PairUse], teacher: Architecture, student: Architecture) -> int:
    """Tokens whose activations at all sites fill the buffer."""
    widths = sum(teacher.width(site) for site in {pair.teacher for pair in uses})
    widths += sum(student.width(site) for site in {pair.student for pair in uses})
    return int(np.clip(CHUNK_BYTES // (4 * widths), 256, 8192))


def _key(side: str, site: Site) -> str:
    return f"{side}:{site}"
