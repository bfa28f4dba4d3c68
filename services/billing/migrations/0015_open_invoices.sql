-- Open invoices: their taxes, when they are due, what pays them, and how they are asked for.

-- The taxes of an invoice of a month; those of a purchase are its collection's.
CREATE TABLE billing.invoice_taxes (
    invoice_id uuid NOT NULL,
    line_number smallint NOT NULL,
    tax_code text NOT NULL,
    rate_bps bigint NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    PRIMARY KEY (invoice_id, line_number)
);

-- How an invoice that was issued to be paid later is asked for; it stays when it is paid.
CREATE TABLE billing.dunnings (
    invoice_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    -- The last day to pay it without being asked again, in the zone of the profile.
    due_on date NOT NULL,
    -- ISSUED: nobody was told of it yet. OVERDUE: it was due and could not be paid.
    state text NOT NULL CHECK (state IN ('ISSUED', 'TOLD', 'OVERDUE')),
    -- How many tries have failed since it was due.
    retries integer NOT NULL DEFAULT 0 CHECK (0 <= retries),
    -- When a job goes on; null while a payment is under way, and when there is nothing more to do.
    next_at timestamptz
);
CREATE INDEX dunnings_next ON billing.dunnings (next_at) WHERE next_at IS NOT NULL;
-- Those of before are told of now, and due in thirty days.
INSERT INTO billing.dunnings (invoice_id, root_id, due_on, state, next_at)
    SELECT invoice_id, root_id, current_date + 30, 'ISSUED', now() FROM billing.invoices WHERE state = 1;
-- Few are: those of a run that the balance pays are not among them.
CREATE INDEX invoices_open ON billing.invoices (period_start DESC, root_id, invoice_id) WHERE state = 1;

-- Money received outside for an open invoice.
CREATE TABLE billing.invoice_payments (
    payment_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    invoice_id uuid NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    -- What the bank calls it.
    reference text NOT NULL,
    received_on date NOT NULL,
    recorded_by text NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT invoice_payments_one_reference UNIQUE (root_id, reference)
);

-- INVOICE pays an open invoice; USAGE puts what an account that pays by invoice owes on one.
ALTER TABLE billing.collections
    ADD COLUMN invoice_id uuid,
    -- What the invoice did not need any more when the money arrived, and became credit.
    ADD COLUMN overpaid_minor bigint NOT NULL DEFAULT 0 CHECK (overpaid_minor BETWEEN 0 AND total_minor),
    DROP CONSTRAINT collections_purpose,
    DROP CONSTRAINT collections_of_orders,
    ADD CONSTRAINT collections_purpose CHECK (purpose IN ('ORDER', 'RECHARGE', 'RENEWAL', 'INVOICE', 'USAGE')),
    ADD CONSTRAINT collections_of_orders CHECK (CASE purpose WHEN 'ORDER' THEN order_id IS NOT NULL
                                                            WHEN 'INVOICE' THEN true ELSE order_id IS NULL END),
    ADD CONSTRAINT collections_of_invoices CHECK ((purpose = 'INVOICE') = (invoice_id IS NOT NULL));
-- An invoice is paid once at a time.
CREATE UNIQUE INDEX collections_one_payment ON billing.collections (invoice_id)
    WHERE invoice_id IS NOT NULL AND state NOT IN ('SUCCEEDED', 'DECLINED');

-- When what an account that pays by invoice owes for usage and rentals is put on one: with the start of each month.
CREATE TABLE billing.usage_bills (
    root_id uuid PRIMARY KEY,
    next_at timestamptz NOT NULL,
    -- From when a job looks at it, by the database's clock, after one that went wrong.
    look_at timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX usage_bills_due ON billing.usage_bills (next_at);
INSERT INTO billing.usage_bills (root_id, next_at)
    SELECT account_id, (date_trunc('month', now() AT TIME ZONE time_zone) + interval '1 month') AT TIME ZONE time_zone
    FROM billing.accounts WHERE invoiced AND root_id = account_id;

-- How the amount of a line was computed, in words.
ALTER TABLE billing.collection_lines ADD COLUMN formula text NOT NULL DEFAULT '';

-- What a lot paid for can come back to it, when usage turns out to have cost less; what left it for good can not. Null
-- for lots of before: nothing comes back to them.
ALTER TABLE billing.lots ADD COLUMN gone_micros bigint;
ALTER TABLE billing.lots ADD CONSTRAINT lots_gone
    CHECK (0 <= gone_micros AND gone_micros + remaining_micros <= amount_micros) NOT VALID;
CREATE OR REPLACE VIEW billing_check.credit AS SELECT * FROM billing.lots;

-- What is told of an open invoice; fell where it is overdue.
ALTER TABLE billing.outbox ADD COLUMN invoice_id uuid;

GRANT SELECT, INSERT ON billing.invoice_taxes, billing.dunnings, billing.invoice_payments TO billing_service;
GRANT SELECT, INSERT, DELETE ON billing.usage_bills TO billing_service;
GRANT UPDATE (next_at, look_at) ON billing.usage_bills TO billing_service;
GRANT UPDATE (state, retries, next_at) ON billing.dunnings TO billing_service;
GRANT UPDATE (charged_minor) ON billing.invoices TO billing_service;
GRANT UPDATE (overpaid_minor) ON billing.collections TO billing_service;

-- The share of tax in what goes back: owed again where the charge turns out to be lost.
ALTER TABLE billing.refunds ADD COLUMN tax_minor bigint NOT NULL DEFAULT 0
    CHECK (tax_minor BETWEEN 0 AND amount_minor);
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.invoice_payments FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE OR REPLACE VIEW billing_check.collection AS SELECT * FROM billing.collections;
CREATE VIEW billing_check.invoice_tax AS SELECT * FROM billing.invoice_taxes;
CREATE VIEW billing_check.dunning AS SELECT * FROM billing.dunnings;
CREATE VIEW billing_check.invoice_payment AS SELECT * FROM billing.invoice_payments;
GRANT SELECT ON billing_check.invoice_tax, billing_check.dunning, billing_check.invoice_payment TO checker;

-- What is told next is what no reader's snapshot has shown yet: it was written last.
CREATE INDEX outbox_by_writer ON billing.outbox (written_by);
