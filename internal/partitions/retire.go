package partitions

import (
	"context"
)

// retire brings each day that is old enough as near to its end as it goes today; see partition_retire_v1 for the steps and
// why they prove that nothing unpublished is dropped (I10).
func (m *maintenance) retire(ctx context.Context) error {
	if m.o.Keep == 0 {
		return nil
	}
	limit := m.o.Now.Add(-m.o.Keep)
	for _, p := range m.list {
		if p.Default || p.To.IsZero() || p.To.After(limit) {
			continue
		}
		state := "found"
		// 'found' has to be committed before the next step can see that everybody else has gone on.
		for range 2 {
			if state != "found" {
				break
			}
			var why *string
			held, err := m.step(ctx, m.o.HoldTimeout, "SELECT state, why FROM cdc_relay.partition_retire_v1($1, $2, $3, $4, $5, $6)",
				[]any{m.o.Slot, m.pid(), m.o.Table, p.oid, m.o.Keep, m.o.Now}, []any{&state, &why})
			if err != nil {
				return wrap("retire "+p.Name, m.o.Table, err)
			}
			switch {
			case held != "":
				m.report.wait(p.Name, held)
				state = "waiting"
			case state == "dropped":
				m.report.Dropped = append(m.report.Dropped, p.Name)
			case state == "waiting":
				m.report.wait(p.Name, deref(why))
			}
		}
	}
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
