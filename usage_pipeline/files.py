"""Files that others read while they are written: whoever opens one finds the old one or the new one, whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A file to write to, which takes the place of `file` when all went well. Raises OSError where it cannot."""
    with tempfile.NamedTemporaryFile(dir=file.absolute().parent, prefix=f".{file.name}.", delete=False) as made:
        new = Path(made.name)
    try:
        yield new
        # Temporary files are for their owner alone; this one is for everybody to read.
        new.chmod(0o644)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
