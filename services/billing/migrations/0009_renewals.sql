-- Subscriptions that are paid in advance, and their renewals (REQ-127).
ALTER TABLE billing.collections
    -- ORDER, RECHARGE or RENEWAL.
    ADD COLUMN purpose text;
UPDATE billing.collections SET purpose = CASE WHEN order_id IS NULL THEN 'RECHARGE' ELSE 'ORDER' END;
ALTER TABLE billing.collections
    ALTER COLUMN purpose SET NOT NULL,
    ADD CONSTRAINT collections_purpose CHECK (purpose IN ('ORDER', 'RECHARGE', 'RENEWAL')),
    ADD CONSTRAINT collections_of_orders CHECK ((purpose = 'ORDER') = (order_id IS NOT NULL));
-- INVOICED: an open invoice stands for it.
ALTER TABLE billing.collections DROP CONSTRAINT collections_state_check;
ALTER TABLE billing.collections ADD CONSTRAINT collections_state_check
    CHECK (state IN ('CREATED', 'PENDING', 'AWAITING_SETTLEMENT', 'UNKNOWN', 'PARKED', 'SUCCEEDED', 'DECLINED', 'INVOICED'));
DROP INDEX billing.collections_one_recharge;
CREATE UNIQUE INDEX collections_one_recharge ON billing.collections (root_id)
    WHERE purpose = 'RECHARGE' AND state NOT IN ('SUCCEEDED', 'DECLINED');
DROP INDEX billing.collections_recharges;
CREATE INDEX collections_recharges ON billing.collections (root_id, created_at) WHERE purpose = 'RECHARGE';

CREATE TABLE billing.subscriptions (
    root_id uuid NOT NULL,
    family_code text NOT NULL,
    -- ENDING: every try has failed, and plan has not been told yet.
    state text NOT NULL CHECK (state IN ('ACTIVE', 'PAST_DUE', 'ENDING')),
    -- Where the cycle begins that is to be paid next, or is being paid.
    cycle_start_at timestamptz NOT NULL,
    -- Where the one after it begins; null until its payment is asked for.
    next_start_at timestamptz CHECK (cycle_start_at < next_start_at),
    -- What asks for its payment; null before.
    collection_id uuid UNIQUE,
    -- How many tries have failed by the payer's fault.
    retries integer NOT NULL DEFAULT 0 CHECK (0 <= retries),
    -- When a job goes on; null while a payment is under way.
    due_at timestamptz,
    PRIMARY KEY (root_id, family_code),
    CHECK ((collection_id IS NULL) = (next_start_at IS NULL))
);
CREATE INDEX subscriptions_due ON billing.subscriptions (due_at) WHERE due_at IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON billing.subscriptions TO billing_service;

CREATE OR REPLACE VIEW billing_check.collection AS SELECT * FROM billing.collections;
CREATE VIEW billing_check.subscription AS SELECT * FROM billing.subscriptions;
GRANT SELECT ON billing_check.subscription TO checker;

-- Paid credit that expires because no plan is paid for any more (C-21): a new one takes that back.
ALTER TABLE billing.lots ADD COLUMN lapses boolean NOT NULL DEFAULT false;
