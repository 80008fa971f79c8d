// Registers and connects devices that then stay connected, and prints what that used.
//
//     fleet.js ours|theirs ID_SCOPE FOLDER DEVICES
'use strict';

const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const [who, idScope, folder, count] = process.argv.slice(2);
const { Client, Mqtt, ProvisioningDeviceClient, ProvisioningMqtt, X509Security } = require('./sdk')(who);
const DEVICES = Number(count);
// How many devices register at the same time.
const ABREAST = 32;

// Ours is made to be shared; the incumbent's belongs to one client.
const shared = who === 'ours' ? new Mqtt() : undefined;

async function connected(number) {
  const deviceId = `device-${String(number).padStart(5, '0')}`;
  const x509 = {
    cert: readFileSync(join(folder, `${deviceId}-full-chain.cert.pem`), 'utf8'),
    key: readFileSync(join(folder, `${deviceId}.key.pem`), 'utf8'),
  };
  const security = new X509Security(deviceId, x509);
  const transport = shared ?? new ProvisioningMqtt();
  const device = ProvisioningDeviceClient.create('localhost', idScope, transport, security);
  const result = await device.register();
  const name = `HostName=${result.assignedHub};DeviceId=${result.deviceId};x509=true`;
  const hub = Client.fromConnectionString(name, shared ?? Mqtt);
  await hub.setOptions(x509);
  await hub.open();
  return hub;
}

function status(name) {
  const [, value] = new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(value);
}

async function main() {
  // One more, which warms the process up.
  const fleet = [await connected(DEVICES)];
  const [rss, start, before] = [status('VmRSS'), process.hrtime.bigint(), process.cpuUsage()];
  const waiting = Array.from({ length: DEVICES }, (_, number) => number).values();
  const work = async () => {
    for (const number of waiting) fleet.push(await connected(number));
  };
  await Promise.all(Array.from({ length: ABREAST }, work));
  const [used, end] = [process.cpuUsage(before), process.hrtime.bigint()];
  const reading = {
    cpu: used.user + used.system,
    wall: Number(end - start) / 1e3,
    rss_before: rss,
    rss: status('VmRSS'),
    threads: status('Threads'),
  };
  console.log(JSON.stringify(reading));
  process.exit(fleet.length === DEVICES + 1 ? 0 : 1);
}

main();
