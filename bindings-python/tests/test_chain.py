"""Chains are made and checked as the core does it; openssl agrees."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

import pytest

from conftest import Cloud, Device, Hierarchy
from dps_core import X509, chain, exceptions
from dps_core.chain import Authority, CertificateChain, CertificateRequest, PrivateKey
from test_doctor import pfx

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
    with pytest.raises(exceptions.IdentityError, match="issuer"):
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
    with pytest.raises(FileNotFoundError, match=r"nope\.pem") as missing:
        PrivateKey.from_pem(tmp_path / "nope.pem")
    assert isinstance(missing.value, exceptions.MissingFileError)
    with pytest.raises(exceptions.MissingFileError):
        chain.certificates_from_pem(tmp_path / "nope.pem")
    assert repr(key) == "<PrivateKey EC P-256>"
    request = key.certificate_request("device-01")
    shown = subprocess.run(
        ["openssl", "req", "-verify", "-noout", "-subject"],
        input=request.encode(),
        capture_output=True,
        check=True,
    )
    assert b"CN = device-01" in shown.stdout


def test_pkcs12_goes_both_ways(cloud: Cloud, device: Device, tmp_path: Path) -> None:
    chain = CertificateChain.from_pem(device.chain)
    ours = tmp_path / "ours.pfx"
    ours.write_bytes(chain.to_pkcs12(device.key, "1234"))
    shown = subprocess.run(
        ["openssl", "pkcs12", "-in", ours, "-passin", "pass:1234", "-nodes"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.count("BEGIN CERTIFICATE") == 3 and shown.count("PRIVATE KEY") == 2
    assert CertificateChain.from_pkcs12(ours, "1234").to_pem() == device.chain
    theirs = pfx(device, tmp_path)
    assert CertificateChain.from_pkcs12(theirs.read_bytes(), "1234").to_pem() == device.chain
    for source in (theirs, theirs.read_bytes()):
        x509 = X509.from_pkcs12(source, "1234")
        state = cloud.registering(device, x509=x509).register().registration_state
        assert state.registration_id == device.name
        assert state.unknown_fields == '{"x509":{}}'
        with pytest.raises(exceptions.PassphraseWrongError):
            cloud.registering(device, x509=X509.from_pkcs12(source, "4321"))
        with pytest.raises(exceptions.PassphraseRequiredError):
            cloud.registering(device, x509=X509.from_pkcs12(source))
    with pytest.raises(exceptions.KeyMismatchError):
        chain.to_pkcs12(PrivateKey.generate("ec-p256"), "1234")
    with pytest.raises(TypeError, match="not str"):
        X509.from_pkcs12("ours.pfx")  # type: ignore[arg-type]


def test_inspection_is_that_of_the_command(
    cloud: Cloud, device: Device, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    file, _ = device.write(tmp_path)
    other = tmp_path / "other.pem"
    other.write_text(Hierarchy().root.certificate.to_pem())
    told = cloud.dps("--json", "chain", "inspect", file, other)
    inspection = chain.inspect(file, other.read_text())
    assert json.loads(inspection.to_json()) == json.loads(told)
    assert str(inspection).strip() == cloud.dps("chain", "inspect", file, other).strip()
    assert inspection.certificates[0].subject == f"CN={device.name}"
    assert repr(inspection) == "<Inspection of 4 certificates>"
    later = chain.inspect(device.chain, at=NOW + 40 * DAY)
    assert "EXPIRED" in str(later)
    assert len(chain.inspect(pfx(device, tmp_path), pass_phrase="1234").certificates) == 3
    with pytest.raises(exceptions.WrongFileContentError):
        chain.inspect("hello")
    with pytest.raises(FileNotFoundError):
        chain.inspect(tmp_path / "nope.pem")


def test_a_chain_is_verified(device: Device, hierarchy: Hierarchy) -> None:
    root = hierarchy.root.certificate.to_pem()
    sound = chain.verify(device.chain, authorities=root, key=device.key.to_pem())
    assert not sound.findings, str(sound)
    made_anew = Hierarchy().root.certificate.to_pem()
    (finding,) = chain.verify(device.chain, authorities=made_anew).findings
    assert (finding.id, finding.severity) == ("DPS-C003", "error")
    assert "Test root" in finding.evidence


def test_a_request_made_elsewhere_is_signed_under_the_own_profile(
    hierarchy: Hierarchy, tmp_path: Path
) -> None:
    make = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    make += ["-nodes", "-keyout", str(tmp_path / "key"), "-subj", "/CN=asked-for"]
    make += ["-addext", "basicConstraints=critical,CA:TRUE"]
    made = subprocess.run(make, capture_output=True, check=True).stdout
    request = CertificateRequest.from_pem(made)
    assert request.registration_id == "asked-for"
    assert any("basicConstraints" in ignored for ignored in request.ignored), request.ignored
    leaf = hierarchy.intermediate.issue_requested(request, days=5)
    assert leaf.common_name == "asked-for" and not leaf.is_ca
    again = hierarchy.intermediate.reissue_device(leaf)
    other = hierarchy.intermediate.reissue_device(leaf, PrivateKey.generate("ec-p256"), days=9)
    assert again.common_name == other.common_name == "asked-for"
    assert len({c.sha256_thumbprint for c in (leaf, again, other)}) == 3
    key = (tmp_path / "key").read_text()
    assert not chain.verify(again.to_pem(), key=key).to_json().count("DPS-K006")
    assert chain.verify(other.to_pem(), key=key).to_json().count("DPS-K006")
    with pytest.raises(exceptions.DpsError):
        CertificateRequest.from_pem("hello")
    with pytest.raises(ValueError):
        hierarchy.intermediate.reissue_device(hierarchy.root.certificate)


def test_a_path_length_limits_the_cas_below() -> None:
    key = PrivateKey.generate("ec-p256")
    root = Authority.create_root("Root", key, path_length=1)
    above = root.create_intermediate("Above", key)
    with pytest.raises(exceptions.InvalidArgumentError, match="pathlen:0"):
        above.create_intermediate("Below", key)
    unlimited = Authority.create_root("Root", key)
    assert unlimited.create_intermediate("Above", key, path_length=3).create_intermediate(
        "Below", key
    )


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
    with pytest.raises(ValueError, match="days, or by notBefore and notAfter"):
        hierarchy.intermediate.issue_device("device", key, not_before=NOW)
    with pytest.raises(ValueError, match="before it begins"):
        hierarchy.intermediate.issue_device("device", key, not_before=NOW, not_after=NOW - DAY)
    with pytest.raises(TypeError, match="PrivateKey"):
        hierarchy.intermediate.issue_device("device", "key")  # type: ignore[arg-type]
