-- What an account has beside its plan (REQ-085).
CREATE TABLE plan.add_ons (
    root_id uuid NOT NULL,
    -- The feature that it opens.
    add_on_code text NOT NULL,
    start_at timestamptz NOT NULL,
    -- Null while it is booked.
    end_at timestamptz CHECK (start_at <= end_at),
    currency text NOT NULL,
    -- What a month costs, as it was booked (REQ-135).
    monthly_minor bigint NOT NULL CHECK (0 < monthly_minor),
    PRIMARY KEY (root_id, add_on_code, start_at)
);
CREATE UNIQUE INDEX add_ons_one_open ON plan.add_ons (root_id, add_on_code) WHERE end_at IS NULL;
GRANT SELECT, INSERT ON plan.add_ons TO plan_service;
GRANT UPDATE (end_at) ON plan.add_ons TO plan_service;
CREATE TRIGGER sum_change AFTER INSERT OR UPDATE OR DELETE ON plan.add_ons FOR EACH ROW
    WHEN (current_setting('audit.on', true) = 'on') EXECUTE FUNCTION plan.sum_change();

-- How a ticket is handled under the platform plan (REQ-090); empty for none.
ALTER TABLE plan.ticket_stamps ADD COLUMN support_priority_code text NOT NULL DEFAULT '';
