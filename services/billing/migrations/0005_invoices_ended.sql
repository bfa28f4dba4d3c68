-- Invoices that end without being paid: undone, or written off.
INSERT INTO billing.ledger_accounts VALUES (14, 'WRITTEN_OFF', 'OURS');
ALTER TABLE billing.ledger_entries DROP CONSTRAINT ledger_entries_debit_check;
ALTER TABLE billing.ledger_entries ADD CONSTRAINT ledger_entries_debit_check CHECK (debit BETWEEN 1 AND 14) NOT VALID;
ALTER TABLE billing.ledger_entries VALIDATE CONSTRAINT ledger_entries_debit_check;

-- Why, and by whom; one row an invoice.
CREATE TABLE billing.invoices_ended (
    invoice_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    -- 3 VOID, 4 UNCOLLECTIBLE, as in invoices.
    state smallint NOT NULL CHECK (state IN (3, 4)),
    -- Empty for one that was written off.
    reason text NOT NULL,
    ended_by text NOT NULL,
    ended_at timestamptz NOT NULL
);
GRANT SELECT, INSERT ON billing.invoices_ended TO billing_service;
