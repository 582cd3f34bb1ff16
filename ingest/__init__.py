"""the door: MQTT gateway, payload decoders, framing, hand-over to Kafka"""
