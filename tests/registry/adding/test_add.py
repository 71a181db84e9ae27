"""Adding to a registry: all that can be found is in the entry, no weights are fetched, and nothing wrong gets in."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from modxfer import api
from modxfer.errors import EntryError, FormatError, OutputError, UsageError
from modxfer.registry.checks.run import check
from modxfer.registry.entries.models import AlignmentEntry, HubSource, ModuleEntry
from modxfer.registry.hub.repositories import open_repository
from tests.entries import make_registry, module_entry
from tests.registry.adding.conftest import CARD, OnHub, named
from tests.registry.conftest import Made, contents


def module_of(on_hub: OnHub, reference: str, **said: Any) -> ModuleEntry:
    """Add a module, and read its entry as others would."""
    added = on_hub.add(reference, **said)
    assert isinstance(added.entry, ModuleEntry)
    assert on_hub.registry.find(ModuleEntry, added.entry.id) == added.entry
    return added.entry


def source_of(entry: ModuleEntry) -> HubSource:
    """Give where a module's files are."""
    assert isinstance(entry.source, HubSource)
    return entry.source


def test_a_module_is_described_from_its_files_its_card_and_its_base(on_hub: OnHub, made: Made) -> None:
    """Everything that can be found is in the entry, the pins are the Hub's, and the check has nothing to say."""
    entry = module_of(on_hub, "acme/ner")
    weights = (made.module / "adapter_model.safetensors").read_bytes()
    source = source_of(entry)
    assert source.revision == on_hub.commits["acme/ner"]
    assert [file.path for file in source.files] == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert source.files[2].sha256 == hashlib.sha256(weights).hexdigest()
    assert source.files[2].size_bytes == len(weights)
    assert (source.branch, entry.base.revision) == ("main", on_hub.commits["acme/teacher"])
    assert (entry.base.family, entry.base.widths, entry.base.depths) == (
        "bert",
        {"hidden": 12, "heads": 12, "ffn": 20},
        {"encoder": 3},
    )
    assert entry.base.fingerprint is not None
    assert (entry.method.name, entry.method.inner_sizes, entry.method.scalings) == ("lora", (3,), (7 / 3,))
    assert entry.method.roles == ("attention_output", "ffn_down", "ffn_up", "query")
    assert entry.head is not None
    assert (entry.format, entry.task, entry.head.labels) == ("peft", "token-classification", 4)
    assert (entry.title, entry.description) == ("A heading", "Finds names in news, with LoRA.")
    assert ([data.name for data in entry.datasets], entry.languages) == (["acme/news"], ("en", "pt-BR", "mul"))
    assert (entry.license, entry.authors[0].name, entry.tags) == ("Apache-2.0", "acme", ("news", "adapterhub:ner/acme"))
    assert entry.lineage is None
    assert check(on_hub.registry).problems == ()


def test_no_weights_are_fetched(on_hub: OnHub) -> None:
    """Of weights no more than a header is asked for; the base model's not even that."""
    module_of(on_hub, "acme/ner")
    assert on_hub.fetched == {"README.md", "adapter_config.json", "config.json"}
    assert open_repository("acme/ner").cached("adapter_model.safetensors") is None
    assert on_hub.hub.requests(path="acme/teacher/resolve/") != []
    assert on_hub.hub.requests(path="model.safetensors") == on_hub.hub.requests("GET", "adapter_model.safetensors")


def test_what_cannot_be_used_is_said(on_hub: OnHub) -> None:
    """Nothing of a card is lost without a word."""
    notes = "\n".join(on_hub.add("acme/ner").notes)
    for name in ("data set `<b>odd</b>`", "language `Klingonish`", "tag `an odd tag!`"):
        assert f"The card names the {name}, which is none that an entry can say." in notes
    assert f"`acme/teacher` is now at {on_hub.commits['acme/teacher']}" in notes
    assert "Not found, and left out: results." in notes


def test_what_the_user_says_counts(on_hub: OnHub) -> None:
    """Each option replaces what would be found; tags are added."""
    entry = module_of(
        on_hub,
        "acme/ner@main",
        id="others/mine",
        licence="mit",
        authors=("A. Person", "B. Person"),
        title="Mine",
        tags=("extra",),
        task="summarization",
    )
    assert (entry.id, entry.license, entry.title, entry.task) == ("others/mine", "MIT", "Mine", "summarization")
    assert [author.name for author in entry.authors] == ["A. Person", "B. Person"]
    assert entry.tags == ("news", "adapterhub:ner/acme", "extra")
    assert (on_hub.registry.root / "modules/others/mine.yaml").is_file()


def test_a_base_model_stays_at_the_commit_that_the_module_names(on_hub: OnHub, made: Made) -> None:
    """A module that pins its base model is not moved to a newer commit, and a branch of the module is remembered."""
    pinned = on_hub.commits["acme/teacher"]
    on_hub.hub.commit("acme/teacher", {"note.txt": b"newer"})
    on_hub.hub.commit("acme/ner", named(made.module, "acme/teacher", revision=pinned), branch="v2")
    added = on_hub.add("acme/ner@v2")
    assert isinstance(added.entry, ModuleEntry)
    assert (added.entry.base.revision, source_of(added.entry).branch) == (pinned, "v2")
    assert "is now at" not in " ".join(added.notes)


def test_the_whole_lineage_is_found(moved: OnHub) -> None:
    """A converted module leads to the entries of its teacher and its alignment map, and all of it checks clean."""
    module_of(moved, "acme/ner")
    map_entry = moved.add("acme/map").entry
    entry = module_of(moved, "acme/moved")
    assert entry.lineage is not None
    assert (entry.lineage.teacher, entry.lineage.alignment, entry.lineage.layers.mode) == ("acme/ner", "acme/map", "skip")
    assert entry.lineage.layers.map == {"encoder": (((0, 1.0),), ((1, 1.0),), ((2, 1.0),))}
    assert (entry.base.name, entry.base.revision) == ("acme/student", moved.commits["acme/student"])
    assert isinstance(map_entry, AlignmentEntry)
    assert (map_entry.teacher.name, map_entry.student.name) == ("acme/teacher", "acme/student")
    assert map_entry.scores.mean_correlation == 1.0
    assert list(map_entry.scores.layers) == ["encoder 0 <- 0", "encoder 1 <- 1", "encoder 2 <- 2", "final.output"]
    assert (map_entry.license, map_entry.title) == ("CC0-1.0", "Alignment map: acme/teacher to acme/student")
    assert check(moved.registry).problems == ()
    assert not {name for name in moved.fetched if name.endswith(".safetensors")}


def test_a_lineage_is_not_left_with_a_hole(moved: OnHub) -> None:
    """What the module was made from is to be registered first, and the message says how; or it is left out."""
    with pytest.raises(UsageError, match=rf"Run `modxfer registry add acme/ner@{moved.commits['acme/ner']}` first"):
        moved.add("acme/moved")
    module_of(moved, "acme/ner")
    with pytest.raises(UsageError, match=r"`modxfer align push [0-9a-f]{12} ID` and run `modxfer registry add ID` first"):
        moved.add("acme/moved")
    assert not (moved.registry.root / "modules/acme/moved.yaml").exists()
    assert module_of(moved, "acme/moved", has_lineage=False).lineage is None


def test_a_module_in_the_format_of_adapters(on_hub: OnHub, made: Made, tmp_path: Path) -> None:
    """Its bottleneck, its places and its head are found, and the task from the head."""
    folder = made_adapters_module(tmp_path / "mine", made)
    on_hub.hub.add_repo("Acme/Ner_Bottleneck", contents(folder))
    entry = module_of(on_hub, "Acme/Ner_Bottleneck")
    assert (entry.id, entry.format, entry.method.name) == ("acme/ner_bottleneck", "adapters", "bottleneck")
    assert (entry.method.inner_sizes, entry.method.roles) == ((5,), ("ffn",))
    assert (entry.title, entry.description) == ("Bottleneck adapter for acme/teacher", "")


def made_adapters_module(folder: Path, made: Made) -> Path:
    """Write a bottleneck adapter of the teacher as `adapters` does, with NumPy alone: the library is not in both worlds."""
    import numpy as np
    from safetensors.numpy import save_file

    from modxfer.converters.formats.adapters.configs import CONFIG_FILE

    folder.mkdir()
    config = {
        "config": {
            "adapter_residual_before_ln": False,
            "cross_adapter": False,
            "factorized_phm_W": True,
            "factorized_phm_rule": False,
            "hypercomplex_nonlinearity": "glorot-uniform",
            "init_weights": "bert",
            "inv_adapter": None,
            "inv_adapter_reduction_factor": None,
            "is_parallel": False,
            "learn_phm": True,
            "leave_out": [],
            "ln_after": False,
            "ln_before": False,
            "mh_adapter": False,
            "non_linearity": "relu",
            "original_ln_after": True,
            "original_ln_before": True,
            "output_adapter": True,
            "phm_bias": True,
            "phm_c_init": "normal",
            "phm_dim": 4,
            "phm_init_range": 0.0001,
            "phm_layer": False,
            "phm_rank": 1,
            "reduction_factor": 2.4,
            "residual_before_ln": True,
            "scaling": 1.0,
            "shared_W_phm": False,
            "shared_phm_rule": True,
            "use_gating": False,
        },
        "hidden_size": 12,
        "model_class": "BertModel",
        "model_name": "acme/teacher",
        "model_type": "bert",
        "name": "mine",
        "version": "adapters.1.3.0",
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    ones = np.ones((), dtype=np.float32)
    tensors: dict[str, Any] = {}
    for layer in range(3):
        start = f"encoder.layer.{layer}.output.adapters.mine"
        tensors |= {f"{start}.adapter_down.0.weight": ones * np.ones((5, 12)), f"{start}.adapter_down.0.bias": np.ones(5)}
        tensors |= {f"{start}.adapter_up.weight": ones * np.ones((12, 5)), f"{start}.adapter_up.bias": np.ones(12)}
    save_file({key: value.astype(np.float32) for key, value in tensors.items()}, folder / "adapter.safetensors")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def test_the_same_again_is_nothing_to_do(on_hub: OnHub) -> None:
    """An entry that says the same is left alone; one that says something else is replaced only if asked."""
    first = on_hub.add("acme/ner")
    again = on_hub.add("acme/ner")
    assert (first.is_new, first.is_changed, again.is_new, again.is_changed) == (True, True, False, False)
    before = contents(on_hub.registry.root)
    with pytest.raises(OutputError, match=r"acme/ner\.yaml` exists, and says something else"):
        on_hub.add("acme/ner", title="Another")
    with pytest.raises(OutputError, match=r"acme/ner\.yaml` exists, and says something else"):
        on_hub.add("acme/ner", title="Another", dry_run=True)
    assert contents(on_hub.registry.root) == before
    replaced = on_hub.add("acme/ner", title="Another", force=True)
    assert (replaced.is_new, replaced.is_changed) == (False, True)
    assert on_hub.registry.find(ModuleEntry, "acme/ner").title == "Another"


def test_a_dry_run_writes_nothing(on_hub: OnHub) -> None:
    """It gives the text that would be written."""
    added = on_hub.add("acme/ner", dry_run=True)
    assert on_hub.written == {"registry.yaml"}
    on_hub.add("acme/ner")
    assert (on_hub.registry.root / added.path).read_text() == added.text


def test_a_wrong_entry_is_never_there(on_hub: OnHub) -> None:
    """What the check refuses is not written, and an older entry stays: the same tensors, markup, an alias of that name."""
    on_hub.add("acme/ner")
    before = contents(on_hub.registry.root)
    with pytest.raises(EntryError, match=r"`modules/acme/twice\.yaml` would be wrong.*`duplicate-source`"):
        on_hub.add("acme/ner", id="acme/twice")
    with pytest.raises(EntryError, match=r"`markup`.*<script>"):
        on_hub.add("acme/ner", title="<script>alert(1)</script>", force=True)
    (on_hub.registry.root / "aliases").mkdir()
    (on_hub.registry.root / "aliases/acme.yaml").write_text("format_version: 1\nmodules:\n  best: ner\n")
    with pytest.raises(EntryError, match=r"`alias`"):
        on_hub.add("acme/ner", id="acme/best")
    assert {path: text for path, text in contents(on_hub.registry.root).items() if path != "aliases/acme.yaml"} == before


def test_problems_of_other_entries_do_not_stop_it(on_hub: OnHub) -> None:
    """Only the new entry has to be right."""
    make_registry(on_hub.registry.root, module_entry("acme/broken", license="what"))
    assert module_of(on_hub, "acme/ner").id == "acme/ner"


def test_a_licence_is_needed(on_hub: OnHub, made: Made) -> None:
    """Without one that SPDX knows, it has to be stated; nothing is written."""
    for says, wrong in (("other", "says `other`"), ("", "says none")):
        card = CARD.replace("license: apache-2.0", f"license: {says}" if says else "x: y")
        on_hub.hub.commit("acme/ner", named(made.module, "acme/teacher", card=card))
        with pytest.raises(UsageError, match=f"licence of `acme/ner` is not known: its card {wrong}.*--license"):
            on_hub.add("acme/ner")
    with pytest.raises(UsageError, match="`--license`: `free for all` is no licence"):
        on_hub.add("acme/ner", licence="free for all")
    assert on_hub.written == {"registry.yaml"}
    assert module_of(on_hub, "acme/ner", licence="LicenseRef-ours").license == "LicenseRef-ours"


def test_a_licence_that_the_card_contradicts_is_noted(on_hub: OnHub) -> None:
    """That the card says something else than was stated is said; the same licence in the Hub's spelling is not."""
    stated = "The licence `MIT` was stated, and the card says `apache-2.0`: `check --online` will say so too."
    assert stated in on_hub.add("acme/ner", licence="MIT", dry_run=True).notes
    assert not any("was stated" in note for note in on_hub.add("acme/ner", licence="Apache-2.0", dry_run=True).notes)


def test_a_folder_must_have_come_from_the_hub(on_hub: OnHub, made: Made, tmp_path: Path) -> None:
    """A pulled folder is its repository at its commit; any other one has to be pushed first."""
    with pytest.raises(UsageError, match=r"ner` is a folder that is on no Hub"):
        on_hub.add(str(made.module))
    api.pull("acme/ner", output=tmp_path / "copy")
    on_hub.hub.commit("acme/ner", {"README.md": b"newer"})
    assert source_of(module_of(on_hub, str(tmp_path / "copy"))).revision == on_hub.commits["acme/ner"]
    (tmp_path / "copy" / "README.md").write_text("changed here")
    with pytest.raises(UsageError, match=r"copy` is a folder that is on no Hub"):
        on_hub.add(str(tmp_path / "copy"))


@pytest.mark.parametrize("base", [None, "/home/somebody/model", "here"])
def test_the_base_model_must_be_on_the_hub(on_hub: OnHub, made: Made, base: str | None) -> None:
    """A path of a machine, even of this one, means nothing to others; what the card says counts then."""
    base = str(made.teacher) if base == "here" else base
    on_hub.hub.commit("acme/ner", named(made.module, base))
    with pytest.raises(UsageError, match=r"names no base model|The base model `/.* is a folder of one machine"):
        on_hub.add("acme/ner")
    card = CARD.replace("license:", "base_model: acme/teacher\nlicense:")
    on_hub.hub.commit("acme/ner", named(made.module, base, card=card))
    entry = module_of(on_hub, "acme/ner")
    assert (entry.base.name, entry.method.inner_sizes) == ("acme/teacher", (3,))


def test_a_folder_that_is_called_as_the_base_model_is_not_looked_at(
    on_hub: OnHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base model is the one on the Hub, whatever lies here under its name."""
    (tmp_path / "acme" / "teacher").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert module_of(on_hub, "acme/ner").base.widths["hidden"] == 12


def test_a_base_model_that_does_not_fit_is_refused(on_hub: OnHub, made: Made) -> None:
    """Shapes are held against the base model's config."""
    config = json.loads((made.teacher / "config.json").read_text())
    on_hub.hub.commit("acme/teacher", {"config.json": json.dumps({**config, "hidden_size": 24}).encode()})
    with pytest.raises(FormatError, match=r"`acme/ner` does not fit its base model `acme/teacher`.*24"):
        on_hub.add("acme/ner")


def test_an_unknown_family_is_registered_with_what_is_known(on_hub: OnHub, made: Made) -> None:
    """Without the family there are no widths and places, and that is said."""
    config = json.loads((made.teacher / "config.json").read_text())
    on_hub.hub.commit("acme/teacher", {"config.json": json.dumps({**config, "model_type": "newfangled"}).encode()})
    added = on_hub.add("acme/ner")
    assert isinstance(added.entry, ModuleEntry)
    assert (added.entry.base.family, added.entry.base.widths, added.entry.method.roles) == ("newfangled", {}, ())
    assert added.entry.task == "token-classification"
    assert "modxfer does not know the family `newfangled`" in " ".join(added.notes)


def test_pickles_base_models_and_other_things_are_refused(on_hub: OnHub, made: Made) -> None:
    """An entry is of one module or alignment map, with safetensors."""
    files = named(made.module, "acme/teacher")
    on_hub.hub.add_repo("acme/pickled", {"adapter_model.bin": b"x", "adapter_config.json": files["adapter_config.json"]})
    on_hub.hub.add_repo("acme/two", {f"{name}/{path}": content for name in "ab" for path, content in files.items()})
    with pytest.raises(FormatError, match=r"`acme/pickled` holds its tensors in the pickle `adapter_model\.bin`"):
        on_hub.add("acme/pickled")
    with pytest.raises(FormatError, match="`acme/two` holds 2 modules"):
        on_hub.add("acme/two")
    with pytest.raises(FormatError, match="`acme/teacher` is neither a module nor an alignment map: it is a base model"):
        on_hub.add("acme/teacher")
    with pytest.raises(UsageError, match="acme/nothing"):
        on_hub.add("acme/nothing")
    assert on_hub.written == {"registry.yaml"}


def test_layers_that_fuse_adapters_are_refused(on_hub: OnHub, tmp_path: Path) -> None:
    """They are no adapter, and an entry's rules ask for an adapter's files."""
    inner = dict.fromkeys(("query", "key", "value"), True)
    config = {"config": inner, "name": "a,b", "model_name": "acme/teacher"}
    save_file({"x": np.ones(3, dtype=np.float32)}, tmp_path / "weights")
    files = {
        "adapter_fusion_config.json": json.dumps(config).encode(),
        "model_adapter_fusion.safetensors": (tmp_path / "weights").read_bytes(),
        "README.md": CARD.encode(),
    }
    on_hub.hub.add_repo("acme/fusion", files)
    with pytest.raises(FormatError, match=r"`acme/fusion` holds .* and no `adapter_config\.json`"):
        on_hub.add("acme/fusion")


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"id": "Acme/Ner"}, "`--id`: `Acme/Ner` is not an entry's id"),
        ({"id": "../ner"}, r"`--id`: `\.\./ner` is not an entry's id"),
        ({"tags": ("two  words!",)}, "`--tag`: `two words!` is not a plain word"),
        ({"title": "two\nlines"}, "`--title`: `two lines` is not one line"),
        ({"authors": ("",)}, "`--author`: .* is not one line"),
    ],
)
def test_what_a_user_says_wrongly_is_refused_at_once(on_hub: OnHub, said: dict[str, Any], wrong: str) -> None:
    """The option is named, and the Hub is not asked."""
    with pytest.raises(UsageError, match=wrong):
        on_hub.add("acme/ner", **said)
    assert on_hub.hub.log == []


def test_a_registry_on_the_hub_is_read_only(on_hub: OnHub) -> None:
    """One that was fetched has a commit, and is not written to."""
    fetched = replace(on_hub, registry=replace(on_hub.registry, revision="a" * 40, name="hf://datasets/acme/registry"))
    with pytest.raises(UsageError, match=r"`hf://datasets/acme/registry` is on the Hub.*git clone"):
        fetched.add("acme/ner")


def test_links_are_not_written_through(on_hub: OnHub, tmp_path: Path) -> None:
    """A folder of the registry that leads elsewhere stays as it is."""
    (tmp_path / "elsewhere").mkdir()
    (on_hub.registry.root / "modules").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="modules` is a symbolic link"):
        on_hub.add("acme/ner")
    assert list((tmp_path / "elsewhere").iterdir()) == []
