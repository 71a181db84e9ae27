"""What somebody has who is about to publish: a pair, a module on it that was converted, and their alignment map."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import transformers

from modxfer import api
from tests.builders import make_peft_module
from tests.hub.server import HubServer
from tests.planted import base_model, draw_plan, make_student, make_teacher, small_text


@dataclass(frozen=True, kw_only=True)
class Made:
    """Folders; tests copy what they change.

    Attributes:
        teacher: A base model.
        student: The teacher with its units in another order.
        module: A LoRA of the teacher, with a card that states MIT.
        converted: The module on the student.
        map: The alignment map of the two.
        text: The corpus that it was computed on.
    """

    teacher: Path
    student: Path
    module: Path
    converted: Path
    map: Path
    text: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Make them once."""
    folder = tmp_path_factory.mktemp("made")
    teacher = make_teacher(folder / "teacher", "bert", seed=3)
    student = make_student(folder / "student", teacher, draw_plan(base_model(teacher).architecture, heads=3, seed=8))
    model = transformers.AutoModelForTokenClassification.from_pretrained(teacher, num_labels=4)
    make_peft_module(folder / "ner", model, task_type="TOKEN_CLS", target_modules=["query", "dense"])
    (folder / "ner" / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n")
    text = folder / "text.txt"
    text.write_text(small_text(), encoding="utf-8")
    choice = api.AlignmentChoice(corpus=str(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODXFER_HOME", str(folder / "store"))
        api.compute_alignment(str(folder / "ner"), to=str(student), align=choice, output=folder / "map")
        api.convert(str(folder / "ner"), to=str(student), align=choice, output=folder / "converted")
    return Made(
        teacher=teacher,
        student=student,
        module=folder / "ner",
        converted=folder / "converted",
        map=folder / "map",
        text=text,
    )


@pytest.fixture
def acme(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """Give a Hub on which the user is logged in as `acme`."""
    monkeypatch.setenv("HF_TOKEN", hub.add_user("acme"))
    return hub


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
