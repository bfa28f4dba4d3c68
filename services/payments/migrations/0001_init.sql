-- The schema of `payments`: payment methods, charges and refunds, disputes, what providers said of them, and the book
-- of the sandbox provider.
--
-- The first part is what each of the four services has: requests, audit, units of work, jobs. It differs between them
-- in the name of the schema, in the table that says whose an account is, and in row-level security only. The second
-- part is what this service is for. The third part is views for whoever checks the suite from outside.
--
-- The service's role gets what it needs, table by table, and owns nothing. Every instant is by the clock of the suite,
-- which tests can set; where it is the database's own, the comment says so (D20). Money is whole: `_minor` in minor
-- units of its currency. Numbers such as D20 are those of services/decisions.md.

GRANT USAGE ON SCHEMA payments TO payments_service;

-- === Row-level security ===
--
-- It is forced (D25): a transaction sees the rows of the root account that it entered (`app.tenant`), of every one when
-- it entered as 'all', as jobs do, and none before it has entered. The policies `of_checks` let the owner read, as the
-- views for checks do: force includes the owner.

-- Whether a transaction sees the rows of a root account.
CREATE FUNCTION payments.entered(root uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT current_setting('app.tenant', true) IN ('all', root::text)
$$;
GRANT EXECUTE ON FUNCTION payments.entered TO payments_service;

-- ##### What each service has #####

-- === Requests ===
--
-- A change that is asked for twice with one request id is made once, and its answer is given again.

-- Every request that changes something, for 30 days: taken when its unit of work begins, with its answer when that
-- ends.
CREATE TABLE payments.requests (
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
CREATE INDEX requests_by_age ON payments.requests (created_at);
CREATE INDEX requests_by_root ON payments.requests (root_id) WHERE root_id IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON payments.requests TO payments_service;
-- Stored answers are their callers'. A transaction sees the answers to the caller that its unit of work entered
-- (`app.caller`), and those about the root account that it entered (`app.tenant`). The key of an answer begins with its
-- caller, so that a request id is taken before it is known which account it is about.
ALTER TABLE payments.requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.requests FORCE ROW LEVEL SECURITY;
CREATE POLICY of_caller ON payments.requests
    USING (caller = current_setting('app.caller', true) OR payments.entered(root_id));
CREATE POLICY of_checks ON payments.requests FOR SELECT TO payments_owner USING (true);

-- === Audit ===
--
-- Every unit of work that changes something adds an entry to the chain of its root account. Each entry holds the hash
-- of the entry before it, so that none can be changed or taken out unnoticed (R32, D24).

-- The entries. They are never updated or deleted, and say who did what, not with which values: those are hashed with a
-- key that is forgotten when the account's data are erased.
CREATE TABLE payments.audit_entries (
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
CREATE TABLE payments.audit_heads (
    root_id uuid PRIMARY KEY,
    -- The key of the hashes. It is forgotten with the account's data, and made anew for what comes after; null between.
    key bytea CHECK (octet_length(key) = 32),
    sequence bigint NOT NULL DEFAULT 0,
    entry_hash bytea NOT NULL DEFAULT '',
    -- Up to which entry the chain was written to the file outside the database.
    anchored_sequence bigint NOT NULL DEFAULT 0
);
CREATE INDEX audit_heads_to_anchor ON payments.audit_heads (root_id) WHERE anchored_sequence < sequence;
GRANT SELECT, INSERT ON payments.audit_entries, payments.audit_heads TO payments_service;
GRANT UPDATE (key, sequence, entry_hash, anchored_sequence) ON payments.audit_heads TO payments_service;
ALTER TABLE payments.audit_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.audit_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON payments.audit_entries USING (payments.entered(root_id));
CREATE POLICY of_checks ON payments.audit_entries FOR SELECT TO payments_owner USING (true);
ALTER TABLE payments.audit_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.audit_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON payments.audit_heads USING (payments.entered(root_id));

-- The end of a chain only grows, one entry at a time; its key is forgotten, not exchanged. The owner of the schema is
-- not kept from changing it: an edit by hand is what the file outside the database reveals.
CREATE FUNCTION payments.keep_audit_head() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER keep_audit_head BEFORE INSERT OR UPDATE ON payments.audit_heads FOR EACH ROW
    WHEN (current_user = 'payments_service') EXECUTE FUNCTION payments.keep_audit_head();

-- Adds a changed row to the sums of the rows that a unit of work changes, before and after, for its entry. Tables whose
-- changes are audited have it as a trigger. The sums are settings of the transaction.
CREATE FUNCTION payments.sum_change() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE FUNCTION payments.begin_unit(
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
        INSERT INTO payments.requests (caller, account, method, request_id, request_hash, created_at, root_id)
        VALUES (its_caller, its_account, its_method, its_request, its_hash, its_time,
                (SELECT it.root_id FROM payments.roots it WHERE it.account_id = its_named))
        ON CONFLICT DO NOTHING;
        is_new := FOUND;
        EXIT WHEN is_new;
        SELECT q.request_hash, q.response, q.status_code, q.status_message, q.status_details, q.asked
        INTO known_hash, known_answer, known_code, known_message, known_details, known_asked
        FROM payments.requests q
        WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method
          AND q.request_id = its_request FOR UPDATE;
        -- What was found taken and is not there a statement later was forgotten in between, and can be taken.
        EXIT WHEN FOUND;
    END LOOP;
    IF is_new AND its_held IS NOT NULL THEN
        -- A statement of its own: it sees what a closing has committed that it waited for.
        SELECT it.standings, it.limited_at INTO held_standings, held_limited_at
        FROM payments.roots it WHERE it.account_id = its_held FOR KEY SHARE;
    END IF;
END $$;

-- Tells what became of a request id, without taking it, and how an account stands, in one round trip outside of any
-- unit of work.
CREATE FUNCTION payments.known_request(
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
    FROM payments.requests q
    WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method AND q.request_id = its_request;
    is_new := NOT FOUND;
    IF its_seen IS NOT NULL THEN
        SELECT it.standings, it.limited_at INTO held_standings, held_limited_at
        FROM payments.roots it WHERE it.account_id = its_seen;
    END IF;
END $$;

-- A key of 32 bytes, filled up to the block of SHA-256 and combined with the byte `pad` (two hex digits): RFC 2104.
CREATE FUNCTION payments.padded(its_key bytea, pad text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(int8send((('x' || encode(substring(its_key FROM 8 * n + 1 FOR 8), 'hex'))::bit(64)
                                # ('x' || repeat(pad, 8))::bit(64))::bigint), ''::bytea ORDER BY n)
           || decode(repeat(pad, 32), 'hex')
    FROM generate_series(0, 3) AS n
$$;

-- A part of an entry, as its hash takes it in: with its length before it.
CREATE FUNCTION payments.audit_part(part bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT int8send(octet_length(part)::bigint) || part
$$;

-- Keeps the answer of a unit's request, and adds its entry to the audit. The chain is that of `its_root`, else of the
-- tenant that was entered, else of the account that the request names, else of none. Its head is locked here, after all
-- else that the unit locks, and until its commit.
CREATE FUNCTION payments.end_unit(
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
        (SELECT it.root_id FROM payments.roots it WHERE it.account_id = its_named),
        nobody);
    before_sum text := coalesce(current_setting('audit.before', true), '');
    after_sum text := coalesce(current_setting('audit.after', true), '');
    head payments.audit_heads;
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
        UPDATE payments.requests q
        SET response = its_answer, asked = its_asked,
            root_id = coalesce(its_user, nullif(chain, nobody), its_found, q.root_id)
        WHERE q.caller = its_caller AND q.account = its_account AND q.method = its_method
          AND q.request_id = its_request AND q.response IS NULL AND q.status_code IS NULL;
    END IF;
    PERFORM set_config('app.tenant', chain::text, true);
    SELECT it.* INTO head FROM payments.audit_heads it WHERE it.root_id = chain FOR UPDATE;
    IF head.key IS NULL THEN
        INSERT INTO payments.audit_heads AS it (root_id, key)
        VALUES (chain, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
        ON CONFLICT (root_id) DO UPDATE SET key = coalesce(it.key, excluded.key)
        RETURNING it.* INTO head;
    END IF;
    inner_pad := payments.padded(head.key, '36');
    outer_pad := payments.padded(head.key, '5c');
    keyed_request := sha256(outer_pad || sha256(inner_pad || its_hash));
    IF before_sum <> '' THEN
        keyed_before := sha256(outer_pad || sha256(inner_pad || convert_to(before_sum, 'UTF8')));
    END IF;
    IF after_sum <> '' THEN
        keyed_after := sha256(outer_pad || sha256(inner_pad || convert_to(after_sum, 'UTF8')));
    END IF;
    next_sequence := head.sequence + 1;
    hash := sha256(
        payments.audit_part(uuid_send(chain)) || payments.audit_part(int8send(next_sequence))
        || payments.audit_part(convert_to(its_caller, 'UTF8')) || payments.audit_part(convert_to(its_behalf, 'UTF8'))
        || payments.audit_part(convert_to(its_method, 'UTF8')) || payments.audit_part(uuid_send(its_request))
        || payments.audit_part(keyed_request) || payments.audit_part(keyed_before) || payments.audit_part(keyed_after)
        || payments.audit_part(head.entry_hash)
        || payments.audit_part(int8send((extract(epoch FROM its_time) * 1000000)::bigint)));
    INSERT INTO payments.audit_entries (root_id, sequence, actor, on_behalf_of, method, request_id, request_hash,
                                   before_hash, after_hash, previous_hash, entry_hash, created_at)
    VALUES (chain, next_sequence, its_caller, its_behalf, its_method, its_request, keyed_request,
            keyed_before, keyed_after, head.entry_hash, hash, its_time);
    UPDATE payments.audit_heads it SET sequence = next_sequence, entry_hash = hash WHERE it.root_id = chain;
END $$;

GRANT EXECUTE ON FUNCTION payments.begin_unit, payments.known_request, payments.end_unit TO payments_service;
GRANT EXECUTE ON FUNCTION payments.padded, payments.audit_part TO payments_service;

-- === Jobs ===

-- Work that a replica does now, or that is held back because it failed: of each row that a job goes through, by what
-- the row is known by. What was done has no row here.
CREATE TABLE payments.job_claims (
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
GRANT SELECT, INSERT, DELETE ON payments.job_claims TO payments_service;
GRANT UPDATE (state, token, held_until, failure_count, absence_count, reason, input, failed_at) ON payments.job_claims
    TO payments_service;

-- === Settings of the schema ===

-- The standing time of a test clock (D19); empty where the machine's clock counts.
CREATE TABLE payments.test_clock (
    only_row boolean PRIMARY KEY CHECK (only_row),
    standing_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON payments.test_clock TO payments_service;

-- The key that page tokens of lists are sealed with. All processes of the service agree on it, and it is made nowhere
-- else.
CREATE TABLE payments.page_keys (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    key bytea NOT NULL CHECK (octet_length(key) = 32)
);
INSERT INTO payments.page_keys (key)
    VALUES (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));
GRANT SELECT ON payments.page_keys TO payments_service;
GRANT SELECT ON payments._sqlx_migrations TO payments_service;

-- ##### What payments is for #####

-- === The catalogue ===

-- Catalogue documents under their digest, for the payment methods in them (D22).
CREATE TABLE payments.catalogues (
    -- SHA-256 of the document, hex.
    digest text PRIMARY KEY CHECK (digest ~ '^[0-9a-f]{64}$'),
    version text NOT NULL UNIQUE,
    document text NOT NULL,
    imported_at timestamptz NOT NULL
);
GRANT SELECT, INSERT ON payments.catalogues TO payments_service;

-- === Accounts ===

-- Which root an account belongs to, and how it stands, as `account-lifecycle` tells (D37). It has no policy: it is read
-- before it is known which tenant to enter, and holds ids only.
CREATE TABLE payments.roots (
    account_id uuid PRIMARY KEY,
    root_id uuid NOT NULL,
    -- Methods are open in some standings only. None while it is simply active; CLOSED and ERASED stay.
    standings text[] NOT NULL DEFAULT '{}'
        CHECK (standings <@ ARRAY['TRIAL', 'BALANCE', 'PARENT', 'TERMS', 'FRAUD', 'DORMANT', 'CLOSING', 'CLOSED',
                                  'ERASED']),
    -- From when it has no paid plan, also to come; null without.
    limited_at timestamptz,
    -- Which change of its standing was told last: an older one that comes later changes nothing.
    standing_revision bigint NOT NULL DEFAULT 0 CHECK (0 <= standing_revision)
);
-- The subaccounts of a root, which close with it.
CREATE INDEX roots_subaccounts ON payments.roots (root_id) WHERE root_id <> account_id;
GRANT SELECT, INSERT ON payments.roots TO payments_service;
GRANT UPDATE (standings, limited_at, standing_revision) ON payments.roots TO payments_service;

-- What payments has to know of an account beside that.
CREATE TABLE payments.accounts (
    root_id uuid NOT NULL,
    account_id uuid PRIMARY KEY,
    profile_code text NOT NULL,
    created_at timestamptz NOT NULL,
    -- ISO 3166-1 code of the billing country; empty before it is known.
    country_code text NOT NULL DEFAULT '' CHECK (country_code ~ '^([A-Z]{2})?$'),
    -- From when nothing of its methods is kept but what an open refund needs (REQ-070); null while it is open or kept.
    erased_at timestamptz
);
ALTER TABLE payments.accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON payments.accounts USING (payments.entered(root_id));
GRANT SELECT, INSERT ON payments.accounts TO payments_service;
GRANT UPDATE (country_code, erased_at) ON payments.accounts TO payments_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON payments.accounts FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION payments.sum_change();

-- What is erased stays erased.
CREATE FUNCTION payments.keep_erased_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what is erased stays erased' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER keep_erased_at BEFORE UPDATE OF erased_at ON payments.accounts FOR EACH ROW
    WHEN (OLD.erased_at IS NOT NULL AND NEW.erased_at IS DISTINCT FROM OLD.erased_at)
    EXECUTE FUNCTION payments.keep_erased_at();

-- === Payment methods ===

-- The payment methods of accounts: what a provider gave a token for, and those that are settled offline. No card number
-- is ever here (R31).
CREATE TABLE payments.methods (
    root_id uuid NOT NULL,
    method_id uuid PRIMARY KEY,
    -- The catalogue's method, such as CARD.
    method_code text NOT NULL,
    -- Empty for a method settled offline, as are the token and what providers tell.
    provider_code text NOT NULL,
    provider_token text NOT NULL,
    network_code text NOT NULL,
    bank_code text NOT NULL,
    app_code text NOT NULL,
    country_code text NOT NULL,
    last_four text NOT NULL CHECK (last_four ~ '^([0-9]{4})?$'),
    -- The last month in which it is good, such as 2028-11; empty for none.
    expiry_month text NOT NULL CHECK (expiry_month ~ '^([0-9]{4}-[0-9]{2})?$'),
    recurring boolean NOT NULL,
    is_default boolean NOT NULL,
    created_at timestamptz NOT NULL,
    -- Null while it can be used.
    removed_at timestamptz,
    -- Whether its owner allows off-session charges by it where the method that would be charged can't be (D35).
    off_session_allowed boolean NOT NULL DEFAULT false,
    -- Whether it outlives the erasure of its account until its last refund has ended: a job looks for these, and not
    -- through all accounts that were ever erased.
    kept_for_refund boolean NOT NULL DEFAULT false,
    CHECK (NOT (is_default AND removed_at IS NOT NULL)),
    CHECK ((provider_code = '') = (provider_token = ''))
);
CREATE UNIQUE INDEX methods_one_default ON payments.methods (root_id) WHERE is_default;
CREATE UNIQUE INDEX methods_one_token ON payments.methods (root_id, provider_code, provider_token)
    WHERE removed_at IS NULL AND provider_token <> '';
CREATE INDEX methods_newest ON payments.methods (root_id, created_at, method_id);
CREATE INDEX methods_kept ON payments.methods (root_id) WHERE kept_for_refund;
ALTER TABLE payments.methods ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.methods FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON payments.methods USING (payments.entered(root_id));
GRANT SELECT, INSERT ON payments.methods TO payments_service;
GRANT UPDATE (is_default, removed_at, off_session_allowed, kept_for_refund) ON payments.methods TO payments_service;
-- What erasure empties.
GRANT UPDATE (provider_code, provider_token, network_code, bank_code, app_code, last_four, expiry_month)
    ON payments.methods TO payments_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON payments.methods FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION payments.sum_change();

-- === Movements: charges and refunds ===

-- Charges and refunds: written down before a provider is asked (R1), never guessed (R2).
CREATE TABLE payments.movements (
    root_id uuid NOT NULL,
    movement_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('CHARGE', 'REFUND')),
    -- The invoice that a charge pays, an id of `billing`; the charge that a refund gives back.
    subject_id uuid NOT NULL,
    -- What is refunded, one key for all attempts of one intent; empty for a charge.
    refund_key text NOT NULL CHECK ((kind = 'REFUND') = (refund_key <> '')),
    attempt_number integer NOT NULL CHECK (attempt_number BETWEEN 1 AND 1000),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    -- What the provider's book says has moved; null before that.
    settled_minor bigint CHECK (0 < settled_minor),
    -- Of a charge: the sum of its refunds that are not refused. It is set only where what is left covers it.
    refunded_minor bigint NOT NULL DEFAULT 0,
    -- What it is for; a refund has its charge's.
    purpose text NOT NULL CHECK (purpose IN ('SUBSCRIPTION', 'CREDITS', 'INVOICE')),
    -- Empty where none.
    plan_code text NOT NULL,
    cycle_code text NOT NULL,
    method_id uuid NOT NULL,
    method_code text NOT NULL,
    -- Empty where no provider is asked: settled offline, or paid back by a person.
    provider_code text NOT NULL,
    -- Our reference at the provider, derived from what it is for (R3).
    provider_key uuid NOT NULL,
    -- The provider's own id; empty while unknown.
    provider_id text NOT NULL DEFAULT '',
    -- Whether it is off-session: nobody is there to confirm it.
    unattended boolean NOT NULL,
    return_url text NOT NULL,
    state text NOT NULL CHECK (state IN
        ('CREATED', 'SENDING', 'PENDING', 'SUCCEEDED', 'DECLINED', 'UNKNOWN', 'FAILED_NOT_SENT', 'PARKED')),
    failure_reason text NOT NULL DEFAULT '',
    retryable boolean NOT NULL DEFAULT false,
    parked_reason text NOT NULL DEFAULT '' CHECK ((state = 'PARKED') = (parked_reason <> '')),
    -- Where its payer confirms it; empty where that is not asked for.
    action_url text NOT NULL DEFAULT '',
    -- The day on which an offline method is expected to settle; of a refund, the day by which the money is to be back.
    -- Null for none.
    due_on date,
    -- The operator's reference of what arrived offline, or of a transfer by hand.
    reference text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    settled_at timestamptz,
    -- Who is asking the provider, until when, by the database's clock (D20).
    lease_token uuid,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    -- When the provider was asked last, by the database's clock; null before.
    sent_at timestamptz,
    -- How often it was looked up since, and from when it is looked up again.
    look_ups integer NOT NULL DEFAULT 0,
    look_at timestamptz NOT NULL DEFAULT '-infinity',
    -- When the provider was asked first: from then on it takes requests with one reference for one. Null before.
    first_sent_at timestamptz,
    -- When it was told that a refund was not paid out in time, once (REQ-062); null before.
    overdue_told_at timestamptz,
    -- When the provider's book said the contrary of a final state: a refund that had succeeded came back, a charge that
    -- was refused has moved after all. The state stays what it was when others acted on it; this tells the rest. Null
    -- for never.
    overturned_at timestamptz,
    -- One movement an attempt, whoever asks how often.
    CONSTRAINT movements_one_attempt UNIQUE (root_id, kind, subject_id, refund_key, attempt_number),
    CONSTRAINT movements_one_key UNIQUE (provider_key),
    -- What never fails: no charge gives back more than it took.
    CONSTRAINT movements_refunds_within CHECK (refunded_minor BETWEEN 0 AND coalesce(settled_minor, 0)),
    CHECK ((state = 'SUCCEEDED') = (settled_minor IS NOT NULL)),
    CHECK ((settled_minor IS NULL) = (settled_at IS NULL)),
    CHECK (overturned_at IS NULL OR state IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT'))
);
CREATE UNIQUE INDEX movements_one_reference ON payments.movements (reference) WHERE reference <> '';
CREATE UNIQUE INDEX movements_one_provider_id ON payments.movements (provider_code, kind, provider_id)
    WHERE provider_id <> '' AND provider_code <> '';
CREATE INDEX movements_newest ON payments.movements (kind, created_at, movement_id);
CREATE INDEX movements_of_root ON payments.movements (root_id, kind, created_at, movement_id);
-- The charges of an invoice, the refunds of a charge.
CREATE INDEX movements_of_subject ON payments.movements (subject_id, kind, created_at, movement_id);
-- What a webhook is about, by the provider's id of it.
CREATE INDEX movements_of_provider ON payments.movements (provider_id) WHERE provider_id <> '';
-- Those that are not final: few among all.
CREATE INDEX movements_open ON payments.movements (kind, created_at, movement_id)
    WHERE state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT');
CREATE INDEX movements_to_look_up ON payments.movements (look_at)
    WHERE provider_code <> '' AND state IN ('CREATED', 'SENDING', 'UNKNOWN', 'PENDING');
CREATE INDEX movements_overdue ON payments.movements (due_on)
    WHERE kind = 'REFUND' AND overdue_told_at IS NULL AND state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT');
CREATE INDEX movements_overturned ON payments.movements (kind, created_at, movement_id) WHERE overturned_at IS NOT NULL;
ALTER TABLE payments.movements ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.movements FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON payments.movements USING (payments.entered(root_id));
CREATE POLICY of_checks ON payments.movements FOR SELECT TO payments_owner USING (true);
GRANT SELECT, INSERT ON payments.movements TO payments_service;
GRANT UPDATE (settled_minor, refunded_minor, provider_id, state, failure_reason, retryable, parked_reason, action_url,
              reference, updated_at, settled_at, lease_token, leased_until, sent_at, look_ups, look_at, first_sent_at,
              overdue_told_at, overturned_at)
    ON payments.movements TO payments_service;
-- What erasure empties.
GRANT UPDATE (return_url) ON payments.movements TO payments_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON payments.movements FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION payments.sum_change();

-- A final state is final, and what was asked for never changes: the database keeps both.
CREATE FUNCTION payments.keep_movement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.root_id, NEW.movement_id, NEW.kind, NEW.subject_id, NEW.refund_key, NEW.attempt_number, NEW.currency,
        NEW.amount_minor, NEW.method_id, NEW.provider_code, NEW.provider_key, NEW.created_at)
       IS DISTINCT FROM
       (OLD.root_id, OLD.movement_id, OLD.kind, OLD.subject_id, OLD.refund_key, OLD.attempt_number, OLD.currency,
        OLD.amount_minor, OLD.method_id, OLD.provider_code, OLD.provider_key, OLD.created_at) THEN
        RAISE EXCEPTION 'what a movement asks for never changes' USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.state IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT')
       AND (NEW.state, NEW.settled_minor, NEW.settled_at) IS DISTINCT FROM (OLD.state, OLD.settled_minor, OLD.settled_at) THEN
        RAISE EXCEPTION 'the state of a movement is final' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_movement BEFORE UPDATE ON payments.movements FOR EACH ROW EXECUTE FUNCTION payments.keep_movement();

-- What is set aside of a charge for its refunds covers them: it becomes less where one of them is refused, settles for
-- less or comes back, and by no more. It is looked at when the transaction ends, as a refund ends in the same one.
CREATE FUNCTION payments.keep_refunded() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept bigint;
    needed bigint;
BEGIN
    SELECT refunded_minor INTO kept FROM payments.movements WHERE movement_id = NEW.movement_id;
    SELECT coalesce(sum(CASE WHEN state = 'SUCCEEDED' THEN settled_minor ELSE amount_minor END), 0) INTO needed
    FROM payments.movements
    WHERE root_id = NEW.root_id AND kind = 'REFUND' AND subject_id = NEW.movement_id
      AND state NOT IN ('DECLINED', 'FAILED_NOT_SENT') AND overturned_at IS NULL;
    IF kept < needed THEN
        RAISE EXCEPTION 'the refunds of a charge are set aside of it' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER keep_refunded AFTER UPDATE OF refunded_minor ON payments.movements
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.refunded_minor < OLD.refunded_minor) EXECUTE FUNCTION payments.keep_refunded();

-- === Disputes ===

-- Charges that their payers contest, as the provider's book has them. News of them stands in the outbox under their own
-- id.
CREATE TABLE payments.disputes (
    root_id uuid NOT NULL,
    dispute_id uuid PRIMARY KEY,
    charge_id uuid NOT NULL,
    provider_code text NOT NULL,
    -- The provider's own id.
    provider_id text NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    -- What the provider has taken back and not returned.
    withheld_minor bigint NOT NULL CHECK (0 <= withheld_minor),
    -- Why, in the provider's word.
    reason text NOT NULL,
    state text NOT NULL CHECK (state IN ('INQUIRY', 'OPEN', 'WON', 'LOST', 'WITHDRAWN')),
    -- Until when evidence is taken; null where none is.
    evidence_due_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Counted on with each change: a reading of the book that began before it changes nothing.
    revision integer NOT NULL DEFAULT 1,
    CONSTRAINT disputes_one_provider_id UNIQUE (provider_code, provider_id)
);
CREATE INDEX disputes_by_charge ON payments.disputes (charge_id);
CREATE INDEX disputes_newest ON payments.disputes (created_at, dispute_id);
CREATE INDEX disputes_of_root ON payments.disputes (root_id, created_at, dispute_id);
CREATE INDEX disputes_undecided ON payments.disputes (provider_code) WHERE state IN ('INQUIRY', 'OPEN');
ALTER TABLE payments.disputes ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.disputes FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON payments.disputes USING (payments.entered(root_id));
GRANT SELECT, INSERT ON payments.disputes TO payments_service;
GRANT UPDATE (withheld_minor, state, evidence_due_at, updated_at, revision) ON payments.disputes TO payments_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON payments.disputes FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION payments.sum_change();

-- When the book of a provider was looked through for disputes: no webhook is needed to hear of one.
CREATE TABLE payments.dispute_scans (
    provider_code text PRIMARY KEY,
    -- When it is looked through next, by the database's clock.
    next_at timestamptz NOT NULL,
    -- Up to when it was looked through to the end; null for never.
    done_at timestamptz
);
GRANT SELECT, INSERT ON payments.dispute_scans TO payments_service;
GRANT UPDATE (next_at, done_at) ON payments.dispute_scans TO payments_service;

-- === Webhooks ===

-- What providers sent: verified, kept once, and a hint only. What counts is looked up in the provider's book. Payloads,
-- which hold personal data, are not kept.
CREATE TABLE payments.webhook_events (
    webhook_event_id uuid PRIMARY KEY,
    provider_code text NOT NULL,
    -- The provider's own id of it.
    provider_event_id text NOT NULL,
    -- Its kind in the provider's word.
    event_type text NOT NULL,
    -- What it is about: the provider's ids of an object and of the object that belongs to, and our reference; empty
    -- where it has none.
    object_id text NOT NULL,
    parent_id text NOT NULL,
    reference text NOT NULL,
    state text NOT NULL CHECK (state IN ('RECEIVED', 'PROCESSED', 'IGNORED', 'FAILED')),
    -- The movement that it is about; null while unknown.
    movement_id uuid,
    delivery_count integer NOT NULL DEFAULT 1,
    attempt_count integer NOT NULL DEFAULT 0,
    failure_reason text NOT NULL DEFAULT '',
    received_at timestamptz NOT NULL,
    processed_at timestamptz,
    -- When a job processes it, by the database's clock.
    try_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- What it is about in one: events of one subject are processed by one look into the provider's book, those of
    -- others beside them.
    subject text NOT NULL
        GENERATED ALWAYS AS (provider_code || ' ' || object_id || ' ' || parent_id || ' ' || reference) STORED,
    UNIQUE (provider_code, provider_event_id)
);
CREATE INDEX webhook_events_to_process ON payments.webhook_events (try_at) WHERE state IN ('RECEIVED', 'FAILED');
CREATE INDEX webhook_events_of_subject ON payments.webhook_events (subject) WHERE state IN ('RECEIVED', 'FAILED');
CREATE INDEX webhook_events_of_movement ON payments.webhook_events (movement_id, received_at, webhook_event_id)
    WHERE movement_id IS NOT NULL;
CREATE INDEX webhook_events_newest ON payments.webhook_events (received_at, webhook_event_id);
CREATE INDEX webhook_events_by_state ON payments.webhook_events (state, received_at, webhook_event_id);
-- A provider's messages are of no tenant until they are looked up, so that they are for those who see all.
ALTER TABLE payments.webhook_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.webhook_events FORCE ROW LEVEL SECURITY;
CREATE POLICY of_all ON payments.webhook_events USING (current_setting('app.tenant', true) = 'all');
GRANT SELECT, INSERT ON payments.webhook_events TO payments_service;
GRANT UPDATE (state, movement_id, delivery_count, attempt_count, failure_reason, processed_at, try_at)
    ON payments.webhook_events TO payments_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON payments.webhook_events FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION payments.sum_change();

-- === The sandbox provider ===

-- The book of the embedded provider. It stands for a provider outside: it is written in transactions of its own, found
-- again after a restart, and shared by replicas.
CREATE TABLE payments.sandbox_book (
    -- Our reference: asking again with it never moves money twice.
    provider_key uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('CHARGE', 'REFUND')),
    provider_id text NOT NULL UNIQUE,
    -- What was charged; of a refund, what its charge had charged.
    token text NOT NULL,
    -- The reference of the charge that a refund gives back; null for a charge.
    charge_key uuid CHECK ((kind = 'REFUND') = (charge_key IS NOT NULL)),
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    -- A LOST one did not arrive: the provider knows nothing of it.
    state text NOT NULL CHECK (state IN ('LOST', 'PENDING', 'SUCCEEDED', 'DECLINED')),
    decline_reason text NOT NULL,
    -- When a pending one is decided, and how; null where a person decides.
    decided_at timestamptz,
    decided_state text NOT NULL DEFAULT '' CHECK (decided_state IN ('', 'SUCCEEDED', 'DECLINED')),
    created_at timestamptz NOT NULL
);
CREATE INDEX sandbox_book_by_token ON payments.sandbox_book (token);
CREATE INDEX sandbox_book_undecided ON payments.sandbox_book (decided_at) WHERE state = 'PENDING';
CREATE INDEX sandbox_book_oldest ON payments.sandbox_book (created_at, provider_key);
GRANT SELECT, INSERT, UPDATE ON payments.sandbox_book TO payments_service;

-- === Outbox ===

-- Movements and disputes that changed, in order: what `WatchMovements` tells (D21).
CREATE TABLE payments.outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The transaction that wrote it: a reader never passes one that may still be invisible.
    written_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    root_id uuid NOT NULL,
    -- The movement, or the dispute.
    movement_id uuid NOT NULL
);
-- What is not told yet, with its positions: a reader finds from it where to begin, and goes on by the position.
CREATE INDEX outbox_unread ON payments.outbox (written_by, position);
ALTER TABLE payments.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON payments.outbox USING (payments.entered(root_id));
CREATE POLICY of_checks ON payments.outbox FOR SELECT TO payments_owner USING (true);
GRANT SELECT, INSERT ON payments.outbox TO payments_service;

-- === What jobs wait for ===

-- When a job has work next, up to `its_until` and at the earliest at `its_now`; null while there is none to come by
-- then. Each part is the condition of one job, which takes it up by itself; what somebody works on, and what is held
-- back, is looked at again when its claim runs out. It sees every tenant's rows, as jobs do. Movements are looked up by
-- processes that have their provider.
CREATE FUNCTION payments.next_work(its_now timestamptz, its_until timestamptz, its_providers text[])
RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
    -- What the database's clock dates (D20) is looked for up to its instant of the same time, and told by the other.
    here timestamptz := statement_timestamp();
    until_here timestamptz := here + (its_until - its_now);
    result timestamptz;
BEGIN
    PERFORM set_config('app.tenant', 'all', true);
    result := least(
        -- look_up_movements, process_webhooks, and claims that run out
        its_now - here + least(
            (SELECT min(greatest(look_at, leased_until)) FROM payments.movements
             WHERE provider_code <> '' AND provider_code = ANY (its_providers)
               AND state IN ('CREATED', 'SENDING', 'UNKNOWN', 'PENDING')
               AND look_at <= until_here AND leased_until <= until_here),
            (SELECT try_at FROM payments.webhook_events e
             WHERE state IN ('RECEIVED', 'FAILED') AND try_at <= until_here
               AND NOT EXISTS (SELECT FROM payments.job_claims c
                            WHERE c.job = 'process_webhooks' AND c.key = e.subject AND here < c.held_until)
             ORDER BY try_at LIMIT 1),
            (SELECT min(held_until) FROM payments.job_claims WHERE here < held_until AND held_until <= until_here)),
        -- decide_sandbox
        (SELECT min(decided_at) FROM payments.sandbox_book
         WHERE state = 'PENDING' AND decided_state <> '' AND decided_at <= its_until),
        -- tell_overdue: from the day after
        (SELECT (min(due_on) + 1)::timestamp AT TIME ZONE 'UTC' FROM payments.movements
         WHERE kind = 'REFUND' AND overdue_told_at IS NULL
           AND state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT')
           AND due_on < (its_until AT TIME ZONE 'UTC')::date));
    RETURN CASE WHEN result IS NOT NULL THEN greatest(its_now, result) END;
END $$;
GRANT EXECUTE ON FUNCTION payments.next_work TO payments_service;

-- ##### Views for checks #####
--
-- For whoever checks the suite from outside: their names are stable, and they are read only.

CREATE SCHEMA payments_check;
CREATE VIEW payments_check.movement AS
    SELECT root_id, movement_id, kind, subject_id, refund_key, attempt_number, currency, amount_minor, settled_minor,
           refunded_minor, provider_code, provider_key, provider_id, state, failure_reason, parked_reason, created_at,
           updated_at, settled_at, overturned_at
    FROM payments.movements;
CREATE VIEW payments_check.outbox AS SELECT * FROM payments.outbox;
CREATE VIEW payments_check.job_claim AS
    SELECT job, key, state, token, held_until, failure_count, absence_count, reason FROM payments.job_claims;
CREATE VIEW payments_check.idempotency AS
    SELECT caller, account, method, request_id, created_at, response IS NOT NULL AS answered, status_code
    FROM payments.requests;
CREATE VIEW payments_check.audit AS
    SELECT root_id, sequence, actor, on_behalf_of, method, request_id, entry_hash, created_at
    FROM payments.audit_entries;
GRANT USAGE ON SCHEMA payments_check TO checker;
GRANT SELECT ON ALL TABLES IN SCHEMA payments_check TO checker;
