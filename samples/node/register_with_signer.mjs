// The device of register_x509.js with a key that dps-core never sees: a function signs. Here the
// function has the key from a file and stands for what asks your HSM, TPM or signing service.

import { constants, createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { Mqtt, ProvisioningDeviceClient, X509Security } from 'dps-core';

const { CERTIFICATE_FILE, KEY_FILE, PROVISIONING_HOST, PROVISIONING_IDSCOPE, PROVISIONING_REGISTRATION_ID } =
  process.env;

const key = createPrivateKey(readFileSync(KEY_FILE));

/** Signs the message; a device that wants the hash finds it in `digest`. */
async function signer({ algorithm, message }) {
  const hash = algorithm.split('-').at(-1);
  const { RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST } = constants;
  const padding = algorithm.includes('pss') ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;
  return sign(hash, message, algorithm.startsWith('rsa') ? { key, padding, saltLength: RSA_PSS_SALTLEN_DIGEST } : key);
}

const security = new X509Security(PROVISIONING_REGISTRATION_ID, { certFile: CERTIFICATE_FILE, signer });
const device = ProvisioningDeviceClient.create(PROVISIONING_HOST, PROVISIONING_IDSCOPE, new Mqtt(), security);

const result = await device.register();
console.log('registration succeeded');
console.log('assigned hub=' + result.assignedHub);
console.log('deviceId=' + result.deviceId);

const hub = await device.connect(result);
console.log('Client connected');
const status = await hub.sendEvent('Hello world');
console.log('send status: ' + status.constructor.name);
await hub.close();
