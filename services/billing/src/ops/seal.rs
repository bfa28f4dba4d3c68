//! Seals the invoice recipients of deleted accounts with a key of each account, so that destroying the key destroys
//! the data (D24).

use chrono::{DateTime, Utc};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::rand::{SecureRandom as _, SystemRandom};
use uuid::Uuid;

/// A new random key for one account.
pub fn new_key() -> Result<[u8; 32], Unspecified> {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key)?;
    Ok(key)
}

/// Encrypts a text. Only the same key opens it, and only for the same account and instant.
pub fn sealed(key: &[u8], of: (Uuid, DateTime<Utc>), text: &str) -> Result<Vec<u8>, Unspecified> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce)?;
    let mut body = text.as_bytes().to_vec();
    let nonce_of = Nonce::assume_unique_for_key(nonce);
    cipher(key)?.seal_in_place_append_tag(nonce_of, associated(of), &mut body)?;
    Ok([nonce.as_slice(), &body].concat())
}

/// Decrypts a sealed text.
///
/// # Errors
/// If the key, the account, the instant or the bytes differ from those it was sealed with.
pub fn opened(key: &[u8], of: (Uuid, DateTime<Utc>), sealed: &[u8]) -> Result<String, Unspecified> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(Unspecified)?;
    let mut body = body.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce)?;
    let text = cipher(key)?.open_in_place(nonce, associated(of), &mut body)?;
    String::from_utf8(text.to_vec()).map_err(|_| Unspecified)
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?))
}

fn associated((root, since): (Uuid, DateTime<Utc>)) -> Aad<Vec<u8>> {
    let since = since.timestamp_micros().to_be_bytes();
    Aad::from([root.as_bytes().as_slice(), &since].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_key_opens_what_is_sealed_and_only_in_its_place() {
        let (root, since) = (Uuid::from_u128(7), DateTime::<Utc>::UNIX_EPOCH);
        let (key, other) = (new_key().unwrap(), new_key().unwrap());
        let kept = sealed(&key, (root, since), "Ann Ltd\n1 Road").unwrap();
        assert!(!kept.windows(3).any(|it| it == b"Ann"));
        assert_eq!(
            opened(&key, (root, since), &kept).unwrap(),
            "Ann Ltd\n1 Road"
        );
        assert!(opened(&other, (root, since), &kept).is_err());
        assert!(opened(&key, (Uuid::from_u128(8), since), &kept).is_err());
        assert!(opened(&key, (root, since), &kept[..20]).is_err());
        assert_ne!(
            sealed(&key, (root, since), "x").unwrap(),
            sealed(&key, (root, since), "x").unwrap()
        );
    }
}
