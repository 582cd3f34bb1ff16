-- Hypertables with a chunk a day. The primary key is the only index: the default one on time would double the cost of an
-- insert and serves no query of ours.

SELECT create_hypertable(name, by_range(on_time, INTERVAL '1 day'), create_default_indexes => false)
FROM (VALUES
    ('readings'::regclass, 'event_time'::name),
    ('reading_flags', 'event_time'),
    ('vehicle_events', 'event_time'),
    ('indicators', 'window_start')
) AS wanted (name, on_time);

-- Called on every tier by the sink; TimescaleDB makes its chunks by itself.
CREATE FUNCTION ensure_days(name regclass, days date[]) RETURNS void LANGUAGE sql AS 'SELECT';

-- Drops whole days before `before` from one of the tables above and says how many went.
CREATE FUNCTION drop_days(name regclass, before timestamptz) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS 'SELECT count(*) FROM drop_chunks(name, older_than => before)';
REVOKE EXECUTE ON FUNCTION drop_days FROM PUBLIC;
