"""Modules of the real `adapters` on every family that it has model classes for, moved onto planted students.

The library makes a module on a tiny random teacher; it is read, converted through the planted map, written, and loaded by the
library on the student, which has to compute what the teacher does. BERT and its relatives are in `formats/test_adapters.py`.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from modxfer.alignments.layer_maps import layer_map
from modxfer.architectures import EMBEDDED, FAMILIES, Architecture, Point, Side, Site
from modxfer.converters.convert import convert_module
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.formats.adapters.bottleneck import bottleneck_route
from modxfer.converters.formats.adapters.reading import kinds_on
from modxfer.converters.formats.classes import in_adapters
from modxfer.converters.formats.reformatting import reformat
from modxfer.converters.module import BaseReference, Module
from modxfer.errors import ConversionError, FormatError
from tests.builders import load_adapters_module, make_peft_module, randomise
from tests.planting import Planted, architecture_of, assert_differ, assert_same, inputs, plant, run, tiny

pytestmark = pytest.mark.adapters

_ENCODER = ("bert", "roberta", "xlm-roberta", "electra", "distilbert")
"""Their modules are tested with the format."""

_ONE_WIDTH = {"hidden_size": 32}
"""Heads whose width is hidden size / heads: `adapters` takes no other for prefixes."""

FAMILY_CHANGES: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {},
    "llama": _ONE_WIDTH,
    "mistral": _ONE_WIDTH,
    "deberta-v2": {},
    "t5": {},
    "mt5": {},
    "bart": {},
    "mbart": {},
    "vit": {},
    "clip": {},
    "clip_vision_model": {},
    "clip_text_model": {},
}
"""`model_type` to other keys of the tiny config."""

_EVERYWHERE = {"mh_adapter": True, "output_adapter": True, "cross_adapter": True}
_SMALL: Mapping[str, Any] = {"reduction_factor": 4, "non_linearity": "relu"}
_PREFIX = ("PrefixTuningConfig", {"prefix_length": 4, "bottleneck_size": 5, "use_gating": True})

METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "seq_bn": ("SeqBnConfig", {"reduction_factor": 4}),
    "seq_bn, post_add": ("SeqBnConfig", {"reduction_factor": 4, "residual_before_ln": "post_add"}),
    "seq_bn_inv": ("SeqBnInvConfig", {"reduction_factor": 4}),
    "double_seq_bn": ("BnConfig", {**_EVERYWHERE, **_SMALL}),
    "par_bn": ("ParBnConfig", {"reduction_factor": 4}),
    "by layer": (
        "BnConfig",
        {**_EVERYWHERE, **_SMALL, "reduction_factor": {"0": 4, "3": 6, "default": 3}, "leave_out": [1], "scaling": "learned"},
    ),
    "lora, gated": ("LoRAConfig", {"r": 3, "alpha": 7, "use_gating": True}),
    "lora, query and value": ("LoRAConfig", {"r": 3, "alpha": 7}),
    "lora, everywhere": (
        "LoRAConfig",
        {"r": 3, "alpha": 7, "attn_matrices": ["q", "k", "v"], "intermediate_lora": True, "output_lora": True},
    ),
    "dora": ("LoRAConfig", {"r": 3, "alpha": 7, "use_dora": True}),
    "vera": ("VeraConfig", {"r": 3}),
    "ia3": ("IA3Config", {}),
    "prefix": _PREFIX,
    "prefix, flat": ("PrefixTuningConfig", {"prefix_length": 4, "flat": True}),
    "prompt": ("PromptTuningConfig", {"prompt_length": 4}),
    "loreft": ("LoReftConfig", {}),
    "mam": ("ConfigUnion", {"": (_PREFIX, ("ParBnConfig", {"reduction_factor": 4}))}),
    "unipelt": (
        "ConfigUnion",
        {
            "": (
                _PREFIX,
                ("LoRAConfig", {"r": 3, "use_gating": True}),
                ("SeqBnConfig", {"reduction_factor": 4, "use_gating": True}),
            )
        },
    ),
}
"""Method to the class of its config in `adapters` and what it is given; a union is given others."""

_NOT_THERE = "is not supported by this model"
_NO_RESIDUAL = "cannot access local variable 'residual'"
_NO_SQUARES = "shapes cannot be multiplied"

LIBRARY_CANNOT: Mapping[str, Mapping[str, str]] = {
    "prompt": dict.fromkeys(set(FAMILY_CHANGES) - {"deberta-v2", "vit"}, _NOT_THERE),
    "seq_bn_inv": {"vit": _NOT_THERE, "clip_vision_model": _NOT_THERE},
    "seq_bn, post_add": dict.fromkeys(set(FAMILY_CHANGES) - {"deberta-v2", "bart"}, _NO_RESIDUAL),
    "dora": {"gpt2": "must match the size"},
    "vera": {
        "gpt2": "has no attribute 'lora_A'",
        "llama": _NO_SQUARES,
        "mistral": _NO_SQUARES,
        "clip": "different hidden sizes",
    },
    "loreft": {"clip": _NO_SQUARES},
}
"""Method to the families on which the library itself fails, and what it says then."""

LIBRARY_LOSES: Mapping[str, tuple[str, ...]] = {"vera": ("clip_vision_model", "clip_text_model")}
"""Method to the families of whose modules the library stores only a part."""

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "by layer": ("gpt2", "t5", "clip"),
    "lora, gated": ("gpt2", "llama", "bart"),
    "lora, query and value": ("gpt2", "llama", "deberta-v2", "t5", "vit"),
    "prefix, flat": ("gpt2", "mbart"),
}
"""Variants of methods that are tested as another variant on all families, and those on which they are tested too."""

CELLS = [
    (family, method)
    for family in FAMILY_CHANGES
    for method in METHODS
    if family not in LIBRARY_CANNOT.get(method, {}) and family not in LIBRARY_LOSES.get(method, ())
    if method not in VARIANTS or family in VARIANTS[method]
]

ROUNDING = 2e-4
"""T5 computes its softmax in float32, whatever the precision of the model."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A teacher in `adapters` and its planted student."""

    teacher: Any
    base: Architecture
    planted: Planted
    given: Mapping[str, Any]
    plain: Mapping[str, torch.Tensor]


@pytest.fixture(autouse=True, scope="module")
def in_float64() -> Iterator[None]:
    """`adapters` makes what it adds in torch's own precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def model_of(family: str, **changes: Any) -> Any:
    """Make the model class of `adapters` for a family, all parameters random; CLIP's single towers have none of their own."""
    import adapters

    torch.manual_seed(0)
    config = tiny(family, **{**FAMILY_CHANGES.get(family, {}), **changes})
    if FAMILIES[family].adapters_class or not FAMILIES[family].in_adapters:
        model = transformers.AutoModel.from_config(config)
        adapters.init(model)
    else:
        model = adapters.AutoAdapterModel.from_config(config)
    randomise(model.parameters())
    return model.double().eval()


@cache
def pair_of(family: str, *, blocks: int = 1) -> Pair:
    """Plant a student once for all modules of a family; the halves of its units stay apart where there are two blocks."""
    teacher = model_of(family)
    config = teacher.config
    base = architecture_of(config)
    planted = plant(teacher, in_adapters(base), blocks=blocks)
    given = inputs(config)
    if hasattr(config, "text_config"):
        given |= inputs(config.text_config)
    plain = run(teacher, given)
    assert_same(run(planted.student, given), planted.as_student(plain), tolerance=ROUNDING)
    return Pair(teacher=teacher, base=base, planted=planted, given=given, plain=plain)


def config_of(method: str) -> Any:
    """Make the config of a method."""
    return _made(METHODS[method])


def _made(spec: Any) -> Any:
    import adapters

    name, values = spec
    return getattr(adapters, name)(*[_made(each) for each in values[""]]) if "" in values else getattr(adapters, name)(**values)


def make_module(model: Any, config: Any, folder: Path, *, head: str | None = None) -> Any:
    """Let `adapters` put a random module (and a head) on a model and save it; gives the model."""
    model.add_adapter("mine", config=config)
    if head is not None:
        getattr(model, f"add_{head}_head")("mine")
    own = {name: value for name, value in model.named_parameters(remove_duplicate=False) if ".mine." in f"{name}."}
    randomise({id(value): value for value in own.values()}.values(), seed=1)
    in_one_place = len({id(value) for value in own.values()}) == len(own)  # safetensors does not store a tensor twice
    model.double().eval().save_adapter(str(folder), "mine", use_safetensors=in_one_place)
    model.set_active_adapters("mine")
    return model


@contextlib.contextmanager
def borrowed(model: Any) -> Iterator[Any]:
    """Take what was put on a model off again."""
    try:
        yield model
    finally:
        model.set_active_adapters(None)
        for name in list(getattr(model, "heads", {})):
            model.delete_head(name)
        model.delete_adapter("mine")


def convert(module: Module, pair: Pair, folder: Path) -> tuple[str, ...]:
    """Convert a module through the planted map and write it; gives what is not exact."""
    depths = pair.base.depths
    layers = layer_map("skip", teacher=depths, student=depths)
    made = convert_module(module, teacher=pair.base, student=pair.base, layers=layers, alignment=pair.planted.alignment)
    assert made.dropped == ()
    assert made.tensors == sum(len(piece.parts) for piece in module.pieces.values())
    folder.mkdir()
    reference = BaseReference(name="student", model_type=pair.base.model_type)
    write_module(replace(made.module, base=reference), pair.base, folder)
    return made.approximated


def check(
    pair: Pair, config: Any, folder: Path, *, head: str | None = None, given: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Move a module to the student, and hold its outputs against the teacher's; gives what is not exact."""
    given = pair.given if given is None else given
    with borrowed(pair.teacher) as teacher:
        expected = run(make_module(teacher, config, folder / "made", head=head), given)
    approximated = convert(read_module(inspect_files(folder / "made"), pair.base), pair, folder / "converted")
    with borrowed(pair.planted.student) as student:
        found = run(load_adapters_module(folder / "converted", student).double(), given)
    assert_same(found, pair.planted.as_student(expected), tolerance=ROUNDING)
    without = pair.planted.as_student(pair.plain)
    if head is None and all(found[key].shape == value.shape for key, value in without.items()):  # a prompt adds positions
        assert_differ(found, without)
    return approximated


@pytest.mark.parametrize(("family", "method"), CELLS)
def test_module_gives_the_teachers_outputs(family: str, method: str, tmp_path: Path) -> None:
    """On the planted student a converted module computes exactly what it did on its teacher."""
    pair = pair_of(family, blocks=2 if method == "seq_bn_inv" else 1)
    approximated = check(pair, config_of(method), tmp_path)
    assert all("`magnitude` stands for" in note for note in approximated)
    assert bool(approximated) is (method == "dora")


@pytest.mark.parametrize(
    ("family", "method"), [(family, method) for method, families in LIBRARY_CANNOT.items() for family in sorted(families)]
)
def test_library_fails_where_the_table_says_so(family: str, method: str, tmp_path: Path) -> None:
    """What the table calls impossible fails in the library itself."""
    pair = pair_of(family)
    with pytest.raises(Exception, match=LIBRARY_CANNOT[method][family]):
        run(make_module(copy.deepcopy(pair.teacher), config_of(method), tmp_path), pair.given)


@pytest.mark.parametrize(
    ("method", "family"), [(method, family) for method, names in LIBRARY_LOSES.items() for family in names]
)
def test_module_that_the_library_stores_in_part_is_refused(method: str, family: str, tmp_path: Path) -> None:
    """A module whose tensors are not all there is not read."""
    pair = pair_of(family)
    with borrowed(pair.teacher) as teacher:
        make_module(teacher, config_of(method), tmp_path)
    with pytest.raises(FormatError, match="the module does not hold that"):
        read_module(inspect_files(tmp_path), pair.base)


@pytest.mark.parametrize(
    ("kind", "method"), [("prompt", "prompt"), ("invertible", "seq_bn_inv"), ("dora", "dora"), ("reft", "loreft")]
)
def test_what_the_library_cannot_run_is_not_written(kind: str, method: str) -> None:
    """The rows say just what the library fails at, and such a config is refused on these families."""
    assert {family for family in FAMILY_CHANGES if kind in FAMILIES[family].adapters_lacks} == set(LIBRARY_CANNOT[method])
    config = {"config": {"architecture": None, **config_of(method).to_dict()}}
    for family in LIBRARY_CANNOT[method]:
        base = architecture_of(tiny(family, **FAMILY_CHANGES[family]))
        with pytest.raises(ConversionError, match="`adapters` cannot run"):
            _ = [each.owners(setup) for each, setup in kinds_on(config, in_adapters(base), where="it")]


def test_every_family_in_adapters_is_tested() -> None:
    """No row says that it is in `adapters` without a test that it is."""
    assert {family for family, row in FAMILIES.items() if row.in_adapters} == {*FAMILY_CHANGES, *_ENCODER}


_ROUTES: Mapping[str, Mapping[str, Any]] = {
    "sequential": {"original_ln_before": False},
    "behind": {"original_ln_before": True},
    "parallel": {"is_parallel": True},
}
"""Kind of bottleneck to what its config says of what it reads."""


@contextlib.contextmanager
def watching(model: Any, wanted: Mapping[str, tuple[str, Side]]) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Take down what goes into submodules, or comes out of them: any name to path and side."""
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in wanted}

    def keep(name: str, side: Side) -> Callable[[Any, Any, Any], None]:
        def hook(_: Any, given: Any, output: Any) -> None:
            value = given[0] if side is Side.INPUT else output
            seen[name].append((value if isinstance(value, torch.Tensor) else value[0]).detach())

        return hook

    handles = [model.get_submodule(path).register_forward_hook(keep(name, side)) for name, (path, side) in wanted.items()]
    yield seen
    for handle in handles:
        handle.remove()


def at_sites(pair: Pair, sites: Mapping[str, Site]) -> dict[str, tuple[str, Side]]:
    """Give the submodules and their sides at which sites are measured."""
    named = in_adapters(pair.base)
    canonical = {name: named.canonical(site) for name, site in sites.items()}
    return {name: (f"{named.prefix(None)}{named.path(site)}", site.point.side) for name, site in canonical.items()}


def measured(pair: Pair, sites: Mapping[str, Site]) -> dict[str, torch.Tensor]:
    """Run the teacher without a module, and give what it has at sites, by their names."""
    with watching(pair.teacher, at_sites(pair, sites)) as seen:
        run(pair.teacher, pair.given)
    return {name: values[0] for name, values in seen.items()}


@pytest.mark.parametrize("family", FAMILY_CHANGES)
def test_bottlenecks_read_where_the_rows_say(family: str) -> None:
    """A bottleneck gets just what the base model has at the point that the family's row gives its route."""
    import adapters

    pair = pair_of(family)
    named = in_adapters(pair.base)
    for kind, options in _ROUTES.items():
        config = adapters.BnConfig(**{**_EVERYWHERE, **_SMALL, **options})
        sites, paths = {}, {}
        for stack, table in named.family.stacks.items():
            for layer in range(named.depths[stack]):
                for name, path in table.bottlenecks.items():
                    key = f"{kind} {stack} {layer} {name}"
                    owner = f"{named.prefix(None)}{table.layer.format(layer=layer)}.{path}"
                    sites[key], paths[key] = (
                        Site(stack, layer, bottleneck_route(config.to_dict(), name).reads),
                        (f"{owner}.adapters.mine.adapter_down", Side.INPUT),
                    )
        wanted = measured(pair, sites)
        with borrowed(pair.teacher) as model:
            model.add_adapter("mine", config=config)
            _silence(model, "adapter_up")
            model.double().eval().set_active_adapters("mine")
            with watching(model, paths) as seen:
                run(model, pair.given)
        assert len(wanted) == len(seen) > 3
        for key, value in wanted.items():
            torch.testing.assert_close(seen[key][0].reshape(value.shape), value, rtol=1e-6, atol=1e-6, msg=key)


def _silence(model: Any, part: str) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if part in name:
                parameter.zero_()


@pytest.mark.parametrize("family", FAMILY_CHANGES)
def test_what_is_added_arrives_where_the_rows_say(family: str) -> None:
    """The point that a bottleneck writes changes by just what the bottleneck adds, in the first layer and in the last one."""
    import adapters

    pair = pair_of(family)
    stack, depth = next(iter(in_adapters(pair.base).depths.items()))
    for name, layer in (("attention", 0), ("ffn", depth - 1)):
        switches = {"mh_adapter": name == "attention", "output_adapter": name == "ffn"}
        config = adapters.BnConfig(**switches, **_SMALL, leave_out=[each for each in range(9) if each != layer])
        sites = {name: Site(stack, layer, bottleneck_route(config.to_dict(), name).writes)}
        before = measured(pair, sites)[name]
        with borrowed(pair.teacher) as model:
            model.add_adapter("mine", config=config)
            _silence(model, "adapter_up.weight")
            bias = next(value for key, value in model.named_parameters() if "adapter_up.bias" in key)
            torch.nn.init.normal_(bias)
            model.double().eval().set_active_adapters("mine")
            with watching(model, at_sites(pair, sites)) as seen:
                run(model, pair.given)
        torch.testing.assert_close(seen[name][-1] - before, bias.expand(before.shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", [name for name in FAMILY_CHANGES if FAMILIES[name].embedded])
def test_first_layer_gets_what_the_row_says(family: str) -> None:
    """What an invertible adapter gets, or a prompt stands before, is what the base model has where the row says."""
    pair = pair_of(family)
    named = in_adapters(pair.base)
    has_invertible = "invertible" not in named.family.adapters_lacks
    path = ".".join([*named.prefix(None).split("."), *named.family.invertible.split("."), "invertible_adapters.mine"])
    path = path if has_invertible else f"{named.prefix(None)}prompt_tuning.prompt_tunings.mine"
    wanted = measured(pair, {"first": Site("", None, EMBEDDED)})["first"]
    with borrowed(pair.teacher) as model:
        model.add_adapter("mine", config=config_of("seq_bn_inv" if has_invertible else "prompt"))
        model.double().eval().set_active_adapters("mine")
        with watching(model, {"first": (".".join(filter(None, path.split("."))), Side.INPUT)}) as seen:
            run(model, pair.given)
    torch.testing.assert_close(seen["first"][0], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "t5", "bart", "vit", "clip_vision_model"])
def test_units_of_reft_get_what_a_layer_puts_out(family: str) -> None:
    """The first layer's unit gets what the row says that the layer hands on."""
    import adapters

    pair = pair_of(family)
    named = in_adapters(pair.base)
    stack = next(iter(named.depths))
    path = f"{named.prefix(None)}{named.family.stacks[stack].layer.format(layer=0)}.reft_layer"
    wanted = measured(pair, {"it": Site(stack, 0, Point("ffn", Side.OUTPUT))})["it"]
    with borrowed(pair.teacher) as model:
        model.add_adapter("mine", config=adapters.NoReftConfig(r=2, tied_weights=True))
        model.double().eval().set_active_adapters("mine")
        with watching(model, {"it": (path, Side.INPUT)}) as seen:
            run(model, pair.given)
    torch.testing.assert_close(seen["it"][0], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "t5", "bart"])
def test_gates_of_prefixes_get_what_the_attention_asks_with(family: str, tmp_path: Path) -> None:
    """The gate of a prefix gets what the piece's route says, also beside a cross-attention, whose keys are of other tokens."""
    pair = pair_of(family)
    named = in_adapters(pair.base)
    with borrowed(pair.teacher) as teacher:
        make_module(teacher, config_of("prefix"), tmp_path)
    pieces = {
        place: piece for place, piece in read_module(inspect_files(tmp_path), pair.base).pieces.items() if place.layer == 0
    }
    sites = {f"{place.stack} {place.name}": Site(place.stack, 0, piece.route.reads) for place, piece in pieces.items()}
    paths = {}
    for name in sites:
        stack, _, role = name.partition(" ")
        table = named.family.stacks[stack]
        path = next(path for key, path in table.prefixes.items() if key.startswith("cross") is role.startswith("cross"))
        paths[name] = (f"{named.prefix(None)}{table.layer.format(layer=0)}.{path}.prefix_gates.mine", Side.INPUT)
    wanted = measured(pair, sites)
    with borrowed(pair.teacher) as model:
        model.add_adapter("mine", config=config_of("prefix"))
        model.double().eval().set_active_adapters("mine")
        with watching(model, paths) as seen:
            run(model, pair.given)
    first = f"{next(iter(named.depths))} key.prefix"  # what comes later has read prefixes already
    torch.testing.assert_close(seen[first][0], wanted[first], rtol=1e-6, atol=1e-6)
    assert all(seen[name][0].shape == wanted[name].shape for name in sites)  # encoder and decoder have other numbers of tokens


def test_prefix_on_heads_of_another_width_is_refused(tmp_path: Path) -> None:
    """The library gives Llama's heads prefixes of hidden size / heads units, and fails where they have another width."""
    wide = model_of("llama", hidden_size=24)
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        run(make_module(wide, config_of("prefix"), tmp_path / "wide"), inputs(wide.config))
    pair = pair_of("llama")
    with borrowed(pair.teacher) as teacher:
        make_module(teacher, config_of("prefix"), tmp_path / "made")
    module = read_module(inspect_files(tmp_path / "made"), pair.base)
    with pytest.raises(ConversionError, match="heads of hidden size / heads units"):
        write_module(module, architecture_of(wide.config), tmp_path)


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("gpt2", "tagging"),
        ("gpt2", "classification"),
        ("llama", "classification"),
        ("mistral", "qa"),
        ("deberta-v2", "classification"),
        ("t5", "qa"),
        ("bart", "classification"),
    ],
)
def test_flexible_head_comes_along(family: str, head: str, tmp_path: Path) -> None:
    """A head of a kind that modxfer moves gives the teacher's logits on the student."""
    pair = pair_of(family)
    given = {key: value for key, value in pair.given.items() if key != "decoder_input_ids"}  # `adapters` shifts the encoder's
    assert check(pair, config_of("seq_bn"), tmp_path, head=head, given=given) == ()


@pytest.mark.parametrize(
    ("family", "head"),
    [("gpt2", "causal_lm"), ("bart", "seq2seq_lm"), ("deberta-v2", "masked_lm"), ("vit", "image_classification")],
)
def test_other_heads_are_refused(family: str, head: str, tmp_path: Path) -> None:
    """Heads that predict tokens, or see images, are refused in a sentence that says how the module moves without."""
    pair = pair_of(family)
    with borrowed(pair.teacher) as teacher:
        make_module(teacher, config_of("seq_bn"), tmp_path, head=head)
    with pytest.raises(ConversionError, match=f"a head of the kind `{head}`"):
        read_module(inspect_files(tmp_path), pair.base)


@pytest.mark.parametrize(
    ("family", "targets"), [("gpt2", ["c_attn"]), ("llama", ["q_proj", "up_proj"]), ("bart", ["q_proj", "fc2"])]
)
def test_lora_of_peft_gives_the_same_in_adapters(family: str, targets: list[str], tmp_path: Path) -> None:
    """A LoRA of `peft`, also one on a fused matrix, gives the same outputs written as one of `adapters`."""
    model = copy.deepcopy(model_of(family))
    base = architecture_of(model.config)
    plain = transformers.AutoModel.from_config(copy.deepcopy(model.config)).double().eval()
    plain.load_state_dict(model.base_model.state_dict(), strict=False)
    made = make_peft_module(tmp_path / "made", plain, target_modules=targets, fan_in_fan_out=family == "gpt2")
    module, _ = reformat(read_module(inspect_files(tmp_path / "made"), base), base, format="adapters")
    (tmp_path / "written").mkdir()
    write_module(module, base, tmp_path / "written")
    given = inputs(model.config)
    before = run(model, given)
    found = run(load_adapters_module(tmp_path / "written", model).double(), given)
    assert_same(found, run(made, given), tolerance=ROUNDING)
    assert_differ(found, before)


def test_modules_of_the_plugin_interface_are_refused(tmp_path: Path) -> None:
    """On a family without a class `adapters` has modules of another layout, which say so in a file of their own."""
    qwen = model_of("qwen2")
    make_module(qwen, config_of("seq_bn"), tmp_path)
    with pytest.raises(ConversionError, match="made through the plugin interface"):
        read_module(inspect_files(tmp_path), architecture_of(qwen.config))
    (tmp_path / "adapter_interface.json").unlink()
    with pytest.raises(ConversionError, match="has no model class for `qwen2`"):
        read_module(inspect_files(tmp_path), architecture_of(qwen.config))
