//! The keys of the local suite: made once, kept in its folder, used to mint tokens.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chassis::{Audience, Caller, Claims, OperatorRole};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use crate::Failure;

/// The key's name, which its tokens say.
const KEY_ID: &str = "local";
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
        let key = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": KEY_ID, "x": BASE64_URL_SAFE_NO_PAD.encode(pair.public_key())});
        fs::write(&public_file, json!({"keys": [key]}).to_string())?;
        Ok(Self {
            private,
            public_file,
        })
    }

    /// A token for an operator with these roles.
    pub fn operator(&self, name: &str, roles: &[OperatorRole]) -> Result<String, Failure> {
        let roles = roles.iter().map(ToString::to_string).collect();
        self.signed(&Claims {
            roles,
            ..claims("operator", name)
        })
    }

    /// A token for the operator who may do everything.
    pub fn any_operator(&self) -> Result<String, Failure> {
        self.operator("local", OperatorRole::ALL)
    }

    /// A token for a service.
    pub fn service(&self, name: &str) -> Result<String, Failure> {
        self.signed(&claims("service", name))
    }

    /// A token for a user who has just proved who they are.
    pub fn person(&self, user_id: &str) -> Result<String, Failure> {
        self.signed(&claims("person", user_id))
    }

    /// A token for a user who has proved who they are some minutes ago.
    pub fn person_proved(&self, user_id: &str, minutes_ago: i64) -> Result<String, Failure> {
        let said = claims("person", user_id);
        self.signed(&Claims {
            auth_time: said.auth_time.map(|at| at - 60 * minutes_ago),
            ..said
        })
    }

    /// What the services sign the lines of their audit files with.
    pub fn audit_key(&self) -> String {
        let text = [b"audit".as_slice(), &self.private].concat();
        BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &text))
    }

    /// A token that says this, if that names somebody.
    fn signed(&self, claims: &Claims) -> Result<String, Failure> {
        if Caller::from_claims(claims).is_none() {
            return Err(format!("`{}` is no {} that there can be", claims.sub, claims.kind).into());
        }
        self.sign(claims)
    }

    /// A token that says this, whatever it is.
    pub fn sign(&self, claims: &Claims) -> Result<String, Failure> {
        let header = Header {
            kid: Some(KEY_ID.to_owned()),
            ..Header::new(Algorithm::EdDSA)
        };
        let key = EncodingKey::from_ed_der(&self.private);
        Ok(jsonwebtoken::encode(&header, claims, &key)?)
    }
}

/// What a token says of somebody who has just proved who they are.
pub fn claims(kind: &str, sub: &str) -> Claims {
    #[expect(
        clippy::disallowed_methods,
        reason = "tokens are good by the machine's clock"
    )]
    let now = chrono::Utc::now().timestamp();
    Claims {
        iss: "perdiem".to_owned(),
        sub: sub.to_owned(),
        kind: kind.to_owned(),
        roles: Vec::new(),
        aud: Audience::One("perdiem".to_owned()),
        exp: now + GOOD_FOR,
        nbf: None,
        auth_time: Some(now),
    }
}
