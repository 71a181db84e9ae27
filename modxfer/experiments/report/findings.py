"""What the numbers say, in sentences that claim no more than they show."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

from modxfer.experiments.report.blocks import Block, Variant
from modxfer.experiments.report.document import Text, joined, listed
from modxfer.experiments.report.statistics import (
    LEAST_PAIRS,
    LEVEL,
    Average,
    SignTest,
    average,
    mean_curve,
    means_of_languages,
    sign_test,
)
from modxfer.experiments.report.tables import gain, is_marked
from modxfer.experiments.report.wording import block_name, count, full_name, metric_name, number, probability, spread

FEW_SEEDS = 5

_Where = TypeVar("_Where")
_What = TypeVar("_What")


def findings(block: Block) -> list[Text]:
    """Say what a block shows.

    Args:
        block: The block.

    Returns:
        Sentences; the first says how the best transferred student compares with the default one.
    """
    default = average(block.default.values) if block.default else None
    if block.default is None or default is None:
        return ["There is no default student to compare with: no cell of it measured anything."]
    compared = _compared(block)
    if not compared:
        return ["No transferred student was measured at a language and seed that the default student has too."]
    best, gained = _best(compared, block)
    says: list[Text] = [_gain(best, gained, block)]
    if len(compared) > 1:
        says.append(_all(compared, block))
    says += [*_controls(compared, gained, block), *_start(best, block), *_speed(best, block), *_teacher(best, block)]
    return says


def warnings(blocks: Sequence[Block]) -> list[Text]:
    """Say what a reader must know before believing a table.

    Args:
        blocks: All blocks.

    Returns:
        Sentences; none if there is nothing to warn of.
    """
    return [*_few_seeds(blocks), *_one_teacher(blocks), *_few_pairs(blocks), *_other_rates(blocks)]


def _few_seeds(blocks: Sequence[Block]) -> Iterator[Text]:
    seeds = min((len(block.seeds) for block in blocks), default=FEW_SEEDS)
    if seeds == 1:
        yield "One seed only: there is no deviation over seeds, and a difference may be that of another seed."
    elif 0 < seeds < FEW_SEEDS:
        yield f"Only {seeds} seeds: deviations over so few are rough, and small differences may be chance."


def _one_teacher(blocks: Sequence[Block]) -> Iterator[Text]:
    """Tell of students of several seeds that all got one module: what another teacher would give is not seen."""
    taught = [block.teacher for block in blocks if block.teacher and block.transferred and len(block.seeds) > 1]
    if any(len({seed for _, seed in teacher.asked}) == 1 for teacher in taught):
        yield "All seeds of a student begin with one teacher’s module: deviations are those of the students’ training alone."


def _few_pairs(blocks: Sequence[Block]) -> Iterator[Text]:
    tests = [_against_default(variant, block) for block in blocks for variant in block.transferred if block.default]
    few = [test for test in tests if test.wins + test.losses < LEAST_PAIRS]
    if few:
        where = "" if len(few) == len(tests) else f" for {len(few)} of {len(tests)} transferred students"
        yield (
            f"The sign test cannot reach p = {LEVEL}{where}: that takes {LEAST_PAIRS} pairs (language and seed) that are no "
            "ties, even where every one is a win."
        )


def _other_rates(blocks: Sequence[Block]) -> Iterator[Text]:
    for block in blocks:
        default = _rates(block.default) if block.default else set()
        languages = {language for language, _ in default}
        others = [
            variant for variant in block.students if any(language in languages for language, _ in _rates(variant) - default)
        ]
        if others:
            yield joined(
                "Not at the default student’s learning rate: ",
                listed([full_name(variant) for variant in others], between="; "),
                " (",
                block_name(block),
                ").",
            )


def _rates(variant: Variant) -> set[tuple[str, float]]:
    return {(language, row.learning_rate) for (language, _), row in variant.rows.items()}


def _against_default(variant: Variant, block: Block) -> SignTest:
    assert block.default is not None
    return sign_test(variant.values, block.default.values, is_higher_better=block.is_higher_better)


def _compared(block: Block) -> list[tuple[Variant, Average]]:
    pairs = [(variant, average(gain(variant, block))) for variant in block.transferred]
    return [(variant, gained) for variant, gained in pairs if gained is not None]


def _best(compared: Sequence[tuple[Variant, Average]], block: Block) -> tuple[Variant, Average]:
    """Choose the highest mean gain, among those that were measured as often as any if there are such."""
    whole = [pair for pair in compared if not is_marked(pair[0], block)]
    return max(whole or compared, key=lambda pair: pair[1].mean)


def _gain(best: Variant, gained: Average, block: Block) -> Text:
    assert block.default is not None
    test = _against_default(best, block)
    places = "seed" if len(gained.languages) == 1 else "pair of language and seed"
    wins = f"in {test.wins} of {count(test.pairs, places).replace('pair of language and seeds', 'pairs of language and seed')}"
    ties = f", with {count(test.ties, 'tie')}" if test.ties else ""
    missing = len(best.asked | block.default.asked) - test.pairs
    missed = f"; {missing} not measured" if missing else ""
    chance = f"; sign test {probability(test.p_value)}" if test.p_value is not None else ""
    which = joined(_lead(gained, several=len(block.transferred) > 1), full_name(best))
    numbers = joined(spread(gained, sign=True), " ", metric_name(block.metric), _better(block))
    picked = gained.mean > 0 and len(block.transferred) > 1
    flattered = " It was picked by these same test values, so its gain is flattered." if picked else ""
    return joined(which, f", is better than the default student {wins}{ties}{missed} (", numbers, f"{chance}).", flattered)


def _lead(gained: Average, *, several: bool) -> str:
    if not several:
        return "The transferred student, "
    return (
        "The best transferred student by mean, "
        if gained.mean > 0
        else "No transferred student has a mean gain above 0. The best, "
    )


def _better(block: Block) -> str:
    return "" if block.is_higher_better else ", above 0 is better"


def _all(compared: Sequence[tuple[Variant, Average]], block: Block) -> Text:
    above = sum(gained.mean > 0 for _, gained in compared)
    tests = [_against_default(variant, block) for variant, _ in compared]
    wins, ties, losses = (sum(getattr(test, name) for test in tests) for name in ("wins", "ties", "losses"))
    return (
        f"Of {count(len(compared), 'transferred student')}, {above} {'has' if above == 1 else 'have'} a mean gain above 0; "
        f"together they win {wins}, tie {ties} and lose {losses} of {wins + ties + losses} comparisons with the default one."
    )


def _controls(compared: Sequence[tuple[Variant, Average]], gained: Average, block: Block) -> Iterator[Text]:
    for control in block.controls:
        of_control = average(gain(control, block))
        if of_control is None:
            continue
        rival = _rival(control, compared)
        share = _share(of_control.mean, gained.mean) if rival is None else _against(of_control.mean, *rival)
        yield joined(
            full_name(control), ": ", spread(of_control, sign=True), " ", metric_name(block.metric),
            " against the default student", share, ".",
        )  # fmt: skip


def _rival(control: Variant, compared: Sequence[tuple[Variant, Average]]) -> tuple[Variant, Average] | None:
    """Choose whom a control is to be held against: students with its kind of head, and its layers and aligner if it has some.

    Held against one with the teacher's head, a control with a new head would look worse than it is.
    """
    key = control.key
    alike = [pair for pair in compared if pair[0].key.head == key.head]
    for name in ("layers", "aligner"):
        wanted = getattr(key, name)
        alike = [pair for pair in alike if wanted and getattr(pair[0].key, name) == wanted] or alike
    return max(alike, key=lambda pair: pair[1].mean, default=None)


def _against(control: float, student: Variant, gained: Average) -> Text:
    """Compare a control's gain with that of the student that it is a control of."""
    if control <= 0:
        return ""
    if control >= gained.mean:
        return joined(", no less than ", full_name(student), f" ({number(gained.mean, sign=True)})")
    return joined(f", {control / gained.mean:.0%} of the gain of ", full_name(student))


def _share(control: float, gained: float) -> str:
    """Compare a control's gain with the best student's, where both are gains and nobody is more like it."""
    if gained <= 0 or control <= 0:
        return ""
    return f", {control / gained:.0%} of the best one’s gain" if control < gained else ", no less than the best one"


def _start(best: Variant, block: Block) -> Iterator[Text]:
    assert block.default is not None
    first, second = _at_shared(best.zero_shot, block.default.zero_shot)
    mine, default = average(first), average(second)
    if mine is not None and default is not None:
        yield f"Before any training the best one is at {number(mine.mean)}, and the default student at {number(default.mean)}."


def _speed(best: Variant, block: Block) -> Iterator[Text]:
    assert block.default is not None
    mine, default = (mean_curve(curves) for curves in _at_shared(best.curves, block.default.curves))
    if not mine or not default:
        return
    sign = 1 if block.is_higher_better else -1
    peak = max(default, key=lambda point: sign * point.average.mean)
    there = next((point.step for point in mine if sign * point.average.mean >= sign * peak.average.mean), None)
    value = f"the default student’s best mean on the validation split ({number(peak.average.mean)}, at step {peak.step:,})"
    if there is None:
        yield f"The best one’s mean curve does not reach {value}."
    else:
        yield f"The best one’s mean curve reaches {value} at step {there:,}."


def _teacher(best: Variant, block: Block) -> Iterator[Text]:
    teacher = means_of_languages(block.teacher.values) if block.teacher else {}
    mine, theirs = _at_shared(means_of_languages(best.values), teacher)
    if mine:
        yield f"The teacher is at {number(fmean(theirs.values()))}, and the best one at {number(fmean(mine.values()))}."


def _at_shared(first: Mapping[_Where, _What], second: Mapping[_Where, _What]) -> tuple[dict[_Where, _What], ...]:
    """Leave out what only one of two was measured at: a mean over easier languages is no better one."""
    shared = [where for where in first if where in second]
    return tuple({where: values[where] for where in shared} for values in (first, second))
