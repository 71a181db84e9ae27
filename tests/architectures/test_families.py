"""Rows of encoders, held against the model that transformers builds."""

from functools import cache
from typing import Any

import pytest
import torch

from modxfer.architectures import FAMILIES as TABLE
from modxfer.architectures import FINAL, Architecture, Point, Side, Site
from tests.builders import FAMILIES, tiny_architecture, tiny_config, tiny_model

HIDDEN, FFN, EMBEDDING, LAYERS, VOCAB = 12, 20, 8, 3, 50


@cache
def config_of(family: str) -> Any:
    """Make the config of a tiny base model whose widths differ wherever the family allows it."""
    return tiny_config(family, hidden=HIDDEN, ffn=FFN, embedding=EMBEDDING, layers=LAYERS, vocab=VOCAB)


@cache
def model_of(family: str, task: str | None = None) -> Any:
    """Build the base model, or a task model."""
    return tiny_model(config_of(family), task=task)


def architecture_of(family: str) -> Architecture:
    """Describe it from its config."""
    return tiny_architecture(config_of(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_roles_have_the_real_submodules_widths(family: str) -> None:
    """Every role's path is a submodule of the real model, with the widths that the table says."""
    architecture, model = architecture_of(family), model_of(family)
    for stack, layer, role, row in architecture.roles():
        submodule = model.get_submodule(architecture.role_path(stack, layer, role))
        reads = architecture.width(Site(stack, layer, Point(role, Side.INPUT)))
        writes = architecture.width(Site(stack, layer, Point(role, Side.OUTPUT)))
        if row.elementwise:
            assert isinstance(submodule, torch.nn.LayerNorm), role
            assert submodule.normalized_shape == (reads,) == (writes,), role
        elif isinstance(submodule, torch.nn.Embedding):
            assert row.transposed, role
            assert (submodule.num_embeddings, submodule.embedding_dim) == (reads, writes), role
        else:
            assert isinstance(submodule, torch.nn.Linear), role
            assert (submodule.in_features, submodule.out_features) == (reads, writes), role


@pytest.mark.parametrize("family", FAMILIES)
def test_roles_miss_no_submodule(family: str) -> None:
    """Every linear layer and every normalisation of the real model has a role, and none has two."""
    architecture = architecture_of(family)
    known = [architecture.role_path(stack, layer, role) for stack, layer, role, _ in architecture.roles()]
    real = {
        path
        for path, submodule in model_of(family).named_modules()
        if isinstance(submodule, torch.nn.Linear | torch.nn.LayerNorm) or path == "embeddings.word_embeddings"
    }
    assert set(known) == real
    assert len(known) == len(set(known))


@pytest.mark.parametrize("family", FAMILIES)
def test_prefix_is_the_attribute_of_the_base_model(family: str) -> None:
    """A task model holds its base model under the row's prefix."""
    assert TABLE[family].prefix == model_of(family).base_model_prefix
    assert hasattr(model_of(family, "TOKEN_CLS"), TABLE[family].prefix)


@pytest.mark.parametrize("task", ["TOKEN_CLS", "SEQ_CLS", "QUESTION_ANS"])
@pytest.mark.parametrize("family", FAMILIES)
def test_heads_are_all_linear_layers_outside_the_base_model(family: str, task: str) -> None:
    """The head of a task is exactly the linear layers that the task model has outside its base model."""
    row, model = TABLE[family], model_of(family, task)
    outside = {
        path
        for path, submodule in model.named_modules()
        if isinstance(submodule, torch.nn.Linear) and not path.startswith(f"{row.prefix}.")
    }
    assert set(row.heads[task].values()) == outside
    assert model.get_submodule(row.heads[task]["output"]).in_features == HIDDEN


@pytest.mark.parametrize("family", FAMILIES)
def test_final_is_the_last_hidden_state(family: str) -> None:
    """What the final submodule puts out is what the model gives as its last hidden state."""
    architecture, model = architecture_of(family), model_of(family)
    seen: list[torch.Tensor] = []
    path = architecture.path(Site("", None, FINAL))
    handle = model.get_submodule(path).register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        output = model(torch.arange(4, 11).reshape(1, -1)).last_hidden_state
    handle.remove()
    assert torch.equal(seen[0], output)
    assert architecture.width(Site("", None, FINAL)) == HIDDEN == output.shape[-1]


@pytest.mark.parametrize("family", FAMILIES)
def test_same_points_carry_the_same_activations(family: str) -> None:
    """Points that the row says are the same hold equal activations in the real model."""
    architecture, model = architecture_of(family), model_of(family)
    stack = architecture.family.stacks["encoder"]
    assert stack.same
    for point, original in stack.same.items():
        site, canonical = Site("encoder", 1, point), architecture.canonical(Site("encoder", 1, point))
        assert canonical == Site("encoder", 1, original)
        assert torch.equal(activation(model, architecture, site), activation(model, architecture, canonical))


def activation(model: Any, architecture: Architecture, site: Site) -> torch.Tensor:
    """Run the model and take down what is at a site."""
    seen: list[torch.Tensor] = []
    submodule = model.get_submodule(architecture.path(site))
    if site.point.side is Side.INPUT:
        handle = submodule.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    else:
        handle = submodule.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        model(torch.arange(4, 11).reshape(1, -1))
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_bottleneck_places_are_in_the_layer(family: str) -> None:
    """A bottleneck's place is there in a layer; DistilBERT gets its own from `adapters`."""
    model, stack = model_of(family), TABLE[family].stacks["encoder"]
    assert set(stack.bottlenecks) == {"attention", "ffn"}
    for path in stack.bottlenecks.values():
        if family != "distilbert":
            model.get_submodule(f"{stack.layer.format(layer=0)}.{path}")


@pytest.mark.adapters
def test_bottleneck_places_of_distilbert() -> None:
    """DistilBERT's bottlenecks hang where `adapters` puts them."""
    from tests.builders import tiny_adapter_model

    model = tiny_adapter_model(config_of("distilbert")).distilbert
    stack = TABLE["distilbert"].stacks["encoder"]
    for path in stack.bottlenecks.values():
        model.get_submodule(f"{stack.layer.format(layer=0)}.{path}")
