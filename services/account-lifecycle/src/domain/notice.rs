//! Customer mail: the kinds of notifications, and what each says.
//!
//! The texts are the files in `templates/`; their README says how they are written. What a notification stores are facts,
//! such as a time in UTC and a reason's code. They are written for people here: amounts as money, times in the zone of the
//! account, reasons in words.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use minijinja::{Environment, UndefinedBehavior, Value};
use thiserror::Error;
use values::{Amount, Currency, Money, Rounding, Zone};

/// One fact of a notification: its name, such as `refund_amount`, and its value.
pub type Fact = (&'static str, String);

/// The text around every body.
const FRAME_TEXT: &str = include_str!("../../templates/frame.txt");
/// The HTML part of every mail.
const FRAME_HTML: &str = include_str!("../../templates/frame.html");
/// The words for reasons: lines of "CODE = words".
const REASONS: &str = include_str!("../../templates/reasons.txt");

/// How a fact is written for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A currency and a decimal: "INR 11800.00" is written "₹11,800.00".
    Money,
    /// An ISO 8601 date: "2026-05-15" is written "15 May 2026".
    Day,
    /// An RFC 3339 time, written in the zone of the account. Its date alone is a second value: `close_date` of
    /// `close_time`.
    Instant,
    /// A plan's code: its name in the catalogue.
    Plan,
    /// The code of why a payment failed: its words in `reasons.txt`.
    Reason,
    /// Any number of facts of one name, each a description, a comma and an amount. The value is their list, with an `s`
    /// after the name: `lines` of `line`.
    Lines,
    /// As it is.
    Text,
}

/// What one kind says, and of what.
#[derive(Clone, Copy)]
struct About {
    /// The kind's code.
    code: &'static str,
    /// Its subject and body.
    template: &'static str,
    /// The names of its facts, how each is written, and whether it is always given.
    facts: &'static [(&'static str, Form, bool)],
}

/// Declares the kinds: each with its code, which names its template, the facts that it always has, and those that it may
/// have. A kind without a template does not compile.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident = $code:literal
        has { $($name:ident: $form:ident),* } may_have { $($other:ident: $other_form:ident),* };)+) => {
        /// What a notification is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])+ $kind,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            const fn about(self) -> About {
                match self {
                    $(Self::$kind => About {
                        code: $code,
                        template: include_str!(concat!("../../templates/", $code, ".txt")),
                        facts: &[
                            $((stringify!($name), Form::$form, true),)*
                            $((stringify!($other), Form::$other_form, false),)*
                        ],
                    },)+
                }
            }
        }
    };
}

kinds! {
    /// The account has been closed.
    AccountClosed = "ACCOUNT_CLOSED"
        has { close_time: Instant, settlement_amount: Money, refund_amount: Money, purge_time: Instant }
        may_have { refund_due_date: Day, forfeited_amount: Money };
    /// Auto-recharge has been turned off.
    AutoRechargeOff = "AUTO_RECHARGE_OFF"
        has { reason: Reason } may_have {};
    /// Auto-recharge is paused after several charges within an hour.
    AutoRechargePaused = "AUTO_RECHARGE_PAUSED"
        has { pause_end_time: Instant } may_have {};
    /// The balance is used up.
    BalanceEmpty = "BALANCE_EMPTY"
        has { balance: Money } may_have {};
    /// The balance fell below the level of notification.
    BalanceLow = "BALANCE_LOW"
        has { balance: Money } may_have {};
    /// A payment is disputed: its bank withholds it.
    ChargebackOpened = "CHARGEBACK_OPENED"
        has { amount: Money } may_have { evidence_due_time: Instant, credit_amount: Money };
    /// A disputed payment was lost to its payer.
    ChargebackLost = "CHARGEBACK_LOST"
        has { amount: Money } may_have { credit_amount: Money };
    /// A disputed payment stands.
    ChargebackWon = "CHARGEBACK_WON"
        has { amount: Money } may_have { credit_amount: Money };
    /// Paid credit of an account without a paid plan expires soon.
    CreditExpiring = "CREDIT_EXPIRING"
        has { credit_expire_time: Instant } may_have {};
    /// The e-mail address of a login was changed: for the former address.
    EmailChanged = "EMAIL_CHANGED"
        has { change_time: Instant } may_have {};
    /// A new e-mail address of a login is to be confirmed: for the new address. The code and its expiry are not stored as
    /// facts.
    EmailConfirm = "EMAIL_CONFIRM"
        has { code: Text, code_expire_time: Instant } may_have {};
    /// An open invoice was issued.
    InvoiceIssued = "INVOICE_ISSUED"
        has { invoice_number: Text, amount_due: Money } may_have { due_date: Day, reason: Reason };
    /// An invoice is overdue.
    InvoiceOverdue = "INVOICE_OVERDUE"
        has { invoice_number: Text, amount_due: Money } may_have { due_date: Day, reason: Reason };
    /// A KYC submission was decided, needs more information, or lost its approval.
    KycReviewed = "KYC_REVIEWED"
        has { state: Text } may_have { reason: Text };
    /// A KYC submission was received.
    KycSubmitted = "KYC_SUBMITTED"
        has { review_due_date: Day } may_have {};
    /// The account is limited.
    Limited = "LIMITED"
        has { reason: Text } may_have { credit_expire_time: Instant };
    /// The numbers of the account are released soon.
    NumbersAtRisk = "NUMBERS_AT_RISK"
        has { release_time: Instant } may_have {};
    /// The numbers of the account were released.
    NumbersReleased = "NUMBERS_RELEASED"
        has { release_time: Instant } may_have {};
    /// A payment of an open invoice was received.
    PaymentReceived = "PAYMENT_RECEIVED"
        has { invoice_number: Text, amount: Money } may_have { amount_due: Money };
    /// The plan ends soon.
    PlanEnding = "PLAN_ENDING"
        has { plan_end_time: Instant } may_have {};
    /// The payment of a renewal failed: it is tried again, or the plan has ended.
    RenewalFailed = "RENEWAL_FAILED"
        has { reason: Reason } may_have { next_attempt_time: Instant, plan_end_time: Instant };
    /// The trial ends soon.
    TrialEnding = "TRIAL_ENDING"
        has { trial_end_time: Instant } may_have {};
    /// An upgrade is complete.
    Upgraded = "UPGRADED"
        has { plan: Plan } may_have { invoice_number: Text, line: Lines, total: Money };
    /// A number that is added to the whitelist is verified. The code and its expiry are not stored as facts.
    WhitelistCode = "WHITELIST_CODE"
        has { number: Text, code: Text, code_expire_time: Instant } may_have {};
}

impl Kind {
    /// Its code as stored, such as `ACCOUNT_CLOSED`.
    pub const fn as_str(self) -> &'static str {
        self.about().code
    }

    /// The templates of its subject and its body.
    fn parts(self) -> (&'static str, &'static str) {
        let template = self.about().template;
        let (first, body) = template.split_once('\n').unwrap_or((template, ""));
        (first.strip_prefix("Subject: ").unwrap_or(first), body)
    }

    /// The name of its template, for errors.
    fn file(self) -> String {
        format!("{}.txt", self.as_str())
    }
}

/// The account that a mail is about, as far as its words depend on it.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The account's id; empty where the mail is about a login.
    pub account_id: String,
    /// The name that the customer gave it; may be empty.
    pub account_name: String,
    /// The zone that times are written in.
    pub zone: Zone,
    /// Names of plans by their codes.
    pub plans: BTreeMap<String, String>,
}

impl Reader {
    /// The reader of a mail about a login, which is of no account: its times are written in UTC.
    pub const fn of_login() -> Self {
        Self {
            account_id: String::new(),
            account_name: String::new(),
            zone: Zone::UTC,
            plans: BTreeMap::new(),
        }
    }
}

/// A mail as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its subject.
    pub subject: String,
    /// Its plain text.
    pub text: String,
    /// The same as HTML; `None` for a text message.
    pub html: Option<String>,
}

/// Why a notification can't be written as a mail.
#[derive(Debug, Error)]
pub enum NotWritten {
    /// A fact is not what its kind says.
    #[error("{fact} of {kind} is malformed")]
    Fact {
        /// The kind's code.
        kind: &'static str,
        /// The fact's name.
        fact: &'static str,
    },
    /// A template is malformed, or names a value that is not given.
    #[error("the template can't be rendered: {0}")]
    Template(#[from] minijinja::Error),
}

/// The subject of a notification.
///
/// # Errors
/// `NotWritten`.
pub fn subject(kind: Kind, reader: &Reader, facts: &[(&str, &str)]) -> Result<String, NotWritten> {
    let (subject, _) = kind.parts();
    let values = variables(kind, reader, facts)?;
    Ok(rendered(&kind.file(), subject, values)?)
}

/// The mail of a notification.
///
/// # Errors
/// `NotWritten`.
pub fn mail(kind: Kind, reader: &Reader, facts: &[(&str, &str)]) -> Result<Mail, NotWritten> {
    let (subject, body) = kind.parts();
    let mut values = variables(kind, reader, facts)?;
    let subject = rendered(&kind.file(), subject, values.clone())?;
    let body = rendered(&kind.file(), body, values.clone())?;
    // A gateway sends it on as a text message.
    if kind == Kind::WhitelistCode {
        return Ok(Mail {
            subject,
            text: format!("{}\n", body.trim()),
            html: None,
        });
    }
    values.insert("body".to_owned(), Value::from(body));
    let paragraphs = paragraphs(&rendered("frame.txt", FRAME_TEXT, values)?);
    let text: Vec<String> = paragraphs.iter().map(Paragraph::text).collect();
    let shown: Vec<Value> = paragraphs.iter().map(Paragraph::value).collect();
    let page = BTreeMap::from([
        ("subject".to_owned(), Value::from(subject.as_str())),
        ("paragraphs".to_owned(), Value::from(shown)),
    ]);
    let html = rendered("frame.html", FRAME_HTML, page)?;
    Ok(Mail {
        subject,
        text: format!("{}\n", text.join("\n\n")),
        html: Some(format!("{}\n", html.trim())),
    })
}

/// A rendered template. A name that has no value is an error. The ending of `file` decides whether values are escaped: in
/// `.html` they are.
///
/// # Errors
/// As the engine says.
fn rendered(
    file: &str,
    template: &str,
    values: BTreeMap<String, Value>,
) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.render_named_str(file, template, values)
}

/// The values of a notification's template. A fact that is not given, though its kind always has it, has no value.
///
/// # Errors
/// `Fact`.
fn variables(
    kind: Kind,
    reader: &Reader,
    facts: &[(&str, &str)],
) -> Result<BTreeMap<String, Value>, NotWritten> {
    let about = kind.about();
    let mut values = BTreeMap::from([
        ("account_id".to_owned(), Value::from(&reader.account_id)),
        ("account_name".to_owned(), Value::from(&reader.account_name)),
    ]);
    for &(name, form, always) in about.facts {
        let malformed = || NotWritten::Fact {
            kind: about.code,
            fact: name,
        };
        // A fact that needs not be given may be empty too.
        let given = |value: &str| always || !value.is_empty();
        let mut found = facts
            .iter()
            .filter(|(it, value)| *it == name && given(value));
        if form == Form::Lines {
            let lines: Vec<String> = found.map(|(_, value)| line(value)).collect();
            values.insert(format!("{name}s"), Value::from(lines));
        } else if let Some((_, value)) = found.next() {
            let words = words(form, value, reader).ok_or_else(malformed)?;
            values.insert(name.to_owned(), Value::from(words));
            if form == Form::Instant {
                let day = reader.zone.day(instant(value).ok_or_else(malformed)?);
                values.insert(name.replace("_time", "_date"), Value::from(date(day)));
            }
        } else if !always {
            values.insert(name.to_owned(), Value::from(""));
            if form == Form::Instant {
                values.insert(name.replace("_time", "_date"), Value::from(""));
            }
        }
    }
    Ok(values)
}

/// A fact's value in words; `None` if it is malformed.
fn words(form: Form, value: &str, reader: &Reader) -> Option<String> {
    match form {
        Form::Money => money(value),
        Form::Day => value.parse().ok().map(date),
        Form::Instant => {
            let shown = reader.zone.shows(instant(value)?);
            let time = shown.format("%H:%M");
            let zone = reader.zone.name();
            Some(format!("{} at {time} ({zone})", date(shown.date())))
        }
        // A plan that is no longer in the catalogue is written by its code.
        Form::Plan => Some(
            reader
                .plans
                .get(value)
                .map_or(value, String::as_str)
                .to_owned(),
        ),
        Form::Reason => Some(reason(value).to_owned()),
        Form::Lines => Some(line(value)),
        Form::Text => Some(value.to_owned()),
    }
}

/// "₹11,800.00" for "INR 11800.00"; of an amount with more places, its whole minor units.
fn money(text: &str) -> Option<String> {
    let (currency, number) = text.split_once(' ')?;
    let currency: Currency = currency.parse().ok()?;
    let money = Money::parse(number, currency).ok();
    let money = money.or_else(|| {
        let amount = Amount::parse(number, currency).ok()?;
        Some(amount.rounded(Rounding::Down))
    });
    money.map(values::shown)
}

/// "CGST 9.00%: ₹270.00" for "CGST 9.00%, INR 270.00".
fn line(text: &str) -> String {
    let parts = text.rsplit_once(", ");
    let parts = parts.and_then(|(words, amount)| Some((words, money(amount)?)));
    match parts {
        Some((words, amount)) => format!("{words}: {amount}"),
        None => text.to_owned(),
    }
}

fn instant(text: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(text).ok()?;
    Some(at.with_timezone(&Utc))
}

/// "15 May 2026".
fn date(day: NaiveDate) -> String {
    day.format("%-d %B %Y").to_string()
}

/// The words of a reason. Providers have codes of their own: one that is not known has the words of `OTHER`.
fn reason(code: &str) -> &'static str {
    let words = |code: &str| {
        let mut lines = REASONS.lines().filter_map(|line| line.split_once(" = "));
        lines.find(|(it, _)| *it == code).map(|(_, words)| words)
    };
    words(code)
        .or_else(|| words("OTHER"))
        .unwrap_or("the payment was declined")
}

/// A paragraph of a mail.
enum Paragraph {
    /// Sentences.
    Prose(String),
    /// A list.
    Points(Vec<String>),
}

impl Paragraph {
    fn text(&self) -> String {
        match self {
            Self::Prose(prose) => prose.clone(),
            Self::Points(points) => {
                let points: Vec<String> = points.iter().map(|it| format!("- {it}")).collect();
                points.join("\n")
            }
        }
    }

    /// As the HTML part reads it.
    fn value(&self) -> Value {
        let (prose, points) = match self {
            Self::Prose(prose) => (prose.as_str(), Vec::new()),
            Self::Points(points) => ("", points.clone()),
        };
        Value::from(BTreeMap::from([
            ("prose".to_owned(), Value::from(prose)),
            ("points".to_owned(), Value::from(points)),
        ]))
    }
}

/// The paragraphs of a text: they are parted by blank lines, and lines that begin with `- ` are a list.
fn paragraphs(text: &str) -> Vec<Paragraph> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let blocks = lines.split(|line| line.is_empty());
    let blocks = blocks.filter(|block| !block.is_empty());
    let paragraph = |block: &[&str]| {
        let points = block.iter().map(|line| line.strip_prefix("- "));
        let points: Option<Vec<&str>> = points.collect();
        match points {
            Some(points) => Paragraph::Points(points.into_iter().map(str::to_owned).collect()),
            None => Paragraph::Prose(block.join(" ")),
        }
    };
    blocks.map(paragraph).collect()
}

#[cfg(test)]
mod tests;
