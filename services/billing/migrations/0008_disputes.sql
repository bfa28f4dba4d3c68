-- Charges that are contested: what providers hold back of them, and what customers owe for those that were lost.
INSERT INTO billing.ledger_accounts VALUES (15, 'DISPUTED', 'OURS');
ALTER TABLE billing.ledger_entries DROP CONSTRAINT ledger_entries_debit_check;
ALTER TABLE billing.ledger_entries ADD CONSTRAINT ledger_entries_debit_check CHECK (debit BETWEEN 1 AND 15) NOT VALID;
ALTER TABLE billing.ledger_entries VALIDATE CONSTRAINT ledger_entries_debit_check;
ALTER TABLE billing.ledger_entries DROP CONSTRAINT ledger_entries_check;
ALTER TABLE billing.ledger_entries
    ADD CONSTRAINT ledger_entries_check CHECK (credit BETWEEN 1 AND 15 AND credit <> debit) NOT VALID;
ALTER TABLE billing.ledger_entries VALIDATE CONSTRAINT ledger_entries_check;
CREATE TABLE billing.disputes (
    root_id uuid NOT NULL,
    -- Of payments.
    dispute_id uuid PRIMARY KEY,
    collection_id uuid NOT NULL,
    -- What the provider holds back, as booked.
    withheld_minor bigint NOT NULL CHECK (0 <= withheld_minor),
    -- What was taken back from the customer's balance, once, when it was lost.
    taken_micros bigint NOT NULL CHECK (0 <= taken_micros)
);
-- A refund of a charge that was lost to its payer is given back to the balance.
ALTER TABLE billing.refunds DROP CONSTRAINT refunds_state_check;
ALTER TABLE billing.refunds ADD CONSTRAINT refunds_state_check
    CHECK (state IN ('CREATED', 'PROCESSING', 'RETRYING', 'NEEDS_MANUAL', 'SUCCEEDED', 'UNDONE'));
CREATE INDEX refunds_by_charge ON billing.refunds (charge_id);
CREATE INDEX disputes_by_collection ON billing.disputes (collection_id);
CREATE INDEX collections_by_charge ON billing.collections (charge_id) WHERE charge_id IS NOT NULL;
GRANT SELECT, INSERT ON billing.disputes TO billing_service;
GRANT UPDATE (withheld_minor, taken_micros) ON billing.disputes TO billing_service;
