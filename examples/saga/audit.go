package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/examples/saga/services"
)

// verdict is what the databases say at the end.
type verdict struct {
	Started       int   `json:"started"`
	Completed     int   `json:"completed"`
	Compensated   int   `json:"compensated"`
	TimedOut      int   `json:"timed_out"` // of the compensated: a step had no answer in time
	Stuck         int   `json:"stuck"`     // neither completed nor compensated
	DoubleEffects int   `json:"double_effects"`
	LostEffects   int   `json:"lost_effects"` // a step of a completed saga, or the taking back of one, that is not there
	OutOfOrder    int   `json:"out_of_order"` // sagas whose compensation did not go backwards
	MoneyOff      int64 `json:"money_off"`    // what is too much or too little in the accounts, in cents
	StockOff      int64 `json:"stock_off"`
	Kills         int   `json:"kills"`
}

func (v verdict) ok() bool {
	return v.Started > 0 && v.Completed+v.Compensated == v.Started &&
		v.Stuck == 0 && v.DoubleEffects == 0 && v.LostEffects == 0 && v.OutOfOrder == 0 && v.MoneyOff == 0 && v.StockOff == 0
}

// books are the databases of order, payment and shipping.
type books []*pgxpool.Pool

// running returns how many sagas have not ended.
func (b books) running(ctx context.Context) (n int, err error) {
	err = b[0].QueryRow(ctx, `SELECT count(*) FROM orders WHERE state IN ('running', 'compensating')`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count sagas under way: %w", err)
	}
	return n, nil
}

// effect is something that was done for an order: charge, refund, reserve, release, dispatch, recall.
type effect struct{ order, kind string }

// audit compares the three databases.
func (b books) audit(ctx context.Context) (v verdict, err error) {
	effects := map[effect]int{}
	for _, q := range []struct {
		db  *pgxpool.Pool
		sql string
	}{
		{b[1], `SELECT order_id, kind, count(*) FROM entry GROUP BY 1, 2`},
		{b[2], `SELECT order_id, kind, count(*) FROM movement GROUP BY 1, 2`},
	} {
		var e effect
		var n int
		err := each(ctx, q.db, q.sql, []any{&e.order, &e.kind, &n}, func() { effects[e] = n })
		if err != nil {
			return v, err
		}
	}
	var id, state string
	var amount, sold, pieces int64
	var history []string
	err = each(ctx, b[0], `SELECT id, state, amount, (SELECT coalesce(array_agg(event ORDER BY seq), '{}') FROM history WHERE order_id = id) FROM orders`,
		[]any{&id, &state, &amount, &history}, func() {
			v.Started++
			switch state {
			case "completed":
				v.Completed++
				pieces, sold = pieces+1, sold+amount
			case "compensated":
				v.Compensated++
				if strings.Contains(strings.Join(history, " "), "timeout") {
					v.TimedOut++
				}
			default:
				v.Stuck++
				return
			}
			for do, undo := range map[string]string{"reserve": "release", "charge": "refund", "dispatch": "recall"} {
				done, undone := effects[effect{id, do}], effects[effect{id, undo}]
				delete(effects, effect{id, do})
				delete(effects, effect{id, undo})
				v.DoubleEffects += max(0, done-1) + max(0, undone-1)
				if state == "completed" && (done == 0 || undone > 0) || state == "compensated" && (done > 0) != (undone > 0) {
					v.LostEffects++
				}
			}
			if !backwards(history) {
				v.OutOfOrder++
			}
		})
	if err != nil {
		return v, err
	}
	if v.Stuck == 0 {
		v.DoubleEffects += len(effects) // for orders that nobody placed
	}
	var shop, money, stock, reserved, sent int64
	if err := b[1].QueryRow(ctx, `SELECT sum(balance), sum(balance) FILTER (WHERE name = $1) FROM account`, services.Shop).Scan(&money, &shop); err != nil {
		return v, fmt.Errorf("count the money: %w", err)
	}
	if err := b[2].QueryRow(ctx, `SELECT sum(free + reserved + sent), sum(reserved), sum(sent) FROM stock`).Scan(&stock, &reserved, &sent); err != nil {
		return v, fmt.Errorf("count the stock: %w", err)
	}
	v.MoneyOff = off(money, services.Customers*services.Balance)
	v.StockOff = off(stock, services.Items*services.Stock)
	if v.Stuck == 0 {
		v.MoneyOff += off(shop, sold)
		v.StockOff += off(sent, pieces) + reserved
	}
	return v, nil
}

func off(got, want int64) int64 { return max(got-want, want-got) }

// backwards says whether steps were done in the order of the plan, and taken back in the reverse of it, each once.
func backwards(history []string) bool {
	plan := services.Plan()
	at, last := 0, len(plan)
	for _, event := range history {
		step, what, _ := strings.Cut(event, ".")
		switch what {
		case "done":
			if at == len(plan) || step != plan[at] {
				return false
			}
			at++
		case "undone":
			i := slices.Index(plan, step)
			first := last == len(plan) && (i == at || i == at-1) // the one whose answer did not come, or the last that was done
			if i < 0 || !first && i != last-1 {
				return false
			}
			last = i
		}
	}
	return last == len(plan) || last == 0
}

// each calls f for each row.
func each(ctx context.Context, db *pgxpool.Pool, sql string, into []any, f func()) error {
	rows, err := db.Query(ctx, sql)
	if err == nil {
		_, err = pgx.ForEachRow(rows, into, func() error { f(); return nil })
	}
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}
