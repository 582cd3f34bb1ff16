-- The features of the community licence: hours kept up to date, and days older than a month stored by column.
-- A day is compressed only after the 30 days in which a reading may still come late (gateway.event_age_s_max), since
-- rows that meet compressed days are slow to insert.

DROP VIEW readings_hourly;
CREATE MATERIALIZED VIEW readings_hourly
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT series_id, time_bucket('1 hour', event_time) AS hour,
       count(*) AS n, avg(value) AS mean, min(value) AS min, max(value) AS max
FROM readings
GROUP BY series_id, hour
WITH NO DATA;

SELECT add_continuous_aggregate_policy('readings_hourly',
    start_offset => INTERVAL '31 days', end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '10 minutes');

ALTER TABLE readings SET (
    timescaledb.enable_columnstore, timescaledb.segmentby = 'series_id', timescaledb.orderby = 'event_time');
CALL add_columnstore_policy('readings', after => INTERVAL '31 days');
ALTER TABLE indicators SET (
    timescaledb.enable_columnstore, timescaledb.segmentby = 'series_id, kind, window_s',
    timescaledb.orderby = 'window_start');
CALL add_columnstore_policy('indicators', after => INTERVAL '31 days');
