-- Accounts that close: what is settled and given back, once.
CREATE TABLE billing.closings (
    root_id uuid PRIMARY KEY,
    -- PREPARED: computed, and the balance stands still until it is settled. ABORTED: given up, and not prepared
    -- for that instant by a call that comes late.
    state text NOT NULL CHECK (state IN ('PREPARED', 'SETTLED', 'ABORTED')),
    close_at timestamptz NOT NULL,
    currency text NOT NULL,
    -- What was owed up to the closing.
    settlement_minor bigint NOT NULL CHECK (0 <= settlement_minor),
    -- What goes back, tax included.
    refund_minor bigint NOT NULL CHECK (0 <= refund_minor),
    -- Trial and promotional credit written off.
    forfeited_micros bigint NOT NULL CHECK (0 <= forfeited_micros),
    -- Until when the refund is paid out; null without one.
    due_on date,
    -- The intent of its refunds.
    intent_id uuid NOT NULL,
    -- The last invoice that it settled; null when nothing was owed.
    invoice_id uuid,
    catalogue_version text NOT NULL,
    prepared_at timestamptz NOT NULL,
    settled_at timestamptz,
    CHECK ((state = 'SETTLED') = (settled_at IS NOT NULL))
);
-- Months that a closing has settled: their runs leave the account out.
CREATE TABLE billing.closing_periods (
    family_code text NOT NULL,
    period_start date NOT NULL,
    root_id uuid NOT NULL,
    PRIMARY KEY (family_code, period_start, root_id)
);
GRANT SELECT, INSERT ON billing.closings, billing.closing_periods TO billing_service;
GRANT UPDATE (state, close_at, settlement_minor, refund_minor, forfeited_micros, due_on, intent_id, invoice_id,
              catalogue_version, prepared_at, settled_at)
    ON billing.closings TO billing_service;
CREATE VIEW billing_check.closing AS SELECT * FROM billing.closings;
GRANT SELECT ON billing_check.closing TO checker;
