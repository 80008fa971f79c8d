"""Registers with a symmetric key of an individual enrollment, and sends ten messages.

Environment: PROVISIONING_HOST, PROVISIONING_IDSCOPE, PROVISIONING_REGISTRATION_ID,
PROVISIONING_SYMMETRIC_KEY. Against the emulator also DPS_CONNECT_TO and SSL_CERT_FILE.
"""

import asyncio
import os
import uuid

from dps_core import Message
from dps_core.aio import IoTHubDeviceClient, ProvisioningDeviceClient

MESSAGES_TO_SEND = 10


async def main() -> None:
    symmetric_key = os.environ["PROVISIONING_SYMMETRIC_KEY"]
    provisioning_client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=os.environ["PROVISIONING_HOST"],
        registration_id=os.environ["PROVISIONING_REGISTRATION_ID"],
        id_scope=os.environ["PROVISIONING_IDSCOPE"],
        symmetric_key=symmetric_key,
    )
    result = await provisioning_client.register()
    print("The complete registration result is")
    print(result.registration_state)
    if result.status != "assigned":
        print("Can not send telemetry from the provisioned device")
        return

    print("Will send telemetry from the provisioned device")
    device_client = IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=symmetric_key,
        hostname=result.registration_state.assigned_hub,
        device_id=result.registration_state.device_id,
    )
    async with device_client:

        async def send(number: int) -> None:
            print(f"sending message #{number}")
            message = Message(f"test wind speed {number}")
            message.message_id = uuid.uuid4()
            await device_client.send_message(message)
            print(f"done sending message #{number}")

        await asyncio.gather(*(send(number) for number in range(1, MESSAGES_TO_SEND + 1)))


if __name__ == "__main__":
    asyncio.run(main())
