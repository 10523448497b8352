"""Addresses of servers and databases as messages and files show them."""

from __future__ import annotations

import re

_USER = re.compile(r"//[^/\s]*@")
_QUERY = re.compile(r"(\b[A-Za-z][\w+.-]*://[^\s?#]*)[?#][^\s,;)\"']*")


def without_credentials(text: str) -> str:
    """A text whose addresses have no user, no password, and no query, which may hold a password, too.

    >>> without_credentials("https://me:se@cret@example.org/x?token=1 is away")
    'https://example.org/x is away'
    >>> without_credentials("sqlite:///folder/mlflow.db"), without_credentials("folder/what?")
    ('sqlite:///folder/mlflow.db', 'folder/what?')
    """
    return _QUERY.sub(r"\1", _USER.sub("//", text))
