"""DICOMweb (PS3.18): find (QIDO-RS), retrieve (WADO-RS) and store (STOW-RS) objects, over verified TLS by default."""

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
from pellucid.io.dicom_file import NON_IMAGES
from pellucid.pacs.access import ServerAccess

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

SCHEMES = {"dicomweb": "https", "dicomweb+http": "http"}
_UID = r"[0-9.]{1,64}"
_RESOURCE = re.compile(rf"/studies/({_UID})(?:/series/({_UID}))?(?:/instances/({_UID}))?/?")
_TIMEOUTS = (10, 120)
"""Seconds to connect, and between two bytes of a response."""
_ROWS = "00280010"
_PAGE_SIZE = 500
_MAX_INSTANCES = 100_000
"""The number of instances per page of a search, and the most that a resource may have."""
_UNAUTHORIZED = (401, 403)


@dataclass(frozen=True)
class Server:
    """The DICOMweb service at ``url``.

    Raises:
        OptionError: ``url`` is not an address of http or https, or holds a password.
    """

    url: str
    access: ServerAccess = field(default_factory=ServerAccess)

    def __post_init__(self) -> None:
        """Refuse what is not an address."""
        try:
            parts = urlsplit(self.url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise OptionError(
                f"{self.url} was given; the address of a DICOMweb service begins with https:// or http://"
            )
        if parts.username or parts.password:
            raise OptionError("the address holds a user name or password, which other users can see: use --token-file")

    def client(self) -> DICOMwebClient:
        """Return a client that sends each request once; the caller retries.

        Raises:
            MissingPackageError: dicomweb-client is not installed.
        """
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
            # REQUESTS_CA_BUNDLE in the environment would take precedence over the session's CA bundle.
            session.trust_env, session.verify = False, str(access.ca)
            session.proxies.update(get_environ_proxies(self.url))
        if access.certificate is not None:
            files = (str(access.certificate), *([] if access.key is None else [str(access.key)]))
            session.cert = files[0] if len(files) == 1 else (files[0], files[1])
        if access.token:
            session.auth = _bearer_auth(access.token)  # a password in a netrc file would replace a plain header
        client = DICOMwebClient(self.url.rstrip("/"), session=session, timeout=_TIMEOUTS)
        client.set_http_retry_params(retry=False)
        return client

    def store(self, path: Path) -> None:
        """Store the object in a DICOM file (STOW-RS).

        Raises:
            TransferError: the file is broken, or the server cannot be reached or rejects the object.
        """
        client = self.client()
        with one_line_errors(self.url):
            response = client.store_instances([_read(path)])
            failed: Sequence[Dataset] = response.get("FailedSOPSequence") or []
        if len(failed):
            reason = failed[0].get("FailureReason")
            code = "no reason" if reason is None else f"reason {int(reason):#06x}"
            raise TransferError(f"{self.url}: the server rejects {path.name} ({code})")


@dataclass(frozen=True)
class Resource:
    """A study, series or instance on a server."""

    server: Server
    study: str
    series: str | None = None
    instance: str | None = None

    def instances(self) -> list[tuple[str, str]]:
        """The UIDs (series, instance) of each image, in the order of the instance numbers (QIDO-RS).

        Raises:
            TransferError: the server cannot be reached, denies access, or has no image there.
        """
        filters = {"SOPInstanceUID": self.instance} if self.instance else None
        client = self.server.client()
        search = partial(client.search_for_instances, self.study, self.series, search_filters=filters)
        with one_line_errors(self.server.url):
            images = sorted((one for one in self._matches(search) if _is_image(one)), key=_order)
            uids = [(self.series or str(_first(one, "0020000E")), str(_first(one, "00080018"))) for one in images]
            if not all(re.fullmatch(_UID, uid) for pair in uids for uid in pair):
                raise ValueError("the response lacks the UIDs that were requested")
        if not uids:
            raise TransferError(f"{self.server.url}: no image was found at this address: check the UIDs")
        return uids

    def _matches(self, search: Callable[..., Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
        """All matches of a search, a page at a time, until a page has nothing new.

        Some servers ignore ``offset`` and return the first page each time.
        """
        known: dict[str, Mapping[str, Any]] = {}
        while len(known) < _MAX_INSTANCES:
            page = search(limit=_PAGE_SIZE, offset=len(known))
            fresh = {str(_first(one, "00080018")): one for one in page}
            if fresh.keys() <= known.keys():
                return list(known.values())
            known |= fresh
        raise TransferError(
            f"{self.server.url}: more than {_MAX_INSTANCES:,} instances were found at this address: name a series"
        )

    def retrieve(self, series: str, instance: str) -> Dataset:
        """Retrieve an instance in the transfer syntax in which it is stored (WADO-RS).

        Raises:
            TransferError: the server cannot be reached, or does not return the instance.
        """
        client = self.server.client()
        any_syntax = (("application/dicom", "*"),)
        with one_line_errors(self.server.url):
            dataset: Dataset = client.retrieve_instance(self.study, series, instance, media_types=any_syntax)
            return dataset


def parse_resource(address: str, access: ServerAccess) -> Resource:
    """Parse dicomweb://HOST/PATH/studies/UID[/series/UID[/instances/UID]]; dicomweb+http:// is without TLS.

    Raises:
        OptionError: the address has another form.
    """
    scheme, _, rest = address.partition("://")
    base, found, tail = rest.partition("/studies/")
    match = _RESOURCE.fullmatch(f"{found}{tail}")
    if scheme not in SCHEMES or match is None:
        raise OptionError(
            f"{address.partition('?')[0]} was given; write dicomweb://HOST/PATH/studies/UID, and append /series/UID "
            f"and /instances/UID for a part of the study"
        )
    return Resource(Server(f"{SCHEMES[scheme]}://{base}", access), *match.groups())


def _bearer_auth(token: str) -> Callable[[Any], Any]:
    """An authentication of ``requests`` that adds the token; requests drops it when redirected to another host."""

    def add(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return add


@contextmanager
def one_line_errors(url: str) -> Iterator[None]:
    """Raise a ``TransferError`` of one line for any error; a server's own text may name a patient and is left out."""
    from requests import HTTPError, RequestException
    from requests.exceptions import InvalidJSONError, SSLError, Timeout

    try:
        yield
    except TransferError:
        raise
    except HTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        cure = ": give --token-file or --certificate" if code in _UNAUTHORIZED else ""
        raise TransferError(
            f"{url}: the server returned HTTP status {code}{cure}", retry=code in (408, 429) or code >= 500
        ) from None
    except SSLError:
        raise TransferError(
            f"{url}: the server's certificate is not trusted: give the CA bundle that signed it with --ca"
        ) from None
    except Timeout:
        raise TransferError(f"{url}: the server did not respond in time", retry=True) from None
    except InvalidJSONError:
        raise TransferError(f"{url}: the response is not valid JSON") from None
    except RequestException as error:
        raise TransferError(f"{url}: the server cannot be reached ({type(error).__name__})", retry=True) from None
    except MissingPackageError:
        raise
    except Exception as error:  # a hostile response may raise anything
        raise TransferError(f"{url}: the response is broken ({type(error).__name__})") from None


def _read(path: Path) -> Dataset:
    try:
        return dcmread(path)
    except Exception as error:  # a broken file may raise anything
        raise TransferError(f"{path.name}: the DICOM file is broken ({type(error).__name__})") from None


def _is_image(found: Mapping[str, Any]) -> bool:
    sop_class = UID(str(_first(found, "00080016") or "")).keyword
    return _first(found, _ROWS) is not None and not sop_class.startswith(NON_IMAGES)


def _order(found: Mapping[str, Any]) -> tuple[int, str, int, str]:
    series, number = (_number(_first(found, tag)) for tag in ("00200011", "00200013"))
    return series, str(_first(found, "0020000E")), number, str(_first(found, "00080018"))


def _first(found: Mapping[str, Any], tag: str) -> Any:
    values = found.get(tag, {}).get("Value") or [None]
    return values[0]


def _number(value: Any) -> int:
    return int(value) if str(value or "").lstrip("-").isdecimal() else 0
