"""The rows of decoders, held against the models that transformers builds."""

import re
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from transformers.pytorch_utils import Conv1D

from modxfer.architectures import VOCABULARY, Architecture, Point, Side, Site, architecture_from_config
from modxfer.architectures.families.decoders import DECODERS
from tests.planting import architecture_of, assert_same, inputs, make, plant, run, tiny

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "gpt2, usual ffn": ("gpt2", {"n_inner": None}),
    "gpt_bigcode": ("gpt_bigcode", {}),
    "gpt_bigcode, by head": ("gpt_bigcode", {"multi_query": False}),
    "gpt_neox": ("gpt_neox", {}),
    "gpt_neox, serial": ("gpt_neox", {"use_parallel_residual": False, "attention_bias": False}),
    "llama": ("llama", {}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, usual heads": ("llama", {"head_dim": None, "hidden_size": 32}),
    "mistral": ("mistral", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "qwen3, biases": ("qwen3", {"attention_bias": True}),
    "gemma2": ("gemma2", {}),
    "gemma3": ("gemma3_text", {}),
    "phi3": ("phi3", {}),
    "opt": ("opt", {}),
    "opt, norm behind": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 20}),
    "opt, no biases": ("opt", {"enable_bias": False}),
    "falcon": ("falcon", {}),
    "falcon, one norm": ("falcon", {"num_ln_in_parallel_attn": 1}),
    "falcon, one key": ("falcon", {"new_decoder_architecture": False, "multi_query": True}),
    "falcon, by head": (
        "falcon",
        {
            "new_decoder_architecture": False,
            "multi_query": False,
            "parallel_attn": False,
            "alibi": True,
            "bias": True,
            "num_kv_heads": None,
        },
    ),
    "bloom": ("bloom", {}),
    "mixtral": ("mixtral", {}),
    "qwen3_moe": ("qwen3_moe", {}),
}
"""Every row of the table, and its variants."""

TASKS = {
    None: transformers.AutoModel,
    "CAUSAL_LM": transformers.AutoModelForCausalLM,
    "SEQ_CLS": transformers.AutoModelForSequenceClassification,
    "TOKEN_CLS": transformers.AutoModelForTokenClassification,
    "QUESTION_ANS": transformers.AutoModelForQuestionAnswering,
}
MATRICES = (torch.nn.Linear, Conv1D, torch.nn.Embedding)
OUTSIDE_ROLES = r"(wpe|embed_positions|mlp\.(gate|experts\..*)|block_sparse_moe\..*|(q|k)_norm|rotary_emb.*)"
"""Matrices and gains that no role is for: positions, and experts with the router that chooses between them."""


@cache
def made(case: str, task: str | None) -> tuple[Architecture, Any]:
    """Describe a case's model, and make it."""
    model_type, changes = CASES[case]
    config = tiny(model_type, **changes)
    return architecture_of(config), make(config, TASKS[task])


def tasks_of(case: str) -> list[str | None]:
    """List the tasks that a case's family has a model for."""
    heads = DECODERS[CASES[case][0]].heads
    return [None, "CAUSAL_LM", *heads]


EVERY = [(case, task) for case in CASES for task in tasks_of(case)]


def paths(architecture: Architecture, task: str | None) -> dict[str, list[Any]]:
    """Give the path in a task model of every submodule that the row knows there."""
    prefix = "" if task is None else architecture.prefix(task)
    found: dict[str, list[Any]] = {}
    for stack, layer, role, row in architecture.roles():
        if row.outside_base and task != "CAUSAL_LM":
            continue
        path = architecture.role_path(stack, layer, role)
        found.setdefault(path if row.outside_base else prefix + path, []).append((stack, layer, role, row))
    return found


@pytest.mark.parametrize(("case", "task"), EVERY)
def test_roles_are_the_real_submodules(case: str, task: str | None) -> None:
    """Every role is in the real model with its widths, and no matrix or gain is unknown but positions, experts and heads."""
    architecture, model = made(case, task)
    known = paths(architecture, task)
    for path, roles in known.items():
        submodule = model.get_submodule(path)
        stack, _, role, row = roles[0]
        reads = architecture.dimensions[row.reads]
        writes = architecture.matrix_rows(stack, role)
        shape = (writes,) if row.elementwise else (reads, writes) if row.transposed else (writes, reads)
        assert tuple(submodule.weight.shape) == shape, path
        assert row.transposed is isinstance(submodule, Conv1D | torch.nn.Embedding), path
        assert row.biased is (getattr(submodule, "bias", None) is not None), path
        if row.rows is not None:  # every row of a matrix that roles share is one role's
            rows = [architecture.rows(stack, name) for _, _, name, _ in roles]
            assert sorted(int(row) for part in rows if part is not None for row in part) == list(range(writes))
    heads = set(architecture.family.heads.get(str(task), {}).values())
    real = {path for path, submodule in model.named_modules() if hasattr(submodule, "weight")}
    unknown = {path for path in real - set(known) - heads if not re.search(rf"(^|\.){OUTSIDE_ROLES}$", path)}
    assert unknown == set()
    assert heads <= real


@pytest.mark.parametrize("task", [None, "CAUSAL_LM"])
@pytest.mark.parametrize("case", CASES)
def test_planted_student_computes_what_its_teacher_does(case: str, task: str | None) -> None:
    """With its units permuted by role, a model puts out the same: each role reads and writes the spaces that its row says."""
    architecture, model = made(case, task)
    planted = plant(model, architecture)
    given = inputs(model.config)
    moved = [
        name
        for (name, mine), theirs in zip(planted.student.named_parameters(), model.parameters(), strict=True)
        if not torch.equal(mine, theirs)
    ]
    assert len(moved) > len(list(model.parameters())) * 0.6
    assert_same(run(planted.student, given), planted.as_student(run(model, given)))


@pytest.mark.parametrize("case", CASES)
def test_points_that_are_said_to_be_the_same_are(case: str) -> None:
    """Points that a row calls the same carry the same activations, and the final state is what the model puts out."""
    architecture, model = made(case, None)
    seen: dict[Site, torch.Tensor] = {}
    stack = architecture.family.stacks["decoder"]
    points = {*stack.same, *stack.same.values()}
    handles = []
    for point in points:
        site = Site("decoder", 1, point)
        submodule = model.get_submodule(architecture.path(site))
        if point.side is Side.INPUT:
            handles.append(submodule.register_forward_pre_hook(lambda _, given, site=site: seen.update({site: given[0]})))
        else:
            handles.append(submodule.register_forward_hook(lambda _, __, out, site=site: seen.update({site: out})))
    run(model, inputs(model.config))
    for handle in handles:
        handle.remove()
    for point, original in stack.same.items():
        one, other = (seen[Site("decoder", 1, at)].reshape(-1) for at in (point, original))  # OPT flattens its FFN's
        assert torch.equal(one, other), point


def changed(case: str, role: str, change: Any, *, at: str = "") -> torch.Tensor:
    """Run a base model whose first layer puts out something else at a role; gives the final state, or what a role gets."""
    architecture, model = made(case, None)
    rows = architecture.rows("decoder", role)
    seen: list[torch.Tensor] = []

    def hook(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        part = range(output.shape[-1]) if rows is None else rows.tolist()
        new = output.clone()
        new[..., part] = change(output[..., part])
        return new

    handles = [model.get_submodule(architecture.role_path("decoder", 0, role)).register_forward_hook(hook)]
    if at:
        submodule = model.get_submodule(architecture.role_path("decoder", 0, at))
        handles.append(submodule.register_forward_pre_hook(lambda _, given: seen.append(given[0])))
    state = run(model, inputs(model.config))["last_hidden_state"]
    for handle in handles:
        handle.remove()
    return seen[0] if at else state


def at_first_token(output: torch.Tensor) -> torch.Tensor:
    """Change what is put out at the first token."""
    return torch.cat([output[:, :1] * 2 + 1, output[:, 1:]], dim=1)


@pytest.mark.parametrize("case", CASES)
def test_roles_do_what_their_names_say(case: str) -> None:
    """The first token sees itself alone, so its query changes nothing, its key only what later tokens see, its value all; and
    what goes through no activation may change its sign.
    """
    plain = changed(case, "query", lambda output: output)
    query, key, value = (changed(case, role, at_first_token) for role in ("query", "key", "value"))
    torch.testing.assert_close(query, plain)
    torch.testing.assert_close(key[:, 0], plain[:, 0])
    assert (key - plain)[:, 1:].abs().max() > 1e-3
    assert (value - plain)[:, 0].abs().max() > 1e-3
    if "ffn_gate" in made(case, None)[0].family.stacks["decoder"].roles:
        inner = changed(case, "ffn_up", lambda output: output, at="ffn_down")
        torch.testing.assert_close(changed(case, "ffn_up", torch.neg, at="ffn_down"), -inner)


OLD: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "gpt2": (
        {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 50257},
        {"ffn": 3072, "heads": 768},
    ),
    "Llama 1": (
        {
            "model_type": "llama",
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "vocab_size": 32000,
        },
        {"heads": 4096, "kv_heads": 4096},
    ),
    "Mistral": (
        {
            "model_type": "mistral",
            "hidden_size": 4096,
            "head_dim": None,
            "intermediate_size": 14336,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": 8,
            "vocab_size": 32000,
        },
        {"heads": 4096, "kv_heads": 1024},
    ),
    "Falcon 7B": (
        {
            "model_type": "falcon",
            "alibi": False,
            "bias": False,
            "hidden_size": 4544,
            "multi_query": True,
            "new_decoder_architecture": False,
            "num_attention_heads": 71,
            "num_hidden_layers": 32,
            "parallel_attn": True,
            "vocab_size": 65024,
        },
        {"heads": 4544, "kv_heads": 64, "ffn": 18176},
    ),
    "BLOOM 560M": (
        {
            "model_type": "bloom",
            "n_embed": 1024,
            "n_inner": None,
            "n_layer": 24,
            "num_attention_heads": 16,
            "vocab_size": 250880,
        },
        {"hidden": 1024, "ffn": 4096},
    ),
}
"""Configs as old files on the Hub hold them, and the widths that they mean."""


@pytest.mark.parametrize("name", OLD)
def test_old_configs_are_read(name: str) -> None:
    """A config without the keys that later versions write means what it meant."""
    config, widths = OLD[name]
    architecture = architecture_from_config(config, name=name)
    assert {key: architecture.dimensions[key] for key in widths} == widths
    for stack, role in architecture.groups:
        rows = architecture.rows(stack, role)
        assert rows is not None
        assert len(rows) == architecture.width(Site(stack, 0, Point(role, Side.OUTPUT)))
    assert VOCABULARY in architecture.dimensions
