-- Charges that their payers contest, as the provider's book has them. News of them stands in the outbox under
-- their own id.
CREATE TABLE payments.disputes (
    root_id uuid NOT NULL,
    dispute_id uuid PRIMARY KEY,
    charge_id uuid NOT NULL,
    provider_code text NOT NULL,
    -- The provider's own id.
    provider_id text NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    -- What the provider has taken back and not returned.
    withheld_minor bigint NOT NULL CHECK (0 <= withheld_minor),
    -- Why, in the provider's word.
    reason text NOT NULL,
    state text NOT NULL CHECK (state IN ('INQUIRY', 'OPEN', 'WON', 'LOST', 'WITHDRAWN')),
    -- Until when evidence is taken; null where none is.
    evidence_due_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Counted on with each change: a reading of the book that began before it changes nothing.
    revision integer NOT NULL DEFAULT 1,
    CONSTRAINT disputes_one_provider_id UNIQUE (provider_code, provider_id)
);
CREATE INDEX disputes_by_charge ON payments.disputes (charge_id);
ALTER TABLE payments.disputes ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.disputes FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON payments.disputes USING (payments.entered(root_id));
GRANT SELECT, INSERT ON payments.disputes TO payments_service;
GRANT UPDATE (withheld_minor, state, evidence_due_at, updated_at, revision) ON payments.disputes TO payments_service;
