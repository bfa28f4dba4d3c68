-- What moves into or out of a lot names it. Rows of before are not looked at: `Reconcile` tells of them.
ALTER TABLE billing.ledger_entries ADD CONSTRAINT ledger_entries_of_lots
    CHECK (lot_id IS NOT NULL OR (3 < debit AND 3 < credit)) NOT VALID;
