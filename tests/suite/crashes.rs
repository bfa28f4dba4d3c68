//! Every step of every saga, killed before it, while another service carries it out, and after it; and every step
//! that another service carries out, where that one is away, fails, never answers, or is asked twice. What is left
//! half done ends whole, once, within a minute. The tables of (saga, step, point) are printed with their hits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use perdiem::connect::request_id;
use proto::account::v1 as account;
use proto::account::v1::closing::Option as Way;
use proto::account::v1::create_order_request::Kind;
use proto::account::v1::number_purchase::Purpose;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::plan::v1 as plan;

use crate::between::{Between, Fault};
use crate::closing::{close, closing, consistent, dollars};
use crate::harness::{Harness, persisting};
use crate::money::Shop;
use crate::purchases::whatsapp;
use crate::subscriptions::{approved, bought, get, quote, trial, upgrade};

/// How long a saga may take to end whole, as asked for.
const WHOLE: Duration = Duration::from_mins(1);

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The services that a point lies in, and the points of a saga's steps in them.
type Points = &'static [(&'static str, &'static [&'static str])];

const OPEN: Points = &[
    (
        "account-lifecycle",
        &[
            "account.CreateAccount.step.before",
            "account.CreateAccount.step.after",
            "account.CreateAccount.before",
            "account.CreateAccount.after",
        ],
    ),
    (
        "plan",
        &["plan.OpenAccount.before", "plan.OpenAccount.after"],
    ),
    (
        "billing",
        &["billing.OpenAccount.before", "billing.OpenAccount.after"],
    ),
    (
        "payments",
        &["payments.OpenAccount.before", "payments.OpenAccount.after"],
    ),
];

const UPGRADE: Points = &[
    (
        "account-lifecycle",
        &[
            "account.CommitOrder.step.after",
            "order.asked",
            "order.collected",
            "order.paid",
            "order.in_force",
            "order.ended",
            "account.CommitOrder.after",
        ],
    ),
    (
        "billing",
        &[
            "billing.CollectOrder.step.before",
            "billing.CollectOrder.step.after",
            "billing.CollectOrder.before",
            "billing.CollectOrder.after",
        ],
    ),
    (
        "payments",
        &[
            "payments.CreateCharge.step.before",
            "payments.CreateCharge.step.after",
            "payments.CreateCharge.before",
            "payments.CreateCharge.after",
        ],
    ),
    (
        "plan",
        &["plan.ApplyChange.before", "plan.ApplyChange.after"],
    ),
];

const NUMBER: Points = &[
    (
        "account-lifecycle",
        &[
            "account.CommitOrder.step.after",
            "number.held",
            "number.rented",
            "order.ended",
        ],
    ),
    (
        "billing",
        &["billing.StartRental.before", "billing.StartRental.after"],
    ),
];

const KEPT_NUMBER: Points = &[
    (
        "account-lifecycle",
        &["order.in_force", "upgrade.rented", "order.ended"],
    ),
    (
        "billing",
        &["billing.StartRental.before", "billing.StartRental.after"],
    ),
];

const ADD_ON: Points = &[
    (
        "account-lifecycle",
        &["account.CommitOrder.step.after", "order.ended"],
    ),
    ("plan", &["plan.AddAddOn.before", "plan.AddAddOn.after"]),
    (
        "billing",
        &["billing.StartRental.before", "billing.StartRental.after"],
    ),
];

const REFUND: Points = &[
    (
        "account-lifecycle",
        &["account.CommitOrder.step.after", "order.ended"],
    ),
    (
        "billing",
        &[
            "billing.RequestRefund.step.before",
            "billing.RequestRefund.step.after",
            "billing.RequestRefund.before",
            "billing.RequestRefund.after",
        ],
    ),
    (
        "payments",
        &[
            "payments.CreateRefund.step.before",
            "payments.CreateRefund.step.after",
            "payments.CreateRefund.before",
            "payments.CreateRefund.after",
        ],
    ),
];

const CLOSE: Points = &[
    (
        "account-lifecycle",
        &[
            "account.CloseAccount.step.after",
            "close.prepared",
            "close.ending",
            "close.plans_ended",
            "close.closed",
            "close.recorded",
            "close.settled",
            "close.told",
            "close.done",
        ],
    ),
    (
        "billing",
        &[
            "billing.PrepareClosing.before",
            "billing.PrepareClosing.after",
            "billing.RecordClosing.step.before",
            "billing.RecordClosing.step.after",
            "billing.RecordClosing.before",
            "billing.RecordClosing.after",
            "billing.SettleClosing.step.before",
            "billing.SettleClosing.step.after",
            "billing.SettleClosing.after",
        ],
    ),
    (
        "payments",
        &[
            "payments.CreateRefund.step.before",
            "payments.CreateRefund.step.after",
            "payments.CreateRefund.before",
            "payments.CreateRefund.after",
        ],
    ),
    (
        "plan",
        &["plan.CloseAccount.before", "plan.CloseAccount.after"],
    ),
];

const SOFT_CLOSE: Points = &[
    (
        "account-lifecycle",
        &[
            "account.CloseAccount.step.before",
            "account.CloseAccount.step.after",
            "soft_close.dormant",
            "soft_close.ended",
            "account.CloseAccount.before",
            "account.CloseAccount.after",
        ],
    ),
    (
        "plan",
        &[
            "plan.CancelSubscription.before",
            "plan.CancelSubscription.after",
            "plan.RemoveAddOn.before",
            "plan.RemoveAddOn.after",
        ],
    ),
    (
        "billing",
        &["billing.EndRental.before", "billing.EndRental.after"],
    ),
];

const ERASE: Points = &[
    (
        "account-lifecycle",
        &["erase.taken", "erase.elsewhere", "erase.done"],
    ),
    (
        "plan",
        &["plan.EraseAccount.before", "plan.EraseAccount.after"],
    ),
    (
        "billing",
        &["billing.EraseAccount.before", "billing.EraseAccount.after"],
    ),
    (
        "payments",
        &[
            "payments.EraseAccount.before",
            "payments.EraseAccount.after",
        ],
    ),
];

/// A saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saga {
    Open,
    Upgrade,
    Number,
    /// An upgrade of a trial that has a number.
    KeptNumber,
    AddOn,
    Refund,
    Close,
    SoftClose,
    Erase,
}

/// An account that is ready for its saga; none where the saga opens it.
struct Ready {
    saga: Saga,
    id: String,
    asks: Asks,
}

/// What begins a saga.
enum Asks {
    Open(account::CreateAccountRequest),
    Order(account::CommitOrderRequest),
    Close,
    SoftClose(account::CloseAccountRequest),
    Time(DateTime<Utc>),
}

impl Saga {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Upgrade => "UPGRADE",
            Self::Number => "NUMBER",
            Self::KeptNumber => "KEPT",
            Self::AddOn => "ADD_ON",
            Self::Refund => "REFUND",
            Self::Close => "CLOSE",
            Self::SoftClose => "SOFT_CLOSE",
            Self::Erase => "ERASE",
        }
    }

    const fn points(self) -> Points {
        match self {
            Self::Open => OPEN,
            Self::Upgrade => UPGRADE,
            Self::Number => NUMBER,
            Self::KeptNumber => KEPT_NUMBER,
            Self::AddOn => ADD_ON,
            Self::Refund => REFUND,
            Self::Close => CLOSE,
            Self::SoftClose => SOFT_CLOSE,
            Self::Erase => ERASE,
        }
    }

    /// The steps that another service carries out.
    const fn remote(self) -> &'static [&'static str] {
        match self {
            Self::Open => &[
                "plan.OpenAccount",
                "billing.OpenAccount",
                "payments.OpenAccount",
            ],
            Self::Upgrade => &[
                "billing.CollectOrder",
                "payments.CreateCharge",
                "plan.ApplyChange",
            ],
            Self::Number | Self::KeptNumber => &["billing.StartRental"],
            Self::AddOn => &["plan.AddAddOn", "billing.StartRental"],
            Self::Refund => &["billing.RequestRefund", "payments.CreateRefund"],
            Self::Close => &[
                "billing.PrepareClosing",
                "plan.CloseAccount",
                "billing.RecordClosing",
                "billing.SettleClosing",
                "payments.CreateRefund",
            ],
            Self::SoftClose => &[
                "plan.CancelSubscription",
                "plan.RemoveAddOn",
                "billing.EndRental",
            ],
            Self::Erase => &[
                "plan.EraseAccount",
                "billing.EraseAccount",
                "payments.EraseAccount",
            ],
        }
    }

    async fn ready(self, shop: &Shop) -> Ready {
        let h = &shop.h;
        let id = match self {
            Self::Open => String::new(),
            Self::Upgrade
            | Self::Number
            | Self::KeptNumber
            | Self::AddOn
            | Self::Refund
            | Self::SoftClose => trial(shop, "tok_ok").await,
            Self::Close | Self::Erase => h.account().await,
        };
        let asks = match self {
            Self::Open => Asks::Open(account::CreateAccountRequest {
                profile_code: "india".to_owned(),
                display_name: "A trial".to_owned(),
                owner_user_id: h.owner.clone(),
                request_id: request_id(),
                ..account::CreateAccountRequest::default()
            }),
            Self::Upgrade => {
                approved(h, &id).await;
                Asks::Order(confirmed(h, &id, starter()).await)
            }
            Self::KeptNumber => {
                approved(h, &id).await;
                let own = number(Purpose::Trial);
                bought(h, &h.customer(), &id, own).await.unwrap();
                Asks::Order(confirmed(h, &id, starter()).await)
            }
            Self::Number | Self::AddOn | Self::Refund => {
                approved(h, &id).await;
                // Of 1,000.00 less than the least sum would go back.
                let first = if self == Self::Refund {
                    Kind::Upgrade(upgrade("starter", "MONTHLY", "2000.00"))
                } else {
                    starter()
                };
                bought(h, &h.customer(), &id, first).await.unwrap();
                let kind = if self == Self::Number {
                    number(Purpose::Production)
                } else if self == Self::AddOn {
                    whatsapp()
                } else {
                    Kind::RefundOrder(account::RefundOrder::default())
                };
                Asks::Order(confirmed(h, &id, kind).await)
            }
            Self::Close => {
                shop.card(&id, "tok_ok").await;
                let purchase = account::CreditPurchase {
                    amount: dollars("80.00"),
                    payment_method_id: String::new(),
                };
                let kind = Kind::CreditPurchase(purchase);
                bought(h, &h.customer(), &id, kind).await.unwrap();
                Asks::Close
            }
            Self::SoftClose => {
                approved(h, &id).await;
                let first = Kind::Upgrade(upgrade("starter", "MONTHLY", "3000.00"));
                for kind in [first, number(Purpose::Production), whatsapp()] {
                    bought(h, &h.customer(), &id, kind).await.unwrap();
                }
                Asks::SoftClose(closing(&id, Way::KeepAccountData))
            }
            Self::Erase => {
                // The clock has jumped over a month, whose run may be under way.
                let customer = h.customer();
                persisting(|| close(&customer, &id)).await.unwrap();
                let now = perdiem::clock::now(&h.urls).await.unwrap();
                Asks::Time(now + chrono::TimeDelta::days(31))
            }
        };
        Ready {
            saga: self,
            id,
            asks,
        }
    }

    /// Kills a service at each point of the saga.
    async fn killed_at_each_point(self) {
        let mut shop = Shop::start_with(&[("LEASE_SECONDS", "1")]).await;
        let mut hits: BTreeMap<&str, u32> = BTreeMap::new();
        for (service, points) in self.points() {
            for point in *points {
                let ready = self.ready(&shop).await;
                restart(&mut shop, service, point).await;
                ready.begin(&shop.h).await;
                let begun = Instant::now();
                while !shop.h.suite.has_ended(service) {
                    assert!(begun.elapsed() < WHOLE, "{point} was not reached");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                *hits.entry(*point).or_default() += 1;
                restart(&mut shop, service, "").await;
                ready.whole(&shop.h, point).await;
            }
        }
        self.consistent(&shop.h, hits.len()).await;
        for (service, points) in self.points() {
            for point in *points {
                let hits = hits.get(point).copied();
                println!(
                    "{:<8} {service:<18} {point:<34} {}",
                    self.name(),
                    hits.unwrap_or(0)
                );
                assert_eq!(hits, Some(1), "{point}");
            }
        }
    }

    /// Spoils each step of the saga that another service carries out, in each way.
    async fn spoiled_at_each_step(self) {
        let between = Between::start();
        let url = between.url.as_str();
        let environment = [
            ("LEASE_SECONDS", "1"),
            ("DEADLINE_SECONDS", "3"),
            ("PLAN_URL", url),
            ("BILLING_URL", url),
            ("PAYMENTS_URL", url),
        ];
        let shop = Shop::start_with(&environment).await;
        between.to(shop.h.urls.clone());
        let mut cells = 0;
        for method in self.remote() {
            for fault in Fault::ALL {
                let ready = self.ready(&shop).await;
                between.spoil(method, fault);
                ready.begin(&shop.h).await;
                let at = format!("{method} {fault:?}");
                until(&at, async || (0 < between.hits()).then_some(())).await;
                ready.whole(&shop.h, &at).await;
                println!("{:<8} {at:<40} {}", self.name(), between.hits());
                assert_eq!(between.hits(), fault.calls(), "{at}");
                cells += 1;
            }
        }
        self.consistent(&shop.h, cells).await;
    }

    /// What holds of all accounts after `sagas` of them.
    async fn consistent(self, h: &Harness, sagas: usize) {
        let once = match self {
            Self::Open => "SELECT count(*) FROM account.accounts",
            Self::Erase => {
                "SELECT count(*) FROM account.transitions WHERE transition_code = 'ERASED'"
            }
            Self::AddOn => "SELECT count(*) FROM billing.rentals WHERE kind = 'ADD_ON'",
            Self::KeptNumber => {
                "SELECT count(*) FROM billing.rentals JOIN account.resources ON resource_id = rental_id AND rented"
            }
            Self::SoftClose => {
                "SELECT count(*) FROM account.transitions WHERE transition_code = 'SOFT_CLOSED'"
            }
            Self::Upgrade | Self::Number | Self::Refund | Self::Close => {
                return consistent(h).await;
            }
        };
        assert_eq!(h.count(once).await, i64::try_from(sagas).unwrap());
        consistent(h).await;
    }
}

impl Ready {
    /// Begins the saga, whatever is answered.
    async fn begin(&self, h: &Harness) {
        let (who, id) = (h.customer(), self.id.clone());
        match &self.asks {
            Asks::Open(create) => {
                let mut request = tonic::Request::new(create.clone());
                request.set_timeout(PATIENCE);
                // A person opens three; here there are more.
                let mut client = h.operator.account.clone();
                tokio::spawn(async move { client.create_account(request).await });
            }
            Asks::Order(commit) => {
                let mut request = tonic::Request::new(commit.clone());
                request.set_timeout(PATIENCE);
                tokio::spawn(async move { who.account.clone().commit_order(request).await });
            }
            Asks::Close => {
                tokio::spawn(async move { tokio::time::timeout(PATIENCE, close(&who, &id)).await });
            }
            Asks::SoftClose(close) => {
                let mut request = tonic::Request::new(close.clone());
                request.set_timeout(PATIENCE);
                tokio::spawn(async move { who.account.clone().close_account(request).await });
            }
            Asks::Time(due) => {
                // What an earlier erasure repeats may have ended the service already.
                let _ = perdiem::clock::set(&h.urls, *due).await;
            }
        }
    }

    /// Waits until the saga has ended, as its caller would who asks again, and looks whether it did so whole.
    async fn whole(&self, h: &Harness, at: &str) {
        match &self.asks {
            Asks::Open(create) => opened(h, create, at).await,
            Asks::Order(commit) => {
                let order = committed(h, commit, at).await;
                match self.saga {
                    Saga::Upgrade => upgraded(h, &self.id, at).await,
                    Saga::KeptNumber => keeps_its_number(h, &self.id, at).await,
                    Saga::Number => has_its_number(h, &self.id, &order.resource_id, at).await,
                    Saga::AddOn => assert_eq!(h.balance(&self.id).await, "1.000000", "{at}"),
                    Saga::Open | Saga::Refund | Saga::Close | Saga::SoftClose | Saga::Erase => {
                        refunded(h, &self.id, at).await;
                    }
                }
            }
            Asks::Close => closed(h, &self.id, at).await,
            Asks::SoftClose(close) => softly_closed(h, close, at).await,
            Asks::Time(due) => {
                perdiem::clock::set(&h.urls, *due).await.unwrap();
                erased(h, &self.id, at).await;
            }
        }
    }
}

fn starter() -> Kind {
    Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"))
}

fn number(purpose: Purpose) -> Kind {
    Kind::NumberPurchase(account::NumberPurchase {
        purpose: purpose.into(),
        number_type_code: "landline".to_owned(),
        country_code: "IN".to_owned(),
        number: String::new(),
    })
}

/// Starts a service anew, to crash at a point, or nowhere.
async fn restart(shop: &mut Shop, service: &str, point: &str) {
    let suite = &mut shop.h.suite;
    suite.kill(service).await;
    let at = [("CRASH_AT", point.to_owned())];
    suite.spawn(service, &at).unwrap();
    suite.wait_for(service).await.unwrap();
}

/// Asks until it is done, as a caller does who is told that the service is away.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(done) = ask().await {
            return done;
        }
        assert!(begun.elapsed() < WHOLE, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// An order that is quoted and confirmed, and what commits it.
async fn confirmed(h: &Harness, id: &str, kind: Kind) -> account::CommitOrderRequest {
    let who = h.customer();
    let order = quote(&who, id, kind).await.unwrap();
    h.confirm(&who, &order).await.unwrap();
    account::CommitOrderRequest {
        order_id: order.order_id,
        request_id: request_id(),
    }
}

/// Commits until the order is completed, with one request id; gives the order.
async fn committed(h: &Harness, request: &account::CommitOrderRequest, at: &str) -> account::Order {
    let who = h.customer();
    until(at, async || {
        let answer = who.account.clone().commit_order(request.clone()).await;
        let order = answer.ok()?.into_inner().order?;
        if order.state() == account::order::State::Completed {
            return Some(order);
        }
        let request = account::GetOrderRequest {
            order_id: order.order_id,
        };
        let order = who.account.clone().get_order(request).await.ok()?;
        let order = order.into_inner().order?;
        (order.state() == account::order::State::Completed).then_some(order)
    })
    .await
}

async fn opened(h: &Harness, create: &account::CreateAccountRequest, at: &str) {
    let who = &h.operator;
    let made = until(at, async || {
        let made = who.account.clone().create_account(create.clone()).await;
        made.ok()?.into_inner().account
    })
    .await;
    let id = made.account_id;
    assert_eq!(
        get(h, &id).await.status(),
        account::account::Status::Active,
        "{at}"
    );
    assert_eq!(h.balance(&id).await, "500.000000", "{at}");
}

async fn upgraded(h: &Harness, id: &str, at: &str) {
    assert_eq!(
        get(h, id).await.r#type(),
        account::account::Type::Full,
        "{at}"
    );
    let charges = payments::ListChargesRequest {
        account_id: id.to_owned(),
        ..payments::ListChargesRequest::default()
    };
    let charges = h.operator.payments.clone().list_charges(charges).await;
    assert_eq!(charges.unwrap().into_inner().charges.len(), 1, "{at}");
    assert_eq!(h.invoices(id).await.len(), 1, "{at}");
    assert_eq!(h.balance(id).await, "1000.000000", "{at}");
}

async fn has_its_number(h: &Harness, id: &str, number: &str, at: &str) {
    let request = account::ListResourcesRequest {
        account_id: id.to_owned(),
        kind_code: "PHONE_NUMBER".to_owned(),
        ..account::ListResourcesRequest::default()
    };
    let held = h.customer().account.list_resources(request).await.unwrap();
    let held = held.into_inner().resources;
    assert_eq!(held.len(), 1, "{at}");
    assert_eq!(held[0].resource_id, number, "{at}");
    assert_eq!(h.balance(id).await, "500.000000", "{at}");
}

/// In force and paid once, with the number of the trial rented once.
async fn keeps_its_number(h: &Harness, id: &str, at: &str) {
    let full = account::account::Type::Full;
    assert_eq!(get(h, id).await.r#type(), full, "{at}");
    assert_eq!(h.invoices(id).await.len(), 1, "{at}");
    assert_eq!(h.balance(id).await, "500.000000", "{at}");
    assert_eq!(going_on(h, id).await, (1, 0, 1), "{at}");
}

async fn closed(h: &Harness, id: &str, at: &str) {
    let who = h.customer();
    let begun = Instant::now();
    let closed = loop {
        let answer = close(&who, id).await;
        if let Ok(closed) = &answer
            && closed.status() == account::account::Status::Closed
        {
            break closed.clone();
        }
        assert!(begun.elapsed() < WHOLE, "{at}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let how = closed.closing.unwrap();
    assert_eq!(how.refund_amount, dollars("80.00"), "{at}");
    refunded(h, id, at).await;
}

/// All credit is paid out, by one refund.
async fn refunded(h: &Harness, id: &str, at: &str) {
    until(at, async || {
        let request = payments::ListRefundsRequest {
            account_id: id.to_owned(),
            ..payments::ListRefundsRequest::default()
        };
        let found = h.operator.payments.clone().list_refunds(request).await;
        let found = found.ok()?.into_inner().refunds;
        assert!(found.len() <= 1, "{at}");
        let paid = payments::MovementState::Succeeded;
        (found.first()?.state() == paid).then_some(())
    })
    .await;
    assert_eq!(h.balance(id).await, "0.000000", "{at}");
}

/// Dormant with nothing that goes on, or normal with all of it: which is asked for again, and only then. What was begun
/// ends without being asked for.
async fn softly_closed(h: &Harness, close: &account::CloseAccountRequest, at: &str) {
    let who = h.customer();
    let id = close.account_id.as_str();
    // The next account has its own: what is counted below is of one.
    if get(h, id).await.mode() == account::account::Mode::Normal {
        assert_eq!(going_on(h, id).await, (2, 1, 1), "{at}");
        let again = async || who.account.clone().close_account(close.clone()).await.ok();
        until(at, again).await;
    }
    until(at, async || {
        (going_on(h, id).await == (0, 0, 0)).then_some(())
    })
    .await;
    let left = "SELECT count(*) FROM account.accounts WHERE soft_close_by_operator IS NOT NULL";
    until(at, async || (h.count(left).await == 0).then_some(())).await;
    // Whoever asks again hears that it is done.
    let again = async || who.account.clone().close_account(close.clone()).await.ok();
    let told = until(at, again).await.into_inner().account.unwrap();
    assert_eq!(told.mode(), account::account::Mode::Dormant, "{at}");
}

/// What an account has going on: rentals, numbers, and plans that are renewed.
async fn going_on(h: &Harness, id: &str) -> (usize, usize, usize) {
    let request = billing::ListRentalsRequest {
        account_id: id.to_owned(),
        ..billing::ListRentalsRequest::default()
    };
    let rentals = h.operator.billing.clone().list_rentals(request).await;
    let rentals = rentals.unwrap().into_inner().rentals;
    let request = account::ListResourcesRequest {
        account_id: id.to_owned(),
        kind_code: "PHONE_NUMBER".to_owned(),
        ..account::ListResourcesRequest::default()
    };
    let numbers = h.operator.account.clone().list_resources(request).await;
    let request = plan::ListSegmentsRequest {
        account_id: id.to_owned(),
        family_code: "PLATFORM".to_owned(),
    };
    let segments = h.operator.plan.clone().list_segments(request).await;
    let segments = segments.unwrap().into_inner().segments;
    (
        rentals.iter().filter(|it| it.end_time.is_none()).count(),
        numbers.unwrap().into_inner().resources.len(),
        segments.iter().filter(|it| it.end_time.is_none()).count(),
    )
}

async fn erased(h: &Harness, id: &str, at: &str) {
    let who = h.customer();
    let told = until(at, async || {
        let request = account::GetDeletionReceiptRequest {
            account_id: id.to_owned(),
        };
        let told = who.account.clone().get_deletion_receipt(request).await;
        told.ok()?.into_inner().deletion_receipt
    })
    .await;
    assert_eq!(told.parts.len(), 4, "{at}");
    assert_eq!(get(h, id).await.display_name, "", "{at}");
}

#[tokio::test]
async fn an_account_whose_opening_is_killed_at_any_step_is_opened_once() {
    Saga::Open.killed_at_each_point().await;
}

#[tokio::test]
async fn an_account_whose_opening_is_spoiled_at_any_step_is_opened_once() {
    Saga::Open.spoiled_at_each_step().await;
}

#[tokio::test]
async fn an_upgrade_killed_at_any_step_is_paid_once_and_in_force() {
    Saga::Upgrade.killed_at_each_point().await;
}

#[tokio::test]
async fn an_upgrade_spoiled_at_any_step_is_paid_once_and_in_force() {
    Saga::Upgrade.spoiled_at_each_step().await;
}

#[tokio::test]
async fn a_number_bought_by_a_process_that_is_killed_is_held_once_and_paid_once() {
    Saga::Number.killed_at_each_point().await;
}

#[tokio::test]
async fn a_number_whose_rental_is_spoiled_is_held_once_and_paid_once() {
    Saga::Number.spoiled_at_each_step().await;
}

#[tokio::test]
async fn an_upgrade_killed_at_any_step_rents_the_number_of_its_trial_once() {
    Saga::KeptNumber.killed_at_each_point().await;
}

#[tokio::test]
async fn an_upgrade_whose_rental_is_spoiled_rents_the_number_of_its_trial_once() {
    Saga::KeptNumber.spoiled_at_each_step().await;
}

#[tokio::test]
async fn an_add_on_killed_at_any_step_is_booked_once_and_paid_once() {
    Saga::AddOn.killed_at_each_point().await;
}

#[tokio::test]
async fn an_add_on_spoiled_at_any_step_is_booked_once_and_paid_once() {
    Saga::AddOn.spoiled_at_each_step().await;
}

#[tokio::test]
async fn a_refund_killed_at_any_step_is_paid_out_once() {
    Saga::Refund.killed_at_each_point().await;
}

#[tokio::test]
async fn a_refund_spoiled_at_any_step_is_paid_out_once() {
    Saga::Refund.spoiled_at_each_step().await;
}

#[tokio::test]
async fn a_closing_killed_at_any_step_closes_and_refunds_once() {
    Saga::Close.killed_at_each_point().await;
}

#[tokio::test]
async fn a_closing_spoiled_at_any_step_closes_and_refunds_once() {
    Saga::Close.spoiled_at_each_step().await;
}

#[tokio::test]
async fn a_soft_close_killed_at_any_step_ends_all_that_goes_on_or_nothing() {
    Saga::SoftClose.killed_at_each_point().await;
}

#[tokio::test]
async fn a_soft_close_spoiled_at_any_step_ends_all_that_goes_on_or_nothing() {
    Saga::SoftClose.spoiled_at_each_step().await;
}

#[tokio::test]
async fn a_deletion_killed_at_any_step_ends_with_one_receipt() {
    Saga::Erase.killed_at_each_point().await;
}

#[tokio::test]
async fn a_deletion_spoiled_at_any_step_ends_with_one_receipt() {
    Saga::Erase.spoiled_at_each_step().await;
}
