// What the doctor, inspectChain and verifyChain tell is what the `dps` command tells.

import assert from 'node:assert/strict';
import { createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, test } from 'node:test';

import { X509Security, doctor, explainError, inspectChain, verifyChain } from 'dps-core';

import { Chain, HOST, INTERMEDIATE, ROOT, dpsJson, pfx, rejects, tutorial, until } from './support.mjs';

const { chain, emulator } = await tutorial('device-01', 'device-02');
const other = await Chain.make('device-01');
after(() => other.remove());

const ids = ({ findings }) => findings.map(({ id }) => id);
const reachable = () => ({ connectTo: emulator.ready.connectTo, ca: emulator.ca, idScope: emulator.idScope, provisioningHost: HOST });

test('a chain that is in order: nothing found, and the report of the command', async () => {
  const authoritiesFile = chain.path(ROOT);
  const { certFile, keyFile } = chain.files('device-01');
  const report = await doctor({ certFile, keyFile, authoritiesFile, groupCertificateFile: chain.path(INTERMEDIATE) });
  assert.deepEqual([report.exitCode, report.findings], [0, []]);
  const command = ['doctor', '--cert', certFile, '--key', keyFile, '--ca', authoritiesFile, '--group-certificate', chain.path(INTERMEDIATE)];
  assert.deepEqual(report, await dpsJson(command));
});

test('what is wrong is a finding, not a rejection, and the same as the command\'s', async () => {
  const { certFile } = chain.files('device-01');
  const keyFile = chain.keyFile('device-02');
  const report = await doctor({ certFile, keyFile, registrationId: 'device-07' });
  assert.equal(report.exitCode, 2);
  assert.deepEqual(ids(report).sort(), ['DPS-C009', 'DPS-K006']);
  const [finding] = report.findings;
  assert.deepEqual(Object.keys(finding).sort(), ['evidence', 'fix', 'id', 'page', 'sentence', 'severity']);
  assert.deepEqual(report, await dpsJson(['doctor', '--cert', certFile, '--key', keyFile, '--registration-id', 'device-07']));
  // A leaf alone is a warning.
  const leaf = await doctor({ certFile: chain.path('certs/device-01.cert.pem'), keyFile: chain.keyFile('device-01') });
  assert.deepEqual([leaf.exitCode, ids(leaf)], [1, ['DPS-C006']]);
});

test('from memory, and from a PKCS#12 file', async () => {
  const authorities = chain.text(ROOT);
  assert.equal((await doctor({ ...chain.pem('device-01'), authorities })).exitCode, 0);
  assert.deepEqual(ids(await doctor({ ...chain.pem('device-01'), authorities: other.text(ROOT) })).slice(0, 1).map((id) => id.slice(0, 5)), ['DPS-C']);
  const pkcs12File = chain.path('doctor.pfx');
  await pfx(chain, 'device-01', pkcs12File, 'geheim');
  assert.equal((await doctor({ pkcs12File, passphrase: 'geheim', authorities })).exitCode, 0);
  assert.equal((await doctor({ pkcs12: readFileSync(pkcs12File), passphrase: 'geheim' })).exitCode, 0);
  assert.deepEqual(ids(await doctor({ pkcs12File, passphrase: 'falsch' })).includes('DPS-K004'), true);
});

test('as far as the service: the registration is seen, or the refusal explained', async () => {
  const report = await doctor({ ...chain.files('device-01'), ...reachable(), reach: 'service' });
  assert.ok(report.seen.some((line) => line.includes('assigned to')), JSON.stringify(report));
  assert.ok(!report.findings.some(({ severity }) => severity === 'error'), JSON.stringify(report.findings));
  const refused = await doctor({ ...other.files('device-01'), ...reachable(), reach: 'service' });
  assert.ok(ids(refused).includes('DPS-S001'), JSON.stringify(refused.findings));
  const network = await doctor({ ...reachable(), reach: 'network' });
  assert.ok(network.seen.length > 0);
});

test('a function that signs is examined too; one that fails is a finding', async () => {
  const { certFile } = chain.files('device-01');
  const key = createPrivateKey(readFileSync(chain.keyFile('device-01')));
  const honest = async ({ message }) => sign('sha256', message, key);
  assert.equal((await doctor({ certFile, signer: honest })).exitCode, 0);
  const registered = await doctor({ certFile, signer: honest, ...reachable(), reach: 'service' });
  assert.ok(registered.seen.some((line) => line.includes('assigned to')), JSON.stringify(registered));
  const failing = await doctor({ certFile, signer: () => { throw new Error('the token was removed'); } });
  const finding = failing.findings.find(({ id }) => id === 'DPS-K007');
  assert.ok(finding.evidence.includes('the token was removed'), finding.evidence);
});

test('it can be aborted: while a server is silent, and while a signer is', async () => {
  const reason = new Error('enough');
  const aborted = async (options, reached) => {
    const controller = new AbortController();
    const examined = doctor({ ...options, signal: controller.signal }).catch((error) => error);
    await reached;
    const before = performance.now();
    controller.abort(reason);
    assert.equal(await examined, reason);
    assert.ok(performance.now() - before < 1000, 'at once');
  };
  let hello;
  const greeted = new Promise((resolve) => (hello = resolve));
  const silent = createServer((socket) => socket.on('error', () => {}).once('data', hello));
  await new Promise((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const connectTo = `127.0.0.1:${silent.address().port}`;
  await aborted({ ...chain.files('device-01'), ...reachable(), connectTo, reach: 'network' }, greeted);
  silent.close();
  let asked;
  const wasAsked = new Promise((resolve) => (asked = resolve));
  const signer = () => { asked(); return new Promise(() => {}); };
  await aborted({ certFile: chain.certFile('device-01'), signer }, wasAsked);
  // And what it held is free again.
  assert.equal((await doctor(chain.files('device-01'))).exitCode, 0);
});

test('signers that are silent under examination hold up no other device', async () => {
  const controller = new AbortController();
  let asked = 0;
  const signer = () => { asked += 1; return new Promise(() => {}); };
  const silent = { certFile: chain.certFile('device-01'), signer, signal: controller.signal };
  // As many as there are threads that read files, and as many as sign for connections at a time.
  const examined = [
    ...[doctor, doctor, verifyChain, verifyChain].map((examine) => examine(silent)),
    ...Array.from({ length: 8 }, () => doctor({ ...silent, ...reachable(), reach: 'network' })),
  ].map((report) => report.catch((error) => error));
  await until('the signers', () => asked === examined.length);
  const key = createPrivateKey(readFileSync(chain.keyFile('device-02')));
  const good = { certFile: chain.certFile('device-02'), signer: ({ message }) => sign('sha256', message, key) };
  await emulator.device(new X509Security('device-02', good)).register({ deadline: 10_000 });
  controller.abort('enough');
  assert.deepEqual(await Promise.all(examined), examined.map(() => 'enough'));
});

test('a deadline is kept, and what has not answered is a finding', async () => {
  const silent = createServer((socket) => socket.on('error', () => {}));
  await new Promise((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const connectTo = `127.0.0.1:${silent.address().port}`;
  const started = performance.now();
  const report = await doctor({ ...chain.files('device-01'), ...reachable(), connectTo, reach: 'network', deadline: 500 });
  assert.ok(performance.now() - started < 5000);
  assert.ok(ids(report).some((id) => id.startsWith('DPS-N')), JSON.stringify(report.findings));
  silent.close();
});

test('what cannot be examined is a rejection', async () => {
  await rejects(doctor({}), 'DPS_INVALID_ARGUMENT', 'no certificate and no key');
  await rejects(doctor(), 'DPS_INVALID_ARGUMENT');
  await rejects(doctor({ ...chain.files('device-01'), reach: 'moon' }), 'DPS_INVALID_ARGUMENT', 'moon');
  await rejects(doctor({ ...chain.files('device-01'), authoritiesFile: '/nowhere.pem' }), 'DPS_FILE_NOT_READABLE', '/nowhere.pem');
  await rejects(doctor({ signer: () => {} }), 'DPS_INVALID_ARGUMENT', 'signer');
  await rejects(verifyChain({}), 'DPS_INVALID_ARGUMENT');
});

test('an error that is at hand already is explained as the command explains it', async () => {
  for (const text of ['401002 CA certificate not found.', 'DPS_THROTTLED', 'nothing that is known']) {
    assert.deepEqual(explainError(text), await dpsJson(['doctor', '--error', text]));
  }
  assert.deepEqual(ids(explainError('{"errorCode":401002,"message":"CA certificate not found."}')), ['DPS-S001']);
  const { findings: [finding] } = explainError('401002');
  assert.equal(finding.severity, 'error');
});

test('inspectChain tells what `dps chain inspect` tells', async () => {
  const { certFile } = chain.files('device-01');
  const inspection = await inspectChain({ certFile });
  assert.deepEqual(inspection, await dpsJson(['chain', 'inspect', certFile]));
  assert.deepEqual(inspection.certificates.map(({ issuedBy }) => issuedBy), [1, 2, null]);
  assert.equal(inspection.certificates[0].commonName, 'device-01');
  assert.deepEqual(await inspectChain({ cert: readFileSync(certFile) }), inspection);
  const pkcs12File = chain.path('inspect.pfx');
  await pfx(chain, 'device-01', pkcs12File, 'geheim');
  await rejects(inspectChain({ certFile: pkcs12File }), 'DPS_PASSPHRASE_REQUIRED', 'inspect.pfx');
  assert.equal((await inspectChain({ certFile: pkcs12File, passphrase: 'geheim' })).certificates.length, 3);
  await rejects(inspectChain({ cert: 'hello' }), 'DPS_WRONG_FILE_CONTENT');
  await rejects(inspectChain({}), 'DPS_INVALID_ARGUMENT', 'certFile');
});

test('verifyChain judges a chain as `dps chain verify` does', async () => {
  const { certFile, keyFile } = chain.files('device-01');
  const holds = await verifyChain({ certFile, keyFile, authoritiesFile: chain.path(ROOT) });
  assert.deepEqual(holds, await dpsJson(['chain', 'verify', certFile, '--key', keyFile, '--ca', chain.path(ROOT)]));
  assert.equal(holds.exitCode, 0);
  const broken = await verifyChain({ certFile, authoritiesFile: other.path(ROOT) });
  assert.deepEqual(broken, await dpsJson(['chain', 'verify', certFile, '--ca', other.path(ROOT)]));
  assert.equal(broken.exitCode, 2);
});
