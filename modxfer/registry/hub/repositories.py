"""A repository on the Hub at one commit: what it holds, and fetching parts of it, checked against what the Hub says of them."""

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from modxfer.errors import HubError, ModxferError, UsageError
from modxfer.paths import home, write_aside
from modxfer.registry.fingerprints import remembered_hash
from modxfer.registry.hub.calls import ATTEMPTS, api, call
from modxfer.registry.hub.failures import has_no_answer, is_offline, status_of
from modxfer.registry.hub.outage import is_news
from modxfer.registry.hub.waiting import TRANSIENT

logger = logging.getLogger(__name__)

Kind = Literal["model", "dataset"]
"""The kinds of repositories that are read here."""

_ATTEMPTS_IF_CACHED = 2  # the user need not wait for what is there

_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_LONGEST_NAME = 96
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ALWAYS_CACHED = ("adapter_config.json", "config.json", "alignment.json", "README.md", "adapter_model.safetensors")
"""Of whatever modxfer fetches, at least one of these is in the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        path: Its path in the repository.
        size_bytes: Its size.
        sha256: Hash of its content, if the Hub says (it does for files kept in LFS).
        git_hash: Hash of its git blob, sha1; of the pointer for files kept in LFS. Empty where it is not known.
    """

    path: str
    size_bytes: int
    sha256: str | None
    git_hash: str

    def matches(self, path: Path) -> bool:
        """Say whether a file on this machine has the same content.

        Args:
            path: The file.

        Returns:
            Whether its size and hash are those of this file.
        """
        if path.stat().st_size != self.size_bytes:
            return False
        if self.sha256 is not None:
            return remembered_hash(path, memory=home() / "hashes") == self.sha256
        return not self.git_hash or git_hash(path.read_bytes()) == self.git_hash

    def is_content(self, content: bytes) -> bool:
        """Say whether this is its content.

        Args:
            content: What was read.

        Returns:
            Whether size and hash are those of this file.
        """
        if len(content) != self.size_bytes:
            return False
        if self.sha256 is not None:
            return hashlib.sha256(content).hexdigest() == self.sha256
        return not self.git_hash or git_hash(content) == self.git_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository at one commit.

    Attributes:
        name: Its id, as the Hub calls it now.
        commit: Commit hash; empty where there is none yet.
        files: Path to file. Of a repository that is known from the cache only: what was fetched earlier.
        licence: What its card says; None if it says nothing, or was not asked.
        private: Whether only some may see it; None if the Hub was not asked.
        kind: What it is a repository of.
    """

    name: str
    commit: str
    files: Mapping[str, RemoteFile] = field(repr=False)
    licence: str | None = None
    private: bool | None = None
    kind: Kind = "model"

    def fetch(self, paths: Iterable[str]) -> Path:
        """Fetch those files that are not in the cache yet.

        Args:
            paths: Their paths; at least one.

        Returns:
            The folder that holds them, by the same paths.

        Raises:
            HubError: one cannot be had, or is not what the Hub says.
        """
        fetched = {path: self._fetch_one(path) for path in paths}
        path, file = next(iter(fetched.items()))
        return file.parents[len(PurePosixPath(path).parts) - 1]

    def read(self, path: str) -> bytes:
        """Fetch a small file by one request, and keep it nowhere.

        Args:
            path: Its path.

        Returns:
            Its content.

        Raises:
            HubError: it cannot be had, or is not what the Hub says.
        """
        for _ in range(2):
            content = self._get(path)
            if path not in self.files or self.files[path].is_content(content):
                return content
        raise self._damaged(path)

    def read_header(self, path: str) -> dict[str, Any]:
        """Read the header of a safetensors file by range requests, not its tensors.

        Args:
            path: The file's path.

        Returns:
            Key to dtype, shape and offsets, as the file says.

        Raises:
            HubError: it cannot be read, or is no safetensors file.
        """
        found = self._read_metadata(path) or self._read_metadata(path)  # once more if it arrived damaged
        if found is None:
            raise HubError(
                f"`{path}` of `{self.name}` does not begin as a safetensors file does.",
                do="Name another revision, or tell its owner.",
            )
        return {
            key: {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": list(tensor.data_offsets)}
            for key, tensor in found.tensors.items()
        }

    def cached(self, path: str) -> Path | None:
        """Give a file that was fetched earlier.

        Args:
            path: The file's path.

        Returns:
            Where it lies; None if it is not in the cache.
        """
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.name, path, revision=self.commit, repo_type=self.kind)
        return Path(found) if isinstance(found, str) else None

    def _read_metadata(self, path: str) -> Any:
        """Ask for a safetensors file's header; None if it is none."""
        from huggingface_hub.errors import SafetensorsParsingError

        def ask() -> Any:
            try:
                return api().parse_safetensors_file_metadata(self.name, path, revision=self.commit, repo_type=self.kind)
            except (SafetensorsParsingError, OverflowError):  # such as a length of the header that no number can hold
                return None

        return call(ask, name=_called(self.name, self.kind), revision=self.commit)

    def _fetch_one(self, path: str) -> Path:
        """Fetch a file; once more if it arrived, or lies in the cache, damaged."""
        fetched = self._download(path)
        if self._is_right(path, fetched):
            return fetched
        try:
            self._download(path, force=True)
        except ModxferError as error:
            _forget(fetched)
            raise HubError(
                f"`{path}` of `{self.name}` was damaged in the cache, and could not be fetched again. {error.what}", do=error.do
            ) from error
        if self._is_right(path, fetched):
            return fetched
        _forget(fetched)
        raise self._damaged(path)

    def _damaged(self, path: str) -> HubError:
        return HubError(
            f"`{path}` of `{self.name}` arrived twice with another content than the Hub says.",
            do="Try again; if that does not help, tell its owner.",
        )

    def _is_right(self, path: str, fetched: Path) -> bool:
        return path not in self.files or self.files[path].matches(fetched)

    def _download(self, path: str, *, force: bool = False) -> Path:
        from huggingface_hub import hf_hub_download

        there = None if force else self.cached(path)
        if there is not None:  # no call, which would learn from this that the Hub answers
            return there

        def download() -> str:
            return hf_hub_download(
                self.name, path, revision=self.commit, repo_type=self.kind, force_download=force, library_name="modxfer"
            )

        return Path(call(download, name=_called(self.name, self.kind), revision=self.commit))

    def _get(self, path: str) -> bytes:
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined] # public

        def ask() -> bytes:
            url = hf_hub_url(self.name, path, revision=self.commit, repo_type=self.kind)
            headers = build_hf_headers(library_name="modxfer")
            response = get_session().get(url, headers=headers, timeout=HF_HUB_DOWNLOAD_TIMEOUT)
            hf_raise_for_status(response)
            return bytes(response.content)

        return call(ask, name=_called(self.name, self.kind), revision=self.commit)


def parse_reference(reference: str) -> tuple[str, str | None]:
    """Take a Hub id apart.

    Args:
        reference: An id with an optional `@revision`.

    Returns:
        The id, and the revision or None.

    Raises:
        UsageError: no id can look like that.
    """
    name, _, revision = reference.partition("@")
    if not _ID.fullmatch(name) or ".." in name or "--" in name or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"`{reference[: 2 * _LONGEST_NAME]}` is no folder here, and no id that the Hub could have.",
            do="Check the path, or give a Hub id.",
        )
    return name, revision or None


def open_repository(reference: str, *, kind: Kind = "model", from_cache: bool = True, optional: bool = False) -> Repository:
    """Find a repository, and list its files at one commit. Nothing of it is fetched.

    Args:
        reference: Its id with an optional `@revision`: branch, tag or commit.
        kind: What it is a repository of.
        from_cache: Take it from the cache if the Hub cannot be reached, and do not ask for a commit that was seen earlier.
        optional: Whether it can be done without; the Hub is then asked once, and briefly.

    Returns:
        The repository. If the Hub cannot be reached, as far as it is in the cache.

    Raises:
        UsageError: there is no such repository or revision.
        HubError: the Hub refuses, or cannot be reached and nothing is in the cache.
    """
    name, revision = parse_reference(reference)
    is_commit = revision is not None and _COMMIT.fullmatch(revision) is not None
    if from_cache and is_commit and (known := _recall(name, str(revision), kind)) is not None:
        return known
    cached = _find_cached(name, revision, kind) if from_cache else None
    try:
        attempts = ATTEMPTS if cached is None else _ATTEMPTS_IF_CACHED
        return _ask(name, revision, kind=kind, attempts=attempts, optional=optional)
    except ModxferError as error:
        if cached is None or not is_unreachable(error):
            raise
        if not is_offline(error.__cause__ or error):
            say_once(f"The Hub could not be reached; `{cached.name}` is taken from the cache, at commit {cached.commit[:12]}.")
        return cached


def resolve_dataset(name: str, revision: str | None = None) -> str:
    """Find the commit that a branch or a tag of a data set is at.

    Args:
        name: Its id.
        revision: Branch, tag or commit; None for the default branch.

    Returns:
        Commit hash. If the Hub cannot be reached, or is not to be asked, the last one that was seen.

    Raises:
        UsageError: there is no such data set or revision.
        HubError: the Hub refuses, or cannot be reached and no commit was seen earlier.
    """
    note = _pointer(_called(name, "dataset"), revision)
    seen = _last_commit(note)
    if seen is not None and seen == revision:
        return seen
    try:
        answer = call(
            lambda: api().dataset_info(name, revision=revision), name=name, revision=revision, optional=seen is not None
        )
    except ModxferError as error:
        if seen is None or not is_unreachable(error):
            raise
        if not is_offline(error.__cause__ or error):
            say_once(f"The Hub could not be reached; the data set `{name}` is taken at commit {seen[:12]}, as last seen.")
        return seen
    commit = str(answer.sha)
    for place in {note, _pointer(_called(name, "dataset"), commit)}:
        _remember(place, {"name": name, "commit": commit})
    return commit


def last_seen(name: str, revision: str | None, *, kind: Kind) -> str | None:
    """Say at which commit a branch or a tag was when the Hub was last asked; nobody is asked now.

    Args:
        name: Id of the repository.
        revision: The branch or tag; None for the main branch.
        kind: What it is a repository of.

    Returns:
        Commit hash; None if it was never seen.
    """
    return _last_commit(_pointer(_called(name, kind), revision))


def is_unreachable(error: ModxferError) -> bool:
    """Say whether what was seen earlier may stand in for the Hub's answer.

    Args:
        error: Why there is none.

    Returns:
        Whether the Hub is away, or is not to be asked.
    """
    cause = error.__cause__ or error
    status = status_of(cause)
    return is_offline(cause) or (status in TRANSIENT if status is not None else has_no_answer(cause))


def git_hash(content: bytes) -> str:
    """Hash a file as git does.

    Args:
        content: What it holds.

    Returns:
        sha1 of its blob, 40 hexadecimal digits.
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _called(name: str, kind: Kind) -> str:
    """Say how a repository is called among those of all kinds, as in the address of its page."""
    return name if kind == "model" else f"{kind}s/{name}"


def _ask(name: str, revision: str | None, *, kind: Kind, attempts: int, optional: bool) -> Repository:
    """Ask the Hub what a repository holds, and remember it."""
    called = _called(name, kind)
    info = call(
        lambda: api().repo_info(name, revision=revision, repo_type=kind),
        name=called,
        revision=revision,
        attempts=attempts,
        optional=optional,
    )
    if info.sha is None:  # a Hub that makes no first commit by itself
        return Repository(name=info.id, commit="", files={}, kind=kind)
    commit = str(info.sha)
    licence = getattr(getattr(info, "card_data", None), "license", None)
    licence = licence if isinstance(licence, str) else None
    found = _recall(info.id, commit, kind) or _list(info.id, commit, kind=kind, licence=licence, optional=optional)
    _remember(_pointer(called, revision), {"name": found.name, "commit": found.commit})
    return replace(found, private=info.private)


def _list(name: str, commit: str, *, kind: Kind, licence: str | None, optional: bool) -> Repository:
    entries = call(
        lambda: list(api().list_repo_tree(name, recursive=True, revision=commit, repo_type=kind)),
        name=_called(name, kind),
        revision=commit,
        optional=optional,
    )
    files = {}
    for entry in entries:
        size, git, lfs = (getattr(entry, key, None) for key in ("size", "blob_id", "lfs"))
        if isinstance(size, int) and not set(PurePosixPath(entry.path).parts) & {"..", "/"}:  # folders have no size
            files[entry.path] = RemoteFile(
                path=entry.path, size_bytes=size, sha256=lfs.sha256 if lfs else None, git_hash=str(git or "")
            )
    repository = Repository(name=name, commit=commit, files=files, licence=licence, kind=kind)
    content = {"licence": repository.licence, "files": [asdict(file) for file in repository.files.values()]}
    _remember(_listing(_called(name, kind), commit), content)
    return repository


def _listing(name: str, commit: str) -> Path:
    """Say where the list of a commit's files is remembered; it never changes."""
    return home() / "listings" / f"{hashlib.sha256(f'{name}@{commit}'.encode()).hexdigest()}.json"


def _pointer(name: str, revision: str | None) -> Path:
    """Say where it is remembered what a branch or tag was last seen at; names of data sets begin with `datasets/`."""
    branch = revision or "main"
    return home() / "listings" / f"{hashlib.sha256(f'{name}@{branch} was'.encode()).hexdigest()}.json"


def _remember(note: Path, content: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        write_aside(note, json.dumps(content))


def _last_commit(note: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return str(json.loads(note.read_text(encoding="utf-8"))["commit"])
    return None


def say_once(text: str) -> None:
    """Warn, unless it was said already since the Hub went away.

    Args:
        text: What is to be told.
    """
    if is_news(text):
        logger.warning("%s", text)


def _recall(name: str, commit: str, kind: Kind) -> Repository | None:
    try:
        content = json.loads(_listing(_called(name, kind), commit).read_text(encoding="utf-8"))
        files = {item["path"]: RemoteFile(**item) for item in content["files"]}
        return Repository(name=name, commit=commit, files=files, licence=content["licence"], kind=kind)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _find_cached(name: str, revision: str | None, kind: Kind) -> Repository | None:
    """Find a repository as it was last seen, if anything of it was fetched: by modxfer, or by another program."""
    from huggingface_hub import try_to_load_from_cache

    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        seen = json.loads(_pointer(_called(name, kind), revision).read_text(encoding="utf-8"))
        known = _recall(str(seen["name"]), str(seen["commit"]), kind)
        if known is not None and any(known.cached(path) for path in known.files):
            return known
    cached = (try_to_load_from_cache(name, path, revision=revision, repo_type=kind) for path in _ALWAYS_CACHED)
    found = next((Path(path).parent for path in cached if isinstance(path, str)), None)
    return None if found is None else _recall(name, found.name, kind) or _as_cached(name, found, kind)


def _as_cached(name: str, folder: Path, kind: Kind) -> Repository:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    files = [
        RemoteFile(path=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size, sha256=None, git_hash="")
        for path in paths
    ]
    return Repository(name=name, commit=folder.name, files={file.path: file for file in files}, kind=kind)


def _forget(fetched: Path) -> None:
    """Take a damaged file out of the cache, so that no program uses it: the link to it and what it leads to."""
    blob = fetched.resolve()
    for path in (fetched, blob):
        with contextlib.suppress(OSError):
            path.unlink()
