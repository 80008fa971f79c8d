//! The sign hook: a key that never enters this library's memory, a certificate's or a symmetric one.
#![expect(unsafe_code, reason = "reads a structure of C, and lends buffers to a function of C")]

use std::{
    ffi::{c_char, c_void},
    mem, ptr, slice,
};

use dps_core::{Result, SignRequest, SignatureAlgorithm, Signer, SignerError, TokenSigner};
use tokio::runtime::{Handle, RuntimeFlavor};
use zeroize::Zeroizing;

use crate::ffi::{self, UserData};

/// What dps_signer.version must be.
pub const DPS_SIGNER_VERSION: u32 = 1;

/// How a signature is made: key type, padding and hash in one; one of DPS_SIGN_...
pub type dps_signature_algorithm = u32;
/// ECDSA on P-256 over SHA-256.
pub const DPS_SIGN_ECDSA_P256_SHA256: dps_signature_algorithm = 1;
/// ECDSA on P-384 over SHA-384.
pub const DPS_SIGN_ECDSA_P384_SHA384: dps_signature_algorithm = 2;
/// RSASSA-PSS over SHA-256, salt of 32 bytes, MGF1 with SHA-256.
pub const DPS_SIGN_RSA_PSS_SHA256: dps_signature_algorithm = 3;
/// RSASSA-PSS over SHA-384, salt of 48 bytes, MGF1 with SHA-384.
pub const DPS_SIGN_RSA_PSS_SHA384: dps_signature_algorithm = 4;
/// RSASSA-PSS over SHA-512, salt of 64 bytes, MGF1 with SHA-512.
pub const DPS_SIGN_RSA_PSS_SHA512: dps_signature_algorithm = 5;
/// RSASSA-PKCS1-v1_5 over SHA-256.
pub const DPS_SIGN_RSA_PKCS1_SHA256: dps_signature_algorithm = 6;
/// RSASSA-PKCS1-v1_5 over SHA-384.
pub const DPS_SIGN_RSA_PKCS1_SHA384: dps_signature_algorithm = 7;
/// RSASSA-PKCS1-v1_5 over SHA-512.
pub const DPS_SIGN_RSA_PKCS1_SHA512: dps_signature_algorithm = 8;
/// HMAC-SHA256 (RFC 2104), by which a symmetric key signs tokens.
pub const DPS_SIGN_HMAC_SHA256: dps_signature_algorithm = 9;

/// What is to be signed. Lives for the call only.
#[repr(C)]
pub struct dps_sign_request {
    /// The algorithm: one of those that the signer named, or DPS_SIGN_HMAC_SHA256 for a symmetric
    /// key.
    pub algorithm: dps_signature_algorithm,
    /// The whole message, for a signer that hashes by itself.
    pub message: *const u8,
    /// How many bytes the message has.
    pub message_len: usize,
    /// The message's hash under the algorithm, for a signer that takes digests. NULL for
    /// DPS_SIGN_HMAC_SHA256.
    pub digest: *const u8,
    /// How many bytes the hash has; 0 where it is NULL.
    pub digest_len: usize,
}

/// Where the signer writes. Lives for the call only.
#[repr(C)]
pub struct dps_sign_answer {
    /// The signature goes here: PKCS#1 or PSS bytes for RSA; for ECDSA either DER or the raw
    /// r || s; the 32 bytes of an HMAC-SHA256.
    pub signature: *mut u8,
    /// How many bytes there is room for; enough for every supported key.
    pub signature_capacity: usize,
    /// How many bytes were written. 0 at first.
    pub signature_len: usize,
    /// Where the signer fails, it may say why here, as NUL-terminated text. Empty at first.
    pub failure_text: *mut c_char,
    /// How many bytes there is room for, the NUL included.
    pub failure_text_capacity: usize,
}

/// Signs. 0 for success; any other number is the signer's own and comes back in the error
/// (dps_error_signer_code), with the text it wrote.
pub type dps_sign_function = Option<
    extern "C" fn(
        userdata: *mut c_void,
        request: *const dps_sign_request,
        answer: *mut dps_sign_answer,
    ) -> i32,
>;

/// Says that the signer is called no more: userdata may be freed.
pub type dps_drop_function = Option<extern "C" fn(userdata: *mut c_void)>;

/// A private key, or a symmetric one (dps_identity_from_token_signer), that signs and stays where it
/// is.
///
/// Threads: sign may be called from any thread and from several at once, with no lock of this
/// library held, and may block. For blocking calls it runs on a thread of its own, at most eight
/// at a time, so that a slow signer stalls no other device; in the polling form it runs inside
/// do_work, on the caller's thread.
///
/// Lifetime: a deadline ends the wait for a signature, not the call of sign. userdata must stay
/// valid until drop is called, once, from any thread; freeing the identity may return before.
#[repr(C)]
pub struct dps_signer {
    /// DPS_SIGNER_VERSION.
    pub version: u32,
    /// Given to sign and to drop.
    pub userdata: *mut c_void,
    /// The full certificate chain as PEM text, leaf first. Copied. NULL for a symmetric key, and for
    /// a key that has no certificate yet.
    pub certificate_chain: *const c_char,
    /// What the key can do, in order of preference. Copied. NULL and 0: everything that the leaf's
    /// type of key can do. A key that can only do PKCS#1 is used with TLS 1.2 alone. Not looked at
    /// for a symmetric key.
    pub algorithms: *const dps_signature_algorithm,
    /// How many algorithms there are.
    pub algorithms_len: usize,
    /// Signs. Must not be NULL.
    pub sign: dps_sign_function,
    /// May be NULL.
    pub drop: dps_drop_function,
}

/// A certificate's key behind a signer of C, as the core wants to see it.
pub(crate) struct ForeignSigner {
    hook: Hook,
    algorithms: Vec<SignatureAlgorithm>,
}

/// A symmetric key behind a signer of C.
pub(crate) struct ForeignTokenSigner(Hook);

/// The functions of a signer, which is dropped with it.
struct Hook {
    userdata: UserData,
    sign: extern "C" fn(*mut c_void, *const dps_sign_request, *mut dps_sign_answer) -> i32,
    drop: dps_drop_function,
}

impl ForeignSigner {
    /// Copies what C described, the chain included. From here on the userdata is dropped whatever
    /// happens.
    pub(crate) fn new(signer: *const dps_signer) -> Result<(Vec<u8>, Self)> {
        let (signer, hook) = Hook::taken(signer)?;
        let chain = ffi::text(signer.certificate_chain, "dps_signer.certificate_chain")?;
        let algorithms = match signer.algorithms_len {
            0 => Vec::new(),
            length => named(signer.algorithms, length)?,
        };
        Ok((chain.as_bytes().to_vec(), Self { hook, algorithms }))
    }

    /// As [`new`](Self::new), for a key that has no certificate yet to show what it can do.
    pub(crate) fn without_chain(signer: *const dps_signer) -> Result<Self> {
        let (signer, hook) = Hook::taken(signer)?;
        if signer.algorithms_len == 0 {
            return Err(ffi::invalid("dps_signer.algorithms names none"));
        }
        let algorithms = named(signer.algorithms, signer.algorithms_len)?;
        Ok(Self { hook, algorithms })
    }
}

impl ForeignTokenSigner {
    /// From here on the userdata is dropped whatever happens.
    pub(crate) fn new(signer: *const dps_signer) -> Result<Self> {
        let (signer, hook) = Hook::taken(signer)?;
        if !signer.certificate_chain.is_null() {
            return Err(ffi::invalid("dps_signer.certificate_chain is not NULL")
                .with_hint("A key with a certificate belongs to dps_identity_from_signer."));
        }
        Ok(Self(hook))
    }
}

impl Hook {
    /// The functions, and the rest of the description.
    fn taken<'a>(signer: *const dps_signer) -> Result<(&'a dps_signer, Self)> {
        if signer.is_null() {
            return Err(ffi::invalid("signer is NULL"));
        }
        // SAFETY: every version begins with its number, and the pointer is not NULL.
        let version = unsafe { (&raw const (*signer).version).read() };
        if version != DPS_SIGNER_VERSION {
            return Err(ffi::invalid(format!(
                "dps_signer has version {version}; this library knows {DPS_SIGNER_VERSION}"
            )));
        }
        // SAFETY: of this version, so all its members are there, and unchanged during the call.
        let signer = unsafe { &*signer };
        let Some(sign) = signer.sign else {
            return Err(ffi::invalid("dps_signer.sign is NULL"));
        };
        let userdata = UserData(signer.userdata);
        Ok((signer, Self { userdata, sign, drop: signer.drop }))
    }

    fn sign(
        &self,
        algorithm: dps_signature_algorithm,
        message: &[u8],
        digest: Option<&[u8]>,
    ) -> Result<Vec<u8>, SignerError> {
        // RSA of 8192 bits, the largest that is verified.
        const LARGEST: usize = 1024;
        const TEXT: usize = 256;

        // An HMAC opens the hub to whoever has it: a refused one is wiped too.
        let mut signature = Zeroizing::new(vec![0_u8; LARGEST]);
        let mut text = [0_u8; TEXT];
        let asked = dps_sign_request {
            algorithm,
            message: message.as_ptr(),
            message_len: message.len(),
            digest: digest.map_or(ptr::null(), <[u8]>::as_ptr),
            digest_len: digest.map_or(0, <[u8]>::len),
        };
        let mut answer = dps_sign_answer {
            signature: signature.as_mut_ptr(),
            signature_capacity: LARGEST,
            signature_len: 0,
            failure_text: text.as_mut_ptr().cast(),
            failure_text_capacity: TEXT,
        };
        let code = (self.sign)(self.userdata.0, &raw const asked, &raw mut answer);
        if code != 0 {
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(TEXT);
            let said = String::from_utf8_lossy(&text[..end]);
            let said = if said.is_empty() { "it gave no reason".into() } else { said };
            return Err(SignerError::new(said).with_code(code.into()));
        }
        if answer.signature_len == 0 || answer.signature_len > LARGEST {
            return Err(SignerError::new(format!(
                "it says that it wrote {} bytes, where there is room for {LARGEST}",
                answer.signature_len
            )));
        }
        signature.truncate(answer.signature_len);
        Ok(mem::take(&mut *signature))
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            drop(self.userdata.0);
        }
    }
}

impl Signer for ForeignSigner {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        &self.algorithms
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        self.hook.sign(number(request.algorithm()), request.message(), Some(request.digest()))
    }

    fn may_block(&self) -> bool {
        has_threads()
    }
}

impl TokenSigner for ForeignTokenSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.0.sign(DPS_SIGN_HMAC_SHA256, message, None)
    }

    fn may_block(&self) -> bool {
        has_threads()
    }
}

/// A polled handle has no thread to leave a slow signer to.
fn has_threads() -> bool {
    !Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

fn named(
    algorithms: *const dps_signature_algorithm,
    length: usize,
) -> Result<Vec<SignatureAlgorithm>> {
    const MOST: usize = 64;

    if algorithms.is_null() || length > MOST {
        return Err(ffi::invalid("dps_signer.algorithms and algorithms_len do not fit together"));
    }
    // SAFETY: not NULL, and by the header's contract so many numbers are readable.
    let numbers = unsafe { slice::from_raw_parts(algorithms, length) };
    numbers
        .iter()
        .map(|wanted| {
            ALL.iter().copied().find(|algorithm| number(*algorithm) == *wanted).ok_or_else(|| {
                ffi::invalid(format!("{wanted} in dps_signer.algorithms is no algorithm"))
            })
        })
        .collect()
}

const ALL: [SignatureAlgorithm; 8] = [
    SignatureAlgorithm::EcdsaP256Sha256,
    SignatureAlgorithm::EcdsaP384Sha384,
    SignatureAlgorithm::RsaPssSha256,
    SignatureAlgorithm::RsaPssSha384,
    SignatureAlgorithm::RsaPssSha512,
    SignatureAlgorithm::RsaPkcs1Sha256,
    SignatureAlgorithm::RsaPkcs1Sha384,
    SignatureAlgorithm::RsaPkcs1Sha512,
];

/// 0 for an algorithm of a later core: no signer can have named it.
fn number(algorithm: SignatureAlgorithm) -> dps_signature_algorithm {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => DPS_SIGN_ECDSA_P256_SHA256,
        SignatureAlgorithm::EcdsaP384Sha384 => DPS_SIGN_ECDSA_P384_SHA384,
        SignatureAlgorithm::RsaPssSha256 => DPS_SIGN_RSA_PSS_SHA256,
        SignatureAlgorithm::RsaPssSha384 => DPS_SIGN_RSA_PSS_SHA384,
        SignatureAlgorithm::RsaPssSha512 => DPS_SIGN_RSA_PSS_SHA512,
        SignatureAlgorithm::RsaPkcs1Sha256 => DPS_SIGN_RSA_PKCS1_SHA256,
        SignatureAlgorithm::RsaPkcs1Sha384 => DPS_SIGN_RSA_PKCS1_SHA384,
        SignatureAlgorithm::RsaPkcs1Sha512 => DPS_SIGN_RSA_PKCS1_SHA512,
        _ => 0,
    }
}
