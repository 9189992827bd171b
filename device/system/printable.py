"""Names from outside, made safe for a terminal and for one line."""


def printable(text: str) -> str:
    """The same text with every character escaped that a terminal would obey, or that stands for an undecodable byte.

    File names, camera names and answers of a server may hold escape sequences, line ends or marks that turn the direction
    of writing. The bytes of a name that is not in the file system's encoding appear as ``\\xe9``.
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that os.fsdecode could not decode (surrogateescape)
        return "\\x{:02x}".format(ord(character) - 0xDC00)
    return character.encode("unicode_escape").decode("ascii")
