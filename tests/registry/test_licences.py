"""A licence is one that the Hub knows, and is taken over only where nothing speaks against it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modxfer.errors import UsageError
from modxfer.registry.entries.fields import check_licence as check_entry_licence
from modxfer.registry.licences import (
    CONDITIONAL,
    LICENCES,
    PERMISSIVE,
    UNSAID,
    as_spdx,
    check_licence,
    choose_licence,
    normalise,
    one_licence,
)


def test_every_id_is_spelled_as_the_hub_spells_it() -> None:
    """Ids are lower case without spaces, and each is either permissive or not."""
    assert all(re.fullmatch(r"[a-z0-9.+-]+", name) for name in LICENCES)
    assert not PERMISSIVE & CONDITIONAL
    assert {"apache-2.0", "mit", "cc-by-4.0"} <= PERMISSIVE
    assert {"cc-by-sa-4.0", "cc-by-nc-4.0", "llama3.1", "gemma", "gpl-3.0", "openrail++", "other", "unknown"} <= CONDITIONAL


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Apache-2.0", "apache-2.0"),
        (" apache license 2.0\n", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("MIT", "mit"),
        ("CC-BY-4.0", "cc-by-4.0"),
        ("CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0"),
        ("BSD-3-Clause", "bsd-3-clause"),
        ("GPL-3.0-or-later", "gpl-3.0"),
        ("LGPL-2.1-only", "lgpl-2.1"),
        ("AGPL-3.0+", "agpl-3.0"),
        ("ODbL-1.0", "odbl"),
        ("PDDL-1.0", "pddl"),
        ("GFDL-1.3-or-later", "gfdl"),
        ("openrail++", "openrail++"),
        ("Other", "other"),
        ("proprietary", None),
        ("", None),
        (None, None),
        (["mit"], None),
        ("mit\nlicense: gpl-3.0", None),
    ],
)
def test_normalise(text: object, expected: str | None) -> None:
    """SPDX ids in any case become the Hub's; what the Hub has no id for becomes nothing."""
    assert normalise(text) == expected


@given(st.sampled_from(sorted(LICENCES)), st.booleans())
def test_normalise_leaves_ids_as_they_are(name: str, upper: bool) -> None:
    """Every id is its own normal form, whatever its case."""
    assert normalise(name.upper() if upper else name) == name


@given(st.text())
def test_normalise_gives_only_ids(text: str) -> None:
    """No text from outside gets through."""
    assert normalise(text) in {*LICENCES, None}


def test_choose_licence_takes_the_modules() -> None:
    """Permissive base models, the same licence, and folders that say nothing are in no conflict."""
    assert choose_licence(stated=None, module="Apache-2.0", teacher="mit", student="cc-by-4.0") == "apache-2.0"
    assert choose_licence(stated=None, module="llama3.1", teacher="llama3.1", student="Llama3.1") == "llama3.1"
    assert choose_licence(stated=None, module="cc-by-nc-4.0", teacher=None, student="mit") == "cc-by-nc-4.0"


def test_choose_licence_takes_what_is_stated() -> None:
    """What the user states wins over an unknown licence and over a conflict."""
    assert choose_licence(stated="CC-BY-SA-4.0", module=None, teacher="gemma", student="weird") == "cc-by-sa-4.0"
    assert choose_licence(stated="other", module="mit", teacher=None, student=None) == "other"


@pytest.mark.parametrize("module", [None, "", "other", "unknown", "my own"])
def test_choose_licence_refuses_an_unknown_one(module: str | None) -> None:
    """Without a known licence the user has to state one, and the message quotes what was found."""
    with pytest.raises(UsageError, match=re.escape(f"`{module}`" if module else "says none")) as caught:
        choose_licence(stated=None, module=module, teacher="mit", student="mit")
    assert "`--license`" in caught.value.do


@pytest.mark.parametrize(
    ("teacher", "student", "said"),
    [
        ("cc-by-nc-4.0", "mit", ("`cc-by-nc-4.0`", "`mit`")),
        (None, "Llama3", ("teacher none", "`llama3`")),
        ("their own", None, ("`their own`", "student none")),
        ("mit", "other", ("`mit`", "`other`")),
    ],
)
def test_choose_licence_refuses_a_conflict(teacher: str | None, student: str | None, said: tuple[str, str]) -> None:
    """A base model with other conditions makes the user decide; all three licences are named."""
    with pytest.raises(UsageError, match=re.escape("`apache-2.0`")) as caught:
        choose_licence(stated=None, module="apache-2.0", teacher=teacher, student=student)
    for part in said:
        assert part in caught.value.what
    assert "`--license`" in caught.value.do


@pytest.mark.parametrize(
    ("found", "expected"),
    [("mit", "mit"), (["mit"], "mit"), (["mit", "isc"], "mit, isc"), (None, None), ([], None), (3, None), ([3, "mit"], "mit")],
)
def test_one_licence(found: object, expected: str | None) -> None:
    """A list of one is that one; several stay several."""
    assert one_licence(found) == expected


def test_several_licences_are_none() -> None:
    """Nobody but the user chooses one of them; a licence with a comma in its name is one."""
    with pytest.raises(UsageError, match="says `mit, isc`, which names several"):
        choose_licence(stated=None, module="mit, isc", teacher=None, student=None)
    with pytest.raises(UsageError, match="`mit, isc` names several licences"):
        check_licence("mit, isc")
    assert check_licence("Apache License, Version 2.0") == "apache-2.0"


def test_check_licence_suggests_what_is_near() -> None:
    """A slip is answered with the ids that look like it; `unknown` is refused, for nobody may use that."""
    with pytest.raises(UsageError, match="`apach-2`") as caught:
        check_licence("apach-2")
    assert "`apache-2.0`" in caught.value.do
    with pytest.raises(UsageError, match="`unknown`"):
        check_licence("Unknown")
    with pytest.raises(UsageError, match="`zzzz`") as caught:
        check_licence("zzzz")
    assert "Did you mean" not in caught.value.do


@given(st.text(min_size=1))
def test_messages_are_harmless_and_short(text: str) -> None:
    """What a card or a user says is quoted on one line, cut, and without characters that a terminal obeys."""
    hostile = f"\x1b[31m{text}\u202e" + "y" * 5000
    for stated in (hostile, None):
        with pytest.raises(UsageError, match="y…`") as caught:
            choose_licence(stated=stated, module=hostile, teacher=None, student=None)
        assert not set(str(caught.value)) & set("\n\r\x1b\u202e")
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("mit", "MIT"),
        ("apache-2.0", "Apache-2.0"),
        ("Apache License 2.0", "Apache-2.0"),
        ("gpl-3.0", "GPL-3.0-only"),
        ("GPL-3.0-or-later", "GPL-3.0-or-later"),
        ("mit or apache-2.0", "MIT OR Apache-2.0"),
        ("odbl", "ODbL-1.0"),
        ("llama3.1", "LicenseRef-llama3.1"),
        ("openrail++", "LicenseRef-openrail-plus-plus"),
        ("cc", "LicenseRef-cc"),
        ("other", None),
        ("unknown", None),
        ("mine, ask me", None),
        ("", None),
    ],
)
def test_as_spdx_writes_licences_as_spdx_does(said: str, expected: str | None) -> None:
    """Hub ids become SPDX ids; those that SPDX does not list get a name of their own; what names no licence becomes None."""
    assert as_spdx(said) == expected


def test_as_spdx_gives_what_entries_take() -> None:
    """Every licence of the Hub can be stated in an entry as `as_spdx` writes it, and no two are written alike."""
    written = [as_spdx(name) for name in LICENCES - UNSAID]
    assert len(set(written)) == len(LICENCES - UNSAID)
    assert all(text is not None and check_entry_licence(text) == text for text in written)
