import pg from "pg";

const order = { id: "o-1", total: 12.3 };

const db = new pg.Client({ connectionString: process.env.DATABASE_URL });
await db.connect();
try {
  await db.query("BEGIN");
  await db.query("INSERT INTO orders (id, total) VALUES ($1, $2)", [order.id, order.total]);
  const { rows } = await db.query(
    `SELECT cdc_relay.emit(
       aggregate_type => 'orders', -- the topic
       aggregate_id   => $1,       -- the key
       event_type     => 'OrderPlaced',
       payload        => $2,
       headers        => $3) AS event_id`,
    [order.id, order, { tenant: "acme" }],
  );
  await db.query("COMMIT");
  console.log(rows[0].event_id);
} finally {
  await db.end(); // what is not committed is rolled back
}
