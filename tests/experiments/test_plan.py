"""Reading plans: what they say, and everything that is wrong with them at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modxfer.errors import UsageError
from modxfer.experiments.plan import parse_settings, read_plan
from tests.experiments.worlds import plan_values, settings, write_plan


def _read(folder: Path, **changes: Any) -> Any:
    return read_plan(write_plan(folder, plan_values(**changes)), settings(folder))


def test_read_plan_makes_paths_absolute_and_leaves_hub_ids(tmp_path: Path) -> None:
    """What lies in the plan's folder becomes an absolute path; what is not there is a Hub id."""
    (tmp_path / "teacher").mkdir()
    students = [{"name": "small", "model": "acme/small@main", "teacher": "big", "relation": "matching"}]
    plan = _read(tmp_path, students=students)
    assert plan.teachers[0].model == str(tmp_path.resolve() / "teacher")
    assert plan.students[0].model == "acme/small@main"
    assert plan.tasks[0].languages["en"].train == f"{tmp_path}/data/train.conllu"


def test_read_plan_reads_numbers_as_yaml_1_2_does(tmp_path: Path) -> None:
    """1e-3 is a number, and a language called no is a text."""
    path = write_plan(tmp_path, plan_values())
    text = path.read_text(encoding="utf-8").replace("    en:\n", "    no:\n") + "sweep: {learning_rates: [1e-3, 3e-3]}\n"
    path.write_text(text, encoding="utf-8")
    plan = read_plan(path, settings(tmp_path))
    assert plan.sweep is not None
    assert plan.sweep.learning_rates == (0.001, 0.003)
    assert list(plan.tasks[0].languages) == ["no"]


def test_read_plan_tells_all_problems_at_once(tmp_path: Path) -> None:
    """Unknown fields, missing fields and wrong values are told together, each with its line and its field."""
    values = plan_values(seeds=[])
    values["teachers"][0]["colour"] = "red"
    del values["students"][0]["relation"]
    path = write_plan(tmp_path, values)
    with pytest.raises(UsageError) as caught:
        read_plan(path, settings(tmp_path))
    said = caught.value.what
    assert "has 3 problems" in said
    line = path.read_text(encoding="utf-8").splitlines().index("  colour: red") + 1
    assert f"line {line}, `teachers.0.colour`" in said
    assert "`students.0.relation`: Field required" in said
    assert "`seeds`" in said


def test_read_plan_tells_contradictions_with_other_tables(tmp_path: Path) -> None:
    """Teachers, tasks, methods, options, aligners, modules and presets that there are not are all told."""
    values = plan_values(
        methods=[{"name": "lora", "rank": 0}],
        transfers={"aligners": {"incompatible": ["nearest"]}},
        training={"preset": "huge"},
        teacher_training={"warmup": 2.0},
    )
    values["students"][0]["teacher"] = "huge-one"
    values["teachers"][0]["modules"] = {"lora/ner/fr": "acme/module"}
    values["tasks"][0]["name"] = "cooking"
    with pytest.raises(UsageError) as caught:
        read_plan(write_plan(tmp_path, values), settings(tmp_path))
    for said in (
        "no teacher `huge-one`",
        "no task `cooking`",
        "`--rank 0` is not a whole number above 0",
        "`transfers.aligners.incompatible.0`: there is no aligner `nearest`",
        "`lora/ner/fr` is none of",
        "no preset `huge`",
        "`--warmup 2.0`",
    ):
        assert said in caught.value.what


def test_read_plan_refuses_what_comes_twice_and_controls_of_nothing(tmp_path: Path) -> None:
    """Cells that come twice would be counted twice and run once, and controls without a layer map would not be run at all."""
    with pytest.raises(UsageError) as caught:
        _read(
            tmp_path,
            transfers={"layers": ["skip", "skip"], "aligners": ["lsa", "lsa"], "heads": ["keep", "keep"]},
            sweep={"learning_rates": [0.001, 1e-3], "seeds": [0, 0]},
        )
    for field in ("transfers.layers", "transfers.aligners", "transfers.heads", "sweep.learning_rates", "sweep.seeds"):
        assert f"`{field}`: `" in caught.value.what
    with pytest.raises(UsageError, match="they need a layer map"):
        _read(tmp_path, transfers={"layers": []}, controls=["random-norm"])
    with pytest.raises(UsageError, match="greater than or equal to 0"):
        _read(tmp_path, seeds=[-1])


def test_read_plan_takes_a_layer_map_with_a_name_for_no_path(tmp_path: Path) -> None:
    """A folder that happens to be called as a layer map changes nothing."""
    (tmp_path / "skip").mkdir()
    assert _read(tmp_path).transfers.layers == ("skip",)


def test_read_plan_refuses_a_bottleneck_without_size(tmp_path: Path) -> None:
    """Each base model would choose another size, and the modules would not compare."""
    with pytest.raises(UsageError, match=r"`methods.0`: it has no `size`"):
        _read(tmp_path, methods=[{"name": "bottleneck"}])


def test_read_plan_refuses_a_name_without_value(tmp_path: Path) -> None:
    """A `${NAME}` that nobody set is told with the flag to set it."""
    with pytest.raises(UsageError, match=r"`\$\{DATA\}` has no value, so say `--set DATA=VALUE`"):
        read_plan(write_plan(tmp_path, plan_values()), {})


def test_read_plan_refuses_what_is_no_plan(tmp_path: Path) -> None:
    """A file that is not there, that is not YAML, or that has a key twice is refused by name."""
    with pytest.raises(UsageError, match=r"nowhere\.yaml"):
        read_plan(tmp_path / "nowhere.yaml")
    path = tmp_path / "plan.yaml"
    path.write_text("name: [\n", encoding="utf-8")
    with pytest.raises(UsageError, match="line 2: This is not YAML"):
        read_plan(path)
    path.write_text("name: a\nname: b\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 2: .*`name`"):
        read_plan(path)
    path.write_text("just text\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no mapping"):
        read_plan(path)


def test_settings_of_a_plan_change_the_preset(tmp_path: Path) -> None:
    """Fields that the plan names change the preset, null switches off, and a teacher's own come last."""
    teachers = [{"name": "big", "model": "teacher", "training": {"max_steps": 7}}]
    plan = _read(
        tmp_path,
        teachers=teachers,
        training={"preset": "paper", "learning_rate": 0.5},
        teacher_training={"patience": None, "max_steps": 3, "batch_size": 2},
    )
    student, teacher = plan.settings("pi"), plan.teacher_settings(plan.teachers[0], "pi")
    assert (student.epochs, student.batch_size, student.learning_rate) == (30.0, 64, 0.5)
    assert (teacher.patience, teacher.max_steps, teacher.batch_size, teacher.epochs) == (None, 7, 2, 10.0)


def test_aligners_for_a_relation(tmp_path: Path) -> None:
    """Aligners are those of the relation, `auto` where the plan names none for it."""
    plan = _read(tmp_path, transfers={"aligners": {"incompatible": ["auto", "paper"]}})
    assert plan.transfers.aligners_for("incompatible") == ("auto", "paper")
    assert plan.transfers.aligners_for("matching") == ("auto",)


def test_parse_settings_reads_name_and_value() -> None:
    """The first equals sign ends the name."""
    assert parse_settings(["DATA=/a=b", "X="]) == {"DATA": "/a=b", "X": ""}


@pytest.mark.parametrize("texts", [["DATA"], ["=x"], ["1A=x"], ["DATA=a", "DATA=b"]])
def test_parse_settings_refuses_other_forms(texts: list[str]) -> None:
    """No equals sign, no name, no proper name, or one name twice."""
    with pytest.raises(UsageError, match=f"--set {texts[-1].partition('=')[0]}"):
        parse_settings(texts)


def test_settings_are_paths_from_where_they_are_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--set DATA=../data` means what it means to every other command; other values stay as they are."""
    (tmp_path / "here").mkdir()
    (tmp_path / "data" / "en").mkdir(parents=True)
    (tmp_path / "here" / "students").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    data = str(tmp_path.resolve() / "data")
    assert parse_settings(["DATA=../data", "X=../data/en", "ID=acme/names:en", "LANGUAGE=students", "NONE=./none"]) == {
        "DATA": data,
        "X": f"{data}/en",
        "ID": "acme/names:en",
        "LANGUAGE": "students",
        "NONE": str(tmp_path.resolve() / "here" / "none"),
    }
    plans = tmp_path / "plans"
    plans.mkdir()
    values = plan_values()
    values["students"][0]["model"] = "${STUDENTS}"
    plan = read_plan(write_plan(plans, values), {"DATA": data, "STUDENTS": "students"})
    assert plan.students[0].model == str(tmp_path.resolve() / "here" / "students")


def test_plan_survives_its_copy(tmp_path: Path) -> None:
    """The plan that a run writes down reads as the same plan, wherever it lies."""
    from modxfer.experiments.running import _as_yaml

    (tmp_path / "teacher").mkdir()
    plan = _read(tmp_path, controls=["head-only"], sweep={"learning_rates": [1e-5, 0.01]})
    copy = tmp_path / "elsewhere" / "plan.yaml"
    copy.parent.mkdir()
    copy.write_text(_as_yaml(plan), encoding="utf-8")
    again = read_plan(copy)
    assert again.model_dump() == plan.model_dump()
    assert yaml.safe_load(copy.read_text(encoding="utf-8"))["methods"] == [{"name": "lora", "rank": 2}]
