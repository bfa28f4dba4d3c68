//! Chooses the payment method of an off-session charge, which no customer is present to confirm (D35).

use uuid::Uuid;
use values::{AccountId, MethodId};

use crate::ctx::Ctx;
use crate::domain::collection::State;
use crate::domain::off_session::{self, Held};
use crate::error::Error;
use crate::store::collections;

/// The method to charge for an open invoice of a root account; `None` for the account's default method.
pub async fn for_invoice(ctx: &Ctx, root: Uuid) -> Result<Option<Uuid>, Error> {
    Ok(off_session::method(&held(ctx, root).await?, None, None))
}

/// The method to charge for a cycle of a root account in a family; `before` is the collection of an earlier attempt,
/// if any. `None` for the account's default method.
pub async fn for_renewal(
    ctx: &Ctx,
    (root, family): (Uuid, &str),
    before: Option<Uuid>,
) -> Result<Option<Uuid>, Error> {
    let mut db = ctx.db.acquire().await?;
    let paid_by = collections::paid_by(&mut db, (root, family)).await?;
    let before = match before {
        Some(id) => collections::get(&mut db, id).await?,
        None => None,
    };
    drop(db);
    let declined = before
        .filter(|it| it.state == State::Declined)
        .and_then(|it| it.chosen_method_id);
    let held = held(ctx, root).await?;
    Ok(off_session::method(&held, paid_by, declined))
}

/// The usable payment methods of a root account.
async fn held(ctx: &Ctx, root: Uuid) -> Result<Vec<Held>, Error> {
    let account = AccountId::from_uuid(root).to_string();
    let methods = ctx.payment_methods(&account).await?;
    let held = methods.into_iter().map(|it| {
        let id: MethodId = it
            .payment_method_id
            .parse()
            .map_err(|_| Error::Stored("id of payments"))?;
        Ok::<_, Error>(Held {
            id: id.uuid(),
            recurring: it.recurring,
            is_default: it.default_method,
            allowed: it.off_session_allowed,
        })
    });
    held.collect()
}
