-- Owners are warned before a trial or a plan ends, and before paid credit expires.
ALTER TABLE account.accounts
    -- The limit that was warned of.
    ADD COLUMN limit_warned_at timestamptz,
    -- When the paid credit of a limited account expires; null for never.
    ADD COLUMN credit_lapse_at timestamptz,
    -- The expiry that was warned of.
    ADD COLUMN lapse_warned_at timestamptz;
CREATE INDEX accounts_to_warn_of_lapse ON account.accounts (credit_lapse_at)
    WHERE parent_id IS NULL AND closed_at IS NULL AND credit_lapse_at IS DISTINCT FROM lapse_warned_at;
