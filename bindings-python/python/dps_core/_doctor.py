"""The doctor, on whose findings ``docs/findings`` says more."""

from __future__ import annotations

from . import _dps_core
from ._credentials import to_x509

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    import os
    from typing import Union

    from ._credentials import _Certificate
    from ._dps_core import Report

    _Source = Union[str, bytes, os.PathLike[str]]


def doctor(
    x509: _Certificate | None = None,
    *,
    certificate: _Source | None = None,
    key: _Source | None = None,
    pass_phrase: str | bytes | None = None,
    authorities: _Source | None = None,
    group_certificate: _Source | None = None,
    individual_certificate: _Source | None = None,
    registration_id: str | None = None,
    id_scope: str | None = None,
    provisioning_host: str | None = None,
    connect_to: str | None = None,
    roots: _Source | None = None,
    at: datetime.datetime | None = None,
    deadline: float | None = None,
    wire: bool = False,
    register: bool = False,
) -> Report:
    """Examines a device's credential and what surrounds it. What is not given is not examined.

    Certificates and keys are PEM, DER or PKCS#12: text, bytes, or the path object of a file.

    :param x509: The credential, as the clients take it; or its parts by themselves.
    :param authorities: The CA certificates that are verified in DPS.
    :param group_certificate: The certificate that the enrollment group lists.
    :param individual_certificate: The certificate that the individual enrollment holds.
    :param registration_id: The one that the device uses, if not its certificate's common name.
    :param id_scope: The ID scope, for ``register``.
    :param roots: What the server's certificate must lead to, in place of the system's roots.
    :param at: The time to judge by; None for now.
    :param deadline: How many seconds ``wire`` and ``register`` may take, and a signer; None for a
        minute, of which a signer has half.
    :param wire: Examine the network too: DNS, ports 8883 and 443, TLS, WebSocket, clocks.
    :param register: Examine the network, and register the device.
    """
    return _dps_core.Examination(
        x509=None if x509 is None else to_x509(x509),
        certificate=certificate,
        key=key,
        pass_phrase=pass_phrase,
        authorities=authorities,
        group_certificate=group_certificate,
        individual_certificate=individual_certificate,
        registration_id=registration_id,
        id_scope=id_scope,
        host=provisioning_host,
        connect_to=connect_to,
        roots=roots,
        at=at,
        deadline=deadline,
        wire=wire,
        register=register,
    ).run()


def decode_error(error: str | BaseException) -> Report:
    """What an error of the service means that there is already: an exception, or the text of a log.

    An example of such a text is ``401002 CA certificate not found.``
    """
    return _dps_core.decode_error(str(error))
