-- Order for optimistic sending: may an application publish an event itself, right after its commit, or can an earlier event of
-- its key still be on its way through the relay?
--
-- Nothing here costs anything until the owner calls cdc_relay.install_order_check(), which makes an index and a trigger on the
-- outbox. Both are paid by every insert, so they are not there by default.
--
-- The proof. Let A and B be events of one key, A's commit record before B's in the WAL, and B's COMMIT answered. order_clear_v1
-- says 'clear' for B only if A is in the destination already:
--   1. A's transaction took the lock of its key, shared, before its commit record (the trigger), and gives it up after it has
--      become visible. The lock was free at a moment after B's commit: so A is visible to every snapshot from then on. Without
--      this step it need not be: a transaction is committed in the WAL, and sent to the relay, a moment before others see it, or
--      for as long as a synchronous standby lets it wait.
--   2. A's row is there: rows are only ever inserted (the trigger refuses the rest; the relay's retention drops what it has
--      published). Its xid is below the horizon of the mark, so it lies at or below the mark (002, sample_v1): acknowledged. Or
--      it is not, then the answer is 'outstanding'.
--   3. An acknowledged event may be a dead letter in place of a record. Then its key is parked, and its row in parked_key is
--      older than the mark that was read before.
-- Later events of the key do no harm: the relay publishes B before them, and whoever sends one of them optimistically is told
-- that B is outstanding. A copy of B that is late is a repeat then, not a first sight.

-- 256 locks for all keys (1667527781 says whose they are): few enough that a transaction of many rows does not fill the server's
-- lock table. No SET search_path: it runs with the writer's rights, and SET costs each insert.
CREATE OR REPLACE FUNCTION cdc_relay.order_writer() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM pg_catalog.pg_advisory_xact_lock_shared(1667527781, pg_catalog.hashtext(coalesce(NEW.partition_key, NEW.aggregate_id)) & 255);
        RETURN NEW;
    END IF;
    -- The owner's functions move rows home from the default partition, and delete what was published long ago.
    IF pg_catalog.pg_has_role(current_user, (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = TG_RELID), 'MEMBER') AND TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'rows of the outbox are only inserted while cdc_relay.install_order_check() is in force: % refused', TG_OP
        USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'retention is the relay''s: retention.keep';
END
$$;
REVOKE ALL ON FUNCTION cdc_relay.order_writer() FROM PUBLIC;

-- Run by the outbox's owner. It waits for the transactions that write just now and holds others up while the index is built.
CREATE OR REPLACE FUNCTION cdc_relay.install_order_check() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE INDEX IF NOT EXISTS {{(.Outbox.With "_order").Name}} ON {{.Outbox}} (hashtext(coalesce(partition_key, aggregate_id)));
    DROP TRIGGER IF EXISTS cdc_relay_order ON {{.Outbox}};
    CREATE TRIGGER cdc_relay_order BEFORE INSERT OR UPDATE OR DELETE ON {{.Outbox}} FOR EACH ROW EXECUTE FUNCTION cdc_relay.order_writer();
    ALTER TABLE {{.Outbox}} ENABLE ALWAYS TRIGGER cdc_relay_order; -- for writers in replica mode, too
END
$$;

CREATE OR REPLACE FUNCTION cdc_relay.remove_order_check() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DROP TRIGGER IF EXISTS cdc_relay_order ON {{.Outbox}};
    DROP INDEX IF EXISTS {{.Outbox.With "_order"}};
END
$$;
REVOKE ALL ON FUNCTION cdc_relay.install_order_check(), cdc_relay.remove_order_check() FROM PUBLIC;

-- One code for each event, joined by commas: 'clear', or why it is left to the relay:
--   outstanding  an earlier event of the key, or another one of the same transaction, may be on its way
--   busy         a transaction that may have written the key has not ended
--   gone         the event lies at or below the mark (the relay was faster), or no committed row of that id and key is there
--   many         more than 256 rows of the key are kept: not looked through
--   parked       the key has dead letters
--   paused       the relay is paused
--   messages     events without a table (008) are on, or were a moment ago: they leave no row that could be looked at
--   no_mark      no slot, one without a mark, or a mark that is not of this server
--   transaction  asked inside a transaction that has written, or not in READ COMMITTED
--   standby      asked of a standby
--   not_installed  cdc_relay.install_order_check() was not run, or its trigger is not enabled
CREATE OR REPLACE FUNCTION cdc_relay.order_clear_v1(p_events text[], p_keys text[]) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    n       integer := coalesce(array_length(p_events, 1), 0);
    every   text;
    codes   text[] := array_fill(''::text, ARRAY[n]);
    slot    integer;
    horizon xid8;
    r       record;
BEGIN
    -- Each statement below takes a snapshot of its own: the proof needs that.
    every := CASE
        WHEN pg_is_in_recovery() THEN 'standby'
        WHEN current_setting('transaction_isolation') <> 'read committed' OR pg_current_xact_id_if_assigned() IS NOT NULL THEN 'transaction'
        WHEN NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = {{literal .Outbox}}::regclass AND t.tgname = 'cdc_relay_order' AND t.tgenabled = 'A')
            THEN 'not_installed'
    END;
    IF every IS NOT NULL THEN
        RETURN array_to_string(array_fill(every, ARRAY[n]), ',');
    END IF;

    FOR i IN 1 .. n LOOP
        slot := hashtext(p_keys[i]) & 255;
        -- For a moment only: whoever had to be waited for holds it now, or has become visible.
        IF pg_try_advisory_lock(1667527781, slot) THEN
            PERFORM pg_advisory_unlock(1667527781, slot);
        ELSE
            codes[i] := 'busy';
        END IF;
    END LOOP;

    FOR r IN
        SELECT c.horizon_xid, c.paused,
               c.state = 'ready' AND c.system_id = (SELECT s.system_identifier::text FROM pg_control_system() s)
               AND EXISTS (SELECT FROM pg_replication_slots v WHERE v.slot_name = c.slot AND v.database = current_database()) AS good
          FROM cdc_relay.checkpoint c
    LOOP
        every := CASE WHEN NOT r.good THEN 'no_mark' WHEN r.paused THEN coalesce(every, 'paused') ELSE every END;
        horizon := CASE WHEN horizon IS NULL OR r.horizon_xid < horizon THEN r.horizon_xid ELSE horizon END;
    END LOOP;
    -- A transaction that began before until_xid may still commit such events; one below the horizon is acknowledged.
    IF EXISTS (SELECT FROM cdc_relay.message_span m WHERE m.until IS NULL OR m.until_xid > horizon) THEN
        every := coalesce(every, 'messages');
    END IF;
    IF horizon IS NULL OR every IS NOT NULL THEN
        RETURN array_to_string(array_fill(coalesce(every, 'no_mark'), ARRAY[n]), ',');
    END IF;

    FOR i IN 1 .. n LOOP
        CONTINUE WHEN codes[i] <> '';
        -- Any topic: only the relay knows the rule that names it.
        SELECT count(*) AS kept, count(*) FILTER (WHERE k.outstanding AND k.id = p_events[i]) AS ours,
               count(*) FILTER (WHERE k.outstanding AND k.id <> p_events[i]) AS others
          INTO r
          FROM (SELECT o.event_id::text AS id, age(o.xmin) <= age(horizon::xid) AS outstanding
                  FROM {{.Outbox}} o
                 WHERE hashtext(coalesce(o.partition_key, o.aggregate_id)) = hashtext(p_keys[i])
                   AND coalesce(o.partition_key, o.aggregate_id) = p_keys[i]
                 LIMIT 257) k;
        codes[i] := CASE
            WHEN r.kept > 256 THEN 'many'
            WHEN r.others > 0 THEN 'outstanding'
            WHEN r.ours = 0 THEN 'gone'
            WHEN EXISTS (SELECT FROM cdc_relay.parked_key p WHERE p.key = convert_to(p_keys[i], 'UTF8')) THEN 'parked'
            ELSE 'clear' END;
    END LOOP;
    RETURN array_to_string(codes, ',');
END
$$;
REVOKE ALL ON FUNCTION cdc_relay.order_clear_v1(text[], text[]) FROM PUBLIC;
