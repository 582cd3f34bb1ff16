-- Means of each hour. Where the community features are there, 0004 replaces this view by one that is kept up to date.

CREATE VIEW readings_hourly AS
SELECT series_id, date_bin('1 hour', event_time, '2000-01-01Z') AS hour,
       count(*) AS n, avg(value) AS mean, min(value) AS min, max(value) AS max
FROM readings
GROUP BY series_id, hour;
