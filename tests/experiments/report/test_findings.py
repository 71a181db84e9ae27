"""The sentences of a report say what the numbers say."""

from collections.abc import Sequence

from modxfer.experiments.report.blocks import make_blocks
from modxfer.experiments.report.document import plain
from modxfer.experiments.report.findings import findings, warnings
from modxfer.experiments.results import ResultRow
from tests.experiments.report.rows import over_seeds, row


def found(rows: Sequence[ResultRow]) -> str:
    """Give the findings of the only block of some rows."""
    (block,) = make_blocks(rows)
    return "\n".join(plain(text) for text in findings(block))


def warned(rows: Sequence[ResultRow]) -> str:
    """Give the warnings."""
    return "\n".join(plain(text) for text in warnings(make_blocks(rows)))


def test_findings_name_the_best_student_its_gain_and_what_controls_gain() -> None:
    """The gain is the paired one, and a control's part of it is said."""
    rows = [
        row("teacher", 80.0),
        *over_seeds("default", [40.0, 42.0, 44.0], zero_shot=9.0),
        *over_seeds("transferred", [44.0, 46.0, 51.0], zero_shot=31.5),
        *over_seeds("transferred", [41.0, 41.0, 41.0], layers="avg"),
        *over_seeds("control", [41.0, 43.0, 45.0]),
        *over_seeds("control", [39.0, 41.0, 43.0], control="random-norm", head="new", layers="skip"),
    ]
    text = found(rows)
    assert (
        "The best transferred student by mean, TM-Student SKIP, identity, new head, is better than the default student "
        "in 3 of 3 seeds (+5.00 ± 1.73 F1; sign test p = 0.25). It was picked by these same test values" in text
    )
    assert "Of 2 transferred students, 1 has a mean gain above 0; together they win 4, tie 0 and lose 2 of 6" in text
    assert "Control head-only, head kept: +1.00 ± 0.00 F1 against the default student, 20% of the best one’s gain." in text
    assert "Control random-norm SKIP, new head: −1.00 ± 0.00 F1 against the default student." in text
    assert "Before any training the best one is at 31.50, and the default student at 9.00." in text
    assert "The teacher is at 80.00, and the best one at 47.00." in text


def test_findings_do_not_sell_a_loss_as_a_gain() -> None:
    """Where no transferred student has a gain, the first words say so."""
    text = found([*over_seeds("default", [40.0, 42.0]), *over_seeds("transferred", [39.0, 42.0]),
                  *over_seeds("transferred", [30.0, 31.0], layers="avg"), *over_seeds("control", [42.0, 44.0])])  # fmt: skip
    assert text.startswith(
        "No transferred student has a mean gain above 0. The best, TM-Student SKIP, identity, new head, is better than the "
        "default student in 0 of 2 seeds, with 1 tie (−0.50 ± 0.71 F1; sign test p = 1)."
    )
    assert "Control head-only, head kept: +2.00 ± 0.00 F1 against the default student." in text


def test_findings_say_that_a_control_gains_as_much() -> None:
    """A control that does as well as the best student is not hidden in a percentage."""
    text = found([row("default", 40.0), row("transferred", 42.0), row("control", 43.0)])
    assert "Control head-only, head kept: +3.00 F1 against the default student, no less than the best one." in text


def test_findings_compare_what_both_were_measured_at() -> None:
    """A student that failed in the hard language is not praised for a mean over the easy one."""
    hard, easy = (
        {"language": "de", "zero_shot": 4.0, "curve": ((0, 4.0), (9, 10.0))},
        {"zero_shot": 20.0, "curve": ((0, 20.0), (9, 50.0))},
    )
    text = found([
        row("teacher", 80.0), row("teacher", 20.0, language="de"),
        row("default", 50.0, **easy), row("default", 10.0, **hard),
        row("transferred", 49.0, zero_shot=20.0, curve=((0, 20.0), (9, 40.0))),
        row("transferred", None, language="de", error="Killed."),
    ])  # fmt: skip
    assert "is better than the default student in 0 of 1 seed; 1 not measured (−1.00 F1; sign test p = 1)" in text
    assert "Before any training the best one is at 20.00, and the default student at 20.00." in text
    assert "does not reach the default student’s best mean on the validation split (50.00, at step 9)" in text
    assert "The teacher is at 80.00, and the best one at 49.00." in text


def test_findings_hold_a_control_against_the_student_that_it_is_a_control_of() -> None:
    """A control with a new head is not made small by a student that has the teacher's head too, nor by one of other layers."""
    text = found([
        row("default", 40.0),
        row("transferred", 60.0, head="kept"),
        row("transferred", 42.0),
        row("transferred", 48.0, layers="avg"),
        row("control", 43.0, control="random-norm", head="new", layers="skip", aligner="identity"),
        row("control", 45.0),
        row("control", 44.0, control="random-gather", head="new", layers="avg"),
    ])  # fmt: skip
    assert (
        "Control random-norm SKIP, identity, new head: +3.00 F1 against the default student, no less than TM-Student SKIP"
        in text
    )
    assert "identity, new head (+2.00)." in text
    assert "Control head-only, head kept: +5.00 F1 against the default student, 25% of the gain of TM-Student SKIP" in text
    assert "random-gather AVG, new head: +4.00 F1 against the default student, 50% of the gain of TM-Student AVG" in text


def test_findings_of_a_perplexity_count_less_as_better() -> None:
    """A lower perplexity is a gain above 0, and the sentence says which way it runs."""
    lm = {"task": "causal-lm", "metric": "perplexity"}
    curves = {"default": ((0, 90.0), (100, 30.0)), "transferred": ((0, 60.0), (50, 29.0), (100, 25.0))}
    text = found(
        [row("default", 30.0, curve=curves["default"], **lm), row("transferred", 25.0, curve=curves["transferred"], **lm)]
    )
    assert "is better than the default student in 1 of 1 seed (+5.00 perplexity, above 0 is better; sign test p = 1)." in text
    assert "picked" not in text  # there was nothing to pick from
    assert "reaches the default student’s best mean on the validation split (30.00, at step 100) at step 50." in text


def test_findings_say_where_the_curve_does_not_reach_the_default_students() -> None:
    """No speed is claimed for a student that stays below."""
    text = found([row("default", 40.0, curve=((0, 9.0), (90, 40.0))), row("transferred", 42.0, curve=((0, 9.0), (90, 39.0)))])
    assert "does not reach the default student’s best mean on the validation split (40.00, at step 90)." in text


def test_findings_say_that_there_is_nothing_to_compare() -> None:
    """Without a default student, or without a transferred one at its seeds, no gain is claimed."""
    assert "There is no default student to compare with" in found([row("transferred")])
    assert "No transferred student was measured" in found([row("default"), row("transferred", seed=1)])


def test_warnings_say_that_seeds_are_few_and_what_the_test_cannot_show() -> None:
    """Fewer than five seeds, one seed, and fewer than six pairs are said; enough of them are not."""

    def rows(seeds: int) -> list[ResultRow]:
        values = [40.0 + seed for seed in range(seeds)]
        return [*over_seeds("default", values), *over_seeds("transferred", [value + 1 for value in values])]

    assert "One seed only: there is no deviation" in warned(rows(1))
    assert "Only 3 seeds" in warned(rows(3))
    assert "The sign test cannot reach p = 0.05: that takes 6 pairs" in warned(rows(5))
    assert "seeds" not in warned(rows(5))
    assert warned(rows(6)) == ""


def test_warnings_name_students_with_another_learning_rate() -> None:
    """A student at another rate than the default one is no fair comparison."""
    rows = [*over_seeds("default", [40.0] * 6), *over_seeds("transferred", [41.0] * 6, learning_rate=3e-3)]
    assert "Not at the default student’s learning rate: TM-Student SKIP, identity, new head (big-to-small" in warned(rows)


def test_warnings_say_that_all_seeds_share_a_teacher() -> None:
    """Deviations over seeds that all begin with one module leave out what another teacher would change."""
    rows = [*over_seeds("default", [40.0] * 6), *over_seeds("transferred", [41.0] * 6)]
    shared = "All seeds of a student begin with one teacher’s module"
    assert shared in warned([*rows, row("teacher", 60.0)])
    assert shared not in warned([*rows, *over_seeds("teacher", [60.0] * 6)])
