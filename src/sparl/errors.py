"""The errors that sparl raises on purpose, told apart by whose move is next."""

import difflib
from collections.abc import Iterable

LISTED = 60
"""So many names at most are listed in one sentence."""


class SparlError(Exception):
    """Something went wrong that sparl can explain in a sentence. The command exits with 1."""


class InputError(SparlError, ValueError):
    """The caller asked for something that cannot be. The command exits with 2."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An `InputError` for a name that is not in a registry, listing the nearest ones.

    Args:
        kind: What the name was meant to be, e.g. `"map"`.
        name: The name that was given.
        known: Every name that would have been accepted.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    listed = ", ".join(known[:LISTED]) + (f", ... ({len(known)} in all)" if known[LISTED:] else "")
    return InputError(f"unknown {kind} {name!r}: {hint}choose from {listed}")
