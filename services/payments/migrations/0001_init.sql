-- Accounts as payments knows them, and the catalogue whose payment methods it will read.
--
-- Row-level security is forced (D25): a transaction sees the rows of the root account that it
-- entered (`app.tenant`), of every one when it entered as 'all', and none before it has entered.

-- Answers already given, for 30 days.
CREATE TABLE payments.requests (
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
CREATE INDEX requests_by_age ON payments.requests (created_at);

-- The standing instant of a test clock; empty where the machine's clock counts.
CREATE TABLE payments.test_clock (
    only_row boolean PRIMARY KEY CHECK (only_row),
    standing_at timestamptz NOT NULL
);

-- Catalogue documents under their digest (D22).
CREATE TABLE payments.catalogues (
    -- SHA-256 of the document, hex.
    digest text PRIMARY KEY CHECK (digest ~ '^[0-9a-f]{64}$'),
    version text NOT NULL UNIQUE,
    document text NOT NULL,
    imported_at timestamptz NOT NULL
);

-- Which root an account belongs to: ids only, read before a tenant is entered.
CREATE TABLE payments.roots (
    account_id uuid PRIMARY KEY,
    root_id uuid NOT NULL
);

CREATE TABLE payments.accounts (
    root_id uuid NOT NULL,
    account_id uuid PRIMARY KEY,
    profile_code text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE FUNCTION payments.entered(root uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT current_setting('app.tenant', true) IN ('all', root::text)
$$;
ALTER TABLE payments.accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON payments.accounts USING (payments.entered(root_id));

GRANT USAGE ON SCHEMA payments TO payments_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON payments.requests, payments.test_clock TO payments_service;
GRANT SELECT, INSERT ON payments.catalogues, payments.roots, payments.accounts TO payments_service;
GRANT SELECT ON payments._sqlx_migrations TO payments_service;
GRANT EXECUTE ON FUNCTION payments.entered TO payments_service;
