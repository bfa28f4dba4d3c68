-- What a provider's book says against a final state, later: a refund that had succeeded and came back, a charge that
-- was refused and has moved after all. The state stays what it was when others acted on it; this tells the rest.
ALTER TABLE payments.movements ADD COLUMN overturned_at timestamptz
    CHECK (overturned_at IS NULL OR state IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT'));
CREATE INDEX movements_overturned ON payments.movements (kind, created_at, movement_id) WHERE overturned_at IS NOT NULL;
GRANT UPDATE (overturned_at) ON payments.movements TO payments_service;

CREATE OR REPLACE VIEW payments_check.movement AS
    SELECT root_id, movement_id, kind, subject_id, refund_key, attempt_number, currency, amount_minor, settled_minor,
           refunded_minor, provider_code, provider_key, provider_id, state, failure_reason, parked_reason, created_at,
           updated_at, settled_at, overturned_at
    FROM payments.movements;
