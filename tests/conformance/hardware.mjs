// What cases bring along in place of hardware: signers and HSMs, slow where --delay says so, and
// pulled out where --sign-fails-at or --hsm-fails does.
import { createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

const delay = (given) => pause(Number(given['--delay'] ?? 0));

// A key that signs.
export function signer(given) {
  const key = createPrivateKey(readFileSync(given['--key']));
  let calls = 0;
  return async ({ algorithm, message }) => {
    calls += 1;
    if (calls === Number(given['--sign-fails-at'])) throw new Error('the token was pulled out');
    await delay(given);
    const padding = algorithm.startsWith('rsa-pss') ? { padding: 6, saltLength: -1 } : {};
    return sign(algorithm.split('-').at(-1), message, { key, ...padding });
  };
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
