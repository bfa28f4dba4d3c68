-- Credit that expires, in the order of its expiry. The index names no column that spending changes, so
-- that lots are still updated on their page.
ALTER TABLE billing.lots
    -- When what was left of it at its expiry was forfeited; null before, and for what never expires.
    ADD COLUMN forfeited_at timestamptz CHECK (forfeited_at IS NULL OR (expires_at IS NOT NULL AND remaining_micros = 0));
CREATE INDEX lots_expiring ON billing.lots (expires_at) WHERE expires_at IS NOT NULL AND forfeited_at IS NULL;
