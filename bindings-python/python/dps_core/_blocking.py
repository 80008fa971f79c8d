"""The clients whose calls wait."""

from __future__ import annotations

from . import _clients

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from typing_extensions import Self

    from ._dps_core import Message, RegistrationResult


class ProvisioningDeviceClient(_clients.Provisioning):
    """Registers a device with the Device Provisioning Service."""

    __slots__ = ()

    def register(
        self,
        *,
        deadline: float | None = None,
        on_progress: Callable[[str], object] | None = None,
    ) -> RegistrationResult:
        """Registers the device, and waits for its assignment.

        :param deadline: How many seconds it may take, retries included; None for two minutes.
        :param on_progress: Called with ``connected``, ``registering``, ``assigning``, ``assigned``.
        """
        return self._native.register(self._json(), deadline, self._progress(on_progress))


class IoTHubDeviceClient(_clients.Hub):
    """A device's connection to its IoT hub; comes back by itself when it is lost.

    As a context manager it connects, and shuts down at the end.
    """

    __slots__ = ()

    def connect(self, *, deadline: float | None = None) -> None:
        """Connects; retries, until the deadline in seconds, what may succeed later."""
        self._native.connect(deadline)

    def send_message(
        self, message: Message | str | bytes, *, deadline: float | None = None
    ) -> None:
        """Sends one message, and returns once the hub has acknowledged that very message.

        :param deadline: How many seconds it may take; None for as long as the hub takes. What has
            been written by then may still arrive.
        """
        self._native.send(message, deadline)

    def send_messages(
        self, messages: Iterable[Message | str | bytes], *, deadline: float | None = None
    ) -> None:
        """Sends messages in their order, and returns once the hub has acknowledged them all.

        :param deadline: As for ``send_message``, of them all together.
        """
        self._native.send_all(messages, deadline)

    def disconnect(self, *, deadline: float | None = None) -> None:
        """Waits until the hub has acknowledged what was sent, and disconnects; at the deadline it
        disconnects all the same, and raises NotDeliveredError.

        :param deadline: In seconds; None for ten.
        """
        self._native.close(deadline, False)

    def shutdown(self, *, deadline: float | None = None) -> None:
        """Disconnects for good."""
        self._native.close(deadline, True)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.shutdown()
            return
        # Whoever was interrupted or has failed does not wait for the hub, and hears of that.
        with _clients.Undelivered():
            self.shutdown(deadline=0)
