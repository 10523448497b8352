"""DICOMweb (PS3.18): QIDO-RS, WADO-RS and STOW-RS, over TLS that is verified unless plain HTTP is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydicom import Dataset, dcmread
from pydicom.uid import UID

from pellucid.errors import MissingPackageError, OptionError, TransferError
from pellucid.io.dicom_file import NO_PICTURES

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

SCHEMES = {"dicomweb": "https", "dicomweb+http": "http"}
_UID = r"[0-9.]{1,64}"
_PLACE = re.compile(rf"/studies/({_UID})(?:/series/({_UID}))?(?:/instances/({_UID}))?/?")
_SECONDS = (10, 120)
"""To connect, and between two bytes of an answer."""
_ROWS = "00280010"
_PAGE = 500
_MOST = 100_000
"""Instances that are listed at a time, and in all."""
_NOT_ALLOWED = (401, 403)


@dataclass(frozen=True)
class Access:
    """What a server asks for: a bearer token, a client's certificate and its key; ``ca`` signed the server's own."""

    token: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    def __post_init__(self) -> None:
        """Refuse files that are not there, before anything is sent."""
        for what, path in (("certificate", self.certificate), ("key", self.key), ("ca", self.ca)):
            if path is not None and not path.is_file():
                raise OptionError(f"--{what} {path} was given; there is no such file")
        if self.key is not None and self.certificate is None:
            raise OptionError(f"--key {self.key} was given without its certificate: give --certificate, too")


@dataclass(frozen=True)
class Server:
    """A DICOMweb service at ``url``."""

    url: str
    access: Access = field(default_factory=Access)

    def __post_init__(self) -> None:
        """Refuse what is no address."""
        try:
            parts = urlsplit(self.url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise OptionError(f"{self.url} was given; a DICOMweb service's address begins with https:// or http://")
        if parts.username or parts.password:
            raise OptionError("the address holds a name or password, which others can see: use --token-file")

    def client(self) -> DICOMwebClient:
        """A client that asks once: what is tried again is up to the caller."""
        try:
            from dicomweb_client import DICOMwebClient
            from requests import Session
            from requests.utils import get_environ_proxies
        except ImportError:
            raise MissingPackageError(
                "DICOMweb was asked for; dicomweb-client is not installed: pip install 'pellucid[pacs]'"
            ) from None
        access, session = self.access, Session()
        if access.ca is not None:
            # What the environment names (REQUESTS_CA_BUNDLE) would be taken before what the session does.
            session.trust_env, session.verify = False, str(access.ca)
            session.proxies.update(get_environ_proxies(self.url))
        if access.certificate is not None:
            files = (str(access.certificate), *([] if access.key is None else [str(access.key)]))
            session.cert = files[0] if len(files) == 1 else (files[0], files[1])
        if access.token:
            session.auth = _bearing(access.token)  # as a header, a password out of a netrc file would take its place
        made = DICOMwebClient(self.url.rstrip("/"), session=session, timeout=_SECONDS)
        made.set_http_retry_params(retry=False)
        return made

    def store(self, path: Path) -> None:
        """Store a file's object.

        Raises:
            TransferError: the server cannot be reached, or does not take it.
        """
        client = self.client()
        with explained(self.url):
            answer = client.store_instances([_read(path)])
            failed: Sequence[Dataset] = answer.get("FailedSOPSequence") or []
        if len(failed):
            reason = failed[0].get("FailureReason")
            code = "no reason" if reason is None else f"reason {int(reason):#06x}"
            raise TransferError(f"{self.url}: it does not take {path.name} ({code})")


@dataclass(frozen=True)
class Place:
    """A study, series or instance of a server."""

    server: Server
    study: str
    series: str | None = None
    instance: str | None = None

    def instances(self) -> list[tuple[str, str]]:
        """The series and the instance of each picture, in the order of their numbers (QIDO-RS).

        Raises:
            TransferError: the server cannot be reached, does not allow it, or has none.
        """
        filters = {"SOPInstanceUID": self.instance} if self.instance else None
        client = self.server.client()
        with explained(self.server.url):
            found = self._found(partial(client.search_for_instances, self.study, self.series, search_filters=filters))
            pictures = sorted((one for one in found if _is_picture(one)), key=_order)
            uids = [(self.series or str(_first(one, "0020000E")), str(_first(one, "00080018"))) for one in pictures]
            if not all(re.fullmatch(_UID, uid) for pair in uids for uid in pair):
                raise ValueError("an answer without the UIDs that were asked for")
        if not uids:
            raise TransferError(f"{self.server.url}: it has no picture there: check the address")
        return uids

    def _found(self, search: Callable[..., Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
        """What a server finds, a page at a time, until one brings nothing new."""
        known: dict[str, Mapping[str, Any]] = {}
        while len(known) < _MOST:
            page = search(limit=_PAGE, offset=len(known))
            fresh = {str(_first(one, "00080018")): one for one in page}
            if fresh.keys() <= known.keys():
                return list(known.values())
            known |= fresh
        raise TransferError(f"{self.server.url}: it has more than {_MOST:,} instances there: ask for a series")

    def retrieve(self, series: str, instance: str) -> Dataset:
        """An instance, as it is stored (WADO-RS).

        Raises:
            TransferError: the server cannot be reached, or does not give it.
        """
        client = self.server.client()
        with explained(self.server.url):
            kinds = (("application/dicom", "*"),)
            made: Dataset = client.retrieve_instance(self.study, series, instance, media_types=kinds)
            return made


def place(address: str, access: Access) -> Place:
    """What dicomweb://HOST/PATH/studies/UID[/series/UID[/instances/UID]] means; dicomweb+http:// is without TLS.

    Raises:
        OptionError: it means nothing.
    """
    scheme, _, rest = address.partition("://")
    base, found, tail = rest.partition("/studies/")
    match = _PLACE.fullmatch(f"{found}{tail}")
    if scheme not in SCHEMES or match is None:
        raise OptionError(
            f"{address.partition('?')[0]} was given; an address is dicomweb://HOST/PATH/studies/UID, with /series/UID "
            f"and /instances/UID where less is wanted"
        )
    return Place(Server(f"{SCHEMES[scheme]}://{base}", access), *match.groups())


def _bearing(token: str) -> Callable[[Any], Any]:
    """What puts a token on requests; to another host, requests takes it off again."""

    def put(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return put


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Say in one line what is wrong; what a server says may name a patient, and is not told."""
    from requests import HTTPError, RequestException
    from requests.exceptions import InvalidJSONError, SSLError, Timeout

    try:
        yield
    except TransferError:
        raise
    except HTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        cure = ": give --token-file or --certificate" if code in _NOT_ALLOWED else ""
        raise TransferError(f"{url}: it answered {code}{cure}", retry=code in (408, 429) or code >= 500) from None
    except SSLError:
        raise TransferError(f"{url}: its certificate is not trusted: give --ca, the file of who signed it") from None
    except Timeout:
        raise TransferError(f"{url}: it did not answer in time", retry=True) from None
    except InvalidJSONError:
        raise TransferError(f"{url}: its answer is broken: it is no JSON") from None
    except RequestException as error:
        raise TransferError(f"{url}: it cannot be reached ({type(error).__name__})", retry=True) from None
    except MissingPackageError:
        raise
    except Exception as error:  # an answer is hostile, too
        raise TransferError(f"{url}: its answer is broken ({type(error).__name__})") from None


def _read(path: Path) -> Dataset:
    try:
        return dcmread(path)
    except Exception as error:  # a broken file's
        raise TransferError(f"{path.name}: it is a broken DICOM file ({type(error).__name__})") from None


def _is_picture(found: Mapping[str, Any]) -> bool:
    kind = UID(str(_first(found, "00080016") or "")).keyword
    return _first(found, _ROWS) is not None and not kind.startswith(NO_PICTURES)


def _order(found: Mapping[str, Any]) -> tuple[int, str, int, str]:
    series, number = (_number(_first(found, tag)) for tag in ("00200011", "00200013"))
    return series, str(_first(found, "0020000E")), number, str(_first(found, "00080018"))


def _first(found: Mapping[str, Any], tag: str) -> Any:
    values = found.get(tag, {}).get("Value") or [None]
    return values[0]


def _number(value: Any) -> int:
    return int(value) if str(value or "").lstrip("-").isdecimal() else 0
