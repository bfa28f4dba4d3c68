-- Accounts, usage, the ledger, invoices and billing runs.
--
-- Every table that grows with customers has the root account in its key; bulk tables have no
-- foreign keys, as they would cost more than all else together. Money is whole: `_minor` in minor
-- units of the currency, `_micros` in millionths of its unit.

-- Answers already given, for 30 days.
CREATE TABLE billing.requests (
    caller text NOT NULL,
    account text NOT NULL,
    method text NOT NULL,
    request_id uuid NOT NULL,
    -- SHA-256 of the request without its id.
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    -- The encoded answer; null while under way and for a refusal.
    response bytea,
    -- The gRPC code of a refusal, with its message and details.
    status_code integer CHECK (0 < status_code),
    status_message text NOT NULL DEFAULT '',
    status_details bytea NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    PRIMARY KEY (caller, account, method, request_id),
    CHECK (response IS NULL OR status_code IS NULL)
);
CREATE INDEX requests_by_age ON billing.requests (created_at);

-- The standing instant of a test clock; empty where the machine's clock counts.
CREATE TABLE billing.test_clock (
    only_row boolean PRIMARY KEY CHECK (only_row),
    standing_at timestamptz NOT NULL
);

CREATE TABLE billing.accounts (
    account_id uuid PRIMARY KEY,
    -- The account itself for a root.
    root_id uuid NOT NULL,
    profile_code text NOT NULL,
    -- Of the profile: the zone that makes the days of its usage, the currency of its ledger.
    time_zone text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    invoiced boolean NOT NULL,
    created_at timestamptz NOT NULL,
    country_code text NOT NULL DEFAULT '',
    state_code text NOT NULL DEFAULT '',
    recipient text NOT NULL DEFAULT ''
);

-- What was used, as sources reported it. Superseded revisions stay: they are the lineage.
CREATE TABLE billing.usage_events (
    root_id uuid NOT NULL,
    -- The first day of the month of use.
    usage_month date NOT NULL,
    -- First 16 bytes of SHA-256 over source and event id: short, and the same for ever.
    event_key uuid NOT NULL,
    -- 1, then one more with each correction.
    revision integer NOT NULL CHECK (1 <= revision),
    source text NOT NULL,
    event_id text NOT NULL,
    account_id uuid NOT NULL,
    category text NOT NULL,
    used_at timestamptz NOT NULL,
    quantity_micros bigint NOT NULL,
    price_micros bigint NOT NULL,
    -- The month it is billed in: its own, or the next open one (D14).
    billing_month date NOT NULL CHECK (usage_month <= billing_month),
    received_at timestamptz NOT NULL,
    -- When a correction took its place; null while it counts, as only the last revision does.
    superseded_at timestamptz,
    PRIMARY KEY (root_id, usage_month, event_key, revision)
);
-- Sums of what counts, by day of use.
CREATE TABLE billing.usage_days (
    root_id uuid NOT NULL,
    billing_month date NOT NULL,
    used_on date NOT NULL,
    category text NOT NULL,
    quantity_micros bigint NOT NULL,
    price_micros bigint NOT NULL,
    event_count bigint NOT NULL,
    PRIMARY KEY (root_id, billing_month, used_on, category)
) WITH (fillfactor = 80);

-- Sums of what counts, by month of billing: what a run reads.
CREATE TABLE billing.usage_months (
    billing_month date NOT NULL,
    root_id uuid NOT NULL,
    category text NOT NULL,
    quantity_micros bigint NOT NULL,
    price_micros bigint NOT NULL,
    event_count bigint NOT NULL,
    PRIMARY KEY (billing_month, root_id, category)
) WITH (fillfactor = 80);

-- Months whose usage a run has frozen for the accounts of a profile; later usage joins the next.
CREATE TABLE billing.usage_closings (
    profile_code text NOT NULL,
    month date NOT NULL,
    closed_at timestamptz NOT NULL,
    PRIMARY KEY (profile_code, month)
);

-- The accounts between which the ledger moves money.
CREATE TABLE billing.ledger_accounts (
    ledger_account smallint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    -- Whether its balance is what customers own (lots), what they owe, or ours.
    holder text NOT NULL CHECK (holder IN ('LOT', 'OWED', 'OURS'))
);
INSERT INTO billing.ledger_accounts VALUES
    (1, 'TRIAL', 'LOT'), (2, 'PROMO', 'LOT'), (3, 'PAID', 'LOT'),
    (4, 'OVERDRAFT', 'OWED'), (5, 'RECEIVABLE', 'OWED'),
    (6, 'REVENUE', 'OURS'), (7, 'TAX', 'OURS'), (8, 'CLEARING', 'OURS'), (9, 'REFUNDS', 'OURS'),
    (10, 'FORFEITED', 'OURS'), (11, 'FEES', 'OURS'), (12, 'ROUNDING', 'OURS'), (13, 'GRANTED', 'OURS');

-- One row is one transfer: it balances by construction (D8). Only ever added to.
CREATE TABLE billing.ledger_entries (
    root_id uuid NOT NULL,
    posted_at timestamptz NOT NULL,
    entry_id uuid NOT NULL,
    debit smallint NOT NULL CHECK (debit BETWEEN 1 AND 13),
    credit smallint NOT NULL CHECK (credit BETWEEN 1 AND 13 AND credit <> debit),
    amount_micros bigint NOT NULL CHECK (0 < amount_micros),
    currency text NOT NULL,
    reason text NOT NULL,
    lot_id uuid,
    invoice_id uuid,
    PRIMARY KEY (root_id, posted_at, entry_id)
);

-- The row that everyone locks who moves money of a root account.
CREATE TABLE billing.balances (
    root_id uuid PRIMARY KEY,
    currency text NOT NULL,
    -- What is owed beyond the lots.
    overdraft_micros bigint NOT NULL DEFAULT 0 CHECK (0 <= overdraft_micros)
) WITH (fillfactor = 80);

-- Credit that can be spent.
CREATE TABLE billing.lots (
    root_id uuid NOT NULL,
    lot_id uuid NOT NULL,
    -- 1 TRIAL, 2 PROMO, 3 PAID, as in ledger_accounts.
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 3),
    -- Lower numbers are spent first.
    priority smallint NOT NULL DEFAULT 0,
    amount_micros bigint NOT NULL CHECK (0 < amount_micros),
    remaining_micros bigint NOT NULL CHECK (remaining_micros BETWEEN 0 AND amount_micros),
    created_at timestamptz NOT NULL,
    -- From when it can't be spent; null for never.
    expires_at timestamptz,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (root_id, lot_id)
) WITH (fillfactor = 80);

-- Series of invoice numbers: gapless per issuer and fiscal year (D11).
CREATE TABLE billing.invoice_series (
    series_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer_code text NOT NULL,
    -- The year in which the fiscal year starts.
    fiscal_year smallint NOT NULL,
    next_number bigint NOT NULL DEFAULT 1 CHECK (1 <= next_number),
    UNIQUE (issuer_code, fiscal_year)
);

-- Terms of plans as billed: what a line was computed from, kept here for as long as the line.
CREATE TABLE billing.terms (
    terms_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    family_code text NOT NULL,
    plan_code text NOT NULL,
    catalogue_version text NOT NULL,
    currency text NOT NULL,
    rank integer NOT NULL,
    -- FREE, FLAT or PERCENT_WITH_MINIMUM.
    model text NOT NULL CHECK (model IN ('FREE', 'FLAT', 'PERCENT_WITH_MINIMUM')),
    flat_minor bigint NOT NULL,
    minimum_minor bigint NOT NULL,
    -- Null for unbounded.
    maximum_minor bigint,
    -- [[inclusive upper bound in micros or null, basis points], …], lowest first.
    tiers jsonb NOT NULL,
    -- HALF_UP or HALF_EVEN.
    rounding text NOT NULL,
    UNIQUE (family_code, plan_code, catalogue_version)
);

CREATE TABLE billing.invoices (
    -- Derived from series and number, so that its uniqueness is theirs.
    invoice_id uuid PRIMARY KEY,
    series_id integer NOT NULL,
    number bigint NOT NULL,
    root_id uuid NOT NULL,
    family_code text NOT NULL,
    period_start date NOT NULL,
    period_end date NOT NULL CHECK (period_start < period_end),
    -- The run that made it; null for none.
    run_id uuid,
    currency text NOT NULL,
    total_minor bigint NOT NULL CHECK (0 <= total_minor),
    -- What the balance paid; the rest is due.
    from_balance_minor bigint NOT NULL CHECK (from_balance_minor BETWEEN 0 AND total_minor),
    -- 1 OPEN, 2 PAID, 3 VOID, 4 UNCOLLECTIBLE.
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),
    issued_at timestamptz NOT NULL,
    -- One invoice a payer, family and period: a second one is refused here.
    CONSTRAINT invoices_one_a_period UNIQUE (period_start, family_code, root_id)
);

CREATE TABLE billing.invoice_lines (
    invoice_id uuid NOT NULL,
    line_number smallint NOT NULL,
    terms_id integer NOT NULL,
    -- The contract that governs it; null for none.
    contract_id uuid,
    start_on date NOT NULL,
    end_on date NOT NULL CHECK (start_on < end_on),
    -- The usage that percentages are taken of, never negative.
    base_micros bigint NOT NULL CHECK (0 <= base_micros),
    amount_minor bigint NOT NULL CHECK (0 <= amount_minor),
    PRIMARY KEY (invoice_id, line_number)
);

CREATE TABLE billing.runs (
    run_id uuid PRIMARY KEY,
    family_code text NOT NULL,
    period_start date NOT NULL,
    period_end date NOT NULL,
    dry_run boolean NOT NULL,
    -- RATE computes and settles nothing; SETTLE writes invoices.
    phase text NOT NULL CHECK (phase IN ('RATE', 'SETTLE')),
    state text NOT NULL CHECK (state IN ('RUNNING', 'HALTED', 'AWAITING_APPROVAL', 'COMPLETED')),
    shard_count integer NOT NULL CHECK (1 <= shard_count),
    -- Payers to rate in all, as counted at the start.
    expected_count bigint NOT NULL,
    currency text NOT NULL,
    -- Usage received later joins the next period; invoices are issued as of it.
    cut_off_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    completed_at timestamptz
);
-- One real run a family and period (D14).
CREATE UNIQUE INDEX runs_one_real ON billing.runs (family_code, period_start) WHERE NOT dry_run;
CREATE INDEX runs_running ON billing.runs (run_id) WHERE state = 'RUNNING';

-- The parts of a run. A worker holds one by its token, until its lease runs out by the database's
-- clock; every chunk is conditional on both.
CREATE TABLE billing.run_shards (
    run_id uuid NOT NULL,
    shard integer NOT NULL,
    lease_token uuid,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    -- The last payer that is done; null before the first chunk.
    cursor_id uuid,
    next_chunk integer NOT NULL DEFAULT 0,
    done boolean NOT NULL DEFAULT false,
    PRIMARY KEY (run_id, shard)
);

-- Committed chunks: the first fence against doing one twice, and the run's totals.
CREATE TABLE billing.run_chunks (
    run_id uuid NOT NULL,
    phase text NOT NULL,
    shard integer NOT NULL,
    chunk integer NOT NULL,
    -- The process that did it.
    worker text NOT NULL,
    account_count integer NOT NULL,
    invoice_count integer NOT NULL,
    line_count integer NOT NULL,
    total_minor bigint NOT NULL,
    last_id uuid NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, phase, shard, chunk)
);

-- Numbers set aside for a chunk before it is written; a chunk that is done again uses them again.
CREATE TABLE billing.number_blocks (
    run_id uuid NOT NULL,
    shard integer NOT NULL,
    chunk integer NOT NULL,
    series_id integer NOT NULL,
    first_number bigint NOT NULL,
    number_count bigint NOT NULL CHECK (0 < number_count),
    PRIMARY KEY (run_id, shard, chunk, series_id)
);

-- What a phase that settles nothing found.
CREATE TABLE billing.run_outcomes (
    run_id uuid NOT NULL,
    root_id uuid NOT NULL,
    total_minor bigint NOT NULL,
    PRIMARY KEY (run_id, root_id)
);

CREATE TABLE billing.parked_accounts (
    run_id uuid NOT NULL,
    root_id uuid NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    parked_at timestamptz NOT NULL,
    released_at timestamptz,
    -- A number that was set aside for its invoice and is used at its release; null for none.
    series_id integer,
    number bigint,
    PRIMARY KEY (run_id, root_id)
);

-- News for other services, in order (D21): balances that crossed a threshold, runs that ended.
CREATE TABLE billing.outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The transaction that wrote it: a reader never passes one that may still be invisible.
    written_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    root_id uuid,
    kind text NOT NULL,
    balance_micros bigint,
    run_id uuid,
    created_at timestamptz NOT NULL
);

-- Views for whoever checks the suite from outside: stable names, read only.
CREATE SCHEMA billing_check;
CREATE VIEW billing_check.ledger_entry WITH (security_barrier) AS
    SELECT root_id, entry_id, posted_at, debit AS ledger_account, -amount_micros AS amount_micros, currency, reason,
           lot_id, invoice_id FROM billing.ledger_entries
    UNION ALL
    SELECT root_id, entry_id, posted_at, credit, amount_micros, currency, reason, lot_id, invoice_id
    FROM billing.ledger_entries;
CREATE VIEW billing_check.invoice AS SELECT * FROM billing.invoices;
CREATE VIEW billing_check.invoice_line AS SELECT * FROM billing.invoice_lines;
CREATE VIEW billing_check.credit AS SELECT * FROM billing.lots;
CREATE VIEW billing_check.job AS SELECT * FROM billing.run_shards;
CREATE VIEW billing_check.outbox AS SELECT * FROM billing.outbox;
CREATE VIEW billing_check.idempotency AS
    SELECT caller, account, method, request_id, created_at, response IS NOT NULL AS answered, status_code
    FROM billing.requests;
GRANT USAGE ON SCHEMA billing_check TO checker;
GRANT SELECT ON ALL TABLES IN SCHEMA billing_check TO checker;

GRANT USAGE ON SCHEMA billing TO billing_service;
GRANT SELECT ON ALL TABLES IN SCHEMA billing TO billing_service;
GRANT INSERT ON ALL TABLES IN SCHEMA billing TO billing_service;
REVOKE INSERT ON billing.ledger_accounts, billing._sqlx_migrations FROM billing_service;
GRANT UPDATE ON billing.requests, billing.test_clock, billing.accounts, billing.usage_events, billing.usage_days,
    billing.usage_months, billing.balances, billing.lots, billing.invoice_series, billing.runs, billing.run_shards,
    billing.parked_accounts TO billing_service;
GRANT UPDATE (state, from_balance_minor) ON billing.invoices TO billing_service;
GRANT DELETE ON billing.requests, billing.run_outcomes, billing.parked_accounts TO billing_service;
