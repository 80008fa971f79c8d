"""The samples print what the tutorial's print."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from conftest import HOST, HUB, ROOT, Cloud, Device

SENDING = [f"sending message #{number}" for number in range(1, 11)]
DONE = [f"done {line}" for line in SENDING]
GROUP_KEY = (
    "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
)


def run_sample(
    python: Path, name: str, cloud: Cloud, **environment: Any
) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in cloud.environment.items() if k != "PASS_PHRASE"}
    return subprocess.run(
        [python, ROOT / "samples" / "python" / name],
        env=inherited | {name: str(value) for name, value in environment.items()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def sample(python: Path, name: str, cloud: Cloud, **environment: Any) -> list[str]:
    done = run_sample(python, name, cloud, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def x509_environment(cloud: Cloud, device: Device, chain: Path, key: Path) -> dict[str, Any]:
    return {
        "PROVISIONING_HOST": HOST,
        "PROVISIONING_IDSCOPE": cloud.id_scope,
        "DPS_X509_REGISTRATION_ID": device.name,
        "X509_CERT_FILE": chain,
        "X509_KEY_FILE": key,
    }


def check_asynchronous(lines: list[str], device_id: str) -> None:
    assert lines[:6] == [
        "The complete registration result is",
        device_id,
        HUB,
        "initialAssignment",
        "null",
        "Will send telemetry from the provisioned device",
    ]
    assert lines[6:16] == SENDING
    assert sorted(lines[16:]) == sorted(DONE)


def test_provision_x509(cloud: Cloud, device: Device, edge_python: Path, tmp_path: Path) -> None:
    environment = x509_environment(cloud, device, *device.write(tmp_path))
    lines = sample(edge_python, "provision_x509.py", cloud, **environment)
    check_asynchronous(lines, device.name)
    bodies = sorted(message["body"] for message in cloud.feed(device))
    assert bodies == sorted(f"test wind speed {number}" for number in range(1, 11))


@pytest.mark.parametrize(
    "name",
    [
        "provision_x509.py",
        "provision_x509_sync.py",
        "provision_with_signer.py",
        "send_message_x509.py",
    ],
)
@pytest.mark.parametrize(
    "pass_phrase",
    [
        {"X509_PASS_PHRASE": "1234"},
        {"PASS_PHRASE": "1234"},
        {"X509_PASS_PHRASE": "1234", "PASS_PHRASE": "another"},
    ],
    ids=lambda variables: "+".join(variables),
)
def test_the_pass_phrase_of_an_encrypted_key(
    cloud: Cloud,
    device: Device,
    bare_python: Path,
    tmp_path: Path,
    name: str,
    pass_phrase: dict[str, str],
) -> None:
    cloud.registering(device).register()
    chain, key = device.write(tmp_path, "1234")
    assert "ENCRYPTED" in key.read_text()
    environment = x509_environment(cloud, device, chain, key)
    environment |= {"HOSTNAME": HUB, "DEVICE_ID": device.name}
    lines = sample(bare_python, name, cloud, **environment | pass_phrase)
    assert set(SENDING) <= set(lines)
    assert len(cloud.feed(device)) == 10


def test_a_signing_sample_without_the_pass_phrase_says_what_openssl_said(
    cloud: Cloud, device: Device, bare_python: Path, tmp_path: Path
) -> None:
    environment = x509_environment(cloud, device, *device.write(tmp_path, "1234"))
    done = run_sample(bare_python, "provision_with_signer.py", cloud, **environment)
    assert done.returncode != 0
    assert "SignerError" in done.stderr and "openssl did not sign" in done.stderr


def test_provision_x509_sync(
    cloud: Cloud, device: Device, edge_python: Path, tmp_path: Path
) -> None:
    environment = x509_environment(cloud, device, *device.write(tmp_path))
    lines = sample(edge_python, "provision_x509_sync.py", cloud, **environment)
    assert lines == [
        device.name,
        HUB,
        "initialAssignment",
        "null",
        "assigned",
        "Will send telemetry from the provisioned device",
        *SENDING,
    ]
    feed = cloud.feed(device)
    assert [message["body"] for message in feed] == [
        *(f"test payload message {number}" for number in range(1, 6)),
        *(f"test wind speed {number}" for number in range(6, 11)),
    ]
    assert feed[9]["properties"] == {"tornado-warning": "yes"}


def test_provision_with_signer(
    cloud: Cloud, device: Device, edge_python: Path, tmp_path: Path
) -> None:
    environment = x509_environment(cloud, device, *device.write(tmp_path))
    lines = sample(edge_python, "provision_with_signer.py", cloud, **environment)
    check_asynchronous(lines, device.name)


def test_send_message_x509(cloud: Cloud, device: Device, edge_python: Path, tmp_path: Path) -> None:
    cloud.registering(device).register()
    chain, key = device.write(tmp_path)
    lines = sample(
        edge_python,
        "send_message_x509.py",
        cloud,
        HOSTNAME=HUB,
        DEVICE_ID=device.name,
        X509_CERT_FILE=chain,
        X509_KEY_FILE=key,
    )
    assert lines[:10] == SENDING
    assert sorted(lines[10:]) == sorted(DONE)


def test_provision_symmetric_key(cloud: Cloud, edge_python: Path) -> None:
    name = f"keyed-by-{edge_python.parts[-3]}"
    cloud.dps(
        *("enrollment", "create", "--enrollment-id", name, "--attestation-type"),
        *("symmetricKey", "--primary-key", GROUP_KEY, "--secondary-key", GROUP_KEY),
    )
    lines = sample(
        edge_python,
        "provision_symmetric_key.py",
        cloud,
        PROVISIONING_HOST=HOST,
        PROVISIONING_IDSCOPE=cloud.id_scope,
        PROVISIONING_REGISTRATION_ID=name,
        PROVISIONING_SYMMETRIC_KEY=GROUP_KEY,
    )
    check_asynchronous(lines, name)


def test_provision_symmetric_key_group(cloud: Cloud, edge_python: Path) -> None:
    version = edge_python.parts[-3]
    cloud.dps(
        *("enrollment-group", "create", "--enrollment-id", f"group-of-{version}"),
        *("--primary-key", GROUP_KEY, "--secondary-key", GROUP_KEY),
    )
    names = [f"grouped-{number}-{version}" for number in (1, 2, 3)]
    lines = sample(
        edge_python,
        "provision_symmetric_key_group.py",
        cloud,
        PROVISIONING_HOST=HOST,
        PROVISIONING_IDSCOPE=cloud.id_scope,
        PROVISIONING_SYMMETRIC_KEY=GROUP_KEY,
        **{f"PROVISIONING_DEVICE_ID_{number}": name for number, name in enumerate(names, 1)},
    )
    expected = []
    for name in names:
        expected += ["The complete state of registration result is", name, HUB, "initialAssignment"]
        expected += ["null", f"Will send telemetry from the provisioned device with id {name}"]
        for number in range(1, 6):
            sending = f"sending message # {number} for client with id {name}"
            expected += [sending, f"done {sending}"]
    assert sorted(lines) == sorted(expected)
