"""As provision_x509.py, with a key that this process never sees.

A signer is any object with ``sign(request)``. This one asks another program, the openssl command,
to sign the digest, as one would ask an HSM, a TPM or a signing service.

Environment: as for provision_x509.py; X509_KEY_FILE is the file that openssl reads.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path

from dps_core import X509, Message, SignRequest
from dps_core.aio import IoTHubDeviceClient, ProvisioningDeviceClient

MESSAGES_TO_SEND = 10


class OpenSslSigner:
    """Signs with an EC key that only the openssl command reads; the pass phrase of an encrypted one
    is in the environment variable that it is told."""

    def __init__(self, key_file: str, pass_phrase_variable: str | None) -> None:
        self._key_file = key_file
        # Without one openssl is not to ask for it.
        self._pass_phrase = f"env:{pass_phrase_variable}" if pass_phrase_variable else "pass:"

    async def sign(self, request: SignRequest) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *("openssl", "pkeyutl", "-sign", "-inkey", self._key_file),
            *("-passin", self._pass_phrase, "-pkeyopt", f"digest:{request.hash}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        signature, complaint = await process.communicate(request.digest)
        if process.returncode != 0:
            raise RuntimeError(f"openssl did not sign: {complaint.decode()}")
        return signature


async def main() -> None:
    variables = [name for name in ("X509_PASS_PHRASE", "PASS_PHRASE") if os.environ.get(name)]
    signer = OpenSslSigner(os.environ["X509_KEY_FILE"], variables[0] if variables else None)
    x509 = X509.from_signer(Path(os.environ["X509_CERT_FILE"]), signer)
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
