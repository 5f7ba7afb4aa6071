package e2e_test

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// The right to write to a topic is taken away while events flow: nothing is parked, other topics go on, readiness shows the
// cure, and all is delivered once the right is back.
func TestRightsTakenAwayWhileRunning(t *testing.T) {
	t.Parallel()
	k := testenv.StartKafka(t, 1, "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"allow.everyone.if.no.acl.found=true", "super.users=User:nobody")
	s := onKafka(setup(t), k)
	guarded, open := k.Topic(t, 2), k.Topic(t, 2)
	got := s.watch(guarded, open)
	admin := k.Admin(t)
	p := s.start()
	s.into(guarded, 0, 20, 4)
	got.holds(20)

	deny := kadm.NewACLs().Topics(guarded).Deny("User:ANONYMOUS").DenyHosts("*").Operations(kadm.OpWrite).ResourcePatternType(kadm.ACLPatternLiteral)
	if _, err := admin.CreateACLs(context.Background(), deny); err != nil {
		t.Fatal(err)
	}
	// Reading stays allowed: an ACL on a topic ends "everyone", so say it.
	allow := kadm.NewACLs().Topics(guarded).Allow("User:ANONYMOUS").AllowHosts("*").Operations(kadm.OpRead, kadm.OpDescribe, kadm.OpDelete).ResourcePatternType(kadm.ACLPatternLiteral)
	if _, err := admin.CreateACLs(context.Background(), allow); err != nil {
		t.Fatal(err)
	}
	s.into(guarded, 20, 20, 4)
	s.into(open, 0, 20, 4)
	p.says("topic_authorization_failed", guarded, "kafka-acls.sh")
	p.readies(503, "sink", "topic_authorization_failed")
	got.holds(40)
	s.hasNothingParked()

	filter := kadm.NewACLs().Topics(guarded).Deny("User:ANONYMOUS").DenyHosts("*").Allow().AllowHosts().Operations(kadm.OpWrite).ResourcePatternType(kadm.ACLPatternLiteral)
	if _, err := admin.DeleteACLs(context.Background(), filter); err != nil {
		t.Fatal(err)
	}
	give := kadm.NewACLs().Topics(guarded).Allow("User:ANONYMOUS").AllowHosts("*").Operations(kadm.OpWrite).ResourcePatternType(kadm.ACLPatternLiteral)
	if _, err := admin.CreateACLs(context.Background(), give); err != nil {
		t.Fatal(err)
	}
	got.holds(60)
	p.readies(200)
	p.drain()
	s.hasNothingParked()
	s.compare(got.end(guarded, open), 0)
}
