-- What is told of a renewal that could not be paid: why, and when it is tried again; null for not any more.
ALTER TABLE billing.outbox
    ADD COLUMN reason text NOT NULL DEFAULT '',
    ADD COLUMN next_at timestamptz;
