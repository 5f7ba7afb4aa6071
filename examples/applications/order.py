import os

import psycopg
from psycopg.types.json import Jsonb

order = {"id": "o-1", "total": 12.3}

with psycopg.connect(os.environ["DATABASE_URL"]) as conn:  # commits at the end, rolls back on an exception
    conn.execute("INSERT INTO orders (id, total) VALUES (%(id)s, %(total)s)", order)
    (event_id,) = conn.execute(
        """
        SELECT cdc_relay.emit(
            aggregate_type => 'orders',  -- the topic
            aggregate_id   => %s,        -- the key
            event_type     => 'OrderPlaced',
            payload        => %s,
            headers        => %s)
        """,
        (order["id"], Jsonb(order), Jsonb({"tenant": "acme"})),
    ).fetchone()

print(event_id)
