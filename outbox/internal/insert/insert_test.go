package insert

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// The texts that stand ready are those that would be made.
func TestDefaultTexts(t *testing.T) {
	t.Parallel()
	ready := Default()
	made, err := For(outbox.NewOptions())
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range []Way{Rows, Messages} {
		for _, many := range []bool{false, true} {
			for c := range Headers << 1 {
				if got, want := ready.Text(way, many, c), made.Text(way, many, c); got != want {
					t.Errorf("many %v, columns %b:\ngot  %s\nwant %s", many, c, got, want)
				}
			}
		}
	}
}
