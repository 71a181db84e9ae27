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
        of_update: Whether what it reads is what was added to the site that the piece writes, and not the activations there.
        block: Which of how many equal blocks of the site's units it indexes, which a map must keep apart; None for all units.
            Of an odd number of units the last block has the one that is left over.
        one_to_one: Why no dense map can be applied, as the end of a sentence that begins with the part; empty if one can.
    """

    direction: Direction
    gain: bool = False
    unserved: float = 0.0
    stands_for: str = ""
    of_update: bool = False
    block: tuple[int, int] | None = None
    one_to_one: str = ""

    def units(self, width: int) -> slice:
        """Say which units of its site it indexes.

        Args:
            width: Units of the site.

        Returns:
            All of them, or those of its block.
        """
        if self.block is None:
            return slice(0, width)
        index, count = self.block
        return slice(index * (width // count), width if index == count - 1 else (index + 1) * (width // count))

    @property
    def site(self) -> Direction:
        """Which of its piece's two points the axis is at: the one that is read, or the one that is written."""
        return Direction.WRITES if self.of_update else self.direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One kind of piece.

    Attributes:
        name: What users call it.
        parts: Part to its axes, in order.
        optional: Parts that a piece may lack.
        offsets: Part whose reading axis may come with a constant, to the part that takes the constant up.
        update: The parts that make the piece's additive update, reading part first; empty if it makes none.
        norm_before: The gain of a normalisation of its own through which all that it reads goes first.
        norm_after: The gain of one through which its update goes last, which then sets the update's size.
        product: Two layers ("query", "key") whose private axes meet in a product and are, for the library that runs them, as
            wide as the residual stream; empty where private axes keep their size.
        is_difference: Whether the tensors are added to the base model's own, so that zeros leave it as it is.
    """

    name: str
    parts: Mapping[str, tuple[Axis | None, ...]]
    optional: frozenset[str] = frozenset()
    offsets: Mapping[str, str] = field(default_factory=dict)
    update: tuple[str, str] | tuple[()] = ()
    norm_before: str = ""
    norm_after: str = ""
    product: tuple[str, str] | tuple[()] = ()
    is_difference: bool = False

    @property
    def has_spaces(self) -> bool:
        """Whether some axis is in a space of the base model."""
        return any(axis is not None for axes in self.parts.values() for axis in axes)

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

_GATE: Mapping[str, tuple[Axis | None, ...]] = {"gate.weight": (None, _READS), "gate.bias": (None,)}
"""A factor between 0 and 1 on all that a piece adds, computed from what it reads: Mao et al. 2021 (UniPELT, 2110.07577)."""

LORA = Method(
    name="lora",
    parts={"down": (None, _READS), "up": (_WRITES, None), "bias": (_WRITES,), "magnitude": (_NORMS,), **_GATE},
    optional=frozenset({"bias", "magnitude", *_GATE}),
    offsets={"gate.weight": "gate.bias"},
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
    norm_before="norm_before.weight",
    norm_after="norm_after.weight",
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
    parts={"output_gain": (_WRITES_GAIN,), "input_gain": (_READS_GAIN,), **_GATE},
    optional=frozenset({"output_gain", "input_gain", *_GATE}),
    offsets={"gate.weight": "gate.bias"},
)
"""Liu et al. 2022 (arXiv 2205.05638): gains on what a projection puts out, or on what it takes in."""

PREFIX = Method(
    name="prefix",
    parts={"prefix": (None, _WRITES), **_GATE},
    optional=frozenset(_GATE),
    offsets={"gate.weight": "gate.bias"},
)
"""Li and Liang 2021 (arXiv 2101.00190): keys, or values, of virtual tokens in front of a layer's own; shape (tokens, units)."""

PROMPT = Method(name="prompt", parts={"prompt": (None, _WRITES)})
"""Lester et al. 2021 (arXiv 2104.08691): embeddings of virtual tokens in front of a text's own; shape (tokens, units)."""

_BOTH = Axis(
    direction=Direction.READS,
    one_to_one="reads and writes with one matrix, which a dense map would tear in two",
)

REFT = Method(
    name="reft",
    parts={"source.weight": (None, _READS), "source.bias": (None,), "projection": (None, _BOTH)},
    offsets={"source.weight": "source.bias"},
)
"""Wu et al. 2024 (arXiv 2404.03592): h + projection.T @ (f(source @ h + bias) - projection @ h), at some positions."""


def _half(direction: Direction, index: int) -> Axis:
    return Axis(direction=direction, block=(index, 2), one_to_one="keeps two halves of units apart, which a dense map mixes")


COUPLING = Method(
    name="coupling",
    parts={
        "first.down.weight": (None, _half(Direction.READS, 1)),
        "first.down.bias": (None,),
        "first.up.weight": (_half(Direction.WRITES, 0), None),
        "first.up.bias": (_half(Direction.WRITES, 0),),
        "second.down.weight": (None, _half(Direction.READS, 0)),
        "second.down.bias": (None,),
        "second.up.weight": (_half(Direction.WRITES, 1), None),
        "second.up.bias": (_half(Direction.WRITES, 1),),
    },
)
"""Invertible adapters, Pfeiffer et al. 2020 (arXiv 2005.00052): a function of the second half of the units is added to the
first half, and then one of the first half to the second."""

DIFFERENCE = Method(
    name="difference",
    parts={"weight": (_WRITES, _READS), "bias": (_WRITES,)},
    optional=frozenset({"weight", "bias"}),
    offsets={"weight": "bias"},
    is_difference=True,
)
"""What is added to a linear layer's own parameters: Ben Zaken et al. 2022 (BitFit, arXiv 2106.10199), Ansell et al. 2022
(LT-SFT, 2110.07560)."""

GAIN_DIFFERENCE = Method(
    name="gain difference",
    parts={"weight": (Axis(direction=Direction.WRITES, gain=True),), "bias": (_WRITES,)},
    optional=frozenset({"weight", "bias"}),
    is_difference=True,
)
"""What is added to a normalisation's own parameters; a unit that nothing serves keeps its gain."""

TABLE_DIFFERENCE = Method(name="table difference", parts={"weight": (_WRITES, None)}, is_difference=True)
"""What is added to a table whose rows are no units: embeddings of positions, of kinds of token."""

OTHER = Method(name="other", parts={"difference": (None,), "value": (None,)}, optional=frozenset({"difference", "value"}))
"""A parameter, of any shape, that no role of a family covers: nothing says in which spaces it is."""

_READS_UPDATE = Axis(direction=Direction.READS, of_update=True)

FUSION = Method(
    name="fusion",
    parts={
        "query.weight": (None, _READS),
        "query.bias": (None,),
        "key.weight": (None, _READS_UPDATE),
        "key.bias": (None,),
        "value.weight": (_WRITES, _READS_UPDATE),
    },
    optional=frozenset({"value.weight"}),
    offsets={"query.weight": "query.bias"},
    product=("query", "key"),
)
"""AdapterFusion, Pfeiffer et al. 2021 (arXiv 2005.00247): the activation asks, by query and key, for the updates of several
bottlenecks, and adds value @ their mixture."""

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        *(LORA, BOTTLENECK, LINEAR, LOOKUP, PREDICTOR, NORM, OUTPUT, IA3, PREFIX, PROMPT, REFT, COUPLING, FUSION),
        *(DIFFERENCE, GAIN_DIFFERENCE, TABLE_DIFFERENCE, OTHER),
    )
}
"""Name to method: the whole table."""


def route_of_role(role: str) -> Route:
    """Route of a piece that works beside one submodule, or replaces it.

    Args:
        role: The submodule's role.

    Returns:
        From the submodule's input to its output.
    """
    return Route(reads=Point(role, Side.INPUT), writes=Point(role, Side.OUTPUT))
