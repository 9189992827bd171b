"""How large a picture may be. A header is believed within these bounds alone."""

MAX_PIXELS = 64 << 20  # 67 megapixels
MAX_FILE_BYTES = 256 << 20


def check_size(width: int, height: int) -> None:
    """Refuse a picture by its header, before any memory is taken for it.

    Raises:
        ValueError: no pixels, or too many.
    """
    if width < 1 or height < 1:
        raise ValueError("its header says {} x {} pixels".format(width, height))
    if width * height > MAX_PIXELS:
        raise ValueError(
            "its header says {} x {} pixels, of which at most {} million are read".format(
                width, height, MAX_PIXELS // 1000000
            )
        )
