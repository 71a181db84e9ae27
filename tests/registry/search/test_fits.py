"""What can be used on a base model is told from what could be brought there, and how sure that is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modxfer.alignments.alignment_map import BaseRecord, SitePair
from modxfer.errors import ArchitectureError, UsageError
from modxfer.paths import home
from modxfer.registry.fingerprints import fingerprint_folder
from modxfer.registry.search.fits import Fits, Match, fits, identify, match
from modxfer.registry.search.query import NamedBase, Query
from modxfer.registry.store import Store
from tests.entries import COMMIT, alignment_entry, base, make_registry, module_entry, sha256
from tests.hub.server import HubServer
from tests.modules import assignment_map, map_of

CONFIG = json.dumps({"model_type": "bert", "hidden_size": 12, "num_hidden_layers": 3, "intermediate_size": 20})
FILES = {"config.json": CONFIG.encode(), "model.safetensors": b"weights"}
STUDENT, TEACHER = "acme/student", "acme/teacher"
KEY = "ab" * 32
OTHER = "0" * 40


def named(name: str, **fields: Any) -> dict[str, Any]:
    """Describe a base model by its name and what else is given."""
    kept = {key: value for key, value in base(name).items() if key not in ("revision", "fingerprint")}
    return kept | fields


def ask(tmp_path: Path, model: str, *entries: dict[str, Any], query: Query | None = None, limit: int = 20) -> Fits:
    """Ask a registry of these entries."""
    registry = make_registry(tmp_path / "registry", *entries)
    return fits(registry, model, query or Query(), store=Store(home()), limit=limit)


def store_map(*, correlation_of: float, student: BaseRecord, teacher: BaseRecord) -> None:
    """Put a map into the local store."""
    pair = SitePair.parse("encoder.0.query.input<-encoder.1.query.input")
    alignment = map_of({pair: assignment_map(np.array([1, 0]))}, student=student, teacher=teacher)
    score = alignment.scores[pair]
    changed = {field: getattr(score, field) for field in score.__slots__} | {"mean_correlation": correlation_of}
    Store(home()).add(KEY, map_of(alignment.maps, student=student, teacher=teacher, scores={pair: type(score)(**changed)}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a base model's folder."""
    found = tmp_path / "student"
    found.mkdir()
    for name, content in FILES.items():
        (found / name).write_bytes(content)
    return found


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        (("a/b", COMMIT, "f"), ("x/y", OTHER, "f"), Match.FINGERPRINT),
        (("a/b", COMMIT, "f"), ("a/b", COMMIT, "g"), None),
        (("a/b", COMMIT, None), ("A/B", COMMIT, "g"), Match.COMMIT),
        (("a/b", COMMIT, None), ("a/b", OTHER, None), Match.OTHER_COMMIT),
        (("a/b", None, "f"), ("a/b", OTHER, None), Match.NAME),
        (("a/b", None, None), ("x/b", None, None), None),
        (("a/b", None, None), ("b", None, None), Match.NAME),
        (("a/b", None, None), ("a", None, None), None),
    ],
)
def test_match_says_how_it_knows(one: tuple[Any, ...], other: tuple[Any, ...], how: Match | None) -> None:
    """Fingerprints decide where both are known, then names; commits say how sure that is. Either way round."""
    first, second = (NamedBase(name=item[0], revision=item[1], fingerprint=item[2]) for item in (one, other))
    assert match(first, second) == match(second, first) == how


def test_a_folder_is_known_by_its_weights(folder: Path, tmp_path: Path) -> None:
    """A module for the same weights fits, whatever the base model is called there; one for others of that name does not."""
    same = fingerprint_folder(folder, memory=tmp_path / "memory")
    found = ask(
        tmp_path,
        str(folder),
        module_entry("m/same", base=named("acme/renamed", fingerprint=same)),
        module_entry("m/other", base=named("student", fingerprint=sha256("other"))),
        module_entry("m/unknown", base=named("acme/student")),
        module_entry("m/far", base=named("acme/far")),
    )
    assert [(fit.hit.id, fit.match) for fit in found.as_is] == [("m/same", Match.FINGERPRINT), ("m/unknown", Match.NAME)]
    assert (found.transferable, found.warnings, found.model.fingerprint) == ((), (), same)


def test_a_model_on_the_hub_is_known_by_its_commit_and_weights(hub: HubServer, tmp_path: Path) -> None:
    """What the Hub says of a repository is compared with the entries; nothing of its weights is fetched."""
    commit = hub.add_repo(STUDENT, FILES)
    found = ask(
        tmp_path,
        STUDENT,
        module_entry("m/here", base=named(STUDENT, revision=commit)),
        module_entry("m/earlier", base=named(STUDENT, revision=OTHER)),
    )
    assert [(fit.hit.id, fit.match) for fit in found.as_is] == [("m/here", Match.COMMIT), ("m/earlier", Match.OTHER_COMMIT)]
    assert (found.model.name, found.model.revision, found.warnings) == (STUDENT, commit, ())


def test_a_model_that_cannot_be_asked_for_is_known_by_its_name(hub: HubServer, tmp_path: Path) -> None:
    """Where the Hub has no such repository, names are compared, and a commit if one was given; a warning says so."""
    entries = [module_entry("m/one", base=named(STUDENT, revision=COMMIT)), module_entry("m/two", base=named("acme/far"))]
    found = ask(tmp_path, STUDENT, *entries)
    assert [(fit.hit.id, fit.match) for fit in found.as_is] == [("m/one", Match.NAME)]
    (warning,) = found.warnings
    assert "`acme/student`" in warning
    assert warning.endswith("So base models are compared by their names.")
    found = ask(tmp_path, f"{STUDENT}@{COMMIT}", *entries)
    assert [(fit.hit.id, fit.match) for fit in found.as_is] == [("m/one", Match.COMMIT)]
    assert found.warnings[0].endswith("by their names and commits.")


def test_a_folder_without_weights_is_known_by_its_name(folder: Path, tmp_path: Path) -> None:
    """Without weights there is no fingerprint; the name is compared, and a warning says so."""
    (folder / "model.safetensors").unlink()
    found = ask(tmp_path, str(folder), module_entry("m/one", base=base(STUDENT)))
    assert [fit.match for fit in found.as_is] == [Match.NAME]
    assert "holds no weights" in found.warnings[0]


@pytest.mark.parametrize("model", ["./no/such", "no such"])
def test_what_is_no_model_is_refused(model: str, tmp_path: Path) -> None:
    """A text that is neither a folder nor a Hub id finds nothing by its name."""
    with pytest.raises(UsageError, match=model):
        identify(model, store=Store(tmp_path))


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """A folder without a config is no base model."""
    with pytest.raises(ArchitectureError, match=r"holds no `config\.json`"):
        ask(tmp_path, str(tmp_path), module_entry())


def test_maps_bring_modules_of_their_teacher(hub: HubServer, tmp_path: Path) -> None:
    """A map of the registry brings the modules of its teacher, not those of others, not over two maps, not backwards."""
    found = ask(
        tmp_path,
        STUDENT,
        module_entry("m/own", base=named(STUDENT)),
        module_entry("m/brought", base=named(TEACHER)),
        module_entry("m/far", base=named("acme/far")),
        alignment_entry("maps/good", teacher=named(TEACHER), student=named(STUDENT)),
        alignment_entry("maps/first", teacher=named("acme/far"), student=named(TEACHER)),
        alignment_entry("maps/back", teacher=named(STUDENT), student=named("acme/far")),
    )
    assert [fit.hit.id for fit in found.as_is] == ["m/own"]
    (fit,) = found.transferable
    assert fit.route is not None
    assert (fit.hit.id, fit.route.alignment, fit.route.mean_correlation) == ("m/brought", "registry:maps/good", 0.4375)
    assert fit.route.command == (
        f"modxfer convert registry:m/brought --to {STUDENT} --alignment registry:maps/good --registry {tmp_path / 'registry'}"
    )


def test_a_part_of_a_name_is_not_what_is_converted_to(hub: HubServer, tmp_path: Path) -> None:
    """Where only the last part of the name was given, the command names the base model as the map does."""
    entries = (module_entry(base=named(TEACHER)), alignment_entry(teacher=named(TEACHER), student=named(STUDENT)))
    (fit,) = ask(tmp_path, "student", *entries).transferable
    assert fit.route is not None
    assert f"--to {STUDENT} --alignment" in fit.route.command


def test_the_best_map_is_named(hub: HubServer, tmp_path: Path) -> None:
    """Of several maps the surest counts, then the one that fits best; maps of the local store count too."""
    maps = [
        alignment_entry("maps/weak", teacher=named(TEACHER), student=named(STUDENT), scores={"mean_correlation": 0.25}),
        alignment_entry("maps/good", teacher=named(TEACHER), student=named(STUDENT), scores={"mean_correlation": 0.75}),
        alignment_entry(
            "maps/unsure", teacher=named(TEACHER, revision=OTHER), student=named(STUDENT), scores={"mean_correlation": 0.875}
        ),
    ]
    module = module_entry("m/brought", base=named(TEACHER, revision=COMMIT))
    routes = [fit.route for fit in ask(tmp_path, STUDENT, module, *maps).transferable]
    assert [route and route.alignment for route in routes] == ["registry:maps/good"]
    teacher, student = (
        BaseRecord(name=name, revision=None, fingerprint=sha256(name), model_type="bert") for name in (TEACHER, STUDENT)
    )
    store_map(correlation_of=0.8125, student=student, teacher=teacher)
    routes = [fit.route for fit in ask(tmp_path, STUDENT, module, *maps).transferable]
    assert [route and (route.alignment, route.mean_correlation) for route in routes] == [(KEY[:12], 0.8125)]
    store_map(correlation_of=0.8125, student=teacher, teacher=student)
    routes = [fit.route for fit in ask(tmp_path, STUDENT, module, *maps).transferable]
    assert [route and route.alignment for route in routes] == ["registry:maps/good"]


def test_filters_and_limit_hold_for_fits_too(hub: HubServer, tmp_path: Path) -> None:
    """Only modules that a query means are listed; of each sort at most so many, with the total."""
    entries = [module_entry(f"m/{name}-{role}", base=named(f"acme/{role}"), tags=[name])
               for name in ("a", "b", "c") for role in ("student", "teacher")]  # fmt: skip
    entries.append(alignment_entry("maps/good", teacher=named(TEACHER), student=named(STUDENT)))
    found = ask(tmp_path, STUDENT, *entries, limit=2)
    assert ([fit.hit.id for fit in found.as_is], found.as_is_total) == (["m/a-student", "m/b-student"], 3)
    assert ([fit.hit.id for fit in found.transferable], found.transferable_total) == (["m/a-teacher", "m/b-teacher"], 3)
    found = ask(tmp_path, STUDENT, *entries, query=Query(tags=("c",)))
    assert [fit.hit.id for fit in (*found.as_is, *found.transferable)] == ["m/c-student", "m/c-teacher"]
    with pytest.raises(UsageError, match="limit of 0"):
        ask(tmp_path, STUDENT, limit=0)
