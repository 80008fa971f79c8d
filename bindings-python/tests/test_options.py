"""What the clients' keyword arguments do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import dps_core
from conftest import HOST, HUB, Cloud, Device
from dps_core import IoTHubDeviceClient, ProvisioningDeviceClient, exceptions
from test_samples import GROUP_KEY


def test_a_port_is_connected_to(
    cloud: Cloud, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DPS_CONNECT_TO", raising=False)
    host, _, port = cloud.connect_to.rpartition(":")
    assert host == "127.0.0.1"
    client = ProvisioningDeviceClient.create_from_x509_certificate(
        "localhost", device.name, cloud.id_scope, device.x509, port=int(port), roots=cloud.roots
    )
    assert client.register().status == "assigned"
    with (
        pytest.raises(exceptions.DpsError),
        IoTHubDeviceClient.create_from_x509_certificate(
            device.x509, "localhost", device.name, port=int(port), roots=cloud.roots
        ),
    ):
        pass  # There is no hub of that name, and it is this server that says so.
    assert cloud.heard(device, "hub") == ["CONNECT"]


@pytest.mark.parametrize("form", ["path", "text", "bytes", "as the incumbent"])
def test_roots_come_in_every_form(cloud: Cloud, device: Device, form: str) -> None:
    text = cloud.roots.read_text()
    forms: dict[str, dict[str, Any]] = {
        "path": {"roots": cloud.roots},
        "text": {"roots": text},
        "bytes": {"roots": text.encode()},
        "as the incumbent": {"roots": None, "server_verification_cert": text},
    }
    given = forms[form]
    assert cloud.registering(device, **given).register().status == "assigned"
    with cloud.hub(device, **given) as hub:
        hub.send_message(form)


def test_roots_that_cannot_be_used_are_named(cloud: Cloud, device: Device, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nope\.pem"):
        cloud.registering(device, roots=tmp_path / "nope.pem").register()
    with pytest.raises(exceptions.DpsError, match="trust roots"):
        cloud.registering(device, roots="hello").register()
    with pytest.raises(TypeError, match="roots must be"):
        cloud.registering(device, roots=5)


def test_an_api_version_is_sent(cloud: Cloud, device: Device) -> None:
    cloud.registering(device, api_version="2021-06-01").register()
    (connect, *_) = cloud.packets(device.name, "dps")
    assert "api-version=2021-06-01" in str(connect)


def test_numbers_that_make_no_sense_are_refused(cloud: Cloud, device: Device) -> None:
    for keep_alive in (0, -1, float("nan")):
        with pytest.raises(exceptions.InvalidArgumentError, match=r"keep.alive"):
            cloud.hub(device, keep_alive=keep_alive).connect()
    with pytest.raises(OverflowError):
        cloud.registering(device, port=65536)


def test_an_infinite_deadline_is_none_at_all(cloud: Cloud, device: Device) -> None:
    assert cloud.registering(device).register(deadline=math.inf).status == "assigned"
    hub = cloud.hub(device)
    hub.connect(deadline=math.inf)
    hub.send_message("for ever", deadline=math.inf)
    hub.disconnect(deadline=math.inf)
    assert not dps_core.doctor(device.x509, deadline=math.inf).findings
    for deadline in (-1, math.nan, -math.inf):
        for call in (hub.connect, hub.disconnect, cloud.registering(device).register):
            with pytest.raises(exceptions.InvalidArgumentError, match="deadline"):
                call(deadline=deadline)
        with pytest.raises(exceptions.InvalidArgumentError, match="deadline"):
            hub.send_message("never", deadline=deadline)
    with pytest.raises(exceptions.InvalidArgumentError, match=r"keep.alive"):
        cloud.hub(device, keep_alive=math.inf)


def test_a_connection_string_is_enough(cloud: Cloud, device: Device) -> None:
    create = IoTHubDeviceClient.create_from_connection_string
    cloud.registering(device).register()
    text = f"HostName={HUB};DeviceId={device.name};x509=true"
    with create(text, x509=device.x509, **cloud.options) as hub:
        hub.send_message("by certificate")
    assert [message["body"] for message in cloud.feed(device)] == ["by certificate"]
    with pytest.raises(exceptions.InvalidArgumentError, match="give it as x509"):
        create(text, **cloud.options)

    name = f"keyed-{device.name}"
    cloud.dps(
        *("enrollment", "create", "--enrollment-id", name, "--attestation-type"),
        *("symmetricKey", "--primary-key", GROUP_KEY, "--secondary-key", GROUP_KEY),
    )
    ProvisioningDeviceClient.create_from_symmetric_key(
        HOST, name, cloud.id_scope, GROUP_KEY, **cloud.options
    ).register()
    text = f"HostName={HUB};DeviceId={name};SharedAccessKey={GROUP_KEY}"
    with create(text, sastoken_ttl=600, **cloud.options) as hub:
        hub.send_message("by key")
    assert [message["body"] for message in cloud.feed(name)] == ["by key"]
    with pytest.raises(exceptions.InvalidArgumentError, match="both"):
        create(text, x509=device.x509)
    with pytest.raises(ValueError, match="no DeviceId") as raised:
        create(f"HostName={HUB};SharedAccessKey={GROUP_KEY}")
    assert GROUP_KEY not in str(raised.value)
