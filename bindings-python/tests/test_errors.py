"""The exceptions are the core's table, no more and no less."""

from __future__ import annotations

import pickle
import re

import pytest

import dps_core
from conftest import ROOT
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
        (113, exceptions.CredentialError),
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


def test_an_exception_survives_pickling() -> None:
    with pytest.raises(ValueError) as raised:
        dps_core.derive_device_key("no key", "device")
    copy = pickle.loads(pickle.dumps(raised.value))
    assert type(copy) is type(raised.value)
    assert str(copy) == str(raised.value)
    assert (copy.code, copy.hint) == (104, raised.value.hint)  # type: ignore[attr-defined]


def test_the_key_of_a_device_is_derived_as_microsoft_documents_it() -> None:
    group_key = (
        "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
    )
    device_key = dps_core.derive_device_key(group_key, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6")
    assert device_key == "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="
