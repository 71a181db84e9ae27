"""The `peft` format, against modules that the real `peft` made."""

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

from modxfer.architectures import Side
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.methods import LINEAR
from modxfer.converters.module import BaseReference, Module, Place, Scaling
from modxfer.errors import ConversionError, FormatError
from tests.builders import (
    FAMILIES,
    load_peft_module,
    make_peft_module,
    outputs,
    targets,
    tiny_architecture,
    tiny_config,
    tiny_inputs,
    tiny_model,
    transplant,
)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def read(folder: Path, config: Any) -> Module:
    """Read the module in a folder on the base model of a config."""
    return read_module(inspect_files(folder), tiny_architecture(config))


def edit(folder: Path, **changes: Any) -> None:
    """Change keys of a module's config."""
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_tensors(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the tensors of a module's file."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


@pytest.fixture
def simple(tmp_path: Path) -> tuple[Path, Any]:
    """Make a LoRA on query and value of a two-layer BERT for token classification."""
    config = tiny_config("bert", layers=2)
    make_peft_module(tmp_path / "module", tiny_model(config, task="TOKEN_CLS"), task_type="TOKEN_CLS")
    return tmp_path / "module", config


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ranks": {"rank_pattern": {"layer.1.*": 2}, "alpha_pattern": {r".*\.0\..*": 5.5}, "use_rslora": True},
    "one layer": {"layers_to_transform": [1], "layers_pattern": "layer"},
    "regex": {"target_modules": r".*\.0\..*(query|q_lin|dense|lin1)"},
    "all-linear, own biases": {"target_modules": "all-linear", "bias": "lora_only"},
    "all biases": {"bias": "all"},
    "excluded": {"target_modules": "all-linear", "exclude_modules": ["key", "k_lin"]},
}


@pytest.mark.parametrize(
    ("option", "task"),
    [
        *((option, "TOKEN_CLS") for option in OPTIONS),
        *((option, task) for option in ("all-linear, own biases", "all biases") for task in (None, "SEQ_CLS", "QUESTION_ANS")),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip_is_exact(tmp_path: Path, family: str, task: str | None, option: str) -> None:
    """A module read and written again has the same bits, config, and outputs in `peft`."""
    config, options = tiny_config(family, layers=2), dict(OPTIONS[option])
    options.setdefault("target_modules", targets(family, "query", "output.dense"))
    if task is not None:
        heads = set(tiny_architecture(config).family.heads[task].values())
        options |= {"task_type": task, "modules_to_save": sorted({path.partition(".")[0] for path in heads})}
    made = make_peft_module(tmp_path / "made", tiny_model(config, task=task), **options)
    (tmp_path / "written").mkdir()
    write_module(read(tmp_path / "made", config), tiny_architecture(config), tmp_path / "written")

    before, after = load_file(tmp_path / "made" / WEIGHTS), load_file(tmp_path / "written" / WEIGHTS)
    copies = {key for key in before if ".original_module" in key or ".modules_to_save" in key}
    assert set(after) == set(before) - copies
    for key, tensor in after.items():
        assert tensor.dtype == before[key].dtype
        np.testing.assert_array_equal(tensor, before[key])
    configs = [json.loads((tmp_path / name / CONFIG).read_text()) for name in ("made", "written")]
    assert configs[0] == configs[1]
    loaded, ids = load_peft_module(tmp_path / "written", tiny_model(config, task=task)), tiny_inputs(config)
    for left, right in zip(outputs(made, ids), outputs(loaded, ids), strict=True):
        assert torch.equal(left, right)


def test_copies_of_trained_tensors_are_left_out(tmp_path: Path) -> None:
    """With `bias="all"`, `peft` also stores copies of the head's bias; they go, and the trained one stays."""
    config = tiny_config("roberta", layers=1)
    make_peft_module(tmp_path, tiny_model(config, task="SEQ_CLS"), task_type="SEQ_CLS", bias="all")
    stored = load_file(tmp_path / WEIGHTS)
    trained = "base_model.model.classifier.dense.bias"
    original = "base_model.model.classifier.original_module.dense.bias"
    assert not np.array_equal(stored[trained], stored[original])
    piece = read(tmp_path, config).pieces[Place("", -1, "head.dense")]
    np.testing.assert_array_equal(piece.parts["bias"], stored[trained])


def test_a_copy_that_differs_is_refused(tmp_path: Path) -> None:
    """A copy that says something else than the trained tensor means that one of them is wrong."""
    config = tiny_config("bert", layers=1)
    make_peft_module(tmp_path, tiny_model(config, task="TOKEN_CLS"), task_type="TOKEN_CLS", bias="all")
    key = "base_model.model.classifier.modules_to_save.bias"
    change_tensors(tmp_path, lambda tensors: tensors.update({key: tensors[key] + 1}))
    with pytest.raises(FormatError, match=re.escape(key)):
        read(tmp_path, config)


def test_pieces_have_their_places_routes_and_scalings(tmp_path: Path) -> None:
    """Every LoRA is at its role with its own rank and alpha, reads the role's input and writes its output."""
    config = tiny_config("electra", layers=2)
    make_peft_module(
        tmp_path,
        tiny_model(config),
        target_modules=["intermediate.dense", "embeddings_project"],
        r=3,
        lora_alpha=6,
        rank_pattern={"layer.1.intermediate.dense": 2},
        alpha_pattern={"embeddings_project": 5},
        use_rslora=True,
    )
    pieces = read(tmp_path, config).pieces
    assert {str(place): piece.scaling for place, piece in pieces.items()} == {
        "encoder.0.ffn_up": Scaling(rank=3, alpha=6.0, rank_stabilised=True),
        "encoder.1.ffn_up": Scaling(rank=2, alpha=6.0, rank_stabilised=True),
        "embeddings_project": Scaling(rank=3, alpha=5.0, rank_stabilised=True),
    }
    piece = pieces[Place("encoder", 1, "ffn_up")]
    assert (piece.parts["down"].shape, piece.parts["up"].shape) == ((2, 12), (20, 2))
    assert (piece.route.reads.role, piece.route.reads.side) == ("ffn_up", Side.INPUT)
    assert (piece.route.writes.role, piece.route.writes.side) == ("ffn_up", Side.OUTPUT)
    assert pieces[Place("", -1, "embeddings_project")].parts["down"].shape == (3, 8)


def test_replaced_parameters_are_pieces_of_their_own(tmp_path: Path) -> None:
    """A trained bias stands beside its submodule's LoRA; a whole submodule has weight and bias."""
    config = tiny_config("bert", layers=1)
    make_peft_module(tmp_path, tiny_model(config), bias="all", modules_to_save=["pooler"])
    pieces = read(tmp_path, config).pieces
    names = {place.name: (piece.method.name, sorted(piece.parts)) for place, piece in pieces.items()}
    assert names["query"] == ("lora", ["down", "up"])
    assert names["query.base"] == ("linear", ["bias"])
    assert names["ffn_norm.base"] == ("norm", ["bias"])
    assert names["pooler.base"] == ("linear", ["bias", "weight"])


def test_bfloat16_stays_bfloat16(tmp_path: Path) -> None:
    """Tensors keep their dtype from file to file, bfloat16 included."""
    config = tiny_config("bert", layers=1)
    make_peft_module(tmp_path / "made", tiny_model(config).to(torch.bfloat16), r=2)
    tensors = load_file(tmp_path / "made" / WEIGHTS)
    import ml_dtypes

    half = {key: tensor.astype(ml_dtypes.bfloat16) for key, tensor in tensors.items()}
    save_file(half, tmp_path / "made" / WEIGHTS)
    (tmp_path / "written").mkdir()
    write_module(read(tmp_path / "made", config), tiny_architecture(config), tmp_path / "written")
    assert (tmp_path / "written" / WEIGHTS).read_bytes().count(b"BF16") == len(half)
    for key, tensor in load_file(tmp_path / "written" / WEIGHTS).items():
        np.testing.assert_array_equal(tensor.astype(np.float32), half[key].astype(np.float32))


def test_a_pickle_reads_like_safetensors(simple: tuple[Path, Any]) -> None:
    """A module whose tensors are in `adapter_model.bin` is the same module, headers included."""
    folder, config = simple
    before, headers = read(folder, config), {(h.key, h.shape, h.dtype) for h in inspect_files(folder).tensors}
    tensors = {key: torch.from_numpy(tensor) for key, tensor in load_file(folder / WEIGHTS).items()}
    (folder / WEIGHTS).unlink()
    for use_zip in (True, False):
        torch.save(tensors, folder / "adapter_model.bin", _use_new_zipfile_serialization=use_zip)
        after = read(folder, config)
        assert {(h.key, h.shape, h.dtype) for h in inspect_files(folder).tensors} == headers
        for place, piece in before.pieces.items():
            for part, tensor in piece.parts.items():
                np.testing.assert_array_equal(after.pieces[place].parts[part], tensor)


def test_the_task_is_inferred_where_only_one_fits(tmp_path: Path) -> None:
    """Without a task type, RoBERTa's two-layer head can only be that of sequence classification."""
    config = tiny_config("roberta", layers=1)
    make_peft_module(tmp_path, tiny_model(config, task="SEQ_CLS"), modules_to_save=["classifier"])
    assert json.loads((tmp_path / CONFIG).read_text())["task_type"] is None
    head = read(tmp_path, config).head
    assert head is not None
    assert head.task == "SEQ_CLS"


def test_an_ambiguous_head_is_refused(tmp_path: Path) -> None:
    """Without a task type, BERT's `classifier` can be that of two tasks."""
    config = tiny_config("bert", layers=1)
    make_peft_module(tmp_path, tiny_model(config, task="TOKEN_CLS"), modules_to_save=["classifier"])
    with pytest.raises(FormatError, match="`classifier` can be the head of `SEQ_CLS`, `TOKEN_CLS`"):
        read(tmp_path, config)


@pytest.mark.parametrize("student", FAMILIES)
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("TOKEN_CLS", {"target_modules": ["query", "intermediate.dense"]}),
        ("TOKEN_CLS", {"target_modules": ["attention.output.dense"], "layers_to_transform": [0, 2]}),
        (
            "QUESTION_ANS",
            {
                "target_modules": r".*(query|key)",
                "rank_pattern": {r"layer\.2\..*": 2},
                "alpha_pattern": {"key": 4},
            },
        ),
        (None, {"target_modules": ["output.dense"], "bias": "lora_only"}),
        (
            "TOKEN_CLS",
            {"target_modules": ["output.dense"], "exclude_modules": r".*attention.*", "bias": "all"},
        ),
    ],
)
def test_a_module_for_another_base_loads(tmp_path: Path, student: str, task: str | None, options: dict[str, Any]) -> None:
    """A BERT module at a student's places is loaded whole on the student, and changes its outputs."""
    config = tiny_config("bert", layers=3)
    wanted = {**options, "task_type": task} if task else options
    make_peft_module(tmp_path / "made", tiny_model(config, task=task), **wanted)
    other = tiny_config(student, hidden=16, ffn=28, heads=2, layers=2, embedding=10)
    module = transplant(read(tmp_path / "made", config), tiny_architecture(other), {0: 0, 1: 2})
    pieces = dict(module.pieces)
    if student in {"distilbert", "electra"}:  # they have no pooler
        pieces.pop(Place("", -1, "pooler.base"), None)
    if student == "electra" and options.get("bias") == "all":  # it has one more bias, 16 wide
        norm = pieces[Place("", -1, "embeddings_norm.base")]
        bias = np.full(16, 0.5, np.float32)
        pieces[Place("", -1, "embeddings_project.base")] = replace(norm, method=LINEAR, parts={"bias": bias})
    module = replace(module, pieces=pieces)
    (tmp_path / "written").mkdir()
    write_module(module, tiny_architecture(other, name="student"), tmp_path / "written")

    written = json.loads((tmp_path / "written" / CONFIG).read_text())
    assert written["base_model_name_or_path"] == "student"
    if task is None:
        model = type(tiny_model(other))
        names = {"base_model_class": model.__name__, "parent_library": model.__module__}
        assert written["auto_mapping"] == names
    bare = outputs(tiny_model(other, task=task), tiny_inputs(other))
    adapted = outputs(load_peft_module(tmp_path / "written", tiny_model(other, task=task)), tiny_inputs(other))
    assert all(not torch.allclose(left, right, atol=1e-3) for left, right in zip(bare, adapted, strict=True))


def test_targets_that_mean_the_same_stay(simple: tuple[Path, Any], tmp_path: Path) -> None:
    """A list of targets that selects the right submodules of the student as well is left as it is."""
    folder, config = simple
    other = tiny_config("roberta", layers=1)
    (tmp_path / "written").mkdir()
    write_module(
        transplant(read(folder, config), tiny_architecture(other), {0: 1}),
        tiny_architecture(other),
        tmp_path / "written",
    )
    before, after = (json.loads((path / CONFIG).read_text()) for path in (folder, tmp_path / "written"))
    assert after["target_modules"] == before["target_modules"]


def test_a_dropped_head_is_not_asked_for(simple: tuple[Path, Any], tmp_path: Path) -> None:
    """Without its head, a module has no task type, for with one `peft` asks for the head."""
    folder, config = simple
    module = read(folder, config)
    bare = replace(module, head=None, pieces={p: piece for p, piece in module.pieces.items() if not p.is_head})
    (tmp_path / "written").mkdir()
    write_module(bare, tiny_architecture(config), tmp_path / "written")
    written = json.loads((tmp_path / "written" / CONFIG).read_text())
    assert (written["task_type"], written["modules_to_save"]) == (None, None)
    load_peft_module(tmp_path / "written", tiny_model(config, task="TOKEN_CLS"))


def test_a_head_that_would_be_incomplete_is_refused(simple: tuple[Path, Any], tmp_path: Path) -> None:
    """BERT's one-layer head for sequences lacks the layer that RoBERTa's has."""
    config = tiny_config("bert", layers=1)
    make_peft_module(tmp_path / "made", tiny_model(config, task="SEQ_CLS"), task_type="SEQ_CLS")
    other = tiny_architecture(tiny_config("roberta", layers=1), name="rob")
    module = transplant(read(tmp_path / "made", config), other, {0: 0})
    (tmp_path / "written").mkdir()
    with pytest.raises(ConversionError, match=r"needs `classifier\.dense`"):
        write_module(module, other, tmp_path / "written")
    assert list((tmp_path / "written").iterdir()) == []


def test_unknown_config_keys_are_kept(simple: tuple[Path, Any], tmp_path: Path) -> None:
    """A key that no version of `peft` knows survives."""
    folder, config = simple
    edit(folder, from_the_future={"a": [1]})
    (tmp_path / "written").mkdir()
    write_module(read(folder, config), tiny_architecture(config), tmp_path / "written")
    assert json.loads((tmp_path / "written" / CONFIG).read_text())["from_the_future"] == {"a": [1]}


def test_a_module_in_a_subfolder_is_found(simple: tuple[Path, Any]) -> None:
    """`peft` puts a module that is not called `default` into a folder of its name."""
    folder, config = simple
    assert inspect_files(folder).name == "default"
    files = inspect_files(folder.parent)
    assert (files.name, files.folder) == ("module", folder)
    assert read(folder.parent, config).pieces


def test_the_base_comes_from_config_or_card(simple: tuple[Path, Any]) -> None:
    """The config's word counts; where it is silent, the card's does."""
    folder, _ = simple
    (folder / "README.md").write_text("---\nbase_model: some/base\ndatasets:\n- one\n- two\n---\n# Text\n")
    edit(folder, base_model_name_or_path=None)
    files = inspect_files(folder)
    assert files.base == BaseReference(name="some/base")
    assert files.datasets == ("one", "two")
    edit(folder, base_model_name_or_path="own/base", revision="abc")
    assert inspect_files(folder).base == BaseReference(name="own/base", revision="abc")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "OFT"}, "'OFT'"),
        ({"peft_type": "NEXT_YEARS"}, "'NEXT_YEARS'"),
        ({"ensure_weight_tying": True}, "ensure_weight_tying=True"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"target_parameters": ["a.b"]}, "target_parameters"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
    ],
)
def test_other_methods_are_refused_by_name(simple: tuple[Path, Any], changes: dict[str, Any], said: str) -> None:
    """A method or variant that cannot be moved is refused before any weight is read."""
    folder, _ = simple
    edit(folder, **changes)
    with pytest.raises(ConversionError, match=re.escape(said)):
        inspect_files(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"r": 4}, "its rank is 4"),
        ({"r": "many"}, "'many'"),
        ({"lora_alpha": None}, "`lora_alpha` in `adapter_config.json` is None"),
        ({"target_modules": ["query", "value", "key"]}, "`bert.encoder.layer.0.attention.self.key`"),
        ({"target_modules": ["query"]}, "`bert.encoder.layer.0.attention.self.value`"),
        ({"target_modules": "(unclosed"}, r"\(unclosed"),
        ({"target_modules": 5}, "is 5"),
        ({"layers_to_transform": [0]}, "`bert.encoder.layer.1.attention.self.query`"),
        ({"bias": "some"}, "'some'"),
        ({"bias": "lora_only"}, "`bert.encoder.layer.0.attention.self.query.bias`"),
        ({"modules_to_save": []}, "`classifier.weight`"),
        ({"rank_pattern": [1]}, "`rank_pattern` in `adapter_config.json` is"),
    ],
)
def test_config_and_tensors_must_agree(simple: tuple[Path, Any], changes: dict[str, Any], said: str) -> None:
    """A config that asks for other tensors than the file holds is refused, and the message names them."""
    folder, config = simple
    edit(folder, **changes)
    with pytest.raises(FormatError, match=said):
        read(folder, config)


QUERY = "base_model.model.bert.encoder.layer.1.attention.self.query"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(f"{QUERY}.lora_A.weight"), "has the tensors `up`, and"),
        (
            lambda t: [t.pop(f"{QUERY}.lora_{x}.weight") for x in "AB"],
            "targets `bert.encoder.layer.1.attention.self.query`",
        ),
        (lambda t: t.pop("base_model.model.classifier.weight"), "`classifier.weight`"),
        (lambda t: t.update({"stray": t[f"{QUERY}.lora_A.weight"]}), "`stray`"),
        (lambda t: t.update({f"{QUERY}.lora_C.weight": np.ones(2, np.float32)}), "lora_C"),
        (
            lambda t: t.update({"base_model.model.bert.embeddings.word_embeddings.weight": np.ones((50, 12), np.float32)}),
            "word_embeddings",
        ),
        (
            lambda t: t.update({f"{QUERY}.lora_A.weight": np.full((3, 12), np.nan, np.float32)}),
            "36 values that are not finite",
        ),
        (lambda t: t.update({f"{QUERY}.lora_A.weight": np.ones((3, 12), np.int32)}), "int32|I32"),
        (
            lambda t: t.update({f"{QUERY}.lora_A.weight": np.ones((3, 16), np.float32)}),
            r"\(3, 16\), and `tiny` needs \(3, 12\)",
        ),
        (lambda t: t.clear(), "no `lora_A.weight`"),
    ],
    ids=["half", "layer lost", "head lost", "stray", "part", "embeddings", "nan", "int", "width", "empty"],
)
def test_damaged_tensors_are_refused(simple: tuple[Path, Any], change: Callable[[Any], Any], said: str) -> None:
    """Every key must be understood, there, of the right shape, floating-point and finite."""
    folder, config = simple
    change_tensors(folder, change)
    with pytest.raises(FormatError, match=said):
        read(folder, config)


def test_a_base_of_another_width_is_refused(simple: tuple[Path, Any]) -> None:
    """On a base model of another width nothing is read, and both numbers are said."""
    folder, _ = simple
    with pytest.raises(FormatError, match=r"\(3, 12\).*\(3, 16\)"):
        read(folder, tiny_config("bert", hidden=16, heads=4, layers=2))


def test_a_tensor_that_is_not_finite_is_not_written(simple: tuple[Path, Any], tmp_path: Path) -> None:
    """A NaN stops the writing before any file is there."""
    folder, config = simple
    module = read(folder, config)
    place, piece = next(iter(module.pieces.items()))
    parts = {part: tensor * np.float32(np.inf) for part, tensor in piece.parts.items()}
    broken = replace(module, pieces={**module.pieces, place: replace(piece, parts=parts)})
    (tmp_path / "written").mkdir()
    with np.errstate(all="ignore"), pytest.raises(ConversionError, match="not finite"):
        write_module(broken, tiny_architecture(config), tmp_path / "written")
    assert list((tmp_path / "written").iterdir()) == []


@pytest.mark.parametrize("wide", [False, True])
def test_no_projection_between_equal_widths_is_asked_for(tmp_path: Path, wide: bool) -> None:
    """ELECTRA has `embeddings_project` only where its embeddings have another width than its layers."""
    config = tiny_config("electra", layers=1, embedding=12 if not wide else 8)
    make_peft_module(tmp_path, tiny_model(config), target_modules="all-linear")
    names = {place.name for place in read(tmp_path, config).pieces}
    assert ("embeddings_project" in names) == wide


def test_a_task_that_the_student_leaves_open_is_said(tmp_path: Path) -> None:
    """On RoBERTa a bare `classifier` is that of one task; on BERT it can be that of two, so the config must say which."""
    config, bert = tiny_config("roberta", layers=1), tiny_config("bert", layers=1)
    make_peft_module(tmp_path / "made", tiny_model(config, task="TOKEN_CLS"), modules_to_save=["classifier"])
    module = transplant(read(tmp_path / "made", config), tiny_architecture(bert), {0: 0})
    (tmp_path / "written").mkdir()
    write_module(module, tiny_architecture(bert), tmp_path / "written")
    assert json.loads((tmp_path / "made" / CONFIG).read_text())["task_type"] is None
    assert json.loads((tmp_path / "written" / CONFIG).read_text())["task_type"] == "TOKEN_CLS"


def test_no_key_is_added_to_an_old_config(simple: tuple[Path, Any], tmp_path: Path) -> None:
    """A config from before `revision` and most options comes back as it was."""
    folder, config = simple
    whole = json.loads((folder / CONFIG).read_text())
    old = ("base_model_name_or_path", "bias", "inference_mode", "lora_alpha", "modules_to_save", "peft_type", "r")
    few = {key: whole[key] for key in (*old, "target_modules", "task_type")}
    (folder / CONFIG).write_text(json.dumps(few))
    (tmp_path / "written").mkdir()
    write_module(read(folder, config), tiny_architecture(config), tmp_path / "written")
    assert json.loads((tmp_path / "written" / CONFIG).read_text()) == few
