"""What MLflow's settings say of access to a server: user and password, token, and certificates."""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pellucid.errors import SourceError
from pellucid.models.mlflow_artifacts.tracking import BY_HAND

_USER, _PASSWORD, _TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"
_ANY_CERTIFICATE, _BUNDLE = "MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH"
_CLIENT, _WORKSPACE = "MLFLOW_TRACKING_CLIENT_CERT_PATH", "MLFLOW_WORKSPACE"
_OTHERS = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4")
_FILE = Path("~/.mlflow/credentials")
CURE = f"set {_USER} and {_PASSWORD}, or {_TOKEN}"


@dataclass(frozen=True)
class Access:
    """How requests to one server are authorised, and its certificate verified. Its text shows no secret."""

    login: tuple[str, str] | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    verify: bool | str = True
    certificate: str | None = None


def access(uri: str) -> Access:
    """Return the access to the server at an address, which may hold user and password, too.

    ``SourceError``: a way is set that only MLflow's own client has.
    """
    for name in _OTHERS:
        if os.environ.get(name, "false").lower() not in ("", "false", "0"):
            raise SourceError(f"{name} is set, which only MLflow's own client follows; {BY_HAND}")
    login, token = _login(uri), os.environ.get(_TOKEN)
    headers = [("Authorization", f"Bearer {token}")] if token and login is None else []
    workspace = os.environ.get(_WORKSPACE)
    headers += [("X-MLFLOW-WORKSPACE", workspace)] if workspace else []
    insecure = os.environ.get(_ANY_CERTIFICATE, "").lower() in ("true", "1")
    verify = False if insecure else os.environ.get(_BUNDLE) or True
    return Access(login, tuple(headers), verify, os.environ.get(_CLIENT) or None)


def _login(uri: str) -> tuple[str, str] | None:
    parts = urlsplit(uri)
    if parts.username is not None:
        return unquote(parts.username), unquote(parts.password or "")
    kept = _kept()
    user, password = (os.environ.get(name) or kept.get(name.lower()) for name in (_USER, _PASSWORD))
    return (user, password) if user and password else None


def _kept() -> dict[str, str]:
    """What MLflow's file of credentials states."""
    file = configparser.ConfigParser(interpolation=None)
    try:
        file.read(_FILE.expanduser())
    except (configparser.Error, OSError, ValueError, RuntimeError):
        return {}
    return dict(file["mlflow"]) if "mlflow" in file else {}
