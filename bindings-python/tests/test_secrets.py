"""Keys, passphrases and tokens are looked for in everything that a program of Python could see:
log records, exceptions and what has caused them, and what objects show of themselves."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
import secrets
import subprocess
import sys
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import HOST, HUB, Cloud, Device, Hierarchy
from dps_core import (
    X509,
    DpsError,
    IoTHubDeviceClient,
    Message,
    ProvisioningDeviceClient,
    SignRequest,
    aio,
    derive_device_key,
    doctor,
)
from dps_core.chain import CertificateChain, PrivateKey
from test_doctor import pfx
from test_signers import Hsm

# So many characters of a secret in a row are a find: a piece of it is as good as a beginning.
PIECE = 12

# The start of a P-256 private key of 32 bytes (RFC 5915, section 3).
SCALAR = bytes([0x02, 0x01, 0x01, 0x04, 0x20])


class Needles:
    """What is looked for, in the spellings in which it could slip out."""

    def __init__(self) -> None:
        # A token is made anew for each connection, so it is known only by what is around it.
        self.texts = {"SharedAccessSignature sr=": "a token", "&sig=": "a token's signature"}
        self.pieces: dict[str, str] = {}

    def text(self, name: str, secret: str) -> str:
        self._add(name, secret)
        self._bytes(name, secret.encode())
        return secret

    def symmetric_key(self, name: str, length: int = 32) -> str:
        return self.base64_key(name, base64.b64encode(secrets.token_bytes(length)).decode())

    def base64_key(self, name: str, key: str) -> str:
        self._bytes(name, base64.b64decode(key))
        return key

    def private_key(self, name: str, pem: str) -> None:
        der = base64.b64decode("".join(pem.strip().splitlines()[1:-1]))
        at = der.index(SCALAR) + len(SCALAR)
        self._bytes(name, der[at : at + 32])

    def find(self, hay: str) -> str | None:
        """What is in it, and what is around it; also across line ends."""
        for text in (hay, "".join(hay.split())):
            for needle, name in self.texts.items():
                if needle in text:
                    return f"{name}: {_around(text, text.index(needle))}"
            for at in range(len(text) - PIECE + 1):
                name = self.pieces.get(text[at : at + PIECE], "")
                if name:
                    return f"{name}: {_around(text, at)}"
        return None

    def _bytes(self, name: str, secret: bytes) -> None:
        # Big numbers are kept with the least byte first.
        for content in (secret, secret[::-1]):
            for spelled in (content.hex(), content.hex(":"), content.hex(" ")):
                self._add(name, spelled)
                self._add(name, spelled.upper())
            self._add(name, ", ".join(map(str, content)))
            self._add(name, ",".join(map(str, content)))
            self._add(name, repr(content)[2:-1])
            # In the middle of something it starts at any of three places of a group, and shares
            # its first and last characters with its neighbours.
            for shift in range(3):
                padded = bytes(shift) + content
                for encode in (base64.b64encode, base64.urlsafe_b64encode):
                    own = encode(padded).decode()[(0, 2, 3)[shift] : len(padded) * 8 // 6]
                    self._add(name, own)
                    self._add(name, urllib.parse.quote(own, safe=""))

    def _add(self, name: str, spelling: str) -> None:
        assert len(spelling) >= PIECE, f"{name} would be found anywhere"
        for at in range(len(spelling) - PIECE + 1):
            self.pieces[spelling[at : at + PIECE]] = name


def _around(text: str, at: int) -> str:
    return f"...{text[max(0, at - 200) : at + 100]!r}..."


class Ears:
    """Hears all that is logged at any level, and is shown all the rest."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.levels: set[str] = set()

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        ears = self

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                ears.levels.add(record.levelname)
                ears.said += [record.name, record.getMessage(), repr(vars(record))]

        handler, logger = Handler(), logging.getLogger("dps_core")
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(1)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)

    def show(self, *objects: object) -> None:
        for thing in objects:
            self.said += [
                str(thing),
                repr(thing),
                format(thing),
                repr(getattr(thing, "__dict__", "")),
            ]

    @contextlib.contextmanager
    def refused(self, *expected: type[BaseException]) -> Iterator[None]:
        """Something that fails, with all that the exception and its causes say."""
        with pytest.raises(expected or DpsError) as caught:
            yield
        self.said += traceback.format_exception(caught.type, caught.value, caught.tb)
        error: BaseException | None = caught.value
        while error is not None:
            self.show(error, error.args)
            self.said.append(repr({name: getattr(error, name, None) for name in dir(error)}))
            error = error.__cause__ or error.__context__


class PinnedHsm(Hsm):
    """An HSM that knows a PIN and would show it."""

    pin: str

    def __repr__(self) -> str:
        return f"PinnedHsm(pin={self.pin!r})"

    def sign(self, request: SignRequest) -> Any:
        assert self.pin not in repr(request) + str(request)
        return super().sign(request)


@pytest.fixture
def needles() -> Needles:
    return Needles()


@pytest.fixture
def ears() -> Ears:
    return Ears()


def pass_phrase(needles: Needles, name: str) -> str:
    return "pass " + needles.text(name, secrets.token_hex(12))


def known(needles: Needles, device: Device) -> Device:
    needles.private_key(f"the key of {device.name}", device.key.to_pem())
    return device


def test_a_secret_is_found_in_each_spelling(needles: Needles) -> None:
    secret = bytes(number * 167 % 256 for number in range(32))
    needles.base64_key("the key", base64.b64encode(secret).decode())
    needles.text("the passphrase", "tr0ub4dor&3-and-more")
    encoded = base64.b64encode(b"before" + secret).decode()
    for said in (
        repr(secret),
        str(list(secret)),
        secret.hex(":"),
        f"{encoded[:20]}\n{encoded[20:]}",
        urllib.parse.quote(base64.b64encode(secret), safe=""),
        "SharedAccessSignature sr=x&sig=y",
        "PassPhrase('tr0ub4dor&3-and-more')",
    ):
        assert needles.find(said), said
    assert needles.find("nothing of interest, and a lot more of it") is None


def test_devices_that_register_and_send_show_no_secret(
    cloud: Cloud,
    hierarchy: Hierarchy,
    tmp_path: Path,
    needles: Needles,
    ears: Ears,
    capfd: pytest.CaptureFixture[str],
) -> None:
    plain, encrypted, packed, signed = (known(needles, hierarchy.device()) for _ in range(4))
    key_phrase = pass_phrase(needles, "the passphrase of a PEM file")
    file_phrase = pass_phrase(needles, "the passphrase of a PFX file")
    hsm = PinnedHsm(signed, tmp_path)
    hsm.pin = needles.text("the PIN", secrets.token_hex(8))
    identities = {
        plain: plain.x509,
        encrypted: X509(*encrypted.write(tmp_path, key_phrase), key_phrase),
        packed: X509.from_pkcs12(pfx(packed, tmp_path, file_phrase), file_phrase),
        signed: X509.from_signer(signed.chain, hsm),
    }
    with ears.listen():
        for device, identity in identities.items():
            client = cloud.registering(device, x509=identity)
            ears.show(identity, client, client.register())
            with cloud.hub(device, x509=identity) as hub:
                cloud.fault(device, "telemetry", {"cut": "before"})
                hub.send_message(Message("over the next connection"))
                ears.show(hub, identity)
        ears.show(plain.key, CertificateChain.from_pem(plain.chain))
        written = plain.key.to_pem(key_phrase)
        ears.show(PrivateKey.from_pem(written, key_phrase))
        ears.show(hierarchy.root, hierarchy.intermediate)
    assert {"DEBUG", "WARNING"} <= ears.levels
    assert needles.find("\n".join([*ears.said, *capfd.readouterr()])) is None


def test_devices_with_symmetric_keys_show_neither_keys_nor_tokens(
    cloud: Cloud, needles: Needles, ears: Ears, capfd: pytest.CaptureFixture[str]
) -> None:
    stem = f"meter-{secrets.token_hex(4)}"
    own, spare = (needles.symmetric_key(name) for name in ("the primary key", "the secondary key"))
    group = needles.symmetric_key("the group's key", 64)
    derived = needles.base64_key("the derived key", derive_device_key(group, f"{stem}-2"))
    wrong = needles.symmetric_key("the wrong key")
    cloud.dps(
        *("enrollment", "create", "--enrollment-id", f"{stem}-1", "--attestation-type"),
        *("symmetricKey", "--primary-key", own, "--secondary-key", spare),
    )
    cloud.dps(
        *("enrollment-group", "create", "--enrollment-id", f"{stem}-group"),
        *("--primary-key", group, "--secondary-key", group),
    )
    options = cloud.options
    create = ProvisioningDeviceClient.create_from_symmetric_key

    async def asynchronously(name: str, key: str) -> None:
        client = aio.ProvisioningDeviceClient.create_from_symmetric_key(
            HOST, name, cloud.id_scope, key, **options
        )
        ears.show(client, await client.register())
        connect = aio.IoTHubDeviceClient.create_from_symmetric_key
        async with connect(key, HUB, name, sastoken_ttl=60, **options) as hub:
            _cut(cloud, name)
            await hub.send_message("over the next connection, with the next token")
            ears.show(hub)

    with ears.listen():
        for name, key in ((f"{stem}-1", own), (f"{stem}-1", spare), (f"{stem}-2", derived)):
            client = create(HOST, name, cloud.id_scope, key, **options)
            ears.show(client, client.register())
            asyncio.run(asynchronously(name, key))
        text = f"HostName={HUB};DeviceId={stem}-1;SharedAccessKey={own}"
        with IoTHubDeviceClient.create_from_connection_string(text, **options) as hub:
            hub.send_message("by connection string")
            ears.show(hub)

        refused = create(HOST, f"{stem}-1", cloud.id_scope, wrong, **options)
        with ears.refused(PermissionError):
            refused.register()
        hub = IoTHubDeviceClient.create_from_symmetric_key(wrong, HUB, f"{stem}-1", **options)
        with ears.refused(PermissionError):
            hub.connect()
        malformed = f"{wrong[:20]} {wrong[20:]}"
        with ears.refused():
            create(HOST, f"{stem}-1", cloud.id_scope, malformed, **options).register()
        for damaged in (text.replace("SharedAccessKey=", "SharedAccessKey "), text + ";" + own):
            with ears.refused(DpsError, ValueError):
                IoTHubDeviceClient.create_from_connection_string(damaged, **options).connect()
        with ears.refused(DpsError, ValueError):
            derive_device_key(malformed, f"{stem}-2")
    assert {"DEBUG", "WARNING"} <= ears.levels
    assert needles.find("\n".join([*ears.said, *capfd.readouterr()])) is None


def test_what_goes_wrong_with_a_secret_in_hand_does_not_say_it(
    cloud: Cloud,
    hierarchy: Hierarchy,
    tmp_path: Path,
    needles: Needles,
    ears: Ears,
    capfd: pytest.CaptureFixture[str],
) -> None:
    device, other = (known(needles, hierarchy.device()) for _ in range(2))
    phrase, wrong = (pass_phrase(needles, name) for name in ("the passphrase", "a wrong one"))
    chain, key = device.write(tmp_path, phrase)
    packed = pfx(other, tmp_path, phrase)
    pem = other.key.to_pem()
    damaged = re.sub(r".\n-----END", "*\n-----END", pem)
    assert damaged != pem
    (tmp_path / "hsm").mkdir()
    hsm = PinnedHsm(device, tmp_path / "hsm", lambda number: b"no signature")
    hsm.pin = needles.text("the PIN", secrets.token_hex(8))
    with ears.listen():
        makers: list[Callable[[], X509]] = [
            lambda: X509(chain, key),
            lambda: X509(chain, key, wrong),
            lambda: X509(key, chain, phrase),
            lambda: X509.from_pem(device.chain, pem),
            lambda: X509.from_pem(device.chain, damaged),
            lambda: X509.from_pem(pem, device.chain),
            lambda: X509.from_pem(device.chain, phrase),
            lambda: X509.from_pkcs12(packed, wrong),
            lambda: X509.from_pkcs12(packed),
            lambda: X509.from_signer(device.chain, hsm),
        ]
        for make in makers:
            with ears.refused():
                identity = make()
                ears.show(identity)
                cloud.registering(device, x509=identity).register()
        with ears.refused():
            PrivateKey.from_pem(damaged)
        with ears.refused():
            PrivateKey.from_pem(key.read_bytes(), wrong)
        with ears.refused():
            # A server that is not there.
            cloud.registering(other, connect_to="127.0.0.1:1").register(deadline=0.1)
        for examined in (key, packed, tmp_path / "damaged.key.pem"):
            (tmp_path / "damaged.key.pem").write_text(damaged)
            report = doctor(certificate=chain, key=examined, pass_phrase=wrong)
            ears.show(report, *report.findings)
            ears.said.append(report.to_json())
    assert needles.find("\n".join([*ears.said, *capfd.readouterr()])) is None


def test_an_interpreter_that_fails_prints_no_secret(
    cloud: Cloud, device: Device, needles: Needles, tmp_path: Path
) -> None:
    """As a program that catches nothing and logs everything."""
    known(needles, device)
    phrase, wrong = (pass_phrase(needles, name) for name in ("the passphrase", "a wrong one"))
    chain, key = device.write(tmp_path, phrase)
    script = (
        "import faulthandler, logging, sys\n"
        "logging.basicConfig(level=1)\n"
        "from dps_core import X509, ProvisioningDeviceClient\n"
        "chain, key, phrase, name, scope, host = sys.stdin.read().split('\\n')\n"
        "ProvisioningDeviceClient.create_from_x509_certificate(\n"
        "    host, name, scope, X509(chain, key, phrase)).register()\n"
    )
    for given, code in ((phrase, 0), (wrong, 1)):
        arguments = [str(chain), str(key), given, device.name, cloud.id_scope, HOST]
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", script],
            input="\n".join(arguments),
            env=cloud.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "DEBUG" in done.stderr if code == 0 else "PassphraseWrongError" in done.stderr
        assert needles.find(done.stdout + done.stderr) is None


def _cut(cloud: Cloud, name: str) -> None:
    rule = {"device": name, "step": "telemetry", "times": 1, "action": {"cut": "before"}}
    cloud.control("POST", "/emulator/faults", rule)
