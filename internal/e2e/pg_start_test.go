package e2e_test

import "testing"

func TestPlain(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start()
	s.insert(0, 100, 3)
	s.holds(100)
	p.drain()
	s.compare(s.lines(""), 0)
}
