"""Certificate chains: made, read and checked."""

from ._dps_core import (
    Authority,
    Certificate,
    CertificateChain,
    PrivateKey,
    certificates_from_pem,
)

__all__ = ["Authority", "Certificate", "CertificateChain", "PrivateKey", "certificates_from_pem"]
