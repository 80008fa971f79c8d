"""Chains are made and checked as the core does it; openssl agrees."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

import pytest

from conftest import Cloud, Hierarchy
from dps_core import chain, exceptions
from dps_core.chain import Authority, CertificateChain, PrivateKey

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048"])
def test_openssl_verifies_a_chain(tmp_path: Path, key_type: str) -> None:
    root = Authority.create_root("Root", PrivateKey.generate(key_type), days=10)
    intermediate = root.create_intermediate("Intermediate", PrivateKey.generate(key_type))
    device_key = PrivateKey.generate(key_type)
    leaf = intermediate.issue_device("device-01", device_key.public_key_info, days=5)
    for name, certificate in [
        ("root", root.certificate),
        ("intermediate", intermediate.certificate),
        ("leaf", leaf),
    ]:
        (tmp_path / name).write_text(certificate.to_pem())
    verify = ["openssl", "verify", "-x509_strict", "-CAfile", "root", "-untrusted", "intermediate"]
    subprocess.run([*verify, "leaf"], cwd=tmp_path, check=True, capture_output=True)
    assert (leaf.subject, leaf.common_name, leaf.issuer) == (
        "CN=device-01",
        "device-01",
        "CN=Intermediate",
    )
    assert not leaf.is_ca and intermediate.certificate.is_ca
    assert root.certificate.is_self_signed
    assert abs(leaf.not_after - NOW - 5 * DAY) < datetime.timedelta(minutes=5)
    assert leaf.not_after.tzinfo is not None


def test_a_chain_is_put_in_order_and_checked(hierarchy: Hierarchy) -> None:
    device = hierarchy.device()
    leaf, intermediate, root = chain.certificates_from_pem(device.chain)
    shuffled = "".join(certificate.to_pem() for certificate in (root, leaf, intermediate))
    read = CertificateChain.from_pem(shuffled)
    assert [c.subject for c in read.certificates] == [
        leaf.subject,
        "CN=Test intermediate",
        "CN=Test root",
    ]
    assert read.leaf.sha256_thumbprint == leaf.sha256_thumbprint
    assert read.to_pem() == device.chain
    read.check_validity()
    read.check_reaches([hierarchy.root.certificate])
    with pytest.raises(exceptions.CertificateExpiredError):
        read.check_validity(NOW + 40 * DAY)
    with pytest.raises(exceptions.ChainBrokenError):
        read.check_reaches([Hierarchy().root.certificate])
    with pytest.raises(exceptions.CredentialError, match="issuer"):
        CertificateChain.from_pem(leaf.to_pem()).check_reaches([root])


def test_keys_are_written_and_read(tmp_path: Path) -> None:
    key = PrivateKey.generate("ec-p256")
    encrypted = key.to_pem("1234")
    assert "ENCRYPTED" in encrypted
    (tmp_path / "key.pem").write_text(encrypted)
    again = PrivateKey.from_pem(tmp_path / "key.pem", "1234")
    assert again.public_key_info == key.public_key_info
    with pytest.raises(exceptions.PassphraseWrongError):
        PrivateKey.from_pem(encrypted, "4321")
    with pytest.raises(FileNotFoundError):
        PrivateKey.from_pem(tmp_path / "nope.pem")
    assert repr(key) == "<PrivateKey EC P-256>"
    request = key.certificate_request("device-01")
    shown = subprocess.run(
        ["openssl", "req", "-verify", "-noout", "-subject"],
        input=request.encode(),
        capture_output=True,
        check=True,
    )
    assert b"CN = device-01" in shown.stdout


def test_possession_of_a_ca_is_proven(cloud: Cloud, tmp_path: Path) -> None:
    key = PrivateKey.generate("ec-p256")
    made = Authority.create_root("Proven", key)
    authority = Authority(made.certificate, key)
    proof = authority.issue_verification(
        "106A5SD242AF512B3498BD6098", PrivateKey.generate("ec-p256")
    )
    assert proof.common_name == "106A5SD242AF512B3498BD6098"
    with pytest.raises(exceptions.KeyMismatchError):
        Authority(made.certificate, PrivateKey.generate("ec-p256"))


def test_bad_arguments_are_named(hierarchy: Hierarchy) -> None:
    key = PrivateKey.generate("ec-p256")
    with pytest.raises(ValueError, match="ed25519"):
        PrivateKey.generate("ed25519")
    with pytest.raises(ValueError, match="' '"):
        hierarchy.intermediate.issue_device("my device", key)
    with pytest.raises(ValueError, match="days, or by not_before and not_after"):
        hierarchy.intermediate.issue_device("device", key, not_before=NOW)
    with pytest.raises(ValueError, match="before it begins"):
        hierarchy.intermediate.issue_device("device", key, not_before=NOW, not_after=NOW - DAY)
    with pytest.raises(TypeError, match="PrivateKey"):
        hierarchy.intermediate.issue_device("device", "key")  # type: ignore[arg-type]
