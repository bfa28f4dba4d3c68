-- The audit: one entry for each mutation, in a chain for each root account; never updated or deleted (R32, D24).
CREATE TABLE billing.audit_entries (
    -- Nil for what is of no account.
    root_id uuid NOT NULL,
    sequence bigint NOT NULL CHECK (0 < sequence),
    actor text NOT NULL,
    on_behalf_of text NOT NULL,
    method text NOT NULL,
    request_id uuid NOT NULL,
    -- HMAC-SHA256 with the account's key: of the request; of the rows that were changed, before and after.
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    before_hash bytea NOT NULL CHECK (octet_length(before_hash) IN (0, 32)),
    after_hash bytea NOT NULL CHECK (octet_length(after_hash) IN (0, 32)),
    -- SHA-256 of the entry before, and of this one.
    previous_hash bytea NOT NULL CHECK (octet_length(previous_hash) = CASE sequence WHEN 1 THEN 0 ELSE 32 END),
    entry_hash bytea NOT NULL CHECK (octet_length(entry_hash) = 32),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (root_id, sequence)
);
-- The end of each chain: who adds to it locks it.
CREATE TABLE billing.audit_heads (
    root_id uuid PRIMARY KEY,
    -- Of the hashes; forgotten with the account's data, and made anew for what comes after.
    key bytea CHECK (octet_length(key) = 32),
    sequence bigint NOT NULL DEFAULT 0,
    entry_hash bytea NOT NULL DEFAULT '',
    -- How far it was written to the file outside.
    anchored_sequence bigint NOT NULL DEFAULT 0
);
CREATE INDEX audit_heads_to_anchor ON billing.audit_heads (root_id) WHERE anchored_sequence < sequence;
GRANT SELECT, INSERT ON billing.audit_entries, billing.audit_heads TO billing_service;
GRANT UPDATE (key, sequence, entry_hash, anchored_sequence) ON billing.audit_heads TO billing_service;

-- Sums up the rows that a unit of work changes, before and after, for its entry.
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
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.accounts FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.recipients FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.auto_recharges FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.collections FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.refunds FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.credit_notes FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.disputes FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.runs FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.parked_accounts FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.closings FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.subscriptions FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
-- Not of what a run writes in bulk: its entry is that of the run.
CREATE TRIGGER sum_change AFTER UPDATE ON billing.invoices FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE TRIGGER sum_change AFTER INSERT ON billing.lots FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE VIEW billing_check.audit AS
    SELECT root_id, sequence, actor, on_behalf_of, method, request_id, entry_hash, created_at FROM billing.audit_entries;
GRANT SELECT ON billing_check.audit TO checker;
