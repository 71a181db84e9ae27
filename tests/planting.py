"""Planted students of any family: a tiny random teacher, and a copy of it with its units permuted that computes the same.

`plant` permutes every parameter of a model, and states the permutations as an alignment map. What a family's positions leave
free is a row of `FREEDOM`; parameters that no role names go by the sizes of their axes, or by a row of `OTHERS`.
"""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import transformers

from modxfer.alignments.alignment_map import AlignmentMap, BaseRecord, CorpusRecord, SiteMap, SitePair, SiteScore
from modxfer.architectures import FINAL, RESIDUAL, VOCABULARY, Architecture, Point, Side, Site, architecture_from_config
from tests.builders import randomise
from tests.tiny_configs import SIZES, tiny


@dataclass(frozen=True, kw_only=True)
class Freedom:
    """What may be permuted in an attention without a change of what it computes.

    Attributes:
        heads: Whole heads, a key head together with the query heads that it serves.
        units: The units of queries and keys inside a head; those of values always may.
        alike: Heads in the same order in all layers of a stack, whose self-attentions share a table of positions.
    """

    heads: bool = True
    units: bool = True
    alike: bool = False


_ROTARY = Freedom(units=False)
_SLOPES = Freedom(heads=False)
_TABLE = Freedom(alike=True)

FREEDOM: tuple[tuple[str, Mapping[str, Any], Freedom], ...] = (
    ("gpt_neox", {}, _ROTARY),
    ("llama", {}, _ROTARY),
    ("mistral", {}, _ROTARY),
    ("qwen2", {}, _ROTARY),
    ("qwen3", {}, _ROTARY),
    ("gemma2", {}, _ROTARY),
    ("gemma3_text", {}, _ROTARY),
    ("phi3", {}, _ROTARY),
    ("mixtral", {}, _ROTARY),
    ("qwen3_moe", {}, _ROTARY),
    ("modernbert", {}, _ROTARY),
    *((model_type, {}, _ROTARY) for model_type in ("cohere", "granite", "phi", "stablelm", "starcoder2")),
    ("falcon", {"alibi": True}, _SLOPES),
    ("falcon", {}, _ROTARY),
    ("bloom", {}, _SLOPES),
    ("mpnet", {}, _TABLE),
    ("t5", {}, _TABLE),
    ("mt5", {}, _TABLE),
)
"""`model_type`, what its config says, and what that leaves free; the first row that fits counts, and else all is free."""

OTHERS: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"relative_attention_bias\.weight$", (None, "order")),
    (r"pos_(key|query)_proj\.weight$", ("queries", RESIDUAL)),
    (r"pos_(key|query)_proj\.bias$", ("queries",)),
    (r"(q_norm|k_norm)\.weight$", (None,)),
)
"""End of the name of a parameter that no role names, to what its axes are: a dimension, "order" (heads), "queries" or "values"
(the units of query or value heads), or None. Of other such parameters every axis as wide as the residual stream (or as another
space outside the layers) is taken for it."""

__all__ = [  # what configs there are belongs to what is planted
    "SIZES",
    "Freedom",
    "Planted",
    "alignment_of",
    "architecture_of",
    "assert_differ",
    "assert_same",
    "inputs",
    "make",
    "plant",
    "run",
    "tiny",
]

_HEAD_POINTS = {
    ("query", Side.OUTPUT): "queries",
    ("key", Side.OUTPUT): "keys",
    ("value", Side.OUTPUT): "key values",
    ("attention_output", Side.INPUT): "values",
    ("position_key", Side.OUTPUT): "queries",  # DeBERTa's: it meets queries
    ("position_query", Side.OUTPUT): "keys",
}
_IN_RESIDUAL_UNITS = ("last_hidden_state", "pooler_output")
_OUTPUTS = ("logits", "start_logits", "end_logits", "logits_per_image", *_IN_RESIDUAL_UNITS)

Units = np.ndarray
"""Teacher unit of each student unit."""


def make(config: Any, auto_class: Any = transformers.AutoModel, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Any:
    """Make a base model or a task model: all parameters random, in eval mode."""
    torch.manual_seed(seed)
    config = copy.deepcopy(config)
    if auto_class is transformers.AutoModelForQuestionAnswering:
        config.num_labels = 2  # start and end
    model = auto_class.from_config(config)
    randomise(model.parameters(), seed=seed)
    return model.to(dtype).eval()


def architecture_of(config: Any, name: str = "tiny") -> Architecture:
    """Build our own description of the base model that a config describes."""
    return architecture_from_config(config.to_dict(), name=name)


def inputs(
    config: Any, *, texts: int = 2, tokens: int = 7, seed: int = 0, dtype: torch.dtype = torch.float64
) -> dict[str, Any]:
    """Make what a model takes: token ids that end in `eos` and hold no padding, or pixels."""
    generator = torch.Generator().manual_seed(seed)
    inner = getattr(config, "vision_config", config)
    if hasattr(inner, "patch_size"):
        size = (texts, inner.num_channels, inner.image_size, inner.image_size)
        return {"pixel_values": torch.randn(size, generator=generator, dtype=dtype)}
    vocabulary = getattr(config, "text_config", config).vocab_size
    ids = torch.randint(4, vocabulary, (texts, tokens), generator=generator)
    ids[:, -1] = 2
    made = {"input_ids": ids}
    if config.is_encoder_decoder:
        made["decoder_input_ids"] = torch.randint(4, vocabulary, (texts, tokens - 2), generator=generator)
        made["decoder_input_ids"][:, -1] = 2
    return made


def run(model: Any, given: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Run a model (a `peft` one too): its logits, or its final hidden state."""
    with torch.no_grad():
        result = model(**given)
    return {key: result[key] for key in _OUTPUTS if result.get(key) is not None}


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A student that is its teacher with permuted units.

    Attributes:
        student: The student, of the teacher's class and config.
        alignment: The permutations as an alignment map, for the identity layer map and all sites of all roles.
        units: Site to the teacher unit of each student unit there.
    """

    student: Any
    alignment: AlignmentMap
    units: Mapping[Site, Units]

    def as_student(self, outputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Say in the student's units what the teacher puts out (from `run`)."""
        order = torch.from_numpy(self.units[Site("", None, FINAL)].astype(np.int64))
        return {key: value[..., order] if key in _IN_RESIDUAL_UNITS else value for key, value in outputs.items()}


def assert_same(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], *, tolerance: float = 1e-5) -> None:
    """Hold a student's outputs against the teacher's, said in the student's units."""
    assert found.keys() == expected.keys()
    assert found
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=tolerance, atol=tolerance)


def assert_differ(found: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor], *, least: float = 1e-2) -> None:
    """Check that two models put out clearly different values."""
    assert found.keys() == other.keys()
    for key, value in other.items():
        assert (found[key] - value).abs().max() > least, key


def plant(model: Any, architecture: Architecture, *, seed: int = 1, blocks: int = 1) -> Planted:
    """Permute the units of a model: base model or task model; outside the layers within so many equal blocks."""
    plan = _Plan(config=_inner(model.config), whole=model.config, architecture=architecture, seed=seed, blocks=blocks)
    student = copy.deepcopy(model)
    named = _by_role(model, plan)
    names: dict[int, list[str]] = {}
    for name, parameter in student.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    with torch.no_grad():
        for parameter in student.parameters():
            own = names[id(parameter)]
            axes = next((named[name] for name in own if name in named), None)
            axes = axes or plan.by_size(own[0], tuple(parameter.shape))
            _permute(parameter, axes)
    sites = plan.sites()
    return Planted(student=student, alignment=alignment_of(sites, architecture), units=sites)


def alignment_of(sites: Mapping[Site, Units], teacher: Architecture, student: Architecture | None = None) -> AlignmentMap:
    """State what serves each student unit as an alignment map, for the identity layer map."""
    student = student or teacher
    score = SiteScore(
        aligner="lsa",
        tokens=1000,
        mean_correlation=1.0,
        chance=None,
        explained_by_units=1.0,
        explained_by_linear=None,
        same_index=0.0,
        constant_units=0,
    )
    maps = {
        SitePair(student.canonical(site), teacher.canonical(site)): SiteMap(
            correlation=np.ones(len(units), dtype=np.float32), assignment=units.astype(np.int32)
        )
        for site, units in sites.items()
        if student.canonical(site) == site
    }
    records = [
        BaseRecord(name=base.name, revision=None, fingerprint=base.name, model_type=base.model_type)
        for base in (teacher, student)
    ]
    return AlignmentMap(
        teacher=records[0],
        student=records[1],
        corpus=CorpusRecord(name="planted", revision=None, fingerprint="", texts=1, tokens=1000, matching="spans"),
        aligner="lsa",
        requested="lsa",
        reason="",
        parameters={},
        maps=maps,
        scores=dict.fromkeys(maps, score),
    )


def _inner(config: Any) -> Any:
    """Give the config that has the sizes."""
    for part in ("vision_config", "text_config"):
        if hasattr(config, part):
            return getattr(config, part)
    return config


@dataclass(kw_only=True)
class _Plan:
    """Draws permutations, each once."""

    config: Any
    whole: Any
    architecture: Architecture
    seed: int
    blocks: int = 1
    known: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def draw(self, size: int, *key: Any, free: bool = True) -> Units:
        """Draw a permutation that is not the identity, once for each key."""
        if not free or size == 1:
            return np.arange(size)
        if (size, *key) not in self.known:
            rng = np.random.default_rng([self.seed, len(self.known)])
            order = rng.permutation(size)
            self.known[(size, *key)] = order if (order != np.arange(size)).any() else np.roll(order, 1)
        drawn: Units = self.known[(size, *key)]
        return drawn

    @property
    def freedom(self) -> Freedom:
        """What the positions leave free."""
        for model_type, said, freedom in FREEDOM:
            fits = all(getattr(self.config, key, None) == value for key, value in said.items())
            if model_type == self.architecture.model_type and fits:
                return freedom
        return Freedom()

    def units_at(self, site: Site) -> Units:
        """Give the teacher unit of each student unit at a site."""
        dimension = self.architecture.dimension(site)
        width = self.architecture.width(site)
        if dimension == VOCABULARY:
            return np.arange(width)
        role = site.point.role.removeprefix("cross_")
        kind = _HEAD_POINTS.get((role, site.point.side))
        if site.layer is None or dimension in self.architecture.residuals or (kind is None and self._is_global(dimension)):
            return self.outside(width)
        if kind is None:
            return self.draw(width, site.stack, site.layer, dimension)
        attention = "cross_" if site.point.role.startswith("cross_") else ""
        return self.heads(kind, site.stack, site.layer, attention)

    def outside(self, width: int) -> Units:
        """Permute a space that is not of one layer: one permutation for all that are as wide."""
        size = width // self.blocks
        return np.concatenate([block * size + self.draw(size, "outside", block) for block in range(self.blocks)])

    def _is_global(self, dimension: str) -> bool:
        return any(dimension in (row.reads, row.writes) for row in self.architecture.family.modules.values())

    def _outside_widths(self) -> set[int]:
        dimensions = self.architecture.residuals | {name for name in self.architecture.dimensions if self._is_global(name)}
        return {self.architecture.dimensions[name] for name in dimensions - {VOCABULARY}}

    def counts(self, stack: str, attention: str) -> tuple[int, int, int]:
        """Give the number of query heads, that of key heads, and the units of a head."""
        roles = self.architecture.family.stacks[stack].roles
        queries = getattr(self.whole, f"{stack}_config", self.config).num_attention_heads
        width, rest = divmod(self.architecture.dimensions[roles[f"{attention}query"].writes], queries)
        keys, left = divmod(self.architecture.dimensions[roles[f"{attention}key"].writes], width)
        assert rest == left == 0
        return queries, keys, width

    def order(self, stack: str, layer: int, attention: str) -> tuple[Units, Units]:
        """Give the teacher's key head of each student's key head, and the same of the query heads."""
        queries, keys, _ = self.counts(stack, attention)
        freedom = self.freedom
        alike = freedom.alike and not attention
        where = (stack, None if alike else layer, attention)
        key_order = self.draw(keys, "order", *where, free=freedom.heads or bool(attention))
        members = [
            group * (queries // keys)
            + self.draw(queries // keys, "members", *where, group, free=freedom.heads or bool(attention))
            for group in key_order
        ]
        return key_order, np.concatenate(members)

    def heads(self, kind: str, stack: str, layer: int, attention: str) -> Units:
        """Permute the units of all heads: queries move as the keys that they meet, inputs of the output as values."""
        queries, keys, width = self.counts(stack, attention)
        key_order, query_order = self.order(stack, layer, attention)
        is_value = kind.endswith("values")
        free = is_value or self.freedom.units
        order = key_order if kind in ("keys", "key values") else query_order
        of_group = keys if kind in ("keys", "key values") else queries
        return np.concatenate(
            [
                head * width
                + self.draw(width, "units", is_value, stack, layer, attention, int(head) * keys // of_group, free=free)
                for head in order
            ]
        )

    def sites(self) -> dict[Site, Units]:
        """List all sites of all roles, with their permutations."""
        final = Site("", None, FINAL)
        found = {final: self.outside(self.architecture.width(final))}
        for stack, layer, role, _ in self.architecture.roles():
            for side in Side:
                site = Site(stack, layer, Point(role, side))
                found[site] = self.units_at(site)
        return found

    def by_size(self, name: str, shape: tuple[int, ...]) -> list[Units | None]:
        """Say how the axes of a parameter that no role names are permuted."""
        spec = next((axes for ending, axes in OTHERS if re.search(rf"(^|\.){ending}", name)), None)
        if spec is None:
            return [self.outside(size) if size in self._outside_widths() else None for size in shape]
        stack, layer = self._layer_of(name)
        found: dict[str | None, Any] = {
            None: lambda: None,
            RESIDUAL: lambda: self.outside(self.architecture.dimensions[RESIDUAL]),
            "order": lambda: self.order(stack, layer, "")[1],
            "queries": lambda: self.heads("queries", stack, layer, ""),
            "values": lambda: self.heads("values", stack, layer, ""),
        }
        return [found[axis]() for axis in spec]

    def _layer_of(self, name: str) -> tuple[str, int]:
        """Find the layer that a parameter is in; the first where it is in none."""
        for stack, table in self.architecture.family.stacks.items():
            for layer in range(self.architecture.depths[stack]):
                if f".{table.layer.format(layer=layer)}." in f".{name}":
                    return stack, layer
        return next(iter(self.architecture.family.stacks)), 0


def _by_role(model: Any, plan: _Plan) -> dict[str, list[Units | None]]:
    """Say how the axes of every parameter of every role are permuted, by its name in the model."""
    base = plan.architecture
    named: dict[str, list[Units | None]] = {}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    prefixes = ("", *(f"{prefix}." for prefix in sorted(base.family.prefixes())))
    for stack, layer, role, row in base.roles():
        path = base.role_path(stack, layer, role)
        candidates = [path] if row.outside_base else [f"{prefix}{path}" for prefix in prefixes]
        real = next((at for at in candidates if f"{at}.weight" in parameters), None)
        if real is None:  # a task model may lack one of several stacks, a base model the output layer
            continue
        writes = plan.units_at(Site(stack, layer, Point(role, Side.OUTPUT)))
        reads = plan.units_at(Site(stack, layer, Point(role, Side.INPUT)))
        rows = base.rows(stack, role) if stack else None
        if rows is not None:
            writes = _in_whole(rows, writes, height=base.matrix_rows(stack, role))
        axes: list[Units | None] = [writes] if row.elementwise else [writes, reads]
        earlier = named.get(f"{real}.weight")
        if earlier is not None:  # another role's rows of the same matrix: where neither moves a row, it stays
            first = earlier[-1 if row.transposed else 0]
            assert rows is not None
            assert first is not None
            axes[0] = np.where(np.isin(np.arange(len(first)), rows), writes, first)
        named[f"{real}.weight"] = axes[::-1] if row.transposed else axes
        named[f"{real}.bias"] = [axes[0]]
    assert any(
        plan.architecture.family.stacks[stack].layer.partition(".")[0] in name for stack in base.depths for name in named
    )
    return named


def _in_whole(rows: np.ndarray, units: Units, *, height: int) -> Units:
    """Say of all rows of a fused matrix where they come from, one role's permuted."""
    whole = np.arange(height)
    whole[rows] = rows[units]
    return whole


def _permute(parameter: torch.Tensor, axes: list[Units | None]) -> None:
    moved = parameter.detach().clone()
    for index, units in enumerate(axes):
        if units is not None:
            moved = moved.index_select(index, torch.from_numpy(units.astype(np.int64)))
    parameter.copy_(moved)
