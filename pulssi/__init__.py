"""The kernel of Pulssi: records, ids, units, topics, time, places, errors, settings, metrics and logging."""

__version__ = "0.1.0"
