-- The deletion of what a closed account has, 30 days later (REQ-047), and its receipt.
ALTER TABLE account.closings
    -- When all four services had erased it; null before.
    ADD COLUMN erased_at timestamptz CHECK (purge_at <= erased_at),
    -- The account with the subaccounts that were erased with it.
    ADD COLUMN erased_ids uuid[] NOT NULL DEFAULT '{}',
    -- [{"service", "erased": […], "kept": […], "at"}, …]: what each service did.
    ADD COLUMN receipt jsonb NOT NULL DEFAULT '[]',
    ADD CHECK ((erased_at IS NULL) = (erased_ids = '{}'));
CREATE INDEX closings_to_erase ON account.closings (purge_at) WHERE state = 'DONE' AND erased_at IS NULL;
CREATE INDEX closings_by_root ON account.closings (root_id);
GRANT UPDATE (erased_at, erased_ids, receipt) ON account.closings TO account_service;

-- What is erased: rows whose kind is known to be the customer's own go, what others count on loses its words.
GRANT DELETE ON account.resources, account.whitelisted_numbers, account.dlt_registrations, account.billing_details
    TO account_service;
GRANT UPDATE (subject) ON account.tickets TO account_service;
GRANT UPDATE (email, facts) ON account.notifications TO account_service;
-- Notes of operators and reviewers.
GRANT UPDATE (reason) ON account.transitions TO account_service;
