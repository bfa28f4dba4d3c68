-- Payment methods, charges and refunds, what providers said of them, and the sandbox's own book.

ALTER TABLE payments.accounts
    -- ISO 3166-1 code of the billing country; empty before it is known.
    ADD COLUMN country_code text NOT NULL DEFAULT '' CHECK (country_code ~ '^([A-Z]{2})?$');

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
    CHECK (NOT (is_default AND removed_at IS NOT NULL)),
    CHECK ((provider_code = '') = (provider_token = ''))
);
CREATE UNIQUE INDEX methods_one_default ON payments.methods (root_id) WHERE is_default;
CREATE UNIQUE INDEX methods_one_token ON payments.methods (root_id, provider_code, provider_token)
    WHERE removed_at IS NULL AND provider_token <> '';
CREATE INDEX methods_newest ON payments.methods (root_id, created_at, method_id);

-- Charges and refunds: written down before a provider is asked (R1), never guessed (R2).
CREATE TABLE payments.movements (
    root_id uuid NOT NULL,
    movement_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('CHARGE', 'REFUND')),
    -- The invoice that a charge pays, an id of billing; the charge that a refund gives back.
    subject_id uuid NOT NULL,
    -- What is refunded, one key for all attempts of one intent; empty for a charge.
    refund_key text NOT NULL CHECK ((kind = 'REFUND') = (refund_key <> '')),
    attempt_number integer NOT NULL CHECK (attempt_number BETWEEN 1 AND 1000),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (0 < amount_minor),
    -- What the provider's book says has moved; null before that.
    settled_minor bigint CHECK (0 < settled_minor),
    -- Of a charge: the sum of its refunds that are not refused. Set only where what is left covers it.
    refunded_minor bigint NOT NULL DEFAULT 0,
    -- SUBSCRIPTION, CREDITS or INVOICE; a refund has its charge's.
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
    unattended boolean NOT NULL,
    return_url text NOT NULL,
    state text NOT NULL CHECK (state IN
        ('CREATED', 'SENDING', 'PENDING', 'SUCCEEDED', 'DECLINED', 'UNKNOWN', 'FAILED_NOT_SENT', 'PARKED')),
    failure_reason text NOT NULL DEFAULT '',
    retryable boolean NOT NULL DEFAULT false,
    parked_reason text NOT NULL DEFAULT '' CHECK ((state = 'PARKED') = (parked_reason <> '')),
    action_url text NOT NULL DEFAULT '',
    -- The day on which an offline method is expected to settle; of a refund, the day by which the
    -- money is to be back. Null for none.
    due_on date,
    -- The operator's reference of what arrived offline, or of a transfer by hand.
    reference text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    settled_at timestamptz,
    -- Who is asking the provider, until when, by the database's clock (D20).
    lease_token uuid,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    -- When the provider was asked first, by the database's clock; null before.
    sent_at timestamptz,
    -- How often it was looked up since, and from when it is looked up again.
    look_ups integer NOT NULL DEFAULT 0,
    look_at timestamptz NOT NULL DEFAULT '-infinity',
    -- One movement an attempt, whoever asks how often.
    CONSTRAINT movements_one_attempt UNIQUE (root_id, kind, subject_id, refund_key, attempt_number),
    CONSTRAINT movements_one_key UNIQUE (provider_key),
    -- What never fails: no charge gives back more than it took.
    CONSTRAINT movements_refunds_within CHECK (refunded_minor BETWEEN 0 AND coalesce(settled_minor, 0)),
    CHECK ((state = 'SUCCEEDED') = (settled_minor IS NOT NULL)),
    CHECK ((settled_minor IS NULL) = (settled_at IS NULL))
);
CREATE INDEX movements_newest ON payments.movements (kind, created_at, movement_id);
CREATE INDEX movements_of_root ON payments.movements (root_id, kind, created_at, movement_id);
CREATE INDEX movements_to_look_up ON payments.movements (look_at)
    WHERE provider_code <> '' AND state IN ('CREATED', 'SENDING', 'UNKNOWN', 'PENDING');
CREATE UNIQUE INDEX movements_one_reference ON payments.movements (reference) WHERE reference <> '';
CREATE UNIQUE INDEX movements_one_provider_id ON payments.movements (provider_code, kind, provider_id)
    WHERE provider_id <> '' AND provider_code <> '';

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

-- Movements that changed, in order (D21).
CREATE TABLE payments.outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The transaction that wrote it: a reader never passes one that may still be invisible.
    written_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    root_id uuid NOT NULL,
    movement_id uuid NOT NULL
);

-- The book of the embedded provider. It stands for a provider outside: written in transactions of
-- its own, found again after a restart, shared by replicas.
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

ALTER TABLE payments.methods ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.methods FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON payments.methods USING (payments.entered(root_id));
ALTER TABLE payments.movements ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments.movements FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON payments.movements USING (payments.entered(root_id));

-- The views below read as the owner, whom the force of row-level security includes.
CREATE POLICY of_checks ON payments.movements FOR SELECT TO payments_owner USING (true);

GRANT SELECT, INSERT ON payments.methods, payments.movements, payments.outbox TO payments_service;
GRANT UPDATE (country_code) ON payments.accounts TO payments_service;
GRANT UPDATE (is_default, removed_at) ON payments.methods TO payments_service;
GRANT UPDATE (settled_minor, refunded_minor, provider_id, state, failure_reason, retryable, parked_reason, action_url,
              reference, updated_at, settled_at, lease_token, leased_until, sent_at, look_ups, look_at)
    ON payments.movements TO payments_service;
GRANT SELECT, INSERT, UPDATE ON payments.sandbox_book TO payments_service;

-- Views for whoever checks the suite from outside: stable names, read only.
CREATE SCHEMA payments_check;
CREATE VIEW payments_check.movement AS
    SELECT root_id, movement_id, kind, subject_id, refund_key, attempt_number, currency, amount_minor, settled_minor,
           refunded_minor, provider_code, provider_key, provider_id, state, failure_reason, parked_reason, created_at,
           updated_at, settled_at
    FROM payments.movements;
CREATE VIEW payments_check.outbox AS SELECT * FROM payments.outbox;
CREATE VIEW payments_check.idempotency AS
    SELECT caller, account, method, request_id, created_at, response IS NOT NULL AS answered, status_code
    FROM payments.requests;
GRANT USAGE ON SCHEMA payments_check TO checker;
GRANT SELECT ON ALL TABLES IN SCHEMA payments_check TO checker;
