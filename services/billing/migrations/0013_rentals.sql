-- What is rented by the month and paid from the balance: numbers and add-ons.
CREATE TABLE billing.rentals (
    root_id uuid NOT NULL,
    rental_id uuid PRIMARY KEY,
    -- NUMBER or ADD_ON.
    kind text NOT NULL CHECK (kind IN ('NUMBER', 'ADD_ON')),
    -- Such as landline or whatsapp.
    code text NOT NULL,
    currency text NOT NULL,
    -- What a month costs, as it was begun.
    monthly_micros bigint NOT NULL CHECK (0 < monthly_micros),
    start_at timestamptz NOT NULL,
    -- How many months have begun, paid or free; the next begins so many months after the first.
    month_count integer NOT NULL CHECK (0 < month_count),
    next_at timestamptz NOT NULL CHECK (start_at < next_at),
    -- Null while it is rented.
    ended_at timestamptz CHECK (start_at <= ended_at),
    -- From when a job looks at it, by the database's clock, after one that went wrong.
    look_at timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX rentals_due ON billing.rentals (next_at) WHERE ended_at IS NULL;
CREATE INDEX rentals_newest ON billing.rentals (root_id, start_at, rental_id);
GRANT SELECT, INSERT ON billing.rentals TO billing_service;
GRANT UPDATE (month_count, next_at, ended_at, look_at) ON billing.rentals TO billing_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON billing.rentals FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION billing.sum_change();
CREATE VIEW billing_check.rental AS SELECT * FROM billing.rentals;
GRANT SELECT ON billing_check.rental TO checker;
