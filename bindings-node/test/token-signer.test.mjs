// Symmetric keys that stay where they are: JavaScript functions sign tokens with them.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';

import { Client, SymmetricKeySecurityClient } from 'dps-core';

import { Emulator, HOST, HUB, rejects, until } from './support.mjs';

const KEY = Buffer.alloc(32, 7).toString('base64');
// A hub allows more in a device's ID than DPS in a registration ID.
const HUB_ID = "meter-4*(b),c'd";

const emulator = await Emulator.start('--retry-after', '0');
after(() => emulator.stop());
for (const [id, ...more] of [['meter-1'], ['meter-2'], ['meter-3'], ['meter-4', '--device-id', HUB_ID]]) {
  await emulator.dps('enrollment', 'create', '--enrollment-id', id, '--attestation-type', 'symmetrickey', '--primary-key', KEY, ...more);
}

const hmac = (message) => createHmac('sha256', Buffer.from(KEY, 'base64')).update(message).digest();
const honest = ({ message }) => hmac(message);
const device = (signer, id = 'meter-1') => emulator.device(new SymmetricKeySecurityClient(id, signer));
const silent = () => new Promise(() => {});

/** A client of the hub whose tokens are renewed every second. */
async function renewing(signer, id) {
  const client = device(signer, id);
  const hub = await client.connect(await client.register());
  await hub.close();
  hub.setOptions({ tokenRenewal: { tokenValidTimeInSeconds: 1 } });
  await hub.open();
  return hub;
}

test('a function signs for registration and hub; it is asked for an HMAC of what a token says', async () => {
  const requests = [];
  const client = device((request) => {
    requests.push(request);
    return honest(request);
  });
  const hub = await client.connect(await client.register());
  await hub.sendEvent('signed elsewhere');
  await hub.close();
  assert.equal((await emulator.messages('meter-1')).at(-1).body, 'signed elsewhere');
  assert.deepEqual(requests.map((request) => Object.keys(request)), Array(2).fill(['algorithm', 'message']));
  assert.deepEqual(requests.map(({ algorithm }) => algorithm), ['hmac-sha256', 'hmac-sha256']);
  // Microsoft, "Control access to DPS" and "Control access to IoT Hub", security token structure.
  const [dps, iotHub] = requests.map(({ message }) => message.toString().split('\n'));
  assert.deepEqual([dps[0], iotHub[0]], [`${emulator.idScope}%2Fregistrations%2Fmeter-1`, `${HUB}%2Fdevices%2Fmeter-1`]);
  for (const [, expiry] of [dps, iotHub]) assert.match(expiry, /^\d{10}$/);
});

test('promises, slow ones, and plain Uint8Arrays are as good', async () => {
  for (const signer of [
    async (request) => honest(request),
    (request) => new Promise((resolve) => setTimeout(() => resolve(honest(request)), 50)),
    (request) => new Uint8Array(honest(request)),
    (request) => ({ then: (resolve) => resolve(honest(request)) }),
  ]) {
    assert.equal((await device(signer).register()).assignedHub, HUB);
  }
});

test('what it throws or rejects with is the cause, itself, at registration and at the hub', async () => {
  for (const thrown of [new Error('the token was removed'), 'a string', undefined, { code: 5 }]) {
    for (const fail of [() => { throw thrown; }, () => Promise.reject(thrown)]) {
      const error = await rejects(device(fail).register(), 'DPS_SIGNER');
      assert.deepEqual([error.operation, error.retryable], ['register', false]);
      assert.equal(error.cause, thrown);
      const atTheHub = await rejects(device(fail).connect({ assignedHub: HUB, deviceId: 'meter-1' }), 'DPS_SIGNER');
      assert.equal(atTheHub.operation, 'connect to hub');
      assert.equal(atTheHub.cause, thrown);
    }
  }
});

test('garbage is refused and said to be that, and a wrong key is the service\'s to refuse', async () => {
  for (const [garbage, word] of [
    [Buffer.alloc(31), '31 bytes'],
    [Buffer.alloc(33), '33 bytes'],
    [new Uint8Array(0), '0 bytes'],
    ['text', 'Uint8Array'],
    [undefined, 'Uint8Array'],
    [{}, 'Uint8Array'],
    [7, 'Uint8Array'],
  ]) {
    await rejects(device(() => garbage).register(), 'DPS_SIGNER', word);
  }
  await rejects(device(() => Buffer.alloc(32)).register(), 'DPS_UNAUTHORIZED');
  for (const neither of [5, {}, null, undefined, Buffer.from(KEY)]) {
    assert.throws(() => new SymmetricKeySecurityClient('meter-1', neither), { code: 'DPS_INVALID_ARGUMENT' });
  }
});

test('it is asked again when a token is renewed, and nothing is lost', async () => {
  let calls = 0;
  const hub = await renewing((request) => { calls += 1; return honest(request); }, 'meter-2');
  const before = calls;
  const connects = async () => (await emulator.packets('meter-2', 'hub', 'CONNECT')).length;
  const first = await connects();
  await until('two more tokens', async () => (await connects()) >= first + 2);
  await hub.sendEvent('with the third token');
  assert.ok(calls >= before + 2, `${before} to ${calls} calls`);
  await hub.close();
  assert.equal((await emulator.messages('meter-2')).at(-1).body, 'with the third token');
});

test('one that fails at a renewal ends the connection, and what it threw is at the end of the causes', async () => {
  const thrown = new Error('the token was removed');
  let removed = false;
  const hub = await renewing((request) => { if (removed) throw thrown; return honest(request); }, 'meter-3');
  removed = true;
  for await (const { state } of hub.connectionStates()) if (state === 'closed') break;
  let cause = await rejects(hub.sendEvent('too late'), 'DPS_SIGNER', 'the token was removed');
  while (cause?.code?.startsWith('DPS_')) cause = cause.cause;
  assert.equal(cause, thrown);
});

test('one that falls silent at a renewal leaves close its deadline, and the threads to others', async () => {
  let quiet = false;
  let asked;
  const fellSilent = new Promise((resolve) => (asked = resolve));
  const hub = await renewing((request) => { if (!quiet) return honest(request); asked(); return silent(); }, 'meter-3');
  quiet = true;
  await fellSilent;
  await hub.close({ deadline: 100 }).catch(({ code }) => assert.equal(code, 'DPS_DEADLINE_EXCEEDED'));
  const others = Array.from({ length: 8 }, () => device(honest, 'meter-2').register());
  for (const { deviceId } of await Promise.all(others)) assert.equal(deviceId, 'meter-2');
});

test('an abort signal ends the wait for it', async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  let asked;
  const wasAsked = new Promise((resolve) => (asked = resolve));
  const registering = device(() => { asked(); return silent(); }).register({ signal: controller.signal });
  await wasAsked;
  controller.abort(reason);
  await assert.rejects(registering, (error) => error === reason);
});

test('those that never answer end at their deadlines, and hold up nobody after that', async () => {
  // More of them than there are threads to sign on, at DPS and at the hub.
  const stuck = Array.from({ length: 24 }, (_, number) => {
    const client = device(silent);
    const waiting = number % 2
      ? client.register({ deadline: 400 })
      : client.connect({ assignedHub: HUB, deviceId: 'meter-1' }, { deadline: 400 });
    return rejects(waiting, 'DPS_DEADLINE_EXCEEDED');
  });
  await Promise.all(stuck);
  assert.equal((await device(honest).register()).assignedHub, HUB);
});

test('a hub\'s device may have an ID that no registration can have, with a function and with a key', async () => {
  const { deviceId } = await device(KEY, 'meter-4').register();
  assert.equal(deviceId, HUB_ID);
  for (const key of [honest, KEY]) {
    const client = device(key, HUB_ID);
    await rejects(client.register(), 'DPS_REGISTRATION_ID_INVALID');
    const hub = await client.connect({ assignedHub: HUB, deviceId });
    await hub.sendEvent('from a hub of its own');
    await hub.close();
    await rejects(client.register(), 'DPS_REGISTRATION_ID_INVALID');
  }
  const hub = Client.fromConnectionString(`HostName=${HUB};DeviceId=${deviceId};SharedAccessKey=${KEY}`, emulator.transport);
  await hub.open();
  await hub.close();
});

test('one that throws does not kill the process, and a silent one does not keep it alive', async () => {
  const run = (signer, deadline) => emulator.program(
    `new SymmetricKeySecurityClient('meter-1', ${signer})`,
    `client.register({ deadline: ${deadline} }).catch((error) => console.log(error.code));`,
  );
  const throwing = await run(`() => { throw new Error('no') }`, 60_000);
  assert.deepEqual([throwing.code, throwing.stdout], [0, 'DPS_SIGNER\n'], throwing.stderr);
  const neverAnswers = await run('() => new Promise(() => {})', 500);
  assert.deepEqual([neverAnswers.code, neverAnswers.stdout], [0, 'DPS_DEADLINE_EXCEEDED\n'], neverAnswers.stderr);
});

test('a worker thread signs on its own, and takes only its own with it when it is terminated', async () => {
  const { connectTo } = emulator.ready;
  const workerData = { idScope: emulator.idScope, host: HOST, connectTo, ca: emulator.ca, key: KEY };
  const program = `
    const { createHmac } = require('node:crypto');
    const { parentPort, workerData } = require('node:worker_threads');
    const { Mqtt, ProvisioningDeviceClient, SymmetricKeySecurityClient } = require('dps-core');
    const { idScope, host, connectTo, ca, key } = workerData;
    let [quiet, calls] = [false, 0];
    const signer = ({ message }) => {
      calls += 1;
      if (quiet) { parentPort.postMessage('asked'); return new Promise(() => {}); }
      return createHmac('sha256', Buffer.from(key, 'base64')).update(message).digest();
    };
    const security = new SymmetricKeySecurityClient('meter-1', signer);
    const client = ProvisioningDeviceClient.create(host, idScope, new Mqtt({ connectTo, ca }), security);
    client.register().then(({ deviceId }) => {
      parentPort.postMessage(deviceId + ' ' + calls);
      quiet = true;
      return client.register();
    });
  `;
  for (let round = 0; round < 3; round += 1) {
    const worker = new Worker(program, { eval: true, workerData });
    const said = [];
    worker.on('message', (word) => said.push(word));
    await until('the question', () => said.length === 2);
    assert.deepEqual(said, ['meter-1 1', 'asked']);
    await worker.terminate();
  }
  assert.equal((await device(honest).register()).deviceId, 'meter-1');
});

test('memory and threads stay flat over two thousand registrations', { timeout: 120_000 }, async () => {
  const group = Buffer.alloc(64, 9).toString('base64');
  await emulator.dps('enrollment-group', 'create', '--enrollment-id', 'meters', '--primary-key', group);
  await emulator.leavesNothing("new SymmetricKeySecurityClient('unit-0', () => {})", `
    import { createHmac } from 'node:crypto';
    import { deriveDeviceKey } from 'dps-core';
    const transport = new Mqtt();
    const units = Array.from({ length: 50 }, (_, number) => 'unit-' + number);
    const keys = units.map((unit) => Buffer.from(deriveDeviceKey('${group}', unit), 'base64'));
    const round = () => Promise.all(units.map((unit, number) => {
      const signer = async ({ message }) => createHmac('sha256', keys[number]).update(message).digest();
      const security = new SymmetricKeySecurityClient(unit, signer);
      return ProvisioningDeviceClient.create('${HOST}', '${emulator.idScope}', transport, security).register();
    }));
  `);
});

test('an object that hands its key over: returned, promised, or told to a callback', async () => {
  for (const getSymmetricKey of [
    () => KEY,
    async () => KEY,
    (callback) => callback(null, KEY),
    (callback) => { setImmediate(callback, undefined, KEY); },
    async (callback) => callback(null, KEY),
    async (callback) => { setImmediate(callback, null, KEY); },
    (...all) => { all[0](null, KEY); },
  ]) {
    const client = emulator.device({ getRegistrationId: () => 'meter-1', getSymmetricKey });
    const hub = await client.connect(await client.register());
    await hub.close();
  }
  // Methods, with what they need of their object; asked once.
  class Vault {
    asked = 0;
    getRegistrationId() { return 'meter-2'; }
    async getSymmetricKey() { this.asked += 1; return KEY; }
  }
  const vault = new Vault();
  const client = emulator.device(vault);
  assert.equal((await client.register()).deviceId, 'meter-2');
  await client.register();
  assert.equal(vault.asked, 1);
});

test('an object that does not hand its key over, or hands over something else', async () => {
  const reason = new Error('the vault is closed');
  const registering = (getSymmetricKey, options) =>
    emulator.device({ getRegistrationId: () => 'meter-1', getSymmetricKey }).register(options);
  for (const fail of [() => { throw reason; }, async () => { throw reason; }, (callback) => callback(reason), async (callback) => { throw reason; }]) {
    const error = await rejects(registering(fail), 'DPS_SIGNER', 'the vault is closed');
    assert.equal(error.operation, 'open HSM');
    assert.equal(error.cause, reason);
  }
  for (const wrong of [() => 5, async () => null, (callback) => callback(null, Buffer.from(KEY)), (callback) => callback()]) {
    await rejects(registering(wrong), 'DPS_INVALID_ARGUMENT', 'getSymmetricKey');
  }
  await rejects(registering(() => 'no base64'), 'DPS_KEY_MALFORMED');
  await rejects(registering(silent, { deadline: 200 }), 'DPS_DEADLINE_EXCEEDED');
  // What failed is tried again the next time.
  let closed = true;
  const client = emulator.device({ getRegistrationId: () => 'meter-1', getSymmetricKey: async () => { if (closed) throw reason; return KEY; } });
  await rejects(client.register(), 'DPS_SIGNER');
  closed = false;
  assert.equal((await client.register()).deviceId, 'meter-1');

  for (const [security, word] of [
    [{ getSymmetricKey: () => KEY }, 'getRegistrationId'],
    [{ getRegistrationId: () => 'meter-1' }, 'getSymmetricKey'],
    [{ getRegistrationId: () => 5, getSymmetricKey: () => KEY }, 'registrationId'],
    [{ getRegistrationId: () => { throw reason; }, getSymmetricKey: () => KEY }, 'getRegistrationId'],
    [new Proxy({}, { has() { throw reason; } }), 'security'],
  ]) {
    assert.throws(() => emulator.device(security), (error) => error.code === 'DPS_INVALID_ARGUMENT' && error.message.includes(word));
  }
});
