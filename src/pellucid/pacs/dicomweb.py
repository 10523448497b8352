"""DICOMweb (PS3.18): find (QIDO-RS), retrieve (WADO-RS) and store (STOW-RS) objects, over verified TLS by default."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydicom.uid import UID

from pellucid.errors import MissingPackageError, OptionError, TransferError, warn
from pellucid.io.dicom_file import NON_IMAGES
from pellucid.pacs import multipart
from pellucid.pacs.access import ServerAccess
from pellucid.pacs.objects import content_of

if TYPE_CHECKING:
    from requests import Response, Session

    from pellucid.pacs.bounded import Limit

SCHEMES = {"dicomweb": "https", "dicomweb+http": "http"}
_UID = r"[0-9.]{1,64}"
_RESOURCE = re.compile(rf"/studies/({_UID})(?:/series/({_UID}))?(?:/instances/({_UID}))?/?")
_SENDING = 2**20
"""Bytes a second at which an object is sent at least: so much is added to the time of an answer."""
_MAX_DOCUMENT = 2**24
"""The most bytes of an answer in JSON, which takes some 30 times as many when it is parsed."""
_JSON = "application/dicom+json"
_OBJECT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_ROWS = "00280010"
_PAGE_SIZE = 500
_MAX_PAGES = 1_000
_MAX_INSTANCES = 100_000
"""The number of instances per page of a search, and the most pages and instances that a resource may have."""
_UNAUTHORIZED = (401, 403)
_DONE = (200, 202, 204)

_Match = tuple[int, str, int, str, bool]
"""Of an instance: the number and the UID of its series, its own, and whether it is an image."""


@dataclass(frozen=True)
class Server:
    """The DICOMweb service at ``url``. A token that would be sent without TLS is warned of.

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
        if parts.scheme == "http" and self.access.token:
            warn(f"{self.url}: the token is sent without encryption, for all to read on the way: give an https address")

    def get(self, path: str, accept: str, query: Mapping[str, str | int] | None = None) -> Response:
        """The answer to GET, which may be an object or JSON.

        Raises:
            TransferError: the server cannot be reached, denies access, or exceeds a limit.
        """
        with self.session(self.access.timeout, _document() if accept == _JSON else self._object_limit()) as session:
            return _done(session.get(self.url.rstrip("/") + path, params=query, headers={"Accept": accept}))

    def store(self, path: Path) -> None:
        """Store the object in a DICOM file (STOW-RS). It is stored if the server names its UID as that of a stored one.

        Raises:
            TransferError: the file is broken, or the server cannot be reached, rejects the object or does not name it.
        """
        content, instance = content_of(path)
        kind, body = multipart.encoded(content)
        seconds = self.access.timeout + len(body) / _SENDING
        with one_line_errors(self.url), self.session(seconds, _document()) as session:
            headers = {"Content-Type": kind, "Accept": _JSON}
            # Sent from a file object, since the time to send a string as a whole is limited by that to connect.
            response = _done(session.post(f"{self.url.rstrip('/')}/studies", data=io.BytesIO(body), headers=headers))
            stored, failed = (_references(response, tag) for tag in ("00081199", "00081198"))
        if failed:  # only this object was sent
            raise TransferError(f"{self.url}: the server rejects {path.name} ({', '.join(failed.values())})")
        if instance not in stored:
            raise TransferError(
                f"{self.url}: the server does not confirm that {path.name} is stored: look for it in the archive, and "
                "push again if it is not there"
            )

    def _object_limit(self) -> Limit:
        from pellucid.pacs.bounded import Limit

        return Limit(self.access.max_answer * 2**20, "give a higher --max-answer")

    @contextmanager
    def session(self, seconds: float, limit: Limit) -> Iterator[Session]:
        """A session for one answer, whose errors are of one line.

        Raises:
            MissingPackageError: requests is not installed.
        """
        try:
            from requests import Session
            from requests.utils import get_environ_proxies

            from pellucid.pacs.bounded import BoundedAdapter
        except ImportError:
            raise MissingPackageError(
                "DICOMweb was asked for; requests is not installed: pip install 'pellucid[pacs]'"
            ) from None
        access = self.access
        with one_line_errors(self.url), Session() as session:
            adapter = BoundedAdapter(seconds, limit, access.token or "")
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            session.headers["Accept-Encoding"] = "identity"
            session.max_redirects = 3
            if access.ca is not None:
                # REQUESTS_CA_BUNDLE in the environment would take precedence over the session's CA bundle.
                session.trust_env, session.verify = False, str(access.ca)
                session.proxies.update(get_environ_proxies(self.url))
            if access.certificate is not None:
                files = (str(access.certificate), *([] if access.key is None else [str(access.key)]))
                session.cert = files[0] if len(files) == 1 else (files[0], files[1])
            if access.token:
                session.auth = _bearer_auth(access.token)  # a password in a netrc file would replace a plain header
            yield session


def _document() -> Limit:
    from pellucid.pacs.bounded import Limit

    return Limit(_MAX_DOCUMENT, "ask for one series, or report it to the server's maker")


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
        with one_line_errors(self.server.url):
            images = sorted(one for one in self._matches() if one[-1])
        if not images:
            raise TransferError(f"{self.server.url}: no image was found at this address: check the UIDs")
        return [(series, instance) for _, series, _, instance, _ in images]

    def _matches(self) -> list[_Match]:
        """All matches of a search, a page at a time, until a page has nothing new.

        Some servers ignore ``offset`` and return the first page each time, and some ignore the instance's UID.
        """
        known: dict[str, _Match] = {}
        for _ in range(_MAX_PAGES):
            fresh = {match[3]: match for match in map(self._match, self._page(len(known)))}
            if fresh.keys() <= known.keys():
                return [match for uid, match in known.items() if self.instance in (None, uid)]
            known |= fresh
            if len(known) > _MAX_INSTANCES:
                break
        raise TransferError(
            f"{self.server.url}: more than {_MAX_INSTANCES:,} instances were found at this address: name a series"
        )

    def _page(self, offset: int) -> list[Mapping[str, Any]]:
        series = f"/series/{self.series}" if self.series else ""
        query: dict[str, str | int] = {"SOPInstanceUID": self.instance} if self.instance else {}
        query |= {"limit": _PAGE_SIZE, "offset": offset}
        response = self.server.get(f"/studies/{self.study}{series}/instances", _JSON, query)
        found: Any = response.json() if response.content else []
        return [found] if isinstance(found, dict) else list(found)  # some servers return a single match bare

    def _match(self, found: Mapping[str, Any]) -> _Match:
        series, instance = self.series or str(_first(found, "0020000E")), str(_first(found, "00080018"))
        if not all(re.fullmatch(_UID, uid) for uid in (series, instance)):
            raise ValueError("the response lacks the UIDs that were requested")
        numbers = (_number(_first(found, tag)) for tag in ("00200011", "00200013"))
        return next(numbers), series, next(numbers), instance, _is_image(found)

    def retrieve(self, series: str, instance: str) -> bytes:
        """Retrieve an instance as a DICOM file, in the transfer syntax in which it is stored (WADO-RS).

        Raises:
            TransferError: the server cannot be reached, or does not return a DICOM file.
        """
        with one_line_errors(self.server.url):
            path = f"/studies/{self.study}/series/{series}/instances/{instance}"
            response = self.server.get(path, _OBJECT)
            return multipart.decoded(response.headers.get("Content-Type", ""), response.content)


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
    """An authentication of ``requests`` that adds the token."""

    def add(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return add


def _done(response: Response) -> Response:
    """The answer, if its status is one of success."""
    if response.status_code not in _DONE:
        from requests import HTTPError

        raise HTTPError(response=response)
    return response


@contextmanager
def one_line_errors(url: str) -> Iterator[None]:
    """Raise a ``TransferError`` of one line for any error; a server's own text may name a patient and is left out."""
    try:
        yield
    except TransferError as error:
        text = str(error)
        raise TransferError(text if text.startswith(f"{url}: ") else f"{url}: {text}", error.retry) from None
    except (MissingPackageError, OptionError):
        raise
    except Exception as error:
        raise _one_line(url, error) from None


def _one_line(url: str, error: Exception) -> TransferError:
    from requests import HTTPError, RequestException
    from requests.exceptions import InvalidJSONError, SSLError, Timeout
    from urllib3.exceptions import HTTPError as TransportError

    if isinstance(error, HTTPError):
        code = error.response.status_code if error.response is not None else 0
        cure = ": give --token-file or --certificate" if code in _UNAUTHORIZED else ""
        retry = code in (408, 429) or code >= 500
        return TransferError(f"{url}: the server returned HTTP status {code}{cure}", retry)
    if isinstance(error, SSLError):
        cure = "give the CA bundle that signed it with --ca"
        return TransferError(f"{url}: the server's certificate is not trusted: {cure}")
    if isinstance(error, Timeout):
        return TransferError(f"{url}: the server did not respond in time", retry=True)
    if isinstance(error, InvalidJSONError):
        return TransferError(
            f"{url}: the response is not valid JSON: check the address, and the token (a login page answers so)"
        )
    if isinstance(error, RequestException):
        return TransferError(f"{url}: the server cannot be reached ({type(error).__name__})", retry=True)
    if isinstance(error, TransportError):
        return TransferError(f"{url}: the server ended its answer early ({type(error).__name__})", retry=True)
    return TransferError(  # hostile ones may raise anything
        f"{url}: the response is broken ({type(error).__name__}): check the address"
    )


def _references(response: Response, tag: str) -> dict[str, str]:
    """The objects in a sequence of an answer to a store (PS3.18, I.2): their UIDs, and why they were rejected."""
    answer: Any = response.json() if response.content else {}
    if isinstance(answer, list):  # some servers put the one data set into a list
        answer = answer[0] if answer else {}
    items: Sequence[Mapping[str, Any]] = answer.get(tag, {}).get("Value") or []
    return {str(_first(item, "00081155")): _reason(_first(item, "00081197")) for item in items}


def _reason(code: Any) -> str:
    return f"reason {int(code):#06x}" if isinstance(code, int) else "no reason"


def _is_image(found: Mapping[str, Any]) -> bool:
    sop_class = UID(str(_first(found, "00080016") or "")).keyword
    return _first(found, _ROWS) is not None and not sop_class.startswith(NON_IMAGES)


def _first(found: Mapping[str, Any], tag: str) -> Any:
    values = found.get(tag, {}).get("Value") or [None]
    return values[0]


def _number(value: Any) -> int:
    return int(value) if str(value or "").lstrip("-").isdecimal() else 0
