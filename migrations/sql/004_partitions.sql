-- The care of outbox tables: days made ahead, rows brought home from the default partition, days dropped. internal/partitions
-- calls these functions; times are UTC whatever the session's zone is.
--
-- They run with the owner's rights, so they touch outbox tables only: the native one, and those that the owner has put
-- into the publication. p_pid is the walsender of the slot's owner; null: an operator's verb.
--
-- Locks. An INSERT locks the root and the leaf it goes to (ROW EXCLUSIVE). ATTACH locks the root SHARE UPDATE EXCLUSIVE, which
-- inserts do not mind, and the default partition exclusively, which only rows without a partition of their own mind. DETACH
-- locks the root exclusively: it waits for every writer, and inserts queue behind it. So the caller sets a short
-- lock_timeout and tries again. DETACH CONCURRENTLY would not queue, but rows that are committed while it is pending are
-- never decoded.

-- What is known about a partition that may go. tail, xid and lsn are read in this order; see partition_retire_v1.
CREATE TABLE IF NOT EXISTS cdc_relay.partition_candidate (
    part     oid PRIMARY KEY,
    name     text        NOT NULL,
    tail     text        NOT NULL,
    xid      xid8        NOT NULL,
    lsn      pg_lsn,
    found_at timestamptz NOT NULL DEFAULT now()
);

-- For plain tables: every transaction with an xid below this one had ended when lsn was read, at that time.
CREATE TABLE IF NOT EXISTS cdc_relay.retention_sample (
    root     oid         NOT NULL,
    taken_at timestamptz NOT NULL,
    xid      xid8        NOT NULL,
    lsn      pg_lsn      NOT NULL,
    PRIMARY KEY (root, taken_at)
);

-- outbox_oid_v1 resolves schema.table, as the configuration writes it, and refuses what is no outbox.
CREATE OR REPLACE FUNCTION cdc_relay.outbox_oid_v1(p_table text) RETURNS oid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_oid oid := to_regclass(format('%I.%I', split_part(p_table, '.', 1), substr(p_table, strpos(p_table, '.') + 1)));
BEGIN
    IF v_oid IS NULL THEN
        RAISE EXCEPTION 'table % does not exist', p_table USING ERRCODE = 'undefined_table';
    END IF;
    PERFORM 1 FROM cdc_relay.settings s WHERE s.name = 'outbox_table' AND s.value = p_table;
    IF NOT FOUND THEN
        PERFORM 1 FROM cdc_relay.settings s
            JOIN pg_publication p ON p.pubname = s.value OR p.pubname ~ ('^' || s.value || '_[0-9]+$')
            JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = v_oid
        WHERE s.name = 'publication';
        IF NOT FOUND THEN
            RAISE EXCEPTION 'table % is not an outbox of this database', p_table
                USING ERRCODE = 'CDR05', HINT = 'add it to the publication first';
        END IF;
    END IF;
    RETURN v_oid;
END $$;

-- partition_kind_v1: 'days' (partitioned by range of one date or time column), 'plain', or 'other'.
CREATE OR REPLACE FUNCTION cdc_relay.partition_kind_v1(p_table text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN c.relkind = 'r' THEN 'plain'
        WHEN p.partstrat = 'r' AND p.partnatts = 1 AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
            THEN 'days'
        ELSE 'other' END
    FROM pg_class c
    LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
    WHERE c.oid = cdc_relay.outbox_oid_v1(p_table)
$$;

-- partition_list_v1 reads the bounds as the catalog has them; names mean nothing.
CREATE OR REPLACE FUNCTION cdc_relay.partition_list_v1(p_table text)
RETURNS TABLE (part oid, name text, lower timestamptz, upper timestamptz, is_default boolean, bytes bigint, waits_for pg_lsn)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
    SELECT b.oid, b.name,
        CASE WHEN b.bound[1] = 'MINVALUE' THEN '-infinity' ELSE trim(BOTH '''' FROM b.bound[1]) END::timestamptz,
        CASE WHEN b.bound[2] = 'MAXVALUE' THEN 'infinity' ELSE trim(BOTH '''' FROM b.bound[2]) END::timestamptz,
        b.bound IS NULL, pg_total_relation_size(b.oid), k.lsn
    FROM (
        SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name,
            regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS bound
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE i.inhparent = cdc_relay.outbox_oid_v1(p_table)
    ) b
    LEFT JOIN cdc_relay.partition_candidate k ON k.part = b.oid
    ORDER BY 3 NULLS LAST
$$;

-- partition_default_v1 counts the rows of each UTC day in the default partition: one scan of it.
CREATE OR REPLACE FUNCTION cdc_relay.partition_default_v1(p_table text) RETURNS TABLE (day date, count bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    v_root oid := cdc_relay.outbox_oid_v1(p_table);
    v_def  oid;
    v_col  text;
BEGIN
    SELECT p.partdefid, a.attname INTO v_def, v_col
    FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
    WHERE p.partrelid = v_root;
    IF v_def <> 0 THEN
        -- The zone is UTC here, so the cast to date is the UTC day for each of the three types.
        RETURN QUERY EXECUTE format('SELECT %1$I::date, count(*) FROM ONLY %2$s WHERE isfinite(%1$I) GROUP BY 1 ORDER BY 1',
            v_col, v_def::regclass);
    END IF;
END $$;

-- partition_make_v1 makes and attaches the partition of one UTC day, and brings its rows home from the default partition.
-- It returns how many; null: the day has a partition.
--
-- The rows are copied into a table that is attached afterwards: through the root they would be published again. That table
-- is unlogged until it is full. So its inserts are never decoded, and no stream learns it as a table that is not
-- published; 14 would remember that after ATTACH and pass over its rows in silence.
CREATE OR REPLACE FUNCTION cdc_relay.partition_make_v1(p_slot text, p_pid integer, p_table text, p_day date, OUT name text, OUT moved bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
DECLARE
    v_root   oid := cdc_relay.outbox_oid_v1(p_table);
    v_lower  timestamptz := p_day::timestamptz;
    v_upper  timestamptz := (p_day + 1)::timestamptz;
    v_col    text;
    v_def    oid;
    v_owner  name;
    v_cols   text;
    v_cond   text;
    v_some   boolean := false;
BEGIN
    IF p_pid IS NOT NULL THEN
        PERFORM cdc_relay.require_owner_v1(p_slot, p_pid);
    END IF;
    PERFORM 1 FROM cdc_relay.partition_list_v1(p_table) l WHERE l.lower < v_upper AND l.upper > v_lower;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT p.partdefid, a.attname, pg_get_userbyid(c.relowner),
           format('%I.%I', n.nspname, left(c.relname, 50) || to_char(p_day, '"_p"YYYYMMDD'))
      INTO STRICT v_def, v_col, v_owner, name
    FROM pg_partitioned_table p
    JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
    JOIN pg_class c ON c.oid = p.partrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE p.partrelid = v_root;
    v_cond := format('%1$I >= %2$L AND %1$I < %3$L', v_col, v_lower, v_upper);
    moved := 0;

    IF v_def <> 0 THEN
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM ONLY %s WHERE %s)', v_def::regclass, v_cond) INTO v_some;
    END IF;
    IF v_some THEN
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', v_def::regclass);
    END IF;
    -- Identity columns stay with the root: 17 and later refuse to attach a table that has them.
    EXECUTE format('CREATE %s TABLE %s (LIKE %s INCLUDING ALL EXCLUDING IDENTITY)',
        CASE WHEN v_some THEN 'UNLOGGED' ELSE '' END, name, v_root::regclass);
    IF v_owner <> current_user THEN
        EXECUTE format('ALTER TABLE %s OWNER TO %I', name, v_owner);
    END IF;
    IF v_some THEN
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO v_cols
        FROM pg_attribute a WHERE a.attrelid = v_root AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
        EXECUTE format('INSERT INTO %s (%s) SELECT %2$s FROM ONLY %s WHERE %s', name, v_cols, v_def::regclass, v_cond);
        GET DIAGNOSTICS moved = ROW_COUNT;
        EXECUTE format('DELETE FROM ONLY %s WHERE %s', v_def::regclass, v_cond);
        EXECUTE format('ALTER TABLE %s SET LOGGED', name);
    END IF;
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', v_root::regclass, name, v_lower, v_upper);
END $$;

-- tail_v1 changes whenever a row is added to a table that rows are only added to: its size, and the rows of its last page.
CREATE OR REPLACE FUNCTION cdc_relay.tail_v1(p_part oid) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_pages bigint := pg_relation_size(p_part) / current_setting('block_size')::bigint;
    v_rows  bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ONLY %s WHERE ctid >= %L::tid', p_part::regclass, format('(%s,0)', greatest(v_pages - 1, 0)))
       INTO v_rows;
    RETURN v_pages || '/' || v_rows;
END $$;

-- open_before_v1 names a session that holds a transaction or a snapshot from before p_xid; null: nobody does. Transactions
-- of other databases count too: the server tells no difference.
CREATE OR REPLACE FUNCTION cdc_relay.open_before_v1(p_xid xid8) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_who text;
BEGIN
    SELECT string_agg(a.pid::text, ', ') INTO v_who FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_xmin IS NOT NULL
      AND age(a.backend_xmin) >= age(p_xid::xid)
      AND NOT EXISTS (SELECT 1 FROM pg_stat_replication r WHERE r.pid = a.pid);
    IF v_who IS NOT NULL THEN
        RETURN 'a snapshot from before is open in backend ' || v_who;
    END IF;
    IF pg_snapshot_xmin(pg_current_snapshot()) <= p_xid THEN
        SELECT string_agg(x.who, ', ') INTO v_who FROM (
            SELECT 'backend ' || a.pid AS who FROM pg_stat_activity a
            WHERE a.backend_xid IS NOT NULL AND age(a.backend_xid) >= age(p_xid::xid)
            UNION ALL
            SELECT 'prepared transaction ' || p.gid FROM pg_prepared_xacts p WHERE age(p.transaction) >= age(p_xid::xid)) x;
        RETURN 'a transaction from before is open: ' || coalesce(v_who, 'it ended just now');
    END IF;
    RETURN NULL;
END $$;

-- mark_short_of_v1 names a slot of this database whose mark has not passed p_lsn; null: all have. All slots count, for a
-- table may be spread over several; a slot that is gone for good is forgotten by `slot drop`.
CREATE OR REPLACE FUNCTION cdc_relay.mark_short_of_v1(p_lsn pg_lsn) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_slot text;
    v_lsn  pg_lsn;
BEGIN
    -- A mark whose first start is not complete stands at 0/0.
    SELECT c.slot, c.lsn INTO v_slot, v_lsn FROM cdc_relay.checkpoint c ORDER BY c.lsn, c.slot LIMIT 1;
    IF NOT FOUND THEN
        RETURN 'no slot of this database has a mark';
    ELSIF v_lsn < p_lsn THEN
        RETURN format('the mark of slot %s is at %s, before %s', v_slot, v_lsn, p_lsn);
    END IF;
    RETURN NULL;
END $$;

-- partition_retire_v1 brings one partition a step nearer to its end: call it again while state is 'found'. It drops only
-- what every slot has published (I10). The proof, in the order of the steps, each in a transaction of its own:
--
--   found    the tail is read, then an xid is taken
--   waiting  until every transaction up to that xid has ended, and every snapshot from before; then lsn is read
--   waiting  until the marks have passed lsn
--   dropped  under an exclusive lock, if the tail is as it was
--
-- A row that is there at the end was inserted before the tail was read, for the tail is the same. Its transaction had an xid by
-- then, so it has ended before lsn was read, so its commit lies before lsn, so it was published. If the tail is not the same,
-- all begins again. (A row that fills a hole left by a DELETE and VACUUM in mid-table does not change the tail.)
CREATE OR REPLACE FUNCTION cdc_relay.partition_retire_v1(
    p_slot text, p_pid integer, p_table text, p_part oid, p_keep interval, p_now timestamptz, OUT state text, OUT why text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    v_root  oid := cdc_relay.outbox_oid_v1(p_table);
    v_name  text;
    v_upper timestamptz;
    v_tail  text;
    k       cdc_relay.partition_candidate;
BEGIN
    IF p_pid IS NOT NULL THEN
        PERFORM cdc_relay.require_owner_v1(p_slot, p_pid);
    END IF;
    SELECT l.name, l.upper INTO v_name, v_upper FROM cdc_relay.partition_list_v1(p_table) l WHERE l.part = p_part AND NOT l.is_default;
    IF NOT FOUND THEN
        state := 'gone';
        RETURN;
    ELSIF p_keep <= '0' OR v_upper IS NULL OR v_upper > p_now - p_keep THEN
        state := 'kept';
        RETURN;
    END IF;
    state := 'waiting';

    SELECT * INTO k FROM cdc_relay.partition_candidate c WHERE c.part = p_part FOR UPDATE;
    -- After a restore the WAL, or the xids, may begin at a lower place again.
    IF NOT FOUND OR k.lsn > pg_current_wal_insert_lsn() OR k.xid >= pg_snapshot_xmax(pg_current_snapshot()) THEN
        v_tail := cdc_relay.tail_v1(p_part);
        INSERT INTO cdc_relay.partition_candidate AS c (part, name, tail, xid) VALUES (p_part, v_name, v_tail, pg_current_xact_id())
        ON CONFLICT (part) DO UPDATE SET name = excluded.name, tail = excluded.tail, xid = excluded.xid, lsn = NULL, found_at = now();
        DELETE FROM cdc_relay.partition_candidate c WHERE NOT EXISTS (SELECT 1 FROM pg_class t WHERE t.oid = c.part);
        state := 'found';
        RETURN;
    END IF;

    IF k.lsn IS NULL THEN
        why := cdc_relay.open_before_v1(k.xid);
        IF why IS NOT NULL THEN
            RETURN;
        END IF;
        UPDATE cdc_relay.partition_candidate c SET lsn = pg_current_wal_insert_lsn() WHERE c.part = p_part RETURNING c.lsn INTO k.lsn;
    END IF;
    why := cdc_relay.mark_short_of_v1(k.lsn);
    IF why IS NOT NULL THEN
        RETURN;
    END IF;

    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', v_root::regclass); -- and with it every partition
    IF cdc_relay.tail_v1(p_part) <> k.tail THEN
        DELETE FROM cdc_relay.partition_candidate c WHERE c.part = p_part;
        why := 'rows were written to it lately';
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', v_root::regclass, v_name);
    EXECUTE format('DROP TABLE %s', v_name);
    DELETE FROM cdc_relay.partition_candidate c WHERE c.part = p_part;
    state := 'dropped';
END $$;

-- outbox_delete_v1 deletes up to p_rows rows of a plain table that were written longer than p_keep ago and that every slot has
-- published. It needs no column for the time: it takes samples (an xid below which every transaction has ended; then the WAL
-- position), and goes by the newest one that is old enough and that the marks have passed. why: nothing can be deleted yet.
CREATE OR REPLACE FUNCTION cdc_relay.outbox_delete_v1(
    p_slot text, p_pid integer, p_table text, p_keep interval, p_rows integer, p_now timestamptz, OUT deleted bigint, OUT why text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_root oid := cdc_relay.outbox_oid_v1(p_table);
    v_xid  xid8;
    s      cdc_relay.retention_sample;
BEGIN
    deleted := 0;
    IF p_pid IS NOT NULL THEN
        PERFORM cdc_relay.require_owner_v1(p_slot, p_pid);
    END IF;
    IF p_keep <= '0' THEN
        why := 'all rows are kept';
        RETURN;
    END IF;
    v_xid := pg_snapshot_xmin(pg_current_snapshot()); -- the xid first: what is below it committed before the position
    DELETE FROM cdc_relay.retention_sample r WHERE r.root = v_root AND (r.lsn > pg_current_wal_insert_lsn() OR r.xid > v_xid);
    PERFORM 1 FROM cdc_relay.retention_sample r
        WHERE r.root = v_root AND r.taken_at > p_now - greatest(p_keep / 24, interval '1 second');
    IF NOT FOUND THEN
        INSERT INTO cdc_relay.retention_sample VALUES (v_root, p_now, v_xid, pg_current_wal_insert_lsn()) ON CONFLICT DO NOTHING;
    END IF;

    SELECT * INTO s FROM cdc_relay.retention_sample r
    WHERE r.root = v_root AND r.taken_at <= p_now - p_keep AND cdc_relay.mark_short_of_v1(r.lsn) IS NULL
    ORDER BY r.taken_at DESC LIMIT 1;
    IF NOT FOUND THEN
        why := (SELECT CASE WHEN min(r.taken_at) <= p_now - p_keep THEN cdc_relay.mark_short_of_v1(min(r.lsn))
                            ELSE format('watched since %s only', min(r.taken_at)) END
                FROM cdc_relay.retention_sample r WHERE r.root = v_root);
        RETURN;
    END IF;
    DELETE FROM cdc_relay.retention_sample r WHERE r.root = v_root AND r.taken_at < s.taken_at;
    -- age counts back from the next xid. A row whose xid lies more than 2^31 back looks young, and stays.
    EXECUTE format('DELETE FROM ONLY %1$s WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM ONLY %1$s t
        WHERE age(t.xmin) > age(%2$L::xid8::xid) LIMIT %3$s FOR UPDATE SKIP LOCKED))', v_root::regclass, s.xid, p_rows);
    GET DIAGNOSTICS deleted = ROW_COUNT;
END $$;

REVOKE ALL ON cdc_relay.partition_candidate, cdc_relay.retention_sample FROM PUBLIC;
REVOKE ALL ON FUNCTION
    cdc_relay.outbox_oid_v1(text), cdc_relay.partition_kind_v1(text), cdc_relay.partition_list_v1(text),
    cdc_relay.partition_default_v1(text), cdc_relay.partition_make_v1(text, integer, text, date), cdc_relay.tail_v1(oid),
    cdc_relay.open_before_v1(xid8), cdc_relay.mark_short_of_v1(pg_lsn),
    cdc_relay.partition_retire_v1(text, integer, text, oid, interval, timestamptz),
    cdc_relay.outbox_delete_v1(text, integer, text, interval, integer, timestamptz)
    FROM PUBLIC;
