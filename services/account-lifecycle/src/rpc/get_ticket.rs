//! `AccountService.GetTicket`

use chassis::{Caller, wire};
use proto::account::v1 as pb;
use values::{AccountId, TicketId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::{Tenant, tickets};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetTicketRequest,
) -> Result<pb::GetTicketResponse, Error> {
    let id: TicketId = wire::id("ticket_id", &request.ticket_id)?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let ticket = tickets::get(&mut tx, id.uuid()).await?;
    let of = ticket.as_ref().map(|it| (it.account_id, it.root_id));
    let known = permit::knows(&mut tx, caller, of).await?;
    tx.commit().await?;
    let ticket = ticket.filter(|_| known).ok_or(Error::TicketNotFound(id))?;
    match permit::allowed(
        ctx,
        caller,
        AccountId::from_uuid(ticket.account_id),
        Action::See,
    )
    .await
    {
        Ok(_) => Ok(pb::GetTicketResponse {
            ticket: Some(convert::ticket(&ticket)),
        }),
        Err(Error::AccountNotFound(_)) => Err(Error::TicketNotFound(id)),
        Err(error) => Err(error),
    }
}
