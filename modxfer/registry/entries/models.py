"""What the files of a registry hold: one pydantic model a kind of file.

The models are the one description of the format: the JSON Schema is made from them, and so is the order of fields.
What can be seen in one field is checked here; what needs several fields or files is checked by `modxfer.registry.checks`.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from modxfer.registry.entries.fields import (
    Address,
    Commit,
    EntryId,
    EntryName,
    FilePath,
    HubId,
    Language,
    Licence,
    Line,
    Many,
    Prose,
    Sha256,
    Word,
    refuse,
    shown,
)

FORMAT_VERSION = 1

Count = Annotated[int, Field(gt=0, le=10**12)]
Size = Annotated[int, Field(ge=0, le=10**15)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Correlation = Annotated[float, Field(ge=-1, le=1)]


def _check_version(value: Any) -> Any:
    if type(value) is not int or value != FORMAT_VERSION:  # true is 1 in Python, and in no file
        raise refuse("format-version", f"{shown(value)} is not {FORMAT_VERSION}.", do="Write 1, or update modxfer.")
    return value


Version = Annotated[Literal[1], BeforeValidator(_check_version)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PinnedFile(_Record):
    """A file, pinned by its content."""

    path: FilePath
    sha256: Sha256
    size_bytes: Size = Field(description="Its size.")


class HubSource(_Record):
    """Where the files are: a repository of models on the Hub, at one commit."""

    repository: HubId
    revision: Commit
    branch: Line = Field(default="main", description="The branch that the commit was taken from.")
    files: Many[PinnedFile] = Field(min_length=1, max_length=1000)


class ArchiveSource(_Record):
    """Where the files are: an archive outside the Hub, for modules of older registries. modxfer does not fetch it."""

    archive: Address = Field(description="Its https address.")
    sha256: Sha256
    size_bytes: Size | None = Field(default=None, description="Its size.")


def _source_kind(value: Any) -> str:
    return "archive" if isinstance(value, ArchiveSource) or (isinstance(value, dict) and "archive" in value) else "hub"


Source = Annotated[
    Annotated[HubSource, Tag("hub")] | Annotated[ArchiveSource, Tag("archive")],
    Discriminator(_source_kind),
]


class Base(_Record):
    """A base model: at which commit, and what its config says of its structure."""

    name: HubId
    revision: Commit | None = None
    fingerprint: Sha256 | None = Field(
        default=None, description="sha256 over its config and weights, as `modxfer inspect` gives it."
    )
    family: Word = Field(description="Its `model_type`.")
    widths: dict[Word, Count] = Field(default={}, description="Dimension to its width in units: hidden, heads, ffn.")
    depths: dict[Word, Count] = Field(default={}, description="Stack of layers to its number of layers: encoder.")


class Method(_Record):
    """The kind of module, and its sizes."""

    name: Word = Field(description="lora, bottleneck, ...")
    inner_sizes: Many[Count] = Field(default=(), description="LoRA ranks, or bottleneck widths; each once.")
    scalings: Many[Finite] = Field(default=(), description="What its updates are multiplied by; each once.")
    roles: Many[Word] = Field(default=(), description="Where it sits in a layer: query, value, ...")
    parameters: Count | None = Field(default=None, description="Number of its parameters.")
    settings: dict[Word, bool | int | Finite | Line | None] = Field(default={}, description="What its own config says besides.")


class Head(_Record):
    """The prediction head that comes with the module."""

    task: Word
    labels: Count | None = Field(default=None, description="Number of its labels.")


class DataSet(_Record):
    """A data set that the module was trained on."""

    name: Line = Field(description="Its Hub id, or what it is called.")
    revision: Commit | None = None


class Result(_Record):
    """A number that was measured."""

    metric: Word
    value: Finite = Field(description="What was measured; scores that are fractions in [0, 1].")
    dataset: Line = Field(description="The data set that it was measured on.")
    dataset_revision: Commit | None = None
    split: Word
    ran_by: Line = Field(description="What measured it: program and version.")
    seeds: Count | None = Field(default=None, description="Number of runs that the value is the mean of.")
    deviation: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Standard deviation over those runs."
    )


class Author(_Record):
    """Who made it."""

    name: Line = Field(description="What they are called.")
    email: Line | None = Field(default=None, description="Their e-mail address.")
    url: Address | None = Field(default=None, description="Their page.")
    github: Word | None = None


class Layers(_Record):
    """The layer map: for each student layer, the teacher layers that feed it and their weights."""

    mode: Word
    map: dict[Word, Many[Many[Annotated[Many[int | Finite], Field(min_length=2, max_length=2)]]]] = Field(
        description="Stack to its student layers: for each, pairs of a teacher layer and its weight."
    )


class Lineage(_Record):
    """What a transferred module was made from."""

    teacher: EntryId = Field(description="The entry of the module that was transferred.")
    alignment: EntryId | None = Field(
        default=None, description="The entry of the alignment map; none where the spaces are the same."
    )
    layers: Layers


class _Entry(_Record):
    folder: ClassVar[str]

    format_version: Version = Field(description="The version of this format.")
    id: EntryId
    title: Line = Field(description="What it is, in one line.")
    description: Prose = Field(default="", description="What it is, in plain text.")


class ModuleEntry(_Entry):
    """A module."""

    folder = "modules"

    source: Source = Field(description="Where the files are.")
    base: Base
    method: Method
    format: Literal["peft", "adapters"] = Field(description="How the module is stored.")
    task: Word | None = Field(default=None, description="A task of the Hub, such as `token-classification`.")
    head: Head | None = None
    datasets: Many[DataSet] = ()
    languages: Many[Language] = ()
    results: Many[Result] = ()
    license: Licence
    authors: Many[Author] = Field(min_length=1)
    tags: Many[Word] = Field(default=(), description="Words to find it by.")
    homepage: Address | None = Field(default=None, description="A page about it.")
    citation: Prose | None = Field(default=None, description="How to cite it, as BibTeX or plain text.")
    lineage: Lineage | None = None


class Corpus(_Record):
    """The text that an alignment map was computed on."""

    name: Line = Field(description="Its Hub id, or what it is called.")
    revision: Line | None = Field(default=None, description="Its commit, or the version of what it came with.")
    fingerprint: Sha256
    texts: Count = Field(description="Number of its texts that were used.")
    tokens: Count = Field(description="Number of matched tokens.")


class Scores(_Record):
    """How well the units of the two base models correspond."""

    mean_correlation: Correlation = Field(description="Mean correlation of matched units.")
    layers: dict[Line, Correlation] = Field(default={}, description="Mean matched correlation of each layer.")


class AlignmentEntry(_Entry):
    """An alignment map."""

    folder = "alignments"

    source: HubSource
    teacher: Base
    student: Base
    aligner: Word
    requested: Word = Field(description="The aligner that was asked for: itself, or auto.")
    key: Sha256 = Field(description="The map's own id in the store.")
    corpus: Corpus
    scores: Scores
    license: Licence
    authors: Many[Author] = Field(min_length=1)
    tags: Many[Word] = Field(default=(), description="Words to find it by.")
    homepage: Address | None = Field(default=None, description="A page about it.")
    citation: Prose | None = Field(default=None, description="How to cite it, as BibTeX or plain text.")


Entry = ModuleEntry | AlignmentEntry


class Aliases(_Record):
    """Other names for a namespace's entries, such as `stable`: alias to the name of an entry of the same namespace."""

    folder: ClassVar[str] = "aliases"

    format_version: Version = Field(description="The version of this format.")
    modules: dict[EntryName, EntryName] = Field(default={}, description="Alias to the name of a module's entry.")
    alignments: dict[EntryName, EntryName] = Field(default={}, description="Alias to the name of an alignment map's entry.")


class Settings(_Record):
    """What a registry is called. Its file marks the folder as one."""

    format_version: Version = Field(description="The version of this format.")
    title: Line = Field(description="What the registry is called.")
    description: Prose = Field(default="", description="What it holds, in plain text.")
    homepage: Address | None = Field(default=None, description="A page about it.")


FOLDERS: dict[str, type[ModuleEntry] | type[AlignmentEntry] | type[Aliases]] = {
    model.folder: model for model in (ModuleEntry, AlignmentEntry, Aliases)
}
"""A registry's folders, and what their files hold."""

SETTINGS = "registry.yaml"
"""The file that marks a folder as a registry."""

SCHEMAS: dict[type[ModuleEntry] | type[AlignmentEntry] | type[Aliases] | type[Settings], str] = {
    ModuleEntry: "module",
    AlignmentEntry: "alignment",
    Aliases: "aliases",
    Settings: "registry",
}
"""What a file holds, to the name of its JSON Schema, as in `schema/module.json`."""
