"""The clients for asyncio."""

from __future__ import annotations

from asyncio import get_running_loop

from . import _clients
from ._credentials import to_x509
from ._dps_core import Bridge, Examination

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

    from ._credentials import _Certificate
    from ._doctor import _Source
    from ._dps_core import Message, RegistrationResult, Report

# The attribute of an event loop that holds its bridge. Kept by the loop, it goes with it.
_BRIDGE = "_dps_core_bridge"


def _bridge(loop: AbstractEventLoop) -> Bridge:
    bridge: Bridge | None = getattr(loop, _BRIDGE, None)
    if bridge is None:
        bridge = Bridge()
        loop.add_reader(bridge.fileno(), bridge.drain)
        setattr(loop, _BRIDGE, bridge)
    return bridge


class ProvisioningDeviceClient(_clients.Provisioning):
    """Registers a device with the Device Provisioning Service."""

    __slots__ = ()

    async def register(
        self,
        *,
        deadline: float | None = None,
        on_progress: Callable[[str], object] | None = None,
    ) -> RegistrationResult:
        """Registers the device, and waits for its assignment. Cancelling it ends the registration.

        :param deadline: How many seconds it may take, retries included; None for two minutes.
        :param on_progress: Called with ``connected``, ``registering``, ``assigning``, ``assigned``.
        """
        on_progress = self._progress(on_progress)
        loop = get_running_loop()
        bridge = _bridge(loop)
        future: Future[RegistrationResult] = loop.create_future()
        ticket = self._native.start(bridge, loop, future, self._json(), deadline, on_progress)
        try:
            return await future
        except BaseException:
            bridge.cancel(ticket)
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """There is nothing to close: a registration ends with its call."""


class IoTHubDeviceClient(_clients.Hub):
    """A device's connection to its IoT hub; comes back by itself when it is lost.

    As an async context manager it connects, and shuts down at the end.
    """

    __slots__ = ()

    async def connect(self, *, deadline: float | None = None) -> None:
        """Connects; retries, until the deadline in seconds, what may succeed later."""
        loop = get_running_loop()
        bridge = _bridge(loop)
        future = loop.create_future()
        await _end(bridge, future, self._native.start_connect(bridge, loop, future, deadline))

    async def send_message(
        self, message: Message | str | bytes, *, deadline: float | None = None
    ) -> None:
        """Sends one message, and returns once the hub has acknowledged that very message.

        Cancelling it ends the wait, as the deadline does; what has been written may still arrive.

        :param deadline: How many seconds it may take; None for as long as the hub takes.
        """
        # Not by way of _end: this one is called a thousand times a second.
        loop = get_running_loop()
        bridge = _bridge(loop)
        future = loop.create_future()
        ticket = self._native.start_send(bridge, loop, future, message, deadline)
        try:
            await future
        except BaseException:
            bridge.cancel(ticket)
            raise

    async def send_messages(
        self, messages: Iterable[Message | str | bytes], *, deadline: float | None = None
    ) -> None:
        """Sends messages in their order, and returns once the hub has acknowledged them all.

        :param deadline: As for ``send_message``, of them all together.
        """
        loop = get_running_loop()
        bridge = _bridge(loop)
        future = loop.create_future()
        ticket = self._native.start_send_all(bridge, loop, future, messages, deadline)
        await _end(bridge, future, ticket)

    async def disconnect(self, *, deadline: float | None = None) -> None:
        """Waits until the hub has acknowledged what was sent, and disconnects; at the deadline it
        disconnects all the same, and raises NotDeliveredError.

        :param deadline: In seconds; None for ten.
        """
        await self._close(deadline, False)

    async def shutdown(self, *, deadline: float | None = None) -> None:
        """Disconnects for good."""
        await self._close(deadline, True)

    async def _close(self, deadline: float | None, for_good: bool) -> None:
        loop = get_running_loop()
        bridge = _bridge(loop)
        future = loop.create_future()
        await _end(bridge, future, self._native.start_close(bridge, future, deadline, for_good))

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.shutdown()
            return
        # Whoever was cancelled or has failed does not wait for the hub, and hears of that.
        with _clients.Undelivered():
            await self.shutdown(deadline=0)


async def doctor(
    x509: _Certificate | None = None,
    *,
    certificate: _Source | None = None,
    key: _Source | None = None,
    pass_phrase: str | bytes | None = None,
    authorities: _Source | None = None,
    group_certificate: _Source | None = None,
    individual_certificate: _Source | None = None,
    registration_id: str | None = None,
    id_scope: str | None = None,
    provisioning_host: str | None = None,
    connect_to: str | None = None,
    roots: _Source | None = None,
    at: datetime.datetime | None = None,
    deadline: float | None = None,
    wire: bool = False,
    register: bool = False,
) -> Report:
    """As ``dps_core.doctor``. Cancelling it ends the examination."""
    examination = Examination(
        x509=None if x509 is None else to_x509(x509),
        certificate=certificate,
        key=key,
        pass_phrase=pass_phrase,
        authorities=authorities,
        group_certificate=group_certificate,
        individual_certificate=individual_certificate,
        registration_id=registration_id,
        id_scope=id_scope,
        host=provisioning_host,
        connect_to=connect_to,
        roots=roots,
        at=at,
        deadline=deadline,
        wire=wire,
        register=register,
    )
    loop = get_running_loop()
    bridge = _bridge(loop)
    future: Future[Report] = loop.create_future()
    await _end(bridge, future, examination.start(bridge, loop, future))
    return future.result()


async def _end(bridge: Bridge, future: Future[Any], ticket: int) -> None:
    """Waits for the future; cancelling it ends its work."""
    try:
        await future
    except BaseException:
        bridge.cancel(ticket)
        raise


__all__ = ["IoTHubDeviceClient", "ProvisioningDeviceClient", "doctor"]
