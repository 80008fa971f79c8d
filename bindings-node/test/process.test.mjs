// The module as a guest in its process: when it ends, worker threads, memory, logs.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';

import { X509Security, setLogger } from 'dps-core';

import { HOST, tutorial, until, x509Security } from './support.mjs';

const { chain, emulator } = await tutorial('device-01', 'device-02', 'device-03', 'device-04');
const program = (device, text, more) => emulator.program(x509Security(device, chain.files(device)), text, more);

test('a process ends by itself when its work is done, and quickly', async () => {
  const started = performance.now();
  const ended = await program('device-01', `
    const hub = await client.connect(await client.register());
    await hub.sendEvent('x');
    await hub.close();
    console.log('done');
  `);
  assert.deepEqual([ended.code, ended.stdout, ended.stderr], [0, 'done\n', '']);
  assert.ok(performance.now() - started < 5000);
});

test('an idle connection keeps the process alive until it is closed', async () => {
  const lines = [];
  const watch = async (child) => {
    createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
    await until('idle', () => lines.length > 0);
    // Asleep: with nothing to wait for, it would have ended.
    const asleep = () => / S /.test(readFileSync(`/proc/${child.pid}/stat`, 'utf8').replace(/^.*\)/, ''));
    await until('sleep', asleep);
    child.kill('SIGUSR2');
  };
  const ended = await program('device-01', `
    const hub = await client.connect(await client.register());
    let closed = false;
    process.on('exit', () => console.log('exit after ' + (closed ? 'close' : 'nothing')));
    process.once('SIGUSR2', async () => { closed = true; await hub.close(); });
    console.log('idle');
  `, { watch });
  assert.equal(ended.code, 0, ended.stderr);
  assert.deepEqual(lines, ['idle', 'exit after close']);
});

test('a client whose hub refuses it for good lets the process end', async () => {
  const ended = await program('device-04', `
    import { execFileSync } from 'node:child_process';
    const hub = await client.connect(await client.register());
    execFileSync(process.env.DPS_CLI, ['hub', 'device', 'delete', '--device-id', 'device-04']);
    const refused = hub.sendEvent('x').catch((error) => error);
    console.log((await refused).code ?? 'sent');
  `, { env: { DPS_CLI: process.env.DPS_CLI } });
  // The hub acknowledges nothing of a device that it does not know, and admits it no more.
  assert.deepEqual([ended.code, ended.stdout], [0, 'DPS_UNAUTHORIZED\n'], ended.stderr);
});

test('process.exit in the middle of a handshake, of a signature, of a registration, and of sends', async () => {
  await emulator.fault({ device: 'device-02', step: 'poll', times: 0, action: { drop: true } });
  for (const text of [
    `const { createServer } = await import('node:net');
     const server = createServer((socket) => socket.once('data', () => process.exit(7)));
     await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
     const transport = new Mqtt({ connectTo: '127.0.0.1:' + server.address().port });
     ProvisioningDeviceClient.create('${HOST}', 's', transport, security).register();`,
    `const signer = () => process.exit(7);
     const signing = new X509Security('device-02', { certFile: ${JSON.stringify(chain.certFile('device-02'))}, signer });
     ProvisioningDeviceClient.create('${HOST}', '${emulator.idScope}', new Mqtt(), signing).register();`,
    `for await (const { stage } of client.registering()) if (stage === 'assigning') process.exit(7);`,
    `process.nextTick(() => process.exit(7)); await client.register();`,
  ]) {
    const ended = await program('device-02', text);
    assert.deepEqual([ended.code, ended.signal, ended.stderr], [7, null, ''], text);
  }
  await emulator.clearFaults();
  const sending = await program('device-03', `
    const hub = await client.connect(await client.register());
    for (let number = 0; number < 1000; number += 1) hub.sendEvent('x').catch(() => {});
    setImmediate(() => process.exit(7));
  `);
  assert.deepEqual([sending.code, sending.signal, sending.stderr], [7, null, '']);
});

test('a rejection that nobody handles ends the process as Node does it', async () => {
  const ended = await program('device-01', `client.register({ deadline: 0 });`);
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, /DPS_DEADLINE_EXCEEDED/);
});

const WORKER = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { Mqtt, ProvisioningDeviceClient, X509Security } = require('dps-core');
  const { idScope, host, connectTo, ca, device, files, hang } = workerData;
  const security = new X509Security(device, files);
  const client = ProvisioningDeviceClient.create(host, idScope, new Mqtt({ connectTo, ca }), security);
  (async () => {
    const hub = await client.connect(await client.register());
    await hub.sendEvent('from a worker');
    parentPort.postMessage('sent');
    if (hang) { hub.sendEvent('more'); return; }
    await hub.close();
  })();
`;

function worker(device, hang = false) {
  const { connectTo } = emulator.ready;
  const workerData = { idScope: emulator.idScope, host: HOST, connectTo, ca: emulator.ca, device, files: chain.files(device), hang };
  const running = new Worker(WORKER, { eval: true, workerData });
  const sent = new Promise((resolve, reject) => {
    running.once('message', resolve);
    running.once('error', reject);
  });
  const ended = new Promise((resolve) => running.once('exit', resolve));
  return { running, sent, ended };
}

test('worker threads use the module side by side, and end by themselves', async () => {
  const workers = ['device-01', 'device-02', 'device-03'].map((device) => worker(device));
  const mine = emulator.deviceOf(chain, 'device-04').register();
  for (const { sent, ended } of workers) {
    assert.equal(await sent, 'sent');
    assert.equal(await ended, 0);
  }
  assert.equal((await mine).deviceId, 'device-04');
});

test('a worker that is terminated with open connections takes only its own with it', async () => {
  for (let round = 0; round < 5; round += 1) {
    const { running, sent } = worker('device-01', true);
    await sent;
    await running.terminate();
  }
  assert.equal((await emulator.deviceOf(chain, 'device-01').register()).deviceId, 'device-01');
});

test('heap, memory and threads stay flat over two thousand registrations', { timeout: 120_000 }, async () => {
  const names = Array.from({ length: 50 }, (_, number) => `unit-${number}`);
  await chain.add(names);
  await emulator.leavesNothing(x509Security('device-01', chain.files('device-01')), `
    const devices = ${JSON.stringify(names.map((name) => [name, chain.files(name)]))};
    const transport = new Mqtt();
    const round = () => Promise.all(devices.map(([name, files]) =>
      ProvisioningDeviceClient.create('${HOST}', '${emulator.idScope}', transport, new X509Security(name, files)).register()));
  `);
});

test('a client that nobody holds is collected, and its connection closed', async () => {
  // A device each: two clients of one device would take the connection from each other.
  const devices = ['device-01', 'device-02', 'device-03', 'device-04'].map((name) => [name, chain.files(name)]);
  const ended = await program('device-01', `
    import { readdirSync, readlinkSync } from 'node:fs';
    // The descriptor that lists the folder is gone when it is looked at.
    const target = (fd) => { try { return readlinkSync('/proc/self/fd/' + fd); } catch { return ''; } };
    const sockets = () => readdirSync('/proc/self/fd').map(target).filter((name) => name.startsWith('socket:'));
    const left = async (of) => {
      const end = Date.now() + 20_000;
      while (sockets().some(of) && Date.now() < end) { globalThis.gc(); await new Promise((resolve) => setTimeout(resolve, 10)); }
      return sockets().filter(of);
    };
    const atFirst = sockets();
    const isNew = (name) => !atFirst.includes(name);
    const clients = ${JSON.stringify(devices)}.map(([name, files]) =>
      ProvisioningDeviceClient.create('${HOST}', '${emulator.idScope}', new Mqtt(), new X509Security(name, files)));
    const results = await Promise.all(clients.map((client) => client.register()));
    const ofRegistrations = await left(isNew);
    const hubs = [];
    for (const [number, client] of clients.entries()) hubs.push(await client.connect(results[number]));
    const opened = sockets().filter(isNew);
    hubs.length = 0;
    const ofHubs = await left((name) => opened.includes(name));
    console.log(JSON.stringify({ ofRegistrations, opened, ofHubs }));
  `, { flags: ['--expose-gc'] });
  assert.equal(ended.code, 0, ended.stdout + ended.stderr);
  const { ofRegistrations, opened, ofHubs } = JSON.parse(ended.stdout);
  assert.deepEqual(ofRegistrations, []);
  assert.ok(opened.length >= devices.length, `fewer than a connection each: ${opened}`);
  assert.deepEqual(ofHubs, []);
});

test('a message of a client that nobody holds any more is delivered, and its function signs for it', async () => {
  const { certFile, keyFile } = chain.files('device-02');
  const signer = `({ message }) => sign('sha256', message, readFileSync('${keyFile}'))`;
  // The first connection is lost, and the hub takes none for as long as the client is not collected.
  await emulator.fault(
    { device: 'device-02', step: 'telemetry', action: { cut: 'before' } },
    { device: 'device-02', step: 'hub-connect', nth: 2, times: 0, action: { cut: 'before' } },
  );
  const watch = async (child) => {
    for await (const line of createInterface({ input: child.stdout })) {
      if (line === 'collected') await emulator.clearFaults();
      else assert.equal(line, 'sent');
    }
  };
  const ended = await emulator.program(`new X509Security('device-02', { certFile: '${certFile}', signer: ${signer} })`, `
    import { sign } from 'node:crypto';
    import { readFileSync } from 'node:fs';
    const pause = () => new Promise((resolve) => setTimeout(resolve, 10));
    let collected = false;
    const registry = new FinalizationRegistry(() => { collected = true; });
    const result = await client.register();
    const sending = client.connect(result).then((hub) => {
      registry.register(hub);
      return hub.sendEvent('x');
    });
    sending.catch((error) => { console.log(error.stack); process.exit(1); });
    while (!collected) { globalThis.gc(); await pause(); }
    console.log('collected');
    await sending;
    console.log('sent');
  `, { flags: ['--expose-gc'], watch });
  assert.equal(ended.code, 0, ended.stdout + ended.stderr);
  assert.deepEqual(ended.lines, ['collected', 'sent']);
});

test('messages that nobody holds are collected by the size of their data', async () => {
  const ended = await program('device-01', `
    import { Message } from 'dps-core';
    const data = Buffer.alloc(250_000, 'x');
    for (let number = 0; number < 2000; number += 1) {
      new Message(data);
      if (number % 50 === 0) await new Promise(setImmediate);
    }
    console.log(process.resourceUsage().maxRSS);
  `);
  assert.equal(ended.code, 0, ended.stderr);
  // All of them at once are 500 MB.
  assert.ok(Number(ended.stdout) < 350_000, `${ended.stdout} KB`);
});

test('no thread per device', async () => {
  const names = Array.from({ length: 40 }, (_, number) => `threads-${number}`);
  await chain.add(names);
  const threads = () => readdirSync('/proc/self/task').length;
  const bring = async (name) => {
    const device = emulator.deviceOf(chain, name);
    return device.connect(await device.register());
  };
  const hubs = [await bring(names[0])];
  const before = threads();
  hubs.push(...await Promise.all(names.slice(1).map(bring)));
  assert.ok(threads() <= before + 4, `${before} to ${threads()}: more than the pool that reads files`);
  await Promise.all(hubs.map((hub) => hub.close()));
});

test('the log goes to a function, is off by default, and shows no secret', async () => {
  const records = [];
  setLogger((record) => records.push(record), 'trace');
  await emulator.device(new X509Security('DEVICE-01', chain.pem('device-01'))).register();
  await until('the log', () => records.some(({ level }) => level === 'warn'));
  const warning = records.find(({ level }) => level === 'warn');
  assert.match(warning.message, /differ in case/);
  assert.match(warning.target, /^dps_core/);
  const key = readFileSync(chain.keyFile('device-01'), 'utf8').split('\n')[1];
  assert.ok(!JSON.stringify(records).includes(key));
  setLogger(null);
  const count = records.length;
  await emulator.deviceOf(chain, 'device-01').register();
  assert.equal(records.length, count);
  assert.throws(() => setLogger(() => {}, 'loud'), { code: 'DPS_INVALID_ARGUMENT' });
  assert.throws(() => setLogger('x'), { code: 'DPS_INVALID_ARGUMENT' });

  const quiet = await program('device-01', `await client.register();`);
  assert.deepEqual([quiet.code, quiet.stdout, quiet.stderr], [0, '', '']);
  const loud = await program('device-01', `await client.register();`, { env: { DEBUG: 'other,dps-core' } });
  assert.match(loud.stderr, /debug dps_core::provisioning .*device-01/);
});

test('DEBUG is read as the package of that name reads it, and each line is there once', async () => {
  const lines = async (DEBUG, text = '') => {
    const ended = await program('device-01', `${text} await client.register(); setImmediate(() => process.exit(0));`, { env: { DEBUG } });
    assert.equal(ended.code, 0, ended.stderr);
    return ended.stderr.split('\n').filter((line) => line.includes('dps_core'));
  };
  for (const loud of ['dps-core', 'other,dps-core', '*', 'dps*', 'dps-core:*', '-other *']) assert.notEqual((await lines(loud)).length, 0, loud);
  for (const quiet of ['*,-dps-core', '-dps-core,*', 'dps*,-dps*', 'dps', 'dps-core:other', '-dps-core', 'dps.core', '']) assert.deepEqual(await lines(quiet), [], quiet);
  const workers = `
    const { Worker } = await import('node:worker_threads');
    const loaded = () => new Promise((resolve) =>
      new Worker("require('dps-core'); require('node:worker_threads').parentPort.postMessage('loaded'); setInterval(() => {}, 1000)", { eval: true, execArgv: [] }).once('message', resolve));
    await Promise.all([loaded(), loaded(), loaded()]);
  `;
  const once = await lines('dps-core', workers);
  assert.ok(once.length > 0);
  const said = once.map((line) => line.replace(/^\S+ /, ''));
  assert.deepEqual(said, [...new Set(said)]);
});

test('a logger that throws is an uncaught exception of the user\'s, and nothing worse', async () => {
  const ended = await program('device-01', `
    process.on('uncaughtException', (error) => console.log(error.message));
    setLogger(() => { throw new Error('from the logger') }, 'debug');
    await client.register();
    setLogger(null);
    console.log('registered');
  `);
  assert.equal(ended.code, 0, ended.stderr);
  assert.ok(ended.lines.includes('from the logger') && ended.lines.includes('registered'), ended.stdout);
});
