"""PEFT methods as data: which tensors a piece of a module has, and the space of each of their axes.

Everything that a module stores is a *piece*: a LoRA on one projection, one bottleneck, a replaced parameter, a layer of the
prediction head. A `Method` says, for each of a piece's parts, what every axis is: private to the module (a rank, a bottleneck,
labels: None), or a space of the base model that the axis *reads* or *writes*. The conversion knows nothing else of a method.

Canonical layout is that of `torch.nn.Linear`: (out, in).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from modxfer.architectures import Direction, Point, Route, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis of a tensor that indexes units of the base model.

    Attributes:
        direction: Whether the tensor reads the site or writes it; the piece's route says which site that is.
        gain: Whether each entry acts on its own unit alone (a normalisation's weight), so that it moves as a weighted
            average of entries and not as a vector.
        unserved: What a student unit gets that no teacher unit serves; not a number where nothing could stand there.
        stands_for: What of the teacher's own weights the entries stand for, so that they are right only as far as the student's
            weights say the same; empty for entries that hold by themselves.
    """

    direction: Direction
    gain: bool = False
    unserved: float = 0.0
    stands_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One kind of piece.

    Attributes:
        name: What users call it.
        parts: Part to its axes, in order.
        optional: Parts that a piece may lack.
        offsets: Part whose reading axis may come with a constant, to the part that takes the constant up.
        update: The parts that make the piece's additive update, reading part first; empty if it makes none.
    """

    name: str
    parts: Mapping[str, tuple[Axis | None, ...]]
    optional: frozenset[str] = frozenset()
    offsets: Mapping[str, str] = field(default_factory=dict)
    update: tuple[str, str] | tuple[()] = ()

    @property
    def added(self) -> frozenset[str]:
        """The parts that write, and so carry the factor of what the piece adds; gains multiply what is there."""
        return frozenset(
            part
            for part, axes in self.parts.items()
            if any(axis is not None and axis.direction is Direction.WRITES and not axis.gain for axis in axes)
        )


_READS, _WRITES = Axis(direction=Direction.READS), Axis(direction=Direction.WRITES)
_READS_GAIN = Axis(direction=Direction.READS, gain=True, unserved=1.0)
_READS_SHIFT = Axis(direction=Direction.READS, gain=True)
_WRITES_GAIN = Axis(direction=Direction.WRITES, gain=True, unserved=1.0)
_READS_EACH = Axis(direction=Direction.READS, unserved=math.nan)
_WRITES_EACH = Axis(direction=Direction.WRITES, unserved=math.nan)
_NORMS = Axis(direction=Direction.WRITES, gain=True, unserved=math.nan, stands_for="the norms of the teacher's rows")

LORA = Method(
    name="lora",
    parts={"down": (None, _READS), "up": (_WRITES, None), "bias": (_WRITES,), "magnitude": (_NORMS,)},
    optional=frozenset({"bias", "magnitude"}),
    update=("down", "up"),
)
"""Hu et al. 2021 (arXiv 2106.09685): the projection's output gains scaling * (up @ down @ input + bias). With a magnitude it is
DoRA (Liu et al. 2024, arXiv 2402.09353): each row of the projection's weight, update included, is scaled to that norm."""

BOTTLENECK = Method(
    name="bottleneck",
    parts={
        "norm_before.weight": (_READS_GAIN,),
        "norm_before.bias": (_READS_SHIFT,),
        "down.weight": (None, _READS),
        "down.bias": (None,),
        "up.weight": (_WRITES, None),
        "up.bias": (_WRITES,),
        "scaling": (None,),
        "scaling_per_unit": (_WRITES_GAIN,),
        "norm_after.weight": (_WRITES_GAIN,),
        "norm_after.bias": (_WRITES,),
        "gate.weight": (None, _READS),
        "gate.bias": (None,),
    },
    optional=frozenset(
        {
            "norm_before.weight",
            "norm_before.bias",
            "scaling",
            "scaling_per_unit",
            "norm_after.weight",
            "norm_after.bias",
            "gate.weight",
            "gate.bias",
        }
    ),
    offsets={"down.weight": "down.bias", "gate.weight": "gate.bias"},
    update=("down.weight", "up.weight"),
)
"""up @ f(down @ input): Houlsby et al. 2019 (arXiv 1902.00751), Pfeiffer et al. 2020 (2005.00247), He et al. 2021
(2110.04366)."""

LINEAR = Method(
    name="linear",
    parts={"weight": (_WRITES, _READS), "bias": (_WRITES,)},
    optional=frozenset({"weight", "bias"}),
    offsets={"weight": "bias"},
)
"""A whole linear layer that the module replaces: `modules_to_save`, trained biases, a head's hidden layer."""

LOOKUP = Method(name="lookup", parts={"weight": (_WRITES, _READS_EACH)})
"""Whole embeddings that the module replaces: a column for each token, and none can be left out."""

PREDICTOR = Method(
    name="predictor",
    parts={"weight": (_WRITES_EACH, _READS), "bias": (_WRITES_EACH,)},
    optional=frozenset({"weight", "bias"}),
)
"""A whole layer that predicts tokens and that the module replaces: a row for each token, and none can be left out."""

NORM = Method(
    name="norm",
    parts={"weight": (_WRITES_GAIN,), "bias": (_WRITES,)},
    optional=frozenset({"weight", "bias"}),
)
"""A whole normalisation that the module replaces."""

OUTPUT = Method(
    name="output",
    parts={"weight": (None, _READS), "bias": (None,)},
    optional=frozenset({"bias"}),
    offsets={"weight": "bias"},
)
"""The last layer of a prediction head: one row a label."""

IA3 = Method(
    name="ia3",
    parts={"output_gain": (_WRITES_GAIN,), "input_gain": (_READS_GAIN,)},
    optional=frozenset({"output_gain", "input_gain"}),
)
"""Liu et al. 2022 (arXiv 2205.05638): gains on what a projection puts out, or on what it takes in."""

PREFIX = Method(name="prefix", parts={"prefix": (None, _WRITES)})
"""Li and Liang 2021 (arXiv 2101.00190): keys, or values, of virtual tokens in front of a layer's own; shape (tokens, units)."""

PROMPT = Method(name="prompt", parts={"prompt": (None, _WRITES)})
"""Lester et al. 2021 (arXiv 2104.08691): embeddings of virtual tokens in front of a text's own; shape (tokens, units)."""

METHODS: Mapping[str, Method] = {method.name: method for method in (LORA, BOTTLENECK, LINEAR, LOOKUP, PREDICTOR, NORM, OUTPUT, IA3, PREFIX, PROMPT)}
"""Name to method: the whole table."""


def route_of_role(role: str) -> Route:
    """Route of a piece that works beside one submodule, or replaces it.

    Args:
        role: The submodule's role.

    Returns:
        From the submodule's input to its output.
    """
    return Route(reads=Point(role, Side.INPUT), writes=Point(role, Side.OUTPUT))
