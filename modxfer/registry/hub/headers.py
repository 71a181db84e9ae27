"""Headers of weights that may be far away."""

from modxfer.converters.formats.files import check_header, read_headers
from modxfer.converters.module import TensorHeader
from modxfer.registry.hub.repositories import Repository


def remote_headers(repository: Repository, path: str) -> tuple[TensorHeader, ...] | None:
    """Read the headers of a file that may be far away: by range requests, unless it is in the cache.

    Args:
        repository: The repository.
        path: The file's path in it.

    Returns:
        The tensors' headers; None for a pickle that is far away.

    Raises:
        FormatError: the header lies about its file.
        HubError: it cannot be had, or is none.
    """
    if (cached := repository.cached(path)) is not None:
        return read_headers(cached)
    if not path.endswith(".safetensors"):
        return None
    return check_header(
        repository.read_header(path), file=path, file_bytes=repository.files[path].size_bytes, header_bytes=None
    )
