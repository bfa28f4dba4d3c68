//! What users do meanwhile, each asking again until they are told something final, and what they were told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use perdiem::connect::{Clients, request_id, timestamp};
use proto::account::v1 as account;
use proto::account::v1::closing::Option as Way;
use proto::account::v1::create_order_request::Kind;
use proto::account::v1::order::State;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use tests::victim::{Random, credit, dollars, opening, plan_change};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use crate::World;

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(7);
/// The first pause before a call is made again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long after the campaign a call may be without a final answer.
const FINAL_WITHIN: Duration = Duration::from_mins(1);
/// How often an order is looked at, and how long between, until its user goes on to other things.
const LOOKS: (u32, Duration) = (12, Duration::from_millis(500));
/// How many faults one user shows.
const FAULTS: usize = 5;

/// The sandbox cards: half are of a provider that times out, fails or duplicates.
const CARDS: [&str; 16] = [
    "tok_ok",
    "tok_ok",
    "tok_ok",
    "tok_ok",
    "tok_refund_timeout",
    "tok_refund_timeout",
    "tok_refund_fails_1",
    "tok_timeout_after",
    "tok_timeout_before",
    "tok_timeout_declined",
    "tok_duplicate",
    "tok_duplicate",
    "tok_duplicate",
    "tok_fails_1",
    "tok_fails_2",
    "tok_3ds_ok",
];

/// What users did and were told.
#[derive(Debug, Default)]
pub struct Book {
    /// Accounts that were opened.
    pub accounts: Vec<String>,
    /// Orders that were completed, by what was ordered.
    pub orders: BTreeMap<&'static str, Vec<String>>,
    /// Usage events that were taken.
    pub events: Vec<String>,
    /// Credit that was granted: the ids of the lots.
    pub grants: Vec<String>,
    /// Accounts that were closed.
    pub closed: Vec<String>,
    /// How long it took to be told something final.
    pub waits: Vec<Duration>,
    /// Calls, each try counted.
    pub tries: u64,
    /// Refusals that are final, by method and reason.
    pub refused: BTreeMap<String, u64>,
    /// Answers that say that we are at fault, and calls that were never answered.
    pub broken: Vec<String>,
}

impl Book {
    /// Takes what is in another.
    pub fn merge(&mut self, other: Self) {
        self.accounts.extend(other.accounts);
        for (what, orders) in other.orders {
            self.orders.entry(what).or_default().extend(orders);
        }
        self.events.extend(other.events);
        self.grants.extend(other.grants);
        self.closed.extend(other.closed);
        self.waits.extend(other.waits);
        self.tries += other.tries;
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
        self.broken.extend(other.broken);
    }
}

/// A user, and what they were told.
pub struct User<'a> {
    world: &'a World,
    owner: &'a str,
    operator: Clients,
    random: Random,
    book: Book,
}

impl<'a> User<'a> {
    /// A user who has done nothing yet.
    pub fn new(world: &'a World, owner: &'a str, random: Random) -> Self {
        Self {
            world,
            owner,
            operator: world.operator(),
            random,
            book: Book::default(),
        }
    }

    /// Lives through one account after another until the campaign ends; gives what they were told.
    pub async fn live(mut self) -> Book {
        while !self.world.is_over() {
            self.journey(true).await;
        }
        self.book
    }

    /// Opens so many accounts that stay open.
    pub async fn settle(mut self, accounts: usize) -> Book {
        for _ in 0..accounts {
            self.journey(false).await;
        }
        self.book
    }

    /// An account from its opening on; if it may be closed in the end, one in three is.
    async fn journey(&mut self, may_close: bool) -> Option<()> {
        let who = self.world.person(self.owner);
        let open = opening(self.owner);
        let to = self.operator.account.clone();
        let opened = self.ask("CreateAccount", async || {
            let mut to = to.clone();
            to.create_account(timed(&open)).await
        });
        let id = opened.await?.account?.account_id;
        self.book.accounts.push(id.clone());
        self.card(&id).await?;
        for _ in 0..2 + self.random.below(5) {
            match self.random.below(10) {
                0..=3 => {
                    let amount = format!("{}.00", 10 + self.random.below(40));
                    self.order("credit", &who, &id, credit(&amount)).await;
                }
                4 => {
                    let code = ["production", "business"][self.random.below(2)];
                    self.order("plan", &who, &id, plan_change(code)).await;
                }
                5 | 6 => self.usage(&id).await,
                7 => self.grant(&id).await,
                8 => {
                    let all = Kind::RefundOrder(account::RefundOrder::default());
                    self.order("refund", &who, &id, all).await;
                }
                _ => {
                    let request = account::GetAccountRequest {
                        account_id: id.clone(),
                        ..account::GetAccountRequest::default()
                    };
                    let to = who.account.clone();
                    let read = self.ask("GetAccount", async || {
                        let mut to = to.clone();
                        to.get_account(timed(&request)).await
                    });
                    read.await;
                }
            }
        }
        if may_close && self.random.below(3) == 0 {
            self.close(&who, &id).await;
        }
        Some(())
    }

    async fn card(&mut self, id: &str) -> Option<()> {
        let card = CARDS[self.random.below(CARDS.len())];
        let request = payments::AddPaymentMethodRequest {
            account_id: id.to_owned(),
            method_code: "CARD".to_owned(),
            // Each is another card, as what a card does depends on what it did.
            provider_token: format!("{card}_{:06x}", self.random.below(1 << 24)),
            default_method: true,
            request_id: request_id(),
            ..payments::AddPaymentMethodRequest::default()
        };
        let to = self.operator.payments.clone();
        let added = self.ask("AddPaymentMethod", async || {
            let mut to = to.clone();
            to.add_payment_method(timed(&request)).await
        });
        added.await.map(drop)
    }

    /// Quotes, confirms and commits an order, and looks at it until it is final or for a while.
    async fn order(
        &mut self,
        what: &'static str,
        who: &Clients,
        id: &str,
        kind: Kind,
    ) -> Option<()> {
        let to = who.account.clone();
        let request = account::CreateOrderRequest {
            account_id: id.to_owned(),
            kind: Some(kind),
            request_id: request_id(),
        };
        let quoted = self.ask("CreateOrder", async || {
            let mut to = to.clone();
            to.create_order(timed(&request)).await
        });
        let mut order = quoted.await?.order?;
        for _ in 0..order.confirmations_required {
            let request = account::ConfirmOrderRequest {
                order_id: order.order_id.clone(),
                request_id: request_id(),
            };
            let confirmed = self.ask("ConfirmOrder", async || {
                let mut to = to.clone();
                to.confirm_order(timed(&request)).await
            });
            confirmed.await?;
        }
        let request = account::CommitOrderRequest {
            order_id: order.order_id.clone(),
            request_id: request_id(),
        };
        let committed = self.ask("CommitOrder", async || {
            let mut to = to.clone();
            to.commit_order(timed(&request)).await
        });
        order = committed.await?.order?;
        let request = account::GetOrderRequest {
            order_id: order.order_id.clone(),
        };
        let (looks, pause) = LOOKS;
        for _ in 0..looks {
            if !matches!(
                order.state(),
                State::AwaitingPayment | State::AwaitingSettlement
            ) {
                break;
            }
            tokio::time::sleep(pause).await;
            let found = self.ask("GetOrder", async || {
                let mut to = to.clone();
                to.get_order(timed(&request)).await
            });
            order = found.await?.order?;
        }
        if order.state() == State::Completed {
            let completed = self.book.orders.entry(what).or_default();
            completed.push(order.order_id);
        } else {
            let how = format!("{what}: {}", order.state().as_str_name());
            *self.book.refused.entry(how).or_default() += 1;
        }
        Some(())
    }

    async fn usage(&mut self, id: &str) {
        let event_id = format!("{:016x}", self.random.draw());
        let event = billing::UsageEvent {
            event_id: event_id.clone(),
            account_id: id.to_owned(),
            category: "sms".to_owned(),
            usage_time: Some(timestamp(self.world.now())),
            quantity: "1".to_owned(),
            price: Some(dollars("0.25")),
            ..billing::UsageEvent::default()
        };
        let request = billing::RecordUsageRequest {
            source: crate::SOURCE.to_owned(),
            events: vec![event],
        };
        let to = self.operator.billing.clone();
        let recorded = self.ask("RecordUsage", async || {
            let mut to = to.clone();
            to.record_usage(timed(&request)).await
        });
        if recorded.await.is_some() {
            self.book.events.push(event_id);
        }
    }

    async fn grant(&mut self, id: &str) {
        let request = billing::GrantCreditRequest {
            account_id: id.to_owned(),
            kind: billing::lot::Kind::Promo.into(),
            amount: Some(dollars("2.00")),
            reason: "a campaign".to_owned(),
            request_id: request_id(),
            ..billing::GrantCreditRequest::default()
        };
        let to = self.operator.billing.clone();
        let granted = self.ask("GrantCredit", async || {
            let mut to = to.clone();
            to.grant_credit(timed(&request)).await
        });
        // What is owed is paid by it first: then there may be nothing left.
        if let Some(lot) = granted.await.and_then(|it| it.lot) {
            self.book.grants.push(lot.lot_id);
        }
    }

    async fn close(&mut self, who: &Clients, id: &str) {
        let request = account::CloseAccountRequest {
            account_id: id.to_owned(),
            option: Way::DeleteAllDataAndSettings.into(),
            acknowledgement_codes: Vec::new(),
            request_id: request_id(),
        };
        let to = who.account.clone();
        let closed = self.ask("CloseAccount", async || {
            let mut to = to.clone();
            to.close_account(timed(&request)).await
        });
        if closed.await.is_some() {
            self.book.closed.push(id.to_owned());
        }
    }

    /// Makes a call again and again until its answer is final; gives it, if it is no refusal.
    async fn ask<T>(
        &mut self,
        method: &'static str,
        call: impl AsyncFn() -> Result<Response<T>, Status>,
    ) -> Option<T> {
        let begun = Instant::now();
        let (mut pause, longest) = PAUSES;
        loop {
            self.book.tries += 1;
            let answer = tokio::time::timeout(PATIENCE, call()).await;
            let late = |_| Err(Status::deadline_exceeded("no answer"));
            match answer.unwrap_or_else(late) {
                Ok(answer) => {
                    self.book.waits.push(begun.elapsed());
                    return Some(answer.into_inner());
                }
                Err(status) if is_fault(&status) => {
                    if self.book.broken.len() < FAULTS {
                        let at = begun.elapsed();
                        self.book
                            .broken
                            .push(format!("{method}, after {at:?}: {status:?}"));
                    }
                    return None;
                }
                Err(status) if is_final(&status) => {
                    self.book.waits.push(begun.elapsed());
                    let reason = status.get_details_error_info().map(|it| it.reason);
                    let refusal = format!("{method}: {}", reason.unwrap_or_default());
                    *self.book.refused.entry(refusal).or_default() += 1;
                    return None;
                }
                Err(status) if self.world.is_over_for(FINAL_WITHIN) => {
                    self.book.broken.push(format!(
                        "{method} has no final answer {FINAL_WITHIN:?} after the campaign: {status:?}"
                    ));
                    return None;
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

/// A message with a deadline.
fn timed<T: Clone>(message: &T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message.clone());
    request.set_timeout(DEADLINE);
    request
}

/// Whether a service says that it is at fault. What this client says itself of a connection that was cut is none of that.
fn is_fault(status: &Status) -> bool {
    let says = status.message() == "internal error" || status.get_details_error_info().is_some();
    says && matches!(
        status.code(),
        Code::Internal | Code::Unknown | Code::DataLoss
    )
}

/// Whether the same call would be answered the same again.
fn is_final(status: &Status) -> bool {
    let later = status.get_details_retry_info();
    let refused = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
    );
    refused && later.is_none_or(|it| it.retry_delay.is_none())
}
