// A gateway: a thousand devices, each with its own certificate, registered, connected and heard from
// one process. Make the certificates with `dps chain`:
//
//   dps chain device --range device-0001..device-1000 --key-type ec-p256
//
// Environment: PROVISIONING_HOST, PROVISIONING_IDSCOPE, and CHAIN_FOLDER, where `dps chain` was run.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { Mqtt, ProvisioningDeviceClient, X509Security } from 'dps-core';

const { CHAIN_FOLDER = '.', PROVISIONING_HOST, PROVISIONING_IDSCOPE } = process.env;

/** How many devices register at the same time; DPS limits registrations per minute. */
const AT_ONCE = 50;

const SUFFIX = '-full-chain.cert.pem';
const devices = readdirSync(join(CHAIN_FOLDER, 'certs'))
  .filter((file) => file.endsWith(SUFFIX))
  .map((file) => file.slice(0, -SUFFIX.length));

// Shared, so that all devices share its trusted roots too.
const transport = new Mqtt();
const hubs = [];
const failed = [];
let heard = 0;
const controller = new AbortController();
process.once('SIGINT', () => controller.abort());

async function bring(name) {
  const security = new X509Security(name, {
    certFile: join(CHAIN_FOLDER, 'certs', name + SUFFIX),
    keyFile: join(CHAIN_FOLDER, 'private', `${name}.key.pem`),
  });
  const device = ProvisioningDeviceClient.create(PROVISIONING_HOST, PROVISIONING_IDSCOPE, transport, security);
  const { signal } = controller;
  const hub = await device.connect(await device.register({ signal }), { signal });
  hubs.push(hub);
  await hub.sendEvent(`Hello from ${name}`, { signal });
  heard += 1;
}

function showProgress() {
  if (!process.stdout.isTTY) return;
  const done = heard + failed.length;
  const bar = '#'.repeat((40 * done) / devices.length).padEnd(40, '.');
  process.stdout.write(`\r[${bar}] ${done}/${devices.length}`);
  if (done === devices.length) process.stdout.write('\n');
}

const start = performance.now();
const waiting = devices.values();
const workers = Array.from({ length: AT_ONCE }, async () => {
  for (const name of waiting) {
    await bring(name).catch((error) => failed.push({ name, error }));
    showProgress();
  }
});
await Promise.all(workers);

const seconds = ((performance.now() - start) / 1000).toFixed(1);
console.log(`${heard} of ${devices.length} devices registered, connected and heard in ${seconds} s`);
for (const { name, error } of failed) console.error(`${name}: ${error}`);
await Promise.all(hubs.map((hub) => hub.close()));
process.exitCode = failed.length === 0 ? 0 : 1;
