//! The keys of the local suite: made once, kept in its folder, used to mint tokens.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chassis::Claims;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use crate::Failure;

/// Roles that the local operator has: all of them.
pub const OPERATOR_ROLES: [&str; 6] = [
    "CATALOGUE",
    "SALES",
    "SUPPORT_AGENT",
    "BILLING",
    "KYC",
    "RISK",
];
/// How long a minted token is good, in seconds.
const GOOD_FOR: i64 = 30 * 24 * 3600;

/// The keys of a local suite.
#[derive(Clone)]
pub struct Keys {
    private: Vec<u8>,
    /// The file with the public keys, as services read it.
    pub public_file: PathBuf,
}

impl Keys {
    /// The keys in `folder`, made when there are none.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let (private_file, public_file) = (folder.join("token.key"), folder.join("jwks.json"));
        if !private_file.exists() {
            let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
                .map_err(|_| "no key could be made")?;
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&private_file)?;
            file.write_all(made.as_ref())?;
        }
        let private = fs::read(&private_file)?;
        let pair = Ed25519KeyPair::from_pkcs8(&private)
            .map_err(|_| "the key in the folder does not read")?;
        let key = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "local", "x": base64url(pair.public_key().as_ref())});
        fs::write(&public_file, json!({"keys": [key]}).to_string())?;
        Ok(Self {
            private,
            public_file,
        })
    }

    /// A token for an operator with these roles.
    pub fn operator(&self, name: &str, roles: &[String]) -> Result<String, Failure> {
        self.mint("operator", name, roles)
    }

    /// A token for the operator who may do everything.
    pub fn any_operator(&self) -> Result<String, Failure> {
        self.operator("local", &OPERATOR_ROLES.map(str::to_owned))
    }

    /// A token for a service.
    pub fn service(&self, name: &str) -> Result<String, Failure> {
        self.mint("service", name, &[])
    }

    /// A token for a user who has just proved who they are.
    pub fn person(&self, user_id: &str) -> Result<String, Failure> {
        self.mint("person", user_id, &[])
    }

    /// A token for a user who has proved who they are some minutes ago.
    pub fn person_proved(&self, user_id: &str, minutes_ago: i64) -> Result<String, Failure> {
        self.minted("person", user_id, (&[], minutes_ago))
    }

    /// What the services sign the lines of their audit files with.
    pub fn audit_key(&self) -> String {
        let text = [b"audit".as_slice(), &self.private].concat();
        base64url(digest::digest(&digest::SHA256, &text).as_ref())
    }

    fn mint(&self, kind: &str, sub: &str, roles: &[String]) -> Result<String, Failure> {
        self.minted(kind, sub, (roles, 0))
    }

    fn minted(
        &self,
        kind: &str,
        sub: &str,
        (roles, minutes_ago): (&[String], i64),
    ) -> Result<String, Failure> {
        #[expect(
            clippy::disallowed_methods,
            reason = "tokens are good by the machine's clock"
        )]
        let now = chrono::Utc::now().timestamp();
        let claims = Claims {
            sub: sub.to_owned(),
            kind: kind.to_owned(),
            roles: roles.to_vec(),
            aud: "perdiem".to_owned(),
            exp: now + GOOD_FOR,
            auth_time: Some(now - 60 * minutes_ago),
        };
        let key = EncodingKey::from_ed_der(&self.private);
        Ok(jsonwebtoken::encode(
            &Header::new(Algorithm::EdDSA),
            &claims,
            &key,
        )?)
    }
}

/// Base64 for URLs, without padding.
fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |bits: u32| {
        char::from(
            LETTERS
                .get(usize::try_from(bits & 63).unwrap_or(0))
                .copied()
                .unwrap_or(b'A'),
        )
    };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        for (to, from) in word.iter_mut().skip(1).zip(chunk) {
            *to = *from;
        }
        let bits = u32::from_be_bytes(word);
        text.extend(
            [bits >> 18, bits >> 12, bits >> 6, bits]
                .into_iter()
                .map(letter)
                .take(chunk.len() + 1),
        );
    }
    text
}
