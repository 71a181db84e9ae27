"""Data sets whose layout is known: what their configs, splits, columns and numbers mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modxfer.training.data.choice import ColumnChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One data set.

    Attributes:
        name: Its id on the Hub.
        also: Other ids that it is known by.
        config: Its config for a language, "{language}" standing for the language; None if it has no configs.
        splits: "train", "validation" and "test" to the name of the split.
        columns: Its columns, where they differ from the usual ones.
        names: Column to the names of its numbers, where the data set does not declare them.
    """

    name: str
    also: tuple[str, ...] = ()
    config: str | None = "{language}"
    splits: Mapping[str, str] = field(default_factory=dict)
    columns: ColumnChoice = field(default_factory=ColumnChoice)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def find_config(self, language: str | None) -> str | None:
        """Give the config of a language.

        Args:
            language: What the user gave as config.

        Returns:
            The config; None for the data set's own default.
        """
        return None if language is None or self.config is None else self.config.format(language=language)

    def find_splits(self, language: str | None) -> dict[str, str]:
        """Give the splits of a language.

        Args:
            language: What the user gave as config.

        Returns:
            "train", "validation" and "test" to their names; nothing if they depend on a language that is not known.
        """
        if language is None:
            return {}
        return {role: name.format(language=language) for role, name in self.splits.items()}


_PRESETS = (
    Preset(
        name="Babelscape/wikineural",
        config=None,
        splits={"train": "train_{language}", "validation": "val_{language}", "test": "test_{language}"},
        columns=ColumnChoice(tokens="tokens", tags="ner_tags", language="lang"),
        names={"ner_tags": ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")},
    ),
    Preset(
        name="google-research-datasets/paws-x",
        also=("paws-x",),
        columns=ColumnChoice(text="sentence1", text2="sentence2", label="label"),
        names={"label": ("0", "1")},
    ),
    Preset(
        name="facebook/xnli",
        also=("xnli",),
        columns=ColumnChoice(text="premise", text2="hypothesis", label="label"),
        names={"label": ("entailment", "neutral", "contradiction")},
    ),
)


def find_preset(name: str) -> Preset | None:
    """Find what is known of a data set.

    Args:
        name: Its id.

    Returns:
        Its preset; None if nothing is known of it.
    """
    return next((preset for preset in _PRESETS if name.lower() in (preset.name.lower(), *preset.also)), None)
