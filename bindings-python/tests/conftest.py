"""The cloud (an emulator, set up by the dps command as the tutorial sets Azure up), a chain, and
the devices of the tests."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dps_core import X509, IoTHubDeviceClient, ProvisioningDeviceClient, aio
from dps_core.chain import Authority, PrivateKey

ROOT = Path(__file__).parents[2]
HOST = "global.azure-devices-provisioning.net"
HUB = "contoso-hub-2.azure-devices.net"

_numbers = itertools.count(1)

# Whoever runs the tests in the background may ignore Ctrl-C, which is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Hierarchy:
    """A root, an intermediate, and devices below it."""

    def __init__(self) -> None:
        self.root = Authority.create_root("Test root", PrivateKey.generate("ec-p256"))
        self.intermediate = self.root.create_intermediate(
            "Test intermediate", PrivateKey.generate("ec-p256")
        )

    def device(
        self, name: str | None = None, *, key_type: str = "ec-p256", **validity: Any
    ) -> Device:
        name = name or f"device-{next(_numbers)}"
        key = PrivateKey.generate(key_type)
        leaf = self.intermediate.issue_device(name, key, **validity)
        authorities = (self.intermediate.certificate, self.root.certificate)
        return Device(name, key, "".join(c.to_pem() for c in (leaf, *authorities)))


class Device:
    def __init__(self, name: str, key: PrivateKey, chain: str) -> None:
        self.name = name
        self.key = key
        self.chain = chain

    @property
    def x509(self) -> X509:
        return X509.from_pem(self.chain, self.key.to_pem())

    def write(self, folder: Path, pass_phrase: str | None = None) -> tuple[Path, Path]:
        chain, key = folder / f"{self.name}.cert.pem", folder / f"{self.name}.key.pem"
        chain.write_text(self.chain)
        key.write_text(self.key.to_pem(pass_phrase))
        return chain, key


class Cloud:
    """A running ``dps emulator``."""

    @property
    def command(self) -> Path:
        return _dps()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.roots = folder / "emulator-root.pem"
        arguments = ["emulator", "--listen", "127.0.0.1:0", "--json", "--retry-after", "0"]
        self.process = subprocess.Popen(
            [_dps(), *arguments, "--root-out", self.roots], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.ready = json.loads(self.process.stdout.readline())
        self.connect_to: str = self.ready["connectTo"]
        self.id_scope: str = self.ready["idScope"]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """By which any client reaches this cloud."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("X509_", "PROVISIONING_"))},
            "DPS_CONNECT_TO": self.connect_to,
            "SSL_CERT_FILE": str(self.roots),
        }

    @property
    def options(self) -> dict[str, Any]:
        """By which a client of this package reaches this cloud."""
        return {"connect_to": self.connect_to, "roots": self.roots}

    def dps(self, *arguments: str | Path) -> str:
        logins = {
            "DPS_LOGIN": self.ready["connectionString"],
            "DPS_HUB_LOGIN": self.ready["hubConnectionStrings"][HUB],
        }
        done = subprocess.run(
            [_dps(), *arguments],
            env=self.environment | logins,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def enroll(self, hierarchy: Hierarchy, *, name: str = "group", verified: bool = True) -> None:
        root, intermediate = self.folder / f"{name}-root.pem", self.folder / f"{name}.pem"
        root.write_text(hierarchy.root.certificate.to_pem())
        intermediate.write_text(hierarchy.intermediate.certificate.to_pem())
        self.dps(
            *("certificate", "create", "--certificate-name", f"{name}-root", "--path", root),
            *(["--verified", "true"] if verified else []),
        )
        self.dps(
            *("enrollment-group", "create", "--enrollment-id", name),
            *("--certificate-path", intermediate, "--provisioning-status", "enabled"),
        )

    def fault(self, device: Device, step: str, action: dict[str, Any], *, times: int = 1) -> None:
        rule = {"device": device.name, "step": step, "times": times, "action": action}
        self.control("POST", "/emulator/faults", rule)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        host, _, port = self.connect_to.rpartition(":")
        context = ssl.create_default_context(cafile=str(self.roots))
        context.check_hostname = False
        connection = http.client.HTTPSConnection(host, int(port), context=context)
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status < 300, text
        return json.loads(text) if text else None

    def heard(self, device: Device, role: str) -> list[str]:
        """The kinds of packets that have come from the device, to the role ``dps`` or ``hub``."""
        return [packet["packet"] for packet in self.packets(device.name, role)]

    def packets(self, device: str, role: str) -> list[dict[str, Any]]:
        expected = {"device": device, "role": role, "direction": "in"}
        return [
            packet
            for packet in self.control("GET", "/emulator/packets")["packets"]
            if expected.items() <= packet.items()
        ]

    def feed(self, device: Device | str) -> list[dict[str, Any]]:
        """What the hub has got from the device."""
        name = device if isinstance(device, str) else device.name
        answer = json.loads(self.dps("hub", "device", "messages", "--device-id", name))
        messages: list[dict[str, Any]] = answer["messages"]
        return messages

    def registering(self, device: Device, **more: Any) -> ProvisioningDeviceClient:
        return ProvisioningDeviceClient.create_from_x509_certificate(
            HOST, device.name, self.id_scope, more.pop("x509", device.x509), **self.options | more
        )

    def registering_async(self, device: Device, **more: Any) -> aio.ProvisioningDeviceClient:
        return aio.ProvisioningDeviceClient.create_from_x509_certificate(
            HOST, device.name, self.id_scope, more.pop("x509", device.x509), **self.options | more
        )

    def hub(self, device: Device, **more: Any) -> IoTHubDeviceClient:
        return IoTHubDeviceClient.create_from_x509_certificate(
            more.pop("x509", device.x509), HUB, device.name, **self.options | more
        )

    def hub_async(self, device: Device, **more: Any) -> aio.IoTHubDeviceClient:
        return aio.IoTHubDeviceClient.create_from_x509_certificate(
            more.pop("x509", device.x509), HUB, device.name, **self.options | more
        )


@pytest.fixture(scope="session")
def hierarchy() -> Hierarchy:
    return Hierarchy()


@pytest.fixture(scope="session")
def cloud(hierarchy: Hierarchy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    cloud.enroll(hierarchy)
    yield cloud
    cloud.stop()


@pytest.fixture
def device(hierarchy: Hierarchy) -> Device:
    return hierarchy.device()


def interpreters() -> list[str]:
    """This interpreter's version, and whichever others are installed; the oldest first."""
    versions = [f"3.{minor}" for minor in range(9, 15)]
    return [version for version in versions if _interpreter(version) is not None]


def _interpreter(version: str) -> str | None:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found: list[str | Path] = [f"python{version}"]
    found += Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    for candidate in found:
        path = shutil.which(candidate)
        works = path and subprocess.run([path, "-c", ""], capture_output=True, check=False)
        if path and works and works.returncode == 0:
            return path
    return None


_environments: dict[str, Path] = {}


def _environment(interpreter: str | None, made_in: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and nothing else, one for all tests."""
    assert interpreter
    python = _environments.get(interpreter)
    if python is None:
        folder = made_in.mktemp("python")
        subprocess.run([interpreter, "-m", "venv", "--without-pip", folder], check=True)
        python = folder / "bin" / "python"
        install = ["install", "-q", "--disable-pip-version-check", "--no-index", str(wheel())]
        subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True)
        _environments[interpreter] = python
    return python


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh interpreter with the wheel and nothing else."""
    return _environment(sys.executable, tmp_path_factory)


@pytest.fixture(scope="session", params=interpreters())
def any_python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``bare_python``, of each version in turn."""
    return _environment(_interpreter(request.param), tmp_path_factory)


@pytest.fixture(scope="session", params=dict.fromkeys([interpreters()[0], interpreters()[-1]]))
def edge_python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``bare_python``, of the oldest and of the newest version."""
    return _environment(_interpreter(request.param), tmp_path_factory)


def wheel() -> Path:
    (wheel,) = (ROOT / "dist" / "python").glob("dps_core-*.whl")
    return wheel


def run(
    python: Path | str, script: str, cloud: Cloud, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a Python program against the cloud; it must end within a minute."""
    return subprocess.run(
        [python, "-X", "faulthandler", "-c", script],
        env=cloud.environment | more,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _dps() -> Path:
    dps = Path(os.environ.get("DPS_COMMAND", ROOT / "target" / "debug" / "dps"))
    assert dps.exists(), f"{dps} is missing: run the tests by `make test-python`"
    return dps
