"""The exceptions: one class for each kind of error that the core knows.

The classes are made from the core's own table, so that there is none too few and none too many.
"""

from __future__ import annotations

import builtins as _builtins

from ._dps_core import error_catalogue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ServiceDetails:
    """What the service said when it refused."""

    __slots__ = ("error_code", "message", "retry_after", "status", "tracking_id")

    def __init__(
        self,
        status: int | None = None,
        error_code: int | None = None,
        message: str | None = None,
        tracking_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.error_code = error_code
        self.message = message
        self.tracking_id = tracking_id
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return (ServiceDetails, tuple(getattr(self, name) for name in _SERVICE))

    def __repr__(self) -> str:
        values = ((name, getattr(self, name)) for name in _SERVICE)
        shown = ", ".join(f"{name}={value!r}" for name, value in values if value is not None)
        return f"ServiceDetails({shown})"


_SERVICE = ("status", "error_code", "message", "tracking_id", "retry_after")


class DpsError(Exception):
    """Any error of this package.

    ``str()`` is one line: what was being done, what happened, what the service said, and what to
    do about it.
    """

    code: int = 0
    name: str = ""
    retryable: bool = False

    operation: str = ""
    hint: str | None = None
    service: ServiceDetails | None = None

    def __str__(self) -> str:
        # Not as the system's errors write it.
        return Exception.__str__(self) if len(self.args) != 1 else str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy has members of its own.
        members = dict(self.__dict__)
        if isinstance(self, OSError):
            members.update(errno=self.errno, strerror=self.strerror, filename=self.filename)
        return (_restore, (type(self), self.args, members, _portable(self.__cause__)))


class OperationCancelled(DpsError):
    """It was given up before it was done."""


class OperationTimeout(DpsError):
    """It was not done in time."""


class ClientError(DpsError):
    """The device could not be connected, or did not stay so."""


class CredentialError(ClientError):
    """The service does not accept what the device proves itself by."""


class ConnectionDroppedError(ClientError):
    """The connection was lost."""


class NoConnectionError(ClientError):
    """There was no connection over which it could have been done."""


class IdentityError(DpsError):
    """The device's certificate or key is not usable."""


class TlsError(ClientError):
    """The server, or this device, did not accept the other in the TLS handshake."""


class TransportError(ClientError):
    """The connection could not be opened, or did not hold."""


class ServiceError(DpsError):
    """The service refused the request."""


class RegistrationError(DpsError):
    """The registration did not end in an assignment."""


class HubError(DpsError):
    """The hub client could not do its work."""


class UsageError(DpsError):
    """A fault of this package or of its caller."""


# By the stage, which is the code's hundreds.
_STAGES: dict[int, type[DpsError]] = {
    1: IdentityError,
    2: TlsError,
    3: TransportError,
    4: ServiceError,
    5: RegistrationError,
    6: HubError,
    9: UsageError,
}

# The kinds for which Python has a word of its own.
_WORDS: dict[str, type[Exception]] = {
    "DPS_FILE_NOT_READABLE": OSError,
    "DPS_FILE_NOT_WRITABLE": OSError,
    "DPS_CERTIFICATE_MALFORMED": ValueError,
    "DPS_KEY_MALFORMED": ValueError,
    "DPS_WRONG_FILE_CONTENT": ValueError,
    "DPS_PASSPHRASE_REQUIRED": ValueError,
    "DPS_PASSPHRASE_WRONG": ValueError,
    "DPS_KEY_MISMATCH": ValueError,
    "DPS_REGISTRATION_ID_INVALID": ValueError,
    "DPS_REGISTRATION_ID_MISMATCH": ValueError,
    "DPS_SERVER_NOT_TRUSTED": ConnectionError,
    "DPS_SERVER_NAME_MISMATCH": ConnectionError,
    "DPS_SERVER_CERTIFICATE_INVALID": ConnectionError,
    "DPS_TLS_REFUSED": ConnectionError,
    "DPS_HOST_INVALID": ValueError,
    "DPS_CONNECTION_FAILED": ConnectionError,
    "DPS_CONNECTION_LOST": ConnectionError,
    "DPS_PROXY_FAILED": ConnectionError,
    "DPS_REQUEST_TIMEOUT": TimeoutError,
    "DPS_UNAUTHORIZED": PermissionError,
    "DPS_FORBIDDEN": PermissionError,
    "DPS_ENROLLMENT_DISABLED": PermissionError,
    "DPS_DEADLINE_EXCEEDED": TimeoutError,
    "DPS_MESSAGE_TOO_LARGE": ValueError,
    "DPS_MESSAGE_INVALID": ValueError,
    "DPS_INVALID_ARGUMENT": ValueError,
}


# The kinds for which the incumbent has a word of its own, so that a program that was moved catches
# what it caught.
_INCUMBENT: dict[str, type[DpsError]] = {
    "DPS_CONNECTION_LOST": ConnectionDroppedError,
    "DPS_REQUEST_TIMEOUT": OperationTimeout,
    "DPS_UNAUTHORIZED": CredentialError,
    "DPS_FORBIDDEN": CredentialError,
    "DPS_DEADLINE_EXCEEDED": OperationTimeout,
    "DPS_CANCELLED": OperationCancelled,
    "DPS_NOT_DELIVERED": NoConnectionError,
    "DPS_CLOSED": OperationCancelled,
}


def _class_name(name: str) -> str:
    words = name.removeprefix("DPS_").split("_")
    return "".join(word.capitalize() for word in words) + "Error"


def _make_classes() -> dict[int, type[DpsError]]:
    classes: dict[int, type[DpsError]] = {}
    # A host that was not found is, to the incumbent, a connection that failed.
    rows = sorted(error_catalogue(), key=lambda row: row[1] == "DPS_HOST_NOT_FOUND")
    for code, name, retryable, sentence in rows:
        stage = _STAGES.get(code // 100, DpsError)
        if name == "DPS_HOST_NOT_FOUND":
            stage = classes[303]
        bases = [stage, *(words[name] for words in (_INCUMBENT, _WORDS) if name in words)]
        members = {
            "__doc__": sentence,
            "__module__": __name__,
            "code": code,
            "name": name,
            "retryable": retryable,
        }
        classes[code] = type(_class_name(name), tuple(bases), members)
    return classes


_CLASSES = _make_classes()
globals().update((made.__name__, made) for made in _CLASSES.values())

# Read but not there, or not allowed: the system's word for it decides.
_FILE_NOT_READABLE = globals()["FileNotReadableError"]


class MissingFileError(_FILE_NOT_READABLE, _builtins.FileNotFoundError):  # type: ignore[misc,valid-type]
    """A file does not exist."""


class FileNotPermittedError(_FILE_NOT_READABLE, _builtins.PermissionError):  # type: ignore[misc,valid-type]
    """A file may not be read."""


# By the system's number: ENOENT, EPERM, EACCES.
_FILE_ERRORS: dict[int, type[DpsError]] = {
    2: MissingFileError,
    1: FileNotPermittedError,
    13: FileNotPermittedError,
}


def by_code(code: int) -> type[DpsError]:
    """The class of the errors with this code; the common base for a code that is not known."""
    return _CLASSES.get(code, DpsError)


def _from_core(
    code: int,
    text: str,
    operation: str,
    hint: str | None,
    service: tuple[Any, ...] | None,
    system: int | None,
    path: str | None,
) -> DpsError:
    made = by_code(code)
    if made is _FILE_NOT_READABLE:
        made = _FILE_ERRORS.get(system or 0, made)
    error = made(text)
    if isinstance(error, OSError):
        error.filename = path
        if system is not None:
            import os

            error.errno, error.strerror = system, os.strerror(system)
    error.operation = operation
    error.hint = hint
    error.service = None if service is None else ServiceDetails(*service)
    return error


def _portable(cause: BaseException | None) -> BaseException | None:
    """The cause, unless it cannot be pickled: it comes from anybody's signer, and the error is to
    arrive in any case."""
    if cause is None:
        return None
    import pickle

    try:
        pickle.loads(pickle.dumps(cause))
    except Exception:
        return None
    return cause


def _restore(
    kind: type[DpsError],
    arguments: tuple[Any, ...],
    members: dict[str, Any],
    cause: BaseException | None,
) -> DpsError:
    error = kind(*arguments)
    for name, value in members.items():
        setattr(error, name, value)
    if cause is not None:
        error.__cause__ = cause
    return error


__all__ = [
    "ClientError",
    "ConnectionDroppedError",
    "CredentialError",
    "DpsError",
    "FileNotPermittedError",
    "HubError",
    "IdentityError",
    "MissingFileError",
    "NoConnectionError",
    "OperationCancelled",
    "OperationTimeout",
    "RegistrationError",
    "ServiceDetails",
    "ServiceError",
    "TlsError",
    "TransportError",
    "UsageError",
    "by_code",
    *(made.__name__ for made in _CLASSES.values()),
]
