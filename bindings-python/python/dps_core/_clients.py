"""What the blocking and the asyncio clients share: how they are made."""

from __future__ import annotations

from . import _dps_core, exceptions
from ._credentials import (
    NO_HANDLERS,
    refuse,
    registration_id,
    to_symmetric_key,
    to_x509,
    unsupported,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Any, Union

    from typing_extensions import Self

    from ._credentials import _Certificate, _Key

    _Pem = Union[str, bytes]
    _PemOrFile = Union[str, bytes, os.PathLike[str]]


class Provisioning:
    """Registers a device with the Device Provisioning Service."""

    # What else is assigned would be the incumbent's, and do nothing.
    __slots__ = ("__weakref__", "_native", "_payload")

    def __init__(self, native: _dps_core.Registration) -> None:
        """Clients are made by the ``create_from_...`` methods."""
        self._native = native
        self._payload: Any = None

    @classmethod
    def create_from_x509_certificate(
        cls,
        provisioning_host: str | None,
        registration_id: str | None,
        id_scope: str,
        x509: _Certificate,
        *,
        roots: _PemOrFile | None = None,
        server_verification_cert: _Pem | None = None,
        port: int | None = None,
        connect_to: str | None = None,
        api_version: str | None = None,
        **options: Any,
    ) -> Self:
        """A client for a device with a certificate.

        :param provisioning_host: The DPS endpoint; None for the one of the public cloud.
        :param registration_id: None to take it from the certificate, which it must equal.
        :param x509: An X509, or a custom HSM with get_certificate, get_key and get_common_name.
        :param roots: What the server's certificate must lead to, in place of the system's roots:
            PEM, or the path object of a file. server_verification_cert is the same, as PEM.
        :param connect_to: "HOST:PORT" where connections really go.
        """
        refuse(options)
        return cls(
            _dps_core.Registration(
                provisioning_host,
                id_scope,
                _registration_id(x509, registration_id),
                x509=to_x509(x509),
                port=port,
                roots=server_verification_cert if roots is None else roots,
                connect_to=connect_to,
                api_version=api_version,
            )
        )

    @classmethod
    def create_from_symmetric_key(
        cls,
        provisioning_host: str | None,
        registration_id: str | None,
        id_scope: str,
        symmetric_key: _Key,
        *,
        roots: _PemOrFile | None = None,
        server_verification_cert: _Pem | None = None,
        port: int | None = None,
        connect_to: str | None = None,
        api_version: str | None = None,
        **options: Any,
    ) -> Self:
        """A client for a device with a symmetric key of its own.

        Of an enrollment group, ``derive_device_key`` makes the device's key from the group's.

        :param registration_id: None to take it from an HSM, which it must equal.
        :param symmetric_key: The key in base64; or one that stays where it is: an object with
            ``sign(request)``, plain or async, which returns the HMAC-SHA256 of ``request.message``;
            or a custom HSM with get_symmetric_key and get_registration_name.

        The other parameters are those of ``create_from_x509_certificate``.
        """
        refuse(options)
        return cls(
            _dps_core.Registration(
                provisioning_host,
                id_scope,
                registration_id,
                symmetric_key=to_symmetric_key(symmetric_key),
                port=port,
                roots=server_verification_cert if roots is None else roots,
                connect_to=connect_to,
                api_version=api_version,
            )
        )

    @property
    def provisioning_payload(self) -> Any:
        """What a custom allocation policy is to know: anything that ``json`` can write, or objects
        with such attributes."""
        return self._payload

    @provisioning_payload.setter
    def provisioning_payload(self, payload: Any) -> None:
        self._payload = payload

    def _progress(
        self, on_progress: Callable[[str], object] | None
    ) -> Callable[[str], object] | None:
        if on_progress is not None:
            import inspect

            if inspect.iscoroutinefunction(on_progress):
                raise TypeError("on_progress must be a plain function, not an async one")
        return on_progress

    def _json(self) -> str | None:
        if self._payload is None:
            return None
        import json

        return json.dumps(self._payload, default=lambda value: value.__dict__, sort_keys=True)


class Hub:
    """A device's connection to its IoT hub; comes back by itself when it is lost."""

    __slots__ = ("__weakref__", "_native")

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            if name in NO_HANDLERS:
                unsupported(f"{name}={value!r}", NO_HANDLERS[name], value is not None)
                return
            object.__setattr__(self, name, value)

    def __init__(self, native: _dps_core.Hub) -> None:
        """Clients are made by the ``create_from_...`` methods."""
        self._native = native

    @classmethod
    def create_from_x509_certificate(
        cls,
        x509: _Certificate,
        hostname: str,
        device_id: str,
        *,
        roots: _PemOrFile | None = None,
        server_verification_cert: _Pem | None = None,
        port: int | None = None,
        connect_to: str | None = None,
        keep_alive: float | None = None,
        **options: Any,
    ) -> Self:
        """A client for a device with a certificate.

        :param x509: An X509, or a custom HSM with get_certificate and get_key.
        :param roots: What the server's certificate must lead to, in place of the system's roots:
            PEM, or the path object of a file. server_verification_cert is the same, as PEM.
        :param connect_to: "HOST:PORT" where connections really go.
        :param keep_alive: After so many idle seconds the hub is asked for a sign of life.
        """
        refuse(options)
        return cls(
            _dps_core.Hub(
                hostname,
                device_id,
                x509=to_x509(x509),
                port=port,
                roots=server_verification_cert if roots is None else roots,
                connect_to=connect_to,
                keep_alive=keep_alive,
            )
        )

    @classmethod
    def create_from_symmetric_key(
        cls,
        symmetric_key: _Key,
        hostname: str,
        device_id: str,
        *,
        roots: _PemOrFile | None = None,
        server_verification_cert: _Pem | None = None,
        port: int | None = None,
        connect_to: str | None = None,
        keep_alive: float | None = None,
        sastoken_ttl: float | None = None,
        **options: Any,
    ) -> Self:
        """A client for a device with a symmetric key.

        :param symmetric_key: As for ``ProvisioningDeviceClient.create_from_symmetric_key``.
        :param sastoken_ttl: How many seconds its tokens are valid; it renews them by itself.

        The other parameters are those of ``create_from_x509_certificate``.
        """
        refuse(options)
        return cls(
            _dps_core.Hub(
                hostname,
                device_id,
                symmetric_key=to_symmetric_key(symmetric_key),
                port=port,
                roots=server_verification_cert if roots is None else roots,
                connect_to=connect_to,
                keep_alive=keep_alive,
                token_lifetime=sastoken_ttl,
            )
        )

    @classmethod
    def create_from_connection_string(
        cls,
        connection_string: str,
        *,
        x509: _Certificate | None = None,
        roots: _PemOrFile | None = None,
        server_verification_cert: _Pem | None = None,
        port: int | None = None,
        connect_to: str | None = None,
        keep_alive: float | None = None,
        sastoken_ttl: float | None = None,
        **options: Any,
    ) -> Self:
        """A client for the device of a connection string.

        :param connection_string: ``HostName=...;DeviceId=...;SharedAccessKey=...``, or
            ``HostName=...;DeviceId=...;x509=true`` for a device with a certificate.
        :param x509: That certificate, with its key.

        The other parameters are those of ``create_from_symmetric_key``.
        """
        refuse(options)
        return cls(
            _dps_core.Hub.from_connection_string(
                connection_string,
                x509=None if x509 is None else to_x509(x509),
                port=port,
                roots=server_verification_cert if roots is None else roots,
                connect_to=connect_to,
                keep_alive=keep_alive,
                token_lifetime=sastoken_ttl,
            )
        )

    @property
    def connected(self) -> bool:
        """Whether the hub has accepted the connection, and it has not been lost since."""
        return self._native.connected


_registration_id = registration_id


class Undelivered:
    """Says nothing of what a disconnection leaves behind, for the sake of an exception that says
    more."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        return isinstance(error, exceptions.DpsError)
