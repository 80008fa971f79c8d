"""What the clients accept where a device's certificate is asked for."""

from __future__ import annotations

from . import exceptions
from ._dps_core import X509

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeVar, Union

    _T = TypeVar("_T")

    class _CustomHsm(Protocol):
        """The tutorial's custom HSM: what it hands out, and under which name it registers."""

        def get_certificate(self) -> str | bytes: ...
        def get_key(self) -> str | bytes: ...
        def get_common_name(self) -> str: ...

    _Certificate = Union[X509, _CustomHsm]


def to_x509(source: _Certificate) -> X509:
    """A certificate and key as such; those of a custom HSM are asked for here.

    An HSM that also has ``sign`` is never asked for its key.
    """
    if isinstance(source, X509):
        return source
    if not hasattr(source, "get_certificate"):
        kind = type(source).__name__
        raise TypeError(f"x509 must be an X509 or have get_certificate and get_key, not {kind}")
    chain = _ask(source.get_certificate)
    if hasattr(source, "sign"):
        return X509.from_signer(chain, source)
    return X509.from_pem(chain, _ask(source.get_key))


def registration_id(source: _Certificate, given: str | None) -> str | None:
    """The registration ID that was given, or the HSM's; of a certificate, the core reads it."""
    if given is None and hasattr(source, "get_common_name"):
        name: str = _ask(source.get_common_name)
        return name
    return given


def _ask(question: Callable[[], _T]) -> _T:
    """What the HSM answers; an exception of its own is the cause of ours, as a signer's is."""
    try:
        return question()
    except Exception as error:
        what = getattr(question, "__name__", "answer")
        told = f"the HSM's {what} failed: {type(error).__name__}: {error} [DPS_SIGNER]"
        failure = exceptions.by_code(117)(told)
        failure.operation = "open HSM"
        raise failure from error


def refuse(options: dict[str, Any]) -> None:
    """Refuses the incumbent's options that this package does not have, unless they ask for what
    is done anyway."""
    for name, value in options.items():
        if name not in _NOT_HERE:
            raise TypeError(f"Unsupported keyword argument '{name}'")
        as_it_is, reason = _NOT_HERE[name]
        if value is not None and value != as_it_is:
            raise exceptions.by_code(902)(f"{name}={value!r}: {reason} [DPS_UNSUPPORTED]")


_NOT_HERE = {
    "websockets": (False, "MQTT over WebSocket is not supported"),
    "proxy_options": (None, "proxies are not supported"),
    "gateway_hostname": ("", "gateways are not supported; connect_to sends connections elsewhere"),
    "cipher": ("", "the ciphers of TLS cannot be chosen"),
    "sastoken_ttl": (3600, "the lifetime of this token cannot be chosen"),
    "keep_alive": (60, "the keep-alive of a registration cannot be chosen"),
    "product_info": ("", "a product info is not sent"),
    "auto_connect": (True, "a client connects by itself when it sends"),
    "connection_retry": (True, "a client comes back by itself"),
    "connection_retry_interval": (10, "the core chooses the pauses between attempts"),
    "ensure_desired_properties": (True, "twins are not supported"),
}
