"""For a word that was typed and is not known: the known one that was probably meant."""

import difflib
from typing import Iterable


def did_you_mean(typed: str, known: Iterable[str]) -> str:
    """A part of a sentence, as in ``, did you mean mobilenet?``; empty where no known word is close to it."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(typed.lower(), list(names), 1, 0.6)
    return "; did you mean {}?".format(names[close[0]]) if close else ""
