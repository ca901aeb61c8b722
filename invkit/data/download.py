"""Downloads that are resumable, bounded in size and verified by a checksum."""

import hashlib
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO

from invkit.core.errors import DataError, ResourceError

_CHUNK = 1 << 18
_TRIES = 5  # consecutive attempts without a new byte


def say_on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def fetch(
    url: str,
    target: Path,
    digest: str,  # "md5:..." or "sha256:...", possibly only its first digits
    size: int | None,  # None: the size stated by the server
    way_out: str,
    say: Callable[[str], None] = say_on_stderr,
    pause: float = 2.0,
) -> None:
    """Download `size` bytes of a URL to `target`, through `target.part`, from which a later call resumes.

    `say` receives a line with rate and remaining time every five seconds. Raises DataError, ending in `way_out`, if the
    server cannot be reached or the checksum does not match; ResourceError if the file cannot be written.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _fill(url, file, size, way_out, say, pause)
        kind, _, wanted = digest.partition(":")
        with part.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
        if not found.startswith(wanted):
            part.unlink()
            raise DataError(
                f"the file from {url} has the wrong checksum ({found}, not {wanted}) and was removed; {way_out}"
            )
        part.replace(target)
    except OSError as error:
        raise ResourceError(f"{part} cannot be written ({error}); free space, or {way_out}") from None


def _fill(url: str, file: BinaryIO, size: int | None, way_out: str, say: Callable[[str], None], pause: float) -> None:
    tries, reason = 0, ""
    while size is None or file.tell() < size:
        if tries >= _TRIES:
            raise DataError(
                f"{url} could not be downloaded ({reason}); run again to resume at {file.tell()} bytes, or {way_out}"
            )
        if reason:
            time.sleep(pause)
        have, reason = file.tell(), "the connection was closed early"
        try:
            request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
            with urllib.request.urlopen(request, timeout=60) as response:
                if response.status != 206:  # the server does not support ranges and sends the whole file
                    file.truncate(0)
                    file.seek(0)
                size = size or file.tell() + (response.length or 0)
                _copy(response, file, size, say)
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", "") or error)
            if isinstance(error, urllib.error.HTTPError):
                if have and error.code == 416:  # the file is complete
                    return
                tries = _TRIES  # the server answered; another attempt would not help
        tries = 0 if file.tell() > have else tries + 1


def _copy(response: HTTPResponse, file: BinaryIO, size: int, say: Callable[[str], None]) -> None:
    start, begun = file.tell(), time.monotonic()
    spoken = begun
    while chunk := response.read(min(_CHUNK, size - file.tell())):
        try:
            file.write(chunk)
            file.flush()
        except OSError as error:  # an error of the disk, not of the network
            raise ResourceError(f"{file.name} cannot be written ({error}); free space and run again") from None
        now = time.monotonic()
        if now - spoken > 5:
            spoken, done = now, file.tell()
            rate = (done - start) / (now - begun)
            left = (size - done) / rate / 60
            say(f"  {done / 1e6:.0f} of {size / 1e6:.0f} MB, {rate / 1e6:.2f} MB/s, {left:.0f} min left")
