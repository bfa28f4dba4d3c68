-- Orders that are paid for, and whom and where invoices go to.
ALTER TABLE account.orders DROP CONSTRAINT orders_kind_check;
ALTER TABLE account.orders ADD CONSTRAINT orders_kind_check CHECK (kind IN ('PLAN_CHANGE', 'BUY_CREDITS'));
ALTER TABLE account.orders DROP CONSTRAINT orders_state_check;
ALTER TABLE account.orders ADD CONSTRAINT orders_state_check
    CHECK (state IN ('QUOTED', 'CONFIRMED', 'COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT', 'COMPLETED', 'FAILED',
                     'EXPIRED'));
ALTER TABLE account.orders
    -- Null until the payment has settled, where that decides it.
    ALTER COLUMN effective_at DROP NOT NULL,
    -- The payment method; null for the account's default one, and where none is needed.
    ADD COLUMN method_id uuid,
    -- The collection of `billing` that asks for the payment; null before.
    ADD COLUMN collection_id uuid,
    -- The invoice of `billing`; null before it is issued.
    ADD COLUMN invoice_id uuid,
    -- When a job looks at a committed one next, by the database's clock, and how often it has.
    ADD COLUMN look_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN looks integer NOT NULL DEFAULT 0;
DROP INDEX account.orders_to_finish;
CREATE INDEX orders_to_finish ON account.orders (look_at)
    WHERE state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT');

CREATE TABLE account.billing_details (
    root_id uuid PRIMARY KEY,
    recipient_name text NOT NULL,
    address text NOT NULL,
    country_code text NOT NULL,
    state_code text NOT NULL,
    tax_id text NOT NULL,
    export_supply boolean NOT NULL,
    email text NOT NULL,
    -- Counted on with each change, and how far billing and payments know it (D1).
    revision integer NOT NULL,
    told_revision integer NOT NULL DEFAULT 0
);
CREATE INDEX billing_details_to_tell ON account.billing_details (root_id) WHERE told_revision < revision;
ALTER TABLE account.billing_details ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.billing_details FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.billing_details USING (account.entered(root_id));
GRANT SELECT, INSERT, UPDATE ON account.billing_details TO account_service;
