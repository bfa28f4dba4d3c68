-- Numbers are held for a while by an account without a paid plan, or with an empty balance; then they are released.
ALTER TABLE account.accounts
    -- Since when nothing is left to spend; null while something is.
    ADD COLUMN empty_at timestamptz,
    -- When the numbers of a root account and its subaccounts are released; null for never.
    ADD COLUMN numbers_release_at timestamptz;
CREATE INDEX accounts_numbers_to_release ON account.accounts (numbers_release_at)
    WHERE parent_id IS NULL AND closed_at IS NULL AND numbers_release_at IS NOT NULL;
