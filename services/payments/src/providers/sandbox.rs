//! The sandbox provider: its tokens determine the outcome, and it keeps a book of its own.

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use uuid::Uuid;
use values::Money;

use super::{
    BookEntry, ChargeOrder, Contested, Instrument, Kind, NotAttached, Provider, RefundOrder,
    Sought, Unavailable,
};
use crate::domain::movement::Answer;
use crate::domain::sandbox::State;
use crate::domain::token::Token;
use crate::store::sandbox::{self, Booked};
use chassis::{Clock, Database};

/// Time until a simulated customer confirms.
const CONFIRMED_AFTER: TimeDelta = TimeDelta::minutes(1);
/// Settlement time of a slow method.
const SETTLED_AFTER: TimeDelta = TimeDelta::days(2);

/// The sandbox provider. The prefix of a token determines the outcome of its charges:
///
/// | token | the charge |
/// |---|---|
/// | `tok_ok…` | succeeds |
/// | `tok_declined_REASON` | is declined for that reason, such as `insufficient_funds` |
/// | `tok_fails_N…` | is declined N times, then succeeds |
/// | `tok_3ds_ok…`, `tok_3ds_failed…` | waits a minute for the customer to confirm |
/// | `tok_slow_ok…`, `tok_slow_bounced…` | settles after two days |
/// | `tok_duplicate…` | succeeds; the request arrives twice and is booked once |
/// | `tok_timeout_after…` | succeeds, but the answer is lost |
/// | `tok_timeout_declined…` | is declined, but the answer is lost |
/// | `tok_timeout_before…` | gets lost; a repeated request succeeds |
/// | `tok_wrong_amount…` | takes one minor unit too much |
/// | `tok_down…` | is never sent, as the provider is unreachable |
/// | `tok_refund_fails_N…` | succeeds; its first N refunds are declined |
/// | `tok_refund_expired…` | succeeds; its refunds are permanently declined, as the card has expired |
/// | `tok_refund_timeout…` | succeeds; its refunds succeed, but the answer is lost |
///
/// A card network at the end (`tok_ok_mastercard`) sets the network; the default is VISA. Any other token is refused
/// when it is added.
pub struct Sandbox {
    /// Connection to its book, separate from the caller's transaction.
    db: Database,
    /// Clock that decides pending requests.
    clock: Clock,
}

/// The planned outcome of a request.
struct Plan {
    /// State in the book. `Lost` means that the request did not arrive; it can't be looked up.
    state: State,
    decline_reason: String,
    /// For a pending request: time until its decision, and its final state.
    decided: Option<(TimeDelta, State)>,
    /// Whether the answer reaches the caller.
    answered: bool,
    /// Minor units taken in addition to the amount asked for.
    more: i64,
}

impl Plan {
    fn booked(state: State) -> Self {
        Self {
            state,
            decline_reason: String::new(),
            decided: None,
            answered: true,
            more: 0,
        }
    }

    fn declined(reason: &str) -> Self {
        Self {
            decline_reason: reason.to_uppercase(),
            ..Self::booked(State::Declined)
        }
    }

    fn pending(after: TimeDelta, state: State, reason: &str) -> Self {
        Self {
            decided: Some((after, state)),
            decline_reason: reason.to_owned(),
            ..Self::booked(State::Pending)
        }
    }

    fn unanswered(self) -> Self {
        Self {
            answered: false,
            ..self
        }
    }
}

/// The outcome of a charge with `token`, given the number of `earlier` charges with it.
fn charge_plan(token: &str, earlier: i64) -> Plan {
    let token = without_network(token);
    let times = |prefix: &str| {
        let rest = token.strip_prefix(prefix)?;
        rest.split('_').next()?.parse::<i64>().ok()
    };
    if let Some(reason) = token.strip_prefix("tok_declined_") {
        Plan::declined(reason)
    } else if let Some(times) = times("tok_fails_") {
        if earlier < times {
            Plan::declined("TRY_AGAIN_LATER")
        } else {
            Plan::booked(State::Succeeded)
        }
    } else if token.starts_with("tok_3ds_failed") {
        Plan::pending(CONFIRMED_AFTER, State::Declined, "AUTHENTICATION_FAILED")
    } else if token.starts_with("tok_3ds") {
        Plan::pending(CONFIRMED_AFTER, State::Succeeded, "")
    } else if token.starts_with("tok_slow_bounced") {
        Plan::pending(SETTLED_AFTER, State::Declined, "BOUNCED")
    } else if token.starts_with("tok_slow") {
        Plan::pending(SETTLED_AFTER, State::Succeeded, "")
    } else if token.starts_with("tok_timeout_before") {
        Plan::booked(State::Lost).unanswered()
    } else if token.starts_with("tok_timeout_declined") {
        Plan::declined("CARD_DECLINED").unanswered()
    } else if token.starts_with("tok_timeout_after") {
        Plan::booked(State::Succeeded).unanswered()
    } else if token.starts_with("tok_wrong_amount") {
        Plan {
            more: 1,
            ..Plan::booked(State::Succeeded)
        }
    } else {
        Plan::booked(State::Succeeded)
    }
}

/// The outcome of a refund of a charge with `token`, given the number of `earlier` refunds of it.
fn refund_plan(token: &str, earlier: i64) -> Plan {
    let token = without_network(token);
    if let Some(rest) = token.strip_prefix("tok_refund_fails_") {
        let times = rest.split('_').next().and_then(|n| n.parse().ok());
        if earlier < times.unwrap_or(0) {
            return Plan::declined("TRY_AGAIN_LATER");
        }
    } else if token.starts_with("tok_refund_expired") {
        return Plan::declined("INSTRUMENT_EXPIRED");
    } else if token.starts_with("tok_refund_timeout") {
        return Plan::booked(State::Succeeded).unanswered();
    }
    Plan::booked(State::Succeeded)
}

/// The card network at the end of a token.
fn network(token: &str) -> &'static str {
    const NETWORKS: [&str; 5] = ["VISA", "MASTERCARD", "RUPAY", "AMEX", "DINERS"];
    let end = token.rsplit('_').next().unwrap_or_default().to_uppercase();
    NETWORKS
        .into_iter()
        .find(|network| *network == end)
        .unwrap_or("VISA")
}

fn without_network(token: &str) -> &str {
    match token.rsplit_once('_') {
        Some((rest, end)) if network(token) == end.to_uppercase() => rest,
        _ => token,
    }
}

impl Sandbox {
    /// Creates the provider with its book in `db` and its time from `clock`.
    pub const fn new(db: Database, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Books a request, unless its reference is known, and answers it.
    async fn ask(
        &self,
        kind: Kind,
        (reference, charge): (Uuid, Option<Uuid>),
        token: &str,
        money: Money,
    ) -> sqlx::Result<Answer> {
        let now = self.clock.now().await?;
        let mut db = self.db.acquire().await?;
        if let Some(known) = sandbox::get(&mut db, reference).await? {
            if known.state == State::Lost {
                sandbox::arrive(&mut db, reference).await?;
                let arrived = sandbox::get(&mut db, reference).await?;
                return said(&arrived.unwrap_or(known));
            }
            return said(&known);
        }
        let earlier = sandbox::count(&mut db, token, charge).await?;
        let plan = match kind {
            Kind::Charge => charge_plan(token, earlier),
            Kind::Refund => refund_plan(token, earlier),
        };
        let booked = Booked {
            provider_key: reference,
            kind,
            provider_id: format!("sb_{}", reference.simple()),
            token: token.to_owned(),
            charge_key: charge,
            currency: money.currency().code().to_owned(),
            amount_minor: money.minor().saturating_add(plan.more),
            state: plan.state,
            decline_reason: plan.decline_reason,
            decided_at: plan.decided.map(|(after, _)| now + after),
            decided_state: plan.decided.map(|(_, state)| state),
            created_at: now,
        };
        sandbox::insert(&mut db, &booked).await?;
        if plan.answered {
            said(&booked)
        } else {
            Ok(Answer::Unknown)
        }
    }
}

/// The answer that a book entry gives.
fn said(booked: &Booked) -> sqlx::Result<Answer> {
    Ok(match booked.state {
        State::Succeeded => Answer::Moved {
            provider_id: booked.provider_id.clone(),
            reference: booked.provider_key,
            money: booked.money()?,
            at: booked.decided_at.unwrap_or(booked.created_at),
        },
        State::Declined => Answer::Refused {
            reason: booked.decline_reason.clone(),
            retryable: matches!(
                booked.decline_reason.as_str(),
                "INSUFFICIENT_FUNDS" | "TRY_AGAIN_LATER" | "AUTHENTICATION_FAILED"
            ),
        },
        State::Pending => Answer::Pending {
            provider_id: booked.provider_id.clone(),
            action_url: if booked.token.starts_with("tok_3ds") {
                format!("https://sandbox.invalid/confirm/{}", booked.provider_id)
            } else {
                String::new()
            },
        },
        State::Lost => Answer::Unknown,
    })
}

impl Provider for Sandbox {
    fn window(&self) -> TimeDelta {
        TimeDelta::hours(24)
    }

    // Sandbox tokens belong to nobody, so every account can use them.
    fn attach<'a>(
        &'a self,
        token: &'a Token,
        _: Uuid,
    ) -> BoxFuture<'a, Result<Instrument, NotAttached>> {
        async move {
            const KNOWN: [&str; 10] = [
                "tok_ok",
                "tok_declined_",
                "tok_fails_",
                "tok_3ds_",
                "tok_slow_",
                "tok_duplicate",
                "tok_timeout_",
                "tok_wrong_amount",
                "tok_down",
                "tok_refund_",
            ];
            let text = token.as_str();
            if !KNOWN.iter().any(|start| text.starts_with(start)) {
                return Err(NotAttached::Refused("UNKNOWN_TOKEN".to_owned()));
            }
            Ok(Instrument {
                network: network(text).to_owned(),
                country: String::new(),
                last_four: "4242".to_owned(),
                expiry_month: "2099-12".to_owned(),
            })
        }
        .boxed()
    }

    fn charge<'a>(&'a self, order: &'a ChargeOrder) -> BoxFuture<'a, Answer> {
        async move {
            let token = order.token.as_str();
            if token.starts_with("tok_down") {
                return Answer::NotSent;
            }
            let ask = || self.ask(Kind::Charge, (order.reference, None), token, order.money);
            let first = ask().await;
            let answer = if token.starts_with("tok_duplicate") {
                ask().await
            } else {
                first
            };
            answer.unwrap_or(Answer::Unknown)
        }
        .boxed()
    }

    fn refund<'a>(&'a self, order: &'a RefundOrder) -> BoxFuture<'a, Answer> {
        async move {
            let charge =
                async { sandbox::get(&mut self.db.acquire().await?, order.charge_reference).await };
            match charge.await {
                Ok(Some(charge)) => {
                    let keys = (order.reference, Some(charge.provider_key));
                    self.ask(Kind::Refund, keys, &charge.token, order.money)
                        .await
                        .unwrap_or(Answer::Unknown)
                }
                Ok(None) => Answer::Refused {
                    reason: "CHARGE_UNKNOWN".to_owned(),
                    retryable: false,
                },
                Err(_) => Answer::Unknown,
            }
        }
        .boxed()
    }

    fn look_up<'a>(
        &'a self,
        sought: &'a Sought,
    ) -> BoxFuture<'a, Result<Option<Answer>, Unavailable>> {
        async move {
            let found = async {
                let now = self.clock.now().await?;
                let mut db = self.db.acquire().await?;
                sandbox::decide(&mut db, now, Some(sought.reference)).await?;
                sandbox::get(&mut db, sought.reference).await
            };
            let found: sqlx::Result<_> = found.await;
            let found = found.map_err(|_| Unavailable)?;
            let arrived = found.filter(|it| it.state != State::Lost);
            let answer = arrived.map(|it| said(&it)).transpose();
            answer.map_err(|_| Unavailable)
        }
        .boxed()
    }

    // The sandbox has no disputes.
    fn disputes(&self, _: DateTime<Utc>) -> BoxFuture<'_, Result<Vec<String>, Unavailable>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn dispute<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Contested>, Unavailable>> {
        async { Ok(None) }.boxed()
    }

    fn book(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> BoxFuture<'_, Result<Vec<BookEntry>, Unavailable>> {
        async move {
            let found = async {
                let mut db = self.db.acquire().await?;
                sandbox::list(&mut db, from, until).await
            };
            let found: sqlx::Result<Vec<Booked>> = found.await;
            let entries = found.map_err(|_| Unavailable)?.into_iter().map(|booked| {
                Ok(BookEntry {
                    kind: booked.kind,
                    reference: booked.provider_key,
                    provider_id: booked.provider_id.clone(),
                    money: booked.money()?,
                    answer: said(&booked)?,
                })
            });
            let entries: sqlx::Result<Vec<BookEntry>> = entries.collect();
            entries.map_err(|_| Unavailable)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_decides() {
        let state = |token: &str, earlier| charge_plan(token, earlier).state;
        assert_eq!(state("tok_ok", 0), State::Succeeded);
        assert_eq!(state("tok_ok_mastercard", 0), State::Succeeded);
        assert_eq!(state("tok_fails_2", 1), State::Declined);
        assert_eq!(state("tok_fails_2_rupay", 2), State::Succeeded);
        assert_eq!(state("tok_slow_ok", 0), State::Pending);
        assert_eq!(state("tok_timeout_before", 0), State::Lost);
        let declined = charge_plan("tok_declined_insufficient_funds_visa", 0);
        assert_eq!(declined.decline_reason, "INSUFFICIENT_FUNDS");
        assert!(!charge_plan("tok_timeout_after", 0).answered);
        assert_eq!(charge_plan("tok_wrong_amount", 0).more, 1);
        assert_eq!(refund_plan("tok_refund_fails_2", 1).state, State::Declined);
        assert_eq!(refund_plan("tok_refund_fails_2", 2).state, State::Succeeded);
        assert_eq!(network("tok_ok_amex"), "AMEX");
        assert_eq!(network("tok_ok"), "VISA");
    }
}
