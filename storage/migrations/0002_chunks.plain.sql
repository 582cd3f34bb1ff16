-- Declarative partitions, one a day, made by the sink before it writes the first row of a day. There is no DEFAULT
-- partition: rows in it would keep the partition of their day from being made, and retention could not drop it whole.

DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('readings', 'event_time'),
            ('reading_flags', 'event_time'),
            ('vehicle_events', 'event_time'),
            ('indicators', 'window_start')
        ) AS tables (name, on_time)
    LOOP
        EXECUTE format('ALTER TABLE %I RENAME TO unpartitioned', wanted.name);
        EXECUTE format('CREATE TABLE %I (LIKE unpartitioned INCLUDING ALL) PARTITION BY RANGE (%I)',
                       wanted.name, wanted.on_time);
        DROP TABLE unpartitioned;
    END LOOP;
END $$;

-- Makes the partitions that are missing. The lock lets two sinks meet the same new day; it is not held for long, since
-- the caller has no other work in this transaction.
CREATE FUNCTION ensure_days(name regclass, days date[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    day date;
    wanted text;
BEGIN
    IF name NOT IN ('readings'::regclass, 'reading_flags', 'vehicle_events', 'indicators') THEN
        RAISE EXCEPTION '% has no days', name;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('pulssi.ensure_days'));
    FOREACH day IN ARRAY days LOOP
        wanted := format('%s_%s', name, to_char(day, 'YYYYMMDD'));
        IF to_regclass(wanted) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF %s FOR VALUES FROM (%L) TO (%L)',
                           wanted, name, day::timestamptz, (day + 1)::timestamptz);
        END IF;
    END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION ensure_days FROM PUBLIC;

-- Drops whole days before `before` from one of the tables above and says how many went.
CREATE FUNCTION drop_days(name regclass, before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    old regclass;
    dropped bigint := 0;
BEGIN
    IF name NOT IN ('readings'::regclass, 'reading_flags', 'vehicle_events', 'indicators') THEN
        RAISE EXCEPTION '% has no days', name;
    END IF;
    FOR old IN
        SELECT inhrelid FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = name AND to_date(right(relname, 8), 'YYYYMMDD') + 1 <= before
    LOOP
        EXECUTE format('DROP TABLE %s', old);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
REVOKE EXECUTE ON FUNCTION drop_days FROM PUBLIC;
