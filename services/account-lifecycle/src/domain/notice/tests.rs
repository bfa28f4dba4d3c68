//! Each mail beside its snapshot, and what a template may hold.

use std::collections::HashSet;
use std::fs;

use super::*;

/// Where the snapshots are.
const SNAPSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/mails");

const INSTANT: &str = "2026-05-14T18:30:00+00:00";

fn reader(name: &str) -> Reader {
    Reader {
        account_id: "AC00000000000000000000000000000001".to_owned(),
        account_name: name.to_owned(),
        zone: Zone::parse("Asia/Kolkata").unwrap(),
        plans: BTreeMap::from([("growth".to_owned(), "Growth".to_owned())]),
    }
}

/// A snapshot's name, its kind and the facts.
type Sample = (&'static str, Kind, &'static [(&'static str, &'static str)]);

/// Each kind with values, and again where its words depend on which it has.
const SAMPLES: &[Sample] = &[
    (
        "ACCOUNT_CLOSED",
        Kind::AccountClosed,
        &[
            ("close_time", INSTANT),
            ("settlement_amount", "INR 1180.00"),
            ("refund_amount", "INR 123456.70"),
            ("refund_due_date", "2026-05-29"),
            ("forfeited_amount", "INR 500.0075"),
            ("purge_time", "2026-06-13T18:30:00+00:00"),
        ],
    ),
    (
        "ACCOUNT_CLOSED.without_refund",
        Kind::AccountClosed,
        &[
            ("close_time", INSTANT),
            ("settlement_amount", "USD 0.00"),
            ("refund_amount", "USD 0.00"),
            ("purge_time", "2026-06-13T18:30:00+00:00"),
        ],
    ),
    (
        "AUTO_RECHARGE_OFF",
        Kind::AutoRechargeOff,
        &[("reason", "CARD_EXPIRED")],
    ),
    (
        "AUTO_RECHARGE_PAUSED",
        Kind::AutoRechargePaused,
        &[("pause_end_time", INSTANT)],
    ),
    (
        "BALANCE_EMPTY",
        Kind::BalanceEmpty,
        &[("balance", "INR -12.345678")],
    ),
    (
        "BALANCE_LOW",
        Kind::BalanceLow,
        &[("balance", "INR 499.999999")],
    ),
    (
        "CHARGEBACK_LOST",
        Kind::ChargebackLost,
        &[
            ("amount", "INR 2360.00"),
            ("credit_amount", "INR 2000.000000"),
        ],
    ),
    (
        "CHARGEBACK_LOST.without_credit",
        Kind::ChargebackLost,
        &[("amount", "INR 2360.00")],
    ),
    (
        "CHARGEBACK_OPENED",
        Kind::ChargebackOpened,
        &[("amount", "INR 2360.00"), ("evidence_due_time", INSTANT)],
    ),
    (
        "CHARGEBACK_OPENED.again",
        Kind::ChargebackOpened,
        &[
            ("amount", "INR 2360.00"),
            ("evidence_due_time", INSTANT),
            ("credit_amount", "INR 2000.000000"),
        ],
    ),
    (
        "CHARGEBACK_OPENED.without_evidence",
        Kind::ChargebackOpened,
        &[("amount", "INR 2360.00")],
    ),
    (
        "CHARGEBACK_WON",
        Kind::ChargebackWon,
        &[("amount", "INR 2360.00")],
    ),
    (
        "CHARGEBACK_WON.after_all",
        Kind::ChargebackWon,
        &[
            ("amount", "INR 2360.00"),
            ("credit_amount", "INR 2000.000000"),
        ],
    ),
    (
        "CREDIT_EXPIRING",
        Kind::CreditExpiring,
        &[("credit_expire_time", INSTANT)],
    ),
    (
        "EMAIL_CHANGED",
        Kind::EmailChanged,
        &[("change_time", INSTANT)],
    ),
    (
        "EMAIL_CONFIRM",
        Kind::EmailConfirm,
        &[
            ("code", "0123456789abcdef0123456789abcdef"),
            ("code_expire_time", INSTANT),
        ],
    ),
    (
        "INVOICE_ISSUED",
        Kind::InvoiceIssued,
        &[
            ("invoice_number", "IN-2026-00000105"),
            ("amount_due", "INR 11800.00"),
            ("due_date", "2026-05-31"),
        ],
    ),
    (
        "INVOICE_ISSUED.not_charged",
        Kind::InvoiceIssued,
        &[
            ("invoice_number", "IN-2026-00000105"),
            ("amount_due", "INR 11800.00"),
            ("due_date", "2026-05-31"),
            ("reason", "NO_PAYMENT_METHOD"),
        ],
    ),
    (
        "INVOICE_OVERDUE",
        Kind::InvoiceOverdue,
        &[
            ("invoice_number", "IN-2026-00000105"),
            ("amount_due", "INR 11800.00"),
            ("due_date", "2026-05-31"),
            ("reason", "INSUFFICIENT_FUNDS"),
        ],
    ),
    ("KYC_REVIEWED", Kind::KycReviewed, &[("state", "APPROVED")]),
    (
        "KYC_REVIEWED.more",
        Kind::KycReviewed,
        &[
            ("state", "ADDITIONAL_INFO_REQUIRED"),
            ("reason", "the scan is cut"),
        ],
    ),
    (
        "KYC_REVIEWED.rejected",
        Kind::KycReviewed,
        &[("state", "REJECTED"), ("reason", "the scan is cut")],
    ),
    (
        "KYC_REVIEWED.withdrawn",
        Kind::KycReviewed,
        &[("state", "WITHDRAWN"), ("reason", "the PAN has expired")],
    ),
    (
        "KYC_SUBMITTED",
        Kind::KycSubmitted,
        &[("review_due_date", "2026-04-20")],
    ),
    (
        "LIMITED",
        Kind::Limited,
        &[("reason", "CANCELLED"), ("credit_expire_time", INSTANT)],
    ),
    (
        "LIMITED.after_trial",
        Kind::Limited,
        &[("reason", "TRIAL_EXPIRED")],
    ),
    (
        "LIMITED.renewal_failed",
        Kind::Limited,
        &[("reason", "RENEWAL_FAILED")],
    ),
    (
        "NUMBERS_AT_RISK",
        Kind::NumbersAtRisk,
        &[("release_time", INSTANT)],
    ),
    (
        "NUMBERS_RELEASED",
        Kind::NumbersReleased,
        &[("release_time", INSTANT)],
    ),
    (
        "PAYMENT_RECEIVED",
        Kind::PaymentReceived,
        &[
            ("invoice_number", "IN-2026-00000105"),
            ("amount", "INR 11800.00"),
        ],
    ),
    (
        "PAYMENT_RECEIVED.in_part",
        Kind::PaymentReceived,
        &[
            ("invoice_number", "IN-2026-00000105"),
            ("amount", "INR 1800.00"),
            ("amount_due", "INR 10000.00"),
        ],
    ),
    (
        "PLAN_ENDING",
        Kind::PlanEnding,
        &[("plan_end_time", INSTANT)],
    ),
    (
        "RENEWAL_FAILED",
        Kind::RenewalFailed,
        &[
            ("reason", "INSUFFICIENT_FUNDS"),
            ("next_attempt_time", INSTANT),
        ],
    ),
    (
        "RENEWAL_FAILED.last",
        Kind::RenewalFailed,
        &[
            ("reason", "A_CODE_OF_A_PROVIDER"),
            ("plan_end_time", INSTANT),
        ],
    ),
    (
        "TRIAL_ENDING",
        Kind::TrialEnding,
        &[("trial_end_time", INSTANT)],
    ),
    (
        "UPGRADED",
        Kind::Upgraded,
        &[
            ("plan", "growth"),
            ("invoice_number", "IN-2026-00000105"),
            ("line", "Growth, INR 10000.00"),
            ("line", "CGST 9.00%, INR 900.00"),
            ("line", "SGST 9.00%, INR 900.00"),
            ("total", "INR 11800.00"),
        ],
    ),
    (
        "UPGRADED.without_invoice",
        Kind::Upgraded,
        &[("plan", "growth")],
    ),
    (
        "WHITELIST_CODE",
        Kind::WhitelistCode,
        &[
            ("number", "+919812345678"),
            ("code", "481920"),
            ("code_expire_time", INSTANT),
        ],
    ),
];

#[test]
fn each_mail_is_what_its_snapshot_shows() {
    let snapshot = |file: &str| fs::read_to_string(format!("{SNAPSHOTS}/{file}")).ok();
    for &(name, kind, facts) in SAMPLES {
        let reader = if kind == Kind::EmailConfirm {
            Reader::of_login()
        } else {
            reader("Asha & <Sons>")
        };
        let mail = mail(kind, &reader, facts).unwrap();
        let text = format!("Subject: {}\n\n{}", mail.subject, mail.text);
        assert_eq!(Some(text), snapshot(&format!("{name}.txt")), "{name}.txt");
        assert_eq!(mail.html, snapshot(&format!("{name}.html")), "{name}.html");
        assert_eq!(
            subject(kind, &reader, facts).unwrap(),
            mail.subject,
            "{name}"
        );
    }
    let shown: HashSet<_> = SAMPLES.iter().map(|(_, kind, _)| kind.as_str()).collect();
    assert_eq!(shown.len(), Kind::ALL.len(), "each kind has a snapshot");
    let files = fs::read_dir(SNAPSHOTS).unwrap();
    let files = files.filter(|it| it.as_ref().unwrap().file_name() != "README.md");
    // A text message has no HTML.
    assert_eq!(files.count(), 2 * SAMPLES.len() - 1);
}

#[test]
fn templates_name_only_values_of_their_kind() {
    for &kind in Kind::ALL {
        let template = kind.about().template;
        assert!(template.starts_with("Subject: "), "{kind:?}");
        let mut known = HashSet::from(["account_id".to_owned(), "account_name".to_owned()]);
        for (name, form, _) in kind.about().facts {
            match form {
                Form::Lines => known.insert(format!("{name}s")),
                Form::Instant => {
                    known.insert(name.replace("_time", "_date"));
                    known.insert((*name).to_owned())
                }
                Form::Money | Form::Day | Form::Plan | Form::Reason | Form::Text => {
                    known.insert((*name).to_owned())
                }
            };
        }
        let environment = Environment::new();
        let template = environment.template_from_str(template).unwrap();
        for name in template.undeclared_variables(false) {
            assert!(known.contains(&name), "{name} in {kind:?}");
        }
    }
}

#[test]
fn a_value_that_is_missing_or_malformed_is_not_sent() {
    let reader = reader("");
    let balance = |facts: &[(&str, &str)]| mail(Kind::BalanceLow, &reader, facts);
    assert!(matches!(balance(&[]), Err(NotWritten::Template(_))));
    for bad in ["", "450.00", "INR", "XYZ 450.00", "INR 4,50"] {
        let refused = balance(&[("balance", bad)]).unwrap_err();
        assert_eq!(refused.to_string(), "balance of BALANCE_LOW is malformed");
    }
    let refused = mail(Kind::PlanEnding, &reader, &[("plan_end_time", "soon")]);
    assert!(matches!(refused, Err(NotWritten::Fact { .. })));
}

#[test]
fn html_escapes_every_value() {
    let evil = "<script>\"'&</script>";
    let facts = [
        ("invoice_number", evil),
        ("amount_due", "INR 1.00"),
        ("due_date", "2026-05-31"),
    ];
    let mail = mail(Kind::InvoiceIssued, &reader(evil), &facts).unwrap();
    let html = mail.html.unwrap();
    let shown = "&lt;script&gt;&quot;&#x27;&amp;&lt;&#x2f;script&gt;";
    assert!(!html.contains("<script"), "{html}");
    assert_eq!(html.matches(shown).count(), 3, "{html}");
    assert!(mail.text.contains(evil));
}

#[test]
fn each_reason_has_one_line_of_words() {
    let lines: Vec<_> = REASONS.lines().filter(|it| !it.starts_with('#')).collect();
    let codes = lines.iter().map(|it| it.split_once(" = ").unwrap().0);
    let codes: HashSet<_> = codes.collect();
    assert_eq!(codes.len(), lines.len());
    assert!(codes.contains("OTHER"));
    assert_eq!(reason("NOBODY_KNOWS_IT"), reason("OTHER"));
}
