-- The id of the Kafka topic that `next_offset` belongs to: a topic that is deleted and made again counts from 0 again.
ALTER TABLE offsets ADD COLUMN topic_id uuid;
