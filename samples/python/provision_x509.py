"""The tutorial's device: registers with its X.509 chain, and sends ten messages to its hub.

Environment: PROVISIONING_HOST, PROVISIONING_IDSCOPE, DPS_X509_REGISTRATION_ID, X509_CERT_FILE,
X509_KEY_FILE, and for an encrypted key X509_PASS_PHRASE or PASS_PHRASE. Against the emulator also
DPS_CONNECT_TO and SSL_CERT_FILE.
"""

import asyncio
import os
import uuid

from dps_core import X509, Message
from dps_core.aio import IoTHubDeviceClient, ProvisioningDeviceClient

MESSAGES_TO_SEND = 10


async def main() -> None:
    x509 = X509(
        cert_file=os.environ["X509_CERT_FILE"],
        key_file=os.environ["X509_KEY_FILE"],
        pass_phrase=os.environ.get("X509_PASS_PHRASE") or os.environ.get("PASS_PHRASE"),
    )
    provisioning_client = ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host=os.environ["PROVISIONING_HOST"],
        registration_id=os.environ["DPS_X509_REGISTRATION_ID"],
        id_scope=os.environ["PROVISIONING_IDSCOPE"],
        x509=x509,
    )
    result = await provisioning_client.register()
    print("The complete registration result is")
    print(result.registration_state)
    if result.status != "assigned":
        print("Can not send telemetry from the provisioned device")
        return

    print("Will send telemetry from the provisioned device")
    device_client = IoTHubDeviceClient.create_from_x509_certificate(
        x509=x509,
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
