"""Progress over phases."""

import pytest

from modxfer.demo.phases import Phases


def test_phases_report_the_part_of_the_whole() -> None:
    """The fraction grows from 0 to 1 by each phase's share, and each phase is timed."""
    seen: list[tuple[str, float]] = []
    phases = Phases({"short": 1.0, "long": 3.0}, lambda name, part: seen.append((name, part)))
    with phases.run("short"):
        pass
    with phases.run("long") as tick:
        tick(1, 2)
    assert seen == [("short", 0.0), ("short", 0.25), ("long", 0.25), ("long", 0.625), ("long", 1.0)]
    assert list(phases.seconds) == ["short", "long"]
    assert all(seconds >= 0 for seconds in phases.seconds.values())


def test_phases_refuse_what_was_not_planned() -> None:
    """A phase that has no share is a mistake."""
    with pytest.raises(KeyError, match="other"), Phases({"one": 1.0}, lambda name, part: None).run("other"):
        pass
