"""The first day of a Python user: each mistake and each refusal has its own exception, which says
what to do."""

from __future__ import annotations

import asyncio
import datetime
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dps_core
from conftest import HOST, Cloud, Device, Hierarchy
from dps_core import X509, ProvisioningDeviceClient, exceptions

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


class Case:
    def __init__(self, cloud: Cloud, hierarchy: Hierarchy, folder: Path) -> None:
        self.cloud = cloud
        self.hierarchy = hierarchy
        self.folder = folder
        self.device = hierarchy.device()

    def register(self, **more: Any) -> None:
        self.cloud.registering(more.pop("device", self.device), **more).register()


def file_missing(case: Case) -> None:
    case.register(x509=X509(case.folder / "nope.cert.pem", case.folder / "nope.key.pem"))


def folder_as_file(case: Case) -> None:
    case.register(x509=X509(case.folder, case.folder))


def wrong_pass_phrase(case: Case) -> None:
    case.register(x509=X509(*case.device.write(case.folder, "1234"), "4321"))


def no_pass_phrase(case: Case) -> None:
    case.register(x509=X509(*case.device.write(case.folder, "1234")))


def swapped_files(case: Case) -> None:
    chain, key = case.device.write(case.folder)
    case.register(x509=X509(key, chain))


def not_pem(case: Case) -> None:
    case.register(x509=X509.from_pem("hello", "world"))


def key_of_another_device(case: Case) -> None:
    other = case.hierarchy.device()
    case.register(x509=X509.from_pem(case.device.chain, other.key.to_pem()))


def expired(case: Case) -> None:
    case.register(device=case.hierarchy.device(not_before=NOW - 2 * DAY, not_after=NOW - DAY))


def not_yet_valid(case: Case) -> None:
    case.register(device=case.hierarchy.device(not_before=NOW + DAY, not_after=NOW + 2 * DAY))


def another_common_name(case: Case) -> None:
    other = case.hierarchy.device()
    case.register(x509=other.x509)


def bad_registration_id(case: Case) -> None:
    client = ProvisioningDeviceClient.create_from_symmetric_key
    client(HOST, "my device", case.cloud.id_scope, "O+H9VTcdJP0Tqkl7bh4nVG0OJNrAataMpuWB54D0VEc=")


def bad_symmetric_key(case: Case) -> None:
    client = ProvisioningDeviceClient.create_from_symmetric_key
    client(HOST, "device", case.cloud.id_scope, "my key")


def host_is_a_url(case: Case) -> None:
    ProvisioningDeviceClient.create_from_x509_certificate(
        f"https://{HOST}", None, case.cloud.id_scope, case.device.x509, **case.cloud.options
    ).register()


def unknown_ca(case: Case) -> None:
    case.register(device=Hierarchy().device())


def throttled(case: Case) -> None:
    status = {"code": 429, "retryAfter": 30, "errorCode": 429001, "message": "Slow down."}
    case.cloud.fault(case.device, "register", {"status": status}, times=0)
    case.cloud.registering(case.device).register(deadline=0.5)


def server_not_trusted(case: Case) -> None:
    case.register(roots=case.hierarchy.root.certificate.to_pem())


def nobody_listens(case: Case) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        connect_to = f"127.0.0.1:{closed.getsockname()[1]}"
    case.cloud.registering(case.device, connect_to=connect_to).register(deadline=0.3)


def deadline(case: Case) -> None:
    case.cloud.fault(case.device, "register", {"drop": True}, times=0)
    case.cloud.registering(case.device).register(deadline=0.3)


def impossible_deadline(case: Case) -> None:
    case.cloud.registering(case.device).register(deadline=-1)


def option_not_here(case: Case) -> None:
    case.register(websockets=True)


ROWS: list[tuple[Callable[[Case], None], str, type[Exception], list[str]]] = [
    (file_missing, "MissingFileError", FileNotFoundError, ["nope.cert.pem", "No such file"]),
    (folder_as_file, "FileNotReadableError", OSError, ["directory"]),
    (wrong_pass_phrase, "PassphraseWrongError", ValueError, [".key.pem", "passphrase"]),
    (no_pass_phrase, "PassphraseRequiredError", ValueError, [".key.pem", "passphrase"]),
    (swapped_files, "WrongFileContentError", ValueError, ["swapped"]),
    (not_pem, "WrongFileContentError", ValueError, ["the certificate chain"]),
    (key_of_another_device, "KeyMismatchError", ValueError, ["does not belong"]),
    (expired, "CertificateExpiredError", exceptions.IdentityError, ["has expired", "clock"]),
    (not_yet_valid, "CertificateNotYetValidError", exceptions.IdentityError, ["not valid yet"]),
    (another_common_name, "RegistrationIdMismatchError", ValueError, ["common name"]),
    (bad_registration_id, "RegistrationIdInvalidError", ValueError, ["' '"]),
    (bad_symmetric_key, "KeyMalformedError", ValueError, ["base64"]),
    (host_is_a_url, "HostInvalidError", ValueError, ["it is a URL", f'"{HOST}"']),
    (unknown_ca, "UnauthorizedError", PermissionError, ["401002", "trackingId"]),
    (throttled, "ThrottledError", exceptions.ServiceError, ["429001", "Slow down."]),
    (server_not_trusted, "ServerNotTrustedError", ConnectionError, ["root"]),
    (nobody_listens, "ConnectionFailedError", ConnectionError, ["refused"]),
    (deadline, "DeadlineExceededError", TimeoutError, ["0.3"]),
    (impossible_deadline, "InvalidArgumentError", ValueError, ["deadline is -1"]),
    (option_not_here, "UnsupportedError", exceptions.UsageError, ["websockets"]),
]


@pytest.mark.parametrize(
    ("mistake", "name", "word", "says"), ROWS, ids=lambda row: getattr(row, "__name__", "")
)
def test_each_mistake_has_its_own_exception(
    cloud: Cloud,
    hierarchy: Hierarchy,
    tmp_path: Path,
    mistake: Callable[[Case], None],
    name: str,
    word: type[Exception],
    says: list[str],
) -> None:
    with pytest.raises(dps_core.DpsError) as raised:
        mistake(Case(cloud, hierarchy, tmp_path))
    error = raised.value
    assert type(error) is getattr(exceptions, name), error
    assert isinstance(error, word)
    assert error.name in str(error)
    assert error.hint is None or error.hint in str(error)
    for words in says:
        assert words in str(error)


def test_what_the_service_said_can_be_asked_for(cloud: Cloud) -> None:
    with pytest.raises(PermissionError) as raised:
        cloud.registering(Hierarchy().device()).register()
    error = raised.value
    assert isinstance(error, dps_core.DpsError)
    assert (error.code, error.name, error.retryable) == (401, "DPS_UNAUTHORIZED", False)
    assert error.operation == "register"
    assert error.hint is not None and "Test root" in error.hint
    assert error.service is not None
    assert (error.service.status, error.service.error_code) == (401, 401002)
    assert error.service.message == "CA certificate not found."
    assert error.service.tracking_id
    assert error.service.retry_after is None


def test_how_long_to_wait_is_told_in_seconds(cloud: Cloud, device: Device) -> None:
    status = {"code": 429, "retryAfter": 30, "errorCode": 429001, "message": "Slow down."}
    cloud.fault(device, "register", {"status": status}, times=0)
    with pytest.raises(exceptions.ServiceError) as raised:
        asyncio.run(cloud.registering_async(device).register(deadline=0.5))
    assert raised.value.retryable
    assert raised.value.service is not None
    assert raised.value.service.retry_after == 30.0


def test_a_failed_client_can_be_used_again(cloud: Cloud, device: Device) -> None:
    client = cloud.registering(device)
    cloud.fault(device, "register", {"status": {"code": 401, "errorCode": 401002}})
    with pytest.raises(PermissionError):
        client.register()
    assert client.register().registration_state.device_id == device.name


def test_keyword_arguments_that_nobody_knows_are_a_type_error(device: Device) -> None:
    create = ProvisioningDeviceClient.create_from_x509_certificate
    with pytest.raises(TypeError, match="Unsupported keyword argument 'pot'"):
        create(HOST, device.name, "0ne00000A0A", device.x509, pot=8883)
    with pytest.raises(TypeError, match="not int"):
        create(HOST, device.name, "0ne00000A0A", 5)  # type: ignore[arg-type]
    # What asks for what is done anyway is accepted.
    create(HOST, device.name, "0ne00000A0A", device.x509, websockets=False, keep_alive=60)
