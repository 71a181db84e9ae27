"""What can be moved: families of base models x methods x formats, as the formats themselves decide it.

A `Sample` is a config of one method. The format that it belongs to is asked whether it takes it, and the family's row whether
it has the roles that the method needs; nothing is decided here but what a library itself cannot do (`LIMITS`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from modxfer.architectures import FAMILIES, VOCABULARY, Architecture, Family
from modxfer.converters.formats.adapters.configs import upgrade_config
from modxfer.converters.formats.adapters.reading import kinds_on
from modxfer.converters.formats.peft import table as peft_table
from modxfer.converters.formats.peft.convertible import CONVERTIBLE
from modxfer.converters.formats.peft.reading import check_runs
from modxfer.converters.support_samples import LIMITS, SAMPLES, Sample
from modxfer.errors import ConversionError, UsageError

_WHERE = "Its config"

_WIDTH = 64
"""Units of every space of the base models that the formats are asked about."""


class Verdict(StrEnum):
    """What becomes of a method on a family."""

    EXACT = "exact"
    APPROXIMATE = "approximate"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the table.

    Attributes:
        family: The `model_type`.
        sample: The method in its format.
        verdict: What becomes of it.
        why: What is approximated, or why it is refused; a remark, or nothing, where it is exact.
    """

    family: str
    sample: Sample
    verdict: Verdict
    why: str

    def as_json(self) -> dict[str, Any]:
        """Give the cell as plain values.

        Returns:
            Family, method, format, verdict and why.
        """
        return {
            "family": self.family,
            "method": self.sample.method,
            "format": self.sample.format,
            "verdict": str(self.verdict),
            "why": self.why,
        }


def support(*, family: str | None = None, method: str | None = None, format: str | None = None) -> list[Cell]:
    """Say what can be moved.

    Args:
        family: Only this family, a `model_type`; None for all.
        method: Only methods whose name holds this, in any case; None for all.
        format: Only this format; None for all.

    Returns:
        The cells, method after method.

    Raises:
        UsageError: there is no such family, method or format.
    """
    _check_known("family", family, FAMILIES)
    _check_known("format", format, {sample.format for sample in SAMPLES})
    chosen = [
        sample
        for sample in SAMPLES
        if (format is None or sample.format == format) and (method is None or method.lower() in sample.method.lower())
    ]
    if not chosen:
        raise UsageError(
            f"There is no method `{method}`{f' in the format `{format}`' if format else ''}.",
            do=f"Use one of {', '.join(dict.fromkeys(f'`{sample.method}`' for sample in SAMPLES))}.",
        )
    families = {family: FAMILIES[family]} if family else FAMILIES
    return [_decide(sample, name, row) for sample in chosen for name, row in families.items()]


def _check_known(what: str, name: str | None, known: Mapping[str, Any] | set[str]) -> None:
    if name is not None and name not in known:
        raise UsageError(f"There is no {what} `{name}` in the table.", do=f"Use one of {', '.join(sorted(known))}.")


def _decide(sample: Sample, name: str, family: Family) -> Cell:
    refusal = _refusal(sample, name, family)
    verdict = Verdict.REFUSED if refusal else Verdict.EXACT if sample.is_exact else Verdict.APPROXIMATE
    return Cell(family=name, sample=sample, verdict=verdict, why=refusal or sample.how)


def _refusal(sample: Sample, name: str, family: Family) -> str:
    """Say why a method cannot be moved on a family; empty if it can be."""
    if sample.refused:
        return _sentence(sample.refused)
    if sample.format == "adapters" and not family.in_adapters:
        return "The `adapters` library has no model class for it."
    try:
        _ask_format(sample, _sketch(name, family))
    except ConversionError as error:
        return _sentence(error.what.rpartition(f"({name}): ")[2].removesuffix("."))  # what stands before names the base model
    lacking = [role for role in sorted(sample.roles) if not any(role in stack.roles for stack in family.stacks.values())]
    lacking += [role for role in sorted(sample.outside) if role not in family.modules]
    if lacking:
        return f"It has no role {' and no role '.join(f'`{role}`' for role in lacking)}."
    rows = [row for stack in family.stacks.values() for row in stack.roles.values()]
    if sample.config.get("parameters") == "biases" and not any(row.biased for row in rows):
        return "Its layers have no biases."
    limit = next((limit for limit in LIMITS if limit.covers(sample, name)), None)
    return limit.why if limit else ""


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _ask_format(sample: Sample, base: Architecture) -> None:
    """Ask the sample's format whether it takes such a module on a base model; it raises what it refuses with."""
    if sample.format == "peft" and sample.config["peft_type"] not in CONVERTIBLE:
        task = {"task_type": "SEQ_2_SEQ_LM"} if base.family.kind.has_decoder_inputs else {}
        check_runs(peft_table.kind_of({**sample.config, **task}, where=_WHERE), base)
    if sample.format == "adapters":
        config = upgrade_config(sample.config, has_invertible=False, where=_WHERE)
        for kind, setup in kinds_on(config, base, where=_WHERE):
            kind.owners(replace(setup, inner=kind.canonical(setup.inner)))


def _sketch(name: str, family: Family) -> Architecture:
    """Make a base model of a family, all of whose spaces are equally wide."""
    return Architecture(
        name=name,
        model_type=name,
        family=family,
        dimensions=dict.fromkeys({*family.dimensions, VOCABULARY}, _WIDTH),
        depths=dict.fromkeys(family.stacks, 1),
        groups={
            (stack, role): 1
            for stack, table in family.stacks.items()
            for role, submodule in table.roles.items()
            if submodule.rows is not None
        },
        attention_heads=4,
    )
