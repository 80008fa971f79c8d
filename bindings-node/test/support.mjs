// What the tests share: an emulator of their own, set up as the tutorial sets Azure up.

import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { promisify } from 'node:util';

import { DpsError, Mqtt, ProvisioningDeviceClient, X509Security } from 'dps-core';

export const HOST = 'global.azure-devices-provisioning.net';
export const HUB = 'contoso-hub-2.azure-devices.net';

const run = promisify(execFile);
export const ROOT = 'certs/azure-iot-test-only.root.ca.cert.pem';
export const INTERMEDIATE = 'certs/azure-iot-test-only.intermediate.cert.pem';

/** The tutorial, until the tests are done: a chain of these devices, and an emulator that enrolled it. */
export async function tutorial(...devices) {
  const chain = await Chain.make(...devices);
  after(() => chain.remove());
  const emulator = await Emulator.start('--retry-after', '0');
  after(() => emulator.stop());
  await emulator.enroll(chain);
  return { chain, emulator };
}

/** A new folder of a test's own. */
export class Folder {
  folder = mkdtempSync(join(tmpdir(), 'dps-node-'));

  path(name) {
    return join(this.folder, name);
  }

  text(name) {
    return readFileSync(this.path(name), 'utf8');
  }

  /** Writes a file; returns its path. */
  write(name, content) {
    writeFileSync(this.path(name), content);
    return this.path(name);
  }

  /** What OpenSSL prints that runs in the folder and is given this input. */
  openssl(input, ...options) {
    return execFileSync('openssl', options, { cwd: this.folder, input, stdio: ['pipe', 'pipe', 'pipe'] });
  }

  remove() {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A folder with the tutorial's chain, for these devices. */
export class Chain extends Folder {
  static async make(...devices) {
    const chain = new Chain();
    chain.write('ca.pass', '1234\n');
    await chain.dps('root');
    await chain.dps('intermediate');
    await chain.add(devices);
    return chain;
  }

  /** More devices; `options` are those of `dps chain device`. */
  async add(devices, ...options) {
    if (devices.length > 0) await this.dps('device', ...devices, ...options);
  }

  dps(...chainArguments) {
    const common = ['--key-type', 'ec-p256', '--passphrase-file', 'ca.pass'];
    return dps(['chain', ...chainArguments, ...common], { cwd: this.folder });
  }

  certFile(device) {
    return this.path(`certs/${device}-full-chain.cert.pem`);
  }

  keyFile(device) {
    return this.path(`private/${device}.key.pem`);
  }

  /** The files of a device, as the option `x509`. */
  files(device) {
    return { certFile: this.certFile(device), keyFile: this.keyFile(device) };
  }

  /** The contents of the files of a device, as the option `x509`. */
  pem(device) {
    const { certFile, keyFile } = this.files(device);
    return { cert: readFileSync(certFile), key: readFileSync(keyFile) };
  }
}

/** A running `dps emulator`. */
export class Emulator {
  folder = new Folder();
  rootFile = this.folder.path('root.pem');

  static async start(...options) {
    const emulator = new Emulator();
    const first = ['emulator', '--listen', '127.0.0.1:0', '--json', '--root-out', emulator.rootFile];
    emulator.process = spawn(cli(), [...first, ...options], {
      env: cleanEnvironment(),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    for await (const line of createInterface({ input: emulator.process.stdout })) {
      emulator.ready = JSON.parse(line);
      break;
    }
    emulator.ca = readFileSync(emulator.rootFile, 'utf8');
    emulator.transport = new Mqtt({ connectTo: emulator.ready.connectTo, ca: emulator.ca });
    return emulator;
  }

  get idScope() {
    return this.ready.idScope;
  }

  /** What a program needs to reach the emulator. */
  get environment() {
    return {
      ...cleanEnvironment(),
      DPS_CONNECT_TO: this.ready.connectTo,
      SSL_CERT_FILE: this.rootFile,
      DPS_LOGIN: this.ready.connectionString,
      DPS_HUB_LOGIN: this.ready.hubConnectionStrings[HUB],
    };
  }

  /** Runs the `dps` command against the emulator. */
  async dps(...commandArguments) {
    const { stdout } = await dps(commandArguments, { env: this.environment });
    return stdout.trim() === '' ? undefined : JSON.parse(stdout);
  }

  /** The tutorial's two portal steps. */
  async enroll(chain, { verified = true, status = 'enabled', name = 'my' } = {}) {
    await this.dps(
      'certificate', 'create', '--certificate-name', `${name}-root-ca`, '--path', chain.path(ROOT),
      ...(verified ? ['--verified', 'true'] : []),
    );
    await this.dps(
      'enrollment-group', 'create', '--enrollment-id', `${name}-device-group`,
      '--certificate-path', chain.path(INTERMEDIATE), '--provisioning-status', status,
    );
  }

  /** A client for a device whose security is given, or whose files are in the chain. */
  device(security, { idScope = this.idScope, host = HOST, transport = this.transport } = {}) {
    return ProvisioningDeviceClient.create(host, idScope, transport, security);
  }

  /** A client for the device of this name. */
  deviceOf(chain, name, options) {
    return this.device(new X509Security(name, chain.files(name)), options);
  }

  /** Runs a program that has `client`, a client for the device that the expression `security` makes. */
  program(security, text, { env, ...more } = {}) {
    const head = `
      import { Mqtt, ProvisioningDeviceClient, SymmetricKeySecurityClient, X509Security, setLogger } from 'dps-core';
      const security = ${security};
      const client = ProvisioningDeviceClient.create('${HOST}', '${this.idScope}', new Mqtt(), security);
    `;
    return node(undefined, { env: { ...this.environment, ...env }, input: head + text, ...more });
  }

  /**
   * Asserts that nothing is left behind by what a program does over and over: `round()`, which `text` defines and which
   * registers 50 devices. Something kept of each would show in every later window.
   */
  async leavesNothing(security, text) {
    const ended = await this.program(security, `
      import { readdirSync } from 'node:fs';
      ${text}
      const measure = async () => {
        for (let number = 0; number < 3; number += 1) { globalThis.gc(); await new Promise(setImmediate); }
        const { heapUsed: heap, rss } = process.memoryUsage();
        return { heap, rss, threads: readdirSync('/proc/self/task').length, files: readdirSync('/proc/self/fd').length };
      };
      const windows = [];
      for (let number = 0; number < 4; number += 1) {
        for (let again = 0; again < 10; again += 1) await round();
        windows.push(await measure());
      }
      console.log(JSON.stringify(windows));
    `, { flags: ['--expose-gc'] });
    assert.equal(ended.code, 0, ended.stderr);
    const windows = JSON.parse(ended.stdout);
    const least = (what) => Math.min(...windows.slice(2).map((window, before) => window[what] - windows[before + 1][what]));
    const registrations = 500;
    for (const [what, each] of [['heap', 100], ['rss', 1024], ['threads', 0], ['files', 0]]) {
      assert.ok(least(what) <= each * registrations, `${what}: ${windows.map((window) => window[what]).join(', ')}`);
    }
  }

  /** The messages that the hub has of a device. */
  async messages(device) {
    return (await this.dps('hub', 'device', 'messages', '--device-id', device)).messages;
  }

  /** Makes the emulator do something wrong; see the emulator's `faults`. */
  async fault(...faults) {
    await this.control('POST', 'faults', faults);
  }

  async clearFaults() {
    await this.control('DELETE', 'faults');
  }

  /** Waits until the emulator has seen a packet of this device at `dps` or `hub`. */
  async packet(device, role, kind) {
    return until(`${kind} of ${device}`, async () => (await this.packets(device, role, kind))[0]);
  }

  /** The packets of this kind that the emulator has seen of a device at `dps` or `hub`. */
  async packets(device, role, kind) {
    const { packets } = await this.control('GET', 'packets');
    return packets.filter((packet) => packet.device === device && packet.role === role && packet.packet === kind);
  }

  control(method, what, body) {
    const [host, port] = this.ready.connectTo.split(':');
    return new Promise((resolve, reject) => {
      const asked = request(
        { method, host, port, path: `/emulator/${what}`, ca: this.ca, servername: HOST, agent: false },
        (answer) => {
          let text = '';
          answer.setEncoding('utf8');
          answer.on('data', (part) => (text += part));
          answer.on('end', () => {
            if (answer.statusCode >= 300) reject(new Error(`${answer.statusCode}: ${text}`));
            else resolve(text === '' ? undefined : JSON.parse(text));
          });
        },
      );
      asked.on('error', reject);
      asked.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  async stop() {
    const ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill();
    await ended;
    this.folder.remove();
  }
}

/** The expression that makes the security client of a device from these options. */
export const x509Security = (device, x509) => `new X509Security('${device}', ${JSON.stringify(x509)})`;

/** Writes a device's chain and key as a PKCS#12 file, by OpenSSL. */
export function pfx(chain, device, file, passphrase) {
  const { certFile, keyFile } = chain.files(device);
  return run('openssl', ['pkcs12', '-export', '-in', certFile, '-inkey', keyFile, '-passout', `pass:${passphrase}`, '-out', file]);
}

/** Asserts that the promise rejects with a `DpsError` of this code, whose text has these words. */
export async function rejects(promise, code, ...words) {
  const error = await promise.then(
    (value) => assert.fail(`it resolved to ${JSON.stringify(value)}`),
    (reason) => reason,
  );
  assert.ok(error instanceof DpsError, `not a DpsError: ${error?.stack ?? error}`);
  assert.equal(error.code, code, error.message);
  for (const word of words) assert.ok(error.message.includes(word), `${word} in ${error.message}`);
  return error;
}

/** Waits for a condition. */
export async function until(what, condition, patience = 20_000) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Runs a program in Node until its end; resolves to its exit code and output. `watch` sees it run. */
export async function node(file, { env = cleanEnvironment(), flags = [], input, program = process.execPath, watch = () => {} } = {}) {
  const child = spawn(program, [...flags, ...(input ? ['--input-type=module', '-e', input] : [file])], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (part) => (stdout += part));
  child.stderr.setEncoding('utf8').on('data', (part) => (stderr += part));
  const closed = new Promise((resolve) => {
    child.once('close', (...ended) => resolve(ended));
  });
  await watch(child);
  const [code, signal] = await closed;
  return { code, signal, stdout, stderr, lines: stdout.split('\n').filter((line) => line !== '') };
}

/** Runs the `dps` command with `--json`; resolves to what it prints, whatever its exit code. */
export async function dpsJson(commandArguments, env = cleanEnvironment()) {
  const { stdout } = await run(cli(), [...commandArguments, '--json'], { env }).catch((error) => error);
  return JSON.parse(stdout);
}

function dps(commandArguments, options) {
  return run(cli(), commandArguments, { env: cleanEnvironment(), ...options });
}

function cli() {
  assert.ok(process.env.DPS_CLI, 'DPS_CLI is the path of the dps command; see make test-node');
  return process.env.DPS_CLI;
}

/** Of the user's own settings, none must reach a test. */
function cleanEnvironment() {
  const { DEBUG, DPS_CONNECT_TO, DPS_HUB_LOGIN, DPS_LOGIN, NODE_OPTIONS, NODE_TEST_CONTEXT, SSL_CERT_FILE, ...rest } =
    process.env;
  return rest;
}
