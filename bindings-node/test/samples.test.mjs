// The samples print the tutorial's lines.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { after, test } from 'node:test';

import { deriveDeviceKey } from 'dps-core';

import { Folder, HOST, HUB, node, tutorial } from './support.mjs';

const { chain, emulator } = await tutorial('device-01', 'device-02');

const gateway = new Folder();
after(() => gateway.remove());

const sample = (name, environment, program) =>
  node(`samples/${name}`, {
    program,
    env: { ...emulator.environment, PROVISIONING_HOST: HOST, PROVISIONING_IDSCOPE: emulator.idScope, ...environment },
  });

const printed = (device, ...more) => [
  'registration succeeded',
  `assigned hub=${HUB}`,
  `deviceId=${device}`,
  ...more,
  'Client connected',
  'send status: MessageEnqueued',
];

for (const name of ['register_x509.js', 'register_with_signer.mjs']) {
  test(`${name}, for both devices`, async () => {
    for (const device of ['device-01', 'device-02']) {
      const ended = await sample(name, {
        PROVISIONING_REGISTRATION_ID: device,
        CERTIFICATE_FILE: chain.certFile(device),
        KEY_FILE: chain.keyFile(device),
      });
      assert.deepEqual([ended.code, ended.lines, ended.stderr], [0, printed(device), '']);
      assert.equal((await emulator.messages(device)).at(-1).body, 'Hello world');
    }
  });
}

test('under the oldest Node that is declared', async () => {
  const program = process.env.DPS_NODE_OLDEST;
  assert.match((await node('--version', { program })).stdout, /^v18\.0\.0\n$/);
  for (const name of ['register_x509.js', 'register_with_signer.mjs']) {
    const environment = {
      PROVISIONING_REGISTRATION_ID: 'device-01',
      CERTIFICATE_FILE: chain.certFile('device-01'),
      KEY_FILE: chain.keyFile('device-01'),
    };
    const ended = await sample(name, environment, program);
    assert.deepEqual([ended.code, ended.lines, ended.stderr], [0, printed('device-01'), '']);
    const refused = await sample(name, { ...environment, PROVISIONING_IDSCOPE: '0neFFFFFFFF' }, program);
    assert.equal(refused.code, 1);
    assert.match(refused.stdout + refused.stderr, /DpsError: register: .*401002/);
  }
});

test('register_x509.js says why it failed, and exits 1', async () => {
  const ended = await sample('register_x509.js', {
    PROVISIONING_IDSCOPE: '0neFFFFFFFF',
    PROVISIONING_REGISTRATION_ID: 'device-01',
    CERTIFICATE_FILE: chain.certFile('device-01'),
    KEY_FILE: chain.keyFile('device-01'),
  });
  assert.equal(ended.code, 1);
  assert.match(ended.stdout, /^error registering device: DpsError: register: .*401002/);
});

test('register_symkey.js', async () => {
  const key = Buffer.alloc(32, 3).toString('base64');
  await emulator.dps('enrollment', 'create', '--enrollment-id', 'keyed', '--attestation-type', 'symmetrickey', '--primary-key', key);
  const ended = await sample('register_symkey.js', { PROVISIONING_REGISTRATION_ID: 'keyed', PROVISIONING_SYMMETRIC_KEY: key });
  assert.deepEqual([ended.code, ended.lines, ended.stderr], [0, printed('keyed', 'payload=undefined'), '']);
});

test('register_symkeygroup.js', async () => {
  const key = Buffer.alloc(64, 4).toString('base64');
  await emulator.dps('enrollment-group', 'create', '--enrollment-id', 'keys', '--primary-key', key);
  const ended = await sample('register_symkeygroup.js', { PROVISIONING_REGISTRATION_ID: 'unit-1', PROVISIONING_SYMMETRIC_KEY: key });
  assert.deepEqual([ended.code, ended.lines, ended.stderr], [0, printed('unit-1'), '']);
  assert.notEqual(deriveDeviceKey(key, 'unit-1'), key);
});

test('gateway.mjs: a thousand devices from one process', { timeout: 120_000 }, async () => {
  await chain.add(['--range', 'unit-001..unit-998']);
  const ended = await sample('gateway.mjs', { CHAIN_FOLDER: chain.folder });
  assert.equal(ended.code, 0, ended.stderr);
  assert.match(ended.stdout, /^1000 of 1000 devices registered, connected and heard in [\d.]+ s\n$/);
  for (const name of ['unit-001', 'unit-998', 'device-01']) {
    assert.equal((await emulator.messages(name)).at(-1).body, `Hello from ${name}`);
  }
});

test('gateway.mjs on a terminal: a bar grows with the devices', async () => {
  // A terminal of its own, by script(1), which is told what the program ended with.
  const { folder } = gateway;
  for (const inner of ['certs', 'private']) mkdirSync(join(folder, inner));
  for (const name of ['device-01', 'device-02']) {
    copyFileSync(chain.certFile(name), join(folder, 'certs', basename(chain.certFile(name))));
    copyFileSync(chain.keyFile(name), join(folder, 'private', basename(chain.keyFile(name))));
  }
  const env = { ...emulator.environment, PROVISIONING_HOST: HOST, PROVISIONING_IDSCOPE: emulator.idScope, CHAIN_FOLDER: folder };
  const typed = `'${process.execPath}' samples/gateway.mjs`;
  const { stdout } = await promisify(execFile)('script', ['-qec', typed, '/dev/null'], { env });
  const bars = [...stdout.matchAll(/\r\[(#*)(\.*)\] (\d)\/2/g)].map(([, full, empty, done]) => [full.length, empty.length, Number(done)]);
  // Two devices may be done at once.
  for (const [full, empty, done] of bars) assert.deepEqual([full, empty], [20 * done, 40 - 20 * done], stdout);
  assert.equal(bars.at(-1)?.[2], 2, stdout);
  assert.match(stdout, /\n2 of 2 devices registered, connected and heard in [\d.]+ s\r\n$/);
});
