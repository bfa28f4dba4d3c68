//! Tokens that are almost good: whatever is wrong with one, it opens no method.

use chassis::{Audience, Claims, OperatorRole};
use futures::future::join_all;
use perdiem::keys::{Keys, claims};
use tonic::{Code, Status};

use crate::raw::{Method, Raw, methods};
use crate::{Random, Victim};

/// Calls that are under way at once.
const AT_ONCE: usize = 16;
/// `{"alg":"none"}` and `{"alg":"HS256"}`.
const HEADERS: [&str; 2] = ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9"];

/// What is done to a token, or to what it says.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Issuer,
    Audience,
    Expired,
    NotYet,
    ProvedLater,
    Kind,
    Subject,
    Role,
    AnothersKey,
    Algorithm,
    AnothersClaims,
    Signature,
    Cut,
    Scheme,
    Twice,
    None,
}

const FAULTS: [Fault; 16] = [
    Fault::Issuer,
    Fault::Audience,
    Fault::Expired,
    Fault::NotYet,
    Fault::ProvedLater,
    Fault::Kind,
    Fault::Subject,
    Fault::Role,
    Fault::AnothersKey,
    Fault::Algorithm,
    Fault::AnothersClaims,
    Fault::Signature,
    Fault::Cut,
    Fault::Scheme,
    Fault::Twice,
    Fault::None,
];

/// Calls random methods so often with tokens that are almost good; gives the promises that were broken.
pub async fn attack(victim: &Victim, calls: u64, mut random: Random) -> Vec<String> {
    let methods = methods();
    let folder = tempfile::tempdir().unwrap();
    let others = Keys::open(folder.path()).unwrap();
    let mut broken = Vec::new();
    // Their good forms are known: what is refused below is refused for its fault.
    for kind in 0..3 {
        let token = victim.suite.keys.sign(&good(victim, kind)).unwrap();
        let bearer = [format!("Bearer {token}")];
        let unknown = |result: &Result<_, Status>| matches!(result, Err(status) if status.code() == Code::Unauthenticated);
        let method = methods.iter().find(|it| !it.access.streams).unwrap();
        if unknown(&called(victim, method, &bearer).await) {
            broken.push(format!("a good token of kind {kind} is refused"));
        }
    }
    let mut left = calls;
    while 0 < left && broken.len() < 20 {
        let batch = left.min(u64::try_from(AT_ONCE).unwrap());
        left -= batch;
        let attempts: Vec<_> = (0..batch)
            .map(|_| {
                let fault = FAULTS[random.below(FAULTS.len())];
                let method = &methods[random.below(methods.len())];
                (fault, method, faulty(victim, &others, fault, &mut random))
            })
            .collect();
        let answers = attempts.iter().map(async |(fault, method, headers)| {
            let answer = called(victim, method, headers).await;
            let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
            (code != Code::Unauthenticated).then(|| {
                format!(
                    "{}: {fault:?} is answered {code:?}: {headers:?}",
                    method.path
                )
            })
        });
        broken.extend(join_all(answers).await.into_iter().flatten());
    }
    println!("{} calls with tokens that are almost good", calls - left);
    broken
}

async fn called(victim: &Victim, method: &Method, headers: &[String]) -> Result<Vec<u8>, Status> {
    let raw = Raw::new(victim.urls.of(method.service));
    raw.call(&method.path, headers, Vec::new()).await
}

/// Claims that are good.
fn good(victim: &Victim, kind: usize) -> Claims {
    match kind {
        0 => claims("person", &victim.owner),
        1 => claims("service", "billing"),
        _ => Claims {
            roles: OperatorRole::ALL.iter().map(ToString::to_string).collect(),
            ..claims("operator", "local")
        },
    }
}

/// Authorization headers with a fault.
#[expect(clippy::too_many_lines, reason = "a fault, an arm")]
fn faulty(victim: &Victim, others: &Keys, fault: Fault, random: &mut Random) -> Vec<String> {
    let keys = &victim.suite.keys;
    let kind = random.below(3);
    let mut said = good(victim, kind);
    let later = i64::try_from(random.below(1_000_000)).unwrap();
    let now = victim.now.timestamp();
    let mut one_of = |texts: &[&str]| texts[random.below(texts.len())].to_owned();
    match fault {
        Fault::Issuer => said.iss = one_of(&["", "Perdiem", "perdiem ", "perdiem/", "evil"]),
        Fault::Audience => {
            said.aud = match one_of(&["one", "many", "none"]).as_str() {
                "one" => Audience::One(one_of(&["", "Perdiem", "perdiem.evil", "evil"])),
                "many" => Audience::Many(vec!["evil".to_owned(), "perdiem ".to_owned()]),
                _ => Audience::Many(Vec::new()),
            }
        }
        Fault::Expired => said.exp = now - 1 - later,
        // A margin for what the attack takes, and for clocks that differ.
        Fault::NotYet => said.nbf = Some(now + 3_600 + later),
        Fault::ProvedLater => said.auth_time = Some(now + 3_600 + later),
        Fault::Kind => said.kind = one_of(&["", "Person", "user", "admin", "root", "operator "]),
        Fault::Subject => {
            said.sub = one_of(&["", " ", "a/b", "a b", "a:b", "\u{202e}a", "billing/x"]);
        }
        Fault::Role => {
            said = good(victim, 2);
            said.roles
                .push(one_of(&["", "ADMIN", "billing", "BILLING ", "*"]));
        }
        Fault::AnothersKey
        | Fault::Algorithm
        | Fault::AnothersClaims
        | Fault::Signature
        | Fault::Cut
        | Fault::Scheme
        | Fault::Twice
        | Fault::None => {}
    }
    let token = keys.sign(&said).unwrap();
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        return Vec::new();
    };
    let token = match fault {
        Fault::AnothersKey => others.sign(&said).unwrap(),
        Fault::Algorithm => {
            let signature = one_of(&["", signature]);
            format!("{}.{payload}.{signature}", one_of(&HEADERS))
        }
        Fault::AnothersClaims => {
            let other = keys.sign(&good(victim, (kind + 1) % 3)).unwrap();
            let other = other.split('.').nth(1).unwrap_or_default();
            format!("{header}.{other}.{signature}")
        }
        Fault::Signature => {
            // All bits of these letters count.
            let place = random.below(signature.len() - 2);
            let letter = if signature.as_bytes()[place] == b'A' {
                "B"
            } else {
                "A"
            };
            let (before, after) = signature.split_at(place);
            format!("{header}.{payload}.{before}{letter}{}", &after[1..])
        }
        Fault::Cut => token[..random.below(token.len())].to_owned(),
        Fault::Issuer
        | Fault::Audience
        | Fault::Expired
        | Fault::NotYet
        | Fault::ProvedLater
        | Fault::Kind
        | Fault::Subject
        | Fault::Role
        | Fault::Scheme
        | Fault::Twice
        | Fault::None => token,
    };
    let bearer = format!("Bearer {token}");
    match fault {
        Fault::Scheme => {
            let scheme = ["bearer ", "Basic ", "Bearer  ", ""][random.below(4)];
            vec![format!("{scheme}{token}")]
        }
        Fault::Twice => vec![bearer.clone(), bearer],
        Fault::None => Vec::new(),
        Fault::Issuer
        | Fault::Audience
        | Fault::Expired
        | Fault::NotYet
        | Fault::ProvedLater
        | Fault::Kind
        | Fault::Subject
        | Fault::Role
        | Fault::AnothersKey
        | Fault::Algorithm
        | Fault::AnothersClaims
        | Fault::Signature
        | Fault::Cut => vec![bearer],
    }
}
