"""the database: migrations, exactly-once sink, queries"""
