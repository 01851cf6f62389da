package coordd

import (
	"strings"
	"testing"

	"github.com/coordd/coordd/proto/coordpb"
)

func TestCheckJoin(t *testing.T) {
	a := &coordpb.Member{Name: "a", PeerUrls: []string{"http://a:1"}}
	b := &coordpb.Member{Name: "b", PeerUrls: []string{"http://b:1", "http://b:2"}}
	self := &coordpb.Member{Name: "self", PeerUrls: []string{"http://self:1"}}
	record := func(m *coordpb.Member, clientURLs ...string) *coordpb.Member {
		return &coordpb.Member{Id: uint64(m.Name[0]), PeerUrls: m.PeerUrls, ClientUrls: clientURLs}
	}
	backwards := &coordpb.Member{Id: 'b', PeerUrls: []string{"http://b:2", "http://b:1"}}
	for name, c := range map[string]struct {
		named, existing []*coordpb.Member
		want            string // "" for no error
	}{
		"as it should be":        {[]*coordpb.Member{self, a}, []*coordpb.Member{record(a, "http://a:2"), record(self)}, ""},
		"URLs in another order":  {[]*coordpb.Member{self, b}, []*coordpb.Member{backwards, record(self)}, ""},
		"never added":            {[]*coordpb.Member{self, a}, []*coordpb.Member{record(a)}, "member add self --peer-urls=http://self:1"},
		"ran before":             {[]*coordpb.Member{self, a}, []*coordpb.Member{record(a), record(self, "http://self:2")}, "has run in this cluster before"},
		"one too few":            {[]*coordpb.Member{self, a}, []*coordpb.Member{record(a), record(b), record(self)}, "member count is unequal"},
		"one too many":           {[]*coordpb.Member{self, a, b}, []*coordpb.Member{record(a), record(self)}, "member count is unequal"},
		"another at other URLs":  {[]*coordpb.Member{self, a}, []*coordpb.Member{record(b), record(self)}, "unmatched member 62"},
		"another with URLs less": {[]*coordpb.Member{self, {Name: "b", PeerUrls: b.PeerUrls[:1]}}, []*coordpb.Member{record(b), record(self)}, "unmatched member 62"},
	} {
		err := checkJoin(self, c.named, c.existing)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestMembershipSettingsAreValidated(t *testing.T) {
	for flag, change := range map[string]func(*Config){
		"--initial-cluster-state": func(c *Config) { c.InitialClusterState = "old" },
		"--max-learners":          func(c *Config) { c.MaxLearners = 0 },
	} {
		cfg := Defaults()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%v, want an error that names %s", err, flag)
		}
	}
}
