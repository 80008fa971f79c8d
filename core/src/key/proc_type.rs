//! Keys in OpenSSL's old encrypted form: `Proc-Type: 4,ENCRYPTED` (RFC 1421, section 4.6.1.1).

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::{
    BlockCipherDecrypt, BlockModeDecrypt, InvalidLength, KeyInit, KeyIvInit, block_padding::Pkcs7,
};
use des::{Des, TdesEde3};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::{
    Passphrase,
    encrypted::{passphrase_required, unsupported_encryption},
    passphrase_wrong,
};
use crate::error::{Error, ErrorKind, Result};

/// Decrypts the body of a block whose `DEK-Info` header is `dek_info`.
pub(super) fn decrypt(
    body: &[u8],
    dek_info: &str,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>> {
    let malformed = || {
        Error::new(
            ErrorKind::KeyMalformed,
            format!(
                "its DEK-Info header {dek_info:?} is not a cipher and an initialisation vector"
            ),
        )
    };
    let (cipher, iv) = dek_info.split_once(',').ok_or_else(malformed)?;
    let iv = from_hex(iv.trim()).ok_or_else(malformed)?;
    let (key_length, block_length, decrypt): (_, _, Decrypt) = match cipher.trim() {
        "AES-128-CBC" => (16, 16, cbc_decrypt::<Aes128>),
        "AES-192-CBC" => (24, 16, cbc_decrypt::<Aes192>),
        "AES-256-CBC" => (32, 16, cbc_decrypt::<Aes256>),
        "DES-EDE3-CBC" => (24, 8, cbc_decrypt::<TdesEde3>),
        "DES-CBC" => (8, 8, cbc_decrypt::<Des>),
        other => {
            return Err(unsupported_encryption(&format!("{other:?}")));
        }
    };
    if iv.len() != block_length {
        return Err(malformed());
    }
    let passphrase = passphrase.ok_or_else(passphrase_required)?;
    let key = derive(passphrase.as_bytes(), &iv[..8], key_length);
    decrypt(&key, &iv, body).ok_or_else(passphrase_wrong)
}

/// `EVP_BytesToKey` with MD5 and one round, as OpenSSL's `PEM_do_header` calls it: the salt is the
/// beginning of the initialisation vector.
fn derive(passphrase: &[u8], salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    while key.len() < length {
        let mut hash = Md5::new();
        if let Some(last) = key.len().checked_sub(16) {
            hash.update(&key[last..]);
        }
        hash.update(passphrase);
        hash.update(salt);
        key.extend_from_slice(&hash.finalize());
    }
    key.truncate(length);
    key
}

/// What is under a key and an initialisation vector; `None` where its padding is wrong.
type Decrypt = fn(&[u8], &[u8], &[u8]) -> Option<Zeroizing<Vec<u8>>>;

fn cbc_decrypt<C>(key: &[u8], iv: &[u8], body: &[u8]) -> Option<Zeroizing<Vec<u8>>>
where
    C: BlockCipherDecrypt + KeyInit,
{
    let cipher: Result<cbc::Decryptor<C>, InvalidLength> = cbc::Decryptor::new_from_slices(key, iv);
    cipher.ok()?.decrypt_padded_vec::<Pkcs7>(body).ok().map(Zeroizing::new)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
