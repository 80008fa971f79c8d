"""The samples print what the tutorial's print."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from conftest import HOST, HUB, ROOT, Cloud, Device, Hierarchy

SENDING = [f"sending message #{number}" for number in range(1, 11)]
DONE = [f"done {line}" for line in SENDING]
GROUP_KEY = (
    "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
)


def sample(python: Path, name: str, cloud: Cloud, **environment: Any) -> list[str]:
    done = subprocess.run(
        [python, ROOT / "samples" / "python" / name],
        env=cloud.environment | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
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


def test_provision_x509(
    cloud: Cloud, hierarchy: Hierarchy, bare_python: Path, tmp_path: Path
) -> None:
    for variable in ("X509_PASS_PHRASE", "PASS_PHRASE"):
        device = hierarchy.device()
        environment = x509_environment(cloud, device, *device.write(tmp_path, "1234"))
        lines = sample(bare_python, "provision_x509.py", cloud, **environment, **{variable: "1234"})
        check_asynchronous(lines, device.name)
        bodies = sorted(message["body"] for message in cloud.feed(device))
        assert bodies == sorted(f"test wind speed {number}" for number in range(1, 11))


def test_provision_x509_sync(
    cloud: Cloud, device: Device, bare_python: Path, tmp_path: Path
) -> None:
    environment = x509_environment(cloud, device, *device.write(tmp_path))
    lines = sample(bare_python, "provision_x509_sync.py", cloud, **environment)
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
    cloud: Cloud, device: Device, bare_python: Path, tmp_path: Path
) -> None:
    environment = x509_environment(cloud, device, *device.write(tmp_path))
    lines = sample(bare_python, "provision_with_signer.py", cloud, **environment)
    check_asynchronous(lines, device.name)


def test_send_message_x509(cloud: Cloud, device: Device, bare_python: Path, tmp_path: Path) -> None:
    cloud.registering(device).register()
    chain, key = device.write(tmp_path)
    lines = sample(
        bare_python,
        "send_message_x509.py",
        cloud,
        HOSTNAME=HUB,
        DEVICE_ID=device.name,
        X509_CERT_FILE=chain,
        X509_KEY_FILE=key,
    )
    assert lines[:10] == SENDING
    assert sorted(lines[10:]) == sorted(DONE)


def test_provision_symmetric_key(cloud: Cloud, bare_python: Path) -> None:
    cloud.dps(
        *("enrollment", "create", "--enrollment-id", "keyed-1", "--attestation-type"),
        *("symmetricKey", "--primary-key", GROUP_KEY, "--secondary-key", GROUP_KEY),
    )
    lines = sample(
        bare_python,
        "provision_symmetric_key.py",
        cloud,
        PROVISIONING_HOST=HOST,
        PROVISIONING_IDSCOPE=cloud.id_scope,
        PROVISIONING_REGISTRATION_ID="keyed-1",
        PROVISIONING_SYMMETRIC_KEY=GROUP_KEY,
    )
    check_asynchronous(lines, "keyed-1")


def test_provision_symmetric_key_group(cloud: Cloud, bare_python: Path) -> None:
    cloud.dps(
        *("enrollment-group", "create", "--enrollment-id", "keyed-group"),
        *("--primary-key", GROUP_KEY, "--secondary-key", GROUP_KEY),
    )
    names = [f"grouped-{number}" for number in (1, 2, 3)]
    lines = sample(
        bare_python,
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
