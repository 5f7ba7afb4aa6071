package inboxkafka

import (
	"context"
	"errors"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// player carries verdicts on dead letters out, for the partitions that this member owns: only it has the handler.
type player struct {
	*settings

	partitions []*partition
	watch      watchdog
}

// lettersAtOnce is how many letters are looked up at once.
const lettersAtOnce = 100

// run plays until soft ends; hard gives up what is under way.
func (p *player) run(soft, hard context.Context) {
	for soft.Err() == nil {
		for p.round(soft, hard) { // a letter that was played makes the next one of its key ready
		}
		if dead, waiting, err := p.CountLetters(hard, p.consumer); err == nil {
			p.metrics.DeadLetters(p.consumer, dead+waiting)
		}
		if err := p.Wait(soft, p.consumer, p.retries); err != nil && !pause(soft, p.retries) {
			return
		}
	}
}

// round plays what is ready, and tells whether to look again at once.
func (p *player) round(soft, hard context.Context) (again bool) {
	owned := make(map[string][]int32)
	for _, part := range p.partitions {
		if part.opened.Load() != nil && !part.fenced.Load() {
			owned[part.place.Topic] = append(owned[part.place.Topic], part.place.Partition)
		}
	}
	for topic, partitions := range owned {
		letters, err := p.Playable(hard, p.consumer, topic, partitions, lettersAtOnce)
		if err != nil {
			if soft.Err() == nil {
				p.log.Warn("look for dead letters to play", "topic", topic, "err", err)
			}
			return false
		}
		for _, l := range letters {
			if soft.Err() != nil {
				return false
			}
			again = p.play(hard, l) || again
		}
	}
	return again
}

// play plays one letter, and tells whether that may have made another one ready.
func (p *player) play(hard context.Context, l inbox.Playable) bool {
	var outcome inbox.Outcome
	start := time.Now()
	err := p.watch.call(hard, p.handlerTimeout, func(ctx context.Context) error {
		o, err := p.Play(ctx, l)
		if ctx.Err() == nil {
			outcome = o
		}
		return err
	})
	log := p.log.With("letter", l.ID, "topic", l.Topic, "partition", l.Partition)
	switch {
	case errors.Is(err, inbox.ErrGone):
		return false
	case err != nil:
		log.Warn("a dead letter was played, and stays", "err", err)
		return false
	}
	log.Info("a dead letter was played", "outcome", outcome.String(), "took", time.Since(start))
	return true
}
