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
 * becomes the `cause` of the call's error. A device's has 30 seconds for an answer; a CA's, or that
 * of a certificate request, has no limit but the call's `signal`.
 */
export type Signer = (request: SignRequest) => Uint8Array | Promise<Uint8Array>;

/**
 * A symmetric key that stays where it is. It returns the HMAC-SHA256 of the request's message under
 * the key, 32 bytes. What it throws becomes the `cause` of the call's error.
 */
export type TokenSigner = (request: TokenSignRequest) => Uint8Array | Promise<Uint8Array>;

/** The incumbent's extension point: an object that knows where the certificate is. */
export interface CertificateProvider {
  getRegistrationId(): string;
  /** Gives it to the callback; or, where it takes none, returns it or a promise of it. */
  getCertificate(callback: (error: Error | null | undefined, x509?: X509) => void): unknown;
}

/** An object that knows where the symmetric key is, and hands it over in base64. */
export interface SymmetricKeyProvider {
  getRegistrationId(): string;
  /** Gives it to the callback; or, where it takes none, returns it or a promise of it. */
  getSymmetricKey(callback: (error: Error | null | undefined, key?: string) => void): unknown;
}

/** Who a device is. */
export type SecurityClient =
  | X509Security
  | SymmetricKeySecurityClient
  | CertificateProvider
  | SymmetricKeyProvider;

/** How important a line of the log is. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

export interface ClientOptions extends X509 {}
export interface DoctorOptions extends X509, DeadlineOptions {}
/** A chain, and what it is to be verified against; without `authorities`, it is judged by itself. */
export interface VerifyOptions extends X509, WaitOptions {}
export interface InspectOptions extends WaitOptions {}
export interface PrivateKeyOptions extends WaitOptions {}
export interface CertificateOptions extends WaitOptions {}
export interface Pkcs12Options extends WaitOptions {}
export interface IssueOptions extends WaitOptions {}
export interface SignerOptions extends WaitOptions {}
export interface AuthorityOptions extends IssueOptions {}
export interface DevicesOptions extends IssueOptions {}

/** A type of key that can be made. */
export type KeyType = 'rsa-2048' | 'rsa-3072' | 'rsa-4096' | 'ec-p256' | 'ec-p384';

/** What `doctor` and `verifyChain` find; the JSON of `dps doctor --json`. */
export interface DoctorReport {
  /** 0 where nothing was found, 1 for warnings, 2 for errors. */
  exitCode: 0 | 1 | 2;
  /** What is wrong, or soon will be. */
  findings: Finding[];
  /** What was examined and is in order, one sentence each. */
  seen: string[];
}

/** One thing that is wrong, or soon will be. */
export interface Finding {
  /** What was looked for, such as `DPS-C002`; an ID never changes its meaning. */
  id: string;
  /** An error does not work; a warning works here and now, and may not elsewhere or later. */
  severity: 'warning' | 'error';
  /** What a finding of this ID means. */
  sentence: string;
  /** What was seen, with names and dates. */
  evidence: string;
  /** What to do about it. */
  fix: string;
  /** The page that explains it, relative to the root of dps-core's source tree. */
  page: string;
}

/** What `inspectChain` tells; the JSON of `dps chain inspect --json`. */
export interface ChainInspection {
  /** The certificates, in the order of the file. */
  certificates: InspectedCertificate[];
  /** What was tolerated while reading, one sentence each. */
  notes: string[];
}

/** A certificate, as far as it matters to DPS. */
export interface InspectedCertificate {
  subject: string;
  commonName: string | null;
  issuer: string;
  /** The position of the issuer among the certificates; null where it is not there. */
  issuedBy: number | null;
  selfSigned: boolean;
  /** The serial number in hexadecimal. */
  serial: string;
  /** RFC 3339, in UTC. */
  notBefore: string;
  /** RFC 3339, in UTC. */
  notAfter: string;
  /** Whole days until `notAfter`; negative afterwards. */
  daysLeft: number;
  /** The type of the key, such as `EC P-256`. */
  key: string;
  signature: string;
  version: number;
  ca: boolean;
  pathLength: number | null;
  keyUsage: string[] | null;
  extendedKeyUsage: string[] | null;
  sha1Thumbprint: string;
  sha256Thumbprint: string;
  /** Where in DPS a certificate of this kind belongs. */
  use: string;
}

export interface Client {
  /** Closes the connection: `await using client = …`. */
  [Symbol.asyncDispose](): Promise<void>;
}
