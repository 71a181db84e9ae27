"""Where modxfer keeps things, and how it writes a folder so that nobody ever sees half of it."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modxfer.errors import OutputError


def home() -> Path:
    """Give the folder of the local store: `MODXFER_HOME`, else `modxfer` in the user's cache directory."""
    named = os.environ.get("MODXFER_HOME")
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "modxfer"


def is_folder(name: str) -> bool:
    """Say whether a text from outside names a folder here.

    Args:
        name: Any text.

    Returns:
        Whether it does; what cannot be a path is none.
    """
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):  # too long, with a null byte, or the home of a user that is not there
        return False


def check_free(target: Path, *, force: bool) -> None:
    """Refuse a target that exists, so that this is known before any work is done.

    Args:
        target: The folder about to be written.
        force: Whether an existing folder may be replaced.

    Raises:
        OutputError: the target exists and `force` is not set, or it is a file.
    """
    if target.is_file():
        raise OutputError(f"`{target}` is a file.", do="Name a folder with `--output`.")
    if target.exists() and not force:
        raise OutputError(
            f"The output folder `{target}` exists.", do="Name another with `--output`, or replace it with `--force`."
        )


def write_aside(path: Path, text: str) -> None:
    """Write a small file under another name, and put it in place in one step; its folder is made.

    Args:
        path: The file.
        text: What it is to hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def staged_folder(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Hand out an empty folder that becomes `target` in one step when the block ends well.

    The folder lies beside the target, so that the last step is a rename. On any error or interrupt it is removed, and an
    older target stays as it was.

    Args:
        target: The folder to create.
        force: Replace an existing target; it survives until the new one is complete.

    Yields:
        The folder to write into.

    Raises:
        OutputError: the target exists (without `force`), the place cannot be written, or the disk is full.
    """
    check_free(target, force=force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise _write_error(target, error) from error
    try:
        yield staging
        _sync(staging)
        staging.chmod(0o777 & ~_umask())
        _swap(staging, target)
    except OSError as error:
        raise _write_error(target, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _swap(staging: Path, target: Path) -> None:
    """Put `staging` in the place of `target`, keeping the old target until the new one stands."""
    if not target.exists():
        staging.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    old = aside / target.name
    try:
        target.rename(old)
        staging.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        with contextlib.suppress(OSError):
            aside.rmdir()  # only if it is empty: what could not be put back stays there
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Flush every file of a folder, and the folder itself, to disk."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _write_error(target: Path, error: OSError) -> OutputError:
    if error.errno == errno.ENOSPC:
        return OutputError(f"The disk is full while writing `{target}`.", do="Free some space; nothing was changed.")
    reason = error.strerror or str(error)
    return OutputError(f"Cannot write `{target}`: {reason}.", do="Name a folder that can be written with `--output`.")
