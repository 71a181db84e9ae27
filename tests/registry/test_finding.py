"""Finding an alignment map: in the order named, stored, pulled, published, computed, and nothing that was not verified."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modxfer import api
from modxfer.api import AlignmentChoice, Converted, PushChoice
from modxfer.errors import AlignmentError, FormatError, StoreError, UsageError
from modxfer.paths import home
from modxfer.registry.pairs import map_name
from modxfer.registry.published import fetch_map
from modxfer.registry.pulling import keep
from modxfer.registry.store import Store
from tests.hub.remote import Person
from tests.hub.server import HubServer
from tests.registry.conftest import Made, contents


@pytest.fixture
def shared(acme: HubServer, made: Made) -> HubServer:
    """Publish teacher, student, module and their map; the log begins afterwards, with an empty cache and store."""
    acme.add_repo("acme/teacher", contents(made.teacher))
    acme.add_repo("acme/student", contents(made.student))
    files = contents(made.module)
    config = json.loads(files["adapter_config.json"]) | {"base_model_name_or_path": "acme/teacher"}
    acme.add_repo("acme/ner", {**files, "adapter_config.json": json.dumps(config).encode()})
    api.push(made.map, PushChoice(name="acme/map", licence="cc0-1.0"))
    acme.clear_log()
    return acme


def convert(*, module: str = "acme/ner", to: str = "acme/student", output: str = "out", **choice: object) -> Converted:
    """Convert, with a few of the options."""
    return api.convert(module, to=to, align=AlignmentChoice(**choice), output=Path(output), force=True)  # type: ignore[arg-type]


def weights_fetched(hub: HubServer) -> list[str]:
    """List what was fetched that is as large as weights."""
    return [request.path for request in hub.requests("GET", host="storage")]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_published_map_is_found_and_nothing_computed(shared: HubServer, made: Made) -> None:
    """The owner's map is taken, without the weights of either model, and gives the tensors of the map in the folder."""
    found = convert().found
    assert (found.source, found.published) == ("hub", {"repository": "acme/map", "revision": shared.head("acme/map")})
    assert len(weights_fetched(shared)) == 2, "the module's and the map's"
    assert contents(Path("out"))["adapter_model.safetensors"] == contents(made.converted)["adapter_model.safetensors"]
    record = json.loads(Path("out/transfer.json").read_text())
    assert record["alignment"]["published"]["repository"] == "acme/map"


def test_the_second_time_it_comes_from_the_store(shared: HubServer) -> None:
    """A map that was fetched is kept, and no Hub is asked for maps again."""
    first = convert()
    shared.clear_log()
    again = convert(output="again")
    assert (again.found.source, again.found.published) == ("store", first.found.published)
    assert [request.path for request in shared.log if "map" in request.path or request.path == "/api/models"] == []
    assert contents(Path("again")) == contents(Path("out"))


def test_folders_and_repositories_of_the_same_model_share_maps(shared: HubServer, made: Made) -> None:
    """What counts is what the files hold: with both models in folders the published map serves as well."""
    found = api.convert("acme/ner", to=str(made.student), teacher=str(made.teacher), output=Path("out")).found
    assert found.source == "hub"


def test_a_new_card_of_a_model_keeps_its_maps(shared: HubServer) -> None:
    """A commit that only changes what is read by people leaves the fingerprint."""
    shared.commit("acme/student", {"README.md": b"# New words"})
    assert convert().found.source == "hub"


def test_other_weights_are_another_model(shared: HubServer, made: Made) -> None:
    """After a commit of other weights, the map no longer serves, and is refused if it is named."""
    raw = bytearray((made.student / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    shared.commit("acme/student", {"model.safetensors": bytes(raw)})
    with pytest.raises(AlignmentError, match="`acme/map` was made for the student"):
        convert(alignment="acme/map")
    assert convert(corpus=str(made.text)).found.source == "computed"


def test_a_map_of_another_pair_under_the_usual_name_is_not_used(shared: HubServer, made: Made) -> None:
    """What a repository is called counts for nothing: neither the other teacher's nor the other student's map serves."""
    shared.add_repo(f"acme/{map_name('teacher', 'student')}", shared.files("acme/map"))
    shared.commit("acme/map", {"alignment.json": None})
    for name, folder in (("acme/student", made.student), ("acme/teacher", made.teacher)):
        raw = (folder / "model.safetensors").read_bytes()
        shared.commit(name, {"model.safetensors": bytes([*raw[:-1], raw[-1] ^ 1])})
        assert convert(corpus=str(made.text)).found.source == "computed"
        shared.commit(name, {"model.safetensors": raw})
    assert convert().found.source == "hub"


def test_a_new_tokenizer_is_another_key(shared: HubServer, made: Made) -> None:
    """Which tokens match depends on the tokenizers, so a map computed with another one is not taken for the same."""
    shared.commit("acme/map", {"alignment.json": None})
    assert convert(corpus=str(made.text)).found.source == "computed"
    assert convert(corpus=str(made.text)).found.source == "store"
    for name, folder in (("acme/student", made.student), ("acme/teacher", made.teacher)):
        raw = (folder / "tokenizer_config.json").read_bytes()
        shared.commit(name, {"tokenizer_config.json": raw + b"\n"})
        assert convert(corpus=str(made.text)).found.source == "computed"


def test_strangers_are_not_trusted_unless_the_user_says_so(
    shared: HubServer, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map of somebody who owns nothing that is used is taken only if named in MODXFER_TRUST, or by its id."""
    shared.add_user("stranger")
    shared.add_repo("stranger/map", shared.files("acme/map"))
    shared.commit("acme/map", {"alignment.json": None})
    assert convert(corpus=str(made.text)).found.source == "computed"
    monkeypatch.setenv("MODXFER_HOME", "second-home")
    monkeypatch.setenv("MODXFER_TRUST", " somebody, stranger ")
    assert convert(corpus=str(made.text)).found.published == {
        "repository": "stranger/map",
        "revision": shared.head("stranger/map"),
    }
    monkeypatch.setenv("MODXFER_HOME", "third-home")
    monkeypatch.delenv("MODXFER_TRUST")
    assert convert(alignment="stranger/map").found.source == "hub"


def test_trust_in_one_conversion_is_none_in_the_next(shared: HubServer, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that was found because its owner owns the module serves no module of somebody else, until it is pulled by name."""
    files = shared.files("acme/ner")
    shared.add_repo("evil/ner", files)
    shared.add_repo("evil/map", shared.files("acme/map"))
    shared.commit("acme/map", {"alignment.json": None})
    first = convert(module="evil/ner").found
    assert first.published is not None
    assert first.published["repository"] == "evil/map"
    assert convert(module="evil/ner").found.source == "store"
    assert convert(corpus=str(made.text)).found.source == "computed"
    monkeypatch.setenv("MODXFER_HOME", "second-home")
    assert convert(module="evil/ner").found.source == "hub"
    api.pull_alignment("evil/map")
    assert convert().found.published == {"repository": "evil/map", "revision": shared.head("evil/map")}


def test_only_the_record_of_a_map_that_does_not_serve_is_fetched(shared: HubServer, made: Made) -> None:
    """Tensors are fetched when the record says that they are of use; and none are if the user asks for something else."""
    shared.add_repo(f"acme/{map_name('teacher', 'student')}", shared.files("acme/map"))
    record = json.loads(shared.files("acme/map")["alignment.json"])
    tensors = record["files"]["alignment.safetensors"]
    shared.clear_log()
    assert convert(aligner="lsa", corpus=str(made.text)).found.source == "computed"
    assert [path for path in weights_fetched(shared) if tensors in path] == []
    shared.clear_log()
    assert convert(tokens=900, corpus=str(made.text)).found.source == "computed"
    assert shared.requests(path="alignment") == []


def test_a_store_that_cannot_be_written_is_no_reason_to_do_without(
    shared: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A published map is used as it was fetched, with a warning."""
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MODXFER_HOME", str(tmp_path / "file"))
    assert convert().found.source == "hub"
    assert "Cannot lock" in caplog.text


def test_several_processes_may_keep_the_same_map(shared: HubServer) -> None:
    """Of many that fetch one map at once, none fails, and one object is kept."""
    published = fetch_map("acme/map")
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: keep(published, is_asked_for=False), range(40)))
    assert len(keys) == len(list(Store(home()).list())) == 1


def test_a_map_computed_from_folders_serves_the_same_models_on_the_hub(shared: HubServer, made: Made) -> None:
    """The key is the same, whether the Hub says the hashes or the files are here."""
    shared.commit("acme/map", {"alignment.json": None})
    choice = AlignmentChoice(corpus=str(made.text))
    here = api.convert("acme/ner", to=str(made.student), teacher=str(made.teacher), align=choice, output=Path("out"))
    assert here.found.source == "computed"
    assert convert(corpus=str(made.text)).found.source == "store"


def test_a_base_model_is_not_said_twice(shared: HubServer) -> None:
    """A map for a whole pair is computed for the base model that is named."""
    with pytest.raises(UsageError, match="`acme/teacher` is a base model, and `--from other` names another"):
        api.compute_alignment("acme/teacher", to="acme/student", teacher="other")


def test_a_module_from_the_hub_does_not_choose_a_folder_here(shared: HubServer, made: Made) -> None:
    """A config that names a folder of this machine as its base model is not followed."""
    config = json.loads(shared.files("acme/ner")["adapter_config.json"]) | {"base_model_name_or_path": str(made.teacher)}
    shared.commit("acme/ner", {"adapter_config.json": json.dumps(config).encode()})
    with pytest.raises(
        UsageError, match=r"`acme/ner` comes from the Hub and says that it belongs to .*teacher`, a folder here"
    ):
        convert()


def test_offline_the_map_on_the_modules_data_set_is_found(shared: HubServer, made: Made, tmp_path: Path) -> None:
    """What was computed on a data set of the Hub is found again when the Hub is not asked."""
    shared.commit("acme/map", {"alignment.json": None})
    shared.add_repo("acme/text", {"train.txt": made.text.read_bytes()}, repo_type="dataset")
    shared.commit("acme/ner", {"README.md": b"---\nlicense: mit\ndatasets: [acme/text]\n---\n"})
    one = Person(folder=tmp_path / "one")
    words = ["convert", "acme/ner", "--to", "acme/student", "--json", "--force"]
    first = json.loads(one.modxfer(*words))["alignment"]
    again = json.loads(one.modxfer(*words, "--offline"))["alignment"]
    assert (first["source"], again["source"], again["id"]) == ("computed", "store", first["id"])


def test_the_usual_name_is_found_without_the_index(shared: HubServer) -> None:
    """A Hub whose search does not know the map yet still has it, under the name that `align push` gives it."""
    usual = f"acme/{map_name('teacher', 'student')}"
    files = shared.files("acme/map")
    shared.add_repo(usual, {**files, "README.md": b"---\nlicense: mit\n---\n"})
    shared.commit("acme/map", {"README.md": b"---\nlicense: mit\n---\n"})
    published = convert().found.published
    assert published is not None
    assert published["repository"] == usual


@pytest.mark.parametrize("options", [{"aligner": "lsa"}, {"tokens": 700}, {"penalty": 0.5}, {"corpus": "other.txt"}])
def test_a_map_that_was_computed_otherwise_does_not_serve(shared: HubServer, made: Made, options: dict[str, object]) -> None:
    """Whoever asks for another aligner, corpus or number of tokens gets just that."""
    Path("other.txt").write_text(made.text.read_text() + "One more line.\n")
    choice = AlignmentChoice(**{"corpus": str(made.text), **options})  # type: ignore[arg-type]
    assert api.convert("acme/ner", to="acme/student", align=choice, output=Path("out")).found.source == "computed"


def test_a_map_that_lacks_sites_does_not_serve(shared: HubServer, made: Made) -> None:
    """A layer map that needs other pairs of layers is computed."""
    choice = AlignmentChoice(corpus=str(made.text))
    assert (
        api.convert("acme/ner", to="acme/student", layers="2,1,0", align=choice, output=Path("out")).found.source == "computed"
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("alignment.safetensors", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])),
        ("alignment.json", lambda raw: raw.replace(b'"aligner": "lsa"', b'"aligner": "lsb"')),
        ("alignment.json", lambda raw: raw.replace(b'"format_version": 1', b'"format_version": 2')),
    ],
)
def test_a_published_map_that_does_not_verify_is_not_used(
    shared: HubServer, made: Made, caplog: pytest.LogCaptureFixture, name: str, change: object
) -> None:
    """A map that somebody changed on the Hub is said and passed over; if it is named or pulled, that is an error."""
    assert callable(change)
    old = shared.files("acme/map")[name]
    assert change(old) != old
    shared.commit("acme/map", {name: change(old)})
    assert convert(corpus=str(made.text)).found.source == "computed"
    assert "A published alignment map is not used" in caplog.text
    for named in (lambda: convert(alignment="acme/map"), lambda: api.pull_alignment("acme/map"), lambda: api.pull("acme/map")):
        with pytest.raises(FormatError, match=r"is damaged|format version 2"):
            named()


def test_a_pulled_map_is_found_without_any_hub(shared: HubServer, made: Made) -> None:
    """What was pulled serves folders, and needs no look at the Hub."""
    pulled = api.pull_alignment("acme/map")
    shared.clear_log()
    found = api.convert(str(made.module), to=str(made.student), output=Path("out")).found
    assert found.alignment is not None
    assert (found.source, found.alignment.key) == ("store", pulled.key)
    assert shared.log == []
    named = convert(module=str(made.module), to=str(made.student), alignment=str(pulled.key)[:9], output="again")
    assert named.found.published == {"repository": "acme/map", "revision": pulled.revision}


def test_a_pulled_map_does_not_pass_for_a_computed_one(shared: HubServer, made: Made) -> None:
    """Even if it claims the key of a map that would be computed here, it is kept under another."""
    pulled = api.pull_alignment("acme/map")
    own = api.find_alignment_map(str(made.map)).key
    assert pulled.key != own
    with pytest.raises(StoreError, match=f"begins with `{own}`"):
        api.find_alignment_map(own)


def test_names_that_are_no_map(shared: HubServer) -> None:
    """A module's id, an id that is not there and digits that no map has are refused by name."""
    with pytest.raises(FormatError, match=r"`acme/ner` holds no `alignment\.json`"):
        convert(alignment="acme/ner")
    with pytest.raises(UsageError, match="`acme/nothing` is no folder here and not on the Hub"):
        convert(alignment="acme/nothing")
    with pytest.raises(StoreError, match="begins with `0123`"):
        convert(alignment="0123")


def test_a_data_set_is_pinned_to_its_commit(shared: HubServer, made: Made) -> None:
    """The module's data set is the corpus, at the commit that its branch is at; a later commit is another corpus."""
    shared.commit("acme/map", {"alignment.json": None})
    shared.add_repo("acme/text", {"train.txt": made.text.read_bytes()}, repo_type="dataset")
    shared.commit("acme/ner", {"README.md": b"---\nlicense: mit\ndatasets: [acme/text]\n---\n"})
    first = convert().found
    assert first.alignment is not None
    corpus = first.alignment.corpus
    assert (corpus.name, corpus.revision) == ("acme/text", shared.head("acme/text", repo_type="dataset"))
    assert convert().found.source == "store"
    shared.commit("acme/text", {"train.txt": made.text.read_bytes() + b"More.\n"}, repo_type="dataset")
    assert convert().found.source == "computed"


def test_a_map_from_the_library_goes_there_and_comes_back(shared: HubServer, made: Made) -> None:
    """`AlignmentMap.push_to_hub` and `from_pretrained` of `ModelHubMixin` keep every bit, and verify."""
    from huggingface_hub import ModelHubMixin

    import modxfer

    mine = modxfer.AlignmentMap.from_pretrained(made.map)
    assert isinstance(mine, ModelHubMixin)
    url = mine.push_to_hub("acme/mine", license="cc0-1.0", private=True)
    assert url.endswith(shared.head("acme/mine"))
    there = shared.files("acme/mine")
    assert there["alignment.safetensors"] == (made.map / "alignment.safetensors").read_bytes()
    assert there["alignment.json"] == (made.map / "alignment.json").read_bytes()
    published = shared.head("acme/mine")
    shared.commit("acme/mine", {"alignment.json": None})
    back = modxfer.AlignmentMap.from_pretrained("acme/mine", revision=published)
    assert back.scores == mine.scores
    back.save_pretrained("saved")
    assert sorted(contents(Path("saved"))) == ["README.md", "alignment.json", "alignment.safetensors"]
    assert contents(Path("saved"))["alignment.json"] == contents(made.map)["alignment.json"]
    with pytest.raises(FormatError, match="holds no `alignment"):
        modxfer.AlignmentMap.from_pretrained("acme/ner")
    shutil.copytree(made.map, "damaged")
    Path("damaged/alignment.safetensors").write_bytes(b"no tensors")
    with pytest.raises(FormatError, match="is damaged"):
        modxfer.AlignmentMap.from_pretrained("damaged")


def test_a_map_for_the_whole_pair_serves_every_module(shared: HubServer, made: Made, tmp_path: Path) -> None:
    """A map computed for two base models needs no module, is found by later conversions, also when it was published."""
    shared.commit("acme/map", {"alignment.json": None})
    choice = AlignmentChoice(corpus=str(made.text))
    whole = api.compute_alignment("acme/teacher", to="acme/student", align=choice, output=Path("whole"))
    assert (whole.source, whole.warnings) == ("computed", ())
    mine = convert(corpus=str(made.text))
    assert (mine.found.source, mine.found.alignment) == ("store", mine.found.alignment)
    assert mine.as_json()["alignment"]["id"] == whole.as_json()["id"]
    converted = contents(made.converted)["adapter_model.safetensors"]
    assert contents(Path("out"))["adapter_model.safetensors"] == converted

    api.push(Path("whole"), PushChoice(name="acme/whole", licence="cc0-1.0"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODXFER_HOME", str(tmp_path / "second"))
        found = convert(output="again").found
    assert found.published == {"repository": "acme/whole", "revision": shared.head("acme/whole")}
    assert contents(Path("again"))["adapter_model.safetensors"] == converted


def test_a_map_for_the_whole_pair_cannot_depend_on_a_module(shared: HubServer) -> None:
    """`paper` maps what a module writes by what it reads, so it needs the module."""
    with pytest.raises(UsageError, match="by the aligner `paper` depends on the module"):
        api.compute_alignment("acme/teacher", to="acme/student", align=AlignmentChoice(aligner="paper"))
