"""The mark that a run's configuration is this user's own: a digest with a key that only they can read."""

import contextlib
import hmac
import os
import secrets
from pathlib import Path


def mark(content: bytes) -> str | None:
    """Return the mark of a file's content; None where no key can be kept."""
    key = _key()
    return hmac.new(key, content, "sha256").hexdigest() if key else None


def is_own(content: bytes, found: object) -> bool:
    """Return whether a mark was made by this user for this content."""
    expected = mark(content)
    return expected is not None and isinstance(found, str) and found.isascii() and hmac.compare_digest(expected, found)


def _key() -> bytes | None:
    """Return the user's key, which is made at first use with mode 600; None if that is not possible."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "convlens"
    path = folder / "key"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), os.fdopen(_new_file(path), "wb") as file:
            file.write(secrets.token_hex(32).encode())
        if path.stat().st_uid == os.getuid() and not path.stat().st_mode & 0o077:
            return path.read_bytes() or None
    return None


def _new_file(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
