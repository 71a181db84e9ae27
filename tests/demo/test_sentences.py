"""The synthetic data set."""

from pathlib import Path

from seqeval.metrics.sequence_labeling import get_entities

from modxfer.demo.sentences import CLOSED_WORDS, KINDS, make_data
from modxfer.demo.words import OPEN_WORDS
from modxfer.training.data.choice import DataChoice
from modxfer.training.data.reading import read_task_data
from modxfer.training.tallies import OUTSIDE
from modxfer.training.tasks import TASKS


def test_make_data_is_deterministic() -> None:
    """The same seed gives the same sentences; another seed gives others, and another split of the words."""
    one, same, other = (make_data(train=40, test=20, seed=seed) for seed in (5, 5, 6))
    assert one == same
    assert one.train != other.train
    assert one.test != other.test


def test_make_data_gives_as_many_as_asked() -> None:
    """Both parts have the size asked for, and a larger data set begins with the smaller one."""
    small, large = make_data(train=7, test=3, seed=0), make_data(train=9, test=4, seed=0)
    assert (len(small.train), len(small.test)) == (7, 3)
    assert large.train[:7] == small.train


def test_make_data_tags_are_valid() -> None:
    """Every tag is known, "I-" always continues a span of its kind, and all kinds are there."""
    data = make_data(train=300, test=150, seed=1)
    for part in (data.train, data.test):
        for sentence in part:
            for previous, tag in zip((OUTSIDE, *sentence.tags), sentence.tags, strict=False):
                assert tag == OUTSIDE or (tag[:2] in ("B-", "I-") and tag[2:] in KINDS)
                assert not tag.startswith("I-") or previous[2:] == tag[2:]
        kinds = {kind for sentence in part for kind, _, _ in get_entities(list(sentence.tags))}
        assert kinds == set(KINDS)


def test_make_data_holds_names_out() -> None:
    """No word of a test name is anywhere in the training sentences, whatever its case, but for words such as "Bank"."""
    for seed in range(2):
        data = make_data(train=1200, test=250, seed=seed)
        seen = {word.lower() for sentence in data.train for word in sentence.words}
        names = {
            word.lower()
            for sentence in data.test
            for word, tag in zip(sentence.words, sentence.tags, strict=True)
            if tag != OUTSIDE
        }
        assert names & seen <= {word.lower() for word in CLOSED_WORDS}
        assert len(names - seen) > 30


def test_make_data_holds_phrases_out() -> None:
    """The phrases that tell a person from a firm from a place are others in the test sentences."""
    data = make_data(train=1200, test=250, seed=0)
    train, test = (" | ".join(" ".join(row.words) for row in part) for part in (data.train, data.test))
    phrases = [*OPEN_WORDS["person_does"], *OPEN_WORDS["firm_does"], *OPEN_WORDS["place_does"]]
    assert not [phrase for phrase in phrases if phrase in train and phrase in test]
    assert [phrase for phrase in phrases if phrase in test]


def test_make_data_names_are_ambiguous() -> None:
    """Most surnames stand alone as a person, a firm and a place: only the context tells."""
    data = make_data(train=1200, test=1, seed=0)
    kinds: dict[str, set[str]] = {}
    for sentence in data.train:
        for kind, first, last in get_entities(list(sentence.tags)):
            if first == last:
                kinds.setdefault(sentence.words[first], set()).add(kind)
    surnames = [word for word in kinds if word in OPEN_WORDS["surname"]]
    assert len([word for word in surnames if kinds[word] == set(KINDS)]) > 0.8 * len(surnames)


def test_write_makes_files_that_can_be_trained_on(tmp_path: Path) -> None:
    """The folder reads back as the same sentences, one part to train on and one to test on; texts are those to train on."""
    data = make_data(train=30, test=12, seed=3)
    data.write(tmp_path / "data")
    splits = read_task_data(TASKS["ner"], DataChoice(data=str(tmp_path / "data"), holdout=0.1)).splits
    assert tuple(splits["test"].rows) == data.test
    read = {row for name in ("train", "validation") for row in splits[name].rows}
    assert read == set(data.train)
    assert data.texts == [" ".join(row.words) for row in data.train]
    assert b"\r" not in (tmp_path / "data" / "train.conll").read_bytes()
