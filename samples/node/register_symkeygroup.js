// Port of Microsoft's register_symkeygroup.js: registers a device of an enrollment group through
// the Device Provisioning Service with the key that is derived for it from the group's, connects to
// the assigned hub and sends a message.
//
// The group's key belongs where devices are made. A device itself holds its derived key alone: see
// register_symkey.js.
'use strict';

const {
  Message,
  Mqtt,
  ProvisioningDeviceClient,
  SymmetricKeySecurityClient,
  deriveDeviceKey,
} = require('dps-core');

const provisioningHost = process.env.PROVISIONING_HOST;
const idScope = process.env.PROVISIONING_IDSCOPE;
const registrationId = process.env.PROVISIONING_REGISTRATION_ID;
const groupKey = process.env.PROVISIONING_SYMMETRIC_KEY;

async function main() {
  const symmetricKey = deriveDeviceKey(groupKey, registrationId);
  const security = new SymmetricKeySecurityClient(registrationId, symmetricKey);
  const provisioningClient = ProvisioningDeviceClient.create(provisioningHost, idScope, new Mqtt(), security);
  let result;
  try {
    result = await provisioningClient.register();
  } catch (err) {
    console.log('error registering device: ' + err);
    return 1;
  }
  console.log('registration succeeded');
  console.log('assigned hub=' + result.assignedHub);
  console.log('deviceId=' + result.deviceId);

  let hubClient;
  try {
    hubClient = await provisioningClient.connect(result);
  } catch (err) {
    console.error('Could not connect: ' + err.message);
    return 1;
  }
  console.log('Client connected');
  try {
    const res = await hubClient.sendEvent(new Message('Hello world'));
    console.log('send status: ' + res.constructor.name);
  } catch (err) {
    console.log('send error: ' + err.toString());
    return 1;
  } finally {
    await hubClient.close();
  }
  return 0;
}

main().then((code) => {
  process.exitCode = code;
});
