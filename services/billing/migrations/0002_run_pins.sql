-- A run is bound by what it began with, whatever is configured or activated while it goes on.
ALTER TABLE billing.runs
    -- The catalogue version whose policies bind all of it; '' in runs made before this column.
    ADD COLUMN catalogue_version text NOT NULL DEFAULT '',
    -- Payers in a chunk: a chunk that is done again must be the same one.
    ADD COLUMN chunk_size integer NOT NULL DEFAULT 10000 CHECK (0 < chunk_size);
