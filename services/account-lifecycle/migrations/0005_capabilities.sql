-- What an account may do: its resources, registrations for messages, the numbers a trial may call, and mail.
ALTER TABLE account.accounts
    -- Since when it is live; null before.
    ADD COLUMN live_at timestamptz;

CREATE INDEX accounts_by_owner ON account.accounts (owner_id);
-- A user is deleted by support, and locked by whoever makes an account for it.
GRANT DELETE, UPDATE (display_name) ON account.users TO account_service;

CREATE TABLE account.resources (
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    resource_id uuid PRIMARY KEY,
    -- Such as FLOW, API_KEY, PHONE_NUMBER or TRIAL_NUMBER.
    kind_code text NOT NULL,
    sid text NOT NULL,
    display_name text NOT NULL,
    -- Never read by us; empty once released.
    document text NOT NULL,
    -- SHA-256 of the document as it was recorded.
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    created_at timestamptz NOT NULL,
    -- Null while it is held.
    released_at timestamptz CHECK (created_at <= released_at)
);
CREATE UNIQUE INDEX resources_one_sid ON account.resources (account_id, kind_code, sid) WHERE released_at IS NULL;
CREATE INDEX resources_newest ON account.resources (account_id, created_at, resource_id) WHERE released_at IS NULL;
CREATE INDEX resources_of_kind ON account.resources (root_id, kind_code);
ALTER TABLE account.resources ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.resources FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.resources USING (account.entered(root_id));

CREATE TABLE account.dlt_registrations (
    root_id uuid NOT NULL,
    registration_id uuid PRIMARY KEY,
    country_code text NOT NULL,
    entity_id text NOT NULL,
    headers text[] NOT NULL,
    created_at timestamptz NOT NULL,
    -- Null while it is in force.
    revoked_at timestamptz CHECK (created_at <= revoked_at)
);
CREATE UNIQUE INDEX dlt_registrations_one_country ON account.dlt_registrations (root_id, country_code)
    WHERE revoked_at IS NULL;
CREATE INDEX dlt_registrations_newest ON account.dlt_registrations (root_id, created_at, registration_id);
ALTER TABLE account.dlt_registrations ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.dlt_registrations FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.dlt_registrations USING (account.entered(root_id));

GRANT SELECT, INSERT ON account.resources, account.dlt_registrations TO account_service;
GRANT UPDATE (document, released_at) ON account.resources TO account_service;
GRANT UPDATE (revoked_at) ON account.dlt_registrations TO account_service;

CREATE TABLE account.whitelisted_numbers (
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    number_id uuid PRIMARY KEY,
    -- E.164.
    number text NOT NULL,
    created_at timestamptz NOT NULL,
    -- SHA-256 of the id and the code sent last.
    code_digest bytea NOT NULL CHECK (octet_length(code_digest) = 32),
    code_expires_at timestamptz NOT NULL,
    -- Codes sent since then, and wrong ones given back for the last.
    codes_since timestamptz NOT NULL,
    codes_sent integer NOT NULL CHECK (0 < codes_sent),
    codes_wrong integer NOT NULL CHECK (0 <= codes_wrong),
    -- Null until its code has come back.
    verified_at timestamptz,
    -- Null while it is on the list.
    removed_at timestamptz
);
CREATE UNIQUE INDEX whitelisted_numbers_once ON account.whitelisted_numbers (root_id, number) WHERE removed_at IS NULL;
CREATE INDEX whitelisted_numbers_newest ON account.whitelisted_numbers (root_id, created_at, number_id);
ALTER TABLE account.whitelisted_numbers ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.whitelisted_numbers FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.whitelisted_numbers USING (account.entered(root_id));
GRANT SELECT, INSERT ON account.whitelisted_numbers TO account_service;
GRANT UPDATE (code_digest, code_expires_at, codes_since, codes_sent, codes_wrong, verified_at, removed_at)
    ON account.whitelisted_numbers TO account_service;

-- Mail that is to be sent, or was: written with what it tells of.
CREATE TABLE account.notifications (
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    notification_id uuid PRIMARY KEY,
    -- What it tells of, the same on every retry: it is told once.
    event_key text NOT NULL UNIQUE,
    kind_code text NOT NULL,
    email text NOT NULL,
    -- [{"name", "value"}, …]
    facts jsonb NOT NULL,
    -- A code that is in it, and nowhere shown; empty once sent.
    secret text NOT NULL,
    -- The invoice that goes with it.
    invoice_id uuid,
    state text NOT NULL CHECK (state IN ('PENDING', 'SENT', 'FAILED')),
    attempt_count integer NOT NULL CHECK (0 <= attempt_count),
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    -- When it is tried next, by the database's clock.
    look_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((state = 'SENT') = (sent_at IS NOT NULL)),
    CHECK (state = 'PENDING' OR secret = '')
);
CREATE INDEX notifications_newest ON account.notifications (account_id, created_at, notification_id);
CREATE INDEX notifications_to_send ON account.notifications (look_at) WHERE state = 'PENDING';
ALTER TABLE account.notifications ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.notifications FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.notifications USING (account.entered(root_id));
GRANT SELECT, INSERT ON account.notifications TO account_service;
GRANT UPDATE (secret, state, attempt_count, sent_at, look_at) ON account.notifications TO account_service;
