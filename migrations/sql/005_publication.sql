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
