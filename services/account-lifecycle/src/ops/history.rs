//! The account history: each transition with its name, time and actor.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;
use values::AccountId;

use crate::store::transitions::{self, Transition};

/// A change of state to record.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// State that changed, such as `MODE`.
    pub state: &'a str,
    /// Name of the transition.
    pub name: &'a str,
    /// State before and after.
    pub change: (&'a str, &'a str),
    /// Who caused it.
    pub actor: &'a str,
    /// Reason; empty for none.
    pub reason: &'a str,
    /// Id of what changed; empty for the account itself.
    pub resource: &'a str,
}

/// Records a change in the history of an account, which the caller has locked.
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
