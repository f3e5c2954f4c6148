"""Values and names out of files, as they may stand in a message, a table or a picture: short, and on one line."""

from __future__ import annotations

import reprlib

MAX_NAME_LENGTH = 80


class _Shortener(reprlib.Repr):
    """Looks at the beginning of containers only, so that deep, endless and huge values are no trouble."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 8
        self.maxstring = self.maxother = 60

    def repr_int(self, x: int, level: int) -> str:
        # an int of thousands of digits is refused by repr itself
        return repr(x) if abs(x) < 10**40 else f"an integer of {x.bit_length()} bits"


_SHORTENER = _Shortener()


def shortened(value: object, length: int = 200) -> str:
    """A value as it is echoed in an error message."""
    text = _SHORTENER.repr(value)
    return text if len(text) <= length else f"{text[:length]}..."


def printable(name: str, length: int = MAX_NAME_LENGTH) -> str:
    """A name as it is shown to people: cut where it is long, with a mark for what would move a cursor or a line."""
    start = name[:length] + ("..." if len(name) > length else "")
    return start if start.isprintable() else "".join(letter if letter.isprintable() else "\ufffd" for letter in start)


def needs_extra(package: str, extra: str, what: str) -> ImportError:
    """The error for a package that is not installed.

    Args:
        package: Its name.
        extra: The extra of this package that brings it along.
        what: What needs it, such as ``"tables are"``.
    """
    return ImportError(
        f"{what} made with {package}, which is not installed. Run: pip install 'video-mask2former[{extra}]'"
    )
