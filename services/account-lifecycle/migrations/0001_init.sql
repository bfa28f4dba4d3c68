-- Accounts, users and roles, orders and tickets.
--
-- Row-level security is forced (D25): a transaction sees the rows of the root account that it
-- entered (`app.tenant`), of every one when it entered as 'all', and none before it has entered.

-- Answers already given, for 30 days.
CREATE TABLE account.requests (
    caller text NOT NULL,
    account text NOT NULL,
    method text NOT NULL,
    request_id uuid NOT NULL,
    -- SHA-256 of the request without its id.
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    -- The encoded answer; null while under way and for a refusal.
    response bytea,
    -- The gRPC code of a refusal, with its message and details.
    status_code integer CHECK (0 < status_code),
    status_message text NOT NULL DEFAULT '',
    status_details bytea NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    PRIMARY KEY (caller, account, method, request_id),
    CHECK (response IS NULL OR status_code IS NULL)
);
CREATE INDEX requests_by_age ON account.requests (created_at);

-- The standing instant of a test clock; empty where the machine's clock counts.
CREATE TABLE account.test_clock (
    only_row boolean PRIMARY KEY CHECK (only_row),
    standing_at timestamptz NOT NULL
);

-- Which root an account belongs to: ids only, read before a tenant is entered.
CREATE TABLE account.roots (
    account_id uuid PRIMARY KEY,
    root_id uuid NOT NULL
);

-- People who log in; not of a tenant, as they outlive accounts.
CREATE TABLE account.users (
    user_id uuid PRIMARY KEY,
    email text NOT NULL,
    display_name text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX users_one_email ON account.users (lower(email));

CREATE TABLE account.accounts (
    root_id uuid NOT NULL,
    account_id uuid PRIMARY KEY,
    -- Null for a root account.
    parent_id uuid,
    profile_code text NOT NULL,
    display_name text NOT NULL,
    owner_id uuid NOT NULL,
    -- TRIAL or FULL.
    type text NOT NULL CHECK (type IN ('TRIAL', 'FULL')),
    invoiced boolean NOT NULL,
    currency text NOT NULL,
    created_at timestamptz NOT NULL,
    -- When plan, billing and payments had opened it too (D1); null until then.
    opened_at timestamptz,
    CHECK ((parent_id IS NULL) = (root_id = account_id))
);
CREATE INDEX accounts_newest ON account.accounts (created_at, account_id);
CREATE INDEX accounts_by_root ON account.accounts (root_id);
CREATE INDEX accounts_to_open ON account.accounts (created_at) WHERE opened_at IS NULL;

-- Who may act for an account; a role on a root holds for its subaccounts.
CREATE TABLE account.members (
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role_code text NOT NULL,
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, user_id, role_code)
);

CREATE TABLE account.orders (
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    order_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('PLAN_CHANGE')),
    state text NOT NULL CHECK (state IN ('QUOTED', 'CONFIRMED', 'COMMITTING', 'COMPLETED', 'FAILED', 'EXPIRED')),
    by_operator boolean NOT NULL,
    -- Who quoted it, as the audit names callers.
    actor text NOT NULL,
    family_code text NOT NULL,
    from_plan_code text NOT NULL,
    to_plan_code text NOT NULL,
    billing_cycle_code text NOT NULL,
    -- IMMEDIATE, IMMEDIATE_ON_PAYMENT, NEXT_CYCLE or NEXT_RENEWAL.
    effect text NOT NULL,
    effective_at timestamptz NOT NULL,
    -- The day of the next charge; null for none.
    billing_on date,
    timeline_etag text NOT NULL,
    catalogue_version text NOT NULL,
    action_label text NOT NULL,
    warnings text[] NOT NULL,
    -- [{"description", "amount", "currency"}, …]: estimates, as usage is not over.
    lines jsonb NOT NULL,
    confirmations_required integer NOT NULL CHECK (0 <= confirmations_required),
    confirmations_given integer NOT NULL CHECK (confirmations_given BETWEEN 0 AND confirmations_required),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (created_at < expires_at),
    committed_at timestamptz,
    completed_at timestamptz,
    failure_reason text NOT NULL DEFAULT ''
);
CREATE INDEX orders_by_account ON account.orders (account_id, order_id);
CREATE INDEX orders_to_finish ON account.orders (committed_at) WHERE state = 'COMMITTING';

CREATE TABLE account.tickets (
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    ticket_id uuid PRIMARY KEY,
    channel_code text NOT NULL,
    priority_code text NOT NULL,
    subject text NOT NULL,
    plan_code text NOT NULL,
    platform_plan_code text NOT NULL,
    -- 0 for no guarantee.
    response_minutes integer NOT NULL,
    response_always boolean NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX tickets_by_account ON account.tickets (account_id, created_at, ticket_id);

CREATE FUNCTION account.entered(root uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT current_setting('app.tenant', true) IN ('all', root::text)
$$;
ALTER TABLE account.accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.accounts USING (account.entered(root_id));
ALTER TABLE account.members ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.members FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.members USING (account.entered(root_id));
ALTER TABLE account.orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.orders FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.orders USING (account.entered(root_id));
ALTER TABLE account.tickets ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.tickets FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.tickets USING (account.entered(root_id));

GRANT USAGE ON SCHEMA account TO account_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON account.requests, account.test_clock TO account_service;
GRANT SELECT, INSERT ON account.roots, account.users, account.tickets TO account_service;
GRANT SELECT, INSERT, UPDATE ON account.accounts, account.orders TO account_service;
GRANT SELECT, INSERT, DELETE ON account.members TO account_service;
GRANT SELECT ON account._sqlx_migrations TO account_service;
GRANT EXECUTE ON FUNCTION account.entered TO account_service;
