"""The alignment map that users of the library get: one that goes to the Hub and comes from there."""

import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin

from modxfer.alignments import alignment_map
from modxfer.alignments.files import read_alignment, write_alignment
from modxfer.converters.formats.needed import CARD
from modxfer.errors import UsageError
from modxfer.registry.cards import alignment_card
from modxfer.registry.hub.commits import DEFAULT_BRANCH, Destination
from modxfer.registry.published import fetch_map
from modxfer.registry.publishing import push_folder


class AlignmentMap(alignment_map.AlignmentMap, ModelHubMixin):
    """An alignment map with `from_pretrained`, `save_pretrained` and `push_to_hub`.

    Its attributes are those of `modxfer.alignments.alignment_map.AlignmentMap`. The mixin keeps its settings in instances, and
    these are frozen, so there are none: all that a map is stands in its own files.
    """

    def __new__(cls, *_args: Any, **_kwargs: Any) -> "AlignmentMap":
        """Make an instance without the mixin's settings."""
        return object.__new__(cls)

    @classmethod
    def of(cls, alignment: alignment_map.AlignmentMap) -> "AlignmentMap":
        """Give a map these methods.

        Args:
            alignment: The map.

        Returns:
            The same map.
        """
        return cls(**{field.name: getattr(alignment, field.name) for field in fields(alignment)})

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        proxies: Mapping[str, str] | None = None,
        **_kwargs: Any,
    ) -> "AlignmentMap":
        """Read a map from a folder or the Hub, and verify it.

        The mixin would ask for a `config.json` first, which no map has. Its options that are settings of the whole process here
        are refused, so that nobody relies on them; others, which are for making models, are passed over.

        Args:
            pretrained_model_name_or_path: A folder, or a Hub id with an optional `@revision`.
            force_download: Not taken: every file is compared with its hash anyway.
            token: Not taken: `HF_TOKEN`, or `hf auth login`.
            cache_dir: Not taken: `HF_HOME`.
            local_files_only: Not taken: `HF_HUB_OFFLINE=1`.
            revision: Branch, tag or commit, where the id names none; None for the main branch.
            proxies: Not taken: `HTTPS_PROXY`.
            **_kwargs: What else some version of the mixin takes.

        Returns:
            The map.

        Raises:
            UsageError: an option is not taken, or there is no such repository or revision.
            FormatError: it is no alignment map, or a damaged one.
            HubError: the Hub refuses or cannot be reached.
        """
        _refuse(
            force_download=(force_download, "Leave it out: every file is compared with the Hub's hash of it."),
            token=(token not in (None, True), "Set the variable `HF_TOKEN`, or log in with `hf auth login`."),
            cache_dir=(cache_dir is not None, "Set the variable `HF_HOME`."),
            local_files_only=(local_files_only, "Set the variable `HF_HUB_OFFLINE=1`."),
            proxies=(bool(proxies), "Set the variable `HTTPS_PROXY`."),
        )
        folder = Path(pretrained_model_name_or_path).expanduser()
        if folder.is_dir():
            return cls.of(read_alignment(folder))
        reference = str(pretrained_model_name_or_path)
        if revision is not None and "@" in reference:
            raise UsageError(
                f"`{reference}` names a revision, and `{revision}` is given as another one.", do="Give one of them."
            )
        return cls.of(fetch_map(f"{reference}@{revision}" if revision else reference).alignment)

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        license: str,
        commit_message: str = "Add an alignment map",
        private: bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Publish the map: in one commit, on top of what was there, with its card.

        Args:
            repo_id: The Hub id.
            license: Its licence, as the Hub writes it ("cc0-1.0").
            commit_message: The commit's message.
            private: Whether a new repository is private; None for what its owner's default is.
            branch: The branch; None for the main one.
            create_pr: Open a pull request instead of changing the branch.

        Returns:
            The page of the commit or the pull request; of the repository, if all of it was there already.

        Raises:
            ModxferError: it cannot be published; nothing was changed then.
        """
        destination = Destination(
            name=repo_id, branch=branch or DEFAULT_BRANCH, message=commit_message, private=private, create_pr=create_pr
        )
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return push_folder(Path(folder), destination, licence=license).url

    def _save_pretrained(self, save_directory: Path) -> None:
        write_alignment(self, save_directory)
        (save_directory / CARD).write_text(alignment_card(self), encoding="utf-8")


def _refuse(**options: tuple[bool, str]) -> None:
    """Refuse options of the mixin that would have no effect."""
    for name, (is_given, instead) in options.items():
        if is_given:
            raise UsageError(f"`from_pretrained` takes no `{name}` for an alignment map.", do=instead)
