-- The publication. It must be older than the slot: WAL from before it cannot be decoded with it (14-17 fail for ever, 18
-- skips the rows with a warning), so it is made here and the slot by the first `run`. Only inserts: a filter on a column
-- outside the replica identity would make the application's own UPDATE fail, and updates of an outbox mean nothing.

DO $migrate$
DECLARE
    pub pg_catalog.pg_publication;
BEGIN
    SELECT * INTO pub FROM pg_catalog.pg_publication p WHERE p.pubname = {{literal .Publication}};
    IF NOT FOUND THEN
        CREATE PUBLICATION {{.Publication}} FOR TABLE {{.Outbox}} WITH (publish = 'insert', publish_via_partition_root = true);
        RETURN;
    END IF;
    -- Never ALTER here: any change makes the mark refuse it, and takes locks at each run.
    IF pub.puballtables OR NOT pub.pubinsert OR pub.pubupdate OR pub.pubdelete OR pub.pubtruncate OR NOT pub.pubviaroot THEN
        RAISE EXCEPTION 'publication % exists and is not FOR TABLE ... WITH (publish = ''insert'', publish_via_partition_root = true)', {{literal .Publication}}
            USING HINT = 'configure another replication.publication, or ALTER it yourself and run `cdc-relay publication accept`';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel r
                    WHERE r.prpubid = pub.oid AND r.prrelid = {{literal .Outbox}}::pg_catalog.regclass) THEN
        RAISE EXCEPTION 'publication % exists without table %', {{literal .Publication}}, {{literal .Outbox}}
            USING HINT = 'configure another replication.publication, or ALTER PUBLICATION ... ADD TABLE and run `cdc-relay publication accept`';
    END IF;
END
$migrate$;

-- The publication in words, as it was when it was fingerprinted: the "before" of a difference.
CREATE TABLE IF NOT EXISTS cdc_relay.publication_seen (
    slot      text PRIMARY KEY,
    described text NOT NULL
);
REVOKE ALL ON cdc_relay.publication_seen FROM PUBLIC;

-- The publication as one string: its rows in the catalog with their oids, so that a dropped and re-made one differs, and their
-- xmin, so that one that was altered and altered back differs too (rows committed in between were skipped; freezing leaves
-- xmin as it is). NULL: there is none, or it is of a kind that is refused. The mark's statement calls it each time.
CREATE OR REPLACE FUNCTION cdc_relay.fingerprint_v1(p_publication text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pub  record;
    rels text;
BEGIN
    SELECT p.oid, p.puballtables, p.oid || ' ' || p.xmin || ' ' || (to_jsonb(p) - 'pubowner')::text AS line
      INTO pub FROM pg_publication p WHERE p.pubname = p_publication;
    IF NOT FOUND OR pub.puballtables THEN
        RETURN NULL;
    END IF;
    IF to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL THEN -- 15 and later
        IF EXISTS (SELECT FROM pg_publication_namespace n WHERE n.pnpubid = pub.oid) THEN
            RETURN NULL;
        END IF;
    END IF;
    SELECT string_agg(r.oid || ' ' || r.xmin || ' ' || to_jsonb(r)::text, ',' ORDER BY r.oid)
      INTO rels FROM pg_publication_rel r WHERE r.prpubid = pub.oid;
    RETURN left(encode(sha256(convert_to(pub.line || ';' || coalesce(rels, ''), 'UTF8')), 'hex'), 16);
END
$$;

-- The same for people: fingerprint, the publication in words, and why it cannot be used (NULL: it can).
CREATE OR REPLACE FUNCTION cdc_relay.publication_v1(p_publication text, OUT fingerprint text, OUT described text, OUT problem text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pub    pg_publication;
    tables text;
BEGIN
    SELECT * INTO pub FROM pg_publication p WHERE p.pubname = p_publication;
    IF NOT FOUND THEN
        described := format('publication %I does not exist', p_publication);
        problem := described || ': make it with `cdc-relay migrate up`';
        RETURN;
    END IF;
    fingerprint := cdc_relay.fingerprint_v1(p_publication);
    -- rowfilter, attnames and prattrs are there from 15 on; as jsonb their absence is no error.
    SELECT string_agg(format('%I.%I', t.schemaname, t.tablename)
               || format(' (oid %s%s)', r.prrelid, coalesce(', where ' || (to_jsonb(t) ->> 'rowfilter'), '')
                         || CASE WHEN to_jsonb(r) ->> 'prattrs' IS NULL THEN '' ELSE ', columns ' || (to_jsonb(t) ->> 'attnames') END),
               ', ' ORDER BY t.schemaname, t.tablename)
      INTO tables
      FROM pg_publication_tables t
      LEFT JOIN pg_publication_rel r ON r.prpubid = pub.oid AND r.prrelid = to_regclass(format('%I.%I', t.schemaname, t.tablename))
     WHERE t.pubname = p_publication AND NOT pub.puballtables;
    described := format('publication %I (oid %s): publish = %L, publish_via_partition_root = %s, for %s', p_publication, pub.oid,
        concat_ws(', ', CASE WHEN pub.pubinsert THEN 'insert' END, CASE WHEN pub.pubupdate THEN 'update' END,
                  CASE WHEN pub.pubdelete THEN 'delete' END, CASE WHEN pub.pubtruncate THEN 'truncate' END),
        pub.pubviaroot, CASE WHEN pub.puballtables THEN 'all tables' ELSE coalesce(tables, 'no table') END);
    IF pub.puballtables THEN
        problem := format('publication %I is FOR ALL TABLES: make one FOR TABLE with the outbox alone', p_publication);
    ELSIF fingerprint IS NULL THEN
        problem := format('publication %I is FOR TABLES IN SCHEMA: make one FOR TABLE with the outbox alone', p_publication);
    ELSIF tables IS NULL THEN
        problem := format('publication %I has no table: ALTER PUBLICATION %1$I ADD TABLE the outbox', p_publication);
    END IF;
END
$$;

-- How the publication differs from the one that the slot's mark was written for.
CREATE OR REPLACE FUNCTION cdc_relay.difference_v1(p_slot text, p_publication text) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN s.described = p.described THEN 'altered and altered back, rows in between may have been skipped: ' || p.described
                ELSE format('was %s; is %s', coalesce(s.described, 'not described'), p.described) END
      FROM cdc_relay.publication_v1(p_publication) p LEFT JOIN cdc_relay.publication_seen s ON s.slot = p_slot
$$;

REVOKE ALL ON FUNCTION cdc_relay.fingerprint_v1(text), cdc_relay.publication_v1(text), cdc_relay.difference_v1(text, text) FROM PUBLIC;
