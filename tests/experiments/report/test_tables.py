"""What stands in the cells of the tables."""

from collections.abc import Sequence

from modxfer.experiments.report.blocks import Block, make_blocks
from modxfer.experiments.report.document import Table, plain
from modxfer.experiments.report.tables import curve_table, language_table, results_table, sign_table, some_steps
from modxfer.experiments.results import ResultRow
from tests.experiments.report.rows import over_seeds, row


def cells(table: Table | None) -> dict[str, list[str]]:
    """Give the cells by the row's first one; the best are between stars."""
    assert table is not None
    return {
        plain(first.text): [f"*{plain(cell.text)}*" if cell.is_best else plain(cell.text) for cell in rest]
        for group in table.groups
        for first, *rest in group.rows
    }


def block(rows: Sequence[ResultRow]) -> Block:
    """Make the only block of some rows."""
    (one,) = make_blocks(rows)
    return one


def test_results_table_has_the_numbers_of_the_paper() -> None:
    """Mean and deviation over seeds, the difference to the teacher, before training, and the paired gain."""
    table = results_table(
        [
            block(
                [
                    row("teacher", 80.0, seed=7),
                    *over_seeds("default", [40.0, 42.0, 44.0], zero_shot=9.0),
                    *over_seeds("transferred", [46.0, 47.0, 48.0], zero_shot=31.5),
                ]
            )
        ]
    )
    assert [plain(column) for column in table.columns] == ["Model", "F1", "REL", "zero-shot", "gain", "seeds"]
    assert cells(table) == {
        "Teacher": ["80.00†", "–", "–", "–", "1"],
        "Student (default init)": ["42.00 ± 2.00", "−38.00", "9.00", "–", "3"],
        "TM-Student SKIP, identity, new head": ["*47.00 ± 1.00*", "−33.00", "31.50", "+5.00 ± 1.00", "3"],
    }


def test_results_table_marks_a_mean_over_fewer_seeds_and_never_prints_it_bold() -> None:
    """A student that failed at one seed is marked, and not compared as the best; its gain is over the seeds it has."""
    rows = [
        *over_seeds("default", [40.0, 50.0]),
        row("transferred", 60.0, seed=1),
        row("transferred", None, seed=0, error="Killed."),
        *over_seeds("transferred", [55.0, 65.0], layers="avg"),
    ]
    table = cells(results_table([block(rows)]))
    assert table["TM-Student SKIP, identity, new head"] == ["60.00†", "–", "10.00", "+10.00†", "1"]
    assert table["TM-Student AVG, identity, new head"][0] == "*60.00 ± 7.07*"


def test_results_table_shows_a_dash_for_what_failed_altogether() -> None:
    """No number is no 0."""
    table = cells(results_table([block([row("default", 40.0), row("transferred", None, error="Killed.")])]))
    assert table["TM-Student SKIP, identity, new head"] == ["–", "–", "–", "–", "0"]


def test_results_table_puts_tasks_beside_each_other_and_controls_below() -> None:
    """A pair's tasks share a table; a student that lacks a task has dashes there."""
    nli = {"task": "nli", "metric": "accuracy"}
    blocks = make_blocks(
        [row("default", 40.0), row("default", 60.0, **nli), row("transferred", 65.0, **nli), row("control", 41.0)]
    )
    table = results_table(blocks)
    assert [group.title for group in table.groups] == ["", "Controls"]
    titles = [plain(column) for column in table.columns]
    assert titles[1:5] == ["ner F1", "ner REL", "ner zero-shot", "ner gain"]
    assert titles[5] == "nli accuracy"
    shown = cells(table)
    assert shown["TM-Student SKIP, identity, new head"] == ["–"] * 4 + ["*65.00*", "–", "10.00", "+5.00", "– / 1"]
    assert shown["Control head-only, head kept"][:4] == ["*41.00*", "–", "10.00", "+1.00"]


def test_results_table_prefers_the_lower_perplexity() -> None:
    """Where less is better the smallest is the best, and what is better than the default student gains."""
    lm = {"task": "causal-lm", "metric": "perplexity"}
    rows = [row("teacher", 10.0, **lm), row("default", 30.0, **lm), row("transferred", 25.0, **lm), row("control", 33.0, **lm)]
    table = cells(results_table([block(rows)]))
    assert table["Student (default init)"][:2] == ["30.00", "−20.00"]
    assert table["TM-Student SKIP, identity, new head"][:4] == ["*25.00*", "−15.00", "10.00", "+5.00"]
    assert table["Control head-only, head kept"][:4] == ["33.00", "−23.00", "10.00", "−3.00"]


def test_results_table_averages_languages_before_seeds() -> None:
    """Each language counts once, however many of its seeds there are."""
    rows = [
        *(row("default", value, language="de", seed=seed) for seed, value in enumerate([10.0, 20.0])),
        *(row("default", value, language="fr", seed=seed) for seed, value in enumerate([50.0, 60.0])),
    ]
    assert cells(results_table([block(rows)]))["Student (default init)"][0] == "35.00 ± 7.07"


def test_results_table_names_the_aligner_that_was_used() -> None:
    """Where the aligner that was used is not the one that was asked for, both are shown."""
    table = cells(results_table([block([row("transferred", aligner="auto", used_aligner="lsa")])]))
    assert list(table) == ["TM-Student SKIP, `auto: lsa`, new head".replace("`", "")]


def test_sign_table_counts_against_the_default_student_and_each_control() -> None:
    """Wins, ties and losses at the same seeds, with the p-value of the sign test."""
    rows = [
        *over_seeds("default", [40.0, 40.0, 40.0, 40.0]),
        *over_seeds("transferred", [41.0, 42.0, 40.001, 39.0]),
        *over_seeds("control", [50.0, 50.0, 50.0, 50.0]),
        row("control", 10.0, control="random-norm", layers="skip", seed=1),
    ]
    table = sign_table(block(rows))
    assert table is not None
    assert [plain(column) for column in table.columns] == [
        "Model",
        "against default student",
        "against head-only",
        "against random-norm",
    ]
    assert cells(table) == {
        "TM-Student SKIP, identity, new head": ["2 / 1 / 1 (p = 1)", "0 / 0 / 4 (p = 0.12)", "1 / 0 / 0 (p = 1)"]
    }


def test_sign_table_is_left_out_where_there_is_nothing_to_compare() -> None:
    """A default student alone has no opponent."""
    assert sign_table(block([row("default")])) is None


def test_language_table_is_there_for_several_languages_only() -> None:
    """One language is the table of results itself; a language that was not measured has a dash."""
    assert language_table(block([row("default")])) is None
    rows = [row("default", 10.0, language="de"), row("default", 20.0, language="fr"), row("transferred", 12.0, language="de")]
    table = language_table(block(rows))
    assert table is not None
    assert [plain(column) for column in table.columns] == ["Model", "de", "fr"]
    assert cells(table) == {
        "Student (default init)": ["10.00", "20.00"],
        "TM-Student SKIP, identity, new head": ["*12.00*", "–"],
    }


def test_curve_table_shows_the_means_at_each_step() -> None:
    """The numbers behind the picture: means over seeds, step 0 first, a dash after a line's end."""
    rows = [
        row("default", seed=0, curve=((0, 10.0), (50, 20.0), (100, 30.0))),
        row("default", seed=1, curve=((0, 12.0), (50, 24.0), (100, 36.0))),
        row("transferred", seed=0, curve=((0, 40.0), (50, 44.0))),
    ]
    table = curve_table(block(rows))
    assert table is not None
    assert [plain(column) for column in table.columns] == ["Model", "step 0", "step 50", "step 100"]
    assert cells(table) == {
        "Student (default init)": ["11.00", "22.00", "33.00"],
        "TM-Student SKIP, identity, new head": ["40.00", "44.00", "–"],
    }
    assert curve_table(block([row("default", curve=())])) is None


def test_some_steps_keeps_the_first_and_the_last() -> None:
    """Of many steps a few are shown, in order and without repeats."""
    steps = some_steps(range(0, 1001, 10))
    assert (steps[0], steps[-1], len(steps)) == (0, 1000, 9)
    assert steps == sorted(set(steps))
    assert some_steps([5, 0, 5]) == [0, 5]
