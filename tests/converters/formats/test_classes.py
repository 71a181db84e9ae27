"""Names of model classes, and of submodules in `adapters`."""

from dataclasses import replace

import pytest

from modxfer.architectures import FAMILIES, Architecture
from modxfer.converters.formats.classes import adapter_class, class_for, in_adapters
from tests.planting import architecture_of, tiny


def in_version(base: Architecture, version: int) -> Architecture:
    """Give a base model the names that its submodules have in a version of `transformers`."""
    new = FAMILIES[base.model_type]
    old = new.before_5
    return replace(base, family=new, renamed=old) if version == 5 else replace(base, family=old or new, renamed=new)


@pytest.mark.parametrize(
    ("model_type", "path"),
    [
        ("vit", "encoder.layer.1.attention.attention.key"),
        ("clip_vision_model", "vision_model.encoder.layers.1.self_attn.k_proj"),
        ("clip_text_model", "text_model.encoder.layers.1.self_attn.k_proj"),
    ],
)
def test_submodules_have_the_names_of_transformers_4_in_both_worlds(model_type: str, path: str) -> None:
    """`adapters` runs on `transformers` 4, and its files have the names from there whatever is installed here."""
    base = architecture_of(tiny(model_type))
    for version in (4, 5):
        assert in_adapters(in_version(base, version)).role_path("encoder", 1, "key") == path


@pytest.mark.parametrize(
    ("model_type", "prefix"), [("t5", "transformer."), ("clip", "clip."), ("bert", "bert."), ("llama", "model.")]
)
def test_base_model_stands_under_the_attribute_of_adapters(model_type: str, prefix: str) -> None:
    """The keys begin with the attribute under which the model class of `adapters` holds the base model."""
    assert in_adapters(architecture_of(tiny(model_type))).prefix(None) == prefix


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("gpt2", "GPT2AdapterModel"), ("clip", "CLIPAdapterModel"), ("clip_vision_model", "CLIPVisionModel")],
)
def test_class_with_flexible_heads_is_one_that_there_is(model_type: str, name: str) -> None:
    """CLIP's towers alone have no class of their own in `adapters`."""
    base = architecture_of(tiny(model_type))
    assert adapter_class(base) == class_for("BertAdapterModel", base) == class_for("BertModelWithHeads", base) == name
