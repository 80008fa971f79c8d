"""As provision_x509.py, with calls that wait: for a device that does one thing at a time."""

import os
import uuid

from dps_core import X509, IoTHubDeviceClient, Message, ProvisioningDeviceClient


def main() -> None:
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
    result = provisioning_client.register()
    print(result)
    if result.status != "assigned":
        print("Can not send telemetry from the provisioned device")
        return

    print("Will send telemetry from the provisioned device")
    with IoTHubDeviceClient.create_from_x509_certificate(
        x509=x509,
        hostname=result.registration_state.assigned_hub,
        device_id=result.registration_state.device_id,
    ) as device_client:
        for number in range(1, 6):
            print(f"sending message #{number}")
            device_client.send_message(f"test payload message {number}")
        for number in range(6, 11):
            print(f"sending message #{number}")
            message = Message(f"test wind speed {number}", message_id=uuid.uuid4())
            message.custom_properties["tornado-warning"] = "yes"
            device_client.send_message(message)


if __name__ == "__main__":
    main()
