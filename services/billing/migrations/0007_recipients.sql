-- Whom invoices went to, and when: one that was issued before a change keeps what it shows.
CREATE TABLE billing.recipients (
    root_id uuid NOT NULL,
    -- Until the next one.
    since timestamptz NOT NULL,
    recipient text NOT NULL,
    PRIMARY KEY (root_id, since)
);
INSERT INTO billing.recipients SELECT account_id, created_at, recipient FROM billing.accounts WHERE recipient <> '';
GRANT SELECT, INSERT ON billing.recipients TO billing_service;
-- Two changes at one instant: the later one counts.
GRANT UPDATE (recipient) ON billing.recipients TO billing_service;
ALTER TABLE billing.accounts
    DROP COLUMN recipient,
    -- Which revision of the details these are, as account-lifecycle counts them: an older one that comes later
    -- changes nothing.
    ADD COLUMN details_revision integer NOT NULL DEFAULT 0;
