//! What history tells of an account: each transition named, dated, and by whom.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;
use values::AccountId;

use crate::store::transitions::{self, Transition};

/// A change of state to be told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Which state, such as MODE.
    pub state: &'a str,
    /// The transition's name.
    pub name: &'a str,
    /// The state before and after.
    pub change: (&'a str, &'a str),
    /// Who.
    pub actor: &'a str,
    /// Why; empty for none.
    pub reason: &'a str,
    /// The id of what changed; empty for the account.
    pub resource: &'a str,
}

/// Tells of a change of an account that is locked.
pub async fn tell(
    db: &mut PgConnection,
    (root, account): (Uuid, Uuid),
    told: &Told<'_>,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let (from, to) = told.change;
    let transition = Transition {
        root_id: root,
        account_id: account,
        sequence: 0,
        state_code: told.state.to_owned(),
        resource_id: if told.resource.is_empty() {
            AccountId::from_uuid(account).to_string()
        } else {
            told.resource.to_owned()
        },
        transition_code: told.name.to_owned(),
        from_code: from.to_owned(),
        to_code: to.to_owned(),
        actor: told.actor.to_owned(),
        reason: told.reason.to_owned(),
        at,
    };
    transitions::insert(db, &transition).await
}
