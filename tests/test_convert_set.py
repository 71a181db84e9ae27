"""Several modules of one teacher at once, and modules that become LoRAs first, on real tiny models."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from modxfer import api
from modxfer.api import AlignmentChoice
from modxfer.errors import ConversionError, OutputError, UsageError
from modxfer.paths import home
from modxfer.registry.inspection import inspect
from modxfer.registry.reports import ModuleReport
from tests.builders import load_peft_module, make_peft_module, outputs, randomise, tiny_inputs
from tests.planted import planted_pair, small_text


@dataclass(frozen=True, kw_only=True)
class World:
    """Folders that tests read and never change."""

    teacher: Path
    student: Path
    modules: tuple[Path, Path]
    loha: Path
    text: Path


def task_model(folder: Path) -> Any:
    """Load a base model under a head for 4 labels."""
    return transformers.AutoModelForTokenClassification.from_pretrained(folder, num_labels=4).eval()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Make a teacher, a student with permuted units, two LoRAs at different places and a LoHa."""
    folder = tmp_path_factory.mktemp("set")
    pair = planted_pair(folder, "bert", seed=5)
    first, second, loha = (folder / name for name in ("first", "second", "loha"))
    make_peft_module(first, task_model(pair.teacher), task_type="TOKEN_CLS", target_modules=["query", "value"])
    make_peft_module(second, task_model(pair.teacher), task_type="TOKEN_CLS", target_modules=["intermediate.dense"], seed=2)
    config = peft.LoHaConfig(task_type="TOKEN_CLS", target_modules=["query", "key"], r=2)
    model = peft.get_peft_model(task_model(pair.teacher), config)
    randomise((parameter for parameter in model.parameters() if parameter.requires_grad), seed=4)
    model.save_pretrained(str(loha))
    text = folder / "text.txt"
    text.write_text(small_text(), encoding="utf-8")
    return World(teacher=pair.teacher, student=pair.student, modules=(first, second), loha=loha, text=text)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def choice(world: World, **options: Any) -> AlignmentChoice:
    """Align over the small text."""
    return AlignmentChoice(**{"corpus": str(world.text), "tokens": 200, "device": "cpu", **options})


def convert_both(world: World, *modules: Path, **options: Any) -> tuple[api.Converted, ...]:
    """Convert both modules, or others, to the student."""
    names = [str(module) for module in modules or world.modules]
    align = options.pop("align", None) or choice(world)
    return api.convert_set(names, to=str(world.student), align=align, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_one_alignment_serves_all(world: World) -> None:
    """Two modules at different places need one map, which is computed once, and each gives its teacher's outputs."""
    found = convert_both(world, output=Path("both"))
    assert [each.output for each in found] == [Path("both/first"), Path("both/second")]
    assert len({each.found.as_json()["id"] for each in found}) == 1
    assert len(list((home() / "alignments").iterdir())) == 1
    for module, each in zip(world.modules, found, strict=True):
        assert each.output is not None
        expected, got = (
            outputs(load_peft_module(folder, base := task_model(where)), tiny_inputs(base.config))[0]
            for folder, where in ((module, world.teacher), (each.output, world.student))
        )
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)  # float32 sums in another order


def test_a_set_has_the_bytes_of_single_conversions(world: World) -> None:
    """With one alignment, a module that is converted among others is the same file for file."""
    api.compute_alignment(str(world.teacher), to=str(world.student), align=choice(world), output=Path("map"))
    named = AlignmentChoice(alignment="map")
    convert_both(world, align=named, output=Path("both"))
    for module in world.modules:
        api.convert(str(module), to=str(world.student), align=named, output=Path("alone") / module.name)
        assert contents(Path("alone") / module.name) == contents(Path("both") / module.name)


def test_without_an_output_each_gets_its_usual_folder(world: World) -> None:
    """Folders are named after module and student, as for one module; a dry run makes none."""
    align = AlignmentChoice(aligner="identity")
    assert [each.output for each in convert_both(world, align=align, dry_run=True)] == [None, None]
    assert list(Path().iterdir()) == []
    convert_both(world, align=align)
    assert sorted(path.name for path in Path().iterdir()) == ["first-to-bert-student", "second-to-bert-student"]


def test_nothing_is_written_unless_all_can_be(world: World) -> None:
    """A module that cannot be converted, and a folder that exists, keep all modules from being written."""
    align = AlignmentChoice(aligner="identity")
    odd = Path("odd")
    make_peft_module(odd, task_model(world.teacher), task_type="TOKEN_CLS", target_modules=["attention.output.dense"])
    with pytest.raises(ConversionError, match="attention_output"):
        convert_both(world, world.modules[0], odd, align=align, format="adapters", output=Path("both"))
    assert not Path("both").exists()
    Path("both/second").mkdir(parents=True)
    with pytest.raises(OutputError, match="`both/second` exists"):
        convert_both(world, output=Path("both"))
    assert not (home() / "alignments").exists()  # it is seen before anything is computed
    assert [path.name for path in Path("both").iterdir()] == ["second"]


def test_what_was_written_is_said(world: World) -> None:
    """Where a folder cannot take its place in the end, the message names those that have taken theirs."""
    Path("both").mkdir()
    Path("both/first").symlink_to("nowhere")
    with pytest.raises(OutputError, match=r"Cannot write `both/first`.* Before that, `both/second` had been written"):
        convert_both(world, align=AlignmentChoice(aligner="identity"), output=Path("both"))
    assert (Path("both/second") / "transfer.json").is_file()


def test_modules_of_different_teachers_are_refused(world: World) -> None:
    """The message names each module's base model."""
    other = planted_pair(Path().resolve(), "roberta", seed=1).teacher
    make_peft_module(Path("stray"), task_model(other), task_type="TOKEN_CLS")
    with pytest.raises(UsageError, match=r"`first` to `bert-teacher`, `stray` to `roberta-teacher`"):
        convert_both(world, world.modules[0], Path("stray"))


def test_sets_that_make_no_sense_are_refused(world: World) -> None:
    """No module, two of one name, an output that holds a module, and a map that depends on the module."""
    with pytest.raises(UsageError, match="No module"):
        api.convert_set([], to=str(world.student))
    twin = Path(shutil.copytree(world.modules[0], Path("elsewhere/first")))
    with pytest.raises(UsageError, match=r"called `first`.*`both/first`"):
        convert_both(world, world.modules[0], twin, output=Path("both"))
    with pytest.raises(OutputError, match="is, or holds, the module"):
        convert_both(world, world.modules[1], twin, output=Path("elsewhere"), force=True)
    with pytest.raises(UsageError, match=r"`paper` depends on the module"):
        convert_both(world, align=choice(world, aligner="paper"))


def test_loha_is_converted_as_a_lora(world: World) -> None:
    """A LoHa arrives as a LoRA that gives the teacher's outputs; the record says what it was, and inspecting it does too."""
    report = inspect(str(world.loha))
    assert isinstance(report, ModuleReport)
    assert (report.method, report.pieces) == ("loha", ())
    found = api.convert(str(world.loha), to=str(world.student), align=choice(world), output=Path("out"))
    assert (found.record["module"]["method"], found.record["module"]["teacher_method"]) == ("lora", "loha")
    assert found.record["notes"] == ["loha: `peft` made a LoRA of rank 4 of it"]
    assert found.as_json()["notes"] == found.record["notes"]
    assert found.record["approximated"] == []
    assert json.loads(Path("out/adapter_config.json").read_text())["r"] == 4
    teacher, student = task_model(world.teacher), task_model(world.student)
    expected = outputs(peft.PeftModel.from_pretrained(teacher, str(world.loha)).eval(), tiny_inputs(teacher.config))[0]
    got = outputs(load_peft_module(Path("out"), student), tiny_inputs(student.config))[0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_rank_cuts_what_arrives(world: World) -> None:
    """With a rank, LoRAs and what becomes one have at most that rank, and the loss is in the record."""
    found = convert_both(
        world, *world.modules, world.loha, align=AlignmentChoice(aligner="identity"), rank=2, output=Path("out")
    )
    for each in found:
        assert each.output is not None
        assert json.loads((each.output / "adapter_config.json").read_text())["r"] == 2
    assert any("cut to rank 2" in sentence for sentence in found[0].record["approximated"])
    assert any(sentence.startswith("loha: as LoRAs of rank 2 its updates lack") for sentence in found[2].record["approximated"])


def test_loha_needs_the_teachers_weights(world: World) -> None:
    """Without them it cannot become a LoRA, and nothing is written."""
    bare = Path("bare")
    bare.mkdir()
    shutil.copy(world.teacher / "config.json", bare)
    with pytest.raises(ConversionError, match=r"loha becomes a LoRA.*`bare` has no weights"):
        api.convert(str(world.loha), to=str(world.student), teacher="bare", align=AlignmentChoice(aligner="identity"))
    assert [path.name for path in Path().iterdir()] == ["bare"]
