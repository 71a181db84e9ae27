"""Pairs of base models on the Hub: how the alignment maps of a pair are named and tagged, so that they can be found."""

import hashlib
import re

MAP_TAG = "alignment-map"


def pair_tag(teacher: str, student: str) -> str:
    """Give the tag that all alignment maps of a pair have.

    Args:
        teacher: The teacher's fingerprint.
        student: The student's fingerprint.

    Returns:
        A tag of the Hub.
    """
    return f"modxfer-pair-{hashlib.sha256(f'{teacher}>{student}'.encode()).hexdigest()[:16]}"


def map_name(teacher: str, student: str) -> str:
    """Name the repository of a pair's alignment map, for those who do not choose a name of their own.

    Args:
        teacher: The teacher's name.
        student: The student's name.

    Returns:
        A repository's name, without its namespace.
    """
    return f"alignment-{slug(teacher)}-to-{slug(student)}"[:96].rstrip("-.")


def slug(name: str) -> str:
    """Make a file's or repository's name of a folder's name or a Hub id.

    Args:
        name: The name.

    Returns:
        Its last part, with letters, digits, points, underscores and single dashes only.
    """
    return re.sub(r"[^\w.]+|-+", "-", name.rpartition("/")[2], flags=re.ASCII).strip("-.") or "module"
