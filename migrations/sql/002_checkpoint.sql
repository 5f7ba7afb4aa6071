-- The mark: one row for each slot. Nothing is confirmed to the slot that this row does not hold.
--
-- What concerns the publication, which the mark compares, stands in 005 (a function's body is planned when it first runs).
-- Every function is SECURITY DEFINER with a fixed search_path, is named with its version and is never altered: a change comes
-- under a new name, and the old one goes a minor version later, because rolling updates and rollbacks mix binaries.

-- The row is written last of all, by 006: a relay that reads a number finds everything in place.
CREATE TABLE IF NOT EXISTS cdc_relay.protocol (
    one             boolean PRIMARY KEY DEFAULT true CHECK (one),
    version         integer NOT NULL,
    compatible_from integer NOT NULL -- the oldest protocol number that a binary may have to run on this schema
);
REVOKE ALL ON cdc_relay.protocol FROM PUBLIC;

-- With wal_level = logical the WAL carries the whole new row of each update, so the row is kept short: the publication in
-- words lives elsewhere. No column that a mark changes is indexed and the page has room: updates are HOT. A fillfactor far
-- below 50 would have the page pruned, with a WAL record of its own, at nearly every mark: pruning begins where less is free
-- than the fillfactor asks for.
CREATE TABLE IF NOT EXISTS cdc_relay.checkpoint (
    slot         text PRIMARY KEY,
    publication  text NOT NULL,
    state        text NOT NULL CHECK (state IN ('creating', 'ready')), -- creating: the intent of a first start
    paused       boolean NOT NULL DEFAULT false,
    timeline     integer NOT NULL,
    open_index   bigint NOT NULL DEFAULT 0,
    open_commit  pg_lsn NOT NULL DEFAULT '0/0',
    lsn          pg_lsn NOT NULL DEFAULT '0/0',
    horizon_xid  xid8 NOT NULL,
    horizon_lsn  pg_lsn NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    nonce        text NOT NULL,
    system_id    text NOT NULL,
    incarnation  text NOT NULL,
    fingerprint  text NOT NULL,
    open_hash    text NOT NULL DEFAULT ''
) WITH (fillfactor = 50);
REVOKE ALL ON cdc_relay.checkpoint FROM PUBLIC;

CREATE OR REPLACE FUNCTION cdc_relay.protocol_v1(OUT version integer, OUT compatible_from integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT p.version, p.compatible_from FROM cdc_relay.protocol p $$;

-- The lock that a first start claims before the slot exists. The same session may take it again.
CREATE OR REPLACE FUNCTION cdc_relay.claim_key_v1(p_slot text) RETURNS bigint
LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT hashtextextended('cdc_relay/first-start/' || p_slot, 0) $$;

CREATE OR REPLACE FUNCTION cdc_relay.checkpoint_read_v1(p_slot text) RETURNS SETOF cdc_relay.checkpoint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM cdc_relay.checkpoint c WHERE c.slot = p_slot $$;

-- A first start, step 1 of 3: what we are about to do, with a horizon that is older than the slot.
CREATE OR REPLACE FUNCTION cdc_relay.intent_v1(
    p_slot text, p_publication text, p_nonce text, p_system_id text, p_timeline integer, p_incarnation text,
    OUT code text, OUT detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pub  record;
    xmin xid8;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local');
    IF NOT pg_try_advisory_xact_lock(cdc_relay.claim_key_v1(p_slot)) THEN
        code := 'claimed'; detail := 'another session holds the claim'; RETURN;
    END IF;
    SELECT * INTO pub FROM cdc_relay.publication_v1(p_publication);
    IF pub.problem IS NOT NULL THEN
        code := 'publication'; detail := pub.problem; RETURN;
    END IF;
    xmin := pg_snapshot_xmin(pg_current_snapshot()); -- first the xid, then the LSN: see sample_v1
    INSERT INTO cdc_relay.checkpoint AS c
        (slot, publication, state, nonce, system_id, incarnation, fingerprint, timeline, horizon_xid, horizon_lsn)
    VALUES (p_slot, p_publication, 'creating', p_nonce, p_system_id, p_incarnation, pub.fingerprint, p_timeline,
            xmin, pg_current_wal_insert_lsn())
    ON CONFLICT (slot) DO UPDATE
       SET publication = excluded.publication, nonce = excluded.nonce, system_id = excluded.system_id,
           incarnation = excluded.incarnation, fingerprint = excluded.fingerprint,
           timeline = excluded.timeline, horizon_xid = excluded.horizon_xid, horizon_lsn = excluded.horizon_lsn,
           updated_at = clock_timestamp()
     WHERE c.state = 'creating';
    IF FOUND THEN
        INSERT INTO cdc_relay.publication_seen (slot, described) VALUES (p_slot, pub.described)
        ON CONFLICT (slot) DO UPDATE SET described = excluded.described;
        code := 'ok';
    ELSE
        code := 'exists'; detail := 'the slot has a mark already';
    END IF;
END
$$;

-- Step 3 of 3: the slot stands, its consistent point is p_lsn.
CREATE OR REPLACE FUNCTION cdc_relay.complete_v1(p_slot text, p_nonce text, p_lsn pg_lsn, OUT code text, OUT detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    r cdc_relay.checkpoint;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local');
    IF NOT pg_try_advisory_xact_lock(cdc_relay.claim_key_v1(p_slot)) THEN
        code := 'claimed'; detail := 'another session holds the claim'; RETURN;
    END IF;
    SELECT * INTO r FROM cdc_relay.checkpoint c WHERE c.slot = p_slot FOR UPDATE;
    IF NOT FOUND THEN
        code := 'no_mark'; detail := 'no intent was written'; RETURN;
    ELSIF r.state <> 'creating' THEN
        code := 'exists'; detail := 'the slot has a mark already'; RETURN;
    ELSIF r.nonce <> p_nonce THEN
        code := 'nonce'; detail := 'another start wrote its intent since'; RETURN;
    ELSIF r.fingerprint IS DISTINCT FROM cdc_relay.fingerprint_v1(r.publication) THEN
        code := 'publication'; detail := cdc_relay.difference_v1(p_slot, r.publication); RETURN;
    ELSIF p_lsn = '0/0' THEN
        code := 'backwards'; detail := 'a mark cannot stand at 0/0'; RETURN;
    END IF;
    UPDATE cdc_relay.checkpoint c SET state = 'ready', nonce = '', lsn = p_lsn, updated_at = clock_timestamp() WHERE c.slot = p_slot;
    code := 'ok';
END
$$;

-- The mark. One UPDATE whose WHERE holds every condition; only when it matched nothing is the row looked at for the reason.
-- p_walsender is the caller's walsender: a frozen owner whose slot went elsewhere changes nothing when it wakes. A row that
-- somebody holds locked is waited for and its columns are compared again; the publication is as of the statement's start,
-- which is after the stream passed p_lsn, so a change that this statement does not see lies after the mark.
CREATE OR REPLACE FUNCTION cdc_relay.mark_v1(
    p_slot text, p_walsender integer, p_system_id text, p_timeline integer, p_incarnation text,
    p_lsn pg_lsn, p_open_commit pg_lsn, p_open_index bigint, p_open_hash text, p_horizon_xid xid8, p_horizon_lsn pg_lsn,
    OUT code text, OUT detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    r     cdc_relay.checkpoint;
    owner integer;
BEGIN
    -- With synchronous_commit = off a crash left the slot ahead of the mark. SET in this function's header would be undone
    -- before the commit; a local set_config holds until the transaction's end. Stronger settings stay.
    PERFORM set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local');
    UPDATE cdc_relay.checkpoint c
       SET timeline = p_timeline, lsn = p_lsn, open_commit = p_open_commit, open_index = p_open_index, open_hash = p_open_hash,
           horizon_xid = CASE WHEN p_horizon_lsn = '0/0' THEN c.horizon_xid ELSE p_horizon_xid END,
           horizon_lsn = CASE WHEN p_horizon_lsn = '0/0' THEN c.horizon_lsn ELSE p_horizon_lsn END,
           updated_at = clock_timestamp()
     WHERE c.slot = p_slot AND c.state = 'ready'
       AND c.system_id = p_system_id AND c.timeline <= p_timeline AND c.incarnation = p_incarnation
       -- An open part that another definition of the index wrote does not count, so it cannot be in the way either.
       AND (c.lsn, CASE WHEN c.open_hash = p_open_hash THEN c.open_commit ELSE '0/0' END,
                   CASE WHEN c.open_hash = p_open_hash THEN c.open_index ELSE 0 END) < (p_lsn, p_open_commit, p_open_index)
       AND p_horizon_lsn <= p_lsn
       AND EXISTS (SELECT FROM pg_replication_slots s
                    WHERE s.slot_name = p_slot AND s.database = current_database() AND s.active_pid = p_walsender)
       AND c.fingerprint = cdc_relay.fingerprint_v1(c.publication);
    IF FOUND THEN
        code := 'ok'; RETURN;
    END IF;

    SELECT * INTO r FROM cdc_relay.checkpoint c WHERE c.slot = p_slot;
    IF NOT FOUND THEN
        code := 'no_mark'; detail := 'its row is gone'; RETURN;
    ELSIF r.state <> 'ready' THEN
        code := 'no_mark'; detail := 'its first start was not completed'; RETURN;
    END IF;
    SELECT s.active_pid INTO owner FROM pg_replication_slots s WHERE s.slot_name = p_slot AND s.database = current_database();
    IF NOT FOUND THEN
        code := 'fenced'; detail := format('walsender %s: the slot does not exist', p_walsender); RETURN;
    ELSIF owner IS DISTINCT FROM p_walsender THEN
        code := 'fenced'; detail := format('walsender %s: the slot is %s', p_walsender, coalesce('streamed by ' || owner, 'not active')); RETURN;
    ELSIF (r.system_id, r.incarnation) IS DISTINCT FROM (p_system_id, p_incarnation) OR r.timeline > p_timeline THEN
        code := 'incarnation';
        detail := format('the mark is of %s:%s:%s, the writer of %s:%s:%s', r.system_id, r.timeline, r.incarnation, p_system_id, p_timeline, p_incarnation);
        RETURN;
    ELSIF r.fingerprint IS DISTINCT FROM cdc_relay.fingerprint_v1(r.publication) THEN
        code := 'publication'; detail := cdc_relay.difference_v1(p_slot, r.publication); RETURN;
    ELSIF p_horizon_lsn > p_lsn THEN
        code := 'horizon'; detail := format('sampled at %s, after %s', p_horizon_lsn, p_lsn); RETURN;
    ELSIF (r.lsn, r.open_commit, r.open_index) = (p_lsn, p_open_commit, p_open_index) THEN
        code := 'equal'; RETURN;
    END IF;
    code := 'backwards';
    detail := format('from %s (open %s, index %s) to %s (open %s, index %s)', r.lsn, r.open_commit, r.open_index, p_lsn, p_open_commit, p_open_index);
END
$$;

-- What the owner looks at once a second, in one round trip.
CREATE OR REPLACE FUNCTION cdc_relay.sample_v1(
    p_slot text,
    OUT in_recovery boolean, OUT wal_end pg_lsn, OUT horizon_xid xid8, OUT horizon_lsn pg_lsn,
    OUT marked boolean, OUT paused boolean, OUT requested bigint, OUT outbox_seq bigint,
    OUT slot_exists boolean, OUT confirmed_flush_lsn pg_lsn, OUT restart_lsn pg_lsn, OUT active_pid integer,
    OUT wal_status text, OUT safe_wal_size bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The order of these statements is the proof: whatever commits after horizon_lsn was running at, or began after, the
    -- snapshot, so its xid is at or above horizon_xid. The other way round it would not be.
    horizon_xid := pg_snapshot_xmin(pg_current_snapshot());
    in_recovery := pg_is_in_recovery();
    horizon_lsn := CASE WHEN in_recovery THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END;
    wal_end := CASE WHEN in_recovery THEN horizon_lsn ELSE pg_current_wal_lsn() END;
    SELECT true, c.paused INTO marked, paused FROM cdc_relay.checkpoint c WHERE c.slot = p_slot;
    marked := coalesce(marked, false);
    paused := coalesce(paused, false);
    -- 003 makes the table; a function's body is planned when it first runs.
    SELECT count(*) INTO requested FROM cdc_relay.dead_letter d WHERE d.slot = p_slot AND d.state IN ('requeue', 'drop');
    SELECT CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END INTO outbox_seq FROM cdc_relay.outbox_seq s;
    SELECT s.confirmed_flush_lsn, s.restart_lsn, s.active_pid, s.wal_status, s.safe_wal_size
      INTO confirmed_flush_lsn, restart_lsn, active_pid, wal_status, safe_wal_size
      FROM pg_replication_slots s WHERE s.slot_name = p_slot AND s.database = current_database();
    slot_exists := FOUND;
END
$$;

-- `slot adopt`: an operator says that the slot, as it stands, is ours and that whatever lies before it is dealt with.
-- p_lsn 0/0: where the slot stands. The horizon is the slot's catalog_xmin: the oldest xid that was running at a WAL position
-- at or before confirmed_flush_lsn (or when the slot was made), so nothing that commits after it has a lower one.
CREATE OR REPLACE FUNCTION cdc_relay.adopt_v1(
    p_slot text, p_publication text, p_system_id text, p_timeline integer, p_lsn pg_lsn, p_new_incarnation boolean, p_by text,
    OUT code text, OUT detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s     record;
    pub   record;
    r     cdc_relay.checkpoint;
    next  bigint;
    named text;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local');
    IF NOT pg_try_advisory_xact_lock(cdc_relay.claim_key_v1(p_slot)) THEN
        code := 'claimed'; detail := 'another session holds the claim'; RETURN;
    END IF;
    SELECT * INTO s FROM pg_replication_slots v WHERE v.slot_name = p_slot AND v.database = current_database() AND v.slot_type = 'logical';
    IF NOT FOUND THEN
        code := 'no_slot'; detail := 'no logical slot of that name in this database'; RETURN;
    ELSIF s.active_pid IS NOT NULL THEN
        code := 'active'; detail := format('walsender %s streams it: stop the relay first', s.active_pid); RETURN;
    ELSIF p_lsn <> '0/0' AND p_lsn < s.confirmed_flush_lsn THEN
        code := 'backwards'; detail := format('the slot stands at %s and cannot send what lies before it', s.confirmed_flush_lsn); RETURN;
    ELSIF p_lsn > pg_current_wal_lsn() THEN
        code := 'backwards'; detail := format('%s is beyond the end of the WAL, %s', p_lsn, pg_current_wal_lsn()); RETURN;
    END IF;
    SELECT * INTO pub FROM cdc_relay.publication_v1(p_publication);
    IF pub.problem IS NOT NULL THEN
        code := 'publication'; detail := pub.problem; RETURN;
    END IF;
    SELECT * INTO r FROM cdc_relay.checkpoint c WHERE c.slot = p_slot FOR UPDATE;
    named := CASE WHEN r.slot IS NULL OR p_new_incarnation OR r.system_id <> p_system_id
                  THEN left(replace(gen_random_uuid()::text, '-', ''), 8) ELSE r.incarnation END;
    next := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
    INSERT INTO cdc_relay.checkpoint AS c
        (slot, publication, state, nonce, system_id, incarnation, fingerprint, timeline, lsn, horizon_xid, horizon_lsn)
    VALUES (p_slot, p_publication, 'ready', '', p_system_id, named, pub.fingerprint, p_timeline,
            CASE WHEN p_lsn = '0/0' THEN s.confirmed_flush_lsn ELSE p_lsn END,
            -- xid to xid8: the distance to the next one, modulo 2^32
            greatest(next - ((next - s.catalog_xmin::text::bigint) & 4294967295), 3)::text::xid8, s.confirmed_flush_lsn)
    ON CONFLICT (slot) DO UPDATE
       SET publication = excluded.publication, state = 'ready', nonce = '', system_id = excluded.system_id,
           incarnation = excluded.incarnation, fingerprint = excluded.fingerprint,
           timeline = excluded.timeline, lsn = excluded.lsn, open_commit = '0/0', open_index = 0, open_hash = '',
           horizon_xid = excluded.horizon_xid, horizon_lsn = excluded.horizon_lsn, updated_at = clock_timestamp();
    INSERT INTO cdc_relay.publication_seen (slot, described) VALUES (p_slot, pub.described)
    ON CONFLICT (slot) DO UPDATE SET described = excluded.described;
    INSERT INTO cdc_relay.audit (who, verb, slot, detail)
    VALUES (p_by, 'slot adopt', p_slot, jsonb_build_object('role', session_user, 'before', to_jsonb(r),
            'after', (SELECT to_jsonb(c) FROM cdc_relay.checkpoint c WHERE c.slot = p_slot)));
    PERFORM pg_notify('cdc_relay', p_slot);
    code := 'ok';
END
$$;

-- `publication accept`: an operator has seen the difference and what may have been skipped.
CREATE OR REPLACE FUNCTION cdc_relay.accept_publication_v1(p_slot text, p_by text, OUT code text, OUT detail text, OUT before text, OUT after text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pub record;
    r   cdc_relay.checkpoint;
BEGIN
    SELECT * INTO r FROM cdc_relay.checkpoint c WHERE c.slot = p_slot FOR UPDATE;
    IF NOT FOUND THEN
        code := 'no_mark'; detail := 'it has no row'; RETURN;
    END IF;
    SELECT * INTO pub FROM cdc_relay.publication_v1(r.publication);
    before := (SELECT s.described FROM cdc_relay.publication_seen s WHERE s.slot = p_slot);
    after := pub.described;
    IF pub.problem IS NOT NULL THEN
        code := 'publication'; detail := pub.problem; RETURN;
    END IF;
    code := 'ok';
    IF pub.fingerprint = r.fingerprint THEN
        RETURN;
    END IF;
    UPDATE cdc_relay.checkpoint c SET fingerprint = pub.fingerprint WHERE c.slot = p_slot;
    INSERT INTO cdc_relay.publication_seen (slot, described) VALUES (p_slot, pub.described)
    ON CONFLICT (slot) DO UPDATE SET described = excluded.described;
    INSERT INTO cdc_relay.audit (who, verb, slot, detail)
    VALUES (p_by, 'publication accept', p_slot, jsonb_build_object('role', session_user, 'before', before, 'after', after, 'lsn', r.lsn));
    PERFORM pg_notify('cdc_relay', p_slot);
END
$$;

CREATE OR REPLACE FUNCTION cdc_relay.pause_v1(p_slot text, p_paused boolean, p_by text, OUT code text, OUT detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE cdc_relay.checkpoint c SET paused = p_paused WHERE c.slot = p_slot AND c.paused <> p_paused;
    IF FOUND THEN
        INSERT INTO cdc_relay.audit (who, verb, slot, detail)
        VALUES (p_by, CASE WHEN p_paused THEN 'pause' ELSE 'resume' END, p_slot, jsonb_build_object('role', session_user));
        PERFORM pg_notify('cdc_relay', p_slot);
    ELSIF NOT EXISTS (SELECT FROM cdc_relay.checkpoint c WHERE c.slot = p_slot) THEN
        code := 'no_mark'; detail := 'it has no row'; RETURN;
    END IF;
    code := 'ok';
END
$$;

-- `slot drop`, after the slot is gone: without this the next start would take the missing slot for a loss.
CREATE OR REPLACE FUNCTION cdc_relay.forget_v1(p_slot text, p_by text, OUT code text, OUT detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    r cdc_relay.checkpoint;
BEGIN
    IF EXISTS (SELECT FROM pg_replication_slots s WHERE s.slot_name = p_slot AND s.database = current_database()) THEN
        code := 'active'; detail := 'the slot still exists: drop it first'; RETURN;
    END IF;
    DELETE FROM cdc_relay.checkpoint c WHERE c.slot = p_slot RETURNING * INTO r;
    IF NOT FOUND THEN
        code := 'no_mark'; detail := 'it has no row'; RETURN;
    END IF;
    DELETE FROM cdc_relay.publication_seen s WHERE s.slot = p_slot;
    INSERT INTO cdc_relay.audit (who, verb, slot, detail)
    VALUES (p_by, 'slot drop', p_slot, jsonb_build_object('role', session_user, 'before', to_jsonb(r)));
    code := 'ok';
END
$$;

-- PUBLIC may execute what is new; nobody but the relay's role shall, and 006 grants it.
REVOKE ALL ON FUNCTION
    cdc_relay.protocol_v1(), cdc_relay.claim_key_v1(text),
    cdc_relay.checkpoint_read_v1(text), cdc_relay.intent_v1(text, text, text, text, integer, text),
    cdc_relay.complete_v1(text, text, pg_lsn),
    cdc_relay.mark_v1(text, integer, text, integer, text, pg_lsn, pg_lsn, bigint, text, xid8, pg_lsn),
    cdc_relay.sample_v1(text), cdc_relay.adopt_v1(text, text, text, integer, pg_lsn, boolean, text),
    cdc_relay.accept_publication_v1(text, text), cdc_relay.pause_v1(text, boolean, text), cdc_relay.forget_v1(text, text)
    FROM PUBLIC;
