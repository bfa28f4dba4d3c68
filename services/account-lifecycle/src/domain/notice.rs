//! What notifications say: a subject for each kind, and its facts, a line each.

/// A fact that a notification tells: its name, such as `refund_amount`, and its value.
pub type Fact = (&'static str, String);

/// What a notification of a kind is about.
pub fn subject(kind: &str) -> &'static str {
    match kind {
        "ACCOUNT_CLOSED" => "Your account is closed",
        "AUTO_RECHARGE_OFF" => "Your balance is not filled by itself any more",
        "UPGRADED" => "Your upgrade is confirmed",
        "BALANCE_LOW" => "Your balance is low",
        "BALANCE_EMPTY" => "Your balance is used up",
        "CREDIT_EXPIRING" => "Your credit is about to expire",
        "INVOICE_ISSUED" => "Your invoice",
        "INVOICE_OVERDUE" => "Your invoice is due and not paid",
        "LIMITED" => "Your account is limited",
        "NUMBERS_AT_RISK" => "Your numbers are about to be released",
        "NUMBERS_RELEASED" => "Your numbers are released",
        "PLAN_ENDING" => "Your plan is about to end",
        "RENEWAL_FAILED" => "Your renewal could not be paid",
        "TRIAL_ENDING" => "Your trial is about to end",
        "WHITELIST_CODE" => "Your verification code",
        _ => "News of your account",
    }
}

/// The text of a notification: its account, its facts, and its code if it has one.
pub fn text<'a>(
    account: &str,
    facts: impl Iterator<Item = (&'a str, &'a str)>,
    secret: &str,
) -> String {
    let mut lines = vec![format!("Account: {account}")];
    if !secret.is_empty() {
        lines.push(format!("Code: {secret}"));
    }
    lines.extend(facts.map(|(name, value)| format!("{}: {value}", in_words(name))));
    lines.join("\r\n")
}

/// `refund_amount` as people read it.
fn in_words(name: &str) -> String {
    let spaced = name.replace('_', " ");
    let mut letters = spaced.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => spaced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_read_as_lines() {
        let facts = [("refund_amount", "USD 80.00"), ("purge_time", "2026-05-31")];
        let said = text("AC1", facts.into_iter(), "123456");
        assert_eq!(
            said,
            "Account: AC1\r\nCode: 123456\r\nRefund amount: USD 80.00\r\nPurge time: 2026-05-31"
        );
    }
}
