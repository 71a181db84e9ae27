"""Where `adapters` meets a base model, held against what the families' rows say: activations of the real forward pass."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from modxfer.architectures import EMBEDDED, FAMILIES, Point, Side, Site
from modxfer.converters.formats import inspect_files, read_module
from modxfer.converters.formats.adapters.bottleneck import bottleneck_route
from modxfer.converters.formats.classes import in_adapters
from tests.planted_adapters import EVERYWHERE, FAMILY_CHANGES, SMALL, Pair, borrowed, config_of, make_module, pair_of
from tests.planting import run

pytestmark = pytest.mark.adapters


@pytest.fixture(autouse=True, scope="module")
def in_float64() -> Iterator[None]:
    """`adapters` makes what it adds in torch's own precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


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
        config = adapters.BnConfig(**{**EVERYWHERE, **SMALL, **options})
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
        config = adapters.BnConfig(**switches, **SMALL, leave_out=[each for each in range(9) if each != layer])
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
