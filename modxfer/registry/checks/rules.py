"""The rules of the registry's checks: one table, which `modxfer registry rules` prints.

An id never changes its meaning, and one that is gone is not used again: people write them into their CI.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from modxfer.errors import UsageError
from modxfer.registry.entries.fields import shown


class Stage(StrEnum):
    """What a rule needs; cheapest first."""

    OFFLINE = "offline"
    ONLINE = "online"
    WEIGHTS = "weights"


class Severity(StrEnum):
    """Whether a problem makes the check fail."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        id: What it is called, everywhere and for ever.
        stage: What it needs.
        severity: Whether breaking it makes the check fail.
        says: What must hold, one sentence.
        why: Why, one sentence.
        is_mechanical: Whether `--fix` can mend it.
    """

    id: str
    stage: Stage
    severity: Severity
    says: str
    why: str
    is_mechanical: bool = False


def _rules(stage: Stage, severity: Severity, table: Mapping[str, tuple[str, str]], *, mechanical: bool = False) -> list[Rule]:
    return [
        Rule(id=id, stage=stage, severity=severity, says=says, why=why, is_mechanical=mechanical)
        for id, (says, why) in table.items()
    ]


_FILES = {
    "symlink": ("No file or folder is a symbolic link.", "A link can lead out of the registry."),
    "misplaced": (
        "Every file lies where its kind lies.",
        "A file elsewhere would be overlooked, though somebody believes that it is registered.",
    ),
    "too-large": ("A file has 200,000 bytes at most.", "An entry describes; it does not carry."),
    "no-settings": (
        "A registry has its `registry.yaml`.",
        "Only that file says that the folder is a registry, and what it is called.",
    ),
    "unreadable": ("Every file can be read.", "What cannot be read cannot be checked."),
    "encoding": ("Files are UTF-8 without a byte order mark.", "Other encodings read as other text elsewhere."),
    "control-characters": (
        "No text has control, invisible or direction-changing characters.",
        "They can move a terminal's cursor, or make a text look like another.",
    ),
    "yaml-syntax": ("A file is one YAML document, a mapping.", "What cannot be read cannot be checked."),
    "yaml-alias": ("There are no anchors, aliases and tags.", "They can expand without bound, or build objects."),
    "yaml-depth": ("Values are nested 16 levels deep at most.", "Deeper nesting is only ever an attack."),
    "duplicate-key": ("No key comes twice.", "YAML readers differ on which of the two counts."),
    "markup": (
        "Texts are plain: no HTML, and no markdown links and images.",
        "Entries are shown on web pages and in terminals of other people.",
    ),
    "formula": (
        "No text of one line begins with `=`, `+`, `-`, `@` or a tab.",
        "A spreadsheet would run it as a formula.",
    ),
}

_FIELDS = {
    "format-version": ("The format version is one that this modxfer reads.", "Another version may mean other things."),
    "missing-field": ("Every required field is there.", "Others rely on it."),
    "unknown-field": ("There are no other fields.", "A misspelt field would silently not count."),
    "wrong-type": ("Every value is of its field's type.", "A number in quotes is a text, and compares as one."),
    "bad-value": ("Every value is one that its field takes.", "Others rely on it."),
    "entry-id": (
        "Ids are `<namespace>/<name>`, in lower case.",
        "They are file names on every system, and parts of addresses.",
    ),
    "id-path": ("An entry's id is that of its path.", "An entry is found by its path."),
    "license": ("Licences are SPDX expressions.", "Only then can a program, or a lawyer, tell which is meant."),
    "language": ("Languages are BCP 47 tags, as they are in use.", "Search compares them letter by letter."),
    "unpinned": (
        "What an entry points at is pinned: repositories by commit, files by sha256.",
        "What is not pinned can change after it was reviewed.",
    ),
    "hub-id": ("Repositories and base models are named by Hub ids.", "A path of one machine means nothing on another."),
    "file-path": ("Paths of files stay in their repository.", "A path with `..` could write anywhere."),
    "pickle": ("No file is a pickle.", "Loading one can run code."),
    "address": ("Addresses are https, of public hosts.", "Others lead into the reader's own machine or network."),
    "duplicate-item": ("No list names the same thing twice.", "One of the two is a mistake."),
    "no-weights": (
        "The files of a module or alignment map are all there: its config or record, and its tensors.",
        "It could not be loaded.",
    ),
    "widths": (
        "Widths and depths are those that the family has, and heads, inner sizes and layers fit them.",
        "A module for other widths cannot be loaded.",
    ),
}

_ACROSS = {
    "duplicate-source": ("No two entries register the same tensors.", "Two descriptions of one thing come apart."),
    "unknown-reference": ("Entries that are referred to exist.", "A lineage with a hole cannot be followed."),
    "alias": ("Aliases lead to entries, and none is called as one.", "A name must mean one thing."),
    "lineage-cycle": ("No module descends from itself.", "A lineage begins somewhere."),
    "lineage-base": (
        "The alignment's teacher is the base model of the lineage's teacher, and its student that of the module.",
        "With the alignment map of another pair, every unit is a wrong one.",
    ),
    "lineage-widths": (
        "Widths, depths and families are the same wherever the lineage names the same base model.",
        "One of the two is wrong.",
    ),
    "lineage-layers": ("The layer map has the layers of the two base models.", "It would name layers that are not there."),
    "lineage-method": (
        "A transferred module is of its teacher's method and inner sizes.",
        "A transfer changes neither.",
    ),
}

_OFFLINE_WARNINGS = {
    "license-unknown": ("A licence is known.", "Nobody may use what has none."),
    "unknown-family": ("The base model's family is in modxfer's table.", "Widths and places cannot be checked otherwise."),
    "incomplete": (
        "An entry from an older registry says all that a new one must.",
        "Without commit and widths of the base model, nobody knows what the module fits.",
    ),
    "odd-score": ("Scores that are fractions are in [0, 1].", "A percentage would rank above everything else."),
}

_MECHANICAL = {
    "key-order": ("Fields are in the schema's order.", "Entries are compared side by side."),
    "layout": (
        "Lines end in a line feed without spaces before it, the last one too; there are no tabs and no empty lines at the end.",
        "Otherwise changes show that are none.",
    ),
}

_ONLINE = {
    "not-checked": ("Everything could be asked of the Hub.", "What was not checked must not count as right."),
    "repository-missing": ("The repository and its commit exist.", "Nobody could fetch it."),
    "file-changed": ("Files have the size and sha256 that are pinned.", "They are not what was reviewed."),
    "tensors": (
        "Names and shapes of the tensors fit the base model's config.",
        "A tensor of another shape or place loads wrongly, or not.",
    ),
    "module-config": ("Method, inner sizes and places are what the module's config says.", "One of the two is wrong."),
    "base-config": ("Family, widths and depths are what the base model's config says.", "One of the two is wrong."),
    "map-record": ("An alignment entry says what the map's own record says.", "One of the two is wrong."),
    "card": ("The card does not contradict the entry.", "People read the card."),
}

_ONLINE_WARNINGS = {
    "branch-moved": ("The branch is still at the pinned commit.", "There may be a newer version to register."),
    "unlisted-file": ("The repository has no pickles beside the pinned files.", "Somebody may load those."),
}

_WEIGHTS = {
    "not-loadable": ("The module or map loads.", "It could not be used."),
    "not-finite": ("All numbers are finite.", "One NaN spreads to all results."),
    "all-zero": ("No tensor that should have been trained is all zero.", "It would change nothing."),
    "no-effect": ("The module changes the base model's output.", "It would be of no use, or loaded in the wrong place."),
}

_ALL = [
    *_rules(Stage.OFFLINE, Severity.ERROR, _FILES),
    *_rules(Stage.OFFLINE, Severity.ERROR, _FIELDS),
    *_rules(Stage.OFFLINE, Severity.ERROR, _ACROSS),
    *_rules(Stage.OFFLINE, Severity.WARNING, _OFFLINE_WARNINGS),
    *_rules(Stage.OFFLINE, Severity.WARNING, _MECHANICAL, mechanical=True),
    *_rules(Stage.ONLINE, Severity.ERROR, _ONLINE),
    *_rules(Stage.ONLINE, Severity.WARNING, _ONLINE_WARNINGS),
    *_rules(Stage.WEIGHTS, Severity.ERROR, _WEIGHTS),
]

RULES: Mapping[str, Rule] = {rule.id: rule for rule in _ALL}
"""Id to rule, cheapest stage first."""


def find_rule(id: str) -> Rule:
    """Find the rule that somebody names.

    Args:
        id: Its id, as typed.

    Returns:
        The rule.

    Raises:
        UsageError: there is none.
    """
    if id in RULES:
        return RULES[id]
    near = difflib.get_close_matches(id[:60], RULES, n=1)
    do = f"Did you mean `{near[0]}`?" if near else "`modxfer registry rules` lists them."
    raise UsageError(f"There is no rule {shown(id)}.", do=do)
