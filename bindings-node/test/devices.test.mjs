// A batch of devices: interrupted, resumed, and held to what is in the folder already.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, before, beforeEach, test } from 'node:test';

import { Authority, PrivateKey, X509Security, makeDevices, verifyChain } from 'dps-core';

import { Emulator, rejects } from './support.mjs';

let root, issuer, folder;

before(async () => {
  const newKey = () => PrivateKey.generate('ec-p256');
  root = await Authority.createRoot('Test root', await newKey());
  issuer = await root.createIntermediate('Test intermediate', await newKey());
});

beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'dps-node-batch-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const batch = (options) => makeDevices({ folder, issuer, keyType: 'ec-p256', ...options });
const all = async (devices) => {
  const made = [];
  for await (const device of devices) made.push(device);
  return made;
};
const contents = () => {
  const files = ['certs', 'private'].flatMap((name) => readdirSync(join(folder, name)).filter((file) => file.endsWith('.pem')).map((file) => join(name, file)));
  return Object.fromEntries(files.sort().map((file) => [file, readFileSync(join(folder, file), 'utf8')]));
};
const count = (devices, outcome) => devices.filter((device) => device.outcome === outcome).length;

test('interrupted by a signal and run again: no device is missing, none is made twice', async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  const first = [];
  const interrupted = (async () => {
    for await (const device of batch({ range: 'unit-001..unit-060', signal: controller.signal })) {
      first.push(device);
      if (first.length === 23) controller.abort(reason);
    }
  })();
  assert.equal(await interrupted.catch((error) => error), reason);
  assert.equal(first.length, 23);
  const before = contents();
  assert.equal(Object.keys(before).length, 3 * 23);

  // At once: the folder is free again.
  const second = await all(batch({ range: 'unit-001..unit-060' }));
  assert.deepEqual([count(second, 'present'), count(second, 'made')], [23, 37]);
  assert.deepEqual(second.map(({ done, total }) => [done, total]), second.map((_, index) => [index + 1, 60]));
  const after = contents();
  assert.equal(Object.keys(after).length, 3 * 60);
  for (const [file, content] of Object.entries(before)) assert.equal(after[file], content, `${file} is as it was`);
  const keys = Object.keys(after).filter((file) => file.startsWith('private')).map((file) => after[file]);
  assert.equal(new Set(keys).size, 60);
  for (const { registrationId, certFile, keyFile } of second) {
    const { findings } = await verifyChain({ certFile, keyFile, authorities: root.certificate.toPem() });
    assert.deepEqual(findings.filter(({ severity }) => severity === 'error'), []);
    assert.ok(certFile.includes(registrationId));
  }
});

test('aborted while a device is being made, and while two are asked for', async () => {
  const controller = new AbortController();
  const devices = batch({ range: 'unit-1..unit-9', keyType: 'rsa-2048', signal: controller.signal });
  const asked = [devices.next(), devices.next()];
  controller.abort();
  await assert.rejects(devices.next(), { name: 'AbortError' });
  // What was asked for before is made, whole, and told.
  assert.deepEqual((await Promise.all(asked)).map(({ value }) => value.registrationId), ['unit-1', 'unit-2']);
  assert.equal(count(await all(batch({ range: 'unit-1..unit-9' })), 'present'), 2);
});

test('leaving the loop ends it, and what was asked of it later is the end', async () => {
  const devices = batch({ registrationIds: ['a', 'b', 'c'] });
  for await (const device of devices) if (device.registrationId === 'b') break;
  assert.deepEqual(await devices.next(), { done: true });
  assert.deepEqual((await all(batch({ registrationIds: ['a', 'b', 'c'] }))).map(({ outcome }) => outcome), ['present', 'present', 'made']);
});

test('whoever asks beyond the end is told that it is the end', async () => {
  await all(batch({ registrationIds: ['last'] }));
  for (let round = 0; round < 50; round += 1) {
    const making = batch({ registrationIds: ['last'] });
    const asked = [making.next()];
    // Each a little later than the one before, so that some meet the end as it comes.
    for (let more = 0; more < 4; more += 1) {
      await new Promise(setImmediate);
      asked.push(making.next());
    }
    const [first, ...others] = await Promise.all(asked);
    assert.equal(first.value.outcome, 'present');
    assert.deepEqual(others, Array(4).fill({ done: true }));
  }
});

test('one batch at a time has a folder', async () => {
  const first = batch({ range: 'unit-1..unit-3' });
  await first.next();
  await rejects(batch({ range: 'unit-4..unit-5' }).next(), 'DPS_FILE_NOT_WRITABLE', 'another batch');
  await first.return();
  assert.equal((await all(batch({ range: 'unit-4..unit-5' }))).length, 2);
});

test('from a CSV, in memory and in a file; a bad row ends it before anything is made', async () => {
  const csv = 'name,Registration ID\nfirst,csv-1\n# a comment\nsecond,csv-2\n';
  assert.deepEqual((await all(batch({ csv }))).map(({ registrationId, total }) => [registrationId, total]), [['csv-1', 2], ['csv-2', 2]]);
  const csvFile = join(folder, 'devices.csv');
  writeFileSync(csvFile, csv);
  assert.equal(count(await all(batch({ csvFile })), 'present'), 2);
  writeFileSync(csvFile, 'csv-3\nnot an ID\n');
  await rejects(all(batch({ csvFile })), 'DPS_REGISTRATION_ID_INVALID', 'devices.csv', 'line 2');
  assert.equal(Object.keys(contents()).length, 6);
  await rejects(all(batch({ csvFile: '/nowhere.csv' })), 'DPS_FILE_NOT_READABLE', '/nowhere.csv');
});

test('what another CA issued is left alone, unless it is to be overwritten', async () => {
  await all(batch({ registrationIds: ['unit-1'] }));
  const before = contents();
  const error = await rejects(all(batch({ registrationIds: ['unit-1'], issuer: root })), 'DPS_FILE_NOT_WRITABLE', 'unit-1', 'another CA');
  assert.ok(error.hint);
  assert.deepEqual(contents(), before);
  const [made] = await all(batch({ registrationIds: ['unit-1'], issuer: root, overwrite: true }));
  assert.equal(made.outcome, 'made');
  assert.notDeepEqual(contents(), before);
});

test('devices of a batch are provisioned, from the files that it names', async () => {
  // What ends the full chains is taken from the folder.
  mkdirSync(join(folder, 'certs'));
  writeFileSync(join(folder, 'certs/root.cert.pem'), root.certificate.toPem());
  writeFileSync(join(folder, 'intermediate.pem'), issuer.certificate.toPem());
  const emulator = await Emulator.start('--retry-after', '0');
  try {
    await emulator.dps('certificate', 'create', '--certificate-name', 'made', '--path', join(folder, 'certs/root.cert.pem'), '--verified', 'true');
    await emulator.dps('enrollment-group', 'create', '--enrollment-id', 'made', '--certificate-path', join(folder, 'intermediate.pem'));
    for await (const { registrationId, certFile, keyFile } of batch({ range: 'unit-1..unit-3', days: 7 })) {
      execFileSync('openssl', ['verify', '-x509_strict', '-CAfile', join(folder, 'certs/root.cert.pem'), '-untrusted', join(folder, 'intermediate.pem'), certFile]);
      const result = await emulator.device(new X509Security(registrationId, { certFile, keyFile })).register();
      assert.equal(result.deviceId, registrationId);
    }
  } finally {
    await emulator.stop();
  }
});

test('wrong arguments are errors with a code, at once', async () => {
  const fails = (options, code, ...words) => rejects(new Promise((resolve) => resolve(batch(options))), code, ...words);
  const invalid = (options, ...words) => fails(options, 'DPS_INVALID_ARGUMENT', ...words);
  await invalid({}, 'registrationIds');
  await invalid({ range: 'a1..a2', csv: 'a' }, 'registrationIds');
  await invalid({ range: 'a..b' }, 'range');
  await invalid({ range: 'a1..a2', folder: 5 }, 'folder');
  await invalid({ range: 'a1..a2', issuer: {} }, 'Authority');
  await invalid({ range: 'a1..a2', keyType: 'dsa' }, 'dsa');
  await invalid({ range: 'a1..a2', overwrite: 1 }, 'overwrite');
  await invalid({ range: 'a1..a2', days: 'x' }, 'days');
  await invalid({ range: 'a1..a2', signal: 5 }, 'signal');
  await invalid({ registrationIds: 'a1' }, 'array');
  await invalid({ registrationIds: [1] }, 'registrationIds');
  await fails({ registrationIds: ['a', 'a'] }, 'DPS_REGISTRATION_ID_INVALID', 'twice');
  await fails({ registrationIds: ['a:b', 'a_b'] }, 'DPS_REGISTRATION_ID_INVALID');
  await rejects(new Promise((resolve) => resolve(makeDevices())), 'DPS_INVALID_ARGUMENT');
});
