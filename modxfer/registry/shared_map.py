"""The alignment map that users of the library get: one that goes to the Hub and comes from there."""

import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin

from modxfer.alignments import alignment_map
from modxfer.alignments.files import read_alignment, write_alignment
from modxfer.converters.formats.needed import CARD
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
            The page of the commit, or of the pull request.

        Raises:
            ModxferError: it cannot be published; nothing was changed then.
        """
        destination = Destination(
            name=repo_id, branch=branch or DEFAULT_BRANCH, message=commit_message, private=private, create_pr=create_pr
        )
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return str(push_folder(Path(folder), destination, licence=license).commit.url)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_alignment(self, save_directory)
        (save_directory / CARD).write_text(alignment_card(self), encoding="utf-8")

    @classmethod
    def _from_pretrained(cls, *, model_id: str, revision: str | None = None, **_options: Any) -> "AlignmentMap":
        """Read a map from a folder or the Hub; the mixin's other options are those of `huggingface_hub`'s environment."""
        if Path(model_id).is_dir():
            return cls.of(read_alignment(Path(model_id)))
        return cls.of(fetch_map(f"{model_id}@{revision}" if revision else model_id).alignment)
