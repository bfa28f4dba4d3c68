-- The roles and the database of Perdiem, to be read and run once by a database administrator:
--
--   psql -v ON_ERROR_STOP=1 -f roles.sql postgres
--
-- Each service has a schema of its own, an owner that migrates it (SERVICE_owner: Jobs only), and a role that only uses it
-- (SERVICE_service: what the pods have). The migrations grant that role what it needs, table by table. No role sees another
-- service's schema, none is a superuser, and none bypasses row-level security.
--
-- Passwords are not set here: \password plan_owner, and so on; or client certificates.

CREATE ROLE plan_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE plan_owner SET search_path = pg_catalog;
CREATE ROLE plan_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE plan_service SET search_path = pg_catalog;
ALTER ROLE plan_service SET statement_timeout = '30s';
ALTER ROLE plan_service SET lock_timeout = '5s';
ALTER ROLE plan_service SET idle_in_transaction_session_timeout = '5s';

CREATE ROLE billing_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE billing_owner SET search_path = pg_catalog;
CREATE ROLE billing_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE billing_service SET search_path = pg_catalog;
ALTER ROLE billing_service SET statement_timeout = '30s';
ALTER ROLE billing_service SET lock_timeout = '5s';
ALTER ROLE billing_service SET idle_in_transaction_session_timeout = '5s';

CREATE ROLE account_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE account_owner SET search_path = pg_catalog;
CREATE ROLE account_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE account_service SET search_path = pg_catalog;
ALTER ROLE account_service SET statement_timeout = '30s';
ALTER ROLE account_service SET lock_timeout = '5s';
ALTER ROLE account_service SET idle_in_transaction_session_timeout = '5s';

CREATE ROLE payments_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE payments_owner SET search_path = pg_catalog;
CREATE ROLE payments_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE payments_service SET search_path = pg_catalog;
ALTER ROLE payments_service SET statement_timeout = '30s';
ALTER ROLE payments_service SET lock_timeout = '5s';
ALTER ROLE payments_service SET idle_in_transaction_session_timeout = '5s';

-- Reads the views that check invariants (SCHEMA_check), and nothing else.
CREATE ROLE checker LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE checker SET search_path = pg_catalog;

CREATE DATABASE perdiem;
REVOKE ALL ON DATABASE perdiem FROM PUBLIC;
GRANT CONNECT ON DATABASE perdiem TO checker;
GRANT CONNECT, CREATE ON DATABASE perdiem TO plan_owner;
GRANT CONNECT ON DATABASE perdiem TO plan_service;
GRANT CONNECT, CREATE ON DATABASE perdiem TO billing_owner;
GRANT CONNECT ON DATABASE perdiem TO billing_service;
GRANT CONNECT, CREATE ON DATABASE perdiem TO account_owner;
GRANT CONNECT ON DATABASE perdiem TO account_service;
GRANT CONNECT, CREATE ON DATABASE perdiem TO payments_owner;
GRANT CONNECT ON DATABASE perdiem TO payments_service;
