"""What the weights of an entry are: clean entries of each kind, and every rule of the stage broken, with its report."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load, save

from modxfer import AlignmentChoice, api
from modxfer.alignments.files import _hash_record
from modxfer.registry.checks.online import check_online
from modxfer.registry.checks.weights import check_weights
from modxfer.registry.entries.reading import read_file
from tests import entries
from tests.builders import make_peft_module
from tests.hub.faults import Fault
from tests.hub.server import HubServer
from tests.registry.checks.online_entries import (
    KINDS,
    STUDENT,
    TEACHER,
    Case,
    a_map,
    base_of,
    change,
    commit,
    large,
    publish,
    read_entry,
    source_of,
)
from tests.registry.conftest import Made, contents

LARGE, MAP = "acme/ner-large", "acme/bert-to-student"
KEY = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_{}.weight"
PAIR = "encoder.0.query.output<-encoder.0.query.output"
OTHER_HASH = entries.sha256("another")
TRAIN = "Train the module again, and pin what comes of it."
COMPUTE = "Compute the map again, and push that."

Tensors = dict[str, np.ndarray]


def module_tensors(change: Callable[[Tensors], Tensors]) -> Any:
    """Change the module's tensors at the Hub."""

    def do(hub: HubServer) -> None:
        content = load(hub.files(LARGE)["adapter_model.safetensors"])
        hub.commit(LARGE, {"adapter_model.safetensors": save(change(content))})

    return do


def map_tensors(name: str, change: Callable[[np.ndarray], Any]) -> Any:
    """Change an array of the map at the Hub, and the hash of all in its record."""

    def do(hub: HubServer) -> None:
        tensors = {key: np.array(array) for key, array in load(hub.files(MAP)["alignment.safetensors"]).items()}
        change(tensors[f"{PAIR}/{name}"])
        content = save(tensors)
        record = json.loads(hub.files(MAP)["alignment.json"])
        record["files"] = {"alignment.safetensors": hashlib.sha256(content).hexdigest()}
        text = json.dumps({**record, "sha256": _hash_record(record)})
        hub.commit(MAP, {"alignment.safetensors": content, "alignment.json": text.encode()})

    return do


def filled(part: str, value: float) -> Callable[[Tensors], Tensors]:
    """Fill one tensor of the module."""
    return lambda found: {key: np.full_like(array, value) if key == KEY.format(part) else array for key, array in found.items()}


def without_effect(hub: HubServer) -> None:
    """Make a module whose parts are not zero, and whose product is: `down` reads the first unit of each rank alone."""

    def change(found: Tensors) -> Tensors:
        changed = {key: np.array(array) for key, array in found.items()}
        for key, array in changed.items():
            if "lora_A" in key:
                array[1:] = 0
            if "lora_B" in key:
                array[:, 0] = 0
        return changed

    module_tensors(change)(hub)


CASES = {
    "another hash": Case(
        rule="file-changed",
        line=f"    sha256: {OTHER_HASH}",
        change=change("source", "files", 1, "sha256", to=OTHER_HASH),
        what="`adapter_model.safetensors` has the sha256 {true} at this commit, not the pinned one.",
        do="Look at it again, then write that sha256.",
        values=lambda hub: {"true": source_of(hub, LARGE, "adapter_model.safetensors")["files"][0]["sha256"]},
    ),
    "no such file": Case(
        rule="file-changed",
        line="  - path: other.json",
        change=lambda entry: entry["source"]["files"].append({"path": "other.json", "sha256": OTHER_HASH, "size_bytes": 5}),
        what=f"`{LARGE}` has no file `other.json` at this commit.",
        do="Pin a commit that has it.",
    ),
    "a config that is none": Case(
        rule="not-loadable",
        line="  - path: adapter_config.json",
        repository=commit(LARGE, adapter_config__json=b"[]"),
        what="`adapter_config.json` holds a JSON list, not an object.",
        do="Push it again, and pin the commit that follows.",
    ),
    "a dtype that no module has": Case(
        rule="not-loadable",
        line="  - path: adapter_model.safetensors",
        repository=module_tensors(lambda found: {**found, KEY.format("A"): np.ones((3, 12), dtype=np.int8)}),
        what=f"`{KEY.format('A')}` in `adapter_model.safetensors` is of dtype I8, and a module's tensors are F64, F32, F16 "
        "or BF16.",
        do="Push it again, and pin the commit that follows.",
    ),
    "tensors of another base model": Case(
        rule="not-loadable",
        line="  - path: adapter_model.safetensors",
        repository=module_tensors(lambda found: {**found, KEY.format("A"): np.ones((3, 13), dtype=np.float32)}),
        what=f"`bert.encoder.layer.0.attention.self.query, down` in the module has the shape (3, 13), and `{TEACHER}` needs "
        "(3, 12).",
        do="Name the base model that it was trained on, or push it again.",
    ),
    "a base model that does not load": Case(
        rule="not-loadable",
        line="  - path: adapter_model.safetensors",
        repository=commit(TEACHER, model__safetensors=b"no tensors at all"),
        what=f"It does not load on `{TEACHER}` (SafetensorError): Error while deserializing header: header too large.",
        do="Name the base model that it was trained on, or push it again.",
    ),
    "not finite": Case(
        rule="not-finite",
        line="  - path: adapter_model.safetensors",
        repository=module_tensors(filled("A", np.nan)),
        what=f"`{KEY.format('A')}` holds values that are not finite.",
        do=TRAIN,
    ),
    "all zero": Case(
        rule="all-zero",
        line="  - path: adapter_model.safetensors",
        repository=module_tensors(filled("B", 0)),
        what=f"`{KEY.format('B')}` holds nothing but zeros.",
        do=TRAIN,
    ),
    "no effect": Case(
        rule="no-effect",
        line="  - path: adapter_model.safetensors",
        repository=without_effect,
        what=f"`{TEACHER}` gives the same output with the module and without it.",
        do="Train the module, or save it again, and pin what comes of it.",
    ),
    "a base model that is a pickle": Case(
        rule="not-checked",
        line="  name: acme/bert-teacher",
        repository=lambda hub: hub.commit(TEACHER, {"model.safetensors": None, "pytorch_model.bin": b"pickle"}),
        what=f"`{TEACHER}` has no safetensors weights at this commit, so the module was not tried.",
        do="Pin a commit of it that has them; pickles are not loaded.",
    ),
    "a map that is not finite": Case(
        rule="not-finite",
        line="  - path: alignment.safetensors",
        kind="map",
        repository=map_tensors("correlation", lambda array: array.fill(np.nan)),
        what=f"`{PAIR}/correlation` holds values that are not finite.",
        do=COMPUTE,
    ),
    "a map with a unit that is not there": Case(
        rule="not-loadable",
        line="  - path: alignment.safetensors",
        kind="map",
        repository=map_tensors("assignment", lambda array: array.put(0, 12)),
        what=f"`{PAIR}/assignment` holds values that cannot be: an index of no unit, or a correlation beyond 1.",
        do=COMPUTE,
    ),
    "a map with a correlation beyond 1": Case(
        rule="not-loadable",
        line="  - path: alignment.safetensors",
        kind="map",
        repository=map_tensors("correlation", lambda array: array.put(0, -1.5)),
        what=f"`{PAIR}/correlation` holds values that cannot be: an index of no unit, or a correlation beyond 1.",
        do=COMPUTE,
    ),
    "a map without any unit": Case(
        rule="all-zero",
        line="  - path: alignment.safetensors",
        kind="map",
        repository=map_tensors("assignment", lambda array: array.fill(-1)),
        what=f"`{PAIR}/assignment` holds no unit of the teacher at all.",
        do=COMPUTE,
    ),
    "a map that is damaged": Case(
        rule="not-loadable",
        line="  - path: alignment.safetensors",
        kind="map",
        repository=lambda hub: hub.commit(MAP, {"alignment.safetensors": save({"a": np.ones(3, dtype=np.float32)})}),
        what="`alignment.safetensors` is damaged: its sha256 is not the one that `alignment.json` says.",
        do="Push it again, and pin the commit that follows.",
    ),
}


@pytest.fixture
def there(hub: HubServer, made: Made) -> HubServer:
    """Give the Hub with everything that the entries point at."""
    publish(hub, made)
    hub.clear_log()
    return hub


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_of_what_is_there_is_clean(there: HubServer, kind: str) -> None:
    """A module, a transferred module and an alignment map that are sound pass."""
    assert list(check_weights(read_entry(KINDS[kind](there)))) == []


@pytest.mark.parametrize("name", CASES)
def test_each_break_has_its_report(there: HubServer, name: str) -> None:
    """What is broken is reported once, with rule, place, what is wrong and how to mend it."""
    found, expected = CASES[name].report(there, check_weights)
    assert found == [expected]


def test_several_tensors_are_one_problem(there: HubServer) -> None:
    """A new LoRA, whose `up` is zero everywhere, is reported once, with some of the tensors."""
    module_tensors(lambda found: {key: array * ("lora_B" not in key) for key, array in found.items()})(there)
    (problem,) = check_weights(read_entry(large(there)))
    assert problem.rule == "all-zero"
    assert problem.what.endswith(" and 9 more hold nothing but zeros.")


def test_what_is_not_what_was_pinned_is_not_opened(there: HubServer) -> None:
    """Files with another hash are not read, and the base model is not even asked for."""
    entry = large(there)
    there.commit(LARGE, {"adapter_model.safetensors": b"evil"})
    entry["source"]["revision"] = there.head(LARGE)
    assert [problem.rule for problem in check_weights(read_entry(entry))] == ["file-changed"]
    assert not [request for request in there.log if TEACHER in request.path]


def test_nothing_beside_the_pinned_files_is_used(there: HubServer) -> None:
    """Pickles and other files in the repositories, and in the cache from earlier, are neither fetched nor loaded."""
    extra = {"adapter_model.bin": b"pickle", "tokenizer.json": b"{", "modeling.py": b"raise SystemExit"}
    there.commit(LARGE, extra)
    there.commit(TEACHER, {"pytorch_model.bin": b"pickle", "generation_config.json": b"{"})
    assert list(check_weights(read_entry(large(there)))) == []
    asked = {request.path.rpartition("/")[2] for request in there.requests(path="/resolve/")}
    assert asked == {"adapter_config.json", "adapter_model.safetensors", "config.json", "model.safetensors"}


def test_the_files_that_are_used_are_those_that_are_checked(there: HubServer) -> None:
    """A sound copy in another folder, pinned before them, does not stand for the files in the root, which are what is used."""
    names = {LARGE: ("adapter_config.json", "adapter_model.safetensors"), MAP: ("alignment.json", "alignment.safetensors")}
    for name, files in names.items():
        there.commit(name, {f"sound/{path}": there.files(name)[path] for path in files})
    module_tensors(lambda found: {key: 0 * array for key, array in found.items()})(there)
    map_tensors("assignment", lambda array: array.fill(-1))(there)
    for name, entry in ((LARGE, large(there)), (MAP, a_map(there))):
        entry["source"] = source_of(there, name, *(f"{folder}{path}" for folder in ("sound/", "") for path in names[name]))
        (problem,) = check_weights(read_entry(entry))
        assert problem.rule == "all-zero"


def test_code_of_a_base_model_is_not_run(there: HubServer, tmp_path: Path) -> None:
    """A config that names code of its own is loaded with the library's classes, or not at all."""
    mark = tmp_path / "ran"
    content = json.loads(there.files(TEACHER)["config.json"])
    code = {"AutoModelForTokenClassification": "evil.Evil", "AutoConfig": "evil.Evil"}
    text = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    there.commit(TEACHER, {"config.json": json.dumps({**content, "auto_map": code}).encode(), "evil.py": text.encode()})
    assert list(check_weights(read_entry(large(there)))) == []
    assert not mark.exists()


def test_the_entry_is_left_unchecked_where_the_hub_does_not_answer(there: HubServer) -> None:
    """A Hub that refuses in between is one problem, and no crash."""
    there.faults.add(Fault(kind="status", status=403, path=f"{TEACHER}/resolve", times=None))
    (problem,) = check_weights(read_entry(large(there)))
    assert problem.rule == "not-checked"
    assert TEACHER in problem.what


@pytest.mark.parametrize(("task", "inside"), [("SEQ_CLS", True), (None, True), (None, False)])
def test_modules_of_all_kinds_of_models_are_tried(
    there: HubServer, made: Made, tmp_path: Path, task: str, inside: bool
) -> None:
    """A head that the module does not bring, the pooler, and a bare base model are no hindrance."""
    kind = transformers.AutoModelForSequenceClassification if inside else transformers.AutoModel
    model = kind.from_pretrained(made.teacher)
    make_peft_module(tmp_path / "new", model, task_type=task, target_modules=["pooler.dense"])
    there.add_repo("acme/new", contents(tmp_path / "new"))
    entry = large(there, source=source_of(there, "acme/new", "adapter_config.json", "adapter_model.safetensors"))
    assert list(check_weights(read_entry(entry))) == []


def test_the_random_state_is_left_alone(there: HubServer) -> None:
    """What others draw at random does not depend on whether something was checked."""
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    list(check_weights(read_entry(large(there))))
    assert torch.equal(torch.rand(2), expected)


def test_a_module_of_an_unknown_family_is_tried_all_the_same(there: HubServer, tmp_path: Path) -> None:
    """What modxfer cannot take apart still has to load, and to change something."""
    config = transformers.AutoConfig.for_model(
        "albert",
        hidden_size=12,
        embedding_size=8,
        num_hidden_layers=2,
        intermediate_size=20,
        num_attention_heads=3,
        vocab_size=50,
    )
    model = transformers.AutoModelForTokenClassification.from_config(config)
    model.save_pretrained(tmp_path / "base")
    there.add_repo("acme/albert", contents(tmp_path / "base"))
    make_peft_module(tmp_path / "new", model, task_type="TOKEN_CLS")
    there.add_repo("acme/new", contents(tmp_path / "new"))
    base = {"name": "acme/albert", "revision": there.head("acme/albert"), "family": "albert", "widths": {}, "depths": {}}
    source = source_of(there, "acme/new", "adapter_config.json", "adapter_model.safetensors")
    assert list(check_weights(read_entry(large(there, source=source, base=base)))) == []


def adapters_entry(hub: HubServer, made: Made, folder: Path) -> dict[str, Any]:
    """Put a module in the format of `adapters` on the Hub, with its head, and describe it."""
    model = transformers.AutoModelForTokenClassification.from_pretrained(made.teacher, num_labels=4)
    make_peft_module(folder.parent / "peft", model, task_type="TOKEN_CLS")
    api.convert(
        str(folder.parent / "peft"),
        to=str(made.student),
        teacher=str(made.teacher),
        align=AlignmentChoice(aligner="identity"),
        format="adapters",
        output=folder,
    )
    hub.add_repo("acme/houlsby", contents(folder))
    files = [path.name for path in sorted(folder.iterdir()) if path.name != "README.md" and "transfer" not in path.name]
    source = source_of(hub, "acme/houlsby", *files)
    method = {"name": "lora", "inner_sizes": [3], "roles": ["query", "value"]}
    return large(hub, source=source, base=base_of(hub, STUDENT), method=method, format="adapters")


@pytest.mark.adapters
def test_a_module_of_adapters_is_tried_with_its_library(there: HubServer, made: Made, tmp_path: Path) -> None:
    """One that is sound passes both stages, and one without effect does not."""
    entry = adapters_entry(there, made, tmp_path / "new")
    assert list(check_online(read_entry(entry))) == []
    assert list(check_weights(read_entry(entry))) == []
    found = load(there.files("acme/houlsby")["adapter.safetensors"])
    tiny = {key: array * 1e-9 if "lora_B" in key else array for key, array in found.items()}
    there.commit("acme/houlsby", {"adapter.safetensors": save(tiny)})
    names = [file["path"] for file in entry["source"]["files"]]
    entry["source"] = source_of(there, "acme/houlsby", *names)
    assert [problem.rule for problem in check_weights(read_entry(entry))] == ["no-effect"]


def test_a_module_of_adapters_needs_its_library(
    there: HubServer, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `adapters` is not installed the module counts as unchecked, and the way to install it is said."""
    entry = adapters_entry(there, made, tmp_path / "new")
    monkeypatch.setitem(sys.modules, "adapters", None)  # as if it were not installed
    (problem,) = check_weights(read_entry(entry))
    assert (problem.rule, problem.what, problem.do) == (
        "not-checked",
        "The module is in the format of `adapters`, which is not installed, so it was not tried.",
        "Install it with `pip install 'modxfer[adapters]'`, or leave `--weights` out.",
    )


def test_what_is_no_module_on_the_hub_has_nothing_to_check(there: HubServer) -> None:
    """Aliases, entries with errors and archives are passed over."""
    archive = {"archive": "https://example.org/a.zip", "sha256": OTHER_HASH}
    assert list(check_weights(read_file("aliases/acme.yaml", b"format_version: 1"))) == []
    assert list(check_weights(read_entry(large(there, source=archive)))) == []
    assert there.log == []


def test_a_repository_that_is_gone_is_said(there: HubServer) -> None:
    """Alone too this stage says what is missing."""
    read = read_entry(a_map(there))
    there.repos.pop(("model", MAP))
    assert [problem.rule for problem in check_weights(read)] == ["repository-missing"]
