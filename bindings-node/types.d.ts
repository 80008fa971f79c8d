// Generated from Rust by @napi-rs/cli, behind the head in types.d.ts. `make test-node` compares.
/* eslint-disable */
/// <reference lib="esnext.disposable" />

/** What dps-core found to be wrong. */
export declare class DpsError extends Error {
  private constructor();
  /** Which kind of error it is, such as `DPS_UNAUTHORIZED`; `errorCatalogue()` lists them all. */
  readonly code: string;
  /** The number of the kind, such as 401; the same in every language. */
  readonly number: number;
  /** Whether the same call may succeed later with nothing changed on this side. */
  readonly retryable: boolean;
  /** What was being done, such as `register`. */
  readonly operation?: string;
  /** What to do about it. */
  readonly hint?: string;
  /** What the service said, if it was the service that refused. */
  readonly service?: ServiceDetails;
  /** What lies behind it: another error, or the very value that a signer threw. */
  readonly cause?: unknown;
}

/** How to sign: the type of key, the padding, and the hash. */
export type SignatureAlgorithm =
  | 'ecdsa-p256-sha256'
  | 'ecdsa-p384-sha384'
  | 'rsa-pss-sha256'
  | 'rsa-pss-sha384'
  | 'rsa-pss-sha512'
  | 'rsa-pkcs1-sha256'
  | 'rsa-pkcs1-sha384'
  | 'rsa-pkcs1-sha512';

/**
 * A key that stays where it is. It returns the signature of the request's message: PKCS#1 v1.5 or
 * PSS bytes for RSA; for ECDSA either DER or the raw `r || s` that hardware returns. What it throws
 * becomes the `cause` of the call's error.
 */
export type Signer = (request: SignRequest) => Uint8Array | Promise<Uint8Array>;

/** The incumbent's extension point: an object that knows where the certificate is. */
export interface CertificateProvider {
  getRegistrationId(): string;
  getCertificate(callback: (error: Error | null | undefined, x509?: X509) => void): void;
}

/** Who a device is. */
export type SecurityClient = X509Security | SymmetricKeySecurityClient | CertificateProvider;

/** How important a line of the log is. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

export interface Client {
  /** Closes the connection: `await using client = …`. */
  [Symbol.asyncDispose](): Promise<void>;
}
