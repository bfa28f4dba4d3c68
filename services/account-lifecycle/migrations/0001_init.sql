-- The schema of `account-lifecycle`: accounts, users and roles, orders, what an account may do, closings, and mail.
--
-- The first part is what each of the four services has: requests, audit, units of work, jobs. It differs between them
-- in the name of the schema, in the table that says whose an account is, and in row-level security only. The second
-- part is what this service is for. The third part is views for whoever checks the suite from outside.
--
-- The service's role gets what it needs, table by table, and owns nothing. Every instant is by the clock of the suite,
-- which tests can set; where it is the database's own, the comment says so (D20). Money is whole: `_minor` in minor
-- units of its currency, `_micros` in millionths of its unit. Numbers such as D20 are those of services/decisions.md.

GRANT USAGE ON SCHEMA account TO account_service;

-- === Row-level security ===
--
-- It is forced (D25): a transaction sees the rows of the root account that it entered (`app.tenant`), of every one when
-- it entered as 'all', as jobs do, and none before it has entered. The policies `of_checks` let the owner read, as the
-- views for checks do: force includes the owner.

-- Whether a transaction sees the rows of a root account.
CREATE FUNCTION account.entered(root uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT current_setting('app.tenant', true) IN ('all', root::text)
$$;
GRANT EXECUTE ON FUNCTION account.entered TO account_service;

-- ##### What each service has #####

-- === Requests ===
--
-- A change that is asked for twice with one request id is made once, and its answer is given again.

-- Every request that changes something, for 30 days: taken when its unit of work begins, with its answer when that
-- ends.
CREATE TABLE account.requests (
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
CREATE INDEX requests_by_age ON account.requests (created_at);
CREATE INDEX requests_by_root ON account.requests (root_id) WHERE root_id IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON account.requests TO account_service;
-- Stored answers are their callers'. A transaction sees the answers to the caller that its unit of work entered
-- (`app.caller`), and those about the root account that it entered (`app.tenant`). The key of an answer begins with its
-- caller, so that a request id is taken before it is known which account it is about.
ALTER TABLE account.requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.requests FORCE ROW LEVEL SECURITY;
CREATE POLICY of_caller ON account.requests
    USING (caller = current_setting('app.caller', true) OR account.entered(root_id));
CREATE POLICY of_checks ON account.requests FOR SELECT TO account_owner USING (true);

-- === Audit ===
--
-- Every unit of work that changes something adds an entry to the chain of its root account. Each entry holds the hash
-- of the entry before it, so that none can be changed or taken out unnoticed (R32, D24).

-- The entries. They are never updated or deleted, and say who did what, not with which values: those are hashed with a
-- key that is forgotten when the account's data are erased.
CREATE TABLE account.audit_entries (
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
CREATE TABLE account.audit_heads (
    root_id uuid PRIMARY KEY,
    -- The key of the hashes. It is forgotten with the account's data, and made anew for what comes after; null between.
    key bytea CHECK (octet_length(key) = 32),
    sequence bigint NOT NULL DEFAULT 0,
    entry_hash bytea NOT NULL DEFAULT '',
    -- Up to which entry the chain was written to the file outside the database.
    anchored_sequence bigint NOT NULL DEFAULT 0
);
CREATE INDEX audit_heads_to_anchor ON account.audit_heads (root_id) WHERE anchored_sequence < sequence;
GRANT SELECT, INSERT ON account.audit_entries, account.audit_heads TO account_service;
GRANT UPDATE (key, sequence, entry_hash, anchored_sequence) ON account.audit_heads TO account_service;
ALTER TABLE account.audit_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.audit_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.audit_entries USING (account.entered(root_id));
CREATE POLICY of_checks ON account.audit_entries FOR SELECT TO account_owner USING (true);
ALTER TABLE account.audit_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.audit_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.audit_heads USING (account.entered(root_id));

-- The end of a chain only grows, one entry at a time; its key is forgotten, not exchanged. The owner of the schema is
-- not kept from changing it: an edit by hand is what the file outside the database reveals.
CREATE FUNCTION account.keep_audit_head() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER keep_audit_head BEFORE INSERT OR UPDATE ON account.audit_heads FOR EACH ROW
    WHEN (current_user = 'account_service') EXECUTE FUNCTION account.keep_audit_head();

-- Adds a changed row to the sums of the rows that a unit of work changes, before and after, for its entry. Tables whose
-- changes are audited have it as a trigger. The sums are settings of the transaction.
CREATE FUNCTION account.sum_change() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE FUNCTION account.begin_unit(
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
    PERFORM set_config('app.caller', its_caller, true);
    IF its_tenant IS NOT NULL THEN
        PERFORM set_config('app.tenant', its_tenant, true);
    END IF;
    LOOP
        INSERT INTO account.requests (caller, account, method, request_id, request_hash, created_at, root_id)
        VALUES (its_caller, its_account, its_method, its_request, its_hash, its_time,
                (SELECT it.root_id FROM account.roots it WHERE it.account_id = its_named))
        ON CONFLICT DO NOTHING;
        is_new := FOUND;
        EXIT WHEN is_new;
        SELECT q.request_hash, q.response, q.status_code, q.status_message, q.status_details, q.asked
        INTO known_hash, known_answer, known_code, known_message, known_details, known_asked
        FROM account.requests q
        WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method
          AND q.request_id = its_request FOR UPDATE;
        -- What was found taken and is not there a statement later was forgotten in between, and can be taken.
        EXIT WHEN FOUND;
    END LOOP;
    IF is_new AND its_held IS NOT NULL THEN
        -- A statement of its own: it sees what a closing has committed that it waited for.
        SELECT it.standings, it.limited_at INTO held_standings, held_limited_at
        FROM account.roots it WHERE it.account_id = its_held FOR KEY SHARE;
    END IF;
END $$;

-- Tells what became of a request id, without taking it, and how an account stands, in one round trip outside of any
-- unit of work.
CREATE FUNCTION account.known_request(
    its_caller text, its_account text, its_method text, its_request uuid,
    -- The account that is looked at; null for none.
    its_seen uuid,
    OUT is_new boolean,
    OUT known_hash bytea, OUT known_answer bytea,
    OUT known_code integer, OUT known_message text, OUT known_details bytea, OUT known_asked text[],
    OUT held_standings text[], OUT held_limited_at timestamptz
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.caller', its_caller, true);
    SELECT q.request_hash, q.response, q.status_code, q.status_message, q.status_details, q.asked
    INTO known_hash, known_answer, known_code, known_message, known_details, known_asked
    FROM account.requests q
    WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method AND q.request_id = its_request;
    is_new := NOT FOUND;
    IF its_seen IS NOT NULL THEN
        SELECT it.standings, it.limited_at INTO held_standings, held_limited_at
        FROM account.roots it WHERE it.account_id = its_seen;
    END IF;
END $$;

-- A key of 32 bytes, filled up to the block of SHA-256 and combined with the byte `pad` (two hex digits): RFC 2104.
CREATE FUNCTION account.padded(its_key bytea, pad text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(int8send((('x' || encode(substring(its_key FROM 8 * n + 1 FOR 8), 'hex'))::bit(64)
                                # ('x' || repeat(pad, 8))::bit(64))::bigint), ''::bytea ORDER BY n)
           || decode(repeat(pad, 32), 'hex')
    FROM generate_series(0, 3) AS n
$$;

-- A part of an entry, as its hash takes it in: with its length before it.
CREATE FUNCTION account.audit_part(part bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT int8send(octet_length(part)::bigint) || part
$$;

-- Keeps the answer of a unit's request, and adds its entry to the audit. The chain is that of `its_root`, else of the
-- tenant that was entered, else of the account that the request names, else of none. Its head is locked here, after all
-- else that the unit locks, and until its commit.
CREATE FUNCTION account.end_unit(
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
        (SELECT it.root_id FROM account.roots it WHERE it.account_id = its_named),
        nobody);
    before_sum text := coalesce(current_setting('audit.before', true), '');
    after_sum text := coalesce(current_setting('audit.after', true), '');
    head account.audit_heads;
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
        UPDATE account.requests q
        SET response = its_answer, asked = its_asked,
            root_id = coalesce(its_user, nullif(chain, nobody), its_found, q.root_id)
        WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method
          AND q.request_id = its_request AND q.response IS NULL AND q.status_code IS NULL;
    END IF;
    PERFORM set_config('app.tenant', chain::text, true);
    SELECT it.* INTO head FROM account.audit_heads it WHERE it.root_id = chain FOR UPDATE;
    IF head.key IS NULL THEN
        INSERT INTO account.audit_heads AS it (root_id, key)
        VALUES (chain, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
        ON CONFLICT (root_id) DO UPDATE SET key = coalesce(it.key, excluded.key)
        RETURNING it.* INTO head;
    END IF;
    inner_pad := account.padded(head.key, '36');
    outer_pad := account.padded(head.key, '5c');
    keyed_request := sha256(outer_pad || sha256(inner_pad || its_hash));
    IF before_sum <> '' THEN
        keyed_before := sha256(outer_pad || sha256(inner_pad || convert_to(before_sum, 'UTF8')));
    END IF;
    IF after_sum <> '' THEN
        keyed_after := sha256(outer_pad || sha256(inner_pad || convert_to(after_sum, 'UTF8')));
    END IF;
    next_sequence := head.sequence + 1;
    hash := sha256(
        account.audit_part(uuid_send(chain)) || account.audit_part(int8send(next_sequence))
        || account.audit_part(convert_to(its_caller, 'UTF8')) || account.audit_part(convert_to(its_behalf, 'UTF8'))
        || account.audit_part(convert_to(its_method, 'UTF8')) || account.audit_part(uuid_send(its_request))
        || account.audit_part(keyed_request) || account.audit_part(keyed_before) || account.audit_part(keyed_after)
        || account.audit_part(head.entry_hash)
        || account.audit_part(int8send((extract(epoch FROM its_time) * 1000000)::bigint)));
    INSERT INTO account.audit_entries (root_id, sequence, actor, on_behalf_of, method, request_id, request_hash,
                                   before_hash, after_hash, previous_hash, entry_hash, created_at)
    VALUES (chain, next_sequence, its_caller, its_behalf, its_method, its_request, keyed_request,
            keyed_before, keyed_after, head.entry_hash, hash, its_time);
    UPDATE account.audit_heads it SET sequence = next_sequence, entry_hash = hash WHERE it.root_id = chain;
END $$;

GRANT EXECUTE ON FUNCTION account.begin_unit, account.known_request, account.end_unit TO account_service;
GRANT EXECUTE ON FUNCTION account.padded, account.audit_part TO account_service;

-- === Jobs ===

-- Work that a replica does now, or that is held back because it failed: of each row that a job goes through, by what
-- the row is known by. What was done has no row here.
CREATE TABLE account.job_claims (
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
GRANT SELECT, INSERT, DELETE ON account.job_claims TO account_service;
GRANT UPDATE (state, token, held_until, failure_count, absence_count, reason, input, failed_at) ON account.job_claims
    TO account_service;

-- === Settings of the schema ===

-- The standing time of a test clock (D19); empty where the machine's clock counts.
CREATE TABLE account.test_clock (
    only_row boolean PRIMARY KEY CHECK (only_row),
    standing_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON account.test_clock TO account_service;

-- The key that page tokens of lists are sealed with. All processes of the service agree on it, and it is made nowhere
-- else.
CREATE TABLE account.page_keys (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    key bytea NOT NULL CHECK (octet_length(key) = 32)
);
INSERT INTO account.page_keys (key)
    VALUES (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));
GRANT SELECT ON account.page_keys TO account_service;
GRANT SELECT ON account._sqlx_migrations TO account_service;

-- ##### What account-lifecycle is for #####

-- === Accounts ===

-- Which root an account belongs to, and how it stands, which the other services are told (D37). It has no policy: it is
-- read before it is known which tenant to enter, and holds ids only.
CREATE TABLE account.roots (
    account_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    -- All that it stands in, its root's suspensions and closing among it; none while it is simply active.
    standings text[] NOT NULL DEFAULT '{}'
        CHECK (standings <@ ARRAY['TRIAL', 'BALANCE', 'PARENT', 'TERMS', 'FRAUD', 'DORMANT', 'CLOSING', 'CLOSED',
                                  'ERASED']),
    -- From when it has no paid plan, also to come; null without.
    limited_at timestamptz,
    -- Counts the changes of its standing.
    standing_revision bigint NOT NULL DEFAULT 0 CHECK (0 <= standing_revision),
    -- Which of them all other services know.
    told_revision bigint NOT NULL DEFAULT 0 CHECK (told_revision <= standing_revision)
);
CREATE INDEX roots_to_tell ON account.roots (root_id) WHERE told_revision < standing_revision;
GRANT SELECT, INSERT ON account.roots TO account_service;
GRANT UPDATE (standings, limited_at, standing_revision, told_revision) ON account.roots TO account_service;

-- Accounts and subaccounts. What jobs do with an account is dated: a column that says when, and where it is told of
-- once, one that says which date was told of.
CREATE TABLE account.accounts (
    root_id uuid NOT NULL,
    account_id uuid PRIMARY KEY,
    -- Null for a root account.
    parent_id uuid,
    profile_code text NOT NULL,
    display_name text NOT NULL,
    owner_id uuid NOT NULL,
    type text NOT NULL CHECK (type IN ('TRIAL', 'FULL')),
    invoiced boolean NOT NULL,
    currency text NOT NULL,
    created_at timestamptz NOT NULL,
    -- When `plan`, `billing` and `payments` had opened it too (D1); null until then.
    opened_at timestamptz,
    -- Null where it never had a trial.
    trial_end_at timestamptz,
    -- Null on trial.
    upgraded_at timestamptz,
    -- From when it is limited, also to come, and why; null for never.
    limited_at timestamptz,
    limit_reason text NOT NULL DEFAULT '',
    -- The limit that its history tells of.
    limit_told_at timestamptz,
    -- Where its KYC stands, of its last submission.
    kyc_state text NOT NULL DEFAULT 'NOT_SUBMITTED',
    -- Since when it is dormant; null while it is not.
    dormant_at timestamptz,
    -- Why it is suspended: BALANCE, PARENT, FRAUD, TERMS; none while it is not.
    suspensions text[] NOT NULL DEFAULT '{}',
    -- When it was closed for ever; null while it is open.
    closed_at timestamptz,
    -- Since when it is live; null before.
    live_at timestamptz,
    -- Since when nothing is left to spend; null while something is.
    empty_at timestamptz,
    -- When the numbers of a root account and its subaccounts are released, as they are held for a while only by an
    -- account without a paid plan, or with an empty balance; null for never.
    numbers_release_at timestamptz,
    -- The limit that its owner was warned of.
    limit_warned_at timestamptz,
    -- When the paid credit of a limited account expires; null for never.
    credit_lapse_at timestamptz,
    -- The expiry of paid credit that its owner was warned of.
    lapse_warned_at timestamptz,
    -- When it is looked next whether recordings of a root account and its subaccounts have expired (REQ-088); null
    -- while it has none.
    recordings_look_at timestamptz,
    -- Whether an operator asked for the soft close of a root account whose plans and whatever recurs are still to be
    -- ended (REQ-050): the account is dormant first. Null where nothing is left of one.
    soft_close_by_operator boolean,
    -- What operators search by. It is a column and not an index of lower(), which is not leakproof and so can't serve a
    -- table with policies. Names are compared by code points, so that those that begin alike are neighbours.
    name_folded text COLLATE "C" NOT NULL GENERATED ALWAYS AS (lower(display_name)) STORED,
    CHECK ((parent_id IS NULL) = (root_id = account_id)),
    CONSTRAINT accounts_limited_for CHECK ((limited_at IS NULL) = (limit_reason = '')),
    CHECK (soft_close_by_operator IS NULL OR (parent_id IS NULL AND dormant_at IS NOT NULL))
);
-- Lists, newest first: all, of a root, of a parent, of a profile, of an owner; and by name.
CREATE INDEX accounts_newest ON account.accounts (created_at, account_id);
CREATE INDEX accounts_by_root ON account.accounts (root_id);
CREATE INDEX accounts_of_parent ON account.accounts (parent_id, created_at, account_id) WHERE parent_id IS NOT NULL;
CREATE INDEX accounts_of_profile ON account.accounts (profile_code, created_at, account_id);
CREATE INDEX accounts_of_owner ON account.accounts (owner_id, created_at, account_id);
CREATE INDEX accounts_by_name ON account.accounts (name_folded, account_id);
-- What jobs look for.
CREATE INDEX accounts_to_open ON account.accounts (created_at) WHERE opened_at IS NULL;
CREATE INDEX accounts_to_limit ON account.accounts (limited_at)
    WHERE parent_id IS NULL AND limited_at IS DISTINCT FROM limit_told_at;
CREATE INDEX accounts_numbers_to_release ON account.accounts (numbers_release_at)
    WHERE parent_id IS NULL AND closed_at IS NULL AND numbers_release_at IS NOT NULL;
CREATE INDEX accounts_to_warn_of_lapse ON account.accounts (credit_lapse_at)
    WHERE parent_id IS NULL AND closed_at IS NULL AND credit_lapse_at IS DISTINCT FROM lapse_warned_at;
CREATE INDEX accounts_recordings_to_look_at ON account.accounts (recordings_look_at)
    WHERE parent_id IS NULL AND closed_at IS NULL AND recordings_look_at IS NOT NULL;
CREATE INDEX accounts_to_end ON account.accounts (account_id) WHERE soft_close_by_operator IS NOT NULL;
ALTER TABLE account.accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.accounts USING (account.entered(root_id));
CREATE POLICY of_checks ON account.accounts FOR SELECT TO account_owner USING (true);
GRANT SELECT, INSERT, UPDATE ON account.accounts TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.accounts FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- An account is closed for ever, since the instant that it was closed at (REQ-042).
CREATE FUNCTION account.keep_closed_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an account is closed for ever' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER keep_closed_at BEFORE UPDATE OF closed_at ON account.accounts FOR EACH ROW
    WHEN (OLD.closed_at IS NOT NULL AND NEW.closed_at IS DISTINCT FROM OLD.closed_at)
    EXECUTE FUNCTION account.keep_closed_at();

-- Named, dated changes of state: the history of an account. Only a reason is ever changed, when it is erased.
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
CREATE POLICY of_checks ON account.transitions FOR SELECT TO account_owner USING (true);
GRANT SELECT, INSERT ON account.transitions TO account_service;
-- Notes of operators and reviewers, which erasure empties.
GRANT UPDATE (reason) ON account.transitions TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.transitions FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- === Users and roles ===

-- People who log in. They outlive accounts and are of no tenant: a statement sees the one user whom it is about
-- (`app.user`), or all where every tenant was entered, as operators' lists and deletions do. Adding one shows nothing
-- of the others.
CREATE TABLE account.users (
    user_id uuid PRIMARY KEY,
    email text NOT NULL,
    display_name text NOT NULL,
    created_at timestamptz NOT NULL,
    -- The address regardless of case, which is unique; a column for the reason that accounts.name_folded is one.
    email_folded text NOT NULL GENERATED ALWAYS AS (lower(email)) STORED
);
CREATE UNIQUE INDEX users_one_email ON account.users (email_folded);
ALTER TABLE account.users ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.users FORCE ROW LEVEL SECURITY;
CREATE POLICY of_user ON account.users
    USING (current_setting('app.tenant', true) = 'all' OR user_id::text = current_setting('app.user', true));
CREATE POLICY added ON account.users FOR INSERT WITH CHECK (true);
GRANT SELECT, INSERT ON account.users TO account_service;
-- A user is deleted by support and changes its address. Nobody changes the name: who may update no column of a row may
-- not lock it, and whoever makes an account for a user locks it.
GRANT DELETE, UPDATE (display_name, email) ON account.users TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.users FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- The user of an id, entered for this statement only. It is locked as `its_lock` says: HOLD keeps it from being
-- deleted, LOCK from being held or locked by others; NONE leaves it alone.
CREATE FUNCTION account.user_seen(its_id uuid, its_lock text) RETURNS SETOF account.users
LANGUAGE plpgsql ROWS 1 AS $$
BEGIN
    PERFORM set_config('app.user', its_id::text, true);
    CASE its_lock
        WHEN 'NONE' THEN
            RETURN QUERY SELECT u.* FROM account.users u WHERE u.user_id = its_id;
        WHEN 'HOLD' THEN
            RETURN QUERY SELECT u.* FROM account.users u WHERE u.user_id = its_id FOR KEY SHARE;
        WHEN 'LOCK' THEN
            RETURN QUERY SELECT u.* FROM account.users u WHERE u.user_id = its_id FOR UPDATE;
    END CASE;
    PERFORM set_config('app.user', '', true);
END $$;
GRANT EXECUTE ON FUNCTION account.user_seen TO account_service;

-- A new address of a user, which is confirmed by a code that is mailed to it: the one that was asked for last. Until its
-- code has come back the user keeps the former address. Of a user and of no tenant, as the user is; the row is deleted
-- when its code expires, and counts the codes until then.
CREATE TABLE account.email_changes (
    user_id uuid PRIMARY KEY,
    email text NOT NULL,
    -- SHA-256 of the user's id and the code sent last.
    code_digest bytea NOT NULL CHECK (octet_length(code_digest) = 32),
    code_expires_at timestamptz NOT NULL,
    -- From when codes are counted; how many were sent since then, and how many wrong ones were given back for the last.
    codes_since timestamptz NOT NULL,
    codes_sent integer NOT NULL CHECK (0 < codes_sent),
    codes_wrong integer NOT NULL CHECK (0 <= codes_wrong),
    -- Null until its code has come back.
    confirmed_at timestamptz
);
CREATE INDEX email_changes_by_expiry ON account.email_changes (code_expires_at);
ALTER TABLE account.email_changes ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.email_changes FORCE ROW LEVEL SECURITY;
CREATE POLICY of_user ON account.email_changes
    USING (current_setting('app.tenant', true) = 'all' OR user_id::text = current_setting('app.user', true));
GRANT SELECT, INSERT, DELETE ON account.email_changes TO account_service;
GRANT UPDATE (email, code_digest, code_expires_at, codes_since, codes_sent, codes_wrong, confirmed_at)
    ON account.email_changes TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.email_changes FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- Who may act for an account; a role on a root holds for its subaccounts.
CREATE TABLE account.members (
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role_code text NOT NULL,
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, user_id, role_code)
);
-- The accounts in which a person has a role.
CREATE INDEX members_of_user ON account.members (user_id, account_id);
ALTER TABLE account.members ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.members FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.members USING (account.entered(root_id));
CREATE POLICY of_checks ON account.members FOR SELECT TO account_owner USING (true);
GRANT SELECT, INSERT, DELETE ON account.members TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.members FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- === Billing details ===

-- Whom and where invoices of an account go to.
CREATE TABLE account.billing_details (
    root_id uuid PRIMARY KEY,
    recipient_name text NOT NULL,
    address text NOT NULL,
    country_code text NOT NULL,
    state_code text NOT NULL,
    tax_id text NOT NULL,
    export_supply boolean NOT NULL,
    email text NOT NULL,
    -- Counted on with each change, and how far `billing` and `payments` know it (D1).
    revision integer NOT NULL,
    told_revision integer NOT NULL DEFAULT 0,
    -- Why the tax country is another than that of the approved KYC (D33); empty where it is not.
    country_reason text NOT NULL DEFAULT ''
);
CREATE INDEX billing_details_to_tell ON account.billing_details (root_id) WHERE told_revision < revision;
ALTER TABLE account.billing_details ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.billing_details FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.billing_details USING (account.entered(root_id));
GRANT SELECT, INSERT, UPDATE, DELETE ON account.billing_details TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.billing_details FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- Where what no charge brought is paid out to, sealed; gone when the last refund of a closed account has ended (D32).
CREATE TABLE account.payout_details (
    root_id uuid PRIMARY KEY,
    -- AES-256-GCM: 12 bytes of nonce, then the text and its tag.
    sealed bytea NOT NULL CHECK (28 <= octet_length(sealed)),
    -- What opens it, and nothing else.
    key bytea NOT NULL CHECK (octet_length(key) = 32),
    given_at timestamptz NOT NULL,
    -- When it is looked at whether the refunds of a closed account have ended.
    look_at timestamptz NOT NULL
);
CREATE INDEX payout_details_by_look ON account.payout_details (look_at);
ALTER TABLE account.payout_details ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.payout_details FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.payout_details USING (account.entered(root_id));
GRANT SELECT, INSERT, UPDATE, DELETE ON account.payout_details TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.payout_details FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- === Orders ===

-- What customers order, from the quote to what came of it. A quote changes nothing; it binds what is bought (D12).
CREATE TABLE account.orders (
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    order_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('PLAN_CHANGE', 'BUY_CREDITS', 'UPGRADE', 'BUY_NUMBER', 'ADD_ON',
                                       'REFUND_REQUEST', 'PAY_RENEWAL', 'PAY_INVOICE')),
    state text NOT NULL CHECK (state IN ('QUOTED', 'CONFIRMED', 'COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT',
                                         'COMPLETED', 'FAILED', 'EXPIRED', 'CANCELLED')),
    by_operator boolean NOT NULL,
    -- Who quoted it, as the audit names callers.
    actor text NOT NULL,
    -- Empty where no plan is concerned.
    family_code text NOT NULL,
    from_plan_code text NOT NULL,
    to_plan_code text NOT NULL,
    billing_cycle_code text NOT NULL,
    -- IMMEDIATE, IMMEDIATE_ON_PAYMENT, NEXT_CYCLE or NEXT_RENEWAL.
    effect text NOT NULL,
    -- Null until the payment has settled, where that decides it.
    effective_at timestamptz,
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
    failure_reason text NOT NULL DEFAULT '',
    -- The payment method; null for the account's default one, and where none is needed.
    method_id uuid,
    -- The collection of `billing` that asks for the payment; null before.
    collection_id uuid,
    -- The invoice of `billing`; null before it is issued.
    invoice_id uuid,
    -- When a job looks at a committed one next, by the database's clock, and how often it has.
    look_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    looks integer NOT NULL DEFAULT 0,
    -- Whether auto-recharge is switched on with it.
    auto_recharge boolean NOT NULL DEFAULT false,
    -- The accepted offer that it was quoted by; empty for none.
    offer_id text NOT NULL DEFAULT '',
    -- What is bought where it is no plan: {"code", "kind", "number", "country"}.
    item jsonb NOT NULL DEFAULT '{}',
    -- The number that was bought; null for others and before.
    resource_id uuid
);
-- One plan at a time is changed, or paid for.
CREATE UNIQUE INDEX orders_one_plan ON account.orders (root_id, family_code)
    WHERE kind IN ('UPGRADE', 'PLAN_CHANGE') AND state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT');
CREATE INDEX orders_by_account ON account.orders (account_id, order_id);
-- Orders in a state, newest first: ids are in the order of time.
CREATE INDEX orders_in_state ON account.orders (state, order_id);
CREATE INDEX orders_to_finish ON account.orders (look_at)
    WHERE state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT');
CREATE INDEX orders_under_way ON account.orders (root_id)
    WHERE state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT');
ALTER TABLE account.orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.orders FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.orders USING (account.entered(root_id));
CREATE POLICY of_checks ON account.orders FOR SELECT TO account_owner USING (true);
GRANT SELECT, INSERT, UPDATE ON account.orders TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.orders FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- === What an account may do ===

-- What customers submit to be known, and what reviewers decide.
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
-- One an account that is not decided against.
CREATE UNIQUE INDEX kyc_submissions_one_open ON account.kyc_submissions (root_id)
    WHERE state NOT IN ('REJECTED', 'WITHDRAWN');
CREATE INDEX kyc_submissions_by_root ON account.kyc_submissions (root_id, kyc_id);
CREATE INDEX kyc_submissions_to_review ON account.kyc_submissions (submitted_at, kyc_id);
-- Those to be decided are few among all that were.
CREATE INDEX kyc_submissions_undecided ON account.kyc_submissions (submitted_at, kyc_id)
    WHERE state IN ('PENDING', 'IN_REVIEW');
CREATE INDEX kyc_submissions_by_state ON account.kyc_submissions (state, submitted_at, kyc_id);
ALTER TABLE account.kyc_submissions ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.kyc_submissions FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.kyc_submissions USING (account.entered(root_id));
GRANT SELECT, INSERT ON account.kyc_submissions TO account_service;
GRANT UPDATE (state, country_code, legal_name, signatory_is_director, documents, submitted_at, review_due_on,
              reviewed_at, reviewer, reason)
    ON account.kyc_submissions TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.kyc_submissions FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- Registrations for messages in a country that asks for them.
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
GRANT SELECT, INSERT, DELETE ON account.dlt_registrations TO account_service;
GRANT UPDATE (revoked_at) ON account.dlt_registrations TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.dlt_registrations FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- The numbers that a trial may call, each proved by a code that is sent to it.
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
    -- From when codes are counted; how many were sent since then, and how many wrong ones were given back for the last.
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
GRANT SELECT, INSERT, DELETE ON account.whitelisted_numbers TO account_service;
GRANT UPDATE (code_digest, code_expires_at, codes_since, codes_sent, codes_wrong, verified_at, removed_at)
    ON account.whitelisted_numbers TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.whitelisted_numbers FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- What an account has configured, stored as opaque documents (D3).
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
    released_at timestamptz CHECK (created_at <= released_at),
    -- Whether `billing` rents it to the account until it is told that it was released.
    rented boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX resources_one_sid ON account.resources (account_id, kind_code, sid) WHERE released_at IS NULL;
CREATE INDEX resources_newest ON account.resources (account_id, created_at, resource_id) WHERE released_at IS NULL;
CREATE INDEX resources_of_kind ON account.resources (root_id, kind_code);
CREATE INDEX resources_to_give_back ON account.resources (released_at) WHERE rented AND released_at IS NOT NULL;
-- Recordings are kept for the days that the plan in force says (REQ-088).
CREATE INDEX resources_recordings ON account.resources (root_id, created_at)
    WHERE kind_code = 'RECORDING' AND released_at IS NULL;
ALTER TABLE account.resources ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.resources FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.resources USING (account.entered(root_id));
GRANT SELECT, INSERT, DELETE ON account.resources TO account_service;
GRANT UPDATE (document, released_at, rented) ON account.resources TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.resources FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- === Tickets ===

-- Tickets, with what the plans in force promised when they were opened.
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
    created_at timestamptz NOT NULL,
    -- How it is handled under the platform plan (REQ-090); empty for none.
    support_priority_code text NOT NULL DEFAULT ''
);
CREATE INDEX tickets_by_account ON account.tickets (account_id, created_at, ticket_id);
ALTER TABLE account.tickets ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.tickets FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.tickets USING (account.entered(root_id));
GRANT SELECT, INSERT ON account.tickets TO account_service;
-- What erasure empties.
GRANT UPDATE (subject) ON account.tickets TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.tickets FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- === Closings and erasure ===

-- How accounts are closed for ever (D23), and the receipt of the deletion of what they had, 30 days later (REQ-047).
CREATE TABLE account.closings (
    root_id uuid NOT NULL,
    -- The account that was closed: a root with its subaccounts, or a subaccount alone.
    account_id uuid PRIMARY KEY,
    -- PREPARING: nothing is closed yet. ENDING: `plan` ends what is in force. CLOSED: it has to be settled. DONE.
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
    look_at timestamptz NOT NULL,
    -- When all four services had erased it; null before.
    erased_at timestamptz CHECK (purge_at <= erased_at),
    -- The account with the subaccounts that were erased with it.
    erased_ids uuid[] NOT NULL DEFAULT '{}',
    -- [{"service", "erased": […], "kept": […], "at"}, …]: what each service did.
    receipt jsonb NOT NULL DEFAULT '[]',
    -- Why it waits when it can't go on now, as whoever holds it up says, such as STILL_PARKED; empty while it goes on.
    wait_reason text NOT NULL DEFAULT '',
    -- How often in a row it was put off: ever longer.
    wait_count integer NOT NULL DEFAULT 0,
    CHECK ((erased_at IS NULL) = (erased_ids = '{}'))
);
CREATE INDEX closings_by_root ON account.closings (root_id);
CREATE INDEX closings_to_finish ON account.closings (look_at) WHERE state <> 'DONE';
CREATE INDEX closings_to_erase ON account.closings (purge_at) WHERE state = 'DONE' AND erased_at IS NULL;
-- Closings in one state or in any, newest first.
CREATE INDEX closings_newest ON account.closings (close_at, account_id);
CREATE INDEX closings_in_state ON account.closings (state, close_at, account_id);
ALTER TABLE account.closings ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.closings FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.closings USING (account.entered(root_id));
CREATE POLICY of_checks ON account.closings FOR SELECT TO account_owner USING (true);
-- One that could not be is given up before anything is closed: its row goes.
GRANT SELECT, INSERT, DELETE ON account.closings TO account_service;
GRANT UPDATE (state, settlement_minor, refund_minor, forfeited_micros, due_on, refund_ids, lease_token, look_at,
              erased_at, erased_ids, receipt, wait_reason, wait_count)
    ON account.closings TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.closings FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- === How accounts stand ===

-- Says how an account stands, or with null all of a root, by what is kept of it; what has not changed is not counted.
CREATE FUNCTION account.stand(root uuid, one uuid) RETURNS void LANGUAGE sql AS $$
    UPDATE account.roots r
    SET standings = s.standings, limited_at = s.limited_at, standing_revision = r.standing_revision + 1
    FROM (
        SELECT a.account_id, a.limited_at, ARRAY(
            SELECT DISTINCT it FROM unnest(a.suspensions || p.suspensions || ARRAY[
                CASE WHEN a.type = 'TRIAL' THEN 'TRIAL' END,
                CASE WHEN a.dormant_at IS NOT NULL THEN 'DORMANT' END,
                CASE WHEN a.closed_at IS NOT NULL THEN 'CLOSED' WHEN c.closes THEN 'CLOSING' END,
                CASE WHEN c.erased THEN 'ERASED' END
            ]::text[]) it
            WHERE it IS NOT NULL ORDER BY it) AS standings
        FROM account.accounts a
        JOIN account.accounts p ON p.account_id = a.root_id
        CROSS JOIN LATERAL (
            SELECT count(*) > 0 AS closes, bool_or(k.erased_at IS NOT NULL) AS erased
            FROM account.closings k WHERE k.account_id IN (a.account_id, a.root_id)
        ) c
        WHERE a.root_id = root AND (one IS NULL OR a.account_id = one)
    ) s
    WHERE r.account_id = s.account_id AND (r.standings, r.limited_at) IS DISTINCT FROM (s.standings, s.limited_at)
$$;
GRANT EXECUTE ON FUNCTION account.stand TO account_service;

CREATE FUNCTION account.account_stands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- What suspends a root suspends its subaccounts.
    PERFORM account.stand(NEW.root_id, CASE WHEN NEW.parent_id IS NOT NULL THEN NEW.account_id END);
    RETURN NULL;
END $$;
CREATE TRIGGER stands AFTER INSERT OR UPDATE OF type, suspensions, dormant_at, limited_at, closed_at ON account.accounts
    FOR EACH ROW EXECUTE FUNCTION account.account_stands();

CREATE FUNCTION account.closing_stands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM account.stand(OLD.root_id, NULL);
    ELSE
        PERFORM account.stand(NEW.root_id, NULL);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER stands AFTER INSERT OR DELETE OR UPDATE OF erased_at ON account.closings
    FOR EACH ROW EXECUTE FUNCTION account.closing_stands();

-- === What is read before a request is allowed ===
--
-- Each function reads the row and the caller's roles in one round trip, and enters the tenant of the root that it
-- finds, as the caller would; what is read beside them is still the tenant's.

-- An account, what suspends it or its root, how it stands, and the roles of a person in it and its root. To a person
-- without any there is no such account, and the database has been asked the same as where there is none: how long that
-- takes does not tell a stranger which ids there are.
CREATE FUNCTION account.seen(its_id uuid, its_person uuid)
RETURNS TABLE (it account.accounts, suspended_for text[], stands_in text[], limit_from timestamptz, held_roles text[])
LANGUAGE plpgsql AS $$
DECLARE
    known account.roots;
    held text[];
BEGIN
    SELECT r.* INTO known FROM account.roots r WHERE r.account_id = its_id;
    PERFORM set_config('app.tenant', coalesce(known.root_id::text, ''), true);
    held := ARRAY(SELECT DISTINCT m.role_code FROM account.members m
                  WHERE m.user_id = its_person AND m.account_id IN (its_id, known.root_id));
    IF known.root_id IS NULL OR (its_person IS NOT NULL AND held = '{}') THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT a, ARRAY(SELECT DISTINCT unnest(a.suspensions || root.suspensions) ORDER BY 1),
           known.standings, known.limited_at, held
    FROM account.accounts a JOIN account.accounts root ON root.account_id = a.root_id
    WHERE a.account_id = its_id;
END $$;

-- An order, and its account as `account.seen` has it; neither to whom the account is not there.
CREATE FUNCTION account.order_seen(its_id uuid, its_person uuid)
RETURNS TABLE (ordered account.orders, it account.accounts, suspended_for text[], held_roles text[])
LANGUAGE plpgsql AS $$
DECLARE
    known account.orders;
BEGIN
    -- Whose it is, it says itself.
    PERFORM set_config('app.tenant', 'all', true);
    SELECT o.* INTO known FROM account.orders o WHERE o.order_id = its_id;
    PERFORM set_config('app.tenant', '', true);
    RETURN QUERY
    SELECT known, s.it, s.suspended_for, s.held_roles FROM account.seen(known.account_id, its_person) s;
END $$;

-- Locks a root account, and tells then whether its closing has begun, and where its KYC stands: a closing waits, or is
-- seen.
CREATE FUNCTION account.hold_open(its_root uuid) RETURNS TABLE (is_closing boolean, its_kyc text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM a.account_id FROM account.accounts a WHERE a.account_id = its_root FOR UPDATE;
    RETURN QUERY
    SELECT EXISTS (SELECT FROM account.closings c WHERE c.account_id = its_root), a.kyc_state
    FROM account.accounts a WHERE a.account_id = its_root;
END $$;

-- How many trials a user has opened, one not counted, whatever became of them but those that are customers now. They
-- are of roots of their own: all are seen for so long.
CREATE FUNCTION account.trials_of(its_owner uuid, but uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    tenant text := coalesce(current_setting('app.tenant', true), '');
    opened bigint;
BEGIN
    PERFORM set_config('app.tenant', 'all', true);
    SELECT count(*) INTO opened FROM account.accounts a
    WHERE a.owner_id = its_owner AND a.account_id <> but AND a.parent_id IS NULL AND a.type = 'TRIAL';
    PERFORM set_config('app.tenant', tenant, true);
    RETURN opened;
END $$;
GRANT EXECUTE ON FUNCTION account.seen, account.order_seen, account.hold_open, account.trials_of TO account_service;

-- === Mail ===

-- Mail that is to be sent, or was: written with what it tells of.
CREATE TABLE account.notifications (
    -- The nil id, like that of the account, for a mail about a login: it is of no account.
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    notification_id uuid PRIMARY KEY,
    -- What it tells of, the same on every retry and in every replica: it is told once.
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
-- Former and new addresses are forgotten with their users.
CREATE INDEX notifications_of_logins ON account.notifications (event_key)
    WHERE kind_code IN ('EMAIL_CHANGED', 'EMAIL_CONFIRM');
ALTER TABLE account.notifications ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.notifications FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.notifications USING (account.entered(root_id));
GRANT SELECT, INSERT ON account.notifications TO account_service;
GRANT UPDATE (secret, state, attempt_count, sent_at, look_at) ON account.notifications TO account_service;
-- What erasure empties.
GRANT UPDATE (email, facts) ON account.notifications TO account_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON account.notifications FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION account.sum_change();

-- === News ===

-- How far what other services tell was followed; written with its effect.
CREATE TABLE account.watch_positions (
    source text PRIMARY KEY,
    resume_token text NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON account.watch_positions TO account_service;

-- Transitions, in the order of their news: what `WatchAccounts` tells (D21).
CREATE TABLE account.outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The transaction that wrote it: a reader never passes one that may still be invisible.
    written_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    sequence bigint NOT NULL
);
-- What is not told yet, with its positions: a reader finds from it where to begin, and goes on by the position.
CREATE INDEX outbox_unread ON account.outbox (written_by, position);
ALTER TABLE account.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE account.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON account.outbox USING (account.entered(root_id));
CREATE POLICY of_checks ON account.outbox FOR SELECT TO account_owner USING (true);
GRANT SELECT, INSERT ON account.outbox TO account_service;

-- === What jobs wait for ===

-- When a job has work next, up to `its_until` and at the earliest at `its_now`; null while there is none to come by
-- then. Each part is the condition of one job, which takes it up by itself; what somebody works on, and what is held
-- back, is looked at again when its claim runs out. It sees every tenant's rows, as jobs do.
CREATE FUNCTION account.next_work(
    its_now timestamptz, its_until timestamptz, sends_mail boolean, limit_days integer, lapse_days integer
) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
    -- What the database's clock dates (D20) is looked for up to its instant of the same time, and told by the other.
    here timestamptz := statement_timestamp();
    until_here timestamptz := here + (its_until - its_now);
    at_once boolean;
    result timestamptz;
BEGIN
    PERFORM set_config('app.tenant', 'all', true);
    -- open_accounts, tell_billing_details, tell_standings, give_back, finish_soft_closes
    at_once :=
        EXISTS (SELECT FROM account.accounts WHERE opened_at IS NULL AND closed_at IS NULL
                  AND NOT EXISTS (SELECT FROM account.job_claims c
                            WHERE c.job = 'open_accounts' AND c.key = account_id::text AND here < c.held_until))
        OR EXISTS (SELECT FROM account.billing_details WHERE told_revision < revision
                  AND NOT EXISTS (SELECT FROM account.job_claims c
                            WHERE c.job = 'tell_billing_details' AND c.key = root_id::text AND here < c.held_until))
        OR EXISTS (SELECT FROM account.roots r
                  WHERE r.told_revision < r.standing_revision
                  -- Not a join, which the planner may begin with all accounts.
                  AND (SELECT a.opened_at IS NOT NULL FROM account.accounts a WHERE a.account_id = r.account_id)
                  AND NOT EXISTS (SELECT FROM account.job_claims c
                            WHERE c.job = 'tell_standings' AND c.key = r.account_id::text AND here < c.held_until))
        OR EXISTS (SELECT FROM account.resources r WHERE rented AND released_at IS NOT NULL
                  AND NOT EXISTS (SELECT FROM account.orders o WHERE o.order_id = r.resource_id
                                  AND o.state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT'))
                  AND NOT EXISTS (SELECT FROM account.job_claims c
                            WHERE c.job = 'give_back' AND c.key = r.resource_id::text AND here < c.held_until))
        OR EXISTS (SELECT FROM account.accounts a WHERE soft_close_by_operator IS NOT NULL AND closed_at IS NULL
                  AND NOT EXISTS (SELECT FROM account.closings g WHERE g.account_id = a.account_id)
                  AND NOT EXISTS (SELECT FROM account.job_claims c
                            WHERE c.job = 'finish_soft_closes' AND c.key = a.account_id::text AND here < c.held_until));
    IF at_once THEN
        RETURN its_now;
    END IF;
    result := least(
        -- finish_orders, finish_closings, send_notifications; retry_timelines and retry_balances by their claims; and
        -- claims that run out
        its_now - here + least(
            (SELECT min(look_at) FROM account.orders
             WHERE state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT') AND look_at <= until_here),
            (SELECT min(look_at) FROM account.closings WHERE state <> 'DONE' AND look_at <= until_here),
            (SELECT min(look_at) FROM account.notifications
             WHERE sends_mail AND state = 'PENDING' AND look_at <= until_here),
            (SELECT min(held_until) FROM account.job_claims
             WHERE (here < held_until OR input IS NOT NULL) AND held_until <= until_here)),
        -- limit_accounts
        (SELECT limited_at FROM account.accounts
         WHERE parent_id IS NULL AND closed_at IS NULL AND limited_at IS DISTINCT FROM limit_told_at
           AND limited_at <= its_until
           AND NOT EXISTS (SELECT FROM account.job_claims c
                            WHERE c.job = 'limit_accounts' AND c.key = account_id::text AND here < c.held_until)
         ORDER BY limited_at LIMIT 1),
        -- erase_accounts
        (SELECT purge_at FROM account.closings
         WHERE state = 'DONE' AND erased_at IS NULL AND purge_at <= its_until
           AND NOT EXISTS (SELECT FROM account.job_claims c
                            WHERE c.job = 'erase_accounts' AND c.key = account_id::text AND here < c.held_until)
         ORDER BY purge_at LIMIT 1),
        -- erase_payout_details: nobody waits for it, and it reads the details of open accounts, too; it looks by itself
        -- expire_email_changes
        (SELECT min(code_expires_at) FROM account.email_changes WHERE code_expires_at <= its_until),
        -- release_numbers
        (SELECT numbers_release_at FROM account.accounts
         WHERE parent_id IS NULL AND closed_at IS NULL AND numbers_release_at <= its_until
           AND NOT EXISTS (SELECT FROM account.job_claims c
                            WHERE c.job = 'release_numbers' AND c.key = account_id::text AND here < c.held_until)
         ORDER BY numbers_release_at LIMIT 1),
        -- expire_recordings
        (SELECT min(recordings_look_at) FROM account.accounts
         WHERE parent_id IS NULL AND closed_at IS NULL AND recordings_look_at <= its_until),
        -- warn_owners
        (SELECT limited_at - make_interval(days => limit_days) FROM account.accounts
         WHERE parent_id IS NULL AND closed_at IS NULL AND limited_at IS DISTINCT FROM limit_told_at
           AND limited_at IS DISTINCT FROM limit_warned_at AND dormant_at IS NULL
           AND its_now < limited_at AND limited_at <= its_until + make_interval(days => limit_days)
           AND NOT EXISTS (SELECT FROM account.job_claims c
                            WHERE c.job = 'warn_owners' AND c.key = account_id::text AND here < c.held_until)
         ORDER BY limited_at LIMIT 1),
        (SELECT credit_lapse_at - make_interval(days => lapse_days) FROM account.accounts
         WHERE parent_id IS NULL AND closed_at IS NULL AND credit_lapse_at IS DISTINCT FROM lapse_warned_at
           AND its_now < credit_lapse_at AND credit_lapse_at <= its_until + make_interval(days => lapse_days)
           AND NOT EXISTS (SELECT FROM account.job_claims c
                            WHERE c.job = 'warn_owners' AND c.key = account_id::text AND here < c.held_until)
         ORDER BY credit_lapse_at LIMIT 1));
    RETURN CASE WHEN result IS NOT NULL THEN greatest(its_now, result) END;
END $$;
GRANT EXECUTE ON FUNCTION account.next_work TO account_service;

-- ##### Views for checks #####
--
-- For whoever checks the suite from outside: their names are stable, they are read only, and they show no names,
-- addresses or words of customers.

CREATE SCHEMA account_check;
CREATE VIEW account_check.account AS
    SELECT root_id, account_id, parent_id, profile_code, owner_id, type, invoiced, currency, created_at, opened_at,
           trial_end_at, upgraded_at, limited_at, limit_reason, kyc_state, dormant_at, suspensions, closed_at, live_at
    FROM account.accounts;
CREATE VIEW account_check.member AS SELECT * FROM account.members;
CREATE VIEW account_check.customer_order AS
    SELECT root_id, account_id, order_id, kind, state, by_operator, actor, family_code, from_plan_code, to_plan_code,
           confirmations_required, confirmations_given, created_at, expires_at, committed_at, completed_at,
           failure_reason
    FROM account.orders;
CREATE VIEW account_check.transition AS
    SELECT root_id, account_id, sequence, state_code, resource_id, transition_code, from_code, to_code, actor, at
    FROM account.transitions;
CREATE VIEW account_check.closing AS
    SELECT root_id, account_id, state, option, close_at, purge_at, currency, settlement_minor, refund_minor,
           forfeited_micros, due_on, erased_at
    FROM account.closings;
CREATE VIEW account_check.outbox AS SELECT * FROM account.outbox;
CREATE VIEW account_check.idempotency AS
    SELECT caller, account, method, request_id, created_at, response IS NOT NULL AS answered, status_code
    FROM account.requests;
CREATE VIEW account_check.audit AS
    SELECT root_id, sequence, actor, on_behalf_of, method, request_id, entry_hash, created_at
    FROM account.audit_entries;
GRANT USAGE ON SCHEMA account_check TO checker;
GRANT SELECT ON ALL TABLES IN SCHEMA account_check TO checker;
