-- Accounts that are deleted: usage goes record by record, its monthly sums and the books stay. Whom invoices went
-- to is kept sealed for as long as the law asks for the invoices (D24): no RPC shows it.
CREATE TABLE billing.sealed_recipients (
    root_id uuid NOT NULL,
    since timestamptz NOT NULL,
    -- AES-256-GCM with the key of the account: 12 bytes of nonce, then the text and its tag.
    sealed bytea NOT NULL CHECK (28 <= octet_length(sealed)),
    PRIMARY KEY (root_id, since)
);
CREATE TABLE billing.retention_keys (
    root_id uuid PRIMARY KEY,
    key bytea NOT NULL CHECK (octet_length(key) = 32),
    -- When it is destroyed, and what it opens with it.
    destroy_at timestamptz NOT NULL
);
CREATE INDEX retention_keys_due ON billing.retention_keys (destroy_at);
GRANT SELECT, INSERT, DELETE ON billing.sealed_recipients, billing.retention_keys TO billing_service;
GRANT DELETE ON billing.recipients, billing.usage_events, billing.usage_days TO billing_service;
CREATE INDEX collections_with_page ON billing.collections (root_id) WHERE action_url <> '';
CREATE INDEX refunds_open ON billing.refunds (root_id) WHERE state NOT IN ('SUCCEEDED', 'UNDONE');
