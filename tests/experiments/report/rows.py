"""Made-up rows of results for the tests of reports."""

from typing import Any

from modxfer.experiments.results import Kind, ResultRow

TEST = {
    "type": None,
    "name": "wikineural/test.conll",
    "config": None,
    "split": None,
    "revision": None,
    "sha256": "ab" * 32,
    "part": "the first 300 rows",
    "rows": 300,
}
_KINDS: dict[Kind, dict[str, Any]] = {
    "sweep": {"value": None, "zero_shot": None},
    "teacher": {"pair": "big", "relation": "teacher", "student": None, "zero_shot": None},
    "default": {},
    "transferred": {"layers": "skip", "aligner": "identity", "used_aligner": "identity"},
    "control": {"control": "head-only", "head": "kept"},
}


def row(kind: Kind, value: float | None = 50.0, **changes: Any) -> ResultRow:
    """Make a row of the pair `big-to-small`, NER with LoRA in English, seed 0.

    Args:
        kind: What was run.
        value: The main metric on the test split.
        **changes: Other fields.
    """
    fields: dict[str, Any] = {
        "plan": "small",
        "pair": "big-to-small",
        "relation": "matching",
        "teacher": "big",
        "student": "small",
        "method": "lora",
        "layers": None,
        "aligner": None,
        "used_aligner": None,
        "head": "new",
        "control": None,
        "task": "ner",
        "language": "en",
        "seed": 0,
        "learning_rate": 1e-3,
        "steps": 500,
        "metric": "f1",
        "value": value,
        "zero_shot": 10.0,
        "validation": value,
        "interval": None,
        "metrics": {"f1": value} if value is not None else {},
        "curve": (),
        "test": TEST,
        "seconds": 60.0,
        "versions": {"torch": "2.13.0", "device": "cpu", "precision": "fp32"},
        **_KINDS[kind],
        **changes,
    }
    fields.setdefault("cell", "")
    decides = ("kind", "pair", "method", "layers", "aligner", "head", "control", "task", "language", "seed", "learning_rate")
    fields["cell"] = fields["cell"] or "/".join(str(fields.get(name, kind)) for name in decides)
    return ResultRow(kind=kind, **fields)


def over_seeds(kind: Kind, values: list[float], **changes: Any) -> list[ResultRow]:
    """Make a row a seed, from seed 0 on.

    Args:
        kind: What was run.
        values: One a seed.
        **changes: Other fields.
    """
    return [row(kind, value, seed=seed, **changes) for seed, value in enumerate(values)]
