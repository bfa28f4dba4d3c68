-- The schema of `billing`: usage, the ledger, credit, invoices and billing runs, and the money that comes in and goes
-- back.
--
-- The first part is what each of the four services has: requests, audit, units of work, jobs. It differs between them
-- in the name of the schema, in the table that says whose an account is, and in row-level security only. The second
-- part is what this service is for. The third part is views for whoever checks the suite from outside.
--
-- Every row that grows with customers is of a root account: by a column of its own, or by the invoice or the collection
-- that it is a part of. There are no foreign keys, as they would cost bulk tables more than all else together. There is
-- no row-level security here: every statement names the root account (D25). The service's role gets what it needs,
-- table by table, and owns nothing.
--
-- Every instant is by the clock of the suite, which tests can set; where it is the database's own, the comment says so
-- (D20). Money is whole: `_minor` in minor units of its currency, `_micros` in millionths of its unit. Numbers such as
-- D20 are those of services/decisions.md.

GRANT USAGE ON SCHEMA billing TO billing_service;

-- ##### What each service has #####

-- === Requests ===
--
-- A change that is asked for twice with one request id is made once, and its answer is given again.

-- Every request that changes something, for 30 days: taken when its unit of work begins, with its answer when that
-- ends.
CREATE TABLE billing.requests (
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
CREATE INDEX requests_by_age ON billing.requests (created_at);
CREATE INDEX requests_by_root ON billing.requests (root_id) WHERE root_id IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON billing.requests TO billing_service;

-- === Audit ===
--
-- Every unit of work that changes something adds an entry to the chain of its root account. Each entry holds the hash
-- of the entry before it, so that none can be changed or taken out unnoticed (R32, D24).

-- The entries. They are never updated or deleted, and say who did what, not with which values: those are hashed with a
-- key that is forgotten when the account's data are erased.
CREATE TABLE billing.audit_entries (
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
CREATE TABLE billing.audit_heads (
    root_id uuid PRIMARY KEY,
    -- The key of the hashes. It is forgotten with the account's data, and made anew for what comes after; null between.
    key bytea CHECK (octet_length(key) = 32),
    sequence bigint NOT NULL DEFAULT 0,
    entry_hash bytea NOT NULL DEFAULT '',
    -- Up to which entry the chain was written to the file outside the database.
    anchored_sequence bigint NOT NULL DEFAULT 0
);
CREATE INDEX audit_heads_to_anchor ON billing.audit_heads (root_id) WHERE anchored_sequence < sequence;
GRANT SELECT, INSERT ON billing.audit_entries, billing.audit_heads TO billing_service;
GRANT UPDATE (key, sequence, entry_hash, anchored_sequence) ON billing.audit_heads TO billing_service;

-- The end of a chain only grows, one entry at a time; its key is forgotten, not exchanged. The owner of the schema is
-- not kept from changing it: an edit by hand is what the file outside the database reveals.
CREATE FUNCTION billing.keep_audit_head() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER keep_audit_head BEFORE INSERT OR UPDATE ON billing.audit_heads FOR EACH ROW
    WHEN (current_user = 'billing_service') EXECUTE FUNCTION billing.keep_audit_head();

-- Adds a changed row to the sums of the rows that a unit of work changes, before and after, for its entry. Tables whose
-- changes are audited have it as a trigger. The sums are settings of the transaction.
CREATE FUNCTION billing.sum_change() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE FUNCTION billing.begin_unit(
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
        INSERT INTO billing.requests (caller, account, method, request_id, request_hash, created_at, root_id)
        VALUES (its_caller, its_account, its_method, its_request, its_hash, its_time,
                (SELECT it.root_id FROM billing.accounts it WHERE it.account_id = its_named))
        ON CONFLICT DO NOTHING;
        is_new := FOUND;
        EXIT WHEN is_new;
        SELECT q.request_hash, q.response, q.status_code, q.status_message, q.status_details, q.asked
        INTO known_hash, known_answer, known_code, known_message, known_details, known_asked
        FROM billing.requests q
        WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method
          AND q.request_id = its_request FOR UPDATE;
        -- What was found taken and is not there a statement later was forgotten in between, and can be taken.
        EXIT WHEN FOUND;
    END LOOP;
    IF is_new AND its_held IS NOT NULL THEN
        -- A statement of its own: it sees what a closing has committed that it waited for.
        SELECT it.standings, it.limited_at INTO held_standings, held_limited_at
        FROM billing.accounts it WHERE it.account_id = its_held FOR KEY SHARE;
    END IF;
END $$;

-- Tells what became of a request id, without taking it, and how an account stands, in one round trip outside of any
-- unit of work.
CREATE FUNCTION billing.known_request(
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
    FROM billing.requests q
    WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method AND q.request_id = its_request;
    is_new := NOT FOUND;
    IF its_seen IS NOT NULL THEN
        SELECT it.standings, it.limited_at INTO held_standings, held_limited_at
        FROM billing.accounts it WHERE it.account_id = its_seen;
    END IF;
END $$;

-- A key of 32 bytes, filled up to the block of SHA-256 and combined with the byte `pad` (two hex digits): RFC 2104.
CREATE FUNCTION billing.padded(its_key bytea, pad text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(int8send((('x' || encode(substring(its_key FROM 8 * n + 1 FOR 8), 'hex'))::bit(64)
                                # ('x' || repeat(pad, 8))::bit(64))::bigint), ''::bytea ORDER BY n)
           || decode(repeat(pad, 32), 'hex')
    FROM generate_series(0, 3) AS n
$$;

-- A part of an entry, as its hash takes it in: with its length before it.
CREATE FUNCTION billing.audit_part(part bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT int8send(octet_length(part)::bigint) || part
$$;

-- Keeps the answer of a unit's request, and adds its entry to the audit. The chain is that of `its_root`, else of the
-- tenant that was entered, else of the account that the request names, else of none. Its head is locked here, after all
-- else that the unit locks, and until its commit.
CREATE FUNCTION billing.end_unit(
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
        (SELECT it.root_id FROM billing.accounts it WHERE it.account_id = its_named),
        nobody);
    before_sum text := coalesce(current_setting('audit.before', true), '');
    after_sum text := coalesce(current_setting('audit.after', true), '');
    head billing.audit_heads;
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
        UPDATE billing.requests q
        SET response = its_answer, asked = its_asked,
            root_id = coalesce(its_user, nullif(chain, nobody), its_found, q.root_id)
        WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method
          AND q.request_id = its_request AND q.response IS NULL AND q.status_code IS NULL;
    END IF;
    PERFORM set_config('app.tenant', chain::text, true);
    SELECT it.* INTO head FROM billing.audit_heads it WHERE it.root_id = chain FOR UPDATE;
    IF head.key IS NULL THEN
        INSERT INTO billing.audit_heads AS it (root_id, key)
        VALUES (chain, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
        ON CONFLICT (root_id) DO UPDATE SET key = coalesce(it.key, excluded.key)
        RETURNING it.* INTO head;
    END IF;
    inner_pad := billing.padded(head.key, '36');
    outer_pad := billing.padded(head.key, '5c');
    keyed_request := sha256(outer_pad || sha256(inner_pad || its_hash));
    IF before_sum <> '' THEN
        keyed_before := sha256(outer_pad || sha256(inner_pad || convert_to(before_sum, 'UTF8')));
    END IF;
    IF after_sum <> '' THEN
        keyed_after := sha256(outer_pad || sha256(inner_pad || convert_to(after_sum, 'UTF8')));
    END IF;
    next_sequence := head.sequence + 1;
    hash := sha256(
        billing.audit_part(uuid_send(chain)) || billing.audit_part(int8send(next_sequence))
        || billing.audit_part(convert_to(its_caller, 'UTF8')) || billing.audit_part(convert_to(its_behalf, 'UTF8'))
        || billing.audit_part(convert_to(its_method, 'UTF8')) || billing.audit_part(uuid_send(its_request))
        || billing.audit_part(keyed_request) || billing.audit_part(keyed_before) || billing.audit_part(keyed_after)
        || billing.audit_part(head.entry_hash)
        || billing.audit_part(int8send((extract(epoch FROM its_time) * 1000000)::bigint)));
    INSERT INTO billing.audit_entries (root_id, sequence, actor, on_behalf_of, method, request_id, request_hash,
                                   before_hash, after_hash, previous_hash, entry_hash, created_at)
    VALUES (chain, next_sequence, its_caller, its_behalf, its_method, its_request, keyed_request,
            keyed_before, keyed_after, head.entry_hash, hash, its_time);
    UPDATE billing.audit_heads it SET sequence = next_sequence, entry_hash = hash WHERE it.root_id = chain;
END $$;

GRANT EXECUTE ON FUNCTION billing.begin_unit, billing.known_request, billing.end_unit TO billing_service;
GRANT EXECUTE ON FUNCTION billing.padded, billing.audit_part TO billing_service;

-- === Jobs ===

-- Work that a replica does now, or that is held back because it failed: of each row that a job goes through, by what
-- the row is known by. What was done has no row here.
CREATE TABLE billing.job_claims (
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
GRANT SELECT, INSERT, DELETE ON billing.job_claims TO billing_service;
GRANT UPDATE (state, token, held_until, failure_count, absence_count, reason, input, failed_at) ON billing.job_claims
    TO billing_service;

-- === Settings of the schema ===

-- The standing time of a test clock (D19); empty where the machine's clock counts.
CREATE TABLE billing.test_clock (
    only_row boolean PRIMARY KEY CHECK (only_row),
    standing_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON billing.test_clock TO billing_service;

-- The key that page tokens of lists are sealed with. All processes of the service agree on it, and it is made nowhere
-- else.
CREATE TABLE billing.page_keys (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    key bytea NOT NULL CHECK (octet_length(key) = 32)
);
INSERT INTO billing.page_keys (key)
    VALUES (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));
GRANT SELECT ON billing.page_keys TO billing_service;
GRANT SELECT ON billing._sqlx_migrations TO billing_service;

-- ##### What billing is for #####

-- === Accounts ===

-- Accounts as `account-lifecycle` tells of them (D1, D23, D37).
CREATE TABLE billing.accounts (
    account_id uuid PRIMARY KEY,
    -- The account itself for a root.
    root_id uuid NOT NULL,
    profile_code text NOT NULL,
    -- Of the profile: the zone that makes the days of its usage, the currency of its ledger, and whether it pays by
    -- invoice.
    time_zone text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    invoiced boolean NOT NULL,
    created_at timestamptz NOT NULL,
    -- Of the billing details: where it is taxed, and whether what it buys is exported. Empty before they are known.
    country_code text NOT NULL DEFAULT '',
    state_code text NOT NULL DEFAULT '',
    export_supply boolean NOT NULL DEFAULT false,
    -- Which revision of the details these are, as `account-lifecycle` counts them: an older one that comes later
    -- changes nothing.
    details_revision integer NOT NULL DEFAULT 0,
    -- The instant of its closing; null while it is open, or not told to be closed. What it uses from then on is kept as
    -- UNBILLED, neither rated nor debited (D28).
    closed_at timestamptz,
    -- From when usage of it is refused, as its data are erased; null before.
    erased_at timestamptz,
    -- How it stands: methods are open in some standings only. None while it is simply active; CLOSED and ERASED stay.
    standings text[] NOT NULL DEFAULT '{}'
        CHECK (standings <@ ARRAY['TRIAL', 'BALANCE', 'PARENT', 'TERMS', 'FRAUD', 'DORMANT', 'CLOSING', 'CLOSED',
                                  'ERASED']),
    -- From when it has no paid plan, also to come; null without.
    limited_at timestamptz,
    -- Which change of its standing was told last: an older one that comes later changes nothing.
    standing_revision bigint NOT NULL DEFAULT 0 CHECK (0 <= standing_revision),
    CONSTRAINT accounts_erased_when_closed CHECK (erased_at IS NULL OR closed_at IS NOT NULL)
);
-- Few accounts are closed, and those of a batch of usage are looked for.
CREATE INDEX accounts_closed ON billing.accounts (account_id) WHERE closed_at IS NOT NULL;
-- The subaccounts of a root, which close with it.
CREATE INDEX accounts_subaccounts ON billing.accounts (root_id) WHERE root_id <> account_id;
-- From the month of its oldest account on a family is billed.
CREATE INDEX accounts_oldest ON billing.accounts (profile_code, created_at) WHERE root_id = account_id;
GRANT SELECT, INSERT, UPDATE ON billing.accounts TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.accounts FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- An account is closed for ever, since the instant that it was closed at (REQ-042).
CREATE FUNCTION billing.keep_closed_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an account is closed for ever' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER keep_closed_at BEFORE UPDATE OF closed_at ON billing.accounts FOR EACH ROW
    WHEN (OLD.closed_at IS NOT NULL AND NEW.closed_at IS DISTINCT FROM OLD.closed_at)
    EXECUTE FUNCTION billing.keep_closed_at();

-- What is erased stays erased.
CREATE FUNCTION billing.keep_erased_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what is erased stays erased' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER keep_erased_at BEFORE UPDATE OF erased_at ON billing.accounts FOR EACH ROW
    WHEN (OLD.erased_at IS NOT NULL AND NEW.erased_at IS DISTINCT FROM OLD.erased_at)
    EXECUTE FUNCTION billing.keep_erased_at();

-- Whom invoices went to, and when: one that was issued before a change keeps what it shows.
CREATE TABLE billing.recipients (
    root_id uuid NOT NULL,
    -- It holds until the next one.
    since timestamptz NOT NULL,
    recipient text NOT NULL,
    -- Where the recipient was taxed, for the place of supply of invoices that were issued then.
    country_code text,
    state_code text,
    export_supply boolean,
    PRIMARY KEY (root_id, since)
);
GRANT SELECT, INSERT, DELETE ON billing.recipients TO billing_service;
-- Of two changes at one instant the later one counts.
GRANT UPDATE (recipient, country_code, state_code, export_supply) ON billing.recipients TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.recipients FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- Whom invoices of an erased account went to, sealed for as long as the law asks for the invoices (D24): no RPC shows
-- it.
CREATE TABLE billing.sealed_recipients (
    root_id uuid NOT NULL,
    since timestamptz NOT NULL,
    -- AES-256-GCM with the key of the account: 12 bytes of nonce, then the text and its tag.
    sealed bytea NOT NULL CHECK (28 <= octet_length(sealed)),
    PRIMARY KEY (root_id, since)
);
CREATE TABLE billing.retention_keys (
    root_id uuid PRIMARY KEY,
    key bytea NOT NULL CHECK (octet_length(key) = 32),
    -- When it is destroyed, and what it opens with it.
    destroy_at timestamptz NOT NULL
);
CREATE INDEX retention_keys_due ON billing.retention_keys (destroy_at);
GRANT SELECT, INSERT, DELETE ON billing.sealed_recipients, billing.retention_keys TO billing_service;

-- === Usage ===

-- What was used, as sources reported it. Superseded revisions stay: they are the lineage. Erasure deletes it record by
-- record; its monthly sums stay.
CREATE TABLE billing.usage_events (
    root_id uuid NOT NULL,
    -- The first day of the month of use.
    usage_month date NOT NULL,
    -- First 16 bytes of SHA-256 over source and event id: short, and the same for ever.
    event_key uuid NOT NULL,
    -- 1, then one more with each correction.
    revision integer NOT NULL CHECK (1 <= revision),
    source text NOT NULL,
    event_id text NOT NULL,
    account_id uuid NOT NULL,
    category text NOT NULL,
    used_at timestamptz NOT NULL,
    quantity_micros bigint NOT NULL,
    price_micros bigint NOT NULL,
    -- The month it is billed in: its own, or the next open one (D14).
    billing_month date NOT NULL CHECK (usage_month <= billing_month),
    received_at timestamptz NOT NULL,
    -- When a correction took its place; null while it counts, as only the last revision does.
    superseded_at timestamptz,
    -- Whether we gave it its price and debited it; else it was settled elsewhere (D7).
    rated boolean NOT NULL DEFAULT false,
    -- Whether it was used at the closing of its account or later: it is in no sum, and nobody pays for it (D28).
    unbilled boolean NOT NULL DEFAULT false,
    PRIMARY KEY (root_id, usage_month, event_key, revision),
    -- What we rate has no price then; a price that came with it stays as it was sent.
    CONSTRAINT usage_events_unbilled_unrated CHECK (NOT (unbilled AND rated) OR price_micros = 0)
);
CREATE INDEX usage_events_unbilled ON billing.usage_events (root_id, usage_month) WHERE unbilled;
GRANT SELECT, INSERT, UPDATE, DELETE ON billing.usage_events TO billing_service;

-- Sums of what counts, by day of use. A batch of usage changes many of them: a part of each page is left free, so that
-- the new version of a row stays on its page.
CREATE TABLE billing.usage_days (
    root_id uuid NOT NULL,
    billing_month date NOT NULL,
    used_on date NOT NULL,
    category text NOT NULL,
    quantity_micros bigint NOT NULL,
    price_micros bigint NOT NULL,
    event_count bigint NOT NULL,
    PRIMARY KEY (root_id, billing_month, used_on, category)
) WITH (fillfactor = 80);
GRANT SELECT, INSERT, UPDATE, DELETE ON billing.usage_days TO billing_service;

-- Sums of what counts, by month of billing: what a run reads. Each batch of usage changes the sums of a month of most
-- of its accounts: with half of each page free, the new version of a row stays on its page and no index has to be
-- touched.
CREATE TABLE billing.usage_months (
    billing_month date NOT NULL,
    root_id uuid NOT NULL,
    category text NOT NULL,
    quantity_micros bigint NOT NULL,
    price_micros bigint NOT NULL,
    event_count bigint NOT NULL,
    PRIMARY KEY (billing_month, root_id, category)
) WITH (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE ON billing.usage_months TO billing_service;

-- Months whose usage a run has frozen for the accounts of a profile; later usage joins the next (D14).
CREATE TABLE billing.usage_closings (
    profile_code text NOT NULL,
    month date NOT NULL,
    closed_at timestamptz NOT NULL,
    PRIMARY KEY (profile_code, month)
);
GRANT SELECT, INSERT ON billing.usage_closings TO billing_service;

-- When what an account that pays by invoice owes for usage and rentals is put on one: with the start of each month.
CREATE TABLE billing.usage_bills (
    root_id uuid PRIMARY KEY,
    next_at timestamptz NOT NULL,
    -- From when a job looks at it, by the database's clock, after one that went wrong.
    look_at timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX usage_bills_due ON billing.usage_bills (next_at);
GRANT SELECT, INSERT, DELETE ON billing.usage_bills TO billing_service;
GRANT UPDATE (next_at, look_at) ON billing.usage_bills TO billing_service;

-- === The ledger ===

-- The accounts between which the ledger moves money. They are the same everywhere and never change.
CREATE TABLE billing.ledger_accounts (
    ledger_account smallint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    -- Whether its balance is what customers own (lots), what they owe, or ours.
    holder text NOT NULL CHECK (holder IN ('LOT', 'OWED', 'OURS'))
);
INSERT INTO billing.ledger_accounts VALUES
    (1, 'TRIAL', 'LOT'), (2, 'PROMO', 'LOT'), (3, 'PAID', 'LOT'),
    (4, 'OVERDRAFT', 'OWED'), (5, 'RECEIVABLE', 'OWED'),
    (6, 'REVENUE', 'OURS'), (7, 'TAX', 'OURS'), (8, 'CLEARING', 'OURS'), (9, 'REFUNDS', 'OURS'),
    (10, 'FORFEITED', 'OURS'), (11, 'FEES', 'OURS'), (12, 'ROUNDING', 'OURS'), (13, 'GRANTED', 'OURS'),
    -- What invoices were written off for, and what providers hold back of contested charges.
    (14, 'WRITTEN_OFF', 'OURS'), (15, 'DISPUTED', 'OURS');
GRANT SELECT ON billing.ledger_accounts TO billing_service;

-- One row is one transfer: it balances by construction (D8). Rows are only ever added.
CREATE TABLE billing.ledger_entries (
    root_id uuid NOT NULL,
    posted_at timestamptz NOT NULL,
    entry_id uuid NOT NULL,
    debit smallint NOT NULL CHECK (debit BETWEEN 1 AND 15),
    credit smallint NOT NULL CHECK (credit BETWEEN 1 AND 15 AND credit <> debit),
    amount_micros bigint NOT NULL CHECK (0 < amount_micros),
    currency text NOT NULL,
    reason text NOT NULL,
    lot_id uuid,
    invoice_id uuid,
    PRIMARY KEY (root_id, posted_at, entry_id),
    -- What moves into or out of a lot names it.
    CONSTRAINT ledger_entries_of_lots CHECK (lot_id IS NOT NULL OR (3 < debit AND 3 < credit))
);
-- An entry is posted once, whenever that is: its id says what it is of. Usage, which has ids that nothing follows from,
-- is known by its events.
CREATE UNIQUE INDEX ledger_entries_once ON billing.ledger_entries (root_id, entry_id) WHERE reason <> 'USAGE';
GRANT SELECT, INSERT ON billing.ledger_entries TO billing_service;

-- What a root account owes beyond its credit. Who moves money of the account locks this row.
CREATE TABLE billing.balances (
    root_id uuid PRIMARY KEY,
    currency text NOT NULL,
    -- What is owed beyond the lots.
    overdraft_micros bigint NOT NULL DEFAULT 0 CHECK (0 <= overdraft_micros),
    -- The part of it that disputes made: it pays for no use, so that no invoice and no tax is on it. What is paid back
    -- pays for use first.
    disputed_micros bigint NOT NULL DEFAULT 0,
    CONSTRAINT balances_disputed CHECK (0 <= disputed_micros AND disputed_micros <= overdraft_micros)
) WITH (fillfactor = 80);
GRANT SELECT, INSERT, UPDATE ON billing.balances TO billing_service;

-- === Credit ===

-- Credit that can be spent, in lots that were granted or paid for at one time. Once a month a run changes nearly every
-- one: with half of each page free, the new version of a row stays on its page and no index has to be touched. No index
-- names a column that spending changes.
CREATE TABLE billing.lots (
    root_id uuid NOT NULL,
    lot_id uuid NOT NULL,
    -- 1 TRIAL, 2 PROMO, 3 PAID, as in ledger_accounts.
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 3),
    -- Lower numbers are spent first.
    priority smallint NOT NULL DEFAULT 0,
    amount_micros bigint NOT NULL CHECK (0 < amount_micros),
    remaining_micros bigint NOT NULL CHECK (remaining_micros BETWEEN 0 AND amount_micros),
    created_at timestamptz NOT NULL,
    -- From when it can't be spent; null for never.
    expires_at timestamptz,
    reason text NOT NULL DEFAULT '',
    -- When what was left of it at its expiry was forfeited; null before, and for what never expires.
    forfeited_at timestamptz CHECK (forfeited_at IS NULL OR (expires_at IS NOT NULL AND remaining_micros = 0)),
    -- The collection that paid for it; null for what was granted.
    collection_id uuid,
    -- Whether it is paid credit that expires because no plan is paid for any more (C-21): a new plan takes that back.
    lapses boolean NOT NULL DEFAULT false,
    -- What has left it for good, as it was refunded or forfeited. The rest of what is not there any more has paid for
    -- something, and can come back when usage turns out to have cost less.
    gone_micros bigint,
    PRIMARY KEY (root_id, lot_id),
    CONSTRAINT lots_gone CHECK (0 <= gone_micros AND gone_micros + remaining_micros <= amount_micros)
) WITH (fillfactor = 50);
-- Credit that expires, in the order of its expiry.
CREATE INDEX lots_expiring ON billing.lots (expires_at) WHERE expires_at IS NOT NULL AND forfeited_at IS NULL;
GRANT SELECT, INSERT, UPDATE ON billing.lots TO billing_service;
-- Not of what usage and runs spend in bulk: the entry of a run is that of the run.
CREATE TRIGGER sum_change AFTER INSERT ON billing.lots FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- Granted credit that an operator took back, and why (D40).
CREATE TABLE billing.voided_credits (
    void_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    lot_id uuid NOT NULL,
    amount_micros bigint NOT NULL CHECK (0 < amount_micros),
    reason text NOT NULL,
    voided_by text NOT NULL,
    voided_at timestamptz NOT NULL
);
CREATE INDEX voided_credits_by_lot ON billing.voided_credits (root_id, lot_id);
GRANT SELECT, INSERT ON billing.voided_credits TO billing_service;
-- What operators wrote is erased with the account; the books stay.
GRANT UPDATE (reason) ON billing.voided_credits TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.voided_credits FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- Automatic recharges: how the owner of an account has its balance filled up (D34).
CREATE TABLE billing.auto_recharges (
    root_id uuid PRIMARY KEY,
    enabled boolean NOT NULL,
    threshold_micros bigint NOT NULL CHECK (0 <= threshold_micros),
    -- The balance to reach, or the sum of each charge, as the profile says.
    amount_micros bigint NOT NULL CHECK (0 < amount_micros),
    -- Null for the account's default one.
    method_id uuid,
    -- Failures since the last success.
    failures integer NOT NULL DEFAULT 0,
    -- Before when no recharge begins, after one that was declined.
    not_before timestamptz,
    -- Why it was switched off by itself.
    disable_reason text NOT NULL DEFAULT '',
    -- When the balance is to be looked at; null when nothing has changed.
    look_at timestamptz,
    -- The most that one charge adds; null for amount_micros.
    maximum_micros bigint CHECK (0 < maximum_micros),
    -- The least a charge by its method may be, as it was when it was set; 0 for none.
    minimum_micros bigint NOT NULL DEFAULT 0 CHECK (0 <= minimum_micros),
    -- When its owner last set it: charges of before do not count towards a pause.
    set_at timestamptz NOT NULL DEFAULT now(),
    -- Until when it pauses after several charges at once; one that is over stays.
    paused_until timestamptz,
    -- A charge that the method takes is one that was agreed to. What is switched off may say anything.
    CONSTRAINT auto_recharges_agreed CHECK (NOT enabled OR minimum_micros <= coalesce(maximum_micros, amount_micros))
);
CREATE INDEX auto_recharges_to_look_at ON billing.auto_recharges (look_at) WHERE enabled AND look_at IS NOT NULL;
GRANT SELECT, INSERT, UPDATE ON billing.auto_recharges TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.auto_recharges FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- === Invoices ===

-- Series of invoice numbers: gapless per issuer and fiscal year (D11).
CREATE TABLE billing.invoice_series (
    series_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer_code text NOT NULL,
    -- The year in which the fiscal year starts.
    fiscal_year smallint NOT NULL,
    next_number bigint NOT NULL DEFAULT 1 CHECK (1 <= next_number),
    -- What its numbers start with, as the catalogue said when the series began; empty for none. An issued number keeps
    -- its form: another prefix begins another series.
    number_prefix text NOT NULL DEFAULT '',
    CONSTRAINT invoice_series_one_prefix UNIQUE (issuer_code, fiscal_year, number_prefix)
);
-- No number is printed twice, whatever codes issuers have.
CREATE UNIQUE INDEX invoice_series_prefix ON billing.invoice_series (number_prefix, fiscal_year)
    WHERE number_prefix <> '';
GRANT SELECT, INSERT, UPDATE ON billing.invoice_series TO billing_service;

-- Terms of plans as billed: what a line was computed from, kept here for as long as the line.
CREATE TABLE billing.terms (
    terms_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    family_code text NOT NULL,
    plan_code text NOT NULL,
    catalogue_version text NOT NULL,
    currency text NOT NULL,
    rank integer NOT NULL,
    model text NOT NULL CHECK (model IN ('FREE', 'FLAT', 'PERCENT_WITH_MINIMUM')),
    flat_minor bigint NOT NULL,
    minimum_minor bigint NOT NULL,
    -- Null for unbounded.
    maximum_minor bigint,
    -- [[inclusive upper bound in micros or null, basis points], …], lowest first.
    tiers jsonb NOT NULL,
    -- HALF_UP or HALF_EVEN.
    rounding text NOT NULL,
    UNIQUE (family_code, plan_code, catalogue_version)
);
GRANT SELECT, INSERT ON billing.terms TO billing_service;

-- Invoices: of a month, made by a run or by a closing, and of purchases, each made when its money has arrived.
CREATE TABLE billing.invoices (
    -- Of a month: derived from series and number, so that its uniqueness is theirs. Of a purchase: its collection's.
    invoice_id uuid PRIMARY KEY,
    series_id integer NOT NULL,
    number bigint NOT NULL,
    root_id uuid NOT NULL,
    -- Empty for a purchase.
    family_code text NOT NULL,
    period_start date NOT NULL,
    period_end date NOT NULL CHECK (period_start < period_end),
    -- The run that made it; null for none.
    run_id uuid,
    currency text NOT NULL,
    total_minor bigint NOT NULL CHECK (0 <= total_minor),
    -- What the balance paid; what is not paid by a charge either is due.
    from_balance_minor bigint NOT NULL CHECK (from_balance_minor BETWEEN 0 AND total_minor),
    -- 1 OPEN, 2 PAID, 3 VOID, 4 UNCOLLECTIBLE.
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),
    issued_at timestamptz NOT NULL,
    -- What a charge paid.
    charged_minor bigint NOT NULL DEFAULT 0 CHECK (0 <= charged_minor),
    -- What credit notes have taken back.
    credited_minor bigint NOT NULL DEFAULT 0,
    CONSTRAINT invoices_paid_once CHECK (from_balance_minor + charged_minor <= total_minor),
    CONSTRAINT invoices_credited_once CHECK (credited_minor BETWEEN 0 AND total_minor)
);
-- A month of a family is on one invoice of an account, whether a run or a closing made it; purchases have no family,
-- and there may be several a day.
CREATE UNIQUE INDEX invoices_one_a_period ON billing.invoices (period_start, family_code, root_id)
    WHERE family_code <> '';
-- The id of a run's invoice follows from its number; of others the number is unique here.
CREATE UNIQUE INDEX invoices_one_number ON billing.invoices (series_id, number) WHERE run_id IS NULL;
CREATE INDEX invoices_of_purchases ON billing.invoices (root_id, period_start) WHERE run_id IS NULL;
-- Invoices are listed by the time of their issue and, of one time, by their number: ids are in the order of numbers.
CREATE INDEX invoices_newest ON billing.invoices (issued_at DESC, invoice_id DESC);
-- Few are open: those of a run that the balance pays are not among them.
CREATE INDEX invoices_open ON billing.invoices (issued_at DESC, invoice_id DESC) WHERE state = 1;
CREATE INDEX invoices_open_of_root ON billing.invoices (root_id, period_start DESC, invoice_id) WHERE state = 1;
GRANT SELECT, INSERT ON billing.invoices TO billing_service;
GRANT UPDATE (state, from_balance_minor, charged_minor, credited_minor) ON billing.invoices TO billing_service;
-- Not of what a run writes in bulk: its entry is that of the run.
CREATE TRIGGER sum_change AFTER UPDATE ON billing.invoices FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- The lines of an invoice of a month; those of a purchase are its collection's.
CREATE TABLE billing.invoice_lines (
    invoice_id uuid NOT NULL,
    line_number smallint NOT NULL,
    terms_id integer NOT NULL,
    -- The contract that governs it; null for none.
    contract_id uuid,
    start_on date NOT NULL,
    end_on date NOT NULL CHECK (start_on < end_on),
    -- The usage that percentages are taken of, never negative.
    base_micros bigint NOT NULL CHECK (0 <= base_micros),
    amount_minor bigint NOT NULL CHECK (0 <= amount_minor),
    PRIMARY KEY (invoice_id, line_number)
);
GRANT SELECT, INSERT ON billing.invoice_lines TO billing_service;

-- The taxes of an invoice of a month; those of a purchase are its collection's.
CREATE TABLE billing.invoice_taxes (
    invoice_id uuid NOT NULL,
    line_number smallint NOT NULL,
    tax_code text NOT NULL,
    rate_bps bigint NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    PRIMARY KEY (invoice_id, line_number)
);
GRANT SELECT, INSERT ON billing.invoice_taxes TO billing_service;

-- Invoices that ended without being paid, undone or written off: why, and by whom; one row an invoice.
CREATE TABLE billing.invoices_ended (
    invoice_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    -- 3 VOID, 4 UNCOLLECTIBLE, as in invoices.
    state smallint NOT NULL CHECK (state IN (3, 4)),
    -- Empty for one that was written off.
    reason text NOT NULL,
    ended_by text NOT NULL,
    ended_at timestamptz NOT NULL
);
CREATE INDEX invoices_ended_of_root ON billing.invoices_ended (root_id);
GRANT SELECT, INSERT ON billing.invoices_ended TO billing_service;
-- What operators wrote is erased with the account; the books stay.
GRANT UPDATE (reason) ON billing.invoices_ended TO billing_service;

-- What takes back an invoice, or a part of it. Credit notes have numbers of the same series.
CREATE TABLE billing.credit_notes (
    root_id uuid NOT NULL,
    credit_note_id uuid PRIMARY KEY,
    series_id integer NOT NULL,
    number bigint NOT NULL,
    invoice_id uuid NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    reason text NOT NULL,
    created_by text NOT NULL,
    issued_at timestamptz NOT NULL,
    -- The tax in the amount.
    tax_minor bigint CHECK (0 <= tax_minor AND tax_minor <= amount_minor),
    CONSTRAINT credit_notes_one_number UNIQUE (series_id, number)
);
CREATE INDEX credit_notes_by_invoice ON billing.credit_notes (invoice_id);
CREATE INDEX credit_notes_newest ON billing.credit_notes (issued_at, credit_note_id);
CREATE INDEX credit_notes_of_root ON billing.credit_notes (root_id, issued_at, credit_note_id);
GRANT SELECT, INSERT ON billing.credit_notes TO billing_service;
-- What operators wrote is erased with the account; the books stay.
GRANT UPDATE (reason) ON billing.credit_notes TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.credit_notes FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- Money received outside for an open invoice.
CREATE TABLE billing.invoice_payments (
    payment_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    invoice_id uuid NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    -- What the bank calls it.
    reference text NOT NULL,
    received_on date NOT NULL,
    recorded_by text NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT invoice_payments_one_reference UNIQUE (root_id, reference)
);
GRANT SELECT, INSERT ON billing.invoice_payments TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.invoice_payments FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- How an invoice that was issued to be paid later is asked for: its dunning. It stays when the invoice is paid.
CREATE TABLE billing.dunnings (
    invoice_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    -- The last day to pay it without being asked again, in the zone of the profile.
    due_on date NOT NULL,
    -- ISSUED: nobody was told of it yet. OVERDUE: it was due and could not be paid.
    state text NOT NULL CHECK (state IN ('ISSUED', 'TOLD', 'OVERDUE')),
    -- How many tries have failed since it was due.
    retries integer NOT NULL DEFAULT 0 CHECK (0 <= retries),
    -- When a job goes on; null while a payment is under way, and when there is nothing more to do.
    next_at timestamptz
);
CREATE INDEX dunnings_next ON billing.dunnings (next_at) WHERE next_at IS NOT NULL;
GRANT SELECT, INSERT ON billing.dunnings TO billing_service;
GRANT UPDATE (state, retries, next_at) ON billing.dunnings TO billing_service;

-- === Billing runs ===

-- Runs, each for a family and a month. A run is bound by what it began with, whatever is configured or activated while
-- it goes on.
CREATE TABLE billing.runs (
    run_id uuid PRIMARY KEY,
    family_code text NOT NULL,
    period_start date NOT NULL,
    period_end date NOT NULL,
    dry_run boolean NOT NULL,
    -- RATE computes and settles nothing; SETTLE writes invoices.
    phase text NOT NULL CHECK (phase IN ('RATE', 'SETTLE')),
    -- CANCELLED: an operator ended it. It never goes on, and another run may bill what it did not.
    state text NOT NULL CHECK (state IN ('RUNNING', 'HALTED', 'AWAITING_APPROVAL', 'COMPLETED', 'CANCELLED')),
    shard_count integer NOT NULL CHECK (1 <= shard_count),
    -- Payers to rate in all, as counted at the start.
    expected_count bigint NOT NULL,
    currency text NOT NULL,
    -- Usage received later joins the next period; invoices are issued as of it.
    cut_off_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    completed_at timestamptz,
    -- The catalogue version whose policies bind all of it.
    catalogue_version text NOT NULL DEFAULT '',
    -- Payers in a chunk: a chunk that is done again must be the same one.
    chunk_size integer NOT NULL DEFAULT 10000 CHECK (0 < chunk_size),
    -- Why an operator cancelled it; empty for runs that nobody cancelled.
    cancel_reason text NOT NULL DEFAULT '',
    CONSTRAINT runs_cancelled CHECK ((state = 'CANCELLED') = (cancel_reason <> ''))
);
-- One real run a family and period that was not cancelled (D14).
CREATE UNIQUE INDEX runs_one_real ON billing.runs (family_code, period_start)
    WHERE NOT dry_run AND state <> 'CANCELLED';
CREATE INDEX runs_running ON billing.runs (run_id) WHERE state = 'RUNNING';
GRANT SELECT, INSERT, UPDATE ON billing.runs TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.runs FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- The parts of a run (D16). A worker holds one by its token, until its lease runs out by the database's clock; every
-- chunk is conditional on both.
CREATE TABLE billing.run_shards (
    run_id uuid NOT NULL,
    shard integer NOT NULL,
    lease_token uuid,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    -- The last payer that is done; null before the first chunk.
    cursor_id uuid,
    next_chunk integer NOT NULL DEFAULT 0,
    done boolean NOT NULL DEFAULT false,
    -- When a worker last took it, by the database's clock; null before the first time. The longest ago is taken next,
    -- so that a shard that fails again and again holds up no other.
    last_attempt_at timestamptz,
    PRIMARY KEY (run_id, shard)
);
GRANT SELECT, INSERT, UPDATE ON billing.run_shards TO billing_service;

-- Committed chunks: the first fence against doing one twice, and the run's totals.
CREATE TABLE billing.run_chunks (
    run_id uuid NOT NULL,
    phase text NOT NULL,
    shard integer NOT NULL,
    chunk integer NOT NULL,
    -- The process that did it.
    worker text NOT NULL,
    account_count integer NOT NULL,
    invoice_count integer NOT NULL,
    line_count integer NOT NULL,
    total_minor bigint NOT NULL,
    last_id uuid NOT NULL,
    -- By the database's clock.
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, phase, shard, chunk)
);
GRANT SELECT, INSERT ON billing.run_chunks TO billing_service;

-- Numbers set aside for a chunk before it is written; a chunk that is done again uses them again.
CREATE TABLE billing.number_blocks (
    run_id uuid NOT NULL,
    shard integer NOT NULL,
    chunk integer NOT NULL,
    series_id integer NOT NULL,
    first_number bigint NOT NULL,
    number_count bigint NOT NULL CHECK (0 < number_count),
    -- Whose invoices the numbers are, in order: the first payer has the first number. A chunk that is done again bills
    -- exactly them.
    payers uuid[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (run_id, shard, chunk, series_id),
    CONSTRAINT number_blocks_payers CHECK (cardinality(payers) = number_count)
);
GRANT SELECT, INSERT ON billing.number_blocks TO billing_service;

-- Numbers of a series that no invoice has and none will have, and why: with the invoices, and the numbers that are set
-- aside for parked accounts, they are all numbers of their series.
CREATE TABLE billing.voided_numbers (
    series_id integer NOT NULL,
    first_number bigint NOT NULL CHECK (1 <= first_number),
    last_number bigint NOT NULL CHECK (first_number <= last_number),
    -- The run that they were set aside for.
    run_id uuid NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    voided_at timestamptz NOT NULL,
    PRIMARY KEY (series_id, first_number)
);
CREATE INDEX voided_numbers_by_run ON billing.voided_numbers (run_id);
GRANT SELECT, INSERT ON billing.voided_numbers TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.voided_numbers FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- What a phase that settles nothing found.
CREATE TABLE billing.run_outcomes (
    run_id uuid NOT NULL,
    root_id uuid NOT NULL,
    total_minor bigint NOT NULL,
    PRIMARY KEY (run_id, root_id)
);
GRANT SELECT, INSERT, DELETE ON billing.run_outcomes TO billing_service;

-- Accounts that a run could not bill and left out, until an operator releases them.
CREATE TABLE billing.parked_accounts (
    run_id uuid NOT NULL,
    root_id uuid NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    parked_at timestamptz NOT NULL,
    released_at timestamptz,
    -- A number that was set aside for its invoice and is used at its release; null for none.
    series_id integer,
    number bigint,
    PRIMARY KEY (run_id, root_id)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON billing.parked_accounts TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.parked_accounts FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- Periods that were not billed a day after their run was due (D30): told of once, until they are billed.
CREATE TABLE billing.overdue_periods (
    family_code text NOT NULL,
    -- The first day.
    month date NOT NULL CHECK (EXTRACT(day FROM month) = 1),
    -- When its run was due.
    due_at timestamptz NOT NULL,
    PRIMARY KEY (family_code, month)
);
GRANT SELECT, INSERT, DELETE ON billing.overdue_periods TO billing_service;

-- === Collections: money that comes in ===

-- Money asked for: for an order, to fill a balance, for a renewal, for an open invoice. Its id is also the one that its
-- charge and its invoice are known by.
CREATE TABLE billing.collections (
    root_id uuid NOT NULL,
    collection_id uuid PRIMARY KEY,
    -- The order of `account-lifecycle`; null where none is paid.
    order_id uuid UNIQUE,
    -- CREATED until the charge was asked for. INVOICED: an open invoice stands for it.
    state text NOT NULL CHECK (state IN ('CREATED', 'PENDING', 'AWAITING_SETTLEMENT', 'UNKNOWN', 'PARKED', 'SUCCEEDED',
                                         'DECLINED', 'INVOICED')),
    currency text NOT NULL,
    -- Tax included.
    total_minor bigint NOT NULL CHECK (0 < total_minor),
    -- The payment method asked for; null for the account's default one.
    method_id uuid,
    -- The intent that this attempt is of: asked for again by the same one, it is not a new attempt.
    intent_id uuid NOT NULL,
    -- Which attempt to charge; counted on after a decline.
    attempt_number integer NOT NULL DEFAULT 1 CHECK (1 <= attempt_number),
    -- The charge of that attempt; null before it is known.
    charge_id uuid,
    failure_reason text NOT NULL DEFAULT '',
    -- Where its payer confirms it; empty where that is not asked for.
    action_url text NOT NULL DEFAULT '',
    -- The catalogue version that it was quoted from.
    catalogue_version text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- When a job asks for the charge of one that is CREATED, by the database's clock.
    try_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- What it is for. INVOICE pays an open invoice; USAGE puts what an account that pays by invoice owes on one.
    purpose text NOT NULL,
    -- The open invoice that it pays; null for others.
    invoice_id uuid,
    -- What the invoice did not need any more when the money arrived, and became credit.
    overpaid_minor bigint NOT NULL DEFAULT 0,
    -- The method chosen for the present attempt (D35); null for one that a person makes, and for the account's default
    -- one.
    chosen_method_id uuid,
    -- The method that has paid; null before.
    paid_method_id uuid,
    -- When `payments` is asked about a charge of which nothing was told, by the database's clock.
    look_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '10 minutes',
    CHECK (state <> 'SUCCEEDED' OR charge_id IS NOT NULL),
    CHECK (overpaid_minor BETWEEN 0 AND total_minor),
    CONSTRAINT collections_purpose CHECK (purpose IN ('ORDER', 'RECHARGE', 'RENEWAL', 'INVOICE', 'USAGE')),
    CONSTRAINT collections_of_orders CHECK (CASE purpose WHEN 'ORDER' THEN order_id IS NOT NULL
                                                         WHEN 'INVOICE' THEN true ELSE order_id IS NULL END),
    CONSTRAINT collections_of_invoices CHECK ((purpose = 'INVOICE') = (invoice_id IS NOT NULL))
);
-- One recharge is under way an account.
CREATE UNIQUE INDEX collections_one_recharge ON billing.collections (root_id)
    WHERE purpose = 'RECHARGE' AND state NOT IN ('SUCCEEDED', 'DECLINED');
-- An invoice is paid once at a time.
CREATE UNIQUE INDEX collections_one_payment ON billing.collections (invoice_id)
    WHERE invoice_id IS NOT NULL AND state NOT IN ('SUCCEEDED', 'DECLINED');
CREATE INDEX collections_recharges ON billing.collections (root_id, created_at) WHERE purpose = 'RECHARGE';
CREATE INDEX collections_to_ask ON billing.collections (try_at) WHERE state = 'CREATED';
CREATE INDEX collections_to_look_at ON billing.collections (look_at)
    WHERE state IN ('PENDING', 'AWAITING_SETTLEMENT', 'UNKNOWN', 'PARKED') AND charge_id IS NOT NULL;
CREATE INDEX collections_undecided ON billing.collections (root_id)
    WHERE state NOT IN ('SUCCEEDED', 'DECLINED', 'INVOICED');
CREATE INDEX collections_by_charge ON billing.collections (charge_id) WHERE charge_id IS NOT NULL;
CREATE INDEX collections_paid ON billing.collections (root_id, updated_at) WHERE state = 'SUCCEEDED';
-- Those whose page erasure forgets.
CREATE INDEX collections_with_page ON billing.collections (root_id) WHERE action_url <> '';
CREATE INDEX collections_newest ON billing.collections (created_at, collection_id);
CREATE INDEX collections_of_root ON billing.collections (root_id, created_at, collection_id);
GRANT SELECT, INSERT ON billing.collections TO billing_service;
GRANT UPDATE (state, method_id, intent_id, attempt_number, charge_id, failure_reason, action_url, updated_at, try_at,
              overpaid_minor, chosen_method_id, paid_method_id, look_at)
    ON billing.collections TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.collections FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- What a collection pays for, net; then the lines of its invoice.
CREATE TABLE billing.collection_lines (
    collection_id uuid NOT NULL,
    line_number smallint NOT NULL,
    -- CREDITS become paid credit; all else is earned.
    kind text NOT NULL,
    plan_code text NOT NULL,
    cycle_code text NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    -- How the amount was computed, in words.
    formula text NOT NULL DEFAULT '',
    -- The days that it is for: known from the start of a renewal, of an order when its money arrives.
    -- The family whose zone makes them; empty for that of the profile.
    family_code text NOT NULL DEFAULT '',
    -- Months of the cycle that is paid for; 0 where none is.
    cycle_months integer NOT NULL DEFAULT 0 CHECK (0 <= cycle_months),
    -- The first day; null until the money arrives.
    start_on date,
    -- The day after the last; null until the money arrives, where a whole cycle is paid.
    end_on date,
    PRIMARY KEY (collection_id, line_number),
    CONSTRAINT collection_lines_days CHECK (start_on < end_on)
);
GRANT SELECT, INSERT ON billing.collection_lines TO billing_service;
GRANT UPDATE (start_on, end_on) ON billing.collection_lines TO billing_service;

-- The taxes on top of a collection's lines; then those of its invoice.
CREATE TABLE billing.collection_taxes (
    collection_id uuid NOT NULL,
    line_number smallint NOT NULL,
    tax_code text NOT NULL,
    rate_bps bigint NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    PRIMARY KEY (collection_id, line_number)
);
GRANT SELECT, INSERT ON billing.collection_taxes TO billing_service;

-- Subscriptions that are paid in advance, and their renewals (REQ-127).
CREATE TABLE billing.subscriptions (
    root_id uuid NOT NULL,
    family_code text NOT NULL,
    -- ENDING: every try has failed, and `plan` has not been told yet.
    state text NOT NULL CHECK (state IN ('ACTIVE', 'PAST_DUE', 'ENDING')),
    -- Where the cycle begins that is to be paid next, or is being paid.
    cycle_start_at timestamptz NOT NULL,
    -- Where the one after it begins; null until its payment is asked for.
    next_start_at timestamptz CHECK (cycle_start_at < next_start_at),
    -- What asks for its payment; null before.
    collection_id uuid UNIQUE,
    -- How many tries have failed by the payer's fault.
    retries integer NOT NULL DEFAULT 0 CHECK (0 <= retries),
    -- When a job goes on; null while a payment is under way.
    due_at timestamptz,
    PRIMARY KEY (root_id, family_code),
    CHECK ((collection_id IS NULL) = (next_start_at IS NULL))
);
CREATE INDEX subscriptions_due ON billing.subscriptions (due_at) WHERE due_at IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON billing.subscriptions TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.subscriptions FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- What is rented by the month and paid from the balance: numbers and add-ons.
CREATE TABLE billing.rentals (
    root_id uuid NOT NULL,
    rental_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('NUMBER', 'ADD_ON')),
    -- Such as landline or whatsapp.
    code text NOT NULL,
    currency text NOT NULL,
    -- What a month costs, as it was begun.
    monthly_micros bigint NOT NULL CHECK (0 < monthly_micros),
    start_at timestamptz NOT NULL,
    -- How many months have begun, paid or free; the next begins so many months after the first, in the zone of its
    -- account.
    month_count integer NOT NULL CHECK (0 < month_count),
    next_at timestamptz NOT NULL CHECK (start_at < next_at),
    -- Null while it is rented.
    ended_at timestamptz CHECK (start_at <= ended_at),
    -- From when a job looks at it, by the database's clock, after one that went wrong.
    look_at timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX rentals_due ON billing.rentals (next_at) WHERE ended_at IS NULL;
CREATE INDEX rentals_newest ON billing.rentals (root_id, start_at, rental_id);
GRANT SELECT, INSERT ON billing.rentals TO billing_service;
GRANT UPDATE (month_count, next_at, ended_at, look_at) ON billing.rentals TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.rentals FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- === Refunds and disputes: money that goes back ===

-- Money that goes back to the charge it came from.
CREATE TABLE billing.refunds (
    root_id uuid NOT NULL,
    refund_id uuid PRIMARY KEY,
    -- The intent that it is a part of.
    intent_id uuid NOT NULL,
    -- The lot that it was taken from; null where a credit note gives back what was earned (D40).
    lot_id uuid,
    -- The charge of `payments` that is given back; null where none brought the credit, which then goes back by a bank
    -- transfer (D32).
    charge_id uuid,
    currency text NOT NULL,
    -- What goes back, tax included.
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    -- The fee that was kept of it.
    fee_minor bigint NOT NULL CHECK (0 <= fee_minor),
    -- CREATED until asked for. RETRYING after a refusal. UNDONE: its charge was lost to its payer, and the refund was
    -- given back to the balance.
    state text NOT NULL CHECK (state IN ('CREATED', 'PROCESSING', 'RETRYING', 'NEEDS_MANUAL', 'SUCCEEDED', 'UNDONE')),
    attempt_number integer NOT NULL DEFAULT 1 CHECK (1 <= attempt_number),
    -- How often `payments` would not take it: each asking after that is another request.
    refusals integer NOT NULL DEFAULT 0,
    -- Whether it goes by a bank transfer that a person makes.
    manual boolean NOT NULL DEFAULT false,
    -- The refund of `payments`; null before it is known.
    payments_refund_id uuid,
    due_on date NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- When a job asks for it.
    try_at timestamptz,
    -- The share of tax in what goes back: owed again where the charge turns out to be lost.
    tax_minor bigint NOT NULL DEFAULT 0 CHECK (tax_minor BETWEEN 0 AND amount_minor),
    -- When `payments` is asked about a refund of which nothing was told, by the database's clock.
    look_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '10 minutes',
    CONSTRAINT refunds_way CHECK (charge_id IS NOT NULL OR manual)
);
CREATE INDEX refunds_by_intent ON billing.refunds (intent_id);
CREATE INDEX refunds_by_charge ON billing.refunds (charge_id);
CREATE INDEX refunds_to_ask ON billing.refunds (try_at) WHERE state IN ('CREATED', 'RETRYING');
CREATE INDEX refunds_to_look_at ON billing.refunds (look_at)
    WHERE state IN ('PROCESSING', 'NEEDS_MANUAL') AND payments_refund_id IS NOT NULL;
CREATE INDEX refunds_open ON billing.refunds (root_id) WHERE state NOT IN ('SUCCEEDED', 'UNDONE');
CREATE INDEX refunds_newest ON billing.refunds (created_at, refund_id);
GRANT SELECT, INSERT ON billing.refunds TO billing_service;
GRANT UPDATE (state, attempt_number, refusals, manual, payments_refund_id, updated_at, try_at, look_at)
    ON billing.refunds TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.refunds FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- Charges that are contested: what providers hold back of them, and what customers owe for those that were lost.
CREATE TABLE billing.disputes (
    root_id uuid NOT NULL,
    -- Of `payments`.
    dispute_id uuid PRIMARY KEY,
    collection_id uuid NOT NULL,
    -- What the provider holds back, as booked.
    withheld_minor bigint NOT NULL CHECK (0 <= withheld_minor),
    -- What was taken back from the customer's balance, once, when it was lost.
    taken_micros bigint NOT NULL CHECK (0 <= taken_micros),
    -- The state that the outbox told of last; null before the first.
    told_state text CHECK (told_state IN ('OPEN', 'WON', 'LOST'))
);
CREATE INDEX disputes_by_collection ON billing.disputes (collection_id);
GRANT SELECT, INSERT ON billing.disputes TO billing_service;
GRANT UPDATE (withheld_minor, taken_micros, told_state) ON billing.disputes TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.disputes FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- === News of payments ===

-- How far what other services tell was followed; written with its effect.
CREATE TABLE billing.watch_positions (
    source text PRIMARY KEY,
    resume_token text NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON billing.watch_positions TO billing_service;

-- Events of money that could not be posted: shown to operators, tried again by a job, posted in the end.
CREATE TABLE billing.unposted_events (
    root_id uuid NOT NULL,
    -- The charge, refund or dispute of `payments` that the event is of, such as CH….
    subject_id text NOT NULL,
    -- Why it could not be posted the last time.
    reason text NOT NULL,
    set_aside_at timestamptz NOT NULL,
    -- How often it was tried again.
    attempt_count integer NOT NULL DEFAULT 0 CHECK (0 <= attempt_count),
    -- When a job tries it again, by the database's clock.
    try_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '1 minute',
    -- Null while it is not posted.
    posted_at timestamptz,
    PRIMARY KEY (root_id, subject_id)
);
CREATE INDEX unposted_events_due ON billing.unposted_events (try_at) WHERE posted_at IS NULL;
CREATE INDEX unposted_events_newest ON billing.unposted_events (set_aside_at, subject_id);
GRANT SELECT, INSERT ON billing.unposted_events TO billing_service;
GRANT UPDATE (reason, set_aside_at, attempt_count, try_at, posted_at) ON billing.unposted_events TO billing_service;

-- === Closings ===

-- Accounts that close: what is settled and given back, once (D23).
CREATE TABLE billing.closings (
    root_id uuid PRIMARY KEY,
    -- PREPARED: computed, and the balance stands still until it is settled. ABORTED: given up, and not prepared for
    -- that instant by a call that comes late.
    state text NOT NULL CHECK (state IN ('PREPARED', 'SETTLED', 'ABORTED')),
    close_at timestamptz NOT NULL,
    currency text NOT NULL,
    -- What was owed up to the closing.
    settlement_minor bigint NOT NULL CHECK (0 <= settlement_minor),
    -- What goes back, tax included.
    refund_minor bigint NOT NULL CHECK (0 <= refund_minor),
    -- Trial and promotional credit written off.
    forfeited_micros bigint NOT NULL CHECK (0 <= forfeited_micros),
    -- Until when the refund is paid out; null without one.
    due_on date,
    -- The intent of its refunds.
    intent_id uuid NOT NULL,
    -- The last invoice that it settled; null when nothing was owed.
    invoice_id uuid,
    catalogue_version text NOT NULL,
    prepared_at timestamptz NOT NULL,
    settled_at timestamptz,
    CHECK ((state = 'SETTLED') = (settled_at IS NOT NULL))
);
GRANT SELECT, INSERT ON billing.closings TO billing_service;
GRANT UPDATE (state, close_at, settlement_minor, refund_minor, forfeited_micros, due_on, intent_id, invoice_id,
              catalogue_version, prepared_at, settled_at)
    ON billing.closings TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.closings FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();

-- Months that a closing has settled: their runs leave the account out.
CREATE TABLE billing.closing_periods (
    family_code text NOT NULL,
    period_start date NOT NULL,
    root_id uuid NOT NULL,
    PRIMARY KEY (family_code, period_start, root_id)
);
GRANT SELECT, INSERT ON billing.closing_periods TO billing_service;

-- === Outbox ===

-- News, in order (D21). `WatchBalances` tells those of accounts. Which columns a row has depends on its kind.
CREATE TABLE billing.outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The transaction that wrote it: a reader never passes one that may still be invisible.
    written_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- Null for a run.
    root_id uuid,
    -- BALANCE_CROSSED, AUTO_RECHARGE_DISABLED, AUTO_RECHARGE_PAUSED, RENEWAL_FAILED, OPEN_INVOICE, PAYMENT_RECEIVED,
    -- DISPUTE, SUBSCRIPTION_ENDED or RUN_COMPLETED.
    kind text NOT NULL,
    -- The balance after a crossing; of a dispute, the credit that it took from the balance or gave back to it.
    balance_micros bigint,
    run_id uuid,
    created_at timestamptz NOT NULL,
    -- Which threshold a balance has crossed, and whether it fell. Fell says of a renewal that it is not tried again, of
    -- an open invoice that it is overdue.
    threshold_code text,
    fell boolean,
    -- Why a renewal or an invoice could not be paid, or auto-recharge was switched off; of a dispute, its state.
    reason text NOT NULL DEFAULT '',
    -- When a renewal is tried again, null for not any more; until when auto-recharge pauses; until when evidence in a
    -- dispute can be given.
    next_at timestamptz,
    -- The invoice that is told of.
    invoice_id uuid,
    -- What was paid of an invoice; what a dispute is about.
    amount_minor bigint
);
-- What is not told yet, with its positions: a reader finds from it where to begin, and goes on by the position.
CREATE INDEX outbox_unread ON billing.outbox (written_by, position);
GRANT SELECT, INSERT ON billing.outbox TO billing_service;

-- ##### Views for checks #####
--
-- For whoever checks the suite from outside: their names are stable, and they are read only.

CREATE SCHEMA billing_check;
CREATE VIEW billing_check.ledger_entry WITH (security_barrier) AS
    SELECT root_id, entry_id, posted_at, debit AS ledger_account, -amount_micros AS amount_micros, currency, reason,
           lot_id, invoice_id FROM billing.ledger_entries
    UNION ALL
    SELECT root_id, entry_id, posted_at, credit, amount_micros, currency, reason, lot_id, invoice_id
    FROM billing.ledger_entries;
CREATE VIEW billing_check.credit AS SELECT * FROM billing.lots;
CREATE VIEW billing_check.voided_credit AS SELECT * FROM billing.voided_credits;
CREATE VIEW billing_check.invoice AS
    SELECT invoice_id, series_id, number, root_id, family_code, period_start, period_end, run_id, currency, total_minor,
           from_balance_minor, state, issued_at
    FROM billing.invoices;
CREATE VIEW billing_check.invoice_line AS SELECT * FROM billing.invoice_lines;
CREATE VIEW billing_check.invoice_tax AS SELECT * FROM billing.invoice_taxes;
CREATE VIEW billing_check.invoice_payment AS SELECT * FROM billing.invoice_payments;
CREATE VIEW billing_check.dunning AS SELECT * FROM billing.dunnings;
CREATE VIEW billing_check.voided_number AS SELECT * FROM billing.voided_numbers;
CREATE VIEW billing_check.job AS SELECT * FROM billing.run_shards;
CREATE VIEW billing_check.overdue_period AS SELECT * FROM billing.overdue_periods;
CREATE VIEW billing_check.collection AS SELECT * FROM billing.collections;
CREATE VIEW billing_check.subscription AS SELECT * FROM billing.subscriptions;
CREATE VIEW billing_check.rental AS SELECT * FROM billing.rentals;
CREATE VIEW billing_check.refund AS
    SELECT root_id, refund_id, intent_id, lot_id, charge_id, currency, amount_minor, fee_minor, state, attempt_number,
           refusals, manual, payments_refund_id, due_on, created_at, updated_at, try_at
    FROM billing.refunds;
CREATE VIEW billing_check.unposted_event AS SELECT * FROM billing.unposted_events;
CREATE VIEW billing_check.closing AS SELECT * FROM billing.closings;
CREATE VIEW billing_check.outbox AS
    SELECT position, written_by, root_id, kind, balance_micros, run_id, created_at FROM billing.outbox;
CREATE VIEW billing_check.job_claim AS
    SELECT job, key, state, token, held_until, failure_count, absence_count, reason FROM billing.job_claims;
CREATE VIEW billing_check.idempotency AS
    SELECT caller, account, method, request_id, created_at, response IS NOT NULL AS answered, status_code
    FROM billing.requests;
CREATE VIEW billing_check.audit AS
    SELECT root_id, sequence, actor, on_behalf_of, method, request_id, entry_hash, created_at
    FROM billing.audit_entries;
GRANT USAGE ON SCHEMA billing_check TO checker;
GRANT SELECT ON ALL TABLES IN SCHEMA billing_check TO checker;
