"""Names that are not UTF-8: Python keeps such bytes of a file's name as surrogates, which no plain encoder takes."""

from pathlib import Path


def name_bytes(text: str) -> bytes:
    """Return text as UTF-8, with the bytes that a name has on the disk: for digests and lists of names."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode(errors="surrogatepass")


def read_names(path: Path) -> str:
    """Return the text of a list of names, which need not be UTF-8."""
    return path.read_text("utf-8", "surrogateescape")


def document_bytes(text: str) -> bytes:
    r"""Return text as UTF-8, with such bytes as ``\udce9``, which JSON reads back: for all but lists of names."""
    return text.encode(errors="backslashreplace")


def readable(text: str) -> str:
    """Return text that can be drawn and printed."""
    return document_bytes(text).decode()
