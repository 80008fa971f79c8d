"""The forms in which certificates and keys come: DER, PKCS#12, old encrypted PEM, pasted text."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import dps_core
from conftest import Cloud, Device, Hierarchy
from dps_core import X509, IoTHubDeviceClient, chain, exceptions
from dps_core.chain import Authority, Certificate, CertificateChain, PrivateKey
from test_doctor import pfx
from test_signers import Hsm


def openssl(*arguments: str | Path, given: bytes = b"") -> bytes:
    command = ["openssl", *arguments]
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048"])
def test_a_key_goes_to_der_and_back(key_type: str) -> None:
    key = PrivateKey.generate(key_type)
    der = key.to_der()
    public = openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", given=der)
    assert public == key.public_key_info
    assert openssl("pkey", "-inform", "DER", given=der) == key.to_pem().encode()
    again = PrivateKey.from_pem(der)
    assert (again.to_der(), again.key_type) == (der, key.key_type)


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_certificate_and_a_key_may_be_der(
    cloud: Cloud, hierarchy: Hierarchy, tmp_path: Path, encrypted: bool
) -> None:
    # A file in DER holds one certificate, so the enrollment holds the leaf's.
    key = PrivateKey.generate("ec-p256")
    name = f"der-{'encrypted' if encrypted else 'plain'}"
    leaf = hierarchy.intermediate.issue_device(name, key)
    device = Device(name, key, leaf.to_pem())
    (tmp_path / "leaf.pem").write_text(leaf.to_pem())
    cloud.dps(
        *("enrollment", "create", "--enrollment-id", name, "--attestation-type", "x509"),
        *("--certificate-path", tmp_path / "leaf.pem"),
    )
    pass_phrase = "1234" if encrypted else None
    lock = ("-passout", "pass:1234") if encrypted else ("-nocrypt",)
    pkcs8 = openssl(*("pkcs8", "-topk8", "-outform", "DER", *lock), given=key.to_pem().encode())
    der = openssl(*("x509", "-outform", "DER"), given=leaf.to_pem().encode())
    assert der == leaf.der
    certificate, key_file = tmp_path / "leaf.der", tmp_path / "key.der"
    certificate.write_bytes(der)
    key_file.write_bytes(pkcs8)
    for x509 in (X509(certificate, key_file, pass_phrase), X509.from_pem(der, pkcs8, pass_phrase)):
        assert cloud.registering(device, x509=x509).register().status == "assigned"
        with cloud.hub(device, x509=x509) as hub:
            hub.send_message("by a key in DER")
        above = hierarchy.intermediate.certificate.der
        # Its file does not hold the intermediate, which an enrollment of the group would need.
        findings = dps_core.doctor(x509, authorities=above).findings
        assert [finding.id for finding in findings] == ["DPS-C027"]
    assert PrivateKey.from_pem(key_file, pass_phrase).to_der() == key.to_der()
    for source in (der, certificate):
        assert chain.certificates_from_pem(source)[0].der == der
        assert chain.inspect(source).certificates[0].subject == f"CN={name}"
    assert Certificate.from_der(der).to_pem() == leaf.to_pem()
    with pytest.raises(ValueError):
        Certificate.from_der(der[:-1])


def test_a_pfx_stands_wherever_a_credential_does(
    cloud: Cloud, device: Device, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    made = pfx(device, tmp_path)
    data = made.read_bytes()
    for x509 in (
        X509(made, made, "1234"),
        X509(str(made), str(made), b"1234"),
        X509.from_pem(data, data, "1234"),
        X509.from_pkcs12(made, "1234"),
        X509.from_pkcs12(data, "1234"),
    ):
        state = cloud.registering(device, x509=x509).register().registration_state
        assert state.device_id == device.name
        text = f"HostName={state.assigned_hub};DeviceId={device.name};x509=true"
        create = IoTHubDeviceClient.create_from_connection_string
        for hub in (cloud.hub(device, x509=x509), create(text, x509=x509, **cloud.options)):
            with hub:
                hub.send_message("by PFX")
        assert not dps_core.doctor(x509).findings
    root = hierarchy.root.certificate.to_pem()
    for source in (made, data):
        verdict = chain.verify(source, authorities=root, key=source, pass_phrase="1234")
        assert not verdict.findings, str(verdict)
        assert not dps_core.doctor(certificate=source, key=source, pass_phrase="1234").findings
        assert PrivateKey.from_pem(source, "1234").to_der() == device.key.to_der()
        with pytest.raises(exceptions.PassphraseWrongError):
            PrivateKey.from_pem(source, "4321")
    with pytest.raises(exceptions.PassphraseRequiredError):
        cloud.registering(device, x509=X509(made, made))


def test_a_chain_that_reaches_no_known_ca_is_refused_before_dialling(
    cloud: Cloud, device: Device, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    files = device.write(tmp_path)
    file = pfx(device, tmp_path)
    hsm = Hsm(device, tmp_path)
    forms: list[Callable[[str | bytes | Path | None], X509]] = [
        lambda known: X509(*files, authorities=known),
        lambda known: X509.from_pem(device.chain, device.key.to_pem(), authorities=known),
        lambda known: X509.from_pkcs12(file, "1234", authorities=known),
        lambda known: X509.from_signer(device.chain, hsm, authorities=known),
    ]
    stranger = Authority.create_root("Nobody's root", PrivateKey.generate("ec-p256"))
    root, other = (it.certificate.to_pem() for it in (hierarchy.root, stranger))
    known, missing = tmp_path / "known.pem", tmp_path / "missing.pem"
    known.write_text(root)
    before = len(cloud.heard(device, "dps"))
    for make in forms:
        with pytest.raises(exceptions.ChainBrokenError, match="none of the known CAs") as refused:
            cloud.registering(device, x509=make(other)).register()
        assert refused.value.operation == "open credential"
        with pytest.raises(FileNotFoundError, match=r"missing\.pem"):
            cloud.registering(device, x509=make(missing)).register()
        assert not dps_core.doctor(make(root)).findings
        assert dps_core.doctor(make(other)).exit_code == 2
        assert not dps_core.doctor(make(other), authorities=root).findings
    assert len(cloud.heard(device, "dps")) == before
    for make in forms:
        for good in (root, root.encode(), known, other + root, None):
            cloud.registering(device, x509=make(good))
        assert cloud.registering(device, x509=make(known)).register().status == "assigned"
    with pytest.raises(TypeError, match="authorities must be"):
        X509(*files, authorities=5)  # type: ignore[arg-type]


def test_the_pfx_of_a_ca_goes_both_ways(hierarchy: Hierarchy, tmp_path: Path) -> None:
    """The Windows store's root.pfx and intermediate.pfx."""
    key = PrivateKey.generate("ec-p256")
    root = Authority.create_root("Windows root", key)
    below_key = PrivateKey.generate("rsa-2048")
    below = root.create_intermediate("Windows intermediate", below_key)
    (tmp_path / "ca.pem").write_text(root.certificate.to_pem())
    for name, authority, own in [("root", root, key), ("intermediate", below, below_key)]:
        pem = authority.certificate.to_pem()
        ours, theirs = tmp_path / f"{name}.pfx", tmp_path / f"{name}-openssl.pfx"
        ours.write_bytes(CertificateChain.from_pem(pem).to_pkcs12(own, "1234"))
        read = ("pkcs12", "-in", ours, "-passin", "pass:1234")
        (certificate,) = chain.certificates_from_pem(openssl(*read, "-nokeys"))
        assert certificate.der == authority.certificate.der
        told = openssl("pkey", given=openssl(*read, "-nocerts", "-nodes"))
        assert PrivateKey.from_pem(told).to_der() == own.to_der()

        files = tmp_path / f"{name}.cert.pem", tmp_path / f"{name}.key.pem"
        for file, text in zip(files, (pem, own.to_pem())):
            file.write_text(text)
        export = ("pkcs12", "-export", "-in", files[0], "-inkey", files[1], "-out", theirs)
        openssl(*export, "-passout", "pass:1234")
        for written in (ours, theirs):
            certificate = CertificateChain.from_pkcs12(written, "1234").leaf
            again = Authority(certificate, PrivateKey.from_pem(written, "1234"))
            leaf = again.issue_device("below-a-pfx", PrivateKey.generate("ec-p256"))
            (tmp_path / "leaf.pem").write_text(leaf.to_pem())
            trust = ("-CAfile", tmp_path / "ca.pem", "-untrusted", files[0])
            openssl("verify", "-x509_strict", *trust, tmp_path / "leaf.pem")


def test_a_pfx_without_a_mac_is_refused(cloud: Cloud, device: Device, tmp_path: Path) -> None:
    file, key = device.write(tmp_path)
    made = tmp_path / "unsealed.pfx"
    export = ("pkcs12", "-export", "-nomac", "-passout", "pass:1234")
    openssl(*export, "-in", file, "-inkey", key, "-out", made)
    data = made.read_bytes()
    readings: list[Callable[[], object]] = [
        lambda: cloud.registering(device, x509=X509.from_pkcs12(made, "1234")),
        lambda: cloud.registering(device, x509=X509.from_pkcs12(data, "1234")),
        lambda: cloud.registering(device, x509=X509(made, made, "1234")),
        lambda: cloud.registering(device, x509=X509.from_pem(data, data, "1234")),
        lambda: CertificateChain.from_pkcs12(made, "1234"),
        lambda: CertificateChain.from_pkcs12(data, "1234"),
        lambda: PrivateKey.from_pem(data, "1234"),
        lambda: chain.inspect(made, pass_phrase="1234"),
    ]
    for reading in readings:
        with pytest.raises(exceptions.WrongFileContentError, match="no MAC") as refused:
            reading()
        assert refused.value.hint and "-nomac" in refused.value.hint
    assert dps_core.doctor(certificate=made, key=made, pass_phrase="1234").exit_code == 2


@pytest.mark.parametrize(
    ("key_type", "cipher"), [("ec-p256", "-aes256"), ("rsa-2048", "-aes128"), ("rsa-2048", "-des3")]
)
def test_a_key_in_openssls_old_encryption(
    cloud: Cloud, hierarchy: Hierarchy, tmp_path: Path, key_type: str, cipher: str
) -> None:
    device = hierarchy.device(key_type=key_type)
    command = ("rsa", "-traditional") if key_type.startswith("rsa") else ("ec",)
    options = (cipher, "-passout", "pass:1234")
    old = openssl(*command, *options, given=device.key.to_pem().encode())
    assert b"Proc-Type: 4,ENCRYPTED" in old
    file, _ = device.write(tmp_path)
    key = tmp_path / "old.pem"
    key.write_bytes(old)
    for x509 in (X509(file, key, "1234"), X509.from_pem(device.chain, old, b"1234")):
        assert cloud.registering(device, x509=x509).register().status == "assigned"
        assert not dps_core.doctor(x509).findings
    assert PrivateKey.from_pem(old, "1234").to_der() == device.key.to_der()
    with pytest.raises(exceptions.PassphraseWrongError):
        PrivateKey.from_pem(old, "4321")
    with pytest.raises(exceptions.PassphraseRequiredError):
        PrivateKey.from_pem(old)


@pytest.mark.parametrize(
    ("pasted", "mentioned"),
    [
        (lambda pem: pem.rstrip("\n").replace("\n", "\\n"), ["\\n"]),
        (lambda pem: f'"{pem}"', ["quotation marks"]),
        (lambda pem: "'" + pem.rstrip("\n").replace("\n", "\\n") + "'", ["\\n", "quotation marks"]),
        (lambda pem: "\ufeff" + pem, ["byte order mark"]),
        (lambda pem: "\ufeff" + pem.replace("\n", "\r\n"), ["byte order mark", "CRLF"]),
        (lambda pem: pem.replace("\n", "\r\n"), ["CRLF"]),
        (lambda pem: pem.replace("\n", " "), ["line ends are lost"]),
        (chain.c_string, ["\\n", "quotation marks"]),
        (chain.java_string, ["\\n", "quotation marks"]),
    ],
    ids=["\\n", "quotes", "quoted \\n", "BOM", "BOM and CRLF", "CRLF", "one line", "C", "Java"],
)
def test_what_was_pasted_is_understood_and_mentioned(
    cloud: Cloud,
    device: Device,
    tmp_path: Path,
    pasted: Callable[[str], str],
    mentioned: list[str],
) -> None:
    certificates, key = pasted(device.chain), pasted(device.key.to_pem())
    # Written as they are, with their line ends.
    files = tmp_path / "chain.pem", tmp_path / "key.pem"
    for file, text in zip(files, (certificates, key)):
        file.write_bytes(text.encode())
    for source in (certificates, certificates.encode(), files[0]):
        inspection = chain.inspect(source)
        assert len(inspection.certificates) == 3
        for words in mentioned:
            assert words in " ".join(inspection.notes)
            assert words in str(inspection)
    for x509 in (X509.from_pem(certificates, key), X509(*files)):
        cloud.registering(device, x509=x509)
        assert dps_core.doctor(x509).exit_code < 2
    assert PrivateKey.from_pem(key).to_der() == device.key.to_der()
    assert CertificateChain.from_pem(certificates).to_pem() == device.chain
    assert not chain.inspect(device.chain).notes


@pytest.mark.parametrize("whose", ["root", "intermediate"])
def test_the_proof_of_possession_of_a_ca_is_accepted(
    cloud: Cloud, tmp_path: Path, whose: str
) -> None:
    """By openssl, and by the service for a certificate that was uploaded unverified."""
    name = f"proven-{whose}"
    keys = PrivateKey.generate("ec-p256"), PrivateKey.generate("rsa-2048")
    root = Authority.create_root(f"Root of {name}", keys[0])
    authority, key = root, keys[0]
    if whose == "intermediate":
        authority, key = root.create_intermediate(f"CA of {name}", keys[1]), keys[1]
    certificates = {"root": root.certificate, "ca": authority.certificate}
    for file, certificate in certificates.items():
        (tmp_path / file).write_text(certificate.to_pem())
    cloud.dps("certificate", "create", "--certificate-name", name, "--path", tmp_path / "ca")
    asked = ("certificate", "generate-verification-code", "--certificate-name", name)
    code = cloud.dps(*asked, "--query", "properties.verificationCode").strip().strip('"')
    proof = Authority(authority.certificate, key).issue_verification(
        code, PrivateKey.generate("ec-p256")
    )
    assert (proof.common_name, proof.is_ca) == (code, False)
    (tmp_path / "proof").write_text(proof.to_pem())
    trust = ("-CAfile", tmp_path / "root", "-untrusted", tmp_path / "ca")
    openssl("verify", "-x509_strict", *trust, tmp_path / "proof")
    shown = ("certificate", "show", "--certificate-name", name, "--query", "properties.isVerified")
    assert cloud.dps(*shown).strip() == "false"
    given = ("--certificate-name", name, "--path", tmp_path / "proof")
    cloud.dps("certificate", "verify", *given)
    assert cloud.dps(*shown).strip() == "true"
