-- What providers sent: verified, kept once, and a hint only. What counts is looked up. Payloads, which
-- hold personal data, are not kept.
CREATE TABLE payments.webhook_events (
    webhook_event_id uuid PRIMARY KEY,
    provider_code text NOT NULL,
    -- The provider's own id of it.
    provider_event_id text NOT NULL,
    -- Its kind in the provider's word.
    event_type text NOT NULL,
    -- What it is about: the provider's ids of an object and of the object that belongs to, and our reference;
    -- empty where it has none.
    object_id text NOT NULL,
    parent_id text NOT NULL,
    reference text NOT NULL,
    state text NOT NULL CHECK (state IN ('RECEIVED', 'PROCESSED', 'IGNORED', 'FAILED')),
    -- The movement that it is about; null while unknown.
    movement_id uuid,
    delivery_count integer NOT NULL DEFAULT 1,
    attempt_count integer NOT NULL DEFAULT 0,
    failure_reason text NOT NULL DEFAULT '',
    received_at timestamptz NOT NULL,
    processed_at timestamptz,
    -- When a job processes it, by the database's clock.
    try_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (provider_code, provider_event_id)
);
CREATE INDEX webhook_events_to_process ON payments.webhook_events (try_at) WHERE state IN ('RECEIVED', 'FAILED');
CREATE INDEX webhook_events_newest ON payments.webhook_events (received_at, webhook_event_id);
GRANT SELECT, INSERT ON payments.webhook_events TO payments_service;
GRANT UPDATE (state, movement_id, delivery_count, attempt_count, failure_reason, processed_at, try_at)
    ON payments.webhook_events TO payments_service;
