"""Repositories as git keeps them, in memory: blobs, trees, commits and refs with the ids that git would give them."""

import fnmatch
import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

REGULAR_LIMIT_BYTES = 10_000_000  # the Hub takes a larger file by LFS only

# The first lines of `.gitattributes` in a new repository: what the Hub stores by LFS, whatever its size.
_LFS_WORDS = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx *.ot "
    "*.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz *.wasm *.xz "
    "*.zip *.zst *tfevents*"
)
_DATASET_WORDS = (
    "*.lz4 *.mds *.pcm *.sam *.raw *.aac *.flac *.mp3 *.ogg *.wav *.bmp *.gif *.png *.tiff *.jpg *.jpeg *.webp *.mp4 *.webm"
)


def git_oid(content: bytes, kind: str = "blob") -> str:
    """Give the id git gives to an object, as `git hash-object` prints it."""
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """Make the text that git keeps in place of a file stored by LFS."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def default_gitattributes(repo_type: str) -> bytes:
    """Make the `.gitattributes` of a new repository."""
    patterns = f"{_LFS_WORDS} {_DATASET_WORDS}".split() if repo_type == "dataset" else _LFS_WORDS.split()
    return "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in patterns).encode()


def lfs_patterns(gitattributes: bytes) -> list[str]:
    """Read which paths a `.gitattributes` gives to LFS."""
    lines = (line.split() for line in gitattributes.decode("utf-8", "replace").splitlines())
    return [words[0] for words in lines if words and not words[0].startswith("#") and "filter=lfs" in words[1:]]


def matches(path: str, pattern: str) -> bool:
    """Say whether a path matches a pattern of git: one without a slash looks at the name alone."""
    pattern = pattern.removeprefix("/") if "/" in pattern.removesuffix("/")[1:] or pattern.startswith("/") else pattern
    if "/" not in pattern:
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern)
    return fnmatch.fnmatchcase(path, pattern.replace("**/", "*").replace("**", "*"))


def is_ignored(path: str, gitignore: str) -> bool:
    """Say whether a `.gitignore` leaves a path out (the last line that matches decides)."""
    ignored = False
    for line in map(str.strip, gitignore.splitlines()):
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        folder = pattern.rstrip("/")
        parents = path.split("/")[:-1]
        inside = any(matches("/".join(parents[: at + 1]), folder) for at in range(len(parents)))
        if inside or (not pattern.endswith("/") and matches(path, pattern)):
            ignored = not line.startswith("!")
    return ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of a commit: its blob, and the object behind it where the blob is an LFS pointer."""

    oid: str
    size: int
    sha256: str | None = None

    @property
    def etag(self) -> str:
        """What the Hub sends as ETag: the object's SHA-256, or the blob's id."""
        return self.sha256 or self.oid


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit and all files at it."""

    oid: str
    parents: tuple[str, ...]
    files: Mapping[str, Entry]
    title: str
    message: str
    author: str
    date: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The folders of a commit with the ids of their git trees."""

    folders: Mapping[str, str]

    @property
    def oid(self) -> str:
        """The id of the root."""
        return self.folders[""]


def build_tree(files: Mapping[str, Entry]) -> Tree:
    """Compute the git trees of all folders, the deepest first."""
    children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for path, entry in files.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            children.setdefault("/".join(parts[:depth]), {})
        children["/".join(parts[:-1])][parts[-1]] = ("100644", entry.oid)
    oids: dict[str, str] = {}
    for folder in sorted(children, key=lambda name: name.count("/") + bool(name), reverse=True):
        oids[folder] = git_oid(_tree_object(children[folder]), "tree")
        if folder:
            parent, _, name = folder.rpartition("/")
            children[parent][name] = ("40000", oids[folder])
    return Tree(folders=oids)


def _tree_object(entries: Mapping[str, tuple[str, str]]) -> bytes:
    # git sorts a folder as if its name ended in a slash
    ordered = sorted(entries.items(), key=lambda item: item[0] + ("/" if item[1][0] == "40000" else ""))
    return b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for name, (mode, oid) in ordered)


@dataclass(slots=True, kw_only=True, eq=False)
class Repository:
    """A model, dataset or space: its git side, its LFS objects, its settings and its discussions."""

    id: str
    type: str
    created: datetime
    private: bool = False
    gated: str | bool = False
    granted: set[str] = field(default_factory=set)
    sdk: str | None = None
    disabled: bool = False
    refs: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    discussions: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def namespace(self) -> str | None:
        """The user or organisation it belongs to; old models of the Hub have none."""
        return self.id.split("/")[0] if "/" in self.id else None

    @property
    def url_path(self) -> str:
        """Where its pages are on the site."""
        return f"/{self.id}" if self.type == "model" else f"/{self.type}s/{self.id}"

    def find(self, revision: str) -> Commit | None:
        """Find a branch, a tag, a full ref or a full commit id."""
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name.startswith("refs/") and name in self.refs:
                return self.commits[self.refs[name]]
        return self.commits.get(revision)

    def branch(self, revision: str) -> str | None:
        """Give the full ref that a commit to `revision` moves: a branch or a pull request, never a tag."""
        for name in (f"refs/heads/{revision}", revision):
            if name in self.refs and not name.startswith("refs/tags/"):
                return name
        return None

    def history(self, commit: Commit) -> list[Commit]:
        """Give a commit and those before it, the newest first."""
        seen: dict[str, Commit] = {}
        waiting = [commit]
        while waiting:
            each = waiting.pop()
            if each.oid not in seen:
                seen[each.oid] = each
                waiting += [self.commits[parent] for parent in each.parents]
        return sorted(seen.values(), key=lambda each: each.date, reverse=True)

    def uses_lfs(self, path: str, size: int, commit: Commit | None) -> bool:
        """Say whether a file of this size goes to LFS at this path."""
        attributes = commit.files.get(".gitattributes") if commit else None
        patterns = lfs_patterns(self.read(attributes) if attributes else default_gitattributes(self.type))
        return size > REGULAR_LIMIT_BYTES or any(matches(path, pattern) for pattern in patterns)

    def put_regular(self, content: bytes) -> Entry:
        """Keep a file as a git blob."""
        oid = git_oid(content)
        self.blobs[oid] = content
        return Entry(oid=oid, size=len(content))

    def put_pointer(self, sha256: str) -> Entry:
        """Keep the pointer to an LFS object that is there."""
        size = len(self.objects[sha256])
        pointer = self.put_regular(lfs_pointer(sha256, size))
        return Entry(oid=pointer.oid, size=size, sha256=sha256)

    def put(self, path: str, content: bytes, commit: Commit | None) -> Entry:
        """Keep a file as the Hub would: by LFS or as a git blob."""
        if not content or not self.uses_lfs(path, len(content), commit):
            return self.put_regular(content)
        sha256 = hashlib.sha256(content).hexdigest()
        self.objects[sha256] = content
        return self.put_pointer(sha256)

    def read(self, entry: Entry) -> bytes:
        """Give a file's content (the object, not the pointer)."""
        return self.blobs[entry.oid] if entry.sha256 is None else self.objects[entry.sha256]

    def add_commit(
        self, ref: str, files: Mapping[str, Entry], *, title: str, message: str = "", author: str, date: datetime,
        parents: Iterable[str] | None = None,
    ) -> Commit:  # fmt: skip
        """Write a commit and move `ref` to it.

        Args:
            ref: full ref, such as `refs/heads/main`.
            files: everything at the new commit, not only what changes.
            title: first line of its message.
            message: the rest.
            author: name of the user.
            date: time of the commit.
            parents: by default what `ref` points to now.

        Returns:
            The commit.
        """
        if parents is None:
            parents = [self.refs[ref]] if ref in self.refs else []
        parents = tuple(parents)
        who = f"{author} <{author}@users.noreply.huggingface.co> {int(date.timestamp())} +0000"
        text = f"tree {build_tree(files).oid}\n" + "".join(f"parent {parent}\n" for parent in parents)
        text += f"author {who}\ncommitter {who}\n\n{title}" + (f"\n\n{message}" if message else "")
        commit = Commit(
            oid=git_oid(text.encode(), "commit"), parents=parents, files=dict(sorted(files.items())),
            title=title, message=message, author=author, date=date,
        )  # fmt: skip
        self.commits[commit.oid] = commit
        self.refs[ref] = commit.oid
        return commit

    def last_change(self, commit: Commit, path: str) -> Commit:
        """Find the commit at or before `commit` that last changed a file or a folder."""
        now = _below(commit.files, path)
        while commit.parents:
            before = self.commits[commit.parents[0]]
            if _below(before.files, path) != now:
                return commit
            commit = before
        return commit


def _below(files: Mapping[str, Entry], path: str) -> dict[str, Entry]:
    return {name: entry for name, entry in files.items() if name == path or name.startswith(f"{path}/")}
