-- Accounts that are suspended, dormant or closed, and how they were closed.
ALTER TABLE account.accounts
    -- Since when it is dormant; null while it is not.
    ADD COLUMN dormant_at timestamptz,
    -- Why it is suspended: BALANCE, PARENT, FRAUD, TERMS; none while it is not.
    ADD COLUMN suspensions text[] NOT NULL DEFAULT '{}',
    -- When it was closed for ever; null while it is open.
    ADD COLUMN closed_at timestamptz;

CREATE TABLE account.closings (
    root_id uuid NOT NULL,
    -- The account that was closed: a root with its subaccounts, or a subaccount alone.
    account_id uuid PRIMARY KEY,
    -- PREPARING: nothing is closed yet. ENDING: plan ends what is in force. CLOSED: it has to be settled. DONE.
    -- ABORTING: one of the others has refused, and it is given up.
    state text NOT NULL CHECK (state IN ('PREPARING', 'ENDING', 'CLOSED', 'DONE', 'ABORTING')),
    option text NOT NULL,
    close_at timestamptz NOT NULL,
    purge_at timestamptz NOT NULL CHECK (close_at < purge_at),
    actor text NOT NULL,
    currency text NOT NULL,
    settlement_minor bigint NOT NULL DEFAULT 0 CHECK (0 <= settlement_minor),
    refund_minor bigint NOT NULL DEFAULT 0 CHECK (0 <= refund_minor),
    forfeited_micros bigint NOT NULL DEFAULT 0 CHECK (0 <= forfeited_micros),
    -- Null without refund.
    due_on date,
    refund_ids text[] NOT NULL DEFAULT '{}',
    -- Who carries it out; nobody else does before then, by the database's clock.
    lease_token uuid NOT NULL,
    look_at timestamptz NOT NULL
);
CREATE INDEX closings_to_finish ON account.closings (look_at) WHERE state <> 'DONE';
ALTER TABLE account.closings ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.closings FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.closings USING (account.entered(root_id));
-- One that could not be is given up before anything is closed.
GRANT SELECT, INSERT, DELETE ON account.closings TO account_service;
GRANT UPDATE (state, settlement_minor, refund_minor, forfeited_micros, due_on, refund_ids, lease_token, look_at)
    ON account.closings TO account_service;
