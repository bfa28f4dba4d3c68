-- Accounts that are deleted: what is shown of their payment methods goes, their movements stay (REQ-070).
ALTER TABLE payments.accounts
    -- From when nothing of its methods is kept but what an open refund needs; null while it is open or kept.
    ADD COLUMN erased_at timestamptz;
CREATE INDEX accounts_erased ON payments.accounts (root_id) WHERE erased_at IS NOT NULL;
GRANT UPDATE (erased_at) ON payments.accounts TO payments_service;
GRANT UPDATE (provider_code, provider_token, network_code, bank_code, app_code, last_four, expiry_month)
    ON payments.methods TO payments_service;
GRANT UPDATE (return_url) ON payments.movements TO payments_service;
