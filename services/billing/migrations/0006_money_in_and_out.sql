-- Money that comes in and goes back: collections, recharges, refunds, credit notes.

-- A purchase has its invoice when its money has arrived; there may be several a day.
ALTER TABLE billing.invoices DROP CONSTRAINT invoices_one_a_period;
CREATE UNIQUE INDEX invoices_one_a_period ON billing.invoices (period_start, family_code, root_id) WHERE run_id IS NOT NULL;
CREATE INDEX invoices_of_purchases ON billing.invoices (root_id, period_start) WHERE run_id IS NULL;
-- The id of a run's invoice follows from its number; that of a purchase from its collection.
CREATE UNIQUE INDEX invoices_one_number ON billing.invoices (series_id, number) WHERE run_id IS NULL;
ALTER TABLE billing.invoices
    -- What a charge paid.
    ADD COLUMN charged_minor bigint NOT NULL DEFAULT 0 CHECK (0 <= charged_minor),
    -- What credit notes have taken back.
    ADD COLUMN credited_minor bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT invoices_paid_once CHECK (from_balance_minor + charged_minor <= total_minor),
    ADD CONSTRAINT invoices_credited_once CHECK (credited_minor BETWEEN 0 AND total_minor);

ALTER TABLE billing.accounts ADD COLUMN export_supply boolean NOT NULL DEFAULT false;

-- Money asked for: for an order, or to fill a balance. Its id is also the one that its charge and its
-- invoice are known by.
CREATE TABLE billing.collections (
    root_id uuid NOT NULL,
    collection_id uuid PRIMARY KEY,
    -- Null for a recharge.
    order_id uuid UNIQUE,
    -- CREATED until the charge was asked for.
    state text NOT NULL CHECK (state IN ('CREATED', 'PENDING', 'AWAITING_SETTLEMENT', 'UNKNOWN', 'PARKED',
                                         'SUCCEEDED', 'DECLINED')),
    currency text NOT NULL,
    -- Tax included.
    total_minor bigint NOT NULL CHECK (0 < total_minor),
    -- The payment method asked for; null for the account's default one.
    method_id uuid,
    -- The intent that this attempt is of: asked for again by the same one, it is not a new attempt.
    intent_id uuid NOT NULL,
    -- Which attempt to charge; counted on after a decline.
    attempt_number integer NOT NULL DEFAULT 1 CHECK (1 <= attempt_number),
    -- The charge of that attempt; null before it is known.
    charge_id uuid,
    failure_reason text NOT NULL DEFAULT '',
    action_url text NOT NULL DEFAULT '',
    -- The catalogue version that it was quoted from.
    catalogue_version text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- When a job asks for the charge of one that is CREATED, by the database's clock.
    try_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (state <> 'SUCCEEDED' OR charge_id IS NOT NULL)
);
-- One recharge under way an account.
CREATE UNIQUE INDEX collections_one_recharge ON billing.collections (root_id)
    WHERE order_id IS NULL AND state NOT IN ('SUCCEEDED', 'DECLINED');
CREATE INDEX collections_recharges ON billing.collections (root_id, created_at) WHERE order_id IS NULL;
CREATE INDEX collections_to_ask ON billing.collections (try_at) WHERE state = 'CREATED';

-- What is paid, net; then the lines of the invoice.
CREATE TABLE billing.collection_lines (
    collection_id uuid NOT NULL,
    line_number smallint NOT NULL,
    -- CREDITS become paid credit; all else is earned.
    kind text NOT NULL,
    plan_code text NOT NULL,
    cycle_code text NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    PRIMARY KEY (collection_id, line_number)
);
CREATE TABLE billing.collection_taxes (
    collection_id uuid NOT NULL,
    line_number smallint NOT NULL,
    tax_code text NOT NULL,
    rate_bps bigint NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    PRIMARY KEY (collection_id, line_number)
);

-- The collection that paid for a lot; null for what was granted.
ALTER TABLE billing.lots ADD COLUMN collection_id uuid;

-- How far what other services tell was followed; written with its effect.
CREATE TABLE billing.watch_positions (
    source text PRIMARY KEY,
    resume_token text NOT NULL
);

CREATE TABLE billing.auto_recharges (
    root_id uuid PRIMARY KEY,
    enabled boolean NOT NULL,
    threshold_micros bigint NOT NULL CHECK (0 <= threshold_micros),
    -- The balance to reach, or the sum of each charge, as the profile says.
    amount_micros bigint NOT NULL CHECK (0 < amount_micros),
    -- Null for the account's default one.
    method_id uuid,
    -- Failures since the last success.
    failures integer NOT NULL DEFAULT 0,
    -- Before when no recharge begins, after one that was declined.
    not_before timestamptz,
    -- Why it was switched off by itself.
    disable_reason text NOT NULL DEFAULT '',
    -- When the balance is to be looked at; null when nothing has changed.
    look_at timestamptz
);
CREATE INDEX auto_recharges_to_look_at ON billing.auto_recharges (look_at) WHERE enabled AND look_at IS NOT NULL;

-- Credit that goes back to the payment it came from.
CREATE TABLE billing.refunds (
    root_id uuid NOT NULL,
    refund_id uuid PRIMARY KEY,
    -- The intent that it is a part of.
    intent_id uuid NOT NULL,
    lot_id uuid NOT NULL,
    -- The charge of `payments` that is given back.
    charge_id uuid NOT NULL,
    currency text NOT NULL,
    -- What goes back, tax included.
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    -- The fee that was kept of it.
    fee_minor bigint NOT NULL CHECK (0 <= fee_minor),
    -- CREATED until asked for; RETRYING after a refusal.
    state text NOT NULL CHECK (state IN ('CREATED', 'PROCESSING', 'RETRYING', 'NEEDS_MANUAL', 'SUCCEEDED')),
    attempt_number integer NOT NULL DEFAULT 1 CHECK (1 <= attempt_number),
    -- How often `payments` would not take it: each asking after that is another request.
    refusals integer NOT NULL DEFAULT 0,
    -- Whether it goes by a bank transfer that a person makes.
    manual boolean NOT NULL DEFAULT false,
    -- The refund of `payments`; null before it is known.
    payments_refund_id uuid,
    due_on date NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- When a job asks for it.
    try_at timestamptz
);
CREATE INDEX refunds_by_intent ON billing.refunds (intent_id);
CREATE INDEX refunds_to_ask ON billing.refunds (try_at) WHERE state IN ('CREATED', 'RETRYING');

CREATE TABLE billing.credit_notes (
    root_id uuid NOT NULL,
    credit_note_id uuid PRIMARY KEY,
    series_id integer NOT NULL,
    number bigint NOT NULL,
    invoice_id uuid NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    reason text NOT NULL,
    created_by text NOT NULL,
    issued_at timestamptz NOT NULL,
    CONSTRAINT credit_notes_one_number UNIQUE (series_id, number)
);
CREATE INDEX credit_notes_by_root ON billing.credit_notes (root_id, credit_note_id);
CREATE INDEX credit_notes_by_invoice ON billing.credit_notes (invoice_id);

-- News of money that could not be booked: kept until a person has looked, so that others go on.
CREATE TABLE billing.unbooked_news (
    source text NOT NULL,
    resume_token text NOT NULL,
    -- What it is about, such as a charge of `payments`.
    subject_id text NOT NULL,
    reason text NOT NULL,
    noted_at timestamptz NOT NULL,
    PRIMARY KEY (source, resume_token)
);
GRANT SELECT, INSERT ON billing.unbooked_news TO billing_service;

-- Whether we gave an event its price and debited it; else it was settled elsewhere (D7).
ALTER TABLE billing.usage_events ADD COLUMN rated boolean NOT NULL DEFAULT false;

-- Balances that crossed a threshold: which, and whether they fell.
ALTER TABLE billing.outbox
    ADD COLUMN threshold_code text,
    ADD COLUMN fell boolean;

GRANT SELECT, INSERT ON billing.collections, billing.collection_lines, billing.collection_taxes,
    billing.watch_positions, billing.auto_recharges, billing.refunds, billing.credit_notes TO billing_service;
GRANT UPDATE ON billing.watch_positions, billing.auto_recharges TO billing_service;
GRANT UPDATE (state, method_id, intent_id, attempt_number, charge_id, failure_reason, action_url, updated_at, try_at)
    ON billing.collections TO billing_service;
GRANT UPDATE (state, attempt_number, refusals, manual, payments_refund_id, updated_at, try_at) ON billing.refunds TO billing_service;
GRANT UPDATE (credited_minor) ON billing.invoices TO billing_service;
CREATE VIEW billing_check.collection AS SELECT * FROM billing.collections;
CREATE VIEW billing_check.refund AS SELECT * FROM billing.refunds;
GRANT SELECT ON billing_check.collection, billing_check.refund TO checker;
