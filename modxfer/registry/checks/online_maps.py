"""Checking what an entry says of an alignment map against the map's own record and the headers of its tensors."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modxfer.alignments.alignment_map import AlignmentMap, BaseRecord, SitePair
from modxfer.alignments.files import RECORD, TENSORS, alignment_of, read_record
from modxfer.architectures import Architecture
from modxfer.errors import ArchitectureError, FormatError
from modxfer.registry.card_text import is_on_hub
from modxfer.registry.checks.alone import weights_of
from modxfer.registry.checks.online_asking import OpenedBase, check_size, fetched, reason, whole
from modxfer.registry.checks.online_modules import file_keys, may_be_same, read_headers_of
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.models import AlignmentEntry, Base, Scores
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.entries.yaml_text import Keys
from modxfer.registry.hub.repositories import Repository

_SHA256 = re.compile(r"[0-9a-f]{64}")

ROUNDING = 1.01e-4
"""By how much a score of an entry may differ from the record's."""

AXES: Mapping[str, str] = {
    "correlation": "s",
    "assignment": "s",
    "reading": "ts",
    "offset": "t",
    "constant": "s",
    "writing": "st",
    "student_covariance": "ss",
    "teacher_covariance": "tt",
}
"""Array of a pair of sites to whose units its axes are: the student's or the teacher's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """Something that an entry says, and the record too."""

    at: Keys
    what: str
    said: object
    true: object


def check_map(
    read: ReadFile,
    entry: AlignmentEntry,
    repository: Repository,
    *,
    teacher: OpenedBase | None,
    student: OpenedBase | None,
) -> Iterator[Problem]:
    """Check what an entry says of its alignment map.

    Args:
        read: The entry's file.
        entry: The entry.
        repository: Its repository, at the pinned commit.
        teacher: The teacher; None if it is not at hand, and then shapes are not looked at.
        student: The student; the same.

    Yields:
        The problems.
    """
    paths = pinned_map(entry, repository)
    if paths is None:  # some file is not there, which is reported
        return
    at = file_keys(entry.source, paths[RECORD])
    check_size(read, repository, [paths[RECORD]], at=at)
    with fetched(repository, [paths[RECORD]]) as copies:
        try:
            record = read_record(copies)
            alignment = alignment_of(record, copies)
            claims = [*_claims(entry, alignment), _tensors_claim(entry, record, paths[TENSORS])]
        except FormatError as error:
            yield read.problem("map-record", at, reason(error.what, folder=copies), do="Push the map again, and pin that.")
            return
        except (TypeError, ValueError, AttributeError):  # a value of another type than a record has
            what = f"`{RECORD}` is not the record of an alignment map: it holds values of other types."
            yield read.problem("map-record", at, what, do="Push the map again, and pin that.")
            return
    for claim in claims:
        if not _agrees(claim.said, claim.true):
            what = f"{claim.what} is {shown(claim.said)}, and by `{RECORD}` {shown(claim.true)}."
            yield read.problem("map-record", claim.at, what, do=_mend(claim.true))
    if teacher is not None and student is not None and teacher.architecture and student.architecture:
        yield from _check_shapes(
            read, entry, repository, paths[TENSORS], alignment, (teacher.architecture, student.architecture)
        )


def pinned_map(entry: AlignmentEntry, repository: Repository) -> Mapping[str, str] | None:
    """Find the map among the pinned files: the one that is used, whatever else is pinned.

    Args:
        entry: The entry.
        repository: Its repository, at the pinned commit.

    Returns:
        Name of a file of a map to its path; None if one is not pinned, or is not there.
    """
    found = weights_of(entry.source, "alignment")
    paths = {} if found is None else {name: f"{found[1]}{name}" for name in (RECORD, TENSORS)}
    return paths if paths and all(path in repository.files for path in paths.values()) else None


def _tensors_claim(entry: AlignmentEntry, record: Mapping[str, object], path: str) -> _Claim:
    index = next(index for index, file in enumerate(entry.source.files) if file.path == path)
    files = record.get("files")
    true = files.get(TENSORS) if isinstance(files, Mapping) else None
    at = ("source", "files", index, "sha256")
    return _Claim(at=at, what=f"The sha256 of `{TENSORS}`", said=entry.source.files[index].sha256, true=true)


def _claims(entry: AlignmentEntry, alignment: AlignmentMap) -> Iterator[_Claim]:
    """List what entry and record both say."""
    yield from _base_claims("teacher", entry.teacher, alignment.teacher)
    yield from _base_claims("student", entry.student, alignment.student)
    for field in ("aligner", "requested", "key"):
        yield _Claim(at=(field,), what=f"`{field}`", said=getattr(entry, field), true=getattr(alignment, field))
    for field in ("name", "revision", "fingerprint", "texts", "tokens"):
        said, true = getattr(entry.corpus, field), getattr(alignment.corpus, field)
        if said is not None and not (field == "revision" and true is None):
            yield _Claim(at=("corpus", field), what=f"The corpus's {field}", said=said, true=true)
    yield from _score_claims(entry.scores, alignment)


def _base_claims(field: str, base: Base, record: BaseRecord) -> Iterator[_Claim]:
    """A map that was computed on a folder's copy of a base model knows no name and commit of it, but the same fingerprint."""
    if is_on_hub(record.name, record.revision):
        name = base.name if may_be_same(base.name, record.name) else record.name
        yield _Claim(at=(field, "name"), what=f"The {field}", said=base.name, true=name)
        yield _Claim(
            at=(field, "revision"), what=f"The {field}'s commit", said=base.revision or record.revision, true=record.revision
        )
    yield _Claim(at=(field, "family"), what=f"The {field}'s family", said=base.family, true=record.model_type)
    said = base.fingerprint or record.fingerprint
    yield _Claim(at=(field, "fingerprint"), what=f"The {field}'s fingerprint", said=said, true=record.fingerprint)


def _score_claims(scores: Scores, alignment: AlignmentMap) -> Iterator[_Claim]:
    at: Keys = ("scores", "mean_correlation")
    yield _Claim(at=at, what="The mean correlation", said=scores.mean_correlation, true=alignment.mean_correlation)
    true = {title: math.fsum(score.mean_correlation for _, score in pairs) / len(pairs) for title, pairs in alignment.layers()}
    for title, said in scores.layers.items():
        yield _Claim(at=("scores", "layers", title), what=f"The score of {shown(title)}", said=said, true=true.get(title))


def _agrees(said: object, true: object) -> bool:
    if isinstance(said, float) and isinstance(true, int | float):
        return math.isclose(said, true, rel_tol=0, abs_tol=ROUNDING)
    return said == true


def _mend(true: object) -> str:
    if true is None:
        return "Take it out."
    if isinstance(true, float):
        return f"Write {true:.4f}."
    is_hash = isinstance(true, str) and _SHA256.fullmatch(true)
    return f"Write {true if is_hash else shown(true)}, or pin the map that is meant."


def _check_shapes(
    read: ReadFile,
    entry: AlignmentEntry,
    repository: Repository,
    path: str,
    alignment: AlignmentMap,
    pair: tuple[Architecture, Architecture],
) -> Iterator[Problem]:
    at = file_keys(entry.source, path)
    headers = read_headers_of(read, entry.source, repository, path)
    for header in headers:
        fault = _shape_fault(header.key, header.shape, alignment, *pair)
        if fault:
            yield read.problem("tensors", at, fault, do="Pin the files of one map, and name the base models that it is of.")
            return  # one wrong width is in every tensor
    missing = {str(site) for site in alignment.scores} - {header.key.rpartition("/")[0] for header in headers}
    if missing:
        what = f"{shown(path)} has no tensor of {whole(min(missing))}, which `{RECORD}` names."
        yield read.problem("tensors", at, what, do="Pin the files of one map.")


def _shape_fault(
    key: str, shape: tuple[int, ...], alignment: AlignmentMap, teacher: Architecture, student: Architecture
) -> str | None:
    """Say what is wrong with a tensor of a map."""
    site, _, name = key.rpartition("/")
    try:
        pair = SitePair.parse(site)
        widths = {"s": student.width(pair.student), "t": teacher.width(pair.teacher)}
        axes = AXES[name]
    except (ValueError, LookupError, ArchitectureError):
        return f"{whole(key)} is no tensor of an alignment map of these two families."
    if pair not in alignment.scores:
        return f"{whole(key)} is of a pair of sites that `{RECORD}` does not name."
    needed = tuple(widths[axis] for axis in axes)
    if shape != needed and not (name == "correlation" and shape == (0,)):
        return f"{whole(key)} has the shape {list(shape)}, and these two base models need {list(needed)}."
    return None
