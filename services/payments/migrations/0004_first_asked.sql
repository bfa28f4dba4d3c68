-- When a provider was asked first: from then on it takes requests with one reference for one.
ALTER TABLE payments.movements ADD COLUMN first_sent_at timestamptz;
UPDATE payments.movements SET first_sent_at = sent_at WHERE sent_at IS NOT NULL;
GRANT UPDATE (first_sent_at) ON payments.movements TO payments_service;
