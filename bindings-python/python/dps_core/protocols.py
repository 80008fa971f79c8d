"""What objects of your own must have where a key stays elsewhere, for annotations.

Nothing has to inherit from these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ._dps_core import SignRequest, TokenRequest


class Signer(Protocol):
    """A private key that signs. ``algorithms``, where it has them, are what it can do, the best
    first, by names such as ``ecdsa-p256-sha256`` and ``rsa-pss-sha256``."""

    def sign(self, request: SignRequest, /) -> bytes | Awaitable[bytes]:
        """The signature of ``request.message``, whose hash is ``request.digest``."""


class TokenSigner(Protocol):
    """A symmetric key that signs."""

    def sign(self, request: TokenRequest, /) -> bytes | Awaitable[bytes]:
        """The HMAC-SHA256 of ``request.message``: 32 bytes."""


class CertificateHsm(Protocol):
    """The tutorial's custom HSM, which hands out its key. Where it has ``get_common_name`` too, a
    registration may leave its name to it."""

    def get_certificate(self) -> str | bytes:
        """The full chain."""

    def get_key(self) -> str | bytes:
        """The leaf's private key."""


class SigningHsm(Signer, Protocol):
    """A custom HSM that keeps its key."""

    def get_certificate(self) -> str | bytes:
        """The full chain."""


class SymmetricKeyHsm(Protocol):
    """The tutorial's custom HSM whose key is symmetric."""

    def get_registration_name(self) -> str:
        """The registration ID."""

    def get_symmetric_key(self) -> str | bytes:
        """The key in base64."""
