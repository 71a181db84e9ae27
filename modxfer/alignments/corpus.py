"""Text to align two base models on: a file, a data set, or the text that ships with the package."""

import hashlib
import importlib.resources
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from modxfer.alignments.corpora.conll import read_conll
from modxfer.alignments.corpora.hub import is_saved, parse_id, read_hub, read_saved
from modxfer.alignments.corpora.json_values import read_json
from modxfer.alignments.corpora.lines import hash_files, list_folder, read_pieces, split_long
from modxfer.alignments.corpora.tables import read_csv, read_parquet
from modxfer.errors import CorpusError

Kind = Literal["text", "conll", "json", "csv", "parquet", "images", "datasets", "shipped"]

SHIPPED_NAME = "modxfer multilingual text"

KINDS: dict[str, Kind] = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".conll": "conll",
    ".conllu": "conll",
    ".conll2003": "conll",
    ".iob": "conll",
    ".bio": "conll",
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".png": "images",
    ".jpg": "images",
    ".jpeg": "images",
}
_TABLES: dict[Kind, Callable[[Path, str | None], Iterator[str]]] = {
    "json": read_json,
    "csv": read_csv,
    "parquet": read_parquet,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Texts in a fixed order, read from where they lie each time they are asked for.

    Attributes:
        name: What the user sees: a path, a data set's id, or the name of the text that ships with the
            package.
        revision: The data set's revision as the user named it, else None.
        fingerprint: sha256, 64 hexadecimal digits: of the raw bytes of files; of id, config, revision and
            split for a data set on the Hub. The column is not in it.
        kind: How the text is stored; "images" where there is none.
        column: The column that the user asked for, else None.
        stream: Opens the texts anew; `texts` is what callers use.
    """

    name: str
    revision: str | None
    fingerprint: str
    kind: Kind
    column: str | None = None
    stream: Callable[[], Iterator[str]] = field(repr=False, compare=False)

    def texts(self) -> Iterator[str]:
        """Stream the texts, in the same order every time.

        Yields:
            One text after another, none blank, none longer than some 128 kB; of images, their paths.

        Raises:
            CorpusError: what is read is not what the corpus is said to hold; the message says where.
        """
        yield from self.stream()


def open_corpus(spec: str | None, *, column: str | None = None) -> Corpus:
    """Find a corpus, and check that a first text can be read from it.

    Args:
        spec: A file (text, CoNLL-like, JSON, CSV, TSV, Parquet, told by its suffix) or `FILE:COLUMN`; a
            folder of such files or of images (PNG, JPEG), or one written by `save_to_disk`; else the id of a
            data set on the Hub, `name[:config][@revision]`. None for the text that ships with the package.
        column: The column that holds the text, where there are columns. Without one it is `text`, `sentence`
            or `tokens`, else the only one that holds text.

    Returns:
        The corpus. Its texts are streamed when they are asked for.

    Raises:
        CorpusError: there is nothing there, it cannot be read, it is not what its suffix says, it is empty,
            or the column cannot be chosen.
    """
    corpus = _open_shipped() if spec is None else _open_named(spec, column)
    if next(corpus.texts(), None) is None:
        raise CorpusError(f"The corpus `{corpus.name}` is empty.", do="Give one with some text with `--corpus`.")
    return corpus


def _open_named(spec: str, column: str | None) -> Corpus:
    if not spec.strip() or "\0" in spec:
        raise CorpusError(f"The corpus `{spec!r}` has no name.", do="Give a file or a data set with `--corpus`.")
    path = _find_path(spec)
    if not _exists(path):
        head, _, tail = spec.rpartition(":")
        if head and tail and _exists(_find_path(head)):
            if column not in (None, tail):
                raise CorpusError(f"The corpus `{spec}` names column `{tail}`, and `{column}` is asked for.", do="Name one.")
            path, column = _find_path(head), tail
    if path.is_dir():
        return _open_folder(path, column)
    if path.exists():
        return _open_file(path, column)
    return _open_hub(spec, column)


def _find_path(spec: str) -> Path:
    try:
        return Path(spec).expanduser()
    except RuntimeError:  # the home of a user that is not there
        return Path(spec)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, say
        return False


def _open_file(path: Path, column: str | None) -> Corpus:
    if not path.is_file():
        raise CorpusError(
            f"The corpus `{path}` is no regular file, and a corpus is read more than once.",
            do="Save the text in a file, and give that with `--corpus`.",
        )
    return _open_files([path], name=str(path), kind=_find_kind(path), column=column)


def _open_files(paths: list[Path], *, name: str, kind: Kind, column: str | None) -> Corpus:
    if column is not None and kind not in _TABLES:
        raise CorpusError(f"The corpus `{name}` has no columns, so no `{column}`.", do="Leave the column out.")
    return Corpus(
        name=name,
        revision=None,
        fingerprint=hash_files(paths),
        kind=kind,
        column=column,
        stream=partial(_read_files, paths, kind, column),
    )


def _read_files(paths: list[Path], kind: Kind, column: str | None) -> Iterator[str]:
    for path in paths:
        if kind == "text":
            yield from (text for line in read_pieces(path) if (text := line.strip()))
        elif kind == "conll":
            yield from read_conll(path)
        elif kind == "images":
            yield str(path)
        else:
            yield from _TABLES[kind](path, column)


def _find_kind(path: Path) -> Kind:
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise CorpusError(
            f"The corpus `{path}` has the suffix `{path.suffix}`, which says nothing about what is in it.",
            do=f"Rename or convert it to one of {', '.join(KINDS)}.",
        )
    return kind


def _open_folder(folder: Path, column: str | None) -> Corpus:
    if is_saved(folder):
        return Corpus(
            name=str(folder),
            revision=None,
            fingerprint=hash_files(sorted(path for path in folder.rglob("*") if path.is_file())),
            kind="datasets",
            column=column,
            stream=partial(read_saved, folder, column),
        )
    listed = list_folder(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in KINDS)
    files = [path for path in files if path.stem.lower() != "readme"]
    kinds = {_find_kind(path) for path in files}
    if len(kinds) != 1:
        found = f"data files of {len(kinds)} kinds" if kinds else "no data files"
        raise CorpusError(
            f"The corpus `{folder}` is a folder with {found}. It holds: {listed}.",
            do="Name one file with `--corpus`.",
        )
    return _open_files(files, name=str(folder), kind=kinds.pop(), column=column)


def open_dataset(name: str) -> Corpus:
    """Name a data set on the Hub; nothing is read from it yet. Files of that name are not looked at.

    Args:
        name: Its id, `name[:config][@revision]`.

    Returns:
        The corpus.

    Raises:
        CorpusError: it is no id.
    """
    return _open_hub(name, None)


def _open_hub(spec: str, column: str | None) -> Corpus:
    dataset = parse_id(spec)
    looks_like_file = spec.startswith(("/", "./", "../", "~")) or Path(spec.rpartition(":")[0] or spec).suffix in KINDS
    if dataset is None or looks_like_file or Path(spec).suffix in KINDS:
        raise CorpusError(
            f"There is no corpus `{spec}`: no such file, and not the id of a data set.",
            do="Check the path, or leave `--corpus` out to use the text that ships with modxfer.",
        )
    return Corpus(
        name=dataset.name + (f":{dataset.config}" if dataset.config else ""),
        revision=dataset.revision,
        fingerprint=dataset.fingerprint,
        kind="datasets",
        column=column,
        stream=partial(read_hub, dataset, column),
    )


def _open_shipped() -> Corpus:
    raw = importlib.resources.files("modxfer.alignments").joinpath("text", "multilingual.txt").read_bytes()
    return Corpus(
        name=SHIPPED_NAME,
        revision=None,
        fingerprint=hashlib.sha256(raw).hexdigest(),
        kind="shipped",
        stream=partial(_read_shipped, raw),
    )


def _read_shipped(raw: bytes) -> Iterator[str]:
    for line in raw.decode("utf-8").split("\n"):
        yield from split_long(line)
