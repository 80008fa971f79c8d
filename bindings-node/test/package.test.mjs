// The packages as they are published: what is in them, that they load, and their types.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';

import * as esm from 'dps-core';

import { node } from './support.mjs';

const require = createRequire(import.meta.url);
const { DPS_NODE_SOURCE: source, DPS_NODE_TOOLS: tools } = process.env;
const installed = (name) => join(process.cwd(), 'node_modules', name);
const manifest = (name) => JSON.parse(readFileSync(join(installed(name), 'package.json'), 'utf8'));

test('two packages are installed, with no dependencies and no scripts', () => {
  const packages = readdirSync(installed('.')).filter((name) => !name.startsWith('.'));
  assert.deepEqual(packages.sort(), ['@dps-core', 'dps-core']);
  assert.deepEqual(readdirSync(installed('@dps-core')), ['linux-x64-gnu']);
  const main = manifest('dps-core');
  assert.equal(main.dependencies, undefined);
  assert.deepEqual(main.optionalDependencies, { '@dps-core/linux-x64-gnu': main.version });
  assert.equal(manifest('@dps-core/linux-x64-gnu').version, main.version);
  for (const name of ['dps-core', '@dps-core/linux-x64-gnu']) {
    assert.equal(manifest(name).scripts, undefined);
    assert.equal(manifest(name).engines.node, '>=18');
    assert.ok(readdirSync(installed(name)).includes('LICENSE-MIT'));
  }
});

test('CommonJS and ES modules have the same names and the same classes', () => {
  const cjs = require('dps-core');
  assert.deepEqual(Object.keys(esm).filter((name) => name !== 'default' && name !== 'module.exports').sort(), Object.keys(cjs).sort());
  for (const name of Object.keys(cjs)) assert.equal(esm[name], cjs[name]);
});

test('the committed types are those that Rust generates', () => {
  const committed = readFileSync(join(source, 'index.d.ts'), 'utf8');
  const generated = readFileSync(join(installed('dps-core'), 'index.d.ts'), 'utf8');
  assert.equal(committed, generated, 'copy target/node/build/index.d.ts to bindings-node');
});

test('every exported name is typed, and every typed class and function is exported', () => {
  const types = readFileSync(join(installed('dps-core'), 'index.d.ts'), 'utf8');
  const typed = [...types.matchAll(/^export declare (?:class|function) (\w+)/gm)].map((match) => match[1]);
  assert.deepEqual(typed.sort(), Object.keys(require('dps-core')).sort());
});

test('the types compile under tsc --strict, as a CommonJS and as an ES module', () => {
  const program = `
    import { Authority, Certificate, CertificateChain, CertificateRequest, Client, DpsError, PrivateKey, cString, javaString, makeDevices, Message, MessageEnqueued, Mqtt, ProvisioningDeviceClient, X509Security, SubjectKey, SymmetricKeySecurityClient, doctor, errorCatalogue, explainError, inspectChain, setLogger, verifyChain } from 'dps-core';
    import type { CertificateProvider, DoctorReport, Finding, InspectedCertificate, KeyType, MadeDevice, RegistrationResult, SignRequest, Signer, SymmetricKeyProvider, TokenSigner } from 'dps-core';
    export async function main(signal: AbortSignal): Promise<void> {
      const signer: Signer = async (request: SignRequest) => new Uint8Array(request.digest);
      const security = new X509Security('device-01', { certFile: 'chain.pem', signer, algorithms: ['ecdsa-p256-sha256'] });
      const device = ProvisioningDeviceClient.create('host', 'scope', new Mqtt({ connectTo: 'localhost:8883' }), security);
      ProvisioningDeviceClient.create('host', 'scope', Mqtt, new SymmetricKeySecurityClient('id', 'key'));
      const provider: CertificateProvider = { getRegistrationId: () => 'x', getCertificate: (callback) => callback(null, { cert: '', key: '' }) };
      ProvisioningDeviceClient.create('host', 'scope', undefined, provider);
      const tokens: TokenSigner = async ({ algorithm, message }) => new Uint8Array(message.subarray(algorithm.length));
      ProvisioningDeviceClient.create('host', 'scope', Mqtt, new SymmetricKeySecurityClient('id', tokens));
      const keys: SymmetricKeyProvider = { getRegistrationId: () => 'x', getSymmetricKey: async () => 'key' };
      ProvisioningDeviceClient.create('host', 'scope', Mqtt, keys);
      new X509Security('device-01', { certFile: 'chain.pem', signer, authorities: new Uint8Array() });
      device.setProvisioningPayload({ a: 'b' });
      const result: RegistrationResult = await device.register({ signal, deadline: 1000 });
      for await (const step of device.registering({ signal })) console.log(step.stage satisfies string, step.result?.assignedHub);
      await using hub = await device.connect(result, { signal });
      const status: MessageEnqueued = await hub.sendEvent(new Message('x', { properties: { a: 'b' } }), { signal });
      for await (const { state } of hub.connectionStates()) if (state === 'closed') break;
      const client: Client = Client.fromConnectionString('…', Mqtt);
      client.setOptions({ cert: '', key: new Uint8Array(), ca: '' });
      client.setOptions({ pkcs12File: 'device.pfx', passphrase: 'x', tokenRenewal: { tokenValidTimeInSeconds: 60 } });
      const report: DoctorReport = await doctor({ certFile: 'chain.pem', signer, reach: 'service', idScope: 's', signal, deadline: 1000 });
      const worst: Finding | undefined = report.findings.find(({ severity }) => severity === 'error');
      console.log(worst?.fix, explainError('401002').exitCode, (await verifyChain({ cert: '', authorities: '', signal })).seen[0]);
      console.log((await inspectChain({ certFile: 'chain.pem', passphrase: 'x', signal })).certificates[0]?.issuedBy?.toFixed(), result.unknownFields?.['x']);
      const keyType: KeyType = 'ec-p256';
      const key: PrivateKey = await PrivateKey.generate(keyType, { signal });
      const root: Authority = await Authority.createRoot('root', await PrivateKey.generate(), { pathLength: 1, days: 3650, signal });
      const issuer = await root.createIntermediate('intermediate', await PrivateKey.fromPem({ keyFile: 'ca.pem', passphrase: 'x' }), { notBefore: new Date(), notAfter: new Date() });
      const csr: CertificateRequest = CertificateRequest.fromPem(await key.certificateRequest('device-01'));
      const leaf: Certificate = await issuer.issueRequested(csr, { days: 30 });
      const facts: InspectedCertificate = (await issuer.reissueDevice(leaf, key.publicKeyInfo)).inspect();
      const [first] = await Certificate.fromPem({ certFile: 'root.pem', signal });
      if (first) new Authority(first, key).issueVerification('code', key);
      const hardware = new SubjectKey({ signer, algorithms: ['ecdsa-p256-sha256'], publicKeyInfo: key.publicKeyInfo });
      const above = await Authority.createRoot(await hardware.certificateRequest('x', { signal }), hardware, { signal });
      if (first) await (await Authority.fromSigner(first, { signer, signal })).createIntermediate('x', hardware);
      await above.issueDevice('device-01', hardware);
      const chain = new CertificateChain([await issuer.issueDevice('device-01', key), issuer.certificate]);
      const pfx: Buffer = await chain.toPkcs12(key, 'passphrase');
      console.log((await CertificateChain.fromPkcs12({ pkcs12: pfx, passphrase: 'x' })).certificates[0]?.der, csr.ignored[0], facts.use, cString(chain.toPem()), javaString(await key.toPem()));
      for await (const made of makeDevices({ folder: '.', issuer, range: 'a1..a9', keyType, overwrite: true, signal })) console.log((made satisfies MadeDevice).outcome, made.done / made.total);
      // @ts-expect-error a key that signs tokens is asked for no digest
      new SymmetricKeySecurityClient('id', (request) => request.digest);
      // @ts-expect-error there is no such type of key
      await PrivateKey.generate('dsa');
      // @ts-expect-error a signer without a certificate names its algorithms
      new SubjectKey({ signer, publicKeyInfo: key.publicKeyInfo });
      // @ts-expect-error a batch has an issuer
      makeDevices({ folder: '.', range: 'a1..a9' });
      // @ts-expect-error there is no such reach
      await doctor({ reach: 'moon' });
      // @ts-expect-error a message is no number
      await client.sendEvent(5);
      // @ts-expect-error there is no such stage
      for await (const step of device.registering()) if (step.stage === 'done') break;
      try { await client.open(); } catch (error) {
        if (error instanceof DpsError && error.code === 'DPS_UNAUTHORIZED') console.log(error.service?.errorCode, error.hint, error.retryable);
      }
      setLogger(({ level, message }) => console.log(level, message), 'debug');
      console.log(errorCatalogue()[0]?.sentence, status);
    }
  `;
  const tsc = join(tools, 'node_modules/typescript/bin/tsc');
  const types = ['--typeRoots', join(tools, 'node_modules/@types'), '--types', 'node'];
  const options = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--target', 'es2022', '--module', 'nodenext', ...types];
  for (const extension of ['cts', 'mts']) {
    const file = join(process.cwd(), `types.${extension}`);
    writeFileSync(file, program);
    try {
      execFileSync(process.execPath, [tsc, ...options, file], { encoding: 'utf8' });
    } catch (error) {
      assert.fail(error.stdout);
    }
  }
});

test('without its library the module says what is missing', async () => {
  const input = `
    import Module from 'node:module';
    const load = Module._load;
    Module._load = (name, ...rest) => { if (name.startsWith('@dps-core/')) throw new Error('not there'); return load(name, ...rest); };
    await import('dps-core').catch((error) => console.log(error.message, '|', error.cause.message));
  `;
  const ended = await node(undefined, { input });
  assert.match(ended.stdout, /optional package @dps-core\/linux-x64-gnu.*\| not there/);
});

test('a second copy in the same thread does no harm', async () => {
  const input = `
    import { createRequire } from 'node:module';
    const require = createRequire(process.cwd() + '/');
    const first = require('dps-core');
    for (const file of Object.keys(require.cache)) delete require.cache[file];
    const second = require('dps-core');
    const nowhere = { certFile: '/nowhere', keyFile: '/nowhere' };
    for (const { DpsError, ProvisioningDeviceClient, X509Security } of [second, first]) {
      const device = ProvisioningDeviceClient.create('h', 's', undefined, new X509Security('x', nowhere));
      await device.register().catch((error) => console.log(error.code));
    }
  `;
  const ended = await node(undefined, { input });
  assert.equal(ended.stdout, 'DPS_FILE_NOT_READABLE\n'.repeat(2), ended.stderr);
});
