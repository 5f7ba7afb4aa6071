import java.math.BigDecimal;
import java.sql.DriverManager;
import java.util.UUID;

class Order {
    public static void main(String[] args) throws Exception {
        String id = "o-1";
        String payload = "{\"id\": \"o-1\", \"total\": 12.3}"; // of the JSON library that you use
        try (var db = DriverManager.getConnection(System.getenv("JDBC_URL"))) {
            db.setAutoCommit(false); // what is not committed when the connection closes is rolled back
            try (var insert = db.prepareStatement("INSERT INTO orders (id, total) VALUES (?, ?)")) {
                insert.setString(1, id);
                insert.setBigDecimal(2, new BigDecimal("12.3"));
                insert.executeUpdate();
            }
            try (var emit = db.prepareStatement("""
                    SELECT cdc_relay.emit(
                        aggregate_type => 'orders', -- the topic
                        aggregate_id   => ?,        -- the key
                        event_type     => 'OrderPlaced',
                        payload        => ?::jsonb,
                        headers        => ?::jsonb)
                    """)) {
                emit.setString(1, id);
                emit.setString(2, payload);
                emit.setString(3, "{\"tenant\": \"acme\"}");
                try (var row = emit.executeQuery()) {
                    row.next();
                    System.out.println(row.getObject(1, UUID.class));
                }
            }
            db.commit();
        }
    }
}
