-- Orders of numbers, of add-ons, and of credit given back.
ALTER TABLE account.orders DROP CONSTRAINT orders_kind_check;
ALTER TABLE account.orders
    ADD CONSTRAINT orders_kind_check
        CHECK (kind IN ('PLAN_CHANGE', 'BUY_CREDITS', 'UPGRADE', 'BUY_NUMBER', 'ADD_ON', 'REFUND_REQUEST')),
    -- What is bought where it is no plan: {"code", "kind", "number", "country"}.
    ADD COLUMN item jsonb NOT NULL DEFAULT '{}',
    -- The number that was bought; null for others and before.
    ADD COLUMN resource_id uuid;
-- Whether billing rents it to the account until it is told that it was released.
ALTER TABLE account.resources ADD COLUMN rented boolean NOT NULL DEFAULT false;
CREATE INDEX resources_to_give_back ON account.resources (released_at) WHERE rented AND released_at IS NOT NULL;
GRANT UPDATE (rented) ON account.resources TO account_service;

-- Transitions, in the order of their news (D21).
CREATE TABLE account.outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The transaction that wrote it: a reader never passes one that may still be invisible.
    written_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    root_id uuid NOT NULL,
    account_id uuid NOT NULL,
    sequence bigint NOT NULL
);
GRANT SELECT, INSERT ON account.outbox TO account_service;

-- How a ticket is handled under the platform plan (REQ-090); empty for none.
ALTER TABLE account.tickets ADD COLUMN support_priority_code text NOT NULL DEFAULT '';
