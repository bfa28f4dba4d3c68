-- Catalogue versions, timelines of plans, contracts and ticket stamps.
CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA plan;

-- Answers already given, for 30 days.
CREATE TABLE plan.requests (
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
CREATE INDEX requests_by_age ON plan.requests (created_at);

-- The standing instant of a test clock; empty where the machine's clock counts.
CREATE TABLE plan.test_clock (
    only_row boolean PRIMARY KEY CHECK (only_row),
    standing_at timestamptz NOT NULL
);

CREATE TABLE plan.catalogues (
    version text PRIMARY KEY,
    -- SHA-256 of the document, hex.
    digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    document text NOT NULL,
    state text NOT NULL CHECK (state IN ('IMPORTED', 'ACTIVE', 'RETIRED')),
    effective_at timestamptz NOT NULL,
    imported_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX catalogues_one_active ON plan.catalogues (state) WHERE state = 'ACTIVE';

CREATE TABLE plan.accounts (
    account_id uuid PRIMARY KEY,
    -- The account itself for a root.
    root_id uuid NOT NULL,
    profile_code text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE plan.contracts (
    contract_id uuid PRIMARY KEY,
    family_code text NOT NULL,
    plan_code text NOT NULL,
    catalogue_version text NOT NULL,
    payer_id uuid NOT NULL,
    created_at timestamptz NOT NULL
);

-- Who was in a contract, and when.
CREATE TABLE plan.contract_members (
    contract_id uuid NOT NULL,
    root_id uuid NOT NULL,
    joined_at timestamptz NOT NULL,
    -- Null while in.
    left_at timestamptz,
    PRIMARY KEY (contract_id, root_id, joined_at),
    CHECK (joined_at < left_at)
);
CREATE INDEX contract_members_by_root ON plan.contract_members (root_id);

-- The timeline: which plan is in force when. Segments of one account and family never overlap.
CREATE TABLE plan.segments (
    root_id uuid NOT NULL,
    family_code text NOT NULL,
    start_at timestamptz NOT NULL,
    -- Null while open.
    end_at timestamptz,
    plan_code text NOT NULL,
    -- The version that the terms are from, for as long as the segment lasts (REQ-135).
    catalogue_version text NOT NULL,
    -- The root account that pays: itself, or the contract's payer.
    payer_id uuid NOT NULL,
    contract_id uuid,
    -- The billing cycle of a family that has them, and the day that it counts from.
    cycle_code text,
    anchor_on date,
    order_id uuid,
    PRIMARY KEY (root_id, family_code, start_at),
    CHECK (start_at < end_at),
    CHECK ((cycle_code IS NULL) = (anchor_on IS NULL)),
    CONSTRAINT segments_do_not_overlap EXCLUDE USING gist (
        root_id plan.gist_uuid_ops WITH =,
        family_code plan.gist_text_ops WITH =,
        tstzrange(start_at, end_at) WITH &&
    )
);
-- What a billing run reads, in its order.
CREATE INDEX segments_by_payer ON plan.segments (family_code, payer_id, root_id, start_at);

-- The few segments under a contract.
CREATE INDEX segments_in_contracts ON plan.segments (family_code, root_id) WHERE contract_id IS NOT NULL;

CREATE TABLE plan.ticket_stamps (
    ticket_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    priority_code text NOT NULL,
    plan_code text NOT NULL,
    catalogue_version text NOT NULL,
    platform_plan_code text NOT NULL,
    stamped_at timestamptz NOT NULL
);

GRANT USAGE ON SCHEMA plan TO plan_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON plan.requests, plan.test_clock, plan.segments TO plan_service;
GRANT SELECT, INSERT, UPDATE ON plan.catalogues, plan.contracts, plan.contract_members TO plan_service;
GRANT SELECT, INSERT ON plan.accounts, plan.ticket_stamps TO plan_service;
-- The service locks an account by its row.
GRANT UPDATE (profile_code) ON plan.accounts TO plan_service;
GRANT SELECT ON plan._sqlx_migrations TO plan_service;
