"""What the clients accept where a device's certificate or symmetric key is asked for."""

from __future__ import annotations

from . import exceptions
from ._dps_core import X509, SymmetricKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, Union

    from .protocols import CertificateHsm, SigningHsm, SymmetricKeyHsm, TokenSigner

    _T = TypeVar("_T")
    _Certificate = Union[X509, CertificateHsm, SigningHsm]
    _Key = Union[str, TokenSigner, SymmetricKeyHsm]


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
        signer: Any = source
        return X509.from_signer(chain, signer)
    return X509.from_pem(chain, _ask(source.get_key))


def registration_id(source: _Certificate, given: str | None) -> str | None:
    """The registration ID that was given, or the HSM's; of a certificate, the core reads it."""
    if given is None and hasattr(source, "get_common_name"):
        name: str = _ask(source.get_common_name)
        return name
    return given


def to_symmetric_key(source: _Key) -> SymmetricKey:
    """A symmetric key as such; that of an HSM is asked for here.

    What has ``sign`` is never asked for its key.
    """
    if isinstance(source, str):
        return SymmetricKey(source)
    if hasattr(source, "sign"):
        signer: Any = source
        return SymmetricKey.from_signer(signer)
    if not hasattr(source, "get_symmetric_key"):
        kind = type(source).__name__
        raise TypeError(
            "symmetric_key must be base64 text, or have sign, or get_symmetric_key and "
            f"get_registration_name, not {kind}"
        )
    name = _ask(source.get_registration_name)
    return SymmetricKey.from_hsm(name, _ask(source.get_symmetric_key))


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
        unsupported(f"{name}={value!r}", reason, value is not None and value != as_it_is)


def unsupported(what: str, reason: str, asked_for: bool) -> None:
    """Refuses what this package does not have, where it is asked for."""
    if asked_for:
        raise exceptions.by_code(902)(f"{what}: {reason} [DPS_UNSUPPORTED]")


# The incumbent's handlers: assigned here, they would never be called.
NO_HANDLERS = {
    "on_message_received": "messages from the cloud are not received",
    "on_method_request_received": "direct methods are not supported",
    "on_twin_desired_properties_patch_received": "twins are not supported",
    "on_connection_state_change": "a client comes back by itself; connected tells its state",
    "on_new_sastoken_required": "a client renews its tokens by itself",
    "on_background_exception": "every call raises its own errors",
}

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
