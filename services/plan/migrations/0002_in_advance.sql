-- Plans that are paid in advance: offers of contract terms, closed accounts, news of timelines.

CREATE TABLE plan.contract_offers (
    offer_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    family_code text NOT NULL,
    plan_code text NOT NULL,
    currency text NOT NULL,
    -- What a month costs at least.
    minimum_minor bigint NOT NULL CHECK (0 < minimum_minor),
    term_months integer NOT NULL CHECK (0 < term_months),
    -- {"feature": "value", …}: in place of the plan's own values.
    entitlements jsonb NOT NULL,
    offered_by text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (created_at < expires_at),
    -- Null until it is accepted.
    accepted_at timestamptz CHECK (accepted_at < expires_at)
);
CREATE INDEX contract_offers_accepted ON plan.contract_offers (root_id, plan_code) WHERE accepted_at IS NOT NULL;

ALTER TABLE plan.segments
    -- The offer whose terms it has; null for those of the catalogue.
    ADD COLUMN offer_id uuid;
-- Two changes may fall on one instant: who leaves as it joins was never in.
ALTER TABLE plan.contract_members
    DROP CONSTRAINT contract_members_check,
    ADD CHECK (joined_at <= left_at);
-- Null while it is open.
ALTER TABLE plan.accounts ADD COLUMN closed_at timestamptz;

-- Timelines that changed, in order (D21).
CREATE TABLE plan.outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The transaction that wrote it: a reader never passes one that may still be invisible.
    written_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    root_id uuid NOT NULL,
    family_code text NOT NULL
);

GRANT SELECT, INSERT ON plan.contract_offers, plan.outbox TO plan_service;
GRANT UPDATE (accepted_at) ON plan.contract_offers TO plan_service;
GRANT UPDATE (closed_at) ON plan.accounts TO plan_service;
