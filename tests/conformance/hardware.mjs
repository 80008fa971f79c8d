// What cases bring along in place of hardware: signers and HSMs, slow where --delay says so, and
// pulled out where --sign-fails-at or --hsm-fails does.
import { createHmac, createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

const delay = (given) => pause(Number(given['--delay'] ?? 0));

function token(given, answer) {
  let calls = 0;
  return async (request) => {
    calls += 1;
    if (calls === Number(given['--sign-fails-at'])) throw new Error('the token was pulled out');
    await delay(given);
    return answer(request);
  };
}

// A key that signs.
export function signer(given) {
  const key = createPrivateKey(readFileSync(given['--key']));
  return token(given, ({ algorithm, message }) => {
    const padding = algorithm.startsWith('rsa-pss') ? { padding: 6, saltLength: -1 } : {};
    return sign(algorithm.split('-').at(-1), message, { key, ...padding });
  });
}

// A symmetric key that signs.
export function tokenSigner(given) {
  const key = Buffer.from(given['--key'], 'base64');
  return token(given, ({ algorithm, message }) => createHmac(algorithm.split('-').at(-1), key).update(message).digest());
}

// The incumbent's extension point, which hands over the certificate and the key at once.
export function hsm(given) {
  return {
    getRegistrationId: () => given['--id'],
    getCertificate: async (done) => {
      await delay(given);
      if ('--hsm-fails' in given) return done(new Error('the token was pulled out'));
      return done(null, { cert: readFileSync(given['--chain']), key: readFileSync(given['--key']) });
    },
  };
}

// An HSM that hands over its symmetric key.
export function keyHsm(given) {
  return {
    getRegistrationId: () => given['--id'],
    getSymmetricKey: async () => {
      await delay(given);
      if ('--hsm-fails' in given) throw new Error('the token was pulled out');
      return given['--key'];
    },
  };
}
