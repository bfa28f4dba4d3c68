//! Who calls: services and operators by certificate or token, people by an OIDC token (D2).
//!
//! A caller is parsed once, here, into one value. Whatever can't be parsed is unauthenticated, and a missing part
//! never grants anything (D36).

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tonic::transport::CertificateDer;
use values::UserId;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::Config;
use crate::clock::machine_time;
use crate::incoming::Remote;

/// Tokens kept as verified before the memory starts anew.
const TOKENS_KEPT: usize = 10_000;
/// Tolerated clock skew in seconds between the token issuer and this service.
const LEEWAY: i64 = 30;

/// Values that each have exactly one text form; any other text is refused.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$value,)*];

            /// Its text form.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $($text => Ok(Self::$value),)*
                    _ => Err(UnknownName(concat!($(" ", $text),*))),
                }
            }
        }
    };
}

named! {
    /// A service that may call others.
    ServiceName {
        /// Catalogue and timelines.
        Plan "plan",
        /// Usage, ledger, invoices.
        Billing "billing",
        /// Accounts, people and journeys.
        AccountLifecycle "account-lifecycle",
        /// Charges and refunds.
        Payments "payments",
        /// Outside the suite: the gateway that carries calls and messages, and asks whether they are permitted.
        Gateway "gateway",
        /// Outside the suite: the source of usage events.
        Usage "usage",
    }
}

named! {
    /// A role of an operator (D36). The access tables of the services list what each role may do.
    OperatorRole {
        /// Imports and activates catalogues.
        Catalogue "CATALOGUE",
        /// Makes contracts and offers, and deals for customers (REQ-006, REQ-040, REQ-094).
        Sales "SALES",
        /// Acts for customers who ask for help (REQ-027, REQ-055, REQ-126).
        SupportAgent "SUPPORT_AGENT",
        /// Manages billing: runs, invoices, credit, payments.
        Billing "BILLING",
        /// Reviews customers' identities (KYC).
        Kyc "KYC",
        /// Suspends for fraud and terms (C-11).
        Risk "RISK",
        /// Reads and changes nothing, so that an auditor has no power to change what is audited.
        Auditor "AUDITOR",
    }
}

/// A text that is none of the known names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be one of{0}")]
pub struct UnknownName(&'static str);

/// The trust domain of a deployment: only SPIFFE ids of this domain are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustDomain(String);

/// A text that is not a trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("lower-case letters, digits, `.`, `-` and `_`, such as prod.example.com")]
pub struct BadTrustDomain;

impl FromStr for TrustDomain {
    type Err = BadTrustDomain;

    fn from_str(text: &str) -> Result<Self, BadTrustDomain> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
        if (1..=255).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadTrustDomain)
        }
    }
}

/// Who sent a request, as verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A service of the suite, or beside it.
    Service {
        /// Which.
        name: ServiceName,
    },
    /// A person who runs the suite.
    Operator {
        /// Their name.
        name: String,
        /// Their roles; an operator without roles may call nothing.
        roles: BTreeSet<OperatorRole>,
    },
    /// A user of an account; what they may do there, `account-lifecycle` knows.
    Person {
        /// The user.
        user: UserId,
        /// When they last proved who they are.
        authenticated_at: Option<DateTime<Utc>>,
    },
}

impl Caller {
    /// The caller that verified claims identify.
    pub fn from_claims(claims: &Claims) -> Option<Self> {
        match claims.kind.as_str() {
            "service" => Some(Self::Service {
                name: claims.sub.parse().ok()?,
            }),
            "operator" => Self::operator(&claims.sub, &claims.roles),
            "person" => Some(Self::Person {
                user: claims.sub.parse().ok()?,
                authenticated_at: claims
                    .auth_time
                    .and_then(|at| DateTime::from_timestamp(at, 0)),
            }),
            _ => None,
        }
    }

    /// Whom a certificate identifies: it must have one SPIFFE id and no other URI.
    pub fn from_certificate(
        certificate: &CertificateDer<'_>,
        domain: &TrustDomain,
    ) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let mut ids = names.value.general_names.iter().filter_map(|name| {
            if let GeneralName::URI(id) = name {
                Some(*id)
            } else {
                None
            }
        });
        let (Some(id), None) = (ids.next(), ids.next()) else {
            return None;
        };
        Self::from_spiffe(id, domain)
    }

    /// The caller that a SPIFFE id identifies: exactly `spiffe://<domain>/service/<name>` or
    /// `spiffe://<domain>/operator/<name>/<role>[/<role>…]`.
    pub fn from_spiffe(id: &str, domain: &TrustDomain) -> Option<Self> {
        let path = id.strip_prefix("spiffe://")?;
        let path = path.strip_prefix(domain.0.as_str())?.strip_prefix('/')?;
        let segments: Vec<&str> = path.split('/').collect();
        match segments.as_slice() {
            ["service", name] => Some(Self::Service {
                name: name.parse().ok()?,
            }),
            ["operator", name, roles @ ..] if !roles.is_empty() => Self::operator(name, roles),
            _ => None,
        }
    }

    /// An operator, provided that the name is valid and every role exists.
    fn operator<R: AsRef<str>>(name: &str, roles: &[R]) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_@+".contains(&b);
        if !(1..=100).contains(&name.len()) || !name.bytes().all(plain) {
            return None;
        }
        let roles: Result<BTreeSet<_>, UnknownName> = roles
            .iter()
            .map(|role| role.as_ref().parse::<OperatorRole>())
            .collect();
        Some(Self::Operator {
            name: name.to_owned(),
            roles: roles.ok()?,
        })
    }

    /// Whether this is an operator who holds one of these roles.
    pub fn is_operator_with(&self, any_of: &[OperatorRole]) -> bool {
        match self {
            Self::Operator { roles, .. } => any_of.iter().any(|role| roles.contains(role)),
            Self::Person { .. } | Self::Service { .. } => false,
        }
    }

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
    /// The issuer (`iss`).
    pub iss: String,
    /// The name of a service or operator, the id of a user.
    pub sub: String,
    /// `service`, `operator` or `person`.
    pub kind: String,
    /// An operator's roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The audience (`aud`).
    pub aud: Audience,
    /// Until when it is good, Unix seconds.
    pub exp: i64,
    /// Not valid before, in Unix seconds (`nbf`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// When a person last proved who they are, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
}

/// The audience of a token: one or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Claims {
    /// Whether a token with these claims is valid at `now`: started, not expired, and not authenticated in the
    /// future.
    fn are_good(&self, now: DateTime<Utc>) -> bool {
        let latest = now.timestamp().saturating_add(LEEWAY);
        now.timestamp() < self.exp
            && self.nbf.is_none_or(|from| from <= latest)
            && self.auth_time.is_none_or(|at| at <= latest)
    }
}

/// The keys that verify tokens, and the claims that a token must have. All clones are renewed together.
#[derive(Clone)]
pub struct Keys(Arc<RwLock<Arc<KeySet>>>);

/// Keys of one reading, with what they verified: nothing of it outlives them.
#[derive(Default)]
struct KeySet {
    keys: Vec<Key>,
    /// Tokens verified before: to verify a signature costs more than most reads do.
    verified: RwLock<HashMap<String, Claims>>,
}

/// A key and its one signature algorithm.
struct Key {
    id: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

/// A key set that does not read.
#[derive(Debug, Error)]
#[error("not a JSON Web Key Set of public keys for RS256, ES256 or EdDSA")]
pub struct BadKeys;

impl Keys {
    /// The keys of a JSON Web Key Set, for tokens of `issuer` that are for `audience`.
    pub fn from_jwks(json: &str, issuer: &str, audience: &str) -> Result<Self, BadKeys> {
        let set: JwkSet = serde_json::from_str(json).map_err(|_| BadKeys)?;
        let signs = |jwk: &&Jwk| jwk.common.public_key_use != Some(PublicKeyUse::Encryption);
        let keys: Option<Vec<Key>> = set
            .keys
            .iter()
            .filter(signs)
            .map(|jwk| Key::read(jwk, issuer, audience))
            .collect();
        let set = KeySet {
            keys: keys.ok_or(BadKeys)?,
            verified: RwLock::default(),
        };
        Ok(Self(Arc::new(RwLock::new(Arc::new(set)))))
    }

    /// Takes the keys of `other` instead; tokens of keys that are not among them are not good any more.
    fn replace(&self, other: &Self) {
        let set = other.current();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = set;
    }

    fn current(&self) -> Arc<KeySet> {
        let set = self.0.read().unwrap_or_else(PoisonError::into_inner);
        set.clone()
    }

    /// The claims of a token that one of the keys signed and that is valid at `now`.
    fn claims(&self, token: &str, now: DateTime<Utc>) -> Option<Claims> {
        self.current().claims(token, now)
    }
}

impl KeySet {
    /// The claims of a token that one of the keys signed and that is valid at `now`.
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
        claims.are_good(now).then_some(claims)
    }

    fn verified_now(&self, token: &str) -> Option<Claims> {
        if needs_extensions(token)? {
            return None;
        }
        let named = jsonwebtoken::decode_header(token).ok()?.kid;
        // Only the key that the token names; the only key if it names none.
        let meant = |key: &&Key| match &named {
            Some(id) => key.id.as_ref() == Some(id),
            None => self.keys.len() == 1,
        };
        self.keys.iter().filter(meant).find_map(|key| {
            let token = jsonwebtoken::decode::<Claims>(token, &key.key, &key.validation);
            token.ok().map(|token| token.claims)
        })
    }
}

impl Key {
    fn read(jwk: &Jwk, issuer: &str, audience: &str) -> Option<Self> {
        let mut validation = Validation::new(algorithm(jwk)?);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.validate_exp = false; // Asked at each use, by whoever keeps the claims.
        Some(Self {
            id: jwk.common.key_id.clone(),
            key: DecodingKey::from_jwk(jwk).ok()?,
            validation,
        })
    }
}

/// The signature algorithm of a public key: one for each type of key, so that a token can't choose.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let (algorithm, told) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(of) if of.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(of) if of.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::EllipticCurve(_)
        | AlgorithmParameters::OctetKeyPair(_)
        | AlgorithmParameters::OctetKey(_) => return None,
    };
    let fits = jwk.common.key_algorithm.is_none_or(|it| it == told);
    fits.then_some(algorithm)
}

/// Whether the header has a `crit` parameter (RFC 7515, 4.1.11). Such a token must be refused unless every extension
/// listed is understood, and none is supported here.
fn needs_extensions(token: &str) -> Option<bool> {
    let header = BASE64_URL_SAFE_NO_PAD
        .decode(token.split('.').next()?)
        .ok()?;
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&header).ok()?;
    Some(header.contains_key("crit"))
}

/// How callers are identified: by token if there is one, else by client certificate.
#[derive(Clone)]
pub struct Identities {
    /// The keys that verify tokens.
    pub keys: Keys,
    /// Whether tokens identify people only; services and operators then need certificates (D2).
    pub people_only: bool,
    /// The trust domain whose certificates are accepted; unset if none are.
    pub trust_domain: Option<TrustDomain>,
}

impl Identities {
    /// Reads the configuration and the file of keys.
    pub fn read(config: &Config) -> Result<Self, Box<dyn std::error::Error>> {
        let set = std::fs::read_to_string(&config.auth_keys_file)?;
        Ok(Self {
            keys: Keys::from_jwks(&set, &config.token_issuer, &config.token_audience)?,
            people_only: config.profile == "production",
            trust_domain: config.trust_domain.clone(),
        })
    }

    /// Reads the file of keys anew. If it does not read, the keys stay as they were.
    pub fn renew(&self, config: &Config) -> Result<(), Box<dyn std::error::Error>> {
        self.keys.replace(&Self::read(config)?.keys);
        Ok(())
    }

    /// The caller of a request; `None` when nothing about it is verified.
    pub fn caller<B>(&self, request: &http::Request<B>) -> Option<Caller> {
        let certificate = request
            .extensions()
            .get::<Remote>()
            .and_then(|it| it.certificates.first());
        let mut tokens = request
            .headers()
            .get_all(http::header::AUTHORIZATION)
            .iter();
        // A person's token passed on by a service counts for the person: it is read first.
        match (tokens.next(), tokens.next()) {
            (Some(token), None) => self.by_token(token.to_str().ok()?, machine_time()),
            (None, _) => self.by_certificate(certificate?),
            (Some(_), Some(_)) => None,
        }
    }

    fn by_token(&self, header: &str, now: DateTime<Utc>) -> Option<Caller> {
        let claims = self.keys.claims(header.strip_prefix("Bearer ")?, now)?;
        let caller = Caller::from_claims(&claims)?;
        match caller {
            Caller::Person { .. } => Some(caller),
            Caller::Operator { .. } | Caller::Service { .. } => {
                (!self.people_only).then_some(caller)
            }
        }
    }

    /// The caller that a client certificate identifies.
    fn by_certificate(&self, certificate: &CertificateDer<'_>) -> Option<Caller> {
        Caller::from_certificate(certificate, self.trust_domain.as_ref()?)
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::{Value, json};

    use super::*;

    const USER: &str = "US0123456789abcdef0123456789abcdef";

    fn claims(kind: &str, sub: &str, roles: &[&str]) -> Claims {
        Claims {
            iss: "https://login.example".to_owned(),
            sub: sub.to_owned(),
            kind: kind.to_owned(),
            roles: roles.iter().map(|it| (*it).to_owned()).collect(),
            aud: Audience::One("perdiem".to_owned()),
            exp: 2_000,
            nbf: None,
            auth_time: None,
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn domain() -> TrustDomain {
        "perdiem.local".parse().unwrap()
    }

    /// Texts that identify nobody in `perdiem.local`.
    const NOT_OURS: [&str; 33] = [
        "",
        "spiffe://",
        "spiffe:///service/billing",
        "spiffe://perdiem.local",
        "spiffe://perdiem.local/",
        "spiffe://perdiem.local/service",
        "spiffe://perdiem.local/service/",
        "spiffe://perdiem.local/service/billing/",
        "spiffe://perdiem.local/service/billing/readonly",
        "spiffe://perdiem.local/service//billing",
        "spiffe://perdiem.local//service/billing",
        "spiffe://perdiem.local/service/bill%69ng",
        "spiffe://perdiem.local/service%2Fbilling",
        "spiffe://perdiem.local/service/billing?x",
        "spiffe://perdiem.local/service/billing#x",
        "spiffe://perdiem.local/service/Billing",
        "spiffe://perdiem.local/service/stranger",
        "spiffe://perdiem.local/ns/x/service/billing",
        "spiffe://perdiem.local:443/service/billing",
        "spiffe://user@perdiem.local/service/billing",
        "spiffe://perdiem.local.evil.example/service/billing",
        "spiffe://evil.example/service/billing",
        "SPIFFE://perdiem.local/service/billing",
        "https://perdiem.local/service/billing",
        " spiffe://perdiem.local/service/billing",
        "spiffe://perdiem.local/operator/ann",
        "spiffe://perdiem.local/operator/ann/",
        "spiffe://perdiem.local/operator//SALES",
        "spiffe://perdiem.local/operator/ann/ADMIN",
        "spiffe://perdiem.local/operator/ann/SALES/ADMIN",
        "spiffe://perdiem.local/operator/ann/SALES/",
        "spiffe://evil.example/operator/ann/SALES",
        "spiffe://perdiem.local/person/US0123456789abcdef0123456789abcdef",
    ];

    /// An issuer of tokens.
    struct Issuer(Vec<u8>);

    impl Issuer {
        fn new() -> Self {
            let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
            Self(made.as_ref().to_vec())
        }

        fn jwk(&self, id: &str) -> Value {
            let pair = Ed25519KeyPair::from_pkcs8(&self.0).unwrap();
            let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
            json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": id, "x": x})
        }

        fn signed(&self, header: &Value, claims: &Value) -> String {
            let part = |it: &Value| BASE64_URL_SAFE_NO_PAD.encode(it.to_string());
            let said = format!("{}.{}", part(header), part(claims));
            let key = EncodingKey::from_ed_der(&self.0);
            let sum = jsonwebtoken::crypto::sign(said.as_bytes(), &key, Algorithm::EdDSA).unwrap();
            format!("{said}.{sum}")
        }
    }

    fn keys(set: &[Value]) -> Keys {
        let set = json!({ "keys": set }).to_string();
        Keys::from_jwks(&set, "https://login.example", "perdiem").unwrap()
    }

    fn identities(keys: Keys, people_only: bool) -> Identities {
        Identities {
            keys,
            people_only,
            trust_domain: Some(domain()),
        }
    }

    #[test]
    fn a_token_kept_as_verified_is_asked_again_whether_it_is_good() {
        let kept = Claims {
            exp: 100,
            nbf: Some(50),
            auth_time: Some(60),
            ..claims("person", USER, &[])
        };
        let keys = KeySet {
            keys: Vec::new(),
            verified: RwLock::new(HashMap::from([("token".to_owned(), kept)])),
        };
        let good = |seconds| keys.claims("token", at(seconds)).is_some();
        assert!(good(99));
        assert!(!good(100));
        assert!(good(60 - LEEWAY));
        assert!(!good(60 - LEEWAY - 1), "authenticated in the future");
        assert!(keys.claims("another", at(99)).is_none());
        let begun_later = Claims {
            nbf: Some(200),
            ..claims("person", USER, &[])
        };
        assert!(begun_later.are_good(at(200 - LEEWAY)));
        assert!(!begun_later.are_good(at(200 - LEEWAY - 1)));
    }

    #[test]
    fn claims_name_one_caller_or_nobody() {
        let read = |kind: &str, sub: &str, roles: &[&str]| {
            Caller::from_claims(&claims(kind, sub, roles)).map(|it| it.to_string())
        };
        assert_eq!(read("person", USER, &[]), Some(format!("person:{USER}")));
        for name in ServiceName::ALL {
            let expected = Some(format!("service:{name}"));
            assert_eq!(read("service", name.text(), &[]), expected);
        }
        for role in OperatorRole::ALL {
            let caller = Caller::from_claims(&claims("operator", "ann", &[role.text()])).unwrap();
            assert!(caller.is_operator_with(&[*role]));
            let others = OperatorRole::ALL.iter().filter(|it| *it != role);
            let others: Vec<_> = others.copied().collect();
            assert!(!caller.is_operator_with(&others));
        }
        let none = Caller::from_claims(&claims("operator", "ann", &[])).unwrap();
        assert!(!none.is_operator_with(OperatorRole::ALL));
    }

    #[test]
    fn claims_that_do_not_read_name_nobody() {
        let read =
            |kind: &str, sub: &str, roles: &[&str]| Caller::from_claims(&claims(kind, sub, roles));
        let upper = USER.to_uppercase();
        let spaced = format!("{USER} ");
        for sub in [
            "",
            "root",
            "US",
            &USER[..33],
            &USER[2..],
            upper.as_str(),
            spaced.as_str(),
            "US01234567-89ab-cdef-0123-456789abcdef",
            "AC0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(read("person", sub, &[]), None, "person {sub:?}");
        }
        for sub in [
            "",
            "root",
            "Billing",
            "billing ",
            "billing/readonly",
            "bill%69ng",
            "account",
        ] {
            assert_eq!(read("service", sub, &[]), None, "service {sub:?}");
        }
        let long = "a".repeat(101);
        for sub in [
            "",
            " ",
            "ann lee",
            "ann/SALES",
            "ann:x",
            "a\nb",
            "\u{202e}ann",
            long.as_str(),
        ] {
            assert_eq!(read("operator", sub, &["SALES"]), None, "operator {sub:?}");
        }
        for role in ["", "sales", "SALES ", "ADMIN", "OWNER", "*"] {
            assert_eq!(read("operator", "ann", &[role]), None, "{role:?}");
            assert_eq!(read("operator", "ann", &["SALES", role]), None, "{role:?}");
        }
        for kind in ["", "Person", "user", "admin", "person "] {
            for sub in [USER, "ann", "billing"] {
                assert_eq!(read(kind, sub, &["SALES"]), None, "kind {kind:?}");
            }
        }
    }

    #[test]
    fn spiffe_ids_are_compared_whole() {
        let read = |id: &str| Caller::from_spiffe(id, &domain());
        assert_eq!(
            read("spiffe://perdiem.local/service/billing"),
            Some(Caller::Service {
                name: ServiceName::Billing
            })
        );
        assert_eq!(
            read("spiffe://perdiem.local/operator/ann/SALES/RISK"),
            Some(Caller::Operator {
                name: "ann".to_owned(),
                roles: BTreeSet::from([OperatorRole::Sales, OperatorRole::Risk])
            })
        );
        for other in NOT_OURS {
            assert_eq!(read(other), None, "{other}");
        }
        for bad in [
            "",
            "Perdiem.local",
            "a/b",
            "a b",
            "a:1",
            "ü.example",
            "a%2e",
        ] {
            assert!(bad.parse::<TrustDomain>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_of_its_issuer_for_us_and_of_the_key_that_it_names() {
        let (ours, other) = (Issuer::new(), Issuer::new());
        let one = keys(&[ours.jwk("a")]);
        let both = keys(&[ours.jwk("a"), other.jwk("b")]);
        let header = json!({"alg": "EdDSA", "kid": "a"});
        let said = json!({
            "iss": "https://login.example",
            "sub": USER,
            "kind": "person",
            "aud": "perdiem",
            "exp": 2_000
        });
        let with = |key: &str, value: Value| {
            let mut changed = said.clone();
            changed[key] = value;
            changed
        };
        let good = |keys: &Keys, token: &str| keys.claims(token, at(1_000)).is_some();

        assert!(good(&one, &ours.signed(&header, &said)));
        assert!(good(&both, &ours.signed(&header, &said)));
        for audience in [json!(["perdiem"]), json!(["another", "perdiem"])] {
            assert!(good(&one, &ours.signed(&header, &with("aud", audience))));
        }
        for (key, value) in [
            ("aud", json!("another")),
            ("aud", json!(["another"])),
            ("aud", json!([])),
            ("aud", Value::Null),
            ("iss", json!("https://evil.example")),
            ("iss", json!(["https://login.example"])),
            ("iss", json!("")),
            ("iss", Value::Null),
            ("sub", Value::Null),
            ("kind", Value::Null),
            ("exp", Value::Null),
            ("exp", json!(1_000)),
            ("nbf", json!(1_100)),
            ("auth_time", json!(4_600)),
            ("roles", json!("SALES")),
        ] {
            let token = ours.signed(&header, &with(key, value.clone()));
            assert!(!good(&one, &token), "{key} {value}");
        }
        assert!(!good(&one, &other.signed(&header, &said)), "another's key");
        assert!(!good(&one, "forged.forged.forged"));
    }

    #[test]
    fn the_header_of_a_token_names_its_key_and_asks_for_nothing() {
        let (ours, other) = (Issuer::new(), Issuer::new());
        let one = keys(&[ours.jwk("a")]);
        let both = keys(&[ours.jwk("a"), other.jwk("b")]);
        let said = serde_json::to_value(claims("person", USER, &[])).unwrap();
        let good = |keys: &Keys, header: &Value| {
            let token = ours.signed(header, &said);
            keys.claims(&token, at(1_000)).is_some()
        };
        let unnamed = json!({"alg": "EdDSA"});
        assert!(good(&one, &unnamed));
        assert!(
            !good(&both, &unnamed),
            "with several keys, the token must name one"
        );
        for bad in [
            json!({"alg": "EdDSA", "kid": "b"}),
            json!({"alg": "EdDSA", "kid": ""}),
            json!({"alg": "EdDSA", "kid": "a", "crit": ["exp"], "exp": 1}),
            json!({"alg": "EdDSA", "kid": "a", "crit": []}),
            json!({"alg": "EdDSA", "kid": "a", "crit": null}),
            json!({"alg": "HS256", "kid": "a"}),
            json!({"alg": "none", "kid": "a"}),
        ] {
            assert!(!good(&one, &bad), "{bad}");
            assert!(!good(&both, &bad), "{bad}");
        }
    }

    #[test]
    fn keys_are_public_and_sign_in_one_way() {
        let ed = Issuer::new().jwk("a");
        let read = |key: &Value| {
            let set = json!({ "keys": [key] }).to_string();
            Keys::from_jwks(&set, "i", "a")
                .map(|it| it.current().keys.len())
                .ok()
        };
        let with = |key: &str, value: Value| {
            let mut changed = ed.clone();
            changed[key] = value;
            changed
        };
        assert_eq!(read(&ed), Some(1));
        assert_eq!(read(&with("use", json!("sig"))), Some(1));
        assert_eq!(read(&with("use", json!("enc"))), Some(0));
        assert_eq!(read(&with("alg", json!("RS256"))), None);
        assert_eq!(read(&with("crv", json!("P-256"))), None);
        let secret = json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"});
        assert_eq!(read(&secret), None);
        let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
        assert_eq!(read(&rsa), Some(1));
    }

    #[test]
    fn a_token_is_no_good_once_its_key_is_gone() {
        let (old, new) = (Issuer::new(), Issuer::new());
        let ours = keys(&[old.jwk("a")]);
        let clone = ours.clone();
        let header = json!({"alg": "EdDSA"});
        let said = serde_json::to_value(claims("person", USER, &[])).unwrap();
        let good = |issuer: &Issuer| {
            let token = issuer.signed(&header, &said);
            clone.claims(&token, at(1_000)).is_some()
        };
        assert!(good(&old) && !good(&new));
        ours.replace(&keys(&[new.jwk("b")]));
        assert!(good(&new));
        assert!(!good(&old), "though it was verified before");
    }

    #[test]
    fn keys_are_read_anew_or_stay_as_they_were() {
        use clap::Parser as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        let (old, new) = (Issuer::new(), Issuer::new());
        let write = |issuer: &Issuer| {
            let set = json!({ "keys": [issuer.jwk("a")] }).to_string();
            std::fs::write(&file, set).unwrap();
        };
        write(&old);
        let options = [
            "service",
            "serve",
            "--listen=127.0.0.1:1",
            "--database-url=x",
            "--token-issuer=https://login.example",
            &format!("--auth-keys-file={}", file.display()),
        ];
        let command = crate::Options::try_parse_from(options).unwrap().command;
        let crate::Command::Serve(config) = command else {
            panic!("serve is serve");
        };
        let identities = Identities::read(&config).unwrap();
        let said = serde_json::to_value(claims("person", USER, &[])).unwrap();
        let good = |issuer: &Issuer| {
            let token = issuer.signed(&json!({"alg": "EdDSA"}), &said);
            identities.keys.claims(&token, at(1_000)).is_some()
        };
        std::fs::write(&file, "{").unwrap();
        assert!(identities.renew(&config).is_err());
        assert!(good(&old));
        write(&new);
        assert!(identities.renew(&config).is_ok());
        assert!(good(&new) && !good(&old));
    }

    #[test]
    fn in_production_a_token_speaks_of_people_only() {
        let issuer = Issuer::new();
        let keys = keys(&[issuer.jwk("a")]);
        let header = json!({"alg": "EdDSA", "kid": "a"});
        for (kind, sub, in_production) in [
            ("person", USER, true),
            ("operator", "ann", false),
            ("service", "billing", false),
        ] {
            let said = serde_json::to_value(claims(kind, sub, &["SALES"])).unwrap();
            let bearer = format!("Bearer {}", issuer.signed(&header, &said));
            let known = |people_only| {
                let identities = identities(keys.clone(), people_only);
                identities.by_token(&bearer, at(1_000)).is_some()
            };
            assert!(known(false), "{kind}");
            assert_eq!(known(true), in_production, "{kind}");
        }
    }

    /// `one`: one SPIFFE id and no other name; `two`: two ids of this domain; `dns`: no id; `evil`: an id of another
    /// domain, and a host name.
    const CERTIFICATES: &str = include_str!("../data/certificates.txt");

    #[test]
    fn a_certificate_is_of_its_one_spiffe_id() {
        let ours = identities(keys(&[]), true);
        let without_domain = Identities {
            trust_domain: None,
            ..ours.clone()
        };
        for line in CERTIFICATES.lines() {
            let (what, der) = line.split_once(' ').unwrap();
            let der = BASE64_URL_SAFE_NO_PAD.decode(der).unwrap();
            let certificate = CertificateDer::from(der);
            let known = ours.by_certificate(&certificate);
            let known = known.map(|it| it.to_string());
            let expected = (what == "one").then(|| "service:billing".to_owned());
            assert_eq!(known, expected, "{what}");
            assert_eq!(without_domain.by_certificate(&certificate), None);
        }
    }

    #[test]
    fn a_request_without_a_token_is_of_the_certificate_of_its_connection() {
        let ours = identities(keys(&[]), true);
        let by = |certificates: Vec<CertificateDer<'static>>| {
            let mut request = http::Request::new(());
            request.extensions_mut().insert(Remote {
                address: None,
                certificates: Arc::new(certificates),
            });
            ours.caller(&request).map(|it| it.to_string())
        };
        let certificate = crate::tls::tests::certificate("one");
        assert_eq!(by(vec![certificate]).as_deref(), Some("service:billing"));
        assert_eq!(by(Vec::new()), None);
    }

    #[test]
    fn two_tokens_are_none() {
        let request = |tokens: &[&str]| {
            let mut request = http::Request::new(());
            for token in tokens {
                let value = token.parse().unwrap();
                request
                    .headers_mut()
                    .append(http::header::AUTHORIZATION, value);
            }
            request
        };
        let issuer = Issuer::new();
        let identities = identities(keys(&[issuer.jwk("a")]), true);
        let said = Claims {
            exp: i64::from(u32::MAX),
            ..claims("person", USER, &[])
        };
        let said = serde_json::to_value(said).unwrap();
        let token = format!("Bearer {}", issuer.signed(&json!({"alg": "EdDSA"}), &said));
        assert!(identities.caller(&request(&[&token])).is_some());
        assert!(identities.caller(&request(&[&token, &token])).is_none());
        assert!(identities.caller(&request(&[&token, "Bearer x"])).is_none());
        assert!(identities.caller(&request(&[])).is_none());
    }
}
