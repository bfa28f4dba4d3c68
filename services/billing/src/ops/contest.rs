//! Contested charges, booked as `payments` tells of them: what a provider holds back leaves clearing and
//! comes back; of one that is lost, the credit that it had paid for is taken back.

use chrono::{DateTime, Utc};
use proto::payments::v1 as payments;
use proto::payments::v1::dispute::State;
use sqlx::PgConnection;
use uuid::Uuid;
use values::{ChargeId, Currency, DisputeId, Money, Ratio, Rounding};

use super::collect::parsed;
use super::spend::{self, Bill, Spending};
use crate::clients::Catalogue;
use crate::error::Error;
use crate::store::disputes::Booked;
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::{accounts, collections, disputes};

/// Keeps what `payments` says of a dispute; what is booked already is not booked again.
pub async fn keep(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    said: &payments::Dispute,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let id: DisputeId = parsed(&said.dispute_id)?;
    let charge: ChargeId = parsed(&said.charge_id)?;
    let Some(collection) = collections::of_charge(db, charge.uuid()).await? else {
        return Ok(());
    };
    let root = collection.root_id;
    ledger::lock(db, &[root]).await?;
    let known = disputes::get(db, id.uuid()).await?.unwrap_or(Booked {
        root_id: root,
        dispute_id: id.uuid(),
        collection_id: collection.collection_id,
        withheld_minor: 0,
        taken_micros: 0,
    });
    let currency: Currency = collection
        .currency
        .parse()
        .map_err(|_| Error::Stored("currency"))?;
    let withheld = said
        .withheld_amount
        .as_ref()
        .filter(|money| money.currency_code == collection.currency)
        .and_then(|money| Money::parse(&money.amount, currency).ok())
        .ok_or(Error::Stored("withheld amount"))?;
    let mut entries = Entries::new(&collection.currency, now);
    let more = withheld.minor() - known.withheld_minor;
    if let Some(entry) = held_back(root, more, currency)? {
        entries.add(Uuid::now_v7(), &entry);
    }
    let mut taken_micros = known.taken_micros;
    if said.state() == State::Lost && known.taken_micros == 0 {
        let account = accounts::get(db, root)
            .await?
            .ok_or(Error::Stored("account"))?;
        taken_micros = credit_of(db, collection.collection_id, withheld).await?;
        let bill = Bill {
            root,
            profile: &account.profile_code,
            micros: taken_micros,
            to: LedgerAccount::Disputed,
            word: "DISPUTE_LOST",
            invoice: Some(collection.collection_id),
        };
        let purse = spend::purses(db, &[root]).await?.remove(&root);
        let mut spending = Spending::new(catalogue, now);
        spending.pay(&bill, purse.unwrap_or_default(), &mut entries, |_| {
            Uuid::now_v7()
        })?;
        spending.flush(db).await?;
    }
    entries.copy(db).await?;
    let booked = Booked {
        withheld_minor: withheld.minor(),
        taken_micros,
        ..known
    };
    Ok(disputes::set(db, &booked).await?)
}

/// The entry for `more` minor units that a provider holds back; of less than nothing, for what it gives
/// back.
fn held_back(root: Uuid, more: i64, currency: Currency) -> Result<Option<Entry>, Error> {
    let (debit, credit) = if 0 < more {
        (LedgerAccount::Disputed, LedgerAccount::Clearing)
    } else {
        (LedgerAccount::Clearing, LedgerAccount::Disputed)
    };
    let micros = more
        .checked_abs()
        .and_then(|minor| minor.checked_mul(currency.micros_per_minor()))
        .ok_or(Error::Stored("withheld amount"))?;
    Ok((0 < micros).then_some(Entry {
        root_id: root,
        debit,
        credit,
        amount_micros: micros,
        lot_id: None,
        invoice_id: None,
        reason: "DISPUTE",
    }))
}

/// The credit in what is held back of a collection: its share of it, in millionths, rounded down. The rest,
/// what was earned and its tax, is our loss.
async fn credit_of(db: &mut PgConnection, collection: Uuid, withheld: Money) -> Result<i64, Error> {
    let of = collections::get(db, collection)
        .await?
        .ok_or(Error::Stored("collection"))?;
    let credits = collections::lines(db, collection)
        .await?
        .iter()
        .filter(|line| line.kind == "CREDITS")
        .fold(0_i64, |sum, line| sum.saturating_add(line.amount_minor));
    let share = Ratio::new(i128::from(credits), i128::from(of.total_minor.max(1)));
    let credit = withheld
        .scaled(share, Rounding::Down)
        .and_then(Money::amount);
    Ok(credit
        .map_err(|_| Error::Stored("withheld amount"))?
        .micros())
}
