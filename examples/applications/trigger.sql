CREATE FUNCTION order_placed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cdc_relay.emit(
        aggregate_type => 'orders', -- the topic
        aggregate_id   => NEW.id,   -- the key
        event_type     => 'OrderPlaced',
        payload        => to_jsonb(NEW),
        headers        => '{"tenant": "acme"}');
    RETURN NULL;
END
$$;

CREATE TRIGGER order_placed AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION order_placed();
