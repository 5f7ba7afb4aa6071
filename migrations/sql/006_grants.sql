-- Who may do what, and the number of the protocol. Up runs this file each time, so it writes only what is not so yet.
-- Applications need INSERT on the outbox, which its owner grants. The relay's role needs LOGIN REPLICATION, SELECT on the
-- outbox, and the functions; nothing of ours is open to it otherwise.

DO $migrate$
DECLARE
    relay text := {{with .RelayRole}}{{literal .}}{{else}}NULL{{end}};
    f     record;
BEGIN
    -- Names resolve for everybody (a default's functions, cdc_relay.uuid_v7()); what they name stays closed.
    IF NOT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a
                    WHERE n.nspname = 'cdc_relay' AND a.grantee = 0 AND a.privilege_type = 'USAGE') THEN
        GRANT USAGE ON SCHEMA cdc_relay TO PUBLIC;
    END IF;
    IF relay IS NULL THEN
        RETURN;
    END IF;
{{- if .CreateRole}}
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = relay) THEN
        BEGIN
            -- Amazon RDS keeps the attribute to itself and hands out a role in its place.
            IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') THEN
                EXECUTE format('CREATE ROLE %I LOGIN IN ROLE rds_replication', relay);
            ELSE
                EXECUTE format('CREATE ROLE %I LOGIN REPLICATION', relay);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- roles belong to the whole cluster: another database's migration made it just now
        END;
    END IF;
{{- end}}
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = relay) THEN
        RAISE EXCEPTION 'role % does not exist', relay
            USING HINT = format('CREATE ROLE %I LOGIN REPLICATION, or run migrate up with --create-role', relay);
    END IF;

    IF NOT has_schema_privilege(relay, {{literal .Outbox.Schema}}, 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA {{.Outbox.Schema}} TO %I', relay);
    END IF;
    IF NOT has_table_privilege(relay, {{literal .Outbox}}, 'SELECT') THEN
        EXECUTE format('GRANT SELECT ON {{.Outbox}} TO %I', relay);
    END IF;
    IF NOT has_sequence_privilege(relay, 'cdc_relay.outbox_seq', 'SELECT') THEN
        EXECUTE format('GRANT SELECT ON SEQUENCE cdc_relay.outbox_seq TO %I', relay);
    END IF;
    -- Every versioned function, those of later files too.
    FOR f IN SELECT p.oid::regprocedure AS name FROM pg_proc p
              WHERE p.pronamespace = 'cdc_relay'::regnamespace AND p.prokind IN ('f', 'p') AND p.proname ~ '_v[0-9]+$'
                AND NOT has_function_privilege(relay, p.oid, 'EXECUTE')
    LOOP
        EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', f.name, relay);
    END LOOP;
END
$migrate$;

-- Everything stands: the schema has a number from here on. Later files raise it by UPDATE.
INSERT INTO cdc_relay.protocol (version, compatible_from) VALUES ({{.Protocol}}, {{.CompatibleFrom}}) ON CONFLICT (one) DO NOTHING;
