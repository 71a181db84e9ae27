"""The entry of an alignment map, from its own record, its card and the configs of its two base models."""

from modxfer.alignments.alignment_map import AlignmentMap, BaseRecord, CorpusRecord
from modxfer.alignments.files import RECORD, TENSORS, alignment_of, read_record
from modxfer.converters.formats.needed import CARD
from modxfer.errors import FormatError, UsageError
from modxfer.registry.adding.bases import describe_base
from modxfer.registry.adding.card import read_card_in
from modxfer.registry.adding.choice import (
    Drawn,
    EntryChoice,
    author_list,
    chosen_licence,
    chosen_title,
    entry_id,
    licence_notes,
    pin_files,
)
from modxfer.registry.adding.plain_text import is_plain, plain
from modxfer.registry.card_text import is_on_hub
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.models import AlignmentEntry, Base, Corpus, HubSource, Scores
from modxfer.registry.hub.repositories import Repository

_DIGITS = 4  # after the point of a score


def draw_map(repository: Repository, *, branch: str, choice: EntryChoice) -> Drawn:
    """Write the entry of an alignment map.

    Args:
        repository: Its repository, at one commit.
        branch: The branch that the commit was taken from.
        choice: What the user said.

    Returns:
        The entry.

    Raises:
        UsageError: one of its base models is on no Hub, it states no licence, or a task was given.
        FormatError: it is damaged.
        HubError: the Hub refuses or cannot be reached.
    """
    if choice.task is not None:
        raise UsageError(f"`{repository.name}` is an alignment map, and those have no task.", do="Leave `--task` out.")
    if TENSORS not in repository.files:
        raise FormatError(f"`{repository.name}` holds `{RECORD}` and no `{TENSORS}`.", do="Push the map again.")
    paths = [path for path in (RECORD, TENSORS, CARD) if path in repository.files]
    folder = repository.fetch(path for path in paths if path != TENSORS)
    card, notes = read_card_in(folder)
    licence = chosen_licence(choice, card.licence, what=repository.name)
    alignment = alignment_of(read_record(folder), folder)  # its arrays stay where they are
    tags, tag_notes = card.tags(automatic=())
    entry = AlignmentEntry(
        format_version=1,
        id=entry_id(choice, repository.name),
        title=chosen_title(choice, card, otherwise=f"From {alignment.teacher.name} to {alignment.student.name}"),
        description=card.description,
        source=HubSource(
            repository=repository.name, revision=repository.commit, branch=branch, files=pin_files(repository, paths)
        ),
        teacher=_base(alignment.teacher),
        student=_base(alignment.student),
        aligner=alignment.aligner,
        requested=alignment.requested,
        key=alignment.key,
        corpus=_corpus(alignment.corpus),
        scores=_scores(alignment),
        license=licence,
        authors=author_list(choice, repository.name),
        tags=tuple(dict.fromkeys((*tags, *choice.tags))),
        homepage=None,
        citation=None,
    )
    return Drawn(entry=entry, notes=(*licence_notes(choice, card.licence, licence), *notes, *tag_notes))


def _base(record: BaseRecord) -> Base:
    if not is_on_hub(record.name, record.revision):
        raise UsageError(
            f"The alignment map was made with the base model {shown(record.name)} from a folder, which is on no Hub.",
            do="Compute it with base models on the Hub, and push that.",
        )
    return describe_base(record.name, revision=record.revision, known_fingerprint=record.fingerprint).base


def _corpus(corpus: CorpusRecord) -> Corpus:
    name = corpus.name if is_plain(corpus.name) else plain(corpus.name)
    return Corpus(
        name=name or "unnamed",
        revision=corpus.revision,
        fingerprint=corpus.fingerprint,
        texts=corpus.texts,
        tokens=corpus.tokens,
    )


def _scores(alignment: AlignmentMap) -> Scores:
    """Average the correlations of each layer's sites."""
    values = [score.mean_correlation for score in alignment.scores.values()]
    if not values or not all(isinstance(value, int | float) for value in values):
        raise FormatError("The alignment map has no scores.", do="Compute it again with `modxfer align compute`.")
    layers = {title: _mean([score.mean_correlation for _, score in pairs]) for title, pairs in alignment.layers()}
    return Scores(mean_correlation=_rounded(alignment.mean_correlation), layers=layers)


def _mean(values: list[float]) -> float:
    return _rounded(sum(values) / len(values))


def _rounded(value: float) -> float:
    return round(min(1.0, max(-1.0, value)), _DIGITS)
