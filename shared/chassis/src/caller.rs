//! Who calls: services and operators by certificate or token, people by an OIDC token (D2).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tonic::transport::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::clock::machine_time;

/// Tokens kept as verified before the memory starts anew.
const TOKENS_KEPT: usize = 10_000;

/// Who sent a request, as verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A service of the suite.
    Service {
        /// Its name, such as `billing`.
        name: String,
    },
    /// A person who runs the suite.
    Operator {
        /// Their name.
        name: String,
        /// Their roles, such as `SALES`.
        roles: Vec<String>,
    },
    /// A user of an account; what they may do there, `account-lifecycle` knows.
    Person {
        /// The user's id.
        user: String,
        /// When they last proved who they are.
        authenticated_at: Option<DateTime<Utc>>,
    },
}

impl Caller {
    /// Whether a person has proved who they are in the last `minutes`; nobody else has to. Tokens are of the
    /// machine's time, whatever a test clock says.
    pub fn is_proved_within(&self, minutes: i64) -> bool {
        match self {
            Self::Person {
                authenticated_at, ..
            } => {
                let since = TimeDelta::try_minutes(minutes).map(|age| machine_time() - age);
                since
                    .zip(*authenticated_at)
                    .is_some_and(|(since, at)| since <= at)
            }
            Self::Operator { .. } | Self::Service { .. } => true,
        }
    }
}

/// One word for a caller: the scope of its request ids, and its name in the audit.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { name } => write!(f, "service:{name}"),
            Self::Operator { name, .. } => write!(f, "operator:{name}"),
            Self::Person { user, .. } => write!(f, "person:{user}"),
        }
    }
}

/// What a token says of its bearer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// The name of a service or operator, the id of a user.
    pub sub: String,
    /// `service`, `operator` or `person`.
    pub kind: String,
    /// An operator's roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Whom it is for: `perdiem`.
    pub aud: String,
    /// Until when it is good, Unix seconds.
    pub exp: i64,
    /// When a person last proved who they are, Unix seconds.
    #[serde(default)]
    pub auth_time: Option<i64>,
}

/// The keys that tokens are verified with.
#[derive(Clone)]
pub struct Keys {
    keys: Arc<Vec<DecodingKey>>,
    /// Tokens verified before: to verify a signature costs more than most reads do.
    verified: Arc<RwLock<HashMap<String, Claims>>>,
}

/// A key set that does not read.
#[derive(Debug, Error)]
#[error("not a JSON Web Key Set of Ed25519 keys")]
pub struct BadKeys;

/// How callers are told apart: by certificate when there is one, else by token.
#[derive(Clone)]
pub struct Identities {
    /// The keys of tokens.
    pub keys: Keys,
}

impl Keys {
    /// The keys of a JSON Web Key Set.
    pub fn from_jwks(json: &str) -> Result<Self, BadKeys> {
        let set: JwkSet = serde_json::from_str(json).map_err(|_| BadKeys)?;
        let keys = set
            .keys
            .iter()
            .map(DecodingKey::from_jwk)
            .collect::<Result<Vec<_>, _>>();
        Ok(Self {
            keys: Arc::new(keys.map_err(|_| BadKeys)?),
            verified: Arc::default(),
        })
    }

    /// What a token says, when one of the keys signed it and it has not expired at `now`.
    fn claims(&self, token: &str, now: DateTime<Utc>) -> Option<Claims> {
        let known = self.verified.read().ok()?.get(token).cloned();
        let claims = if let Some(claims) = known {
            claims
        } else {
            let claims = self.verified_now(token)?;
            let mut verified = self.verified.write().ok()?;
            if TOKENS_KEPT <= verified.len() {
                verified.clear();
            }
            verified.insert(token.to_owned(), claims.clone());
            claims
        };
        (now.timestamp() < claims.exp).then_some(claims)
    }

    fn verified_now(&self, token: &str) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&["perdiem"]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        validation.validate_exp = false; // Asked at each use, by whoever keeps the claims.
        let verified = |key| jsonwebtoken::decode::<Claims>(token, key, &validation).ok();
        self.keys
            .iter()
            .find_map(verified)
            .map(|token| token.claims)
    }
}

impl Identities {
    /// The caller of a request; `None` when nothing about it is verified.
    pub fn caller<B>(&self, request: &http::Request<B>) -> Option<Caller> {
        let certificates = request
            .extensions()
            .get::<tonic::transport::server::TlsConnectInfo<tonic::transport::server::TcpConnectInfo>>()
            .and_then(tonic::transport::server::TlsConnectInfo::peer_certs);
        // A person's token passed on by a service counts for the person: it is read first.
        let token = request.headers().get(http::header::AUTHORIZATION);
        let by_token = token.and_then(|value| self.by_token(value.to_str().ok()?));
        let by_certificate = || certificates.and_then(|chain| by_certificate(chain.first()?));
        if token.is_some() {
            by_token
        } else {
            by_certificate()
        }
    }

    fn by_token(&self, header: &str) -> Option<Caller> {
        let claims = self
            .keys
            .claims(header.strip_prefix("Bearer ")?, machine_time())?;
        match claims.kind.as_str() {
            "service" => Some(Caller::Service { name: claims.sub }),
            "operator" => Some(Caller::Operator {
                name: claims.sub,
                roles: claims.roles,
            }),
            "person" => Some(Caller::Person {
                user: claims.sub,
                authenticated_at: claims
                    .auth_time
                    .and_then(|at| DateTime::from_timestamp(at, 0)),
            }),
            _ => None,
        }
    }
}

/// `spiffe://<trust domain>/service/<name>` or `…/operator/<name>/<role>[/<role>…]`.
fn by_certificate(certificate: &CertificateDer<'_>) -> Option<Caller> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| {
        if let GeneralName::URI(uri) = name {
            by_spiffe(uri)
        } else {
            None
        }
    })
}

fn by_spiffe(uri: &str) -> Option<Caller> {
    let mut path = uri.strip_prefix("spiffe://")?.split('/').skip(1);
    match (path.next()?, path.next()?) {
        ("service", name) => Some(Caller::Service {
            name: name.to_owned(),
        }),
        ("operator", name) => Some(Caller::Operator {
            name: name.to_owned(),
            roles: path.map(str::to_owned).collect(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_kept_as_verified_still_expires() {
        let claims = |exp| Claims {
            sub: "US1".to_owned(),
            kind: "person".to_owned(),
            roles: Vec::new(),
            aud: "perdiem".to_owned(),
            exp,
            auth_time: None,
        };
        let kept = HashMap::from([("token".to_owned(), claims(100))]);
        let keys = Keys {
            keys: Arc::default(),
            verified: Arc::new(RwLock::new(kept)),
        };
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        assert!(keys.claims("token", at(99)).is_some());
        assert!(keys.claims("token", at(100)).is_none());
        assert!(keys.claims("another", at(99)).is_none());
    }

    #[test]
    fn spiffe_ids_name_services_and_operators_and_nothing_else() {
        assert_eq!(
            by_spiffe("spiffe://perdiem.local/service/billing"),
            Some(Caller::Service {
                name: "billing".to_owned()
            })
        );
        assert_eq!(
            by_spiffe("spiffe://perdiem.local/operator/ann/SALES"),
            Some(Caller::Operator {
                name: "ann".to_owned(),
                roles: vec!["SALES".to_owned()]
            })
        );
        for other in [
            "https://perdiem.local/service/billing",
            "spiffe://perdiem.local/person/x",
            "spiffe://perdiem.local",
        ] {
            assert_eq!(by_spiffe(other), None, "{other}");
        }
    }
}
