"""Certificate chains: made, read, shown and checked."""

from __future__ import annotations

from ._doctor import doctor as _doctor
from ._dps_core import (
    Authority,
    Batch,
    Certificate,
    CertificateChain,
    CertificateRequest,
    Folder,
    Inspection,
    PrivateKey,
    RegistrationIdRange,
    RegistrationIds,
    SubjectKey,
    c_string,
    certificates_from_pem,
    inspect,
    java_string,
    registration_ids_from_csv,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime

    from ._doctor import _Source
    from ._dps_core import Report


def verify(
    certificate: _Source,
    *,
    authorities: _Source | None = None,
    key: _Source | None = None,
    pass_phrase: str | bytes | None = None,
    at: datetime.datetime | None = None,
) -> Report:
    """Verifies a device's chain: the path, every signature, dates, CA flags, key usage, names.

    It holds when the report has no finding of severity ``error``.

    :param certificate: The chain, in PEM, DER or PKCS#12: text, bytes, or a path object.
    :param authorities: The CA certificates that DPS knows, one of which the chain must reach.
    :param key: The private key that must be the leaf's.
    :param at: The time to judge by; None for now.
    """
    return _doctor(
        certificate=certificate, authorities=authorities, key=key, pass_phrase=pass_phrase, at=at
    )


__all__ = [
    "Authority",
    "Batch",
    "Certificate",
    "CertificateChain",
    "CertificateRequest",
    "Folder",
    "Inspection",
    "PrivateKey",
    "RegistrationIdRange",
    "RegistrationIds",
    "SubjectKey",
    "c_string",
    "certificates_from_pem",
    "inspect",
    "java_string",
    "registration_ids_from_csv",
    "verify",
]
