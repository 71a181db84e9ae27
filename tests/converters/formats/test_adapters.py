"""The `adapters` format, against modules that the real `adapters` made."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from modxfer.architectures import Site
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.module import Module, Place, Scaling
from modxfer.errors import ConversionError, FormatError
from tests.builders import (
    ADAPTERS_FAMILIES,
    load_adapters_module,
    make_adapters_module,
    outputs,
    tiny_adapter_model,
    tiny_architecture,
    tiny_config,
    tiny_inputs,
    transplant,
)

pytestmark = pytest.mark.adapters

CONFIG = "adapter_config.json"
WEIGHTS = "adapter.safetensors"
PICKLE = "pytorch_adapter.bin"
BIAS = "encoder.layer.1.output.adapters.mine.adapter_up.bias"

CONFIGS = {
    "pfeiffer": "seq_bn[reduction_factor=2.4]",
    "houlsby": "double_seq_bn[reduction_factor=2.4]",
    "parallel": "par_bn[reduction_factor=2.4]",
    "scaled parallel": "scaled_par_bn[reduction_factor=4]",
    "everything": (
        "double_seq_bn[reduction_factor={'1':6,'default':2.4},ln_before=True,ln_after=True,use_gating=True,"
        "scaling='channel',residual_before_ln='post_add',original_ln_before=True,adapter_residual_before_ln=True]"
    ),
    "no normalisation after": ("seq_bn[original_ln_after=False,residual_before_ln=False,leave_out=[0],reduction_factor=0.5]"),
    "lora": "lora[r=3,alpha=7,attn_matrices=['q','k'],intermediate_lora=True,output_lora=True,leave_out=[1]]",
}
HEADS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "none": (None, {}),
    "tagging": ("tagging", {"num_labels": 5}),
    "classification": ("classification", {"num_labels": 4}),
    "plain classification": ("classification", {"num_labels": 4, "activation_function": None}),
    "question answering": ("qa", {"layers": 2}),
}


def read(folder: Path, config: Any) -> Module:
    """Read the module in a folder on the base model of a config."""
    return read_module(inspect_files(folder), tiny_architecture(config))


def stored(folder: Path) -> dict[str, Any]:
    """Load all tensors of a folder, whatever files they are in."""
    tensors: dict[str, Any] = {}
    for name in (WEIGHTS, "model_head.safetensors"):
        if (folder / name).is_file():
            tensors |= load_file(folder / name)
    for name in (PICKLE, "pytorch_model_head.bin"):
        if (folder / name).is_file():
            tensors |= {key: tensor.numpy() for key, tensor in torch.load(folder / name, weights_only=True).items()}
    return tensors


def edit(folder: Path, **changes: Any) -> None:
    """Change keys of a module's config; those of the inner one are given as `inner`."""
    config = json.loads((folder / CONFIG).read_text())
    inner = changes.pop("inner", {})
    config.update(changes)
    if inner:
        config["config"].update(inner)
    (folder / CONFIG).write_text(json.dumps({key: value for key, value in config.items() if value != "REMOVE"}))


def change_tensors(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the tensors of a module's file."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


@pytest.fixture
def simple(tmp_path: Path) -> tuple[Path, Any]:
    """Make a Pfeiffer bottleneck with a tagging head on a two-layer BERT."""
    config = tiny_config("bert", layers=2)
    make_adapters_module(tmp_path / "module", tiny_adapter_model(config), CONFIGS["pfeiffer"], head="tagging")
    return tmp_path / "module", config


@pytest.mark.parametrize("family", ADAPTERS_FAMILIES)
@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("pfeiffer", "tagging"),
        ("pfeiffer", "none"),
        ("houlsby", "classification"),
        ("parallel", "plain classification"),
        ("scaled parallel", "question answering"),
        ("everything", "tagging"),
        ("no normalisation after", "none"),
        ("lora", "tagging"),
    ],
)
def test_round_trip_is_exact(tmp_path: Path, family: str, kind: str, head: str) -> None:
    """A module read and written again has the same bits, configs, and outputs in `adapters`."""
    config, (method, options) = tiny_config(family, layers=2), HEADS[head]
    made = make_adapters_module(
        tmp_path / "made",
        tiny_adapter_model(config),
        CONFIGS[kind],
        head=method,
        head_options=options,
        safetensors=head == "none",
    )
    (tmp_path / "written").mkdir()
    write_module(read(tmp_path / "made", config), tiny_architecture(config), tmp_path / "written")

    before, after = stored(tmp_path / "made"), stored(tmp_path / "written")
    assert set(after) == set(before)
    for key, tensor in after.items():
        assert tensor.dtype == before[key].dtype
        np.testing.assert_array_equal(tensor, before[key])
    for name in (CONFIG, "head_config.json"):
        assert (tmp_path / "made" / name).exists() == (tmp_path / "written" / name).exists()
        if (tmp_path / "made" / name).exists():
            assert json.loads((tmp_path / "written" / name).read_text()) == json.loads((tmp_path / "made" / name).read_text())
    loaded, ids = load_adapters_module(tmp_path / "written", tiny_adapter_model(config)), tiny_inputs(config)
    for left, right in zip(outputs(made, ids), outputs(loaded, ids), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize(
    ("kind", "routes"),
    [
        ("pfeiffer", {"ffn": "ffn.output -> ffn_sum.output"}),
        (
            "houlsby",
            {
                "attention": "attention_output.output -> attention_sum.output",
                "ffn": "ffn_down.output -> ffn_sum.output",
            },
        ),
        ("parallel", {"ffn": "ffn.input -> ffn_sum.output"}),
        ("no normalisation after", {"ffn": "ffn.output -> ffn.output"}),
        (
            "lora",
            {role: f"{role}.input -> {role}.output" for role in ("query", "key", "ffn_up", "ffn_down")},
        ),
    ],
)
def test_routes_say_what_a_piece_reads_and_writes(tmp_path: Path, kind: str, routes: dict[str, str]) -> None:
    """Each variant meets the base model at the points at which `adapters` runs it."""
    config = tiny_config("distilbert", layers=2)
    make_adapters_module(tmp_path, tiny_adapter_model(config), CONFIGS[kind])
    pieces = read(tmp_path, config).pieces
    assert {place.name: f"{piece.route.reads} -> {piece.route.writes}" for place, piece in pieces.items()} == routes


@pytest.mark.parametrize("kind", ["pfeiffer", "houlsby", "parallel", "no normalisation after"])
def test_routes_hold_in_the_real_forward_pass(tmp_path: Path, kind: str) -> None:
    """A bottleneck's projection down gets just what its route's reading point carries."""
    config = tiny_config("bert", layers=2)
    model, architecture = tiny_adapter_model(config), tiny_architecture(config)
    make_adapters_module(tmp_path, model, CONFIGS[kind], name="mine")
    seen: dict[str, torch.Tensor] = {}
    wanted = {}
    for place, piece in read(tmp_path, config).pieces.items():
        site = architecture.canonical(Site(place.stack, place.layer, piece.route.reads))
        path = f"bert.{architecture.path(site)}"
        owner = architecture.family.stacks["encoder"].bottlenecks[place.name]
        adapter = f"bert.encoder.layer.{place.layer}.{owner}.adapters.mine.adapter_down"
        wanted[f"{adapter} input"] = f"{path} {site.point.side}"
    modules = dict(model.named_modules())
    for name in {text.split()[0] for text in [*wanted, *wanted.values()]}:

        def keep(_: Any, inputs: Any, output: Any, name: str = name) -> None:
            seen.setdefault(f"{name} input", inputs[0])
            seen.setdefault(f"{name} output", output)

        modules[name].register_forward_hook(keep)
    outputs(model, tiny_inputs(config))
    assert wanted
    for adapter, carried in wanted.items():
        assert torch.equal(seen[adapter], seen[carried]), (adapter, carried)


@pytest.mark.parametrize("family", ADAPTERS_FAMILIES)
@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("pfeiffer", "tagging"),
        ("everything", "classification"),
        ("parallel", "question answering"),
        ("lora", "none"),
    ],
)
def test_a_module_for_another_base_loads(tmp_path: Path, family: str, kind: str, head: str) -> None:
    """A BERT module at a student's places is loaded whole on the student, and changes its outputs."""
    config, (method, options) = tiny_config("bert", layers=3), HEADS[head]
    model = tiny_adapter_model(config)
    make_adapters_module(
        tmp_path / "made",
        model,
        CONFIGS[kind],
        head=method,
        head_options=options,
        safetensors=kind != "everything",
    )
    other = tiny_config(family, hidden=16, ffn=28, heads=2, layers=4, embedding=10)
    layers = {0: 2, 1: 2, 3: 0}  # the student's layer 2 gets nothing
    module = transplant(read(tmp_path / "made", config), tiny_architecture(other), layers)
    (tmp_path / "written").mkdir()
    write_module(module, tiny_architecture(other), tmp_path / "written")
    written = json.loads((tmp_path / "written" / CONFIG).read_text())
    assert (written["hidden_size"], written["model_type"], written["config"]["leave_out"]) == (
        16,
        family,
        [2],
    )
    loaded = load_adapters_module(tmp_path / "written", tiny_adapter_model(other))
    assert type(loaded).__name__ == written["model_class"]
    adapted = outputs(loaded, tiny_inputs(other))
    loaded.set_active_adapters(None)
    bare = outputs(loaded, tiny_inputs(other))
    assert not torch.allclose(adapted[0], bare[0], atol=1e-3)


@pytest.mark.parametrize("hidden", [6, 16, 27, 384, 767, 1024])
def test_reduction_factors_give_every_size(tmp_path: Path, hidden: int) -> None:
    """For every inner size there is a factor from which `adapters` computes exactly that size."""
    from modxfer.converters.formats.adapters.bottleneck import reduction_factor

    for size in range(1, 2 * hidden, max(hidden // 60, 1)):
        factor = json.loads(json.dumps(reduction_factor(hidden, size)))
        assert int(hidden // factor) == size
    assert reduction_factor(hidden, hidden) == 1


def test_sizes_that_differ_by_layer_become_a_table(tmp_path: Path) -> None:
    """One layer with another inner size gets an entry of its own, and the rest the default."""
    config = tiny_config("bert", layers=3)
    model = tiny_adapter_model(config)
    table = "seq_bn[reduction_factor={'0':6,'1':2.4,'2':2.4}]"
    make_adapters_module(tmp_path / "made", model, table)
    other = tiny_architecture(tiny_config("bert", hidden=18, layers=3))
    module = transplant(read(tmp_path / "made", config), other, {0: 0, 1: 1, 2: 2})
    (tmp_path / "written").mkdir()
    write_module(module, other, tmp_path / "written")
    factor = json.loads((tmp_path / "written" / CONFIG).read_text())["config"]["reduction_factor"]
    assert factor == {"0": 9, "default": 3.3}  # 18 // 3.6 is 4, in floats
    load_adapters_module(tmp_path / "written", tiny_adapter_model(tiny_config("bert", hidden=18, layers=3)))


def test_legacy_files_read_as_adapters_reads_them(tmp_path: Path) -> None:
    """Old key names, a pickle, no version, and an invertible adapter that was never made."""
    config = tiny_config("bert", layers=2)
    model = tiny_adapter_model(config)
    make_adapters_module(tmp_path / "old", model, "pfeiffer", name="mine", safetensors=False)
    now = read(tmp_path / "old", config)
    tensors = torch.load(tmp_path / "old" / PICKLE, weights_only=True)
    old = {key.replace(".adapters.", ".layer_text_task_adapters."): tensor for key, tensor in tensors.items()}
    assert set(old) != set(tensors)
    torch.save(old, tmp_path / "old" / PICKLE)
    inner = json.loads((tmp_path / "old" / CONFIG).read_text())["config"]
    legacy = {
        "invertible_adapter": {"block_type": "nice", "reduction_factor": 2},
        "new_attention_norm": False,
    }
    edit(
        tmp_path / "old",
        version="REMOVE",
        type="text_task",
        model_class="BertModelWithHeads",
        config={key: value for key, value in inner.items() if key != "inv_adapter"} | legacy | {"non_linearity": "gelu_orig"},
    )
    module = read(tmp_path / "old", config)
    for place, piece in now.pieces.items():
        for part, tensor in piece.parts.items():
            np.testing.assert_array_equal(module.pieces[place].parts[part], tensor)
    theirs = tiny_adapter_model(config)
    theirs.load_adapter(str(tmp_path / "old"))
    assert module.config["config"]["non_linearity"] == theirs.adapters_config.get("mine")["non_linearity"] == "gelu"
    (tmp_path / "written").mkdir()
    write_module(module, tiny_architecture(config), tmp_path / "written")
    ours = load_adapters_module(tmp_path / "written", tiny_adapter_model(config))
    theirs.set_active_adapters("mine")
    ids = tiny_inputs(config)
    assert torch.equal(outputs(ours, ids)[0], outputs(theirs, ids)[0])


@pytest.mark.parametrize("name", ["pfeiffer", "houlsby", "parallel", "scaled_parallel", "seq_bn[reduction_factor=4]"])
def test_a_config_by_name_is_what_adapters_takes_it_for(tmp_path: Path, name: str) -> None:
    """A config that is only a name has the values that `adapters` gives that name."""
    config = tiny_config("bert", layers=2)
    make_adapters_module(tmp_path, tiny_adapter_model(config), name)
    full = json.loads((tmp_path / CONFIG).read_text())["config"]
    edit(tmp_path, config=name)
    assert dict(inspect_files(tmp_path).config["config"]) == full
    assert read(tmp_path, config).pieces


def test_a_flat_config_is_understood(simple: tuple[Path, Any]) -> None:
    """A config whose keys are not under `config` is read, and the name is found in the keys."""
    folder, config = simple
    flat = json.loads((folder / CONFIG).read_text())["config"]
    (folder / CONFIG).write_text(json.dumps(flat))
    files = inspect_files(folder)
    assert (files.name, files.config["config"]) == ("mine", flat)
    assert read_module(files, tiny_architecture(config)).pieces


def test_lora_of_versions_before_1_1_has_alpha_equal_to_its_rank(tmp_path: Path) -> None:
    """Such a LoRA ran with a factor of 1 whatever its alpha said, and goes on doing so."""
    config = tiny_config("bert", layers=1)
    make_adapters_module(tmp_path, tiny_adapter_model(config), "lora[r=3,alpha=7]")
    place = Place("encoder", 0, "query")
    assert read(tmp_path, config).pieces[place].scaling == Scaling(rank=3, alpha=7.0)
    edit(tmp_path, version="adapters.1.0.1")
    assert read(tmp_path, config).pieces[place].scaling == Scaling(rank=3, alpha=3.0)


def test_a_head_of_a_plain_task_model_round_trips(tmp_path: Path) -> None:
    """A head that is part of a `transformers` class has no config of its own and keeps the class's keys."""
    import adapters
    import transformers

    config = tiny_config("roberta", layers=1)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    adapters.init(model)
    model.add_adapter("mine", config="seq_bn[reduction_factor=4]")
    model.save_adapter(str(tmp_path / "made"), "mine", use_safetensors=True)
    module = read(tmp_path / "made", config)
    assert module.head is not None
    assert module.head.task == "SEQ_CLS"
    assert {place.name for place in module.pieces if place.is_head} == {"head.dense", "head.output"}
    (tmp_path / "written").mkdir()
    write_module(module, tiny_architecture(config), tmp_path / "written")
    before, after = stored(tmp_path / "made"), stored(tmp_path / "written")
    assert {key: tensor.tolist() for key, tensor in before.items()} == {key: t.tolist() for key, t in after.items()}
    for name in (CONFIG, "head_config.json"):
        texts = [json.loads((tmp_path / where / name).read_text()) for where in ("made", "written")]
        assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("mtl_lora", "MTL-LoRA shares its matrices"),
        ("seq_bn_inv[inv_adapter='glow']", "glow, which `adapters` makes and cannot run"),
    ],
)
def test_other_methods_are_refused_by_name(tmp_path: Path, config: str, said: str) -> None:
    """A method that cannot be moved is refused, with the reason, before any weight is read."""
    tiny = tiny_config("bert", hidden=16, heads=4, layers=1)
    make_adapters_module(tmp_path, tiny_adapter_model(tiny), f"{config}", safetensors=False)
    with pytest.raises(ConversionError, match=re.escape(said)):
        inspect_files(tmp_path)


def test_a_config_is_never_a_path(simple: tuple[Path, Any], tmp_path: Path) -> None:
    """A config that names a file is refused, even if the file is there."""
    folder, _ = simple
    (tmp_path / "other.json").write_text((folder / CONFIG).read_text())
    edit(folder, config=str(tmp_path / "other.json"))
    with pytest.raises(ConversionError, match=r"other\.json"):
        inspect_files(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(f"bert.{BIAS}"), "layer.1.output, up.bias"),
        (lambda t: t.update({f"bert.{BIAS}".replace("1", "7"): np.ones(12, np.float32)}), r"layer\.7"),
        (
            lambda t: t.update({f"bert.{BIAS}".replace("mine", "other"): np.ones(12, np.float32)}),
            "adapters.other",
        ),
        (lambda t: t.update({BIAS: t[f"bert.{BIAS}"]}), "with and without `bert.`"),
        (lambda t: t.update({f"bert.{BIAS}": np.ones(13, np.float32)}), r"\(13,\), and `tiny` needs \(12\)"),
        (lambda t: t.clear(), "no tensors"),
    ],
    ids=["lost", "layer", "name", "prefix", "width", "empty"],
)
def test_damaged_tensors_are_refused(simple: tuple[Path, Any], change: Callable[[Any], Any], said: str) -> None:
    """Every key must be understood, there, and of the right shape."""
    folder, config = simple
    change_tensors(folder, change)
    with pytest.raises(FormatError, match=said):
        read(folder, config)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": 24}, "24 units wide, and `tiny` has 12"),
        ({"config": None}, "is None"),
        ({"inner": {"reduction_factor": 3}}, r"gives 4 units inside"),
        ({"inner": {"reduction_factor": -1}}, "must be above 0"),
        ({"inner": {"reduction_factor": {"0": 2.4}}}, "`reduction_factor` in `adapter_config.json` is None"),
        ({"inner": {"mh_adapter": True}}, "attention.output, "),
        ({"inner": {"ln_after": True}}, "norm_after"),
        ({"inner": {"leave_out": [0]}}, r"layer\.0\.output"),
        ({"inner": {"leave_out": "none"}}, "'none'"),
        ({"config": {"mh_adapter": False}}, "lacks output_adapter, reduction_factor, non_linearity"),
        ({"name": 5}, "`name` in .* is 5"),
    ],
)
def test_config_and_tensors_must_agree(simple: tuple[Path, Any], changes: dict[str, Any], said: str) -> None:
    """A config that asks for other tensors than the file holds is refused, and the message says which."""
    folder, config = simple
    edit(folder, **changes)
    with pytest.raises(FormatError, match=said):
        read(folder, config)


@pytest.mark.parametrize(
    ("inner", "kind", "said"),
    [
        ({"head_type": "masked_lm"}, ConversionError, "`masked_lm`"),
        ({"layers": 3}, ConversionError, "with 3 layers"),
        ({"layers": 2}, FormatError, r"heads\.mine\.4\.weight"),
        ({"num_labels": 9}, FormatError, r"\(2, 12\), and `tiny` needs \(9, 12\)"),
    ],
)
def test_heads_must_agree_with_their_config(
    simple: tuple[Path, Any], inner: dict[str, Any], kind: type[Exception], said: str
) -> None:
    """A head of an unknown kind, or with other tensors than its config asks for, is refused."""
    folder, config = simple
    path = folder / "head_config.json"
    head = json.loads(path.read_text())
    head["config"].update(inner)
    path.write_text(json.dumps(head))
    with pytest.raises(kind, match=said):
        read(folder, config)


def test_pieces_that_no_config_can_describe_are_refused(simple: tuple[Path, Any], tmp_path: Path) -> None:
    """Layers with bottlenecks in different sub-blocks cannot be said in one config."""
    folder, config = simple
    module = read(folder, config)
    piece = module.pieces[Place("encoder", 1, "ffn")]
    odd = replace(module, pieces={**module.pieces, Place("encoder", 1, "attention"): piece})
    (tmp_path / "written").mkdir()
    with pytest.raises(ConversionError, match="different submodules"):
        write_module(odd, tiny_architecture(config), tmp_path / "written")
    assert list((tmp_path / "written").iterdir()) == []


def test_no_module_is_written_for_a_family_that_adapters_lacks(simple: tuple[Path, Any], tmp_path: Path) -> None:
    """`adapters` has no class for CamemBERT, so a module for it could never be loaded."""
    folder, config = simple
    with pytest.raises(ConversionError, match="`camembert`"):
        write_module(read(folder, config), tiny_architecture(tiny_config("camembert", layers=2)), tmp_path)


@pytest.mark.parametrize(
    ("kind", "left_out", "expected"),
    [
        ("houlsby", {"attention"}, {"mh_adapter": False, "output_adapter": True}),
        ("houlsby", {"ffn"}, {"mh_adapter": True, "output_adapter": False}),
        (
            "lora",
            {"query", "key"},
            {"attn_matrices": [], "selfattn_lora": False, "intermediate_lora": True, "output_lora": True},
        ),
        ("lora", {"ffn_up"}, {"attn_matrices": ["q", "k"], "selfattn_lora": True, "intermediate_lora": False}),
    ],
)
def test_submodules_without_a_piece_are_switched_off(
    tmp_path: Path, kind: str, left_out: set[str], expected: dict[str, Any]
) -> None:
    """Where a module has lost all pieces of a kind, the config no longer asks for them."""
    config = tiny_config("bert", layers=2)
    make_adapters_module(tmp_path / "made", tiny_adapter_model(config), CONFIGS[kind])
    module = read(tmp_path / "made", config)
    fewer = replace(module, pieces={p: piece for p, piece in module.pieces.items() if p.name not in left_out})
    (tmp_path / "written").mkdir()
    write_module(fewer, tiny_architecture(config), tmp_path / "written")
    inner = json.loads((tmp_path / "written" / CONFIG).read_text())["config"]
    assert {key: inner[key] for key in expected} == expected
    load_adapters_module(tmp_path / "written", tiny_adapter_model(config))


def test_scalings_that_differ_are_refused(tmp_path: Path) -> None:
    """One alpha holds for the whole module."""
    config = tiny_config("bert", layers=2)
    make_adapters_module(tmp_path / "made", tiny_adapter_model(config), CONFIGS["lora"])
    module = read(tmp_path / "made", config)
    place, piece = next(iter(module.pieces.items()))
    odd = replace(module, pieces={**module.pieces, place: replace(piece, scaling=Scaling(rank=3, alpha=6.0))})
    (tmp_path / "written").mkdir()
    with pytest.raises(ConversionError, match=r"scalings \[2\.0, 2\.33"):
        write_module(odd, tiny_architecture(config), tmp_path / "written")


def test_a_scaling_is_written_exactly(tmp_path: Path) -> None:
    """Another alpha, the same everywhere, arrives in the config, also where it is no whole number."""
    config = tiny_config("bert", layers=2)
    make_adapters_module(tmp_path / "made", tiny_adapter_model(config), CONFIGS["lora"])
    module = read(tmp_path / "made", config)
    scaling = Scaling(rank=3, alpha=2.5, rank_stabilised=True)
    changed = replace(module, pieces={p: replace(piece, scaling=scaling) for p, piece in module.pieces.items()})
    (tmp_path / "written").mkdir()
    write_module(changed, tiny_architecture(config), tmp_path / "written")
    inner = json.loads((tmp_path / "written" / CONFIG).read_text())["config"]
    assert inner["alpha"] / inner["r"] == pytest.approx(scaling.factor, rel=1e-15)


def test_bottlenecks_of_two_sizes_in_a_layer_are_refused(tmp_path: Path) -> None:
    """A layer has one reduction factor."""
    config = tiny_config("bert", layers=1)
    make_adapters_module(tmp_path / "made", tiny_adapter_model(config), CONFIGS["houlsby"])
    module = read(tmp_path / "made", config)
    place = Place("encoder", 0, "ffn")
    parts = module.pieces[place].parts
    smaller = {**parts, "down.weight": parts["down.weight"][:4], "down.bias": parts["down.bias"][:4]}
    smaller["up.weight"] = parts["up.weight"][:, :4]
    odd = replace(module, pieces={**module.pieces, place: replace(module.pieces[place], parts=smaller)})
    (tmp_path / "written").mkdir()
    with pytest.raises(ConversionError, match="bottlenecks of 5 and 4 units"):
        write_module(odd, tiny_architecture(config), tmp_path / "written")


def test_a_head_on_a_pooler_needs_one(tmp_path: Path) -> None:
    """DistilBERT has no pooler, so a head that reads it cannot go there."""
    config, other = tiny_config("bert", layers=1), tiny_architecture(tiny_config("distilbert", layers=1))
    model = tiny_adapter_model(config)
    options = {"layers": 1, "use_pooler": True}
    make_adapters_module(tmp_path / "made", model, CONFIGS["pfeiffer"], head="classification", head_options=options)
    module = transplant(read(tmp_path / "made", config), other, {0: 0})
    (tmp_path / "written").mkdir()
    with pytest.raises(ConversionError, match=r"pooler, and `tiny` \(distilbert\) has none"):
        write_module(module, other, tmp_path / "written")
