"""Licences: the ids that the Hub takes, and which one a converted module may carry.

modxfer gives no legal advice. It repeats what the module's card says where nothing speaks against it, and asks in all other
cases.

Source of the ids: https://huggingface.co/docs/hub/repositories-licenses
"""

import difflib
import re

from modxfer.errors import UsageError
from modxfer.registry.card_text import code

_PERMISSIVE = """
afl-3.0 apache-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0
cc-by-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 ecl-2.0 etalab-2.0 isc mit ncsa odc-by openmdw-1.0
openmdw-1.1 pddl postgresql unlicense wtfpl zlib
"""
PERMISSIVE = frozenset(_PERMISSIVE.split())
"""Ids of licences that ask for no more than to name the author, keep the notices and say what was changed."""

_CONDITIONAL = """
agpl-3.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m
c-uda cc cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cdla-sharing-1.0 creativeml-openrail-m
deepfloyd-if-license epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl
gpl-2.0 gpl-3.0 grok2-community h-research intel-research lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3
llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mpl-2.0 ms-pl odbl ofl-1.1 openrail openrail++ osl-3.0 other
unknown
"""
CONDITIONAL = frozenset(_CONDITIONAL.split())
"""All other ids: share-alike, non-commercial, no derivatives, rules of use, or not said."""

LICENCES = PERMISSIVE | CONDITIONAL
"""All ids that the Hub's `license` metadata takes."""

UNSAID = frozenset({"other", "unknown"})
"""Ids that name no licence."""

DOCUMENTED_AT = "https://huggingface.co/docs/hub/repositories-licenses"

_SPELLINGS = {
    "apache-2": "apache-2.0",
    "apache2": "apache-2.0",
    "apache2.0": "apache-2.0",
    "apache-license-2.0": "apache-2.0",
    "apache-license-version-2.0": "apache-2.0",
    "mit-license": "mit",
    "the-mit-license": "mit",
    "c-uda-1.0": "c-uda",
    "lgpllr": "lgpl-lr",
    "odbl-1.0": "odbl",
    "odc-by-1.0": "odc-by",
    "pddl-1.0": "pddl",
    "gfdl-1.1": "gfdl",
    "gfdl-1.2": "gfdl",
    "gfdl-1.3": "gfdl",
}
"""SPDX ids that the Hub spells otherwise, and two licences that people write out."""

_GNU = re.compile(r"([al]?gpl-\d\.\d|gfdl-\d\.\d)(\+|-only|-or-later)")


def normalise(text: object) -> str | None:
    """Bring the name of a licence into the Hub's spelling.

    Args:
        text: What a card says: a Hub id or an SPDX id in any case, or anything else.

    Returns:
        The Hub's id; None if this is no licence that the Hub has an id for.
    """
    if not isinstance(text, str) or len(text) > 100:
        return None
    lowered = re.sub(r"[\s_,]+", "-", text.strip().lower())
    gnu = _GNU.fullmatch(lowered)
    plain = gnu[1] if gnu else lowered
    spelled = _SPELLINGS.get(plain, plain)
    return spelled if spelled in LICENCES else None


_SPDX = """
AFL-3.0 Apache-2.0 Artistic-2.0 BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear BSL-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0
CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0
CC-BY-ND-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 ECL-2.0 EPL-1.0 EPL-2.0
etalab-2.0 EUPL-1.1 EUPL-1.2 ISC LPPL-1.3c MIT MPL-2.0 MS-PL NCSA OFL-1.1 OSL-3.0 PostgreSQL Unlicense WTFPL Zlib
"""
SPDX = {
    **{name: f"LicenseRef-{name}" for name in LICENCES - UNSAID},
    **{name.lower(): name for name in _SPDX.split()},
    **{name: f"{name.upper()}-only" for name in ("agpl-3.0", "gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0")},
    "c-uda": "C-UDA-1.0",
    "lgpl-lr": "LGPLLR",
    "odbl": "ODbL-1.0",
    "odc-by": "ODC-By-1.0",
    "openrail++": "LicenseRef-openrail-plus-plus",
    "pddl": "PDDL-1.0",
}
"""Hub id to SPDX expression, of every licence that is one.

The Hub's `gpl-3.0` does not say whether later versions count too, and SPDX reads such a name as `-only`. Ids that mean a group
of licences (`cc`, `bsd`, `gpl`) are no SPDX id, and get a name of their own, as those do that SPDX does not list.
"""


def as_spdx(hub_id: str) -> str | None:
    """Write a licence as SPDX does.

    Args:
        hub_id: What a card says: one of the Hub's ids, or an SPDX expression in any case.

    Returns:
        The SPDX expression, `LicenseRef-<id>` for a licence that SPDX does not list; None if this names no licence.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    plain = hub_id[:200].strip()
    if plain.lower() in LICENCES:
        return SPDX.get(plain.lower())
    try:
        return str(canonicalize_license_expression(plain))
    except InvalidLicenseExpression:
        return SPDX.get(normalise(plain) or "")


def check_licence(text: str) -> str:
    """Take a licence that a user states.

    `other` is taken too; the Hub then wants the licence's text in a file `LICENSE`, which is the user's to add.

    Args:
        text: The licence.

    Returns:
        The Hub's id.

    Raises:
        UsageError: the Hub has no such id, or it says that the licence is not known.
    """
    found = normalise(text)
    if found == "unknown":
        raise UsageError(
            "The licence `unknown` was stated, and nobody may use what has no known licence.",
            do="State one of the Hub's ids with `--license`, such as `apache-2.0`.",
        )
    if _is_list(text):
        raise UsageError(f"`{code(text, limit=60)}` names several licences.", do="State one of them with `--license`.")
    if found is None:
        near = difflib.get_close_matches(text[:100].strip().lower(), sorted(LICENCES - UNSAID), n=3)
        mean = f"Did you mean {' or '.join(f'`{name}`' for name in near)}? " if near else ""
        raise UsageError(
            f"`{code(text, limit=60)}` is no licence id that the Hub has.",
            do=f"{mean}The ids are at {DOCUMENTED_AT}; `other` is for all that have none.",
        )
    return found


def one_licence(found: object) -> str | None:
    """Take the licence out of a card's metadata.

    Args:
        found: What the metadata says: a text, or a list of them.

    Returns:
        The text; several are joined, and are then no licence; None if it says none.
    """
    texts = [text for text in found if isinstance(text, str)] if isinstance(found, list) else [found]
    return ", ".join(text for text in texts if isinstance(text, str)) or None


def choose_licence(*, stated: str | None, module: str | None, teacher: str | None, student: str | None) -> str:
    """Choose the licence of a converted module: what was stated, else the teacher module's where nothing speaks against it.

    Args:
        stated: What the user states; it wins over everything else.
        module: What the teacher module's card says; None if it says nothing.
        teacher: What the teacher's card says; None if it says nothing, as for a folder.
        student: The same of the student.

    Returns:
        The Hub's id.

    Raises:
        UsageError: what was stated is no licence; or nothing was stated and the module's licence is not known, or a base
            model's licence has conditions and is another one.
    """
    if stated is not None:
        return check_licence(stated)
    own = normalise(module)
    if own is None or own in UNSAID:
        raise UsageError(
            f"The licence of the module is not known: its card {_says(module)}.",
            do="Ask its author or read its repository. State one with `--license`.",
        )
    if _has_own_conditions(teacher, own) or _has_own_conditions(student, own):
        raise UsageError(
            f"The licences do not agree: the module says `{own}`, the teacher {_said(teacher)}, the student {_said(student)}, "
            "and a base model's may ask for more than the module's.",
            do="Read them, and state the one that the result may have with `--license`.",
        )
    return own


def _says(module: str | None) -> str:
    if not module:
        return "says none"
    return f"says `{code(module, limit=60)}`, which names {'several' if _is_list(module) else 'none that the Hub knows'}"


def _is_list(text: str) -> bool:
    parts = text.split(", ")
    return len(parts) > 1 and normalise(text) is None and all(map(normalise, parts))


def _has_own_conditions(base: str | None, own: str) -> bool:
    """A base model that says nothing has no conditions that we could know; one that says what we cannot read may have any."""
    return bool(base) and normalise(base) != own and normalise(base) not in PERMISSIVE


def _said(licence: str | None) -> str:
    return f"`{normalise(licence) or code(licence, limit=60)}`" if licence else "none"
