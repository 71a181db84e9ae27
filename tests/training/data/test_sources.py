"""Data sets of the `datasets` library: on the Hub, by preset, and saved in a folder."""

import io
from collections.abc import Mapping
from pathlib import Path

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from modxfer.errors import DataError, UsageError
from modxfer.training.data.choice import ColumnChoice, DataChoice
from modxfer.training.data.reading import read_split, read_task_data
from modxfer.training.data.rows import TaggedRow, TextRow
from modxfer.training.tasks import Task, find_task
from tests.hub.server import HubServer

NER, NLI, PI, ANY = (find_task(name) for name in ("ner", "nli", "pi", "text-classification"))
NO_COLUMNS = ColumnChoice()


def _parquet(columns: Mapping[str, object]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(dict(columns)), file)
    return file.getvalue()


def _dataset_files(folder: Path, dataset: datasets.Dataset, split: str) -> dict[str, bytes]:
    path = folder / f"{split}.parquet"
    dataset.to_parquet(path)
    return {f"data/{split}-00000-of-00001.parquet": path.read_bytes()}


def test_read_split_records_commit_split_and_config(hub: HubServer) -> None:
    """A data set is read at the commit that its branch is at, which is written down, and so is what was asked of it."""
    hub.add_repo("ann/reviews", {"test.csv": b"text,label\nfine,good\npoor,bad\nso,bad\n"}, repo_type="dataset")
    split = read_split(ANY, "ann/reviews", columns=NO_COLUMNS, split="test[:2]")
    assert [row.texts for row in split.rows if isinstance(row, TextRow)] == [("fine",), ("poor",)]
    record = split.record
    assert (record.name, record.dataset, record.config, record.split) == ("ann/reviews", "ann/reviews", None, "test[:2]")
    assert record.revision == hub.head("ann/reviews", repo_type="dataset")
    assert (record.sha256, record.rows, split.labels) == (None, 2, ("bad", "good"))


def test_read_split_takes_a_named_revision(hub: HubServer, tmp_path: Path) -> None:
    """`@REVISION` reads what was there then."""
    from huggingface_hub import HfApi

    hub.add_repo("ann/moving", {"test.csv": b"text,label\nold,a\n"}, repo_type="dataset")
    api = HfApi(token=hub.add_user("ann"))
    first = api.dataset_info("ann/moving").sha
    (tmp_path / "new.csv").write_bytes(b"text,label\nnew,b\n")
    api.upload_file(
        path_or_fileobj=str(tmp_path / "new.csv"), path_in_repo="test.csv", repo_id="ann/moving", repo_type="dataset"
    )
    assert read_split(ANY, "ann/moving", columns=NO_COLUMNS).rows[0] == TextRow(texts=("new",), label="b")
    old = read_split(ANY, f"ann/moving@{first}", columns=NO_COLUMNS)
    assert (old.rows[0], old.record.revision) == (TextRow(texts=("old",), label="a"), first)


def test_preset_wikineural_takes_a_language_for_its_splits(hub: HubServer) -> None:
    """`Babelscape/wikineural:de` is the three German splits; numbers become tags, and rows know their language."""
    rows = {"tokens": [["In", "Rom"], ["Ja"]], "ner_tags": [[0, 5], [0]], "lang": ["de", "de"]}
    other = {"tokens": [["Hi"]], "ner_tags": [[0]], "lang": ["en"]}
    files = {f"data/{part}_de-00000-of-00001.parquet": _parquet(rows) for part in ("train", "val", "test")}
    files["data/train_en-00000-of-00001.parquet"] = _parquet(other)
    hub.add_repo("Babelscape/wikineural", files, repo_type="dataset")
    data = read_task_data(NER, DataChoice(data="babelscape/WikiNEuRal:de"))
    assert {name: split.record.split for name, split in data.splits.items()} == {
        "train": "train_de",
        "validation": "val_de",
        "test": "test_de",
    }
    assert data.splits["test"].rows[0] == TaggedRow(words=("In", "Rom"), tags=("O", "B-LOC"), language="de")
    assert data.labels == ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")
    assert data.splits["train"].record.config is None
    with pytest.raises(DataError, match=r"no splits for `fr` \(splits: .*train_en"):
        read_task_data(NER, DataChoice(data="Babelscape/wikineural:fr"))
    with pytest.raises(DataError, match=r"has no training split \(splits: .*`train_en`.*`--train-split`"):
        read_task_data(NER, DataChoice(data="Babelscape/wikineural"))


@pytest.mark.parametrize(
    ("alias", "name", "columns", "names", "task"),
    [
        ("xnli", "facebook/xnli", ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), NLI),
        ("paws-x", "google-research-datasets/paws-x", ("sentence1", "sentence2"), ("0", "1"), PI),
    ],
)
def test_presets_of_pairs_take_a_language_for_their_config(
    hub: HubServer, alias: str, name: str, columns: tuple[str, str], names: tuple[str, ...], task: Task
) -> None:
    """`xnli:de` and `paws-x:de` are the German config, by their old names too; rows get the language."""
    table = _parquet({columns[0]: ["eins"], columns[1]: ["zwei"], "label": [1]})
    configs = "".join(
        f"- config_name: {code}\n  data_files:\n  - {{split: test, path: {code}/*.parquet}}\n" for code in ("de", "en")
    )
    files = {"README.md": f"---\nconfigs:\n{configs}---\n".encode(), "de/a.parquet": table, "en/a.parquet": table}
    hub.add_repo(name, files, repo_type="dataset")
    split = read_split(task, f"{alias}:de", columns=NO_COLUMNS)
    assert split.rows == [TextRow(texts=("eins", "zwei"), label=names[1], language="de")]
    assert (split.labels, split.record.dataset, split.record.config) == (names, name, "de")
    with pytest.raises(DataError, match=rf"`{name}` cannot be loaded: .*'xx'.*'de', 'en'"):
        read_split(task, f"{alias}:xx", columns=NO_COLUMNS)


def test_read_split_explains_what_is_not_on_the_hub(hub: HubServer) -> None:
    """A data set, a revision and a split that are not there are told apart."""
    with pytest.raises(UsageError, match=r"`ann/none` is no folder here and not on the Hub"):
        read_split(ANY, "ann/none", columns=NO_COLUMNS)
    hub.add_repo("ann/one", {"test.csv": b"text,label\na,b\n"}, repo_type="dataset")
    with pytest.raises(UsageError, match=r"`ann/one` has no revision `v9`"):
        read_split(ANY, "ann/one@v9", columns=NO_COLUMNS)
    with pytest.raises(DataError, match=r"has no split `dev` \(splits: `test`\)\. .*`--split`"):
        read_split(ANY, "ann/one", columns=NO_COLUMNS, split="dev")


def test_read_task_data_keeps_the_order_of_class_labels(hub: HubServer, tmp_path: Path) -> None:
    """Names that a data set declares for its numbers are the labels, in its order, used or not."""
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["zero", "one", "never"])}
    )
    table = datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": [1, 0]}, features=features)
    hub.add_repo("ann/declared", _dataset_files(tmp_path, table, "train"), repo_type="dataset")
    data = read_task_data(ANY, DataChoice(data="ann/declared", validation="ann/declared", validation_split="train"))
    assert data.labels == ("zero", "one", "never")
    assert [row.label for row in data.splits["train"].rows if isinstance(row, TextRow)] == ["one", "zero"]


def test_read_split_reads_what_save_to_disk_wrote(tmp_path: Path) -> None:
    """A saved data set gives its splits, tags with their declared names, and the hash of its files."""
    tag = datasets.ClassLabel(names=["O", "B-X", "I-X"])
    list_of = getattr(datasets, "List", datasets.Sequence)
    features = datasets.Features({"words": list_of(datasets.Value("string")), "tags": list_of(tag)})
    table = datasets.Dataset.from_dict({"words": [["a", "b"], ["c"]], "tags": [[1, 2], [0]]}, features=features)
    datasets.DatasetDict({"train": table, "test": table.select([1])}).save_to_disk(tmp_path / "saved")
    split = read_split(NER, str(tmp_path / "saved"), columns=NO_COLUMNS)
    assert (split.rows, split.labels) == ([TaggedRow(words=("c",), tags=("O",))], ("O", "B-X", "I-X"))
    assert (split.record.split, split.record.dataset, len(split.record.sha256 or "")) == ("test", None, 64)
    train = read_split(NER, str(tmp_path / "saved"), columns=NO_COLUMNS, split="train")
    assert train.rows[0] == TaggedRow(words=("a", "b"), tags=("B-X", "I-X"))
    table.save_to_disk(tmp_path / "one")
    assert len(read_split(NER, str(tmp_path / "one"), columns=NO_COLUMNS).rows) == 2
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(DataError, match=r"Cannot read the data set in `.*one`"):
        read_split(NER, str(tmp_path / "one"), columns=NO_COLUMNS)


@pytest.mark.parametrize("spec", ["./missing/file", "missing.csv", "a b", "", "/nowhere/at/all"])
def test_read_split_says_that_a_file_is_missing(spec: str) -> None:
    """What looks like a path is not looked for on the Hub."""
    with pytest.raises(DataError, match=f"There is no data `{spec}`"):
        read_split(ANY, spec, columns=NO_COLUMNS)


@pytest.mark.parametrize("asked", ["validation[:50%]", "train+validation"])
def test_read_task_data_does_not_choose_by_what_it_trains_on(asked: str, hub: HubServer) -> None:
    """Where rows of the usual split are trained on, others are held out; what is chosen by is not reported on."""
    files = {
        f"{name}.csv": "".join(["text,label\n", *(f"{name}{row},{'ab'[row % 2]}\n" for row in range(40))]).encode()
        for name in ("train", "validation", "test")
    }
    hub.add_repo("ann/splits", files, repo_type="dataset")
    data = read_task_data(ANY, DataChoice(data="ann/splits", train_split=asked, holdout=0.25))
    texts = {name: {row.texts for row in split.rows if isinstance(row, TextRow)} for name, split in data.splits.items()}
    assert not texts["train"] & texts["validation"]
    assert data.splits["validation"].record.part == "held out: 25 % by seed 0"
    assert len(texts["test"]) == 40
    chosen = read_task_data(ANY, DataChoice(data="ann/splits", validation_split="test[:50%]"))
    assert set(chosen.splits) == {"train", "validation"}
