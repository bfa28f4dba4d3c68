-- When a provider's book was looked through for disputes last: no webhook is needed to hear of one.
CREATE TABLE payments.dispute_scans (
    provider_code text PRIMARY KEY,
    -- When it is looked through next, by the database's clock.
    next_at timestamptz NOT NULL,
    -- Up to when it was looked through to the end; null for never.
    done_at timestamptz
);
GRANT SELECT, INSERT ON payments.dispute_scans TO payments_service;
GRANT UPDATE (next_at, done_at) ON payments.dispute_scans TO payments_service;
