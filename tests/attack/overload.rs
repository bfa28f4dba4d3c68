//! More calls than a service can answer, whether it answers or not: what is too much is refused, and says when to come
//! again; what is served is hardly less than before, and a moment later everything is.

use std::time::Duration;

use chassis::OperatorRole;
use perdiem::connect::{Clients, request_id};
use proto::billing::v1 as billing;
use tests::open_loop::{self, DEADLINE};
use tonic::Status;

use crate::cancel::left_open;
use crate::silence::MEMORY_MIB;
use crate::{Victim, dollars};

/// The service that is attacked.
const SERVICE: &str = "billing";
/// Connections: the streams of one would be fewer than the calls that are admitted.
const CONNECTIONS: usize = 8;
/// Entries of the audit that one call verifies: work for the service and the database, and none for the caller, who
/// shares their processors.
const ENTRIES: usize = 200;
/// How long each growing rate is tried at most.
const STEP_MOST: Duration = Duration::from_secs(5);

/// Who calls, and what.
struct Callers {
    clients: Vec<Clients>,
    account_id: String,
}

/// Finds what the service can serve, and overloads it for a time; gives the promises that were broken.
pub async fn attack(victim: &Victim, time: Duration) -> Vec<String> {
    let callers = callers(victim).await;
    let call = |number: u32| callers.call(number);
    let step_time = (time / 4).clamp(Duration::from_secs(1), STEP_MOST);
    let (knee, _, mut broken) = open_loop::knee(step_time, call).await;
    if knee == 0 {
        return broken;
    }
    let before = victim.memory_mib(SERVICE);
    let (_, faults) = open_loop::overload(knee, time, call).await;
    broken.extend(faults);
    let after = victim.memory_mib(SERVICE);
    println!("memory: {before} MiB before the overload, {after} after");
    if before + MEMORY_MIB < after {
        broken.push(format!("memory grew from {before} to {after} MiB"));
    }
    broken.extend(left_open(victim).await);
    broken
}

/// An account with an audit to verify, and an operator on several connections who may.
async fn callers(victim: &Victim) -> Callers {
    let account_id = victim.account().await;
    for _ in 0..ENTRIES {
        let request = billing::GrantCreditRequest {
            account_id: account_id.clone(),
            kind: billing::lot::Kind::Promo.into(),
            amount: Some(dollars("1")),
            reason: "attack".to_owned(),
            request_id: request_id(),
            ..billing::GrantCreditRequest::default()
        };
        let mut client = victim.operator.billing.clone();
        client.grant_credit(request).await.unwrap();
    }
    let keys = &victim.suite.keys;
    let token = keys.operator("many", OperatorRole::ALL).unwrap();
    let client = |_| Clients::new(&victim.urls, &token).unwrap();
    Callers {
        clients: (0..CONNECTIONS).map(client).collect(),
        account_id,
    }
}

impl Callers {
    /// One call, on the connection whose turn it is.
    async fn call(&self, number: u32) -> Result<(), Status> {
        let mut request = tonic::Request::new(billing::VerifyAuditRequest {
            account_id: self.account_id.clone(),
        });
        request.set_timeout(DEADLINE);
        let turn = usize::try_from(number).unwrap() % CONNECTIONS;
        let mut client = self.clients[turn].billing.clone();
        client.verify_audit(request).await.map(drop)
    }
}
