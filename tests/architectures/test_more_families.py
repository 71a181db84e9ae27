"""The rows of later encoders, encoder-decoders and image encoders, held against the models that transformers builds."""

from functools import cache
from typing import Any

import pytest
import torch
import transformers

from modxfer.architectures import FAMILIES, FINAL, Architecture, Kind, Point, Side, Site, architecture_from_config
from tests.architectures.test_decoders import CASES as DECODER_CASES
from tests.builders import FAMILIES as ENCODERS
from tests.planting import architecture_of, inputs, make, tiny

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "deberta-v2": ("deberta-v2", {}),
    "deberta-v2 with projections for positions": ("deberta-v2", {"share_att_key": False}),
    "deberta-v2 with narrow embeddings": ("deberta-v2", {"embedding_size": 10}),
    "modernbert": ("modernbert", {}),
    "mpnet": ("mpnet", {}),
    "t5": ("t5", {}),
    "t5 with a gate": ("t5", {"feed_forward_proj": "gated-gelu"}),
    "t5 encoder": ("t5", {"architectures": ["T5EncoderModel"], "feed_forward_proj": "gated-silu"}),
    "mt5": ("mt5", {}),
    "mt5 without a gate": ("mt5", {"feed_forward_proj": "relu"}),
    "bart": ("bart", {"decoder_layers": 3, "decoder_ffn_dim": 44}),
    "mbart": ("mbart", {"encoder_layers": 3}),
    "vit": ("vit", {}),
    "clip": ("clip", {}),
    "clip_vision_model": ("clip_vision_model", {}),
    "clip_text_model": ("clip_text_model", {}),
}
"""Name to `model_type` and what else the config says."""

_AUTO_CLASSES = {
    "TOKEN_CLS": transformers.AutoModelForTokenClassification,
    "SEQ_CLS": transformers.AutoModelForSequenceClassification,
    "QUESTION_ANS": transformers.AutoModelForQuestionAnswering,
    "IMAGE_CLS": transformers.AutoModelForImageClassification,
}

HEADS = [(case, task) for case in CASES for task in _AUTO_CLASSES if case in ("mpnet", "modernbert", "deberta-v2")]
HEADS = [(case, task) for case, task in HEADS if task != "IMAGE_CLS"]
HEADS += [(case, task) for case in ("t5", "mt5", "bart", "mbart") for task in ("SEQ_CLS", "QUESTION_ANS")]
HEADS += [(case, "TOKEN_CLS") for case in ("t5", "mt5", "t5 encoder")]
HEADS += [("vit", "IMAGE_CLS"), ("clip", "IMAGE_CLS")]


@cache
def config_of(case: str) -> Any:
    """Make the config of a tiny base model."""
    model_type, changes = CASES[case]
    return tiny(model_type, **changes)


@cache
def architecture(case: str) -> Architecture:
    """Describe it from its config."""
    return architecture_of(config_of(case))


@cache
def model_of(case: str, task: str | None = None) -> Any:
    """Build the base model, or a task model."""
    auto_class = getattr(transformers, architecture(case).family.auto_class) if task is None else _AUTO_CLASSES[task]
    return make(config_of(case), auto_class, dtype=torch.float32)


def given(case: str) -> dict[str, Any]:
    """Make what the base model takes."""
    made = inputs(config_of(case), dtype=torch.float32)
    if architecture(case).family.kind is Kind.TEXT_AND_IMAGE:
        made["input_ids"] = inputs(config_of(case).text_config)["input_ids"]
    if not architecture(case).family.kind.has_decoder_inputs:
        made.pop("decoder_input_ids", None)
    return made


def run(case: str) -> Any:
    """Run the base model."""
    with torch.no_grad():
        return model_of(case)(**given(case))


@pytest.mark.parametrize("case", CASES)
def test_roles_have_the_real_submodules_widths(case: str) -> None:
    """Every role's weight is there in the real model, as large as the table says, also where several roles share it."""
    base, model = architecture(case), model_of(case)
    for stack, layer, role, row in base.roles():
        if row.outside_base:
            continue
        weight = model.get_submodule(base.role_path(stack, layer, role)).weight
        writes, reads = base.matrix_rows(stack, role), base.dimensions[row.reads]
        whole = (reads, writes) if row.transposed else (writes, reads)
        assert tuple(weight.shape) == ((writes,) if row.elementwise else whole), role
        if row.biased:
            assert getattr(model.get_submodule(base.role_path(stack, layer, role)), "bias", None) is not None, role


@pytest.mark.parametrize("case", CASES)
def test_roles_miss_no_submodule(case: str) -> None:
    """Every linear layer and every normalisation of the real model has a role; what DeBERTa does to its table of positions has
    none.
    """
    base = architecture(case)
    known = {base.role_path(stack, layer, role) for stack, layer, role, row in base.roles() if not row.outside_base}
    real = {
        path
        for path, submodule in model_of(case).named_modules()
        if isinstance(submodule, torch.nn.Linear) or type(submodule).__name__.endswith(("LayerNorm", "RMSNorm"))
    }
    assert real - {"encoder.LayerNorm"} == {
        path for path in known if not isinstance(model_of(case).get_submodule(path), torch.nn.Embedding)
    }


@pytest.mark.parametrize(("case", "task"), HEADS)
def test_heads_are_all_linear_layers_outside_the_base_model(case: str, task: str) -> None:
    """The head of a task, and roles outside the base model, are exactly the linear layers that a task model has beside those of
    its base model, which is where the row says.
    """
    base, model = architecture(case), model_of(case, task)
    prefix = base.prefix(task)
    roles = [(stack, layer, role) for stack, layer, role, row in base.roles() if not row.outside_base]
    inside = {prefix + base.role_path(stack, layer, role) for stack, layer, role in roles}
    outside = {row.path for *_, row in base.roles() if row.outside_base and not row.elementwise} - {"lm_head"}
    linear = {path for path, submodule in model.named_modules() if isinstance(submodule, torch.nn.Linear)}
    assert len(linear & inside) >= 12
    assert linear - inside == set(base.family.heads[task].values()) | outside
    assert model.get_submodule(base.family.heads[task]["output"]).in_features == base.dimensions["hidden"]


def activation(case: str, path: str, side: Side) -> torch.Tensor:
    """Run the base model and take down what goes into a submodule, or comes out of it."""
    seen: list[Any] = []
    submodule = model_of(case).get_submodule(path)
    if side is Side.INPUT:
        handle = submodule.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    else:
        handle = submodule.register_forward_hook(lambda _, __, output: seen.append(output))
    run(case)
    handle.remove()
    found = seen[0]
    return found if isinstance(found, torch.Tensor) else found[0]


@pytest.mark.parametrize("case", CASES)
def test_final_is_the_last_hidden_state(case: str) -> None:
    """What the final submodule puts out is what the model gives as its last hidden state; of CLIP, that of the images."""
    base, result = architecture(case), run(case)
    result = result.vision_model_output if base.family.kind is Kind.TEXT_AND_IMAGE else result
    assert torch.equal(activation(case, base.path(Site("", None, FINAL)), Side.OUTPUT), result.last_hidden_state)


@pytest.mark.parametrize("case", CASES)
def test_same_points_carry_the_same_activations(case: str) -> None:
    """Points that the row says are the same hold equal activations in the real model, in every stack."""
    base = architecture(case)
    for name, stack in base.family.stacks.items():
        assert stack.same
        for point, original in stack.same.items():
            if point.role.startswith("position_"):  # it has the units of the other point, and not its activations
                continue
            one, other = (Site(name, 1, at) for at in (point, original))
            assert base.canonical(one) == other
            assert base.canonical(other) == other
            assert torch.equal(activation(case, base.path(one), point.side), activation(case, base.path(other), original.side))


def test_fused_halves_of_modernbert_are_gate_and_up() -> None:
    """The activation is on the first half of ModernBERT's fused matrix, which therefore is the gate."""
    base, model = architecture("modernbert"), model_of("modernbert")
    gate, up = (base.rows("encoder", role) for role in ("ffn_gate", "ffn_up"))
    assert gate is not None
    assert up is not None
    whole = activation("modernbert", "layers.1.mlp.Wi", Side.OUTPUT)
    inner = activation("modernbert", "layers.1.mlp.Wo", Side.INPUT)
    torch.testing.assert_close(model.layers[1].mlp.act(whole[..., gate]) * whole[..., up], inner)


def test_first_layer_of_modernbert_has_no_attention_norm() -> None:
    """ModernBERT normalises its embeddings, and its first attention not again."""
    layers = [layer for _, layer, role, _ in architecture("modernbert").roles() if role == "attention_norm"]
    assert layers == [1, 2, 3]


@pytest.mark.parametrize(
    ("said", "roles"),
    [
        ({"pos_att_type": "p2c|c2p", "share_att_key": False}, {"position_key", "position_query"}),
        ({"pos_att_type": ["c2p"]}, {"position_key"}),
        ({"pos_att_type": "P2C"}, {"position_query"}),
        ({"pos_att_type": None}, set()),
        ({"pos_att_type": "p2c|c2p", "share_att_key": True}, set()),
        ({"pos_att_type": "p2c|c2p", "relative_attention": False}, set()),
    ],
)
def test_deberta_has_projections_for_positions_as_its_config_says(said: dict[str, Any], roles: set[str]) -> None:
    """Whether DeBERTa has them follows from three keys, in the older spelling of configs too."""
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 40, "num_attention_heads": 3}
    base = architecture_from_config({"model_type": "deberta-v2", "relative_attention": True, **sizes, **said}, name="d")
    assert {role for _, _, role, _ in base.roles() if role.startswith("position_")} == roles


def test_old_configs_of_t5_lack_keys() -> None:
    """Older configs of T5 and mT5 say neither the decoder's depth nor the kind of feed-forward, whose defaults differ."""
    sizes = {"d_model": 24, "d_kv": 8, "d_ff": 40, "num_heads": 4, "num_layers": 3}
    t5 = architecture_from_config({"model_type": "t5", **sizes}, name="t")
    mt5 = architecture_from_config({"model_type": "mt5", **sizes}, name="m")
    assert t5.depths == mt5.depths == {"encoder": 3, "decoder": 3}
    assert t5.dimensions["heads"] == 32
    assert "ffn_gate" not in t5.family.stacks["encoder"].roles
    assert "ffn_gate" in mt5.family.stacks["decoder"].roles


def test_towers_of_clip_have_their_own_widths() -> None:
    """The residual streams of CLIP's two towers are two dimensions."""
    base = architecture("clip")
    assert base.residuals == {"hidden", "text_hidden"}
    widths = [base.width(Site(stack, 0, Point("query", Side.INPUT))) for stack in ("vision", "text")]
    assert widths == [24, 32]


@pytest.mark.parametrize("case", ["vit", "clip_vision_model", "clip_text_model"])
def test_renamed_submodules_have_both_names(case: str) -> None:
    """Where transformers 5 renamed submodules, one of the two rows has the names of the installed version."""
    base = architecture(case)
    other = base.with_other_names()
    real = dict(model_of(case).named_modules())
    paths = [one.role_path("encoder", 1, "query") for one in (base, other)]
    assert [path in real for path in paths] == [True, False]
    assert other.with_other_names() == base
    assert (other.dimensions, other.depths) == (base.dimensions, base.depths)
    assert [role for *_, role, _ in other.roles()] == [role for *_, role, _ in base.roles()]


def test_kinds_say_what_a_position_has_read() -> None:
    """A kind says whether tokens are matched by their ends, whether a decoder is fed too, and what the model takes."""
    found = {case: architecture(case).family.kind for case in CASES}
    assert {case for case, kind in found.items() if kind.has_decoder_inputs} == {
        case for case in CASES if case.startswith(("t5", "mt5", "bart", "mbart")) and case != "t5 encoder"
    }
    assert {case for case, kind in found.items() if kind.reads_images} == {"vit", "clip", "clip_vision_model"}
    assert not found["vit"].reads_text
    assert found["clip_text_model"].is_causal
    assert found["bart"].is_causal
    assert not found["t5 encoder"].is_causal


def test_every_family_has_a_case() -> None:
    """No row is in the table without a real model that it is held against."""
    cases = [*CASES.values(), *DECODER_CASES.values()]
    assert {model_type for model_type, _ in cases} | set(ENCODERS) == set(FAMILIES)
