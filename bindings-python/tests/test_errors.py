"""The exceptions are the core's table, no more and no less."""

from __future__ import annotations

import copy
import errno
import multiprocessing
import os
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import dps_core
from conftest import ROOT, Cloud, Device
from dps_core import DpsError, exceptions


def test_there_is_one_class_for_each_kind() -> None:
    table = (ROOT / "core" / "src" / "error.rs").read_text()
    rows = re.findall(r'= (\d+), "(DPS_[A-Z_0-9]+)", (true|false), "(.+)";', table)
    assert len(rows) > 40
    assert dps_core.error_catalogue() == [
        (int(code), name, retryable == "true", sentence) for code, name, retryable, sentence in rows
    ]
    for code, name, retryable, sentence in dps_core.error_catalogue():
        kind = exceptions.by_code(code)
        assert issubclass(kind, DpsError) and kind is not DpsError
        assert (kind.code, kind.name, kind.retryable, kind.__doc__) == (
            code,
            name,
            retryable,
            sentence,
        )
        assert getattr(exceptions, kind.__name__) is kind
        assert kind.__name__ in exceptions.__all__
    assert exceptions.by_code(12345) is DpsError


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (113, exceptions.IdentityError),
        (303, ConnectionError),
        (305, TimeoutError),
        (401, PermissionError),
        (504, TimeoutError),
        (901, ValueError),
    ],
)
def test_where_python_has_a_word_it_is_that_too(code: int, word: type[Exception]) -> None:
    with pytest.raises(word):
        raise exceptions.by_code(code)("it went wrong")


@pytest.mark.parametrize(
    ("word", "codes"),
    [
        ("ClientError", {201, 202, 203, 204, 301, 302, 303, 304, 305, 306, 307, 401, 403, 604}),
        ("CredentialError", {401, 403}),
        ("ConnectionDroppedError", {304}),
        ("ConnectionFailedError", {302, 303}),
        ("NoConnectionError", {604}),
        ("OperationCancelled", {505, 605}),
        ("OperationTimeout", {305, 504}),
    ],
)
def test_the_incumbents_words_catch_what_they_caught(word: str, codes: set[int]) -> None:
    base = getattr(exceptions, word)
    known = {code for code, *_ in dps_core.error_catalogue()}
    assert {code for code in known if issubclass(exceptions.by_code(code), base)} == codes
    assert word in exceptions.__all__


def test_an_error_of_the_system_has_its_number(tmp_path: Path) -> None:
    missing = dps_core.X509(tmp_path / "no.pem", tmp_path / "no.pem")
    create = dps_core.ProvisioningDeviceClient.create_from_x509_certificate
    with pytest.raises(FileNotFoundError, match=r"no\.pem") as raised:
        create(None, None, "0ne00000000", missing)
    error = raised.value
    assert (error.errno, error.strerror) == (errno.ENOENT, os.strerror(errno.ENOENT))
    assert error.filename == str(tmp_path / "no.pem")
    assert isinstance(error, DpsError)
    for made in copies(error):
        assert isinstance(made, FileNotFoundError) and made.errno == errno.ENOENT
        assert made.filename == error.filename
        assert (str(made), made.hint) == (str(error), error.hint)


@pytest.fixture
def refused(cloud: Cloud, device: Device) -> DpsError:
    """An error with everything that an error can have, from the service."""
    status = {"code": 429, "retryAfter": 30, "errorCode": 429001, "message": "Slow down."}
    cloud.fault(device, "register", {"status": status}, times=0)
    with pytest.raises(exceptions.ServiceError) as raised:
        cloud.registering(device).register(deadline=0.5)
    return raised.value


def copies(error: DpsError) -> list[DpsError]:
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    pickled = [pickle.loads(pickle.dumps(error, protocol)) for protocol in protocols]
    return [*pickled, copy.copy(error), copy.deepcopy(error)]


def test_an_exception_survives_pickling_and_copying_whole(refused: DpsError) -> None:
    assert refused.service and refused.service.tracking_id and refused.service.retry_after == 30
    refused.__cause__ = OSError(5, "the cause")
    for made in copies(refused):
        assert made is not refused and type(made) is type(refused)
        assert (str(made), made.args) == (str(refused), refused.args)
        assert (made.code, made.name, made.retryable) == (429, "DPS_THROTTLED", True)
        assert (made.operation, made.hint) == (refused.operation, refused.hint)
        assert made.operation and made.service
        for member in ("status", "error_code", "message", "tracking_id", "retry_after"):
            assert getattr(made.service, member) == getattr(refused.service, member)
        assert isinstance(made.__cause__, OSError) and made.__cause__.args == (5, "the cause")
        made.hint = "another"
        assert refused.hint != "another", "a copy has members of its own"


def test_a_cause_that_cannot_be_pickled_does_not_keep_the_error_back(
    cloud: Cloud, device: Device
) -> None:
    class LocalError(Exception):
        """Of a class that pickle does not find."""

    class Broken:
        def sign(self, request: dps_core.SignRequest) -> bytes:
            raise LocalError("the token was removed")

    x509 = dps_core.X509.from_signer(device.chain, Broken())
    with pytest.raises(dps_core.SignerError) as raised:
        cloud.registering(device, x509=x509).register()
    assert isinstance(raised.value.__cause__, LocalError)
    for made in copies(raised.value):
        assert type(made) is type(raised.value) and str(made) == str(raised.value)
        assert "the token was removed" in str(made)


def test_an_exception_comes_from_another_process_whole() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        error = pool.submit(derive, "no key").exception(60)
    assert isinstance(error, exceptions.IdentityError) and isinstance(error, ValueError)
    assert error.name == "DPS_KEY_MALFORMED"


def derive(key: str) -> str:
    return dps_core.derive_device_key(key, "device")


def test_the_key_of_a_device_is_derived_as_microsoft_documents_it() -> None:
    group_key = (
        "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
    )
    device_key = dps_core.derive_device_key(group_key, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6")
    assert device_key == "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="
