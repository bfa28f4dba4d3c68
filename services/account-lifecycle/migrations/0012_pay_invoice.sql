-- An order that pays an open invoice.
ALTER TABLE account.orders DROP CONSTRAINT orders_kind_check;
ALTER TABLE account.orders ADD CONSTRAINT orders_kind_check
    CHECK (kind IN ('PLAN_CHANGE', 'BUY_CREDITS', 'UPGRADE', 'BUY_NUMBER', 'ADD_ON', 'REFUND_REQUEST', 'PAY_RENEWAL',
                    'PAY_INVOICE'));
