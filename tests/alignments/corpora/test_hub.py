"""Data sets are named by id, config and revision, and their `train` split is streamed."""

from pathlib import Path

from modxfer.alignments.corpora import hub


def test_read_hub_streams_the_train_split(tmp_path: Path) -> None:
    """The library is asked for the `train` split (here of a folder, which it takes for a data set too)."""
    (tmp_path / "train.jsonl").write_text('{"label": 1, "premise": "one"}\n{"label": 2, "premise": "two"}\n')
    (tmp_path / "test.jsonl").write_text('{"label": 1, "premise": "of the test"}\n')
    dataset = hub.DatasetId(name=str(tmp_path), config=None, revision=None)
    assert list(hub.read_hub(dataset, None)) == ["one", "two"]


def test_parse_id_reads_config_and_revision() -> None:
    """An id may name a config and a revision, and each of them changes the fingerprint."""
    ids = [hub.parse_id(spec) for spec in ("a/b", "a/b:c", "a/b@c", "a/b:c@d", "a")]
    assert [(i.name, i.config, i.revision) for i in ids if i] == [
        ("a/b", None, None),
        ("a/b", "c", None),
        ("a/b", None, "c"),
        ("a/b", "c", "d"),
        ("a", None, None),
    ]
    assert len({i.fingerprint for i in ids if i}) == 5
    assert hub.parse_id("a/b/c") is None
