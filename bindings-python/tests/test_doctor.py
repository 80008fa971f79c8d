"""The doctor says in Python what ``dps doctor`` says."""

from __future__ import annotations

import asyncio
import datetime
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

import dps_core
from conftest import HOST, Cloud, Device, Hierarchy
from dps_core import X509, Report, aio, chain, exceptions
from test_signers import CustomHsm, Hsm

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


def ids(report: Report) -> list[str]:
    return [finding.id for finding in report.findings]


def said_by_the_command(cloud: Cloud, *arguments: str | Path) -> Any:
    done = subprocess.run(
        [cloud.command, "--json", "doctor", *arguments],
        env=cloud.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout)


def pfx(device: Device, folder: Path, pass_phrase: str = "1234") -> Path:
    """The device's credential as the openssl command writes it."""
    file, key = device.write(folder)
    made = folder / f"{device.name}.pfx"
    export = ("openssl", "pkcs12", "-export", "-passout", f"pass:{pass_phrase}")
    files = ("-in", file, "-inkey", key, "-out", made)
    subprocess.run([*export, *files], check=True, capture_output=True)
    return made


def test_nothing_is_found_where_nothing_is_wrong(
    device: Device, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    made = pfx(device, tmp_path)
    credentials: list[Any] = [
        device.x509,
        X509(*device.write(tmp_path, "1234"), "1234"),
        X509.from_pkcs12(made, "1234"),
        X509.from_pkcs12(made.read_bytes(), "1234"),
        X509.from_signer(device.chain, Hsm(device, tmp_path)),
        CustomHsm(device),
    ]
    for credential in credentials:
        for report in (
            dps_core.doctor(credential, authorities=hierarchy.root.certificate.to_pem()),
            asyncio.run(aio.doctor(credential, registration_id=device.name)),
        ):
            assert (ids(report), report.exit_code) == ([], 0), str(report)
            assert report.seen
            assert str(report).endswith("Nothing found.")
            assert repr(report) == "<Report nothing found>"


def test_the_report_is_that_of_the_command(
    cloud: Cloud, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    device = hierarchy.device(not_before=NOW - 2 * DAY, not_after=NOW - DAY)
    file, _ = device.write(tmp_path)
    _, key = hierarchy.device().write(tmp_path)
    report = dps_core.doctor(certificate=file, key=key, registration_id="another")
    told = said_by_the_command(cloud, "--cert", file, "--key", key, "--registration-id", "another")
    assert json.loads(report.to_json()) == told
    assert ids(report) == ["DPS-C022", "DPS-C009", "DPS-K006"]
    assert report.exit_code == 2
    for finding, row in zip(report.findings, told["findings"]):
        assert (finding.id, finding.severity) == (row["id"], row["severity"])
        assert (finding.sentence, finding.evidence) == (row["sentence"], row["evidence"])
        assert (finding.fix, finding.page) == (row["fix"], row["page"])
        assert finding.fix in str(finding) and finding.id in repr(finding)
    assert report.findings == dps_core.doctor(X509(file, key), registration_id="another").findings


def test_a_clock_can_be_given(device: Device) -> None:
    report = dps_core.doctor(certificate=device.chain, at=NOW + 40 * DAY)
    assert ids(report) == ["DPS-C022"] * 3


def test_the_enrollments_certificate_is_compared(device: Device, hierarchy: Hierarchy) -> None:
    group = hierarchy.intermediate.certificate.to_pem()
    assert not ids(dps_core.doctor(certificate=device.chain, group_certificate=group))
    other = Hierarchy().intermediate.certificate.to_pem()
    assert ids(dps_core.doctor(certificate=device.chain, group_certificate=other))
    leaf = chain.certificates_from_pem(device.chain)[0].to_pem()
    assert not ids(dps_core.doctor(certificate=device.chain, individual_certificate=leaf))
    another = chain.certificates_from_pem(hierarchy.device().chain)[0].to_pem().encode()
    report = dps_core.doctor(certificate=device.chain, individual_certificate=another)
    assert ids(report) == ["DPS-C026"]


def test_the_certificates_to_compare_with_come_in_every_form(
    device: Device, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    group, leaf = hierarchy.intermediate.certificate, device.x509
    own = chain.certificates_from_pem(device.chain)[0]
    others = Hierarchy().intermediate.certificate, hierarchy.device()
    for number, (certificate, expected) in enumerate([(group, []), (others[0], ["DPS-S003"])]):
        for source in forms(certificate, tmp_path / f"group-{number}"):
            assert ids(dps_core.doctor(leaf, group_certificate=source)) == expected
            assert ids(asyncio.run(aio.doctor(leaf, group_certificate=source))) == expected
    other = chain.certificates_from_pem(others[1].chain)[0]
    for number, (certificate, expected) in enumerate([(own, []), (other, ["DPS-C026"])]):
        for source in forms(certificate, tmp_path / f"individual-{number}"):
            assert ids(dps_core.doctor(leaf, individual_certificate=source)) == expected
            assert ids(asyncio.run(aio.doctor(leaf, individual_certificate=source))) == expected


def forms(certificate: chain.Certificate, file: Path) -> list[str | bytes | Path]:
    file.write_bytes(certificate.der)
    return [certificate.to_pem(), certificate.to_pem().encode(), certificate.der, file]


def test_the_network_is_examined_without_registering(
    cloud: Cloud, device: Device, hierarchy: Hierarchy
) -> None:
    reach: dict[str, Any] = {"connect_to": cloud.connect_to, "provisioning_host": HOST}
    for report in (
        dps_core.doctor(device.x509, wire=True, roots=cloud.roots, **reach),
        asyncio.run(aio.doctor(device.x509, wire=True, roots=cloud.roots, **reach)),
    ):
        assert report.exit_code < 2, str(report)
        seen = "\n".join(report.seen)
        for word in ("TLS", "the server's certificates", device.name, "WebSocket", "clock"):
            assert word in seen, str(report)
    assert "PUBLISH" not in cloud.heard(device, "dps"), "nothing is registered"
    # Its roots are others than the server's.
    wrong = hierarchy.root.certificate.to_pem()
    report = dps_core.doctor(device.x509, wire=True, roots=wrong, **reach)
    assert report.exit_code == 2
    assert any(finding.id.startswith("DPS-N") for finding in report.findings), str(report)


def test_the_network_and_the_service_are_examined(cloud: Cloud, device: Device) -> None:
    roots = cloud.roots.read_text()
    for given in (cloud.roots, roots):
        report = dps_core.doctor(
            device.x509,
            id_scope=cloud.id_scope,
            provisioning_host=HOST,
            connect_to=cloud.connect_to,
            roots=given,
            register=True,
        )
        assert report.exit_code < 2, str(report)
        assert any(f"as {device.name}" in seen for seen in report.seen), str(report)
    stranger = Hierarchy().device()
    report = asyncio.run(
        aio.doctor(
            stranger.x509,
            id_scope=cloud.id_scope,
            connect_to=cloud.connect_to,
            roots=cloud.roots,
            register=True,
        )
    )
    assert "DPS-S001" in ids(report), str(report)


def test_an_error_that_there_is_already_is_explained(cloud: Cloud) -> None:
    with pytest.raises(PermissionError) as raised:
        cloud.registering(Hierarchy().device()).register()
    report = dps_core.decode_error(raised.value)
    assert ids(report) == ["DPS-S001"]
    assert ids(dps_core.decode_error("401002 CA certificate not found.")) == ["DPS-S001"]
    assert json.loads(dps_core.decode_error("429001").to_json()) == said_by_the_command(
        cloud, "--error", "429001"
    )


def test_a_doctor_who_cannot_work_says_so(device: Device, tmp_path: Path) -> None:
    with pytest.raises(exceptions.InvalidArgumentError, match="no certificate"):
        dps_core.doctor()
    with pytest.raises(exceptions.InvalidArgumentError, match="its own"):
        dps_core.doctor(device.x509, key=device.key.to_pem())
    with pytest.raises(exceptions.InvalidArgumentError, match="ID scope"):
        dps_core.doctor(device.x509, register=True, connect_to="127.0.0.1:1", deadline=0.1)
    with pytest.raises(FileNotFoundError):
        dps_core.doctor(device.x509, authorities=tmp_path / "nope.pem")
    with pytest.raises(TypeError, match="certificate must be"):
        dps_core.doctor(certificate=5)  # type: ignore[arg-type]


def test_a_signer_that_never_answers_holds_up_nobody(
    cloud: Cloud, device: Device, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    release = threading.Event()
    stuck = X509.from_signer(device.chain, Hsm(device, tmp_path, lambda _: release.wait(60)))

    async def examine() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(aio.doctor(stuck), 0.2)
        # Examinations of as many such devices as there are threads do not stop a registration.
        examining = [asyncio.create_task(aio.doctor(stuck)) for _ in range(4)]
        await asyncio.sleep(0)
        await cloud.registering_async(hierarchy.device()).register()
        assert not any(task.done() for task in examining)
        release.set()
        for task in examining:
            await task

    asyncio.run(examine())


@pytest.mark.parametrize("wire", [False, True])
def test_a_signer_that_never_answers_is_a_finding(
    cloud: Cloud, device: Device, tmp_path: Path, wire: bool
) -> None:
    release = threading.Event()
    stuck = X509.from_signer(device.chain, Hsm(device, tmp_path, lambda _: release.wait(60)))
    given: dict[str, Any] = {"deadline": 0.5, "wire": wire, "roots": cloud.roots}
    given["connect_to"] = cloud.connect_to
    for report in (
        dps_core.doctor(stuck, **given),
        asyncio.run(aio.doctor(stuck, **given)),
    ):
        assert "DPS-K007" in ids(report), str(report)
        assert "did not answer" in str(report)
    release.set()


def test_no_secret_is_in_a_report(device: Device, tmp_path: Path) -> None:
    file, key = device.write(tmp_path, "open sesame")
    report = dps_core.doctor(certificate=file, key=key, pass_phrase="wrong horse")
    assert ids(report) == ["DPS-K004"]
    assert "wrong horse" not in report.to_json() + str(report)
