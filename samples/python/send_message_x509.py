"""Sends ten messages to a hub that already knows the device's certificate.

Environment: HOSTNAME, DEVICE_ID, X509_CERT_FILE, X509_KEY_FILE, and for an encrypted key
X509_PASS_PHRASE or PASS_PHRASE. Against the emulator also DPS_CONNECT_TO and SSL_CERT_FILE.
"""

import asyncio
import os
import uuid

from dps_core import X509, Message
from dps_core.aio import IoTHubDeviceClient

MESSAGES_TO_SEND = 10


async def main() -> None:
    x509 = X509(
        cert_file=os.environ["X509_CERT_FILE"],
        key_file=os.environ["X509_KEY_FILE"],
        pass_phrase=os.environ.get("X509_PASS_PHRASE") or os.environ.get("PASS_PHRASE"),
    )
    device_client = IoTHubDeviceClient.create_from_x509_certificate(
        x509=x509,
        hostname=os.environ["HOSTNAME"],
        device_id=os.environ["DEVICE_ID"],
    )
    async with device_client:

        async def send(number: int) -> None:
            print(f"sending message #{number}")
            message = Message(f"test wind speed {number}")
            message.message_id = uuid.uuid4()
            message.correlation_id = "correlation-1234"
            message.custom_properties["tornado-warning"] = "yes"
            await device_client.send_message(message)
            print(f"done sending message #{number}")

        await asyncio.gather(*(send(number) for number in range(1, MESSAGES_TO_SEND + 1)))


if __name__ == "__main__":
    asyncio.run(main())
