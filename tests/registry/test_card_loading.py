"""The code that cards show: what it loads a module on, and that for differences and fusion layers run as pasted."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import modxfer
from modxfer import AlignmentChoice
from modxfer.converters.formats import inspect_files, read_module
from modxfer.registry.card_loading import TASK_CLASSES, loading_code, task_to_load
from modxfer.registry.cards import python_blocks
from tests import differences
from tests.builders import load_peft_module, make_peft_module
from tests.planting import architecture_of, assert_differ, assert_same, inputs, make, run, tiny


def moved(module: Path, base: Path) -> Path:
    """Convert a module to its own base model; gives the folder."""
    output = module.parent / "moved"
    modxfer.convert(
        str(module), to=str(base), teacher=str(base), align=AlignmentChoice(aligner="identity"), output=output, force=True
    )
    return output


def run_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a card's code in the module's folder; gives the model."""
    (code,) = python_blocks((folder / "README.md").read_text())
    monkeypatch.chdir(folder)
    scope: dict[str, Any] = {}
    exec(compile(code, "card", "exec"), scope)
    return scope["model"].eval()


@pytest.mark.parametrize(
    ("auto_class", "whole"),
    [(transformers.AutoModelForTokenClassification, ("classifier",)), (transformers.AutoModel, ())],
)
def test_a_cards_code_adds_differences(
    auto_class: Any, whole: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch alone is enough: the model computes what the fine-tuned one does, with its head if there is one."""
    model = make(tiny("bert"), auto_class, dtype=torch.float32)
    getattr(model, "bert", model).save_pretrained(tmp_path / "work" / "base")
    given = inputs(model.config)
    before = run(model, given)
    differences.fine_tune(model, tmp_path / "module", trained=lambda name: True, whole=whole)
    folder = moved(tmp_path / "module", tmp_path / "work" / "base")
    (folder / "base").symlink_to(tmp_path / "work" / "base")
    loaded = run_card(folder, monkeypatch)
    assert_same(run(loaded, given), run(model, given), tolerance=1e-4)  # single precision
    assert_differ(run(loaded, given), before)


def test_differences_without_a_head_are_for_the_base_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters that a task model names go to the base model alone where there is no head."""
    model = make(tiny("bert"), transformers.AutoModelForTokenClassification, dtype=torch.float32)
    model.bert.save_pretrained(tmp_path / "base")
    differences.fine_tune(model, tmp_path / "module", trained=lambda name: name.endswith("bias") and "classifier" not in name)
    folder = moved(tmp_path / "module", tmp_path / "base")
    (folder / "base").symlink_to(tmp_path / "base")
    loaded = run_card(folder, monkeypatch)
    parameter = "encoder.layer.1.output.dense.bias"
    torch.testing.assert_close(loaded.get_parameter(parameter), model.bert.get_parameter(parameter))


@pytest.mark.adapters
def test_a_cards_code_loads_what_is_fused_and_then_the_fusion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapters come from folders that the card names."""
    import adapters
    from adapters.composition import Fuse

    make(tiny("bert"), dtype=torch.float32).save_pretrained(tmp_path / "base")
    model = adapters.AutoAdapterModel.from_pretrained(str(tmp_path / "base"))
    for name in ("a", "b"):
        model.add_adapter(name, config="seq_bn[reduction_factor=4]")
    model.add_adapter_fusion(Fuse("a", "b"))
    model.save_adapter_fusion(str(tmp_path / "module"), Fuse("a", "b"))
    folder = moved(tmp_path / "module", tmp_path / "base")
    for name in ("a", "b"):
        model.save_adapter(str(folder / name), name, use_safetensors=True)
    (folder / "base").symlink_to(tmp_path / "base")
    loaded = run_card(folder, monkeypatch)
    assert loaded.active_adapters == Fuse("a", "b")
    for key, parameter in model.named_parameters():
        if "adapter_fusion_layer" in key:
            torch.testing.assert_close(loaded.get_parameter(key), parameter)
    assert "`./a` stands for the folder, or the Hub id, of the adapter `a`" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    "module", [{"format": "diff"}, {"format": "adapters", "method": "fusion", "fused": ["a", "b\nimport os"]}]
)
def test_code_for_the_hub_fetches_first_and_names_the_branch(module: dict[str, Any]) -> None:
    """What loads from folders only is fetched; a name that is no plain word does not get into code."""
    lines = loading_code({"module": module}, base='"acme/small"', place="me/it", branch="dev", is_on_hub=True)
    compile("\n".join(lines), "card", "exec")
    assert any('_download("me/it"' in line and 'revision="dev"' in line for line in lines)
    assert "import os" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("family", "model_class", "task", "expected"),
    [
        ("llama", "AutoModelForCausalLM", "CAUSAL_LM", "CAUSAL_LM"),
        ("llama", "AutoModelForCausalLM", None, "CAUSAL_LM"),
        ("llama", "AutoModel", None, None),
        ("t5", "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM", "SEQ_2_SEQ_LM"),
        ("bert", "AutoModelForMaskedLM", None, "SEQ_CLS"),
        ("bert", "AutoModel", "FEATURE_EXTRACTION", None),
    ],
)
def test_a_module_without_a_head_is_loaded_on_a_class_whose_names_its_keys_have(
    family: str, model_class: str, task: str | None, expected: str | None, tmp_path: Path
) -> None:
    """`peft` passes over keys that the model does not have: the class has to hold the base model as the module's keys say."""
    teacher = make(tiny(family), getattr(transformers, model_class))
    base = architecture_of(teacher.config)
    query = base.family.stacks[next(iter(base.depths))].roles["query"].path.rpartition(".")[2]
    make_peft_module(tmp_path, teacher, target_modules=[query], task_type=task)
    found = task_to_load(read_module(inspect_files(tmp_path), base), base)
    assert found == expected
    student = getattr(transformers, TASK_CLASSES.get(found or "", "AutoModel")).from_config(teacher.config)
    load_peft_module(tmp_path, student)
