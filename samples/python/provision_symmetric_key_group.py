"""Registers three devices of an enrollment group at once, each with a key derived from the group's.

The group's key belongs where devices are made, not into a device: this sample derives the keys
itself only to be complete.

Environment: PROVISIONING_HOST, PROVISIONING_IDSCOPE, PROVISIONING_DEVICE_ID_1 to _3,
PROVISIONING_SYMMETRIC_KEY (the group's). Against the emulator also DPS_CONNECT_TO and
SSL_CERT_FILE.
"""

import asyncio
import os
import uuid

from dps_core import Message, derive_device_key
from dps_core.aio import IoTHubDeviceClient, ProvisioningDeviceClient

MESSAGES_TO_SEND = 5


async def run_device(device_id: str, device_key: str) -> None:
    provisioning_client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=os.environ["PROVISIONING_HOST"],
        registration_id=device_id,
        id_scope=os.environ["PROVISIONING_IDSCOPE"],
        symmetric_key=device_key,
    )
    result = await provisioning_client.register()
    print("The complete state of registration result is")
    print(result.registration_state)
    if result.status != "assigned":
        print("Can not send telemetry from the provisioned device")
        return

    device_id = result.registration_state.device_id
    print(f"Will send telemetry from the provisioned device with id {device_id}")
    device_client = IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=device_key,
        hostname=result.registration_state.assigned_hub,
        device_id=device_id,
    )
    async with device_client:

        async def send(number: int) -> None:
            print(f"sending message # {number} for client with id {device_id}")
            message = Message(f"test wind speed {number}")
            message.message_id = uuid.uuid4()
            await device_client.send_message(message)
            print(f"done sending message # {number} for client with id {device_id}")

        await asyncio.gather(*(send(number) for number in range(1, MESSAGES_TO_SEND + 1)))


async def main() -> None:
    group_key = os.environ["PROVISIONING_SYMMETRIC_KEY"]
    device_ids = [os.environ[f"PROVISIONING_DEVICE_ID_{number}"] for number in (1, 2, 3)]
    await asyncio.gather(
        *(
            run_device(device_id, derive_device_key(group_key, device_id))
            for device_id in device_ids
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
