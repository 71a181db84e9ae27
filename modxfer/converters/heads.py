"""What becomes of a prediction head on its way to a student."""

from dataclasses import replace

from modxfer.architectures import Architecture
from modxfer.converters.formats import adapters_head_shape, head_shape, static_task
from modxfer.converters.module import Module


def drop_head(module: Module) -> tuple[Module, list[str]]:
    """Leave the prediction head behind.

    Args:
        module: The module, on the teacher.

    Returns:
        The module without its head, and a sentence for the record if it had one.
    """
    if module.head is None:
        return module, []
    return _without_head(module), ["prediction head: left behind, as asked"]


def fit_head(module: Module, teacher: Architecture, student: Architecture) -> tuple[Module, list[str]]:
    """Keep the prediction head if the student can have the same, else leave it behind.

    In the `adapters` format a flexible head is the same on every base model, unless it reads a pooler that the student lacks.
    Other heads are what the student's own task model has: other layers maybe, or another activation between them.

    Args:
        module: The module, on the teacher.
        teacher: The teacher's structure.
        student: The student's structure.

    Returns:
        The module, with its head or without, and a sentence for the record if it was left behind.
    """
    if module.head is None:
        return module, []
    if module.format == "adapters":
        shape = adapters_head_shape(module.head, teacher)
        is_own = static_task(module.head.config) is not None
        wanted = head_shape(student, module.head.task) if is_own else shape
        possible = shape == wanted and not (shape is not None and shape.pooled and "pooler" not in student.family.modules)
    else:
        shape, wanted = head_shape(teacher, module.head.task), head_shape(student, module.head.task)
        possible = shape == wanted
    saved = {place.name.removeprefix("head.") for place in module.pieces if place.is_head}
    if module.format == "peft" and shape is not None and saved and saved < set(shape.parts):
        return _without_head(module), [
            f"prediction head: it has {shape}, and the module holds only the last of them; train a new one"
        ]
    if possible:
        return module, []
    has = "no such pooler" if shape == wanted else str(wanted or "no head")
    return _without_head(module), [
        f"prediction head: it has {shape}, and {student.model_type} has {has} for {module.head.task}; train a new one"
    ]


def _without_head(module: Module) -> Module:
    pieces = {place: piece for place, piece in module.pieces.items() if not place.is_head}
    return replace(module, pieces=pieces, head=None)
