-- Every table, the same on every tier. Times are timestamptz in UTC; columns are named as in pulssi.frames.

CREATE TABLE series (
    series_id bigint PRIMARY KEY,
    device_id text NOT NULL,
    quantity text NOT NULL,
    channel text,
    unit text NOT NULL,
    kind text NOT NULL,
    name text,
    lat double precision,
    lon double precision,
    district text,
    first_seen timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX series_device ON series (device_id);

CREATE TABLE readings (
    series_id bigint NOT NULL,
    event_time timestamptz NOT NULL CHECK (event_time >= '2000-01-01Z' AND event_time < '2100-01-01Z'),
    receive_time timestamptz NOT NULL,
    value double precision NOT NULL CHECK (value > '-Infinity' AND value < 'Infinity'),
    quality integer NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (series_id, event_time)
);

-- What the streams noticed about a reading later on; only readings with a flag have a row.
CREATE TABLE reading_flags (
    series_id bigint NOT NULL,
    event_time timestamptz NOT NULL CHECK (event_time >= '2000-01-01Z' AND event_time < '2100-01-01Z'),
    flags integer NOT NULL,
    PRIMARY KEY (series_id, event_time)
);

-- Rows that are written over again and again: half of each page stays free, so that the new version fits beside the old.
CREATE TABLE latest (
    series_id bigint PRIMARY KEY,
    event_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL,
    value double precision NOT NULL,
    quality integer NOT NULL
) WITH (fillfactor = 45);

CREATE TABLE vehicle_events (
    event_id bigint NOT NULL,
    vehicle text NOT NULL,
    mode text,
    journey_type text,
    event text NOT NULL,
    route text,
    direction smallint,
    line text,
    headsign text,
    trip text,
    stop integer,
    next_stop text,
    lat double precision,
    lon double precision,
    speed double precision,
    heading double precision,
    door smallint,
    occupancy smallint,
    odometer double precision,
    delay_s integer,
    scheduled_time timestamptz,
    event_time timestamptz NOT NULL CHECK (event_time >= '2000-01-01Z' AND event_time < '2100-01-01Z'),
    receive_time timestamptz NOT NULL,
    PRIMARY KEY (event_id, event_time)
);
CREATE INDEX vehicle_events_vehicle ON vehicle_events (vehicle, event_time);

CREATE TABLE vehicles_latest (
    vehicle text PRIMARY KEY,
    mode text,
    route text,
    direction smallint,
    line text,
    headsign text,
    next_stop text,
    lat double precision NOT NULL,
    lon double precision NOT NULL,
    speed double precision,
    heading double precision,
    occupancy smallint,
    delay_s integer,
    event_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL
) WITH (fillfactor = 45);

-- NULL where a statistic is not defined (one reading has no spread): a NaN would ruin every average over it.
CREATE TABLE indicators (
    series_id bigint NOT NULL,
    kind smallint NOT NULL,
    window_start timestamptz NOT NULL CHECK (window_start >= '2000-01-01Z' AND window_start < '2100-01-01Z'),
    window_s integer NOT NULL,
    n integer NOT NULL,
    n_excluded integer NOT NULL,
    completeness double precision,
    mean double precision,
    min double precision,
    max double precision,
    std double precision,
    last double precision,
    p50 double precision,
    p95 double precision,
    p99 double precision,
    value double precision,
    class_ smallint NOT NULL,
    revision integer NOT NULL,
    flags integer NOT NULL,
    receive_time timestamptz NOT NULL,
    position bigint NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (series_id, kind, window_s, window_start)
);

CREATE TABLE indicators_latest (
    LIKE indicators INCLUDING DEFAULTS,
    PRIMARY KEY (series_id, kind, window_s)
) WITH (fillfactor = 45);

CREATE TABLE alert_transitions (
    alert_id text NOT NULL,
    sequence integer NOT NULL,
    state text NOT NULL,
    rule text NOT NULL,
    rule_version text NOT NULL,
    condition text NOT NULL,
    severity text NOT NULL,
    series_id bigint NOT NULL,
    device_id text NOT NULL,
    quantity text NOT NULL,
    kind text NOT NULL,
    onset_time timestamptz NOT NULL,
    event_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL,
    decided_time timestamptz NOT NULL,
    value double precision,
    threshold double precision,
    unit text NOT NULL,
    name text,
    lat double precision,
    lon double precision,
    district text,
    evidence jsonb NOT NULL,
    texts jsonb NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (alert_id, sequence)
);

-- The newest transition of each alert, and when it first fired and was last resolved.
CREATE TABLE alerts (
    LIKE alert_transitions INCLUDING DEFAULTS,
    fired_time timestamptz,
    resolved_time timestamptz,
    PRIMARY KEY (alert_id)
) WITH (fillfactor = 70);
CREATE INDEX alerts_decided ON alerts (decided_time);
CREATE INDEX alerts_open ON alerts (decided_time) WHERE state <> 'resolved';

-- What was refused, by whom and why. `dead_letter_id` is the place of the refused record in Kafka, or that of its letter
-- when it never was in Kafka, so that the same refusal twice is one row.
CREATE TABLE dead_letters (
    dead_letter_id text PRIMARY KEY,
    reason text NOT NULL,
    detail text NOT NULL,
    device text,
    source text NOT NULL CHECK (source IN ('mqtt', 'kafka')),
    mqtt_topic text,
    topic text,
    partition integer,
    "offset" bigint,
    time timestamptz NOT NULL,
    payload bytea NOT NULL,
    corrected bytea,
    corrected_time timestamptz,
    redriven_time timestamptz
);
CREATE INDEX dead_letters_time ON dead_letters (time);

-- How far each consumer came: the truth, which moves only together with the rows. Who takes a partition over raises
-- `owner`, and the one before can no longer write. `records` and `rows` count what was taken in; `log_end` is the end of
-- the partition as last seen, `newest_receive_time` that of the newest row.
CREATE TABLE offsets (
    consumer text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    owner bigint NOT NULL,
    records bigint NOT NULL DEFAULT 0,
    rows bigint NOT NULL DEFAULT 0,
    log_end bigint,
    newest_receive_time timestamptz,
    updated_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, topic, partition)
) WITH (fillfactor = 45);

-- Latency from receive time to committed, counted in buckets of 5 % (storage.latency).
CREATE TABLE latency_counts (
    what text NOT NULL,
    minute timestamptz NOT NULL,
    bucket smallint NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (what, minute, bucket)
);

CREATE TABLE subscriptions (
    subscription_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_time timestamptz NOT NULL DEFAULT now(),
    active boolean NOT NULL DEFAULT true,
    districts text[],
    quantities text[],
    kinds text[],
    devices text[],
    severity_min smallint NOT NULL DEFAULT 0 CHECK (severity_min BETWEEN 0 AND 2),
    language text NOT NULL DEFAULT 'fi' CHECK (language IN ('fi', 'sv', 'en')),
    channel text NOT NULL DEFAULT 'webhook' CHECK (channel IN ('webhook')),
    target text NOT NULL,
    secret text NOT NULL
);

CREATE TABLE outbox (
    notification_id text PRIMARY KEY,
    subscription_id uuid NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
    alert_id text NOT NULL,
    sequence integer NOT NULL,
    created_time timestamptz NOT NULL DEFAULT now(),
    due_time timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    last_error text
) WITH (fillfactor = 70);
CREATE INDEX outbox_due ON outbox (due_time) WHERE state = 'pending';
CREATE INDEX outbox_subscription ON outbox (subscription_id, alert_id);

CREATE TABLE deliveries (
    notification_id text NOT NULL REFERENCES outbox ON DELETE CASCADE,
    attempt integer NOT NULL,
    time timestamptz NOT NULL DEFAULT now(),
    status integer,
    error text,
    duration_ms integer NOT NULL,
    PRIMARY KEY (notification_id, attempt)
);
