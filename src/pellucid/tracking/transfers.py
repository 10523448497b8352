"""What MLflow's client and its packages raise, as a ``TransferError`` of one line without a password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pellucid.core.addresses import without_credentials
from pellucid.errors import PellucidError, TransferError, message_of

_REFUSALS = (400, 409, 413, 422)
"""HTTP states of a request that would be refused again."""
_DENIED = {401: "the name, password or token is wrong", 403: "there is no right to it"}


@contextmanager
def transfers(where: str) -> Iterator[None]:
    """Raise what goes wrong within as a ``TransferError``."""
    try:
        yield
    except PellucidError:
        raise
    except Exception as error:  # its client, and the packages of the stores that it may use
        state = _state(error)
        raise TransferError(f"{where}: {_reason(error, state)}", retry=state not in _REFUSALS) from None


def _state(error: Exception) -> int | None:
    """The HTTP state of an answer, of MLflow's own errors and of those of requests."""
    if callable(state := getattr(error, "get_http_status_code", None)):
        return int(state())
    state = getattr(getattr(error, "response", None), "status_code", None)
    return state if isinstance(state, int) else None


def _reason(error: Exception, state: int | None) -> str:
    if state in _DENIED:
        return f"the server refuses ({state}): {_DENIED[state]}; see MLFLOW_TRACKING_TOKEN and MLFLOW_TRACKING_USERNAME"
    for one in _chain(error):
        if isinstance(one, ModuleNotFoundError):
            return f"MLflow needs {one.name} for this address: pip install mlflow, or give the address of a server"
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
    return without_credentials(message_of(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, the first one first."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    yield from reversed(chain)
