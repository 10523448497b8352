"""Access to a server: credentials, the CA to verify it with, and how often a request is retried."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pellucid.errors import OptionError, TransferError

Result = TypeVar("Result")


@dataclass(frozen=True)
class ServerAccess:
    """How a server is accessed: the options that every command with a server shares.

    ``token`` is a bearer token (DICOMweb). ``certificate`` and ``key`` are the client's own (PEM); the key may be in
    the certificate's file. ``ca`` is the CA bundle (PEM) to verify the server with, instead of the system's. A request
    to a server that is busy or unreachable is retried ``retries`` times, after ``wait`` seconds, then twice that, and
    so on. An answer takes at most ``timeout`` seconds as a whole, and an object in it at most ``max_answer`` MiB.

    Raises:
        OptionError: a file does not exist, or a key is given without its certificate.
    """

    token: str | None = field(default=None, repr=False)  # a secret must not get into a log
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    retries: int = 4
    wait: float = 1.0
    timeout: float = 55.0
    max_answer: int = 256

    def __post_init__(self) -> None:
        """Refuse files that do not exist before anything is sent."""
        for option, path in (("certificate", self.certificate), ("key", self.key), ("ca", self.ca)):
            if path is not None and not path.is_file():
                raise OptionError(f"--{option} {path} was given; there is no such file")
        if self.key is not None and self.certificate is None:
            raise OptionError(f"--key {self.key} was given without its certificate: give --certificate, too")

    def retried(self, request: Callable[[], Result]) -> Result:
        """Return what ``request`` returns; call it again where it raised an error that may pass.

        Raises:
            TransferError: the error cannot pass (``retry`` is false), or the last attempt failed.
        """
        for attempt in range(self.retries):
            try:
                return request()
            except TransferError as error:
                if not error.retry:
                    raise
            time.sleep(self.wait * 2**attempt)
        return request()
