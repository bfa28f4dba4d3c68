-- The lives of accounts: trials, upgrades, limits, and what is told of them.
ALTER TABLE account.accounts
    -- Null where it never had a trial.
    ADD COLUMN trial_end_at timestamptz,
    -- Null on trial.
    ADD COLUMN upgraded_at timestamptz,
    -- From when it is limited, also to come, and why; null for never.
    ADD COLUMN limited_at timestamptz,
    ADD COLUMN limit_reason text NOT NULL DEFAULT '',
    -- The limit that its history tells of.
    ADD COLUMN limit_told_at timestamptz,
    -- Where its KYC stands, of its last submission.
    ADD COLUMN kyc_state text NOT NULL DEFAULT 'NOT_SUBMITTED',
    ADD CONSTRAINT accounts_limited_for CHECK ((limited_at IS NULL) = (limit_reason = ''));
CREATE INDEX accounts_to_limit ON account.accounts (limited_at)
    WHERE parent_id IS NULL AND limited_at IS DISTINCT FROM limit_told_at;

-- Named, dated changes of state; never updated.
CREATE TABLE account.transitions (
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    sequence bigint NOT NULL CHECK (0 < sequence),
    -- TYPE, STATUS, MODE, SUBSCRIPTION, ORDER, KYC, DLT, ROLE or LIVE.
    state_code text NOT NULL,
    resource_id text NOT NULL,
    transition_code text NOT NULL,
    from_code text NOT NULL,
    to_code text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (account_id, sequence)
);
ALTER TABLE account.transitions ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.transitions FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.transitions USING (account.entered(root_id));

CREATE TABLE account.kyc_submissions (
    root_id uuid NOT NULL,
    kyc_id uuid PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('PENDING', 'IN_REVIEW', 'APPROVED', 'REJECTED', 'ADDITIONAL_INFO_REQUIRED',
                                         'WITHDRAWN')),
    country_code text NOT NULL,
    legal_name text NOT NULL,
    signatory_is_director boolean NOT NULL,
    -- [{"code", "file_name", "file_type", "size_bytes", "digest"}, …]: what they are, not the files.
    documents jsonb NOT NULL,
    submitted_at timestamptz NOT NULL,
    review_due_on date NOT NULL,
    reviewed_at timestamptz,
    reviewer text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT ''
);
CREATE INDEX kyc_submissions_by_root ON account.kyc_submissions (root_id, kyc_id);
CREATE INDEX kyc_submissions_to_review ON account.kyc_submissions (submitted_at, kyc_id);
-- One an account that is not decided against.
CREATE UNIQUE INDEX kyc_submissions_one_open ON account.kyc_submissions (root_id)
    WHERE state NOT IN ('REJECTED', 'WITHDRAWN');
ALTER TABLE account.kyc_submissions ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.kyc_submissions FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.kyc_submissions USING (account.entered(root_id));

ALTER TABLE account.orders DROP CONSTRAINT orders_kind_check;
ALTER TABLE account.orders
    ADD CONSTRAINT orders_kind_check CHECK (kind IN ('PLAN_CHANGE', 'BUY_CREDITS', 'UPGRADE')),
    -- Whether auto-recharge is switched on with it.
    ADD COLUMN auto_recharge boolean NOT NULL DEFAULT false,
    -- The accepted offer that it was quoted by; empty for none.
    ADD COLUMN offer_id text NOT NULL DEFAULT '';
-- One plan at a time is changed, or paid for.
CREATE UNIQUE INDEX orders_one_plan ON account.orders (root_id, family_code)
    WHERE kind IN ('UPGRADE', 'PLAN_CHANGE') AND state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT');

-- How far what other services tell was followed; written with its effect.
CREATE TABLE account.watch_positions (
    source text PRIMARY KEY,
    resume_token text NOT NULL
);

GRANT SELECT, INSERT ON account.transitions, account.kyc_submissions, account.watch_positions TO account_service;
GRANT UPDATE (state, country_code, legal_name, signatory_is_director, documents, submitted_at, review_due_on, reviewed_at,
              reviewer, reason) ON account.kyc_submissions TO account_service;
GRANT UPDATE ON account.watch_positions TO account_service;
