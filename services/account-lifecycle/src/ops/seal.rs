//! Encryption of payout details with a key of their own: destroying the key destroys the details (D32).

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::rand::{SecureRandom as _, SystemRandom};
use uuid::Uuid;

/// Encrypts a text of an account with AES-256-GCM under a new key. Returns the key and the ciphertext, which is bound
/// to the account.
pub fn sealed(root: Uuid, text: &str) -> Result<(Vec<u8>, Vec<u8>), Unspecified> {
    let (mut key, mut nonce) = ([0; 32], [0; NONCE_LEN]);
    let random = SystemRandom::new();
    random.fill(&mut key)?;
    random.fill(&mut nonce)?;
    let mut body = text.as_bytes().to_vec();
    let nonce_of = Nonce::assume_unique_for_key(nonce);
    cipher(&key)?.seal_in_place_append_tag(nonce_of, Aad::from(*root.as_bytes()), &mut body)?;
    Ok((key.to_vec(), [nonce.as_slice(), &body].concat()))
}

/// Decrypts what [`sealed`] encrypted.
pub fn opened(root: Uuid, key: &[u8], sealed: &[u8]) -> Result<String, Unspecified> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(Unspecified)?;
    let mut body = body.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce)?;
    let text = cipher(key)?.open_in_place(nonce, Aad::from(*root.as_bytes()), &mut body)?;
    String::from_utf8(text.to_vec()).map_err(|_| Unspecified)
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_key_opens_what_is_sealed_and_only_in_its_place() {
        let root = Uuid::from_u128(7);
        let (key, kept) = sealed(root, "IBAN 1").unwrap();
        let (other, _) = sealed(root, "IBAN 1").unwrap();
        assert!(!kept.windows(4).any(|it| it == b"IBAN"));
        assert_eq!(opened(root, &key, &kept).unwrap(), "IBAN 1");
        assert!(opened(root, &other, &kept).is_err());
        assert!(opened(Uuid::from_u128(8), &key, &kept).is_err());
    }
}
