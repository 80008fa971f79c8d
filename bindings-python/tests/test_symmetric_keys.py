"""Symmetric keys that stay where they are, and those that an HSM gives away."""

from __future__ import annotations

import asyncio
import base64
import hmac
import itertools
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from conftest import HOST, HUB, Cloud, Hierarchy
from dps_core import (
    IoTHubDeviceClient,
    ProvisioningDeviceClient,
    SignerError,
    TokenRequest,
    aio,
    exceptions,
)
from test_cancellation import PATIENCE, cancel, nobody_waits, until
from test_concurrency import leaves_nothing_behind

_numbers = itertools.count(1)


class Meter:
    """A device that is enrolled with a symmetric key."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.name = f"keyed-meter-{next(_numbers)}"
        self.key = base64.b64encode(secrets.token_bytes(32)).decode()
        cloud.dps(
            *("enrollment", "create", "--enrollment-id", self.name, "--attestation-type"),
            *("symmetricKey", "--primary-key", self.key, "--secondary-key", self.key),
        )

    def registering(self, key: Any) -> ProvisioningDeviceClient:
        return ProvisioningDeviceClient.create_from_symmetric_key(
            HOST, self.name, self.cloud.id_scope, key, **self.cloud.options
        )

    def registering_async(self, key: Any) -> aio.ProvisioningDeviceClient:
        return aio.ProvisioningDeviceClient.create_from_symmetric_key(
            HOST, self.name, self.cloud.id_scope, key, **self.cloud.options
        )

    def hub(self, key: Any, **more: Any) -> IoTHubDeviceClient:
        return IoTHubDeviceClient.create_from_symmetric_key(
            key, HUB, self.name, **self.cloud.options, **more
        )

    def hub_async(self, key: Any, **more: Any) -> aio.IoTHubDeviceClient:
        return aio.IoTHubDeviceClient.create_from_symmetric_key(
            key, HUB, self.name, **self.cloud.options, **more
        )

    def told(self) -> list[str]:
        return [message["body"] for message in self.cloud.feed(self.name)]


@pytest.fixture
def meter(cloud: Cloud) -> Iterator[Meter]:
    yield Meter(cloud)


class Token:
    """A key that signs tokens; ``before`` is called with each signature's number, from 0."""

    def __init__(self, meter: Meter, before: Callable[[int], Any] = lambda number: None) -> None:
        self.key = base64.b64decode(meter.key)
        self.before = before
        self.requests: list[TokenRequest] = []

    def sign(self, request: TokenRequest) -> Any:
        self.requests.append(request)
        answer = self.before(len(self.requests) - 1)
        return self._sign(request) if answer is None else answer

    def _sign(self, request: TokenRequest) -> bytes:
        return hmac.digest(self.key, request.message, request.hash)


class AsyncToken(Token):
    async def sign(self, request: TokenRequest) -> Any:
        self.requests.append(request)
        self.loop = asyncio.get_running_loop()
        answer = self.before(len(self.requests) - 1)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return self._sign(request) if answer is None else answer


KINDS = pytest.mark.parametrize("kind", [Token, AsyncToken])


@KINDS
def test_a_key_that_signs_registers_and_sends(
    cloud: Cloud, meter: Meter, kind: type[Token]
) -> None:
    token = kind(meter)
    assert meter.registering(token).register().status == "assigned"
    with meter.hub(token) as hub:
        hub.send_message("signed elsewhere")

    async def scenario() -> None:
        await meter.registering_async(token).register()
        async with meter.hub_async(token) as hub:
            await hub.send_message("and in an event loop")
        if isinstance(token, AsyncToken):
            assert token.loop is asyncio.get_running_loop()

    asyncio.run(scenario())
    assert meter.told() == ["signed elsewhere", "and in an event loop"]
    resources = [request.message.decode().partition("\n")[0] for request in token.requests]
    registration = f"{cloud.id_scope}%2Fregistrations%2F{meter.name}"
    assert resources == [registration, f"{HUB}%2Fdevices%2F{meter.name}"] * 2
    for request in token.requests:
        assert (request.algorithm, request.hash, request.digest) == ("hmac-sha256", "sha256", None)


def test_a_slow_key_stalls_neither_the_event_loop_nor_another_device(
    cloud: Cloud, hierarchy: Hierarchy, meter: Meter
) -> None:
    asked, release = threading.Event(), threading.Event()

    def before(number: int) -> None:
        asked.set()
        assert release.wait(PATIENCE), "the other device goes first"

    async def scenario() -> None:
        registering = asyncio.create_task(meter.registering_async(Token(meter, before)).register())
        assert await asyncio.to_thread(asked.wait, PATIENCE)
        await cloud.registering_async(hierarchy.device()).register()
        assert not registering.done()
        release.set()
        await registering

    asyncio.run(scenario())


@KINDS
def test_the_exception_of_a_key_is_the_cause(meter: Meter, kind: type[Token]) -> None:
    removed = OSError(5, "the token was removed")

    def before(number: int) -> None:
        raise removed

    with pytest.raises(SignerError, match=r"OSError: .* the token was removed") as blocking:
        meter.registering(kind(meter, before)).register()
    assert blocking.value.__cause__ is removed
    assert blocking.value.operation == "register"
    with pytest.raises(SignerError) as asynchronous:
        asyncio.run(meter.registering_async(kind(meter, before)).register())
    assert asynchronous.value.__cause__ is removed

    async def send() -> None:
        with pytest.raises(SignerError) as raised:
            await meter.hub_async(kind(meter, before)).send_message("never sent")
        assert raised.value.__cause__ is removed

    asyncio.run(send())


@KINDS
@pytest.mark.parametrize(
    ("garbage", "says"),
    [(5, "TypeError"), ("text", "TypeError"), (b"", "0 bytes"), (b"x" * 31, "31 bytes")],
)
def test_garbage_is_refused(meter: Meter, kind: type[Token], garbage: object, says: str) -> None:
    token = kind(meter, lambda number: garbage)
    with pytest.raises(SignerError, match=says):
        meter.registering(token).register()
    with pytest.raises(SignerError, match=says):
        asyncio.run(meter.registering_async(token).register())
    with pytest.raises(SignerError, match=says):
        meter.hub(token).connect()


@KINDS
def test_a_key_that_never_answers_ends_at_the_deadline(meter: Meter, kind: type[Token]) -> None:
    release = threading.Event()

    def before(number: int) -> Any:
        return asyncio.Event().wait() if kind is AsyncToken else release.wait(2 * PATIENCE)

    async def scenario() -> None:
        token = kind(meter, before)
        with pytest.raises(exceptions.DeadlineExceededError):
            await meter.registering_async(token).register(deadline=0.5)
        with pytest.raises(exceptions.DeadlineExceededError):
            await meter.hub_async(token).connect(deadline=0.5)
        assert (await meter.registering_async(kind(meter)).register()).status == "assigned"

    asyncio.run(scenario())
    release.set()


def test_a_registration_is_cancelled_while_its_key_signs(meter: Meter) -> None:
    asked, release = threading.Event(), threading.Event()

    def before(number: int) -> None:
        asked.set()
        release.wait(PATIENCE)

    async def scenario() -> None:
        client = meter.registering_async(Token(meter, before))
        task = asyncio.create_task(client.register())
        assert await asyncio.to_thread(asked.wait, PATIENCE)
        await cancel(task)
        assert nobody_waits()
        release.set()
        assert (await client.register()).status == "assigned"

    asyncio.run(scenario())


@KINDS
def test_the_hub_is_shown_a_fresh_token_before_the_old_one_expires(
    meter: Meter, kind: type[Token]
) -> None:
    """Once by a key that signs, once by one that fails: then the next message connects anew."""
    meter.registering(meter.key).register()
    broken = RuntimeError("the token was pulled out")

    def before(number: int) -> None:
        if number == 2:
            raise broken

    async def scenario() -> None:
        token = kind(meter, before)
        hub = meter.hub_async(token, sastoken_ttl=2)
        await hub.send_message("by the first token")
        await until(lambda: len(token.requests) == 2)
        await hub.send_message("by the second")
        await until(lambda: len(token.requests) == 3 and not hub.connected)
        await hub.send_message("by the fourth")
        await hub.shutdown()

    asyncio.run(scenario())
    assert meter.told() == ["by the first token", "by the second", "by the fourth"]


def test_signing_leaves_nothing_behind(meter: Meter) -> None:
    def fail(number: int) -> None:
        raise RuntimeError("the token was pulled out")

    async def register() -> None:
        for _ in range(10):
            tokens = [kind(meter) for kind in (Token, AsyncToken) for _ in range(4)]
            await asyncio.gather(*(meter.registering_async(it).register() for it in tokens))
            for broken in (Token(meter, fail), AsyncToken(meter, fail)):
                with pytest.raises(SignerError):
                    await meter.registering_async(broken).register()

    leaves_nothing_behind(lambda: asyncio.run(register()))


class KeyHsm:
    """The two functions of the tutorial's custom HSM whose key is symmetric."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.asked: list[str] = []

    def get_symmetric_key(self) -> str | bytes:
        self.asked.append("key")
        return self.meter.key

    def get_registration_name(self) -> str:
        self.asked.append("name")
        return self.meter.name


def test_the_tutorials_custom_hsm_gives_its_symmetric_key(cloud: Cloud, meter: Meter) -> None:
    hsm = KeyHsm(meter)
    create = ProvisioningDeviceClient.create_from_symmetric_key
    client = create(HOST, None, cloud.id_scope, hsm, **cloud.options)
    assert client.register().registration_state.device_id == meter.name
    # In the order in which Microsoft's client asks.
    assert hsm.asked == ["name", "key"]
    hsm.get_symmetric_key = meter.key.encode  # type: ignore[method-assign]
    assert meter.registering(hsm).register().status == "assigned"
    with meter.hub(hsm) as hub:
        hub.send_message("from the HSM")
    assert meter.told() == ["from the HSM"]
    other = create(HOST, f"not-{meter.name}", cloud.id_scope, hsm, **cloud.options)
    with pytest.raises(exceptions.RegistrationIdMismatchError):
        other.register()


def test_an_hsm_that_signs_is_never_asked_for_its_key(meter: Meter) -> None:
    class SigningHsm(KeyHsm):
        sign = Token(meter).sign

    hsm = SigningHsm(meter)
    meter.registering(hsm).register()
    with meter.hub(hsm) as hub:
        hub.send_message("signed by the HSM")
    assert not hsm.asked
    assert meter.told() == ["signed by the HSM"]


@pytest.mark.parametrize("question", ["get_symmetric_key", "get_registration_name"])
def test_the_exception_of_an_hsm_is_the_cause(meter: Meter, question: str) -> None:
    broken = RuntimeError("the slot is empty")

    def fail() -> str:
        raise broken

    hsm = KeyHsm(meter)
    setattr(hsm, question, fail)
    with pytest.raises(SignerError, match="failed: RuntimeError: the slot is empty") as raised:
        meter.registering(hsm)
    assert raised.value.__cause__ is broken
    assert (raised.value.code, raised.value.operation) == (117, "open HSM")


@pytest.mark.parametrize(
    ("key", "operation"), [("not base64", "open credential"), (b"\xff\xfe", "open HSM")]
)
def test_what_an_hsm_gives_is_read_by_the_core(
    meter: Meter, key: str | bytes, operation: str
) -> None:
    hsm = KeyHsm(meter)
    hsm.get_symmetric_key = lambda: key  # type: ignore[method-assign]
    with pytest.raises(exceptions.KeyMalformedError) as raised:
        meter.registering(hsm)
    assert raised.value.operation == operation


def test_what_is_no_key_is_refused_at_once(meter: Meter) -> None:
    for wrong in (None, 5, b"bytes", object(), {"sign": 1}):
        with pytest.raises(TypeError, match="symmetric_key must be"):
            meter.registering(wrong)
        with pytest.raises(TypeError, match="symmetric_key must be"):
            meter.hub(wrong)
    with pytest.raises(TypeError, match="callable"):
        meter.hub(type("Odd", (), {"sign": 5})())
    lone = "\udcff" + meter.key
    with pytest.raises(ValueError, match="base64") as raised:
        meter.registering(lone)
    assert meter.key not in repr(vars(raised.value)) + repr(raised.value)
    assert not hasattr(raised.value, "object"), "it would be the key"


def test_a_hub_allows_more_in_a_device_id_than_dps_in_a_registration_id(
    cloud: Cloud, meter: Meter
) -> None:
    for key in (meter.key, Token(meter)):
        hub = IoTHubDeviceClient.create_from_symmetric_key(key, HUB, "a*b,c", **cloud.options)
        with pytest.raises(PermissionError):
            hub.connect()
        with pytest.raises(exceptions.RegistrationIdInvalidError):
            ProvisioningDeviceClient.create_from_symmetric_key(HOST, "a*b,c", "0ne1", key)


def typed(meter: Meter) -> None:
    """What the types accept; `mypy` reads it."""

    class Plain:
        def sign(self, request: TokenRequest) -> bytes:
            return request.message

    class Later:
        async def sign(self, request: TokenRequest) -> bytes:
            return request.message

    class Either:
        def sign(self, request: TokenRequest) -> bytes | Awaitable[bytes]:
            return request.message

    create = IoTHubDeviceClient.create_from_symmetric_key
    create(Plain(), HUB, meter.name)
    create(Later(), HUB, meter.name)
    create(Either(), HUB, meter.name)
    create(KeyHsm(meter), HUB, meter.name)
    create(5, HUB, meter.name)  # type: ignore[arg-type]
