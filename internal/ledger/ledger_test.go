package ledger_test

import (
	"github.com/cdc-relay/cdc-relay/internal/ledger"
	"github.com/cdc-relay/cdc-relay/internal/relay"
)

var _ relay.Ledger = (*ledger.Ledger)(nil)
