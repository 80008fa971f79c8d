//! Made-up identifiers in the shapes of the service's own.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::StoreError;
use crate::x509::upper_hex;

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| StoreError::Database("no random numbers".to_owned()))?;
    Ok(bytes)
}

/// `4.<16 hexadecimal digits>.<guid>`: opaque to clients, safe in a path and in a topic.
pub(crate) fn operation_id() -> Result<String, StoreError> {
    Ok(format!("4.{:016x}.{}", u64::from_be_bytes(random()?), Uuid::new_v4()))
}

/// Base64 of a quoted Cosmos etag, the form of enrollments and registration records.
pub(crate) fn etag(now: OffsetDateTime) -> Result<String, StoreError> {
    let version = u32::from_be_bytes(random()?);
    let seconds = now.unix_timestamp() & 0xffff_ffff;
    Ok(STANDARD.encode(format!("\"{version:08x}-0000-0800-0000-{seconds:08x}0000\"")))
}

/// Base64 of eight bytes, the form of certificates and of the hubs' devices.
pub(crate) fn short_etag() -> Result<String, StoreError> {
    Ok(STANDARD.encode(random::<8>()?))
}

/// 48 upper-case hexadecimal digits.
pub(crate) fn verification_code() -> Result<String, StoreError> {
    Ok(upper_hex(&random::<24>()?))
}

/// A symmetric key as the service makes them: 64 bytes in base64.
pub(crate) fn symmetric_key() -> Result<String, StoreError> {
    Ok(STANDARD.encode(random::<64>()?))
}

/// The generation of a hub's device, which tells a re-created one from its predecessor.
pub(crate) fn generation_id(now: OffsetDateTime) -> String {
    (now.unix_timestamp_nanos() / 100).to_string()
}
