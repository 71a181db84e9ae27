"""The record of a module, `transfer.json`: what it was made from, how it was trained, and hashes of what lies beside it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.alignments.files import hash_file
from modxfer.architectures import Architecture
from modxfer.converters.convert import Conversion
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.formats.files import read_json
from modxfer.converters.formats.fusion.configs import fused_adapters
from modxfer.converters.formats.needed import CARD, TRANSFER
from modxfer.converters.module import Module
from modxfer.errors import FormatError
from modxfer.paths import staged_folder
from modxfer.registry.card_loading import task_to_load
from modxfer.registry.cards import module_card
from modxfer.registry.head_names import head_names
from modxfer.registry.locate import LocatedBase
from modxfer.registry.lookup import FoundAlignment
from modxfer.registry.pair import Pair

__all__ = [
    "FORMAT_VERSION",
    "TRANSFER",
    "as_text",
    "base_record",
    "read_transfer",
    "seal",
    "transfer_record",
    "write_staged",
    "write_transferred",
]

FORMAT_VERSION = 1


def transfer_record(
    pair: Pair,
    conversion: Conversion,
    *,
    arrived: Module,
    found: FoundAlignment,
    dropped: Sequence[str],
    approximated: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write down a conversion: no times, so that the same conversion gives the same bytes.

    Args:
        pair: The module between its base models.
        conversion: What became of the module.
        arrived: The module in the format that is written.
        found: The alignment that was used.
        dropped: Sentences on what was left behind before and after the conversion.
        approximated: Sentences on what was not exact before and after it.
        notes: Sentences on what was put in another form, whether or not that is exact.

    Returns:
        What `transfer.json` holds, but for the hashes of the files beside it.
    """
    located, files, layers = pair.located, pair.files, pair.layers
    warnings = [*pair.warnings, *(found.alignment.warnings if found.alignment else ())]
    alignment = {key: value for key, value in found.as_json().items() if key not in ("seconds", "source")}
    return {
        "format_version": FORMAT_VERSION,
        "module": {
            "name": located.name,
            "revision": located.revision,
            "entry": located.registered,
            "format": arrived.format,
            "method": arrived.method,
            "module_name": arrived.name,
            "loaded_for": task_to_load(arrived, pair.student.architecture),
            **({"fused": fused_adapters(arrived.config)} if arrived.method == "fusion" else {}),
            "teacher_format": files.format,
            "teacher_method": files.method,
            "files": {name: hash_file(files.folder / name) for name in files.weight_files},
        },
        "teacher": base_record(pair.teacher),
        "student": base_record(pair.student),
        "layers": {"mode": layers.mode, "map": layers.as_lists()},
        "alignment": {
            "source": "identity" if found.alignment is None else "map",
            **alignment,
            "published": found.published,
            "scores": _scores(found.alignment),
        },
        "tensors": {"converted": conversion.tensors, "bytes": arrived.num_bytes()},
        "head": _head(arrived, names=head_names(files)),
        "dropped": [*dropped, *conversion.dropped],
        "approximated": [*pair.approximated, *conversion.approximated, *approximated],
        "notes": [*pair.notes, *notes],
        "warnings": list(dict.fromkeys(warnings)),
        "licence": files.licence,
        "languages": list(files.languages),
        "datasets": list(files.datasets),
        "results": [],
        "versions": {"modxfer": version("modxfer")},
    }


def write_transferred(module: Module, record: Mapping[str, Any], student: Architecture, target: Path, *, force: bool) -> None:
    """Write a module beside its target, read it back as a stranger would, and only then put it in place.

    Args:
        module: The module, on the student.
        record: What `transfer_record` gave.
        student: The student's structure.
        target: The folder to write.
        force: Replace a folder that exists.

    Raises:
        OutputError: it cannot be written.
        FormatError: what was written does not read back.
    """
    with staged_folder(target, force=force) as staging:
        write_staged(module, record, student, staging)


def write_staged(module: Module, record: Mapping[str, Any], student: Architecture, staging: Path) -> None:
    """Write a module into a folder that nobody sees yet, and read it back as a stranger would.

    Args:
        module: The module, on the student.
        record: What `transfer_record` gave.
        student: The student's structure.
        staging: An empty folder.

    Raises:
        OutputError: it cannot be written.
        FormatError: what was written does not read back.
    """
    write_module(module, student, staging)
    read_module(inspect_files(staging), student)
    seal(staging, record)


def seal(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Put a card and the record beside a module's files; the record has hashes of all of them.

    Args:
        folder: A folder that nobody sees yet, with the module's files and nothing else.
        record: What is to be said of the module.

    Returns:
        What the record's file holds, but for the hash of itself.
    """
    (folder / CARD).write_text(module_card(record), encoding="utf-8")
    sealed = {**record, "files": {path.name: hash_file(path) for path in sorted(folder.iterdir())}}
    (folder / TRANSFER).write_text(as_text(sealed), encoding="utf-8")
    return sealed


def as_text(record: Mapping[str, Any]) -> str:
    """Write a record as it stands in its file, with a hash of itself.

    Args:
        record: What it says.

    Returns:
        JSON.
    """
    plain = json.loads(json.dumps(record))  # keys become what they will be when they are read
    return json.dumps({**plain, "sha256": _hash_record(plain)}, indent=2, ensure_ascii=False) + "\n"


def read_transfer(folder: Path) -> dict[str, Any]:
    """Read the record of a module that modxfer made, and hold the module's files against it.

    Args:
        folder: The module's folder.

    Returns:
        The record. The card may have been changed; everything else is as it was written.

    Raises:
        FormatError: there is no record, or of another version, or it or a file is missing or was changed.
    """
    path = folder / TRANSFER
    record = read_json(path)
    files = record.get("files")
    found = record.get("format_version")
    if found != FORMAT_VERSION:
        raise FormatError(
            f"`{path}` has format version {found}, and this modxfer reads version {FORMAT_VERSION}.",
            do="Make the module again, or install the modxfer that wrote it.",
        )
    parts = [record.get(part) for part in ("module", "teacher", "student", "layers", "alignment", "versions")]
    if not isinstance(files, Mapping) or not files or not all(isinstance(part, Mapping) for part in parts):
        raise FormatError(f"`{path}` is not the record of a transfer.", do="Convert the module again.")
    if record.get("sha256") != _hash_record(record):
        raise FormatError(f"`{path}` was changed after it was written.", do="Convert the module again, and push that.")
    wrong = [name for name, expected in files.items() if name != CARD and _hash(folder, name) != expected]
    if wrong:
        raise FormatError(
            f"In `{folder}` {', '.join(f'`{name}`' for name in sorted(wrong))} "
            f"{'is' if len(wrong) == 1 else 'are'} not what `{TRANSFER}` says: changed or removed since the conversion.",
            do="Convert the module again, and push that.",
        )
    return record


def _hash_record(record: Mapping[str, Any]) -> str:
    """Hash what a record says, whatever its layout."""
    content = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _hash(folder: Path, name: str) -> str | None:
    """Hash a file of the folder itself; what lies elsewhere has none."""
    path = folder / name
    is_here = Path(name).name == name and path.is_file() and not path.is_symlink()
    return hash_file(path) if is_here else None


def base_record(base: LocatedBase) -> dict[str, Any]:
    """Write down a base model.

    Args:
        base: The base model.

    Returns:
        Name, revision, fingerprint (None without weights), family and licence.
    """
    if base.has_weights:
        return {**asdict(base.record), "licence": base.licence}
    return {
        "name": base.name,
        "revision": base.revision,
        "fingerprint": None,
        "model_type": base.model_type,
        "licence": base.licence,
    }


def _head(module: Module, *, names: tuple[str, ...] | None) -> dict[str, Any] | None:
    """Say what a head is for; the names of its labels only if there are as many as rows."""
    if module.head is None:
        return None
    labels = next((len(piece.parts["weight"]) for place, piece in module.pieces.items() if place.name == "head.output"), None)
    known = {"names": list(names)} if names is not None and len(names) == labels else {}
    return {"task": module.head.task, "labels": labels, **known}


def _scores(alignment: AlignmentMap | None) -> dict[str, float]:
    """Average the correlations of each layer."""
    if alignment is None:
        return {}
    means = ((title, [score.mean_correlation for _, score in pairs]) for title, pairs in alignment.layers())
    return {title: round(sum(values) / len(values), 4) for title, values in means}
