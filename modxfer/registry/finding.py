"""Finding the alignment map for a pair: named, stated, stored, registered, published, else computed."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modxfer.alignments.aligners import ALIGNERS, AUTO
from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.alignments.compute import ALGORITHM
from modxfer.alignments.corpus import Corpus, open_corpus, open_dataset
from modxfer.alignments.files import read_alignment
from modxfer.alignments.layer_maps import LayerMap
from modxfer.alignments.request import AlignmentRequest, split_vocabularies
from modxfer.alignments.vocabulary import read_vocabulary
from modxfer.errors import AlignmentError, CorpusError, ModxferError, StoreError
from modxfer.paths import home
from modxfer.registry.entries.naming import is_registered
from modxfer.registry.hub.repositories import resolve_dataset
from modxfer.registry.locate import LocatedBase
from modxfer.registry.lookup import AlignmentChoice, FoundAlignment, Wanted
from modxfer.registry.published import fetch_map, find_published, trusted_namespaces
from modxfer.registry.pulling import HOW, PULLED, keep, place
from modxfer.registry.registered import find_registered
from modxfer.registry.store import Store, alignment_key

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What alignment is looked for.

    Attributes:
        teacher: The teacher.
        student: The student.
        layers: The layer map.
        request: The sites that are needed.
        module: The module that needs them; empty where it is any module of the pair.
        datasets: The data sets that the module's card names.
        warnings: What is met on the way; grows.
    """

    teacher: LocatedBase
    student: LocatedBase
    layers: LayerMap
    request: AlignmentRequest
    module: str = ""
    datasets: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)


def find_alignment(
    search: Search, choice: AlignmentChoice, *, progress: Progress, measure_identity: bool = False
) -> FoundAlignment:
    """Find an alignment map.

    Args:
        search: What is needed.
        choice: What the user said.
        progress: Called with matched tokens seen and asked for, while a map is computed.
        measure_identity: Also compute a map where the spaces are stated to be the same.

    Returns:
        The map, and where it came from.

    Raises:
        ModxferError: the named map is not of this pair, or none can be computed.
    """
    start = time.perf_counter()
    if choice.alignment is not None:
        found = named_alignment(choice.alignment, is_use=True, registry=choice.registry)
        _check_made_for(found.alignment, search, choice.alignment)
    elif choice.aligner == "identity" and not measure_identity:
        _check_vocabularies(search)
        found = FoundAlignment(source="identity", alignment=None)
    else:
        found = _look_up(search, choice) or _compute_and_store(search, choice, progress=progress)
    return replace(found, seconds=time.perf_counter() - start)


def named_alignment(reference: str, *, is_use: bool = False, registry: str | None = None) -> FoundAlignment:
    """Read the map that the user names.

    Args:
        reference: A folder, the start of an id in the store, a Hub id with an optional `@revision`, or `registry:` with the id
            of an entry.
        is_use: Whether it is used, and not only looked at, which is what keeps it in the store.
        registry: The registry that has the entry; None for what `MODXFER_REGISTRY` names.

    Returns:
        The map, and where it came from.

    Raises:
        StoreError: none or several in the store begin with these digits.
        FormatError: there is no map, or a damaged one.
        EntryError: there is no such entry, or its files are not what it pins.
        HubError: the Hub refuses or cannot be reached.
    """
    if is_registered(reference):
        registered = fetch_map(reference, registry=registry)
        return FoundAlignment(source="registry", alignment=registered.alignment, published=registered.origin)
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return FoundAlignment(source="file", alignment=read_alignment(folder))
    store = Store(home())
    if "/" not in reference:
        stored = store.locate(reference)
        if is_use:
            store.mark_used(stored.name)
        return FoundAlignment(
            source="store", alignment=read_alignment(stored), published=place(dict(store.pulled()).get(stored.name))
        )
    published = fetch_map(reference)
    return FoundAlignment(source="hub", alignment=published.alignment, published=published.origin)


def _look_up(search: Search, choice: AlignmentChoice) -> FoundAlignment | None:
    """Look for a map that is there already: the very one that would be computed, or the pair's whole one; one that was pulled;
    one in the registry; one that is published."""
    store = Store(home())
    corpus = next(_corpora(search, choice), None)
    if corpus is not None:
        for request in _requests(search, choice):
            own = store.find(alignment_key(_key_inputs(search, choice, corpus, request)))
            if own is not None:
                return FoundAlignment(source="store", alignment=own)
    wanted = Wanted(
        teacher=search.teacher.record,
        student=search.student.record,
        uses=search.request.uses(search.teacher.architecture, search.student.architecture),
        choice=choice,
        corpus=corpus.fingerprint if corpus is not None and choice.corpus is not None else None,
    )
    if not wanted.takes_others:
        return None
    trusted = trusted_namespaces((search.module, search.teacher.name, search.student.name))
    return (
        _find_fetched(store, wanted, trusted)
        or find_registered(store, wanted, choice.registry)
        or _find_on_hub(store, wanted, trusted)
    )


def _find_fetched(store: Store, wanted: Wanted, trusted: Sequence[str]) -> FoundAlignment | None:
    """Look among maps that were fetched: those that the user asked for, and those of owners who are trusted here."""
    for key, origin in sorted(store.pulled(), key=lambda item: item[1].get(HOW) != PULLED):
        if origin.get(HOW) != PULLED and origin.get("repository", "").partition("/")[0] not in trusted:
            continue
        fetched = store.find(key, is_use=False)
        if fetched is not None and wanted.is_served_by(fetched):
            store.mark_used(key)
            return FoundAlignment(source="store", alignment=fetched, published=place(origin))
    return None


def _find_on_hub(store: Store, wanted: Wanted, trusted: Sequence[str]) -> FoundAlignment | None:
    """Look for a published map, and keep it; a store that cannot be written is no reason to do without it."""
    published = find_published(wanted, namespaces=trusted)
    if published is None:
        return None
    kept = None
    try:
        kept = store.find(keep(published, is_asked_for=False))
    except StoreError as error:
        logger.warning("%s", error.what)
    return FoundAlignment(source="hub", alignment=kept or published.alignment, published=published.origin)


def _requests(search: Search, choice: AlignmentChoice) -> Iterator[AlignmentRequest]:
    """List the requests whose maps have what is needed: the search's own, and that for any module of the pair."""
    yield search.request
    if choice.aligner == AUTO or not ALIGNERS[choice.aligner].writes_as_read:  # such maps depend on the module
        yield AlignmentRequest.whole(search.layers, teacher=search.teacher.architecture, student=search.student.architecture)


def _compute_and_store(search: Search, choice: AlignmentChoice, *, progress: Progress) -> FoundAlignment:
    """Compute a map on the first corpus that can be had, or wait for whoever is computing it."""
    corpus = _choose_corpus(search, choice)
    key = alignment_key(_key_inputs(search, choice, corpus, search.request))
    alignment, was_stored = Store(home()).find_or_compute(key, lambda: _compute(search, choice, corpus, progress=progress))
    return FoundAlignment(source="store" if was_stored else "computed", alignment=alignment)


def _compute(search: Search, choice: AlignmentChoice, corpus: Corpus, *, progress: Progress) -> AlignmentMap:
    from modxfer.alignments import compute
    from modxfer.alignments.probe import choose_device

    alignment = compute.compute_alignment(
        search.request,
        teacher=search.teacher.with_weights(),
        student=search.student.with_weights(),
        corpus=replace(corpus, name=_public_name(corpus)),
        tokens=choice.tokens,
        aligner=choice.aligner,
        penalty=choice.penalty,
        device=choose_device(choice.device),
        progress=progress,
    )
    return replace(
        alignment,
        versions={name: version(name) for name in ("modxfer", "numpy", "scipy", "torch", "transformers")},
    )


def _corpora(search: Search, choice: AlignmentChoice) -> Iterator[Corpus]:
    """List the texts to align on, best first: what was named, else the module's own data sets, else the text of the package.

    A data set is pinned to its commit and not read yet. One whose commit cannot be had is left out, with a warning.
    """
    if choice.corpus is not None:
        yield open_corpus(choice.corpus, column=choice.column)
        return
    for name in search.datasets:
        try:
            yield open_dataset(_pinned_dataset(name))
        except ModxferError as error:
            warning = f"The module's data set `{name}` could not be had, so other text was used."
            if warning not in search.warnings:
                search.warnings.append(warning)
            logger.info("%s", error)
    yield open_corpus(None)


def _choose_corpus(search: Search, choice: AlignmentChoice) -> Corpus:
    """Take the first corpus that can be read."""
    for corpus in _corpora(search, choice):
        try:
            if next(corpus.texts(), None) is not None:
                return corpus
        except CorpusError as error:
            if choice.corpus is not None:
                raise
            search.warnings.append(f"The module's data set `{corpus.name}` could not be had, so other text was used.")
            logger.info("%s", error)
    raise CorpusError("There is no text to align on.", do="Give some with `--corpus`.")


def _pinned_dataset(name: str) -> str:
    return name if "@" in name else f"{name}@{resolve_dataset(name.partition(':')[0])}"


def _key_inputs(search: Search, choice: AlignmentChoice, corpus: Corpus, request: AlignmentRequest) -> dict[str, Any]:
    return {
        "algorithm": ALGORITHM,
        "transformers": version("transformers"),
        "teacher": [search.teacher.record.fingerprint, search.teacher.text_reading],
        "student": [search.student.record.fingerprint, search.student.text_reading],
        "corpus": [corpus.fingerprint, corpus.column],
        "tokens": choice.tokens,
        "aligner": choice.aligner,
        "penalty": choice.penalty,
        "layers": request.layers,
        "routes": [
            [[str(item.route.reads), str(item.route.writes), item.reads, item.writes, item.updates] for item in routes]
            for routes in (request.inside, request.outside)
        ],
    }


def _public_name(corpus: Corpus) -> str:
    """Name a corpus without the folders of this machine, since maps are published."""
    path = Path(corpus.name).expanduser()
    return path.name if path.exists() else corpus.name


def _check_vocabularies(search: Search) -> None:
    """Refuse to state that two vocabularies are the same where their tokenizers say that they are not."""
    teacher, student = search.teacher, search.student
    _, words = split_vocabularies(search.request.uses(teacher.architecture, student.architecture), student.architecture)
    sizes = {(student.architecture.width(pair.student), teacher.architecture.width(pair.teacher)) for pair in words}
    if not words or any(own != theirs for own, theirs in sizes):  # the conversion says what does not fit
        return
    size = sizes.pop()[0]
    try:
        theirs, ours = (read_vocabulary(base.fetch_tokenizer(), size=size, name=base.name) for base in (teacher, student))
    except AlignmentError as error:
        search.warnings.append(f"The two vocabularies could not be compared: {error.what}")
        return
    differ = [index for index, (one, other) in enumerate(zip(theirs, ours, strict=True)) if one != other]
    if differ:
        raise AlignmentError(
            f"`identity` needs one vocabulary, and the tokens of `{teacher.name}` and `{student.name}` differ at {len(differ)} "
            f"of {size} ids, first at {differ[0]}.",
            do="Use `--align auto`, which maps tokens by what they stand for.",
        )


def _check_made_for(alignment: AlignmentMap | None, search: Search, named: str) -> None:
    """Refuse a map of other base models; where a base has no weights here, its family is all that can be compared."""
    assert alignment is not None
    for side, base, record in (
        ("teacher", search.teacher, alignment.teacher),
        ("student", search.student, alignment.student),
    ):
        if not base.has_weights or base.quantisation:
            same = base.architecture.model_type == record.model_type
            lacks = "is quantised" if base.quantisation else "has no weights here"
            search.warnings.append(f"The {side} {lacks}, so it could not be checked against the alignment map.")
        else:
            same = base.record.fingerprint == record.fingerprint
        if not same:
            raise AlignmentError(
                f"The alignment map `{named}` was made for the {side} `{record.name}` ({record.fingerprint[:12]}), and "
                f"this {side} is `{base.name}`, with other files.",
                do="Compute one for this pair: leave `--alignment` out.",
            )
