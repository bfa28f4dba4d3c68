//! Where billing stores text, and what happens to it when an account is deleted: the books are kept, free text
//! written by people is emptied.

use chassis::{Fate, Of, Personal};

const CODES: Fate = Fate::Impersonal("codes of the catalogue and of states");
const ACTORS: Fate = Fate::Kept("R32: the operator who did it");
const WORDS: Fate = Fate::Emptied(Of::Root, "reason = ''");
const RUNS: Fate = Fate::Impersonal("attributes of a run over all accounts");

/// Every column of text, JSON or bytes.
pub const PLACES: &[Personal] = &[
    Personal::new(
        "accounts",
        &["profile_code", "time_zone", "currency", "standings"],
        CODES,
    ),
    Personal::new(
        "accounts",
        &["country_code", "state_code"],
        Fate::Kept("REQ-070: where its invoices were taxed"),
    ),
    Personal::new("auto_recharges", &["disable_reason"], CODES),
    Personal::new("balances", &["currency"], CODES),
    Personal::new("closing_periods", &["family_code"], CODES),
    Personal::new(
        "closings",
        &["state", "currency", "catalogue_version"],
        CODES,
    ),
    Personal::new(
        "collection_lines",
        &["kind", "plan_code", "cycle_code", "family_code"],
        CODES,
    ),
    Personal::new(
        "collection_lines",
        &["formula"],
        Fate::Kept("REQ-070: how an invoice's sum was computed, in words of the catalogue"),
    ),
    Personal::new("collection_taxes", &["tax_code"], CODES),
    Personal::new(
        "collections",
        &[
            "state",
            "currency",
            "failure_reason",
            "catalogue_version",
            "purpose",
        ],
        CODES,
    ),
    Personal::new(
        "collections",
        &["action_url"],
        Fate::Emptied(Of::Root, "action_url = ''"),
    ),
    Personal::new("credit_notes", &["currency"], CODES),
    Personal::new("credit_notes", &["reason"], WORDS),
    Personal::new("credit_notes", &["created_by"], ACTORS),
    Personal::new("disputes", &["told_state"], CODES),
    Personal::new("dunnings", &["state"], CODES),
    Personal::new(
        "invoice_payments",
        &["reference"],
        Fate::Kept(
            "REQ-070: the bank's reference of a payment, needed to reconcile the books with the bank",
        ),
    ),
    Personal::new("invoice_payments", &["recorded_by"], ACTORS),
    Personal::new("invoice_series", &["issuer_code", "number_prefix"], CODES),
    Personal::new("invoice_taxes", &["tax_code"], CODES),
    Personal::new("invoices", &["family_code", "currency"], CODES),
    Personal::new("invoices_ended", &["reason"], WORDS),
    Personal::new("invoices_ended", &["ended_by"], ACTORS),
    Personal::new("ledger_accounts", &["name", "holder"], CODES),
    Personal::new("ledger_entries", &["currency", "reason"], CODES),
    Personal::new("lots", &["reason"], WORDS),
    Personal::new("outbox", &["kind", "threshold_code", "reason"], CODES),
    Personal::new("overdue_periods", &["family_code"], CODES),
    Personal::new(
        "parked_accounts",
        &["reason", "detail"],
        Fate::Impersonal("why an account was not billed, in our own words"),
    ),
    // The rule has sealed the recipients before the walk deletes them here.
    Personal::new(
        "recipients",
        &["recipient", "country_code", "state_code"],
        Fate::Deleted(Of::Root),
    ),
    Personal::new("refunds", &["currency", "state"], CODES),
    Personal::new("rentals", &["kind", "code", "currency"], CODES),
    Personal::new(
        "retention_keys",
        &["key"],
        Fate::ByRule(
            "D24: decrypts invoice recipients during the legal retention period; destroyed by a job afterwards",
        ),
    ),
    Personal::new("run_chunks", &["phase", "worker"], RUNS),
    Personal::new(
        "runs",
        &[
            "family_code",
            "phase",
            "state",
            "currency",
            "catalogue_version",
            "cancel_reason",
        ],
        RUNS,
    ),
    Personal::new(
        "sealed_recipients",
        &["sealed"],
        Fate::ByRule(
            "REQ-070, D24: invoice recipients, sealed for the legal retention period; deleted by a job afterwards",
        ),
    ),
    Personal::new("subscriptions", &["family_code", "state"], CODES),
    Personal::new(
        "terms",
        &[
            "family_code",
            "plan_code",
            "catalogue_version",
            "currency",
            "model",
            "tiers",
            "rounding",
        ],
        CODES,
    ),
    Personal::new(
        "unposted_events",
        &["subject_id", "reason"],
        Fate::Impersonal("an id, and why the event was not posted, in our own words"),
    ),
    Personal::new("usage_closings", &["profile_code"], CODES),
    Personal::new("usage_days", &["category"], Fate::Deleted(Of::Root)),
    Personal::new(
        "usage_events",
        &["source", "event_id", "category"],
        Fate::ByRule("deleted before the walk, in batches of one transaction each"),
    ),
    Personal::new("usage_months", &["category"], CODES),
    Personal::new("voided_credits", &["reason"], WORDS),
    Personal::new("voided_credits", &["voided_by"], ACTORS),
    Personal::new("voided_numbers", &["reason"], RUNS),
    Personal::new(
        "watch_positions",
        &["source", "resume_token"],
        Fate::Impersonal("how far the events of other services have been followed"),
    ),
];
