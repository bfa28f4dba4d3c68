-- Refunds that are not paid out in time are told of, once (REQ-062).
ALTER TABLE payments.movements ADD COLUMN overdue_told_at timestamptz;
CREATE INDEX movements_overdue ON payments.movements (due_on)
    WHERE kind = 'REFUND' AND overdue_told_at IS NULL AND state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT');
GRANT UPDATE (overdue_told_at) ON payments.movements TO payments_service;
