// Keys, passphrases and tokens are looked for in everything that a program of Node could see: what
// the logger is handed, errors and their causes, and what objects show of themselves.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHmac, createPrivateKey, randomBytes, sign } from 'node:crypto';
import { test } from 'node:test';
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';

import { Client, Mqtt, PrivateKey, SymmetricKeySecurityClient, X509Security, deriveDeviceKey, doctor, setLogger } from 'dps-core';

import { HUB, pfx, tutorial, until } from './support.mjs';

// So many characters of a secret in a row are a find: a piece of it is as good as a beginning.
const PIECE = 12;

// The start of a P-256 private key of 32 bytes (RFC 5915, section 3).
const SCALAR = Buffer.from([0x02, 0x01, 0x01, 0x04, 0x20]);

/** What is looked for, in the spellings in which it could slip out. */
class Needles {
  // A token is made anew for each connection, so it is known only by what is around it.
  texts = new Map([['SharedAccessSignature sr=', 'a token'], ['&sig=', "a token's signature"]]);
  pieces = new Map();

  text(name, secret) {
    this.#add(name, secret);
    this.bytes(name, Buffer.from(secret));
    return secret;
  }

  passphrase(name) {
    return `pass ${this.text(name, randomBytes(12).toString('hex'))}`;
  }

  symmetricKey(name, key = randomBytes(32).toString('base64')) {
    this.bytes(name, Buffer.from(key, 'base64'));
    return key;
  }

  privateKey(name, pem) {
    const der = createPrivateKey(pem).export({ format: 'der', type: 'pkcs8' });
    const at = der.indexOf(SCALAR) + SCALAR.length;
    this.bytes(name, der.subarray(at, at + 32));
  }

  bytes(name, secret) {
    // Big numbers are kept with the least byte first.
    for (const content of [secret, Buffer.from(secret).reverse()]) {
      const hex = content.toString('hex');
      const pairs = hex.match(/../g);
      for (const spelled of [hex, pairs.join(':'), pairs.join(' ')]) {
        this.#add(name, spelled);
        this.#add(name, spelled.toUpperCase());
      }
      this.#add(name, [...content].join(', '));
      this.#add(name, [...content].join(','));
      // In the middle of something it starts at any of three places of a group, and shares its
      // first and last characters with its neighbours.
      for (const shift of [0, 1, 2]) {
        const padded = Buffer.concat([Buffer.alloc(shift), content]);
        for (const encoding of ['base64', 'base64url']) {
          const own = padded.toString(encoding).slice([0, 2, 3][shift], Math.floor((padded.length * 8) / 6));
          this.#add(name, own);
          this.#add(name, encodeURIComponent(own));
        }
      }
    }
  }

  /** What is in it, and what is around it; also across line ends. */
  find(hay) {
    for (const text of [hay, hay.replace(/\s/g, '')]) {
      const around = (at) => `...${text.slice(Math.max(0, at - 200), at + 100)}...`;
      for (const [needle, name] of this.texts) {
        if (text.includes(needle)) return `${name}: ${around(text.indexOf(needle))}`;
      }
      for (let at = 0; at + PIECE <= text.length; at += 1) {
        const name = this.pieces.get(text.slice(at, at + PIECE));
        if (name) return `${name}: ${around(at)}`;
      }
    }
    return undefined;
  }

  #add(name, spelling) {
    assert.ok(spelling.length >= PIECE, `${name} would be found anywhere`);
    for (let at = 0; at + PIECE <= spelling.length; at += 1) this.pieces.set(spelling.slice(at, at + PIECE), name);
  }
}

/** Hears all that is logged, and is shown all the rest. */
class Ears {
  said = [];
  levels = new Set();

  constructor() {
    setLogger((record) => {
      this.levels.add(record.level);
      this.show(record);
    }, 'trace');
  }

  show(...objects) {
    for (const object of objects) {
      this.said.push(inspect(object, { depth: Infinity, showHidden: true, getters: true, maxArrayLength: null, maxStringLength: null }));
      this.said.push(String(object), JSON.stringify(object) ?? '');
    }
  }

  /** Something that fails, synchronously or later, with all that the error and its causes say. */
  async refused(what, attempt) {
    const outcome = await (async () => attempt())().then(
      (value) => assert.fail(`${what} does not fail: ${inspect(value)}`),
      (reason) => reason,
    );
    if (outcome instanceof assert.AssertionError) throw outcome;
    for (let error = outcome; error !== undefined; error = error.cause) {
      this.show(error);
      this.said.push(error.message, error.stack, `${error.hint}`);
    }
  }

  async end(needles) {
    setLogger(null);
    assert.equal(needles.find(this.said.join('\n')), undefined);
  }
}

const { chain, emulator } = await tutorial('device-01', 'device-02', 'device-03', 'device-04');

/** The key of a device, looked for from here on. */
function known(needles, device) {
  needles.privateKey(`the key of ${device}`, chain.text(`private/${device}.key.pem`));
  return chain.pem(device);
}

/** Writes the key of a device, encrypted by OpenSSL. */
function encrypted(device, passphrase) {
  const file = chain.path(`${device}.encrypted.pem`);
  execFileSync('openssl', ['pkcs8', '-topk8', '-in', chain.keyFile(device), '-passout', `pass:${passphrase}`, '-out', file]);
  return file;
}

/** A signer that knows a PIN and would show it. */
function pinned(device, pin, answer) {
  const key = createPrivateKey(readFileSync(chain.keyFile(device)));
  const signer = ({ message }) => answer ?? sign('sha256', message, key);
  return Object.assign(signer, { pin, toString: () => `signer(pin=${pin})`, [inspect.custom]: () => `signer(pin=${pin})` });
}

/** Sends one message, cut off before it is acknowledged, so that it is sent again. */
async function send(ears, hub, device) {
  await emulator.fault({ device, step: 'telemetry', action: { cut: 'before' } });
  ears.show(await hub.sendEvent('over the next connection'), hub);
  await hub.close();
  ears.show(hub);
}

test('a secret is found in each spelling', () => {
  const needles = new Needles();
  const secret = Buffer.from(Array.from({ length: 32 }, (_, number) => (number * 167) % 256));
  needles.bytes('the key', secret);
  needles.text('the passphrase', 'tr0ub4dor&3-and-more');
  const encoded = Buffer.concat([Buffer.from('before'), secret]).toString('base64');
  for (const said of [
    inspect(secret),
    JSON.stringify(secret),
    inspect([...secret]).replace(/\s+/g, ''),
    `${encoded.slice(0, 20)}\n${encoded.slice(20)}`,
    encodeURIComponent(secret.toString('base64')),
    'SharedAccessSignature sr=x&sig=y',
    inspect({ passphrase: 'tr0ub4dor&3-and-more' }),
  ]) {
    assert.ok(needles.find(said), said);
  }
  assert.equal(needles.find('nothing of interest, and a lot more of it'), undefined);
});

test('devices that register and send show no secret', async () => {
  const [needles, ears] = [new Needles(), new Ears()];
  const phrases = ['the passphrase of a PEM file', 'the passphrase of a PFX file'].map((name) => needles.passphrase(name));
  const pkcs12File = chain.path('device-03.pfx');
  await pfx(chain, 'device-03', pkcs12File, phrases[1]);
  const signed = known(needles, 'device-04');
  known(needles, 'device-03');
  known(needles, 'device-02');
  const forms = {
    'device-01': known(needles, 'device-01'),
    'device-02': { certFile: chain.certFile('device-02'), keyFile: encrypted('device-02', phrases[0]), passphrase: phrases[0] },
    'device-03': { pkcs12File, passphrase: phrases[1] },
    'device-04': { cert: signed.cert, signer: pinned('device-04', needles.text('the PIN', randomBytes(8).toString('hex'))) },
  };
  for (const [name, x509] of Object.entries(forms)) {
    const security = new X509Security(name, x509);
    const device = emulator.device(security);
    const result = await device.register();
    ears.show(security, device, result);
    await send(ears, await device.connect(result), name);
    const hub = Client.fromConnectionString(`HostName=${HUB};DeviceId=${name};x509=true`, emulator.transport);
    hub.setOptions(x509);
    await hub.open();
    ears.show(hub);
    await hub.close();
  }
  const key = await PrivateKey.fromPem({ key: forms['device-01'].key });
  const again = await PrivateKey.fromPem({ key: await key.toPem(phrases[0]), passphrase: phrases[0] });
  ears.show(key, again);
  await until('the log of a lost connection', () => ears.levels.has('warn'));
  assert.ok(ears.levels.has('debug'));
  await ears.end(needles);
});

test('devices with symmetric keys show neither keys nor tokens', async () => {
  const [needles, ears] = [new Needles(), new Ears()];
  const own = needles.symmetricKey('the primary key');
  const group = needles.symmetricKey('the key of a group', randomBytes(64).toString('base64'));
  const derived = needles.symmetricKey('the derived key', deriveDeviceKey(group, 'meter-2'));
  const wrong = needles.symmetricKey('the wrong key');
  await emulator.dps('enrollment', 'create', '--enrollment-id', 'meter-1', '--attestation-type', 'symmetrickey', '--primary-key', own);
  await emulator.dps('enrollment-group', 'create', '--enrollment-id', 'meters', '--primary-key', group);
  const signer = ({ message }) => createHmac('sha256', Buffer.from(own, 'base64')).update(message).digest();
  const vault = { getRegistrationId: () => 'meter-1', getSymmetricKey: async () => own };
  for (const [name, security] of [
    ['meter-1', new SymmetricKeySecurityClient('meter-1', own)],
    ['meter-2', new SymmetricKeySecurityClient('meter-2', derived)],
    ['meter-1', new SymmetricKeySecurityClient('meter-1', signer)],
    ['meter-1', vault],
  ]) {
    const device = emulator.device(security);
    const result = await device.register();
    ears.show(security, device, result);
    await send(ears, await device.connect(result), name);
  }
  const text = `HostName=${HUB};DeviceId=meter-1;SharedAccessKey=${own}`;
  const hub = Client.fromConnectionString(text, emulator.transport);
  await hub.open();
  await send(ears, hub, 'meter-1');

  await ears.refused('a key that DPS does not know', () =>
    emulator.device(new SymmetricKeySecurityClient('meter-1', wrong)).register());
  await ears.refused('a key that the hub does not know', () =>
    Client.fromConnectionString(text.replace(own, wrong), emulator.transport).open());
  const malformed = `${wrong.slice(0, 20)} ${wrong.slice(20)}`;
  await ears.refused('a malformed key', () =>
    emulator.device(new SymmetricKeySecurityClient('meter-1', malformed)).register());
  await ears.refused('a malformed key of an object', () =>
    emulator.device({ ...vault, getSymmetricKey: () => malformed }).register());
  await ears.refused('a malformed group key', () => deriveDeviceKey(malformed, 'meter-2'));
  for (const damaged of [text.replace('SharedAccessKey=', 'SharedAccessKey '), `${text};${own}`]) {
    await ears.refused('a malformed connection string', () => Client.fromConnectionString(damaged, emulator.transport).open());
  }
  await until('the log of a lost connection', () => ears.levels.has('warn'));
  await ears.end(needles);
});

test('what goes wrong with a secret in hand does not say it', async () => {
  const [needles, ears] = [new Needles(), new Ears()];
  const [phrase, wrong] = ['the passphrase', 'a wrong one'].map((name) => needles.passphrase(name));
  const other = known(needles, 'device-02');
  const { cert, key } = known(needles, 'device-01');
  const certFile = chain.certFile('device-01');
  const keyFile = encrypted('device-01', phrase);
  const pkcs12File = chain.path('wrong.pfx');
  await pfx(chain, 'device-01', pkcs12File, phrase);
  const damaged = other.key.toString().replace(/.\s-----END/, '*\n-----END');
  assert.notEqual(damaged, other.key.toString());
  const pin = needles.text('the PIN', randomBytes(8).toString('hex'));
  for (const [what, x509] of Object.entries({
    'no passphrase': { certFile, keyFile },
    'a wrong passphrase': { certFile, keyFile, passphrase: wrong },
    'a key in place of the chain': { certFile: keyFile, keyFile: certFile, passphrase: phrase },
    "another device's key": { cert, key: other.key },
    'a damaged key': { cert, key: damaged },
    'chain and key the wrong way round': { cert: key, key: cert },
    'a passphrase in place of a key': { cert, key: phrase },
    'a wrong passphrase of PKCS#12': { pkcs12File, passphrase: wrong },
    'no passphrase of PKCS#12': { pkcs12File },
    'a signer that signs nonsense': { cert, signer: pinned('device-01', pin, Buffer.from('no signature')) },
  })) {
    await ears.refused(what, () => {
      const security = new X509Security('device-01', x509);
      ears.show(security);
      return emulator.device(security).register();
    });
  }
  await ears.refused('a damaged key', () => PrivateKey.fromPem({ key: damaged }));
  await ears.refused('a wrong passphrase', () => PrivateKey.fromPem({ keyFile, passphrase: wrong }));
  const nowhere = new Mqtt({ connectTo: '127.0.0.1:1', ca: emulator.ca });
  await ears.refused('a server that is not there', () =>
    emulator.device(new X509Security('device-01', { cert, key }), { transport: nowhere }).register({ deadline: 100 }));
  for (const examined of [keyFile, chain.write('damaged.key.pem', damaged)]) {
    ears.show(await doctor({ certFile, keyFile: examined, passphrase: wrong }));
  }
  await ears.end(needles);
});

test('a program that catches nothing prints no secret', async () => {
  const needles = new Needles();
  known(needles, 'device-01');
  const [phrase, wrong] = ['the passphrase', 'a wrong one'].map((name) => needles.passphrase(name));
  const files = { certFile: chain.certFile('device-01'), keyFile: encrypted('device-01', phrase) };
  for (const [passphrase, code] of [[phrase, 0], [wrong, 1]]) {
    // From the environment: Node prints the line that threw.
    const env = { DEBUG: 'dps-core', GIVEN: JSON.stringify({ ...files, passphrase }) };
    const security = "new X509Security('device-01', JSON.parse(process.env.GIVEN))";
    const ended = await emulator.program(security, 'await client.register();', { env });
    assert.equal(ended.code, code, ended.stderr);
    assert.match(ended.stderr, code === 0 ? /debug dps_core/ : /DPS_PASSPHRASE_WRONG/);
    assert.equal(needles.find(ended.stdout + ended.stderr), undefined);
  }
});
