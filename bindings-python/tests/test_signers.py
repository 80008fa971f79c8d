"""A key that stays where it is: what a signer may do, and what a bad one costs."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import dps_core
from conftest import HOST, Cloud, Device, Hierarchy
from dps_core import X509, ProvisioningDeviceClient, SignerError, SignRequest, exceptions


class Hsm:
    """The openssl command as the keeper of a key; ``before`` is called with each signature's
    number, counted from 0."""

    def __init__(
        self, device: Device, folder: Path, before: Callable[[int], object] = lambda number: None
    ) -> None:
        self.key = device.write(folder)[1]
        self.before = before
        self.requests: list[SignRequest] = []

    def sign(self, request: SignRequest) -> Any:
        self.requests.append(request)
        answer = self.before(len(self.requests) - 1)
        return self._sign(request) if answer is None else answer

    def _sign(self, request: SignRequest) -> bytes:
        options = ["-pkeyopt", f"digest:{request.hash}"]
        if request.algorithm.startswith("rsa-pss"):
            options += ["-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest"]
        return subprocess.run(
            ["openssl", "pkeyutl", "-sign", "-inkey", self.key, *options],
            input=request.digest,
            capture_output=True,
            check=True,
        ).stdout


class AsyncHsm(Hsm):
    async def sign(self, request: SignRequest) -> Any:
        self.requests.append(request)
        self.loop = asyncio.get_running_loop()
        answer = self.before(len(self.requests) - 1)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return self._sign(request) if answer is None else answer


def x509(device: Device, hsm: Any) -> X509:
    return X509.from_signer(device.chain, hsm)


def test_a_signer_registers_and_sends(cloud: Cloud, device: Device, tmp_path: Path) -> None:
    hsm = Hsm(device, tmp_path)
    identity = x509(device, hsm)
    assert not hsm.requests, "nothing is signed before it is needed"
    cloud.registering(device, x509=identity).register()
    with cloud.hub(device, x509=identity) as client:
        client.send_message("signed elsewhere")
    assert [request.algorithm for request in hsm.requests] == ["ecdsa-p256-sha256"] * 3
    assert all(request.hash == "sha256" and len(request.digest) == 32 for request in hsm.requests)
    assert [message["body"] for message in cloud.feed(device)] == ["signed elsewhere"]


@pytest.mark.parametrize(
    ("key_type", "algorithms"),
    [
        ("rsa-2048", None),
        ("rsa-2048", ["rsa-pkcs1-sha256"]),
        ("ec-p384", None),
        ("ec-p256", ("ecdsa-p256-sha256",)),
    ],
)
def test_each_type_of_key_signs_as_offered(
    cloud: Cloud, hierarchy: Hierarchy, tmp_path: Path, key_type: str, algorithms: Any
) -> None:
    device = hierarchy.device(key_type=key_type)
    hsm = Hsm(device, tmp_path)
    if algorithms is not None:
        hsm.algorithms = algorithms  # type: ignore[attr-defined]
    cloud.registering(device, x509=x509(device, hsm)).register()
    assert len(hsm.requests) == 2
    assert algorithms is None or {r.algorithm for r in hsm.requests} <= set(algorithms)


def test_an_async_signer_runs_in_the_event_loop(
    cloud: Cloud, device: Device, tmp_path: Path
) -> None:
    hsm = AsyncHsm(device, tmp_path, lambda number: asyncio.sleep(0))

    async def register() -> None:
        result = await cloud.registering_async(device, x509=x509(device, hsm)).register()
        assert result.status == "assigned"
        assert hsm.loop is asyncio.get_running_loop()

    asyncio.run(register())


def test_an_async_signer_runs_in_the_event_loop_that_uses_it_now(
    cloud: Cloud, device: Device, tmp_path: Path
) -> None:
    hsm = AsyncHsm(device, tmp_path)
    identity = x509(device, hsm)
    for _ in range(2):

        async def register() -> None:
            await cloud.registering_async(device, x509=identity).register()
            assert hsm.loop is asyncio.get_running_loop()

        asyncio.run(register())


def test_an_async_signer_serves_the_blocking_client_too(
    cloud: Cloud, device: Device, tmp_path: Path
) -> None:
    identity = x509(device, AsyncHsm(device, tmp_path, lambda number: asyncio.sleep(0)))
    assert cloud.registering(device, x509=identity).register().status == "assigned"


def test_a_slow_signer_stalls_neither_the_event_loop_nor_another_device(
    cloud: Cloud, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    slow, quick = hierarchy.device(), hierarchy.device()
    asked, release = threading.Event(), threading.Event()

    def before(number: int) -> None:
        asked.set()
        assert release.wait(30), "the other device goes first"

    async def register() -> None:
        identity = x509(slow, Hsm(slow, tmp_path, before))
        registering = asyncio.create_task(
            cloud.registering_async(slow, x509=identity).register(deadline=60)
        )
        assert await asyncio.to_thread(asked.wait, 30)
        await cloud.registering_async(quick).register()
        assert not registering.done()
        release.set()
        await registering

    asyncio.run(register())


def test_a_signer_that_never_answers_ends_at_the_deadline(
    cloud: Cloud, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    device, release = hierarchy.device(), threading.Event()
    for silent in (0, 1):

        def before(number: int, silent: int = silent) -> None:
            if number == silent:
                release.wait(60)

        identity = x509(device, Hsm(device, tmp_path, before))
        with pytest.raises(TimeoutError) as raised:
            cloud.registering(device, x509=identity).register(deadline=0.5)
        assert raised.value.code == 504  # type: ignore[attr-defined]
    release.set()


@pytest.mark.parametrize("kind", [Hsm, AsyncHsm])
@pytest.mark.parametrize("silent", [0, 1])
def test_an_asyncio_registration_whose_signer_never_answers_ends_at_the_deadline(
    cloud: Cloud, hierarchy: Hierarchy, tmp_path: Path, kind: type[Hsm], silent: int
) -> None:
    device, release = hierarchy.device(), threading.Event()

    def before(number: int) -> Any:
        if number == silent:
            return asyncio.Event().wait() if kind is AsyncHsm else release.wait(60)
        return None

    async def scenario() -> None:
        identity = x509(device, kind(device, tmp_path, before))
        with pytest.raises(exceptions.DeadlineExceededError):
            await cloud.registering_async(device, x509=identity).register(deadline=0.5)
        other = hierarchy.device()
        identity = x509(other, kind(other, tmp_path))
        assert (await cloud.registering_async(other, x509=identity).register()).status == "assigned"

    # It ends although the coroutine of the signer has not.
    asyncio.run(scenario())
    release.set()


class SilentHsm(Hsm):
    """Answers nothing before its release."""

    def __init__(self, device: Device, folder: Path) -> None:
        self.asked, self.release = threading.Semaphore(0), threading.Event()
        super().__init__(device, folder, self.wait)

    def wait(self, number: int) -> None:
        self.asked.release()
        self.release.wait(60)


def test_a_hub_client_whose_signer_never_answers_ends_at_the_deadline(
    cloud: Cloud, device: Device, tmp_path: Path
) -> None:
    cloud.registering(device).register()
    hsm = SilentHsm(device, tmp_path)
    hub = cloud.hub(device, x509=x509(device, hsm))
    with pytest.raises(exceptions.DeadlineExceededError, match="open credential"):
        hub.connect(deadline=0.5)
    assert hsm.asked.acquire(timeout=30)
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(hub.send_message, "connects by itself")
        assert hsm.asked.acquire(timeout=30), "who comes next gets a turn"
        with pytest.raises(exceptions.DeadlineExceededError, match="another call"):
            hub.connect(deadline=0.5)
        assert not sending.done()
        hsm.release.set()
        sending.result(30)
    hub.shutdown()
    assert [message["body"] for message in cloud.feed(device)] == ["connects by itself"]


def test_an_asyncio_hub_client_whose_signer_never_answers_ends_at_the_deadline(
    cloud: Cloud, device: Device, tmp_path: Path
) -> None:
    cloud.registering(device).register()
    hsm = SilentHsm(device, tmp_path)

    async def scenario() -> None:
        hub = cloud.hub_async(device, x509=x509(device, hsm))
        with pytest.raises(exceptions.DeadlineExceededError, match="open credential"):
            await hub.connect(deadline=0.5)
        assert await asyncio.to_thread(hsm.asked.acquire, timeout=30)
        sending = asyncio.create_task(hub.send_message("connects by itself"))
        assert await asyncio.to_thread(hsm.asked.acquire, timeout=30), "who comes next gets a turn"
        with pytest.raises(exceptions.DeadlineExceededError, match="another call"):
            await hub.connect(deadline=0.5)
        assert not sending.done()
        hsm.release.set()
        await asyncio.wait_for(sending, 30)
        await hub.shutdown()

    asyncio.run(scenario())
    assert [message["body"] for message in cloud.feed(device)] == ["connects by itself"]


@pytest.mark.parametrize("kind", [Hsm, AsyncHsm])
@pytest.mark.parametrize("failing", [0, 1])
def test_the_exception_of_a_signer_is_the_cause(
    cloud: Cloud, device: Device, tmp_path: Path, kind: type[Hsm], failing: int
) -> None:
    removed = OSError(5, "the token was removed")

    def before(number: int) -> None:
        if number == failing:
            raise removed

    identity = x509(device, kind(device, tmp_path, before))
    with pytest.raises(SignerError, match=r"OSError: .* the token was removed") as blocking:
        cloud.registering(device, x509=identity).register()
    assert blocking.value.__cause__ is removed
    assert blocking.value.__cause__.__traceback__ is not None
    assert not blocking.value.retryable
    identity = x509(device, kind(device, tmp_path, before))
    with pytest.raises(SignerError) as asynchronous:
        asyncio.run(cloud.registering_async(device, x509=identity).register())
    assert asynchronous.value.__cause__ is removed


@pytest.mark.parametrize(
    ("garbage", "says"),
    [(5, "TypeError"), ("text", "TypeError"), (b"", "0 bytes"), (b"x" * 63, "63 bytes")],
)
@pytest.mark.parametrize("kind", [Hsm, AsyncHsm])
def test_garbage_is_refused(
    cloud: Cloud, device: Device, tmp_path: Path, kind: type[Hsm], garbage: object, says: str
) -> None:
    identity = x509(device, kind(device, tmp_path, lambda number: garbage))
    with pytest.raises(SignerError, match=says):
        cloud.registering(device, x509=identity).register()

    async def scenario() -> None:
        # The second signature is that of the handshake.
        late = kind(device, tmp_path, lambda number: garbage if number else None)
        for hsm in (kind(device, tmp_path, lambda number: garbage), late):
            with pytest.raises(SignerError, match=says):
                await cloud.registering_async(device, x509=x509(device, hsm)).register()
            hub = cloud.hub_async(device, x509=x509(device, hsm))
            with pytest.raises(SignerError, match=says):
                await hub.send_message("never sent")
        assert (await cloud.registering_async(device).register()).status == "assigned"

    asyncio.run(scenario())


def test_a_signer_of_another_key_is_refused_before_dialling(
    cloud: Cloud, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    device, other = hierarchy.device(), hierarchy.device()
    with pytest.raises(exceptions.IdentityError, match="does not belong") as raised:
        cloud.registering(device, x509=x509(device, Hsm(other, tmp_path))).register()
    assert raised.value.name == "DPS_KEY_MISMATCH"


def test_an_object_without_sign_is_refused_at_once(device: Device) -> None:
    with pytest.raises(AttributeError, match="sign"):
        x509(device, object())
    with pytest.raises(ValueError, match="ed25519"):
        x509(device, type("Odd", (), {"algorithms": ["ed25519"], "sign": lambda *_: b""})())


class CustomHsm:
    """The three functions of the tutorial's custom HSM."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.asked: list[str] = []

    def get_certificate(self) -> str:
        self.asked.append("certificate")
        return self.device.chain

    def get_key(self) -> str:
        self.asked.append("key")
        return self.device.key.to_pem()

    def get_common_name(self) -> str:
        self.asked.append("common name")
        return self.device.name


def test_the_tutorials_custom_hsm_is_accepted(cloud: Cloud, device: Device) -> None:
    hsm = CustomHsm(device)
    client = ProvisioningDeviceClient.create_from_x509_certificate(
        HOST, None, cloud.id_scope, hsm, **cloud.options
    )
    assert client.register().registration_state.device_id == device.name
    assert sorted(hsm.asked) == ["certificate", "common name", "key"]
    with cloud.hub(device, x509=hsm) as hub:
        hub.send_message("from the HSM")


def test_a_custom_hsm_that_signs_is_never_asked_for_its_key(
    cloud: Cloud, device: Device, tmp_path: Path
) -> None:
    class SigningHsm(CustomHsm):
        sign = Hsm(device, tmp_path).sign

    hsm = SigningHsm(device)
    cloud.registering(device, x509=hsm).register()
    assert "key" not in hsm.asked


@pytest.mark.parametrize("question", ["get_certificate", "get_key", "get_common_name"])
def test_the_exception_of_a_custom_hsm_is_the_cause(
    cloud: Cloud, device: Device, question: str
) -> None:
    broken = RuntimeError("the slot is empty")

    def fail() -> str:
        raise broken

    hsm = CustomHsm(device)
    setattr(hsm, question, fail)
    create = ProvisioningDeviceClient.create_from_x509_certificate
    with pytest.raises(SignerError, match="RuntimeError: the slot is empty") as raised:
        create(HOST, None, cloud.id_scope, hsm, **cloud.options)
    assert raised.value.__cause__ is broken
    assert (raised.value.code, raised.value.operation) == (117, "open HSM")
    assert issubclass(SignerError, dps_core.DpsError)
