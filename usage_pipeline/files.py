"""Files that others read while they are written: whoever opens one finds the old one or the new one, whole."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from usage_pipeline.contract.errors import ConfigurationError, TransientError, UsageError

# What systems say when a file cannot be written, and what helps; every library wraps it in an error of its own.
REMEDIES = {
    os.strerror(errno.ENOSPC): "free some space",
    os.strerror(errno.EDQUOT): "free some space, or have the quota raised",
    os.strerror(errno.EROFS): "make it writable",
    os.strerror(errno.EACCES): "give the user that runs this the right to write there, or run it as the owner",
}

# What object stores say, and the libraries between: the words of all clouds, since one program is for them all.
CREDENTIALS = "set its credentials, or renew them (docs/storage.md names the variables)"
STORE_REMEDIES = {
    "Unable to recognise URL": "USAGE_PIPELINE_LAKE is a folder, or begins with s3://, gs://, az:// or abfss://",
    "NoSuchBucket": "create the bucket, or correct USAGE_PIPELINE_LAKE",
    "ContainerNotFound": "create the container, or correct USAGE_PIPELINE_LAKE",
    "InvalidAccessKeyId": CREDENTIALS,
    "SignatureDoesNotMatch": CREDENTIALS,
    "ExpiredToken": CREDENTIALS,
    "Account must be specified": CREDENTIALS,
    "token request": CREDENTIALS,
    "AccessDenied": "allow these credentials to list, read, write and delete below that address",
    "403 Forbidden": "allow these credentials to list, read, write and delete below that address",
}
UNREACHABLE = ("error sending request", "HTTP error", "operation timed out", "503 Service Unavailable")

DAY = 86_400
# What `tempfile` puts behind a name.
SUFFIX = re.compile(r"[a-z0-9_]{8}")


@contextmanager
def explained(where: object) -> Iterator[None]:
    """Turns what libraries raise of a full disk, of a folder or an object store that refuses, into one clear line.

    Nothing is half done then: what was not finished is not seen, and the next run does it again.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        for said, remedy in REMEDIES.items():
            if said in str(error):
                raise ConfigurationError(
                    f"{where} cannot be written to ({said}): {remedy}, or set USAGE_PIPELINE_HOME to another folder, "
                    "then run this again"
                ) from error
        problem = of_store(where, str(error)) if "://" in str(where) else None
        if problem:
            raise problem from None
        raise


def of_store(where: object, text: str) -> UsageError | None:
    """What an object store refuses, by the text of the error; None where it is none of the known ones.

    Only known words are repeated: the others may tell of keys.
    """
    for said, remedy in STORE_REMEDIES.items():
        if said in text:
            return ConfigurationError(f"{where} cannot be used ({said}): {remedy}")
    if any(said in text for said in UNREACHABLE):
        return TransientError(
            f"{where} cannot be reached: see whether the network is there, and AWS_ENDPOINT_URL, if it is set, right "
            "(http:// is refused unless AWS_ALLOW_HTTP=true), then run this again"
        )
    return None


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A file to write to, which takes the place of `file` when all went well. Raises OSError where it cannot.

    What killed processes left half written of it goes, when it is a day older than the new one.
    """
    prefix = f".{file.name}."
    with tempfile.NamedTemporaryFile(dir=file.absolute().parent, prefix=prefix, delete=False) as made:
        new = Path(made.name)
    try:
        for left in [one for one in new.parent.iterdir() if one.name.startswith(prefix)]:
            if SUFFIX.fullmatch(left.name.removeprefix(prefix)) and _written(new) - _written(left) > DAY:
                left.unlink(missing_ok=True)
        yield new
        # Temporary files are for their owner alone; this one is for everybody to read.
        new.chmod(0o644)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def _written(file: Path) -> float:
    """When a file was written last, in seconds; never, where another process has just removed it."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
