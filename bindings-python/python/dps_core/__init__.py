"""Device SDK for the Azure IoT Hub Device Provisioning Service.

The clients of this module block; those of ``dps_core.aio`` are for asyncio.
"""

from __future__ import annotations

import sys as _sys

if not getattr(_sys, "_is_gil_enabled", lambda: True)():
    raise ImportError("dps_core does not support the free-threaded build of Python")

from . import chain, exceptions
from ._blocking import IoTHubDeviceClient, ProvisioningDeviceClient
from ._doctor import decode_error, doctor
from ._dps_core import (
    X509,
    Finding,
    Message,
    RegistrationResult,
    RegistrationState,
    Report,
    SignRequest,
    TokenRequest,
    after_fork_in_child,
    at_exit,
    derive_device_key,
    error_catalogue,
)
from .exceptions import DpsError, ServiceDetails, SignerError


def _outlive() -> None:
    import atexit
    import os

    atexit.register(at_exit)
    os.register_at_fork(after_in_child=after_fork_in_child)


_outlive()

__all__ = [
    "X509",
    "DpsError",
    "Finding",
    "IoTHubDeviceClient",
    "Message",
    "ProvisioningDeviceClient",
    "RegistrationResult",
    "RegistrationState",
    "Report",
    "ServiceDetails",
    "SignRequest",
    "SignerError",
    "TokenRequest",
    "chain",
    "decode_error",
    "derive_device_key",
    "doctor",
    "error_catalogue",
    "exceptions",
]
