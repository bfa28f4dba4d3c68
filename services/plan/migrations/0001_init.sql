-- The schema of `plan`: catalogue versions, the timelines that say which plan is in force when, contracts, add-ons and
-- tickets' stamps.
--
-- The first part is what each of the four services has: requests, audit, units of work, jobs. It differs between them
-- in the name of the schema, in the table that says whose an account is, and in row-level security only. The second
-- part is what this service is for. The third part is views for whoever checks the suite from outside.
--
-- The service's role gets what it needs, table by table, and owns nothing. Every instant is by the clock of the suite,
-- which tests can set; where it is the database's own, the comment says so (D20). Money is whole: `_minor` in minor
-- units of its currency. Numbers such as D20 are those of services/decisions.md.

CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA plan;
GRANT USAGE ON SCHEMA plan TO plan_service;

-- ##### What each service has #####

-- === Requests ===
--
-- A change that is asked for twice with one request id is made once, and its answer is given again.

-- Every request that changes something, for 30 days: taken when its unit of work begins, with its answer when that
-- ends.
CREATE TABLE plan.requests (
    -- Who asked, as the audit names callers; request ids of two callers have nothing to do with each other.
    caller text NOT NULL,
    -- The account that the request names, in its words; empty for none.
    account text NOT NULL,
    method text NOT NULL,
    request_id uuid NOT NULL,
    -- SHA-256 of the request without its id. The same id with another request is refused.
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    -- The encoded answer; null while the work is under way and for a refusal.
    response bytea,
    -- The gRPC code of a refusal, with its message and details.
    status_code integer CHECK (0 < status_code),
    status_message text NOT NULL DEFAULT '',
    status_details bytea NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    -- The root account that the request is about, however the request names it, so that the answer is erased with its
    -- data (D38); in `account` it may be a user. Null for neither, and where it is not known yet.
    root_id uuid,
    -- What a person was let do when the request was answered, such as "AC… CLOSE". The answer is given again only while
    -- all of it is still allowed.
    asked text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (caller, account, method, request_id),
    CHECK (response IS NULL OR status_code IS NULL)
);
CREATE INDEX requests_by_age ON plan.requests (created_at);
CREATE INDEX requests_by_root ON plan.requests (root_id) WHERE root_id IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON plan.requests TO plan_service;

-- === Audit ===
--
-- Every unit of work that changes something adds an entry to the chain of its root account. Each entry holds the hash
-- of the entry before it, so that none can be changed or taken out unnoticed (R32, D24).

-- The entries. They are never updated or deleted, and say who did what, not with which values: those are hashed with a
-- key that is forgotten when the account's data are erased.
CREATE TABLE plan.audit_entries (
    -- The nil id for what is of no account.
    root_id uuid NOT NULL,
    sequence bigint NOT NULL CHECK (0 < sequence),
    actor text NOT NULL,
    -- Whom the actor acted for; empty for itself.
    on_behalf_of text NOT NULL,
    method text NOT NULL,
    request_id uuid NOT NULL,
    -- HMAC-SHA256 with the account's key: of the request; of the rows that were changed, before and after, empty where
    -- there were none.
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    before_hash bytea NOT NULL CHECK (octet_length(before_hash) IN (0, 32)),
    after_hash bytea NOT NULL CHECK (octet_length(after_hash) IN (0, 32)),
    -- SHA-256 of the entry before, and of this one.
    previous_hash bytea NOT NULL CHECK (octet_length(previous_hash) = CASE sequence WHEN 1 THEN 0 ELSE 32 END),
    entry_hash bytea NOT NULL CHECK (octet_length(entry_hash) = 32),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (root_id, sequence)
);
-- The end of each chain. Who adds an entry locks it.
CREATE TABLE plan.audit_heads (
    root_id uuid PRIMARY KEY,
    -- The key of the hashes. It is forgotten with the account's data, and made anew for what comes after; null between.
    key bytea CHECK (octet_length(key) = 32),
    sequence bigint NOT NULL DEFAULT 0,
    entry_hash bytea NOT NULL DEFAULT '',
    -- Up to which entry the chain was written to the file outside the database.
    anchored_sequence bigint NOT NULL DEFAULT 0
);
CREATE INDEX audit_heads_to_anchor ON plan.audit_heads (root_id) WHERE anchored_sequence < sequence;
GRANT SELECT, INSERT ON plan.audit_entries, plan.audit_heads TO plan_service;
GRANT UPDATE (key, sequence, entry_hash, anchored_sequence) ON plan.audit_heads TO plan_service;

-- The end of a chain only grows, one entry at a time; its key is forgotten, not exchanged. The owner of the schema is
-- not kept from changing it: an edit by hand is what the file outside the database reveals.
CREATE FUNCTION plan.keep_audit_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.sequence <> 0 OR NEW.entry_hash <> '' OR NEW.anchored_sequence <> 0 THEN
            RAISE EXCEPTION 'a chain begins with its first entry' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.sequence NOT IN (OLD.sequence, OLD.sequence + 1)
       OR (NEW.sequence = OLD.sequence AND NEW.entry_hash <> OLD.entry_hash)
       OR NEW.anchored_sequence NOT BETWEEN OLD.anchored_sequence AND NEW.sequence
       OR (OLD.key IS NOT NULL AND NEW.key IS NOT NULL AND NEW.key <> OLD.key) THEN
        RAISE EXCEPTION 'the end of a chain only grows' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_audit_head BEFORE INSERT OR UPDATE ON plan.audit_heads FOR EACH ROW
    WHEN (current_user = 'plan_service') EXECUTE FUNCTION plan.keep_audit_head();

-- Adds a changed row to the sums of the rows that a unit of work changes, before and after, for its entry. Tables whose
-- changes are audited have it as a trigger. The sums are settings of the transaction.
CREATE FUNCTION plan.sum_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM set_config('audit.before', encode(sha256(convert_to(
            coalesce(current_setting('audit.before', true), '') || TG_TABLE_NAME || OLD::text, 'UTF8')), 'hex'), true);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM set_config('audit.after', encode(sha256(convert_to(
            coalesce(current_setting('audit.after', true), '') || TG_TABLE_NAME || NEW::text, 'UTF8')), 'hex'), true);
    END IF;
    RETURN NULL;
END $$;

-- === Units of work ===
--
-- A unit of work begins and ends with one statement each, so that it needs two round trips beside its own statements.

-- Takes a request id, or tells what became of it; from here on what changes is audited. A second transaction with the
-- same id waits here until the first one ends, also where the id was taken by a step before.
CREATE FUNCTION plan.begin_unit(
    its_caller text, its_account text, its_method text, its_request uuid, its_hash bytea, its_time timestamptz,
    -- Whose rows the unit sees; null where that is not known yet.
    its_tenant text,
    -- The account that the request names, where that is the id of one.
    its_named uuid,
    -- The account that is held as it stands, where the work begins now: it does not end before the unit does. Null for
    -- none.
    its_held uuid,
    OUT is_new boolean,
    OUT known_hash bytea, OUT known_answer bytea,
    OUT known_code integer, OUT known_message text, OUT known_details bytea, OUT known_asked text[],
    OUT held_standings text[], OUT held_limited_at timestamptz
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('audit.on', 'on', true);
    IF its_tenant IS NOT NULL THEN
        PERFORM set_config('app.tenant', its_tenant, true);
    END IF;
    LOOP
        INSERT INTO plan.requests (caller, account, method, request_id, request_hash, created_at, root_id)
        VALUES (its_caller, its_account, its_method, its_request, its_hash, its_time,
                (SELECT it.root_id FROM plan.accounts it WHERE it.account_id = its_named))
        ON CONFLICT DO NOTHING;
        is_new := FOUND;
        EXIT WHEN is_new;
        SELECT q.request_hash, q.response, q.status_code, q.status_message, q.status_details, q.asked
        INTO known_hash, known_answer, known_code, known_message, known_details, known_asked
        FROM plan.requests q
        WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method
          AND q.request_id = its_request FOR UPDATE;
        -- What was found taken and is not there a statement later was forgotten in between, and can be taken.
        EXIT WHEN FOUND;
    END LOOP;
    IF is_new AND its_held IS NOT NULL THEN
        -- A statement of its own: it sees what a closing has committed that it waited for.
        SELECT it.standings, it.limited_at INTO held_standings, held_limited_at
        FROM plan.accounts it WHERE it.account_id = its_held FOR KEY SHARE;
    END IF;
END $$;

-- Tells what became of a request id, without taking it, and how an account stands, in one round trip outside of any
-- unit of work.
CREATE FUNCTION plan.known_request(
    its_caller text, its_account text, its_method text, its_request uuid,
    -- The account that is looked at; null for none.
    its_seen uuid,
    OUT is_new boolean,
    OUT known_hash bytea, OUT known_answer bytea,
    OUT known_code integer, OUT known_message text, OUT known_details bytea, OUT known_asked text[],
    OUT held_standings text[], OUT held_limited_at timestamptz
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT q.request_hash, q.response, q.status_code, q.status_message, q.status_details, q.asked
    INTO known_hash, known_answer, known_code, known_message, known_details, known_asked
    FROM plan.requests q
    WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method AND q.request_id = its_request;
    is_new := NOT FOUND;
    IF its_seen IS NOT NULL THEN
        SELECT it.standings, it.limited_at INTO held_standings, held_limited_at
        FROM plan.accounts it WHERE it.account_id = its_seen;
    END IF;
END $$;

-- A key of 32 bytes, filled up to the block of SHA-256 and combined with the byte `pad` (two hex digits): RFC 2104.
CREATE FUNCTION plan.padded(its_key bytea, pad text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(int8send((('x' || encode(substring(its_key FROM 8 * n + 1 FOR 8), 'hex'))::bit(64)
                                # ('x' || repeat(pad, 8))::bit(64))::bigint), ''::bytea ORDER BY n)
           || decode(repeat(pad, 32), 'hex')
    FROM generate_series(0, 3) AS n
$$;

-- A part of an entry, as its hash takes it in: with its length before it.
CREATE FUNCTION plan.audit_part(part bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT int8send(octet_length(part)::bigint) || part
$$;

-- Keeps the answer of a unit's request, and adds its entry to the audit. The chain is that of `its_root`, else of the
-- tenant that was entered, else of the account that the request names, else of none. Its head is locked here, after all
-- else that the unit locks, and until its commit.
CREATE FUNCTION plan.end_unit(
    its_caller text, its_account text, its_method text, its_request uuid, its_hash bytea,
    -- Null for a step without an answer.
    its_answer bytea,
    -- What the answer is about, where that is a user; the root account that the work was found to be about, where no
    -- chain says so; and what the caller was let do.
    its_user uuid, its_found uuid, its_asked text[],
    its_root uuid, its_named uuid, its_behalf text, its_time timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    nobody CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    tenant text := current_setting('app.tenant', true);
    chain uuid := coalesce(
        its_root,
        CASE WHEN tenant ~ '^[0-9a-f]{8}-' THEN tenant::uuid END,
        (SELECT it.root_id FROM plan.accounts it WHERE it.account_id = its_named),
        nobody);
    before_sum text := coalesce(current_setting('audit.before', true), '');
    after_sum text := coalesce(current_setting('audit.after', true), '');
    head plan.audit_heads;
    inner_pad bytea;
    outer_pad bytea;
    next_sequence bigint;
    keyed_request bytea;
    keyed_before bytea := '';
    keyed_after bytea := '';
    hash bytea;
BEGIN
    IF its_answer IS NOT NULL THEN
        -- The first answer stays.
        UPDATE plan.requests q
        SET response = its_answer, asked = its_asked,
            root_id = coalesce(its_user, nullif(chain, nobody), its_found, q.root_id)
        WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method
          AND q.request_id = its_request AND q.response IS NULL AND q.status_code IS NULL;
    END IF;
    PERFORM set_config('app.tenant', chain::text, true);
    SELECT it.* INTO head FROM plan.audit_heads it WHERE it.root_id = chain FOR UPDATE;
    IF head.key IS NULL THEN
        INSERT INTO plan.audit_heads AS it (root_id, key)
        VALUES (chain, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
        ON CONFLICT (root_id) DO UPDATE SET key = coalesce(it.key, excluded.key)
        RETURNING it.* INTO head;
    END IF;
    inner_pad := plan.padded(head.key, '36');
    outer_pad := plan.padded(head.key, '5c');
    keyed_request := sha256(outer_pad || sha256(inner_pad || its_hash));
    IF before_sum <> '' THEN
        keyed_before := sha256(outer_pad || sha256(inner_pad || convert_to(before_sum, 'UTF8')));
    END IF;
    IF after_sum <> '' THEN
        keyed_after := sha256(outer_pad || sha256(inner_pad || convert_to(after_sum, 'UTF8')));
    END IF;
    next_sequence := head.sequence + 1;
    hash := sha256(
        plan.audit_part(uuid_send(chain)) || plan.audit_part(int8send(next_sequence))
        || plan.audit_part(convert_to(its_caller, 'UTF8')) || plan.audit_part(convert_to(its_behalf, 'UTF8'))
        || plan.audit_part(convert_to(its_method, 'UTF8')) || plan.audit_part(uuid_send(its_request))
        || plan.audit_part(keyed_request) || plan.audit_part(keyed_before) || plan.audit_part(keyed_after)
        || plan.audit_part(head.entry_hash)
        || plan.audit_part(int8send((extract(epoch FROM its_time) * 1000000)::bigint)));
    INSERT INTO plan.audit_entries (root_id, sequence, actor, on_behalf_of, method, request_id, request_hash,
                                   before_hash, after_hash, previous_hash, entry_hash, created_at)
    VALUES (chain, next_sequence, its_caller, its_behalf, its_method, its_request, keyed_request,
            keyed_before, keyed_after, head.entry_hash, hash, its_time);
    UPDATE plan.audit_heads it SET sequence = next_sequence, entry_hash = hash WHERE it.root_id = chain;
END $$;

GRANT EXECUTE ON FUNCTION plan.begin_unit, plan.known_request, plan.end_unit TO plan_service;
GRANT EXECUTE ON FUNCTION plan.padded, plan.audit_part TO plan_service;

-- === Jobs ===

-- Work that a replica does now, or that is held back because it failed: of each row that a job goes through, by what
-- the row is known by. What was done has no row here.
CREATE TABLE plan.job_claims (
    job text NOT NULL,
    key text NOT NULL,
    -- CLAIMED: a replica works on it. FAILED: it is tried again. PARKED: it has failed so often that it is tried once a
    -- day. AWAY: another service was away.
    state text NOT NULL CHECK (state IN ('CLAIMED', 'FAILED', 'PARKED', 'AWAY')),
    -- Of who claimed it last: nobody else notes what came of it.
    token uuid NOT NULL,
    -- Until when nobody claims it, by the database's clock.
    held_until timestamptz NOT NULL,
    failure_count integer NOT NULL DEFAULT 0 CHECK (0 <= failure_count),
    -- How often other services were away since the last failure of its own.
    absence_count integer NOT NULL DEFAULT 0 CHECK (0 <= absence_count),
    -- Why it failed the last time.
    reason text NOT NULL DEFAULT '',
    -- What it takes to try it again where no row shows it as due, such as the place in a stream that the news came
    -- from. Null for the claims of rows.
    input text,
    -- When it failed the last time, by the database's clock; of what has not failed, when it was claimed first.
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job, key)
);
GRANT SELECT, INSERT, DELETE ON plan.job_claims TO plan_service;
GRANT UPDATE (state, token, held_until, failure_count, absence_count, reason, input, failed_at) ON plan.job_claims
    TO plan_service;

-- === Settings of the schema ===

-- The standing time of a test clock (D19); empty where the machine's clock counts.
CREATE TABLE plan.test_clock (
    only_row boolean PRIMARY KEY CHECK (only_row),
    standing_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON plan.test_clock TO plan_service;

-- The key that page tokens of lists are sealed with. All processes of the service agree on it, and it is made nowhere
-- else.
CREATE TABLE plan.page_keys (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    key bytea NOT NULL CHECK (octet_length(key) = 32)
);
INSERT INTO plan.page_keys (key)
    VALUES (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));
GRANT SELECT ON plan.page_keys TO plan_service;
GRANT SELECT ON plan._sqlx_migrations TO plan_service;

-- ##### What plan is for #####

-- === The catalogue ===

-- Every version of the catalogue that was imported. A version never changes, only its state does.
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
GRANT SELECT, INSERT ON plan.catalogues TO plan_service;
GRANT UPDATE (state) ON plan.catalogues TO plan_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON plan.catalogues FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION plan.sum_change();

-- === Accounts ===

-- Accounts as `account-lifecycle` tells of them (D1, D37). The service locks an account by its row.
CREATE TABLE plan.accounts (
    account_id uuid PRIMARY KEY,
    -- The account itself for a root.
    root_id uuid NOT NULL,
    profile_code text NOT NULL,
    created_at timestamptz NOT NULL,
    -- Null while it is open.
    closed_at timestamptz,
    -- How it stands: methods are open in some standings only. None while it is simply active; CLOSED and ERASED stay.
    standings text[] NOT NULL DEFAULT '{}'
        CHECK (standings <@ ARRAY['TRIAL', 'BALANCE', 'PARENT', 'TERMS', 'FRAUD', 'DORMANT', 'CLOSING', 'CLOSED',
                                  'ERASED']),
    -- From when it has no paid plan, also to come; null without.
    limited_at timestamptz,
    -- Which change of its standing was told last: an older one that comes later changes nothing.
    standing_revision bigint NOT NULL DEFAULT 0 CHECK (0 <= standing_revision)
);
-- The subaccounts of a root, which close with it.
CREATE INDEX accounts_subaccounts ON plan.accounts (root_id) WHERE root_id <> account_id;
-- Whatever is done to a root account with all its subaccounts.
CREATE INDEX accounts_by_root ON plan.accounts (root_id);
GRANT SELECT, INSERT ON plan.accounts TO plan_service;
GRANT UPDATE (profile_code, closed_at, standings, limited_at, standing_revision) ON plan.accounts TO plan_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON plan.accounts FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION plan.sum_change();

-- An account is closed for ever, since the instant that it was closed at (REQ-042).
CREATE FUNCTION plan.keep_closed_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an account is closed for ever' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER keep_closed_at BEFORE UPDATE OF closed_at ON plan.accounts FOR EACH ROW
    WHEN (OLD.closed_at IS NOT NULL AND NEW.closed_at IS DISTINCT FROM OLD.closed_at)
    EXECUTE FUNCTION plan.keep_closed_at();

-- === Timelines ===

-- The timeline of a root account in a family: which plan is in force when. Segments of one account and family never
-- overlap.
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
    -- The contract that governs it; null for none.
    contract_id uuid,
    -- The billing cycle of a family that has them, and the day that it counts from.
    cycle_code text,
    anchor_on date,
    -- The order that it came from; null for none.
    order_id uuid,
    -- The offer whose terms it has; null for those of the catalogue.
    offer_id uuid,
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
-- Who pays for a contract is billed by all who were in it.
CREATE INDEX segments_of_contracts ON plan.segments (contract_id, root_id) WHERE contract_id IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON plan.segments TO plan_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON plan.segments FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION plan.sum_change();

-- Locks root accounts in order of their ids, marks the transaction then as one that changes timelines (the advisory
-- lock of `plan.segments.hold`), and gives those accounts that exist, as they stand then.
CREATE FUNCTION plan.hold_timelines(its_ids uuid[]) RETURNS SETOF plan.accounts LANGUAGE plpgsql AS $$
BEGIN
    PERFORM a.account_id FROM plan.accounts a WHERE a.account_id = ANY (its_ids) ORDER BY a.account_id FOR NO KEY UPDATE;
    -- "time"
    PERFORM pg_advisory_xact_lock_shared(x'74696d65'::bigint);
    RETURN QUERY SELECT a.* FROM plan.accounts a WHERE a.account_id = ANY (its_ids) ORDER BY a.account_id;
END $$;
GRANT EXECUTE ON FUNCTION plan.hold_timelines TO plan_service;

-- What an account has beside its plan (REQ-085).
CREATE TABLE plan.add_ons (
    root_id uuid NOT NULL,
    -- The feature that it opens.
    add_on_code text NOT NULL,
    start_at timestamptz NOT NULL,
    -- Null while it is booked.
    end_at timestamptz CHECK (start_at <= end_at),
    currency text NOT NULL,
    -- What a month costs, as it was booked (REQ-135).
    monthly_minor bigint NOT NULL CHECK (0 < monthly_minor),
    PRIMARY KEY (root_id, add_on_code, start_at)
);
CREATE UNIQUE INDEX add_ons_one_open ON plan.add_ons (root_id, add_on_code) WHERE end_at IS NULL;
GRANT SELECT, INSERT ON plan.add_ons TO plan_service;
GRANT UPDATE (end_at) ON plan.add_ons TO plan_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON plan.add_ons FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION plan.sum_change();

-- === Contracts ===

-- Contracts of several root accounts of which one pays. Only who pays can change.
CREATE TABLE plan.contracts (
    contract_id uuid PRIMARY KEY,
    family_code text NOT NULL,
    plan_code text NOT NULL,
    catalogue_version text NOT NULL,
    payer_id uuid NOT NULL,
    created_at timestamptz NOT NULL
);
GRANT SELECT, INSERT ON plan.contracts TO plan_service;
GRANT UPDATE (payer_id) ON plan.contracts TO plan_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON plan.contracts FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION plan.sum_change();

-- Who was in a contract, and when. An account is in the contract that governs its timeline and in no other.
CREATE TABLE plan.contract_members (
    contract_id uuid NOT NULL,
    root_id uuid NOT NULL,
    joined_at timestamptz NOT NULL,
    -- Null while in.
    left_at timestamptz,
    PRIMARY KEY (contract_id, root_id, joined_at),
    -- Two changes may fall on one instant: who leaves as it joins was never in.
    CHECK (joined_at <= left_at)
);
CREATE INDEX contract_members_by_root ON plan.contract_members (root_id);
GRANT SELECT, INSERT ON plan.contract_members TO plan_service;
GRANT UPDATE (left_at) ON plan.contract_members TO plan_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON plan.contract_members FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION plan.sum_change();

-- Terms that were offered to one account in place of a plan's own.
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
-- Offers are listed newest first: by customers those of their account, by operators all.
CREATE INDEX contract_offers_by_root ON plan.contract_offers (root_id, created_at, offer_id);
CREATE INDEX contract_offers_by_time ON plan.contract_offers (created_at, offer_id);
GRANT SELECT, INSERT ON plan.contract_offers TO plan_service;
GRANT UPDATE (accepted_at) ON plan.contract_offers TO plan_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON plan.contract_offers FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION plan.sum_change();

-- === Tickets ===

-- What a ticket was promised under the plans that were in force when it was opened.
CREATE TABLE plan.ticket_stamps (
    ticket_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    priority_code text NOT NULL,
    plan_code text NOT NULL,
    catalogue_version text NOT NULL,
    platform_plan_code text NOT NULL,
    stamped_at timestamptz NOT NULL,
    -- How it is handled under the platform plan (REQ-090); empty for none.
    support_priority_code text NOT NULL DEFAULT ''
);
GRANT SELECT, INSERT ON plan.ticket_stamps TO plan_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON plan.ticket_stamps FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION plan.sum_change();

-- === Outbox ===

-- Timelines that changed, in order: what `WatchTimelines` tells (D21).
CREATE TABLE plan.outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The transaction that wrote it: a reader never passes one that may still be invisible.
    written_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    root_id uuid NOT NULL,
    family_code text NOT NULL
);
-- What is not told yet, with its positions: a reader finds from it where to begin, and goes on by the position.
CREATE INDEX outbox_unread ON plan.outbox (written_by, position);
GRANT SELECT, INSERT ON plan.outbox TO plan_service;

-- ##### Views for checks #####
--
-- For whoever checks the suite from outside: their names are stable, and they are read only.

CREATE SCHEMA plan_check;
CREATE VIEW plan_check.catalogue AS
    SELECT version, digest, state, effective_at, imported_at FROM plan.catalogues;
CREATE VIEW plan_check.account AS SELECT account_id, root_id, profile_code, created_at, closed_at FROM plan.accounts;
CREATE VIEW plan_check.segment AS SELECT * FROM plan.segments;
CREATE VIEW plan_check.contract AS SELECT * FROM plan.contracts;
CREATE VIEW plan_check.contract_member AS SELECT * FROM plan.contract_members;
CREATE VIEW plan_check.add_on AS SELECT * FROM plan.add_ons;
CREATE VIEW plan_check.ticket_stamp AS SELECT * FROM plan.ticket_stamps;
CREATE VIEW plan_check.outbox AS SELECT * FROM plan.outbox;
CREATE VIEW plan_check.idempotency AS
    SELECT caller, account, method, request_id, created_at, response IS NOT NULL AS answered, status_code
    FROM plan.requests;
CREATE VIEW plan_check.audit AS
    SELECT root_id, sequence, actor, on_behalf_of, method, request_id, entry_hash, created_at
    FROM plan.audit_entries;
GRANT USAGE ON SCHEMA plan_check TO checker;
GRANT SELECT ON ALL TABLES IN SCHEMA plan_check TO checker;
