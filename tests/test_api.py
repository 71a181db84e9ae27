"""The public calls on real tiny models and modules: found, computed, stored, written, and nothing half done."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from modxfer import api
from modxfer.alignments.files import hash_file
from modxfer.api import AlignmentChoice, Converted
from modxfer.errors import AlignmentError, ConversionError, FormatError, OutputError, StoreError, UsageError
from modxfer.paths import home
from tests.builders import load_peft_module, make_peft_module, outputs, tiny_config, tiny_inputs, tiny_model
from tests.planted import base_model, draw_plan, make_student, make_teacher, save_base, small_text


@dataclass(frozen=True, kw_only=True)
class World:
    """Folders that a user would have."""

    teacher: Path
    permuted: Path
    matching: Path
    module: Path
    text: Path
    logits: torch.Tensor
    ids: torch.Tensor


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Make a teacher with a LoRA and a head on it, and two students."""
    folder = tmp_path_factory.mktemp("world")
    teacher = make_teacher(folder / "teacher", "bert", seed=3)
    structure = base_model(teacher).architecture
    permuted = make_student(folder / "permuted", teacher, draw_plan(structure, heads=3, seed=8))
    halved = draw_plan(structure, heads=3, layers=[0, 1], shuffle=False)
    matching = make_student(folder / "matching", teacher, halved)
    text = folder / "text.txt"
    text.write_text(small_text(), encoding="utf-8")
    task_model = transformers.AutoModelForTokenClassification.from_pretrained(teacher, num_labels=4)
    ids = tiny_inputs(task_model.config)
    model = make_peft_module(folder / "my-ner", task_model, task_type="TOKEN_CLS", target_modules=["query", "dense"])
    return World(
        teacher=teacher,
        permuted=permuted,
        matching=matching,
        module=folder / "my-ner",
        text=text,
        logits=outputs(model, ids)[0],
        ids=ids,
    )


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def convert(world: World, *, to: Path | None = None, **options: Any) -> Converted:
    """Convert the module to the permuted student, over the small text."""
    choice = {"corpus": str(world.text), "tokens": 500, "device": "cpu"} | options.pop("choice", {})
    return api.convert(
        str(options.pop("module", world.module)), to=str(to or world.permuted), align=AlignmentChoice(**choice), **options
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_converted_module_gives_the_teachers_outputs(world: World, tmp_path: Path) -> None:
    """With nothing but a module, a student and text, the written folder loads in `peft` and gives the teacher's logits."""
    found = convert(world)
    assert found.output == Path("my-ner-to-permuted")
    assert found.output.is_dir()
    student = transformers.AutoModelForTokenClassification.from_pretrained(world.permuted, num_labels=4)
    logits = outputs(load_peft_module(found.output, student), world.ids)[0]
    torch.testing.assert_close(logits, world.logits, rtol=1e-4, atol=1e-4)  # float32 sums in another order
    result = found.as_json()
    assert json.loads(json.dumps(result)) == result
    assert {
        "output", "format", "method", "teacher", "student", "layers", "alignment", "tensors", "head", "dropped",
        "warnings", "seconds",
    } <= result.keys()  # fmt: skip
    assert (result["format"], result["method"], result["head"]) == ("peft", "lora", "kept")
    assert result["layers"] == {"mode": "skip", "map": {"encoder": [[[0, 1.0]], [[1, 1.0]], [[2, 1.0]]]}}
    alignment = result["alignment"]
    assert (alignment["source"], alignment["aligner"], alignment["requested"]) == ("computed", "lsa", "auto")
    assert alignment["tokens"] == 500
    assert alignment["mean_correlation"] == pytest.approx(1.0, abs=1e-4)
    assert result["tensors"]["converted"] == len(load_file(found.output / "adapter_model.safetensors"))


def test_computed_once_then_found_with_the_same_bytes(world: World) -> None:
    """The second conversion takes the map from the store, and writes the very same bytes."""
    first = convert(world, output=Path("first"))
    second = convert(world, output=Path("second"))
    assert (first.found.source, second.found.source) == ("computed", "store")
    assert first.found.alignment is not None
    assert first.found.alignment.key == second.found.as_json()["id"]
    assert contents(Path("first")) == contents(Path("second"))
    other = convert(world, output=Path("third"), choice={"tokens": 400})
    assert other.found.source == "computed"


def test_a_damaged_stored_map_is_computed_again(world: World) -> None:
    """What was damaged in the store is set aside, and the result is the same as before."""
    convert(world, output=Path("first"))
    (tensors,) = home().glob("alignments/*/alignment.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"?")
    assert convert(world, output=Path("second")).found.source == "computed"
    assert contents(Path("first")) == contents(Path("second"))
    assert len(list((home() / "damaged").iterdir())) == 1


def test_transfer_record_and_card(world: World) -> None:
    """`transfer.json` pins what went in and what came out by hash; the card names both ends and claims no more."""
    convert(world, output=Path("out"))
    record = json.loads(Path("out/transfer.json").read_text(encoding="utf-8"))
    assert record["module"]["name"] == "my-ner"
    assert record["module"]["files"] == {"adapter_model.safetensors": hash_file(world.module / "adapter_model.safetensors")}
    assert record["files"] == {path.name: hash_file(path) for path in Path("out").iterdir() if path.name != "transfer.json"}
    assert record["teacher"]["name"] == "teacher"
    assert record["student"]["name"] == "permuted"
    assert len(record["student"]["fingerprint"]) == 64
    assert str(world.teacher.parent) not in Path("out/README.md").read_text(encoding="utf-8")
    card = Path("out/README.md").read_text(encoding="utf-8")
    assert "moved there from `teacher`" in card
    assert "mean matched correlation 1.000 over 500 tokens" in card
    assert json.loads(Path("out/adapter_config.json").read_text())["base_model_name_or_path"] == str(world.permuted)


def test_matching_student_gets_the_teachers_tensors(world: World) -> None:
    """A student of the teacher's first layers is seen to share coordinates; tensors are the teacher's bit for bit."""
    measured = convert(world, to=world.matching, layers="0,1", output=Path("auto"))
    stated = convert(world, to=world.matching, layers="0,2", output=Path("stated"), choice={"aligner": "identity"})
    assert (measured.found.as_json()["aligner"], stated.found.source) == ("identity", "identity")
    before = load_file(world.module / "adapter_model.safetensors")
    for folder, second in (("auto", "layer.1."), ("stated", "layer.2.")):
        after = load_file(Path(folder) / "adapter_model.safetensors")
        for key, tensor in after.items():
            original = key.replace("layer.1.", second)
            assert tensor.tobytes() == before[original].tobytes(), key
    assert any("encoder 1" in sentence for sentence in stated.record["dropped"])


def test_identity_runs_no_model_and_needs_no_weights(world: World, tmp_path: Path) -> None:
    """Stated identity works from configs alone."""
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(world.matching / "config.json", bare)
    found = convert(world, to=bare, choice={"aligner": "identity"}, output=Path("out"))
    assert found.record["student"]["fingerprint"] is None
    assert not (home() / "alignments").exists()


def test_dry_run_writes_nothing(world: World, tmp_path: Path) -> None:
    """A dry run tells the same and leaves no file here, whatever is in the way."""
    Path("out").mkdir()
    found = convert(world, output=Path("out"), dry_run=True)
    assert found.output is None
    assert found.as_json()["output"] is None
    assert found.record["tensors"]["converted"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert list(Path("out").iterdir()) == []


def test_existing_output_needs_force_and_survives_failures(world: World) -> None:
    """Nothing is replaced without `force`; with it, the old folder stays until the new one is whole."""
    out = Path("out")
    convert(world, output=out)
    before = contents(out)
    with pytest.raises(OutputError, match="`out` exists"):
        convert(world, output=out)
    with pytest.raises(ConversionError, match=r"differ in width|equal width"):
        convert(world, to=narrow(world), output=out, force=True, choice={"aligner": "identity"})
    assert contents(out) == before
    convert(world, output=out, force=True, keep_head=False)
    assert contents(out) != before
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def narrow(world: World) -> Path:
    """Make an unrelated, narrower student."""
    folder = world.teacher.parent / "narrow"
    if not folder.exists():
        save_base(folder, tiny_model(tiny_config("bert", hidden=9, ffn=15, layers=2, vocab=300), seed=4))
    return folder


def test_head_can_be_dropped(world: World) -> None:
    """Without its head the module has fewer tensors, and the record says that it was asked for."""
    kept, dropped = convert(world, output=Path("kept")), convert(world, output=Path("dropped"), keep_head=False)
    assert (kept.head, dropped.head) == ("kept", "dropped")
    assert "prediction head: left behind, as asked" in dropped.record["dropped"]
    lost = set(load_file("kept/adapter_model.safetensors")) - set(load_file("dropped/adapter_model.safetensors"))
    assert {key.rpartition(".")[2] for key in lost} == {"weight", "bias"}
    assert all("classifier" in key for key in lost)


def test_incompatible_student_gets_a_whole_module(world: World) -> None:
    """To a narrower, unrelated student the module arrives whole through dense maps, and the result says so."""
    found = convert(world, to=narrow(world), layers="avg", output=Path("out"))
    assert "linear" in found.found.as_json()["aligner"].split("+")
    assert any("dense maps" in sentence for sentence in found.record["approximated"])
    student = transformers.AutoModelForTokenClassification.from_pretrained(narrow(world), num_labels=4)
    assert all(torch.isfinite(values).all() for values in outputs(load_peft_module(Path("out"), student), world.ids))
    assert all(np.isfinite(tensor).all() for tensor in load_file("out/adapter_model.safetensors").values())


def test_other_format(world: World, tmp_path: Path) -> None:
    """A LoRA can be written in the other format, and the record names both."""
    with pytest.raises(ConversionError, match="attention_output"):
        convert(world, format="adapters", output=Path("out"))
    assert not Path("out").exists()
    task_model = transformers.AutoModelForTokenClassification.from_pretrained(world.teacher, num_labels=4)
    make_peft_module(tmp_path / "plain", task_model, task_type="TOKEN_CLS", target_modules=["query", "value"])
    found = convert(world, module=tmp_path / "plain", format="adapters", output=Path("out"))
    assert (found.record["module"]["format"], found.record["module"]["teacher_format"]) == ("adapters", "peft")
    assert Path("out/adapter.safetensors").is_file()


def test_teacher_can_be_named(world: World, tmp_path: Path) -> None:
    """Where the module names no base, or one that is not there, `--from` says it; a wrong one does not fit."""
    module = Path(shutil.copytree(world.module, tmp_path / "module"))
    (module / "README.md").unlink()  # it names the base model too
    for name, wrong in (("/not/here", "belongs to `/not/here`"), (None, "does not say which base model")):
        config = json.loads((module / "adapter_config.json").read_text())
        (module / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": name}))
        with pytest.raises(UsageError, match=wrong) as caught:
            convert(world, module=module)
        assert "--from" in caught.value.do
        assert convert(world, module=module, teacher=str(world.teacher), dry_run=True).head == "kept"
    with pytest.raises(UsageError, match="`/nor/here`"):
        convert(world, module=module, teacher="/nor/here")
    with pytest.raises(FormatError, match="`narrow`"):
        convert(world, module=module, teacher=str(narrow(world)))


def test_named_alignment_is_used_or_refused(world: World, tmp_path: Path) -> None:
    """A map in a folder serves for its own pair; one of another pair, or a damaged one, is refused."""
    made = api.compute_alignment(
        str(world.module),
        to=str(world.permuted),
        align=AlignmentChoice(corpus=str(world.text), tokens=500),
        output=Path("map"),
    )
    assert made.source == "computed"
    assert sorted(contents(Path("map"))) == ["README.md", "alignment.json", "alignment.safetensors"]
    assert convert(world, choice={"alignment": "map"}, output=Path("out")).found.source == "file"
    convert(world, output=Path("again"))
    assert contents(Path("out")) == contents(Path("again"))
    with pytest.raises(AlignmentError, match=r"made for the student `permuted`.*this student is `narrow`"):
        convert(world, to=narrow(world), choice={"alignment": "map"})
    with pytest.raises(ConversionError, match="has no sites"):
        convert(world, layers="2,1,0", choice={"alignment": "map"})
    with pytest.raises(FormatError, match="is no alignment map"):
        convert(world, choice={"alignment": str(world.module)})
    with pytest.raises(OutputError, match="`map` exists"):
        api.compute_alignment(
            str(world.module), to=str(world.permuted), align=AlignmentChoice(corpus=str(world.text)), output=Path("map")
        )


def test_stored_map_is_found_by_its_first_digits(world: World) -> None:
    """A map is read from a folder, or from the store by the beginning of its id."""
    key = convert(world, dry_run=True).as_json()["alignment"]["id"]
    assert api.find_alignment_map(key[:8]).key == key
    assert api.find_alignment_map(str(home() / "alignments" / key)).key == key
    with pytest.raises(StoreError, match="`0123456789abcdef`"):
        api.find_alignment_map("0123456789abcdef")


def test_alignment_can_be_measured_where_it_is_stated(world: World) -> None:
    """Computing an identity alignment measures it, so that its correlations can be looked at."""
    found = api.compute_alignment(
        str(world.module), to=str(world.permuted), align=AlignmentChoice(aligner="identity", corpus=str(world.text), tokens=300)
    )
    assert found.alignment is not None
    assert found.alignment.aligner == "identity"
    assert found.alignment.mean_correlation < 0.9


def test_corpus_falls_back_to_the_text_of_the_package(world: World, tmp_path: Path) -> None:
    """The module's own data set comes first; where it cannot be had, the shipped text serves, and only that run is warned."""
    module = Path(shutil.copytree(world.module, tmp_path / "module"))
    (module / "README.md").write_text("---\ndatasets:\n- acme/not-here\n---\n")
    choice = {"corpus": None, "tokens": 300}
    fallen = convert(world, module=module, dry_run=True, choice=choice)
    assert fallen.found.as_json()["corpus"] == "modxfer multilingual text"
    assert any("`acme/not-here` could not be had" in warning for warning in fallen.record["warnings"])
    silent = convert(world, dry_run=True, choice=choice)
    assert silent.found.source == "store"
    assert not any("could not be had" in warning for warning in silent.record["warnings"])


def test_a_card_cannot_name_a_file_of_this_machine(world: World, tmp_path: Path) -> None:
    """What a card calls a data set is looked for on the Hub only: a path in it is not read, whatever lies there."""
    module = Path(shutil.copytree(world.module, tmp_path / "module"))
    shutil.copy(world.text, "notes.txt")
    for name in (str(world.text), "notes.txt", "./notes.txt"):
        (module / "README.md").write_text(f"---\ndatasets:\n- {name}\n---\n")
        found = convert(world, module=module, dry_run=True, choice={"corpus": None, "tokens": 300})
        assert found.found.as_json()["corpus"] == "modxfer multilingual text"


@pytest.mark.parametrize("victim", ["module", "teacher", "permuted"])
def test_force_never_replaces_what_the_result_is_made_from(world: World, victim: str) -> None:
    """An output that is the module, the teacher or the student, or a folder around one, is refused, and all stays."""
    folder = Path(getattr(world, victim))
    before = contents(folder)
    for target in (folder, folder.parent):
        with pytest.raises(OutputError, match=f"`{target}` is, or holds, the"):
            convert(world, output=target, force=True)
    assert contents(folder) == before


def test_a_map_and_an_aligner_are_not_given_together() -> None:
    """A map that is named has its aligner."""
    with pytest.raises(UsageError, match="`--align lsa` and `--alignment maps` were both given"):
        AlignmentChoice(aligner="lsa", alignment="maps")


def test_a_module_that_pins_its_base_gets_that_revision(world: World, tmp_path: Path) -> None:
    """Without `--from`, the revision that the module's config names is the one that is looked for."""
    module = Path(shutil.copytree(world.module, tmp_path / "module"))
    config = json.loads((module / "adapter_config.json").read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": "acme/base", "revision": "abc123"}
    (module / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UsageError, match="belongs to `acme/base@abc123`"):
        convert(world, module=module)


@pytest.mark.parametrize(
    ("choice", "wrong"),
    [
        ({"aligner": "best"}, "no aligner `best`"),
        ({"tokens": 0}, "--tokens 0"),
        ({"penalty": 0.0}, "--penalty 0.0|penalty of 0.0"),
        ({"penalty": float("nan")}, "nan"),
        ({"device": "quantum"}, "`quantum` is not available"),
    ],
)
def test_choices_that_make_no_sense_are_usage_errors(world: World, choice: dict[str, Any], wrong: str) -> None:
    """An unknown aligner or device, no tokens and no penalty are refused with their value."""
    with pytest.raises(UsageError, match=wrong):
        convert(world, dry_run=True, choice=choice)


def test_a_student_folder_with_an_at_sign_keeps_its_name(world: World, tmp_path: Path) -> None:
    """Only Hub ids have revisions: a folder's name may hold an `@`."""
    student = Path(shutil.copytree(world.permuted, tmp_path / "small@2"))
    convert(world, to=student, output=Path("out"))
    assert json.loads(Path("out/adapter_config.json").read_text())["base_model_name_or_path"] == str(student)
