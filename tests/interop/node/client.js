// A device on Microsoft's Node SDK: the steps of its samples register_x509.js and, where
// PROVISIONING_SYMMETRIC_KEY is set, register_symkey.js.
//
// Takes the environment variables of client.py beside it, and `parallel` or `one-by-one` for its
// ten messages. Prints one line of JSON at the end: what the SDK told it.
'use strict';

const fs = require('fs');
const { Client, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Mqtt: ProvisioningMqtt } = require('azure-iot-provisioning-device-mqtt');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { X509Security } = require('azure-iot-security-x509');

const DEADLINE = 50_000; // milliseconds

const { env } = process;
const outcome = { sent: [] };

async function main(order) {
  const symmetricKey = env.PROVISIONING_SYMMETRIC_KEY;
  const registrationId = symmetricKey
    ? env.PROVISIONING_REGISTRATION_ID
    : env.DPS_X509_REGISTRATION_ID;
  const x509 = symmetricKey
    ? null
    : {
        cert: fs.readFileSync(env.X509_CERT_FILE, 'utf-8'),
        key: fs.readFileSync(env.X509_KEY_FILE, 'utf-8'),
      };
  const provisioning = ProvisioningDeviceClient.create(
    env.PROVISIONING_HOST,
    env.PROVISIONING_IDSCOPE,
    new ProvisioningMqtt(),
    symmetricKey
      ? new SymmetricKeySecurityClient(registrationId, symmetricKey)
      : new X509Security(registrationId, x509),
  );
  let result;
  try {
    result = await provisioning.register();
  } catch (error) {
    outcome.errors = [`${error.name}: ${error.message}`];
    outcome.errorCode = error.result?.errorCode;
    return;
  }
  outcome.registration = [result.deviceId, result.assignedHub, result.substatus, result.status];

  const { assignedHub, deviceId } = result;
  const proof = symmetricKey ? `SharedAccessKey=${symmetricKey}` : 'x509=true';
  const hub = Client.fromConnectionString(
    `HostName=${assignedHub};DeviceId=${deviceId};${proof}`,
    Mqtt,
  );
  if (x509) await hub.setOptions(x509);
  await hub.open();
  const messages = Array.from({ length: 10 }, (_, i) => message(registrationId, i + 1));
  if (order === 'parallel') {
    await Promise.all(messages.map((each) => send(hub, each)));
  } else {
    for (const each of messages) await send(hub, each);
  }
  await hub.close();
}

function message(registrationId, number) {
  const made = new Message(JSON.stringify({ number }));
  made.messageId = `${registrationId}/${number}`;
  made.contentEncoding = 'utf-8';
  made.contentType = 'application/json';
  made.properties.add('grad °C & %', `${number} = ä/b`);
  return made;
}

async function send(hub, each) {
  const { constructor } = await hub.sendEvent(each);
  if (constructor.name !== 'MessageEnqueued') throw new Error(`sent, but ${constructor.name}`);
  outcome.sent.push(each.messageId);
}

setTimeout(() => {
  console.error(`not done within ${DEADLINE} ms: ${JSON.stringify(outcome)}`);
  process.exit(1);
}, DEADLINE);
main(process.argv[2]).then(
  () => process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit(0)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
