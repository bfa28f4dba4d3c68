//! Random operations against a small model of a balance that shares no code with the engine: whole
//! numbers, a list of lots, and the rules as a reader of the requirements would write them down.

use std::collections::BTreeMap;

use perdiem::connect::{Clients, request_id, timestamp};
use proto::billing::v1 as billing;
use proto::billing::v1::lot::Kind;
use proto::payments::v1 as payments;
use proto::r#type::v1::{Amount, Money};
use tonic::Status;
use uuid::Uuid;

use crate::harness::{Harness, PATIENCE, instant, reason};
use crate::money::cleared;

/// Millionths in a rupee, and in a paisa.
const RUPEE: i128 = 1_000_000;
const PAISA: i128 = 10_000;
const ACCOUNTS: u64 = 10;
const ROUNDS: u64 = 20;
const OPERATIONS: u64 = 50;

/// Numbers that look random and are the same for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn place(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).unwrap();
        usize::try_from(self.roll(length)).unwrap()
    }
}

/// Credit: trial is spent first, then what was given, then what was paid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Lot {
    /// 0 trial, 1 given, 2 paid.
    class: u8,
    /// The day it ends on, far away for none.
    ends: i64,
    /// The day it was made.
    made: i64,
    id: String,
    left: i128,
    /// What was spent of it and may come back.
    spent: i128,
    /// Net and tax in paise of the payment it came by; none for what can't go back.
    paid: Option<(i128, i128)>,
    /// Whether it has ended: what comes back to it is nobody's.
    ended: bool,
}

/// One account as it should be.
struct Model {
    id: String,
    lots: Vec<Lot>,
    owed: i128,
    /// Parts of each message sent, by the id of its event.
    sent: BTreeMap<String, u64>,
    /// Invoices of subscriptions: id, and what is left to credit in paise.
    subscriptions: Vec<(String, i128)>,
    dice: Dice,
    /// Whether it is closed: another takes its place.
    closed: bool,
    /// What was done, for whoever has to find out.
    log: Vec<String>,
    counts: BTreeMap<&'static str, u32>,
}

impl Model {
    fn balance(&self) -> i128 {
        self.lots.iter().map(|lot| lot.left).sum::<i128>() - self.owed
    }

    fn spend(&mut self, mut cost: i128) {
        self.lots.sort();
        for lot in &mut self.lots {
            let pays = lot.left.min(cost);
            lot.left -= pays;
            lot.spent += pays;
            cost -= pays;
        }
        self.owed += cost;
    }

    /// Usage turns out to have cost less: what is owed is less, then the lots spent last have it again; what one had
    /// paid that has ended is lost with it. Gives what none has paid.
    fn unspend(&mut self, sum: i128) -> i128 {
        let mut left = self.receive(sum);
        self.lots.sort();
        for ended in [false, true] {
            for lot in self.lots.iter_mut().rev().filter(|it| it.ended == ended) {
                let back = lot.spent.min(left);
                lot.spent -= back;
                left -= back;
                if !ended {
                    lot.left += back;
                }
            }
        }
        left
    }

    /// Ends lots: nothing is left of them.
    fn end(&mut self, which: impl Fn(&Lot) -> bool) {
        for lot in self.lots.iter_mut().filter(|lot| which(lot)) {
            lot.left = 0;
            lot.ended = true;
        }
    }

    /// Money comes in: what is owed first. Gives what is left for a lot.
    fn receive(&mut self, sum: i128) -> i128 {
        let repays = self.owed.min(sum);
        self.owed -= repays;
        sum - repays
    }

    fn expire(&mut self, today: i64) {
        self.end(|lot| lot.ends <= today);
    }

    /// What a refund gives back, in paise: the sum with tax, and the fee. Takes it from the lots. What no payment brought,
    /// as a correction of usage made it, goes back only when the account `closes`: here nobody records money from
    /// outside (D32).
    fn refund(&mut self, most: Option<i128>, closes: bool) -> Option<(i128, i128)> {
        let mut most = most.unwrap_or(i128::MAX);
        let mut parts = Vec::new();
        let mut order: Vec<usize> = (0..self.lots.len()).collect();
        order.sort_by_key(|at| {
            let lot = &self.lots[*at];
            (lot.made, lot.id.clone())
        });
        let (mut back, mut fee, mut paid_out) = (0, 0, 0);
        for at in order.into_iter().rev() {
            if self.lots[at].class < 2 {
                continue;
            }
            let (net, tax) = match self.lots[at].paid {
                Some(paid) => paid,
                None if closes => (1, 0),
                None => continue,
            };
            let taken = self.lots[at].left.min(most);
            let whole = taken / PAISA;
            let refund = whole * 9_500 / 10_000;
            if refund == 0 {
                continue;
            }
            most -= taken;
            paid_out += refund;
            back += refund + refund * tax / net;
            fee += whole - refund;
            parts.push((at, taken));
        }
        if paid_out < 1_000 * 100 {
            return None;
        }
        for (at, taken) in parts {
            self.lots[at].left -= taken;
        }
        Some((back, fee))
    }
}

/// Who asks.
#[derive(Clone)]
struct Callers {
    operator: Clients,
    seller: Clients,
}

impl Callers {
    async fn get(&self, id: &str) -> billing::GetBalanceResponse {
        let request = billing::GetBalanceRequest {
            read_time: None,
            account_id: id.to_owned(),
        };
        let mut client = self.operator.billing.clone();
        client.get_balance(request).await.unwrap().into_inner()
    }

    async fn use_texts(&self, id: &str, event: &str, parts: u64, at: &str) {
        let event = billing::UsageEvent {
            quantity: parts.to_string(),
            price: None,
            ..crate::harness::event(event, id, at, "0")
        };
        let request = billing::RecordUsageRequest {
            source: "model".to_owned(),
            events: vec![event],
        };
        let mut client = self.operator.billing.clone();
        client.record_usage(request).await.unwrap();
    }

    async fn rent(&self, id: &str, price: i128) -> Result<billing::Rental, Status> {
        let request = billing::StartRentalRequest {
            account_id: id.to_owned(),
            rental: Some(billing::Rental {
                rental_id: format!("RL{}", Uuid::new_v4().simple()),
                kind: billing::rental::Kind::Number.into(),
                code: "landline".to_owned(),
                monthly_price: Some(Amount {
                    currency_code: "INR".to_owned(),
                    amount: format!("{}.{:06}", price / RUPEE, price % RUPEE),
                }),
                ..billing::Rental::default()
            }),
            request_id: request_id(),
            ..billing::StartRentalRequest::default()
        };
        let answer = self.seller.billing.clone().start_rental(request).await?;
        Ok(answer.into_inner().rental.unwrap())
    }

    async fn buy(&self, id: &str, lines: &[(&str, i128)]) -> billing::Collection {
        let request = billing::CollectOrderRequest {
            account_id: id.to_owned(),
            order_id: format!("OR{}", Uuid::new_v4().simple()),
            lines: lines
                .iter()
                .map(|(kind, paise)| billing::CollectionLine {
                    kind: (*kind).to_owned(),
                    amount: Some(inr(*paise)),
                    ..billing::CollectionLine::default()
                })
                .collect(),
            request_id: request_id(),
            ..billing::CollectOrderRequest::default()
        };
        let mut client = self.seller.billing.clone();
        let answer = client.collect_order(request).await.unwrap().into_inner();
        answer.collection.unwrap()
    }
}

fn inr(paise: i128) -> Money {
    Money {
        currency_code: "INR".to_owned(),
        amount: format!("{}.{:02}", paise / 100, paise % 100),
    }
}

fn micros(amount: Option<&Amount>) -> i128 {
    let text = &amount.unwrap().amount;
    text.replace('.', "").parse().unwrap()
}

fn paise(money: Option<&Money>) -> i128 {
    money.unwrap().amount.replace('.', "").parse().unwrap()
}

/// The lots of an answer as the model has them, without what the wire does not show.
fn shown(answer: &billing::GetBalanceResponse) -> Vec<(u8, String, i128)> {
    let mut lots: Vec<_> = answer
        .lots
        .iter()
        .filter(|lot| micros(lot.remaining.as_ref()) != 0)
        .map(|lot| {
            let class = match lot.kind() {
                Kind::Trial => 0,
                Kind::Promo => 1,
                _ => 2,
            };
            (class, lot.lot_id.clone(), micros(lot.remaining.as_ref()))
        })
        .collect();
    lots.sort();
    lots
}

/// One operation on the account and on the model.
async fn operate(model: &mut Model, callers: &Callers, today: i64) {
    const NEVER: i64 = i64::MAX;
    let id = model.id.clone();
    let at = format!("2026-03-{:02}T12:00:00Z", today.min(31));
    let new = |model: &Model, answer: &billing::GetBalanceResponse| -> Option<String> {
        let known: Vec<&String> = model.lots.iter().map(|lot| &lot.id).collect();
        let mut ids = answer.lots.iter().map(|lot| lot.lot_id.clone());
        ids.find(|id| !known.contains(&id))
    };
    let what = match model.dice.roll(100) {
        42..45 => {
            let price = i128::from(1 + model.dice.roll(200_000_000));
            let covered = price <= model.balance();
            let rented = callers.rent(&id, price).await;
            match rented {
                Ok(_) => {
                    assert!(covered);
                    model.spend(price);
                }
                Err(status) => {
                    assert!(!covered, "{status}");
                    assert_eq!(reason(&status), "INSUFFICIENT_CREDIT");
                }
            }
            "rental"
        }
        0..42 => {
            let (event, parts) = (request_id(), model.dice.roll(900));
            callers.use_texts(&id, &event, parts, &at).await;
            model.spend(i128::from(parts) * RUPEE / 5);
            model.sent.insert(event, parts);
            "usage"
        }
        45..52 if !model.sent.is_empty() => {
            let place = model.dice.place(model.sent.len());
            let (event, parts) = model.sent.iter().nth(place).unwrap();
            callers.use_texts(&id, &event.clone(), *parts, &at).await;
            // On another day it is a correction that changes nothing but the day.
            "repetition"
        }
        52..65 if !model.sent.is_empty() => {
            let place = model.dice.place(model.sent.len());
            let (event, old) = model.sent.iter().nth(place).unwrap();
            let (event, old, parts) = (event.clone(), *old, model.dice.roll(900));
            callers.use_texts(&id, &event, parts, &at).await;
            let more = (i128::from(parts) - i128::from(old)) * RUPEE / 5;
            if 0 < more {
                model.spend(more);
            } else {
                let left = model.unspend(-more);
                if 0 < left {
                    let answer = callers.get(&id).await;
                    model.lots.push(Lot {
                        class: 2,
                        ends: NEVER,
                        made: today,
                        id: new(model, &answer).unwrap(),
                        left,
                        spent: 0,
                        paid: None,
                        ended: false,
                    });
                }
            }
            model.sent.insert(event, parts);
            "correction"
        }
        65..77 => {
            let days = i64::try_from(model.dice.roll(12)).unwrap();
            let ends = if days == 0 { NEVER } else { today + days };
            let (kind, class) = if model.dice.roll(4) == 0 {
                (Kind::Trial, 0)
            } else {
                (Kind::Promo, 1)
            };
            let sum = i128::from(1 + model.dice.roll(200_000_000));
            let request = billing::GrantCreditRequest {
                priority: 0,
                account_id: id.clone(),
                kind: kind.into(),
                amount: Some(Amount {
                    currency_code: "INR".to_owned(),
                    amount: format!("{}.{:06}", sum / RUPEE, sum % RUPEE),
                }),
                expire_time: (ends != NEVER)
                    .then(|| timestamp(instant(&format!("2026-03-{ends:02}T12:00:00Z"))))
                    .filter(|_| ends <= 31),
                reason: "model".to_owned(),
                request_id: request_id(),
            };
            let ends = if 31 < ends { NEVER } else { ends };
            let mut client = callers.operator.billing.clone();
            let answer = client.grant_credit(request).await.unwrap().into_inner();
            let left = model.receive(sum);
            assert_eq!(answer.lot.is_some(), 0 < left);
            if let Some(lot) = answer.lot {
                model.lots.push(Lot {
                    class,
                    ends,
                    made: today,
                    id: lot.lot_id,
                    left,
                    spent: 0,
                    paid: None,
                    ended: false,
                });
            }
            "grant"
        }
        77..89 => {
            let net = i128::from(100_000 + model.dice.roll(300_000));
            let subscribes = model.dice.roll(3) == 0;
            let mut lines = vec![("CREDITS", net)];
            if subscribes {
                lines.push(("SUBSCRIPTION", 50_000));
            }
            let bought = callers.buy(&id, &lines).await;
            let all: i128 = lines.iter().map(|(_, sum)| sum).sum();
            // 18 %, half up.
            let tax = (all * 1_800 + 5_000) / 10_000;
            assert_eq!(paise(bought.amount.as_ref()), all + tax);
            model.end(|lot| lot.class == 0);
            let left = model.receive(net * PAISA);
            if 0 < left {
                let answer = callers.get(&id).await;
                model.lots.push(Lot {
                    class: 2,
                    ends: NEVER,
                    made: today,
                    id: new(model, &answer).unwrap(),
                    left,
                    spent: 0,
                    paid: Some((all, tax)),
                    ended: false,
                });
            }
            if subscribes {
                // Its share of the tax, half up.
                let share = (2 * tax * 50_000 + all) / (2 * all);
                model
                    .subscriptions
                    .push((bought.invoice_id, 50_000 + share));
            }
            "purchase"
        }
        89..95 if !model.subscriptions.is_empty() => {
            let place = model.dice.place(model.subscriptions.len());
            let sum = i128::from(1 + model.dice.roll(60_000));
            let (invoice_id, left) = model.subscriptions[place].clone();
            let request = billing::CreateCreditNoteRequest {
                invoice_id,
                amount: Some(inr(sum)),
                reason: "model".to_owned(),
                request_id: request_id(),
                ..billing::CreateCreditNoteRequest::default()
            };
            let mut client = callers.operator.billing.clone();
            let answer = client.create_credit_note(request).await;
            if left < sum {
                assert_eq!(reason(&answer.unwrap_err()), "CREDIT_EXCEEDS_INVOICE");
                "refused credit note"
            } else {
                answer.unwrap();
                model.subscriptions[place].1 -= sum;
                // Net and tax may come as a lot each: their sum is what counts here.
                let answer = callers.get(&id).await;
                let mut left = model.receive(sum * PAISA);
                while 0 < left {
                    let id = new(model, &answer).unwrap();
                    let lot = answer.lots.iter().find(|lot| lot.lot_id == id).unwrap();
                    let part = micros(lot.remaining.as_ref());
                    left -= part;
                    model.lots.push(Lot {
                        class: 1,
                        ends: NEVER,
                        made: today,
                        id,
                        left: part,
                        spent: 0,
                        paid: None,
                        ended: false,
                    });
                }
                assert_eq!(left, 0);
                "credit note"
            }
        }
        _ => {
            let most =
                (model.dice.roll(2) == 0).then(|| i128::from(50_000 + model.dice.roll(400_000)));
            let request = billing::RequestRefundRequest {
                account_id: id.clone(),
                amount: most.map(inr),
                request_id: request_id(),
                ..billing::RequestRefundRequest::default()
            };
            let mut client = callers.seller.billing.clone();
            let answer = client.request_refund(request).await;
            if let Some((back, fee)) = model.refund(most.map(|paise| paise * PAISA), false) {
                let answer: billing::RequestRefundResponse = answer.unwrap().into_inner();
                let sums = (paise(answer.amount.as_ref()), paise(answer.fee.as_ref()));
                assert_eq!(sums, (back, fee));
                "refund"
            } else {
                let status: Status = answer.unwrap_err();
                assert_eq!(reason(&status), "NOTHING_TO_REFUND");
                "refused refund"
            }
        }
    };
    model.log.push(format!("day {today}: {what}"));
    *model.counts.entry(what).or_default() += 1;
    compare(model, callers).await;
}

/// That the account is as the model says.
async fn compare(model: &Model, callers: &Callers) {
    let id = &model.id;
    let answer = callers.get(id).await;
    assert_eq!(
        micros(answer.balance.as_ref()),
        model.balance(),
        "{id}: {:#?}",
        model.log
    );
    assert_eq!(micros(answer.overdraft.as_ref()), model.owed, "{id}");
    let mut lots: Vec<_> = model
        .lots
        .iter()
        .filter(|lot| 0 < lot.left)
        .map(|lot| (lot.class, lot.id.clone(), lot.left))
        .collect();
    lots.sort();
    assert_eq!(shown(&answer), lots, "{id}: {:#?}", model.log);
}

/// Closes the account, or gives the closing up that was prepared; gives whether it is closed.
async fn close(model: &mut Model, callers: &Callers, today: i64) -> bool {
    let second = model.log.len();
    let at = format!(
        "2026-03-{today:02}T11:{:02}:{:02}Z",
        second / 60,
        second % 60
    );
    let close_time = Some(timestamp(instant(&at)));
    let mut client = callers.seller.billing.clone();
    let request = billing::PrepareClosingRequest {
        account_id: model.id.clone(),
        close_time,
        request_id: request_id(),
        ..billing::PrepareClosingRequest::default()
    };
    let told = client.prepare_closing(request).await.unwrap().into_inner();
    // What was given is written off; of what was paid goes back what a refund would give back at any time.
    let given = model.lots.iter().filter(|lot| lot.class < 2);
    let given: i128 = given.map(|lot| lot.left).sum();
    assert_eq!(paise(told.settlement.as_ref()), 0);
    let before = model.lots.clone();
    let back = model.refund(None, true).map_or(0, |(back, _)| back);
    assert_eq!(paise(told.refund.as_ref()), back, "{:#?}", model.log);
    // What can't be paid out of what was paid is written off, too.
    let rest = model.lots.iter().filter(|lot| lot.class == 2);
    let forfeited = given + rest.map(|lot| lot.left).sum::<i128>();
    assert_eq!(micros(told.forfeited.as_ref()), forfeited);
    if model.dice.roll(2) == 0 {
        model.lots = before;
        let request = billing::AbortClosingRequest {
            account_id: model.id.clone(),
            close_time,
            request_id: request_id(),
        };
        client.abort_closing(request).await.unwrap();
        model.log.push(format!("day {today}: closing given up"));
        *model.counts.entry("closing given up").or_default() += 1;
        compare(model, callers).await;
        return false;
    }
    let request = billing::SettleClosingRequest {
        account_id: model.id.clone(),
        request_id: request_id(),
    };
    let done = client.settle_closing(request).await.unwrap().into_inner();
    assert_eq!(paise(done.refund.as_ref()), back);
    assert_eq!(micros(done.forfeited.as_ref()), forfeited);
    model.lots.retain(|lot| lot.class == 2);
    for lot in &mut model.lots {
        lot.left = 0;
    }
    model.log.push(format!("day {today}: closed"));
    *model.counts.entry("closing").or_default() += 1;
    // What is used afterwards is recorded, and nobody pays for it.
    let at = format!("2026-03-{today:02}T12:00:00Z");
    callers.use_texts(&model.id, &request_id(), 500, &at).await;
    compare(model, callers).await;
    true
}

/// Where the ledger does not agree with itself, or with the book of the provider.
async fn reconciled(h: &Harness) -> Vec<String> {
    tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    let mut client = h.operator.billing.clone();
    let request = billing::ReconcileRequest::default();
    let answer = client.reconcile(request).await.unwrap().into_inner();
    answer.differences
}

async fn account(h: &Harness, callers: &Callers, seed: u64) -> Model {
    let id = h.account_of("india", false).await;
    let facts = billing::UpdateAccountFactsRequest {
        account_id: id.clone(),
        country_code: "IN".to_owned(),
        state_code: "MH".to_owned(),
        request_id: request_id(),
        ..billing::UpdateAccountFactsRequest::default()
    };
    let mut client = callers.seller.billing.clone();
    client.update_account_facts(facts).await.unwrap();
    let card = payments::AddPaymentMethodRequest {
        account_id: id.clone(),
        method_code: "CARD".to_owned(),
        provider_token: "tok_ok".to_owned(),
        request_id: request_id(),
        ..payments::AddPaymentMethodRequest::default()
    };
    let mut client = callers.seller.payments.clone();
    client.add_payment_method(card).await.unwrap();
    Model {
        id,
        lots: Vec::new(),
        owed: 0,
        sent: BTreeMap::new(),
        subscriptions: Vec::new(),
        dice: Dice(seed),
        closed: false,
        log: Vec::new(),
        counts: BTreeMap::new(),
    }
}

#[tokio::test]
async fn ten_thousand_random_operations_agree_with_a_model_to_the_last_millionth() {
    let seeds = if std::env::var_os("PERDIEM_FULL").is_some() {
        20
    } else {
        1
    };
    for seed in 1..=seeds {
        let h = Harness::start().await;
        let token = h.suite.keys.service("account-lifecycle").unwrap();
        let callers = Callers {
            operator: h.operator.clone(),
            seller: Clients::new(&h.urls, &token).unwrap(),
        };
        let mut models = Vec::new();
        let mut snapshots = 0;
        for number in 0..ACCOUNTS {
            models.push(account(&h, &callers, seed * 1_000 + number).await);
        }
        let mut today = 1;
        for round in 0..ROUNDS {
            // Accounts do not meet: each does its operations beside the others.
            let working = models.into_iter().map(|mut model| {
                let callers = callers.clone();
                tokio::spawn(async move {
                    for _ in 0..OPERATIONS {
                        operate(&mut model, &callers, today).await;
                    }
                    if model.dice.roll(5) == 0 {
                        model.closed = close(&mut model, &callers, today).await;
                    }
                    model
                })
            });
            let working = futures::future::join_all(working);
            let mut watched = std::pin::pin!(working);
            // The ledger agrees with itself in every snapshot that is taken meanwhile.
            let done = loop {
                tokio::select! {
                    done = &mut watched => break done,
                    differences = reconciled(&h) => {
                        assert_eq!(differences, Vec::<String>::new());
                        snapshots += 1;
                    }
                }
            };
            models = done.into_iter().map(Result::unwrap).collect();
            assert_eq!(reconciled(&h).await, Vec::<String>::new());
            // Refunds that are on their way arrive, and the provider's book is what the ledger says.
            let begun = std::time::Instant::now();
            loop {
                let (clearing, booked) = cleared(&h).await;
                if clearing == booked {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "{clearing}, {booked}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            for model in models.iter_mut().filter(|model| model.closed) {
                let counts = std::mem::take(&mut model.counts);
                let seed = model.dice.roll(u64::MAX);
                *model = account(&h, &callers, seed).await;
                model.counts = counts;
            }
            if round % 2 == 1 {
                today += 1;
                h.advance(&format!("2026-03-{today:02}T12:00:00Z")).await;
                for model in &mut models {
                    model.expire(today);
                }
            }
        }
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for model in &models {
            for (what, count) in &model.counts {
                *counts.entry(what).or_default() += count;
            }
        }
        println!("seed {seed}: {counts:?}, {snapshots} snapshots");
        assert!(ROUNDS <= snapshots);
        let closings = counts["closing"] + counts["closing given up"];
        assert_eq!(counts.values().sum::<u32>(), 10_000 + closings);
        assert!(counts.values().all(|count| 10 <= *count), "{counts:?}");
    }
}
