package member_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/coordd/member"
)

func config() member.Config {
	return member.Config{
		Name:                     "b",
		InitialAdvertisePeerURLs: []string{"http://10.0.0.2:2380"},
		InitialCluster:           "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380,c=http://c.example:2380",
		Token:                    "etcd-cluster",
	}
}

func TestBootstrap(t *testing.T) {
	c, err := member.Bootstrap(config())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Members) != 3 {
		t.Fatalf("%d members, want 3", len(c.Members))
	}
	voters := c.ConfState().Voters
	if !slices.IsSorted(voters) || len(voters) != 3 || !slices.Contains(voters, c.Self) {
		t.Errorf("voters %x, self %x", voters, c.Self)
	}
	for _, m := range c.Members {
		if m.Name == "b" && m.Id != c.Self {
			t.Errorf("self is %x, but b has the id %x", c.Self, m.Id)
		}
		if m.Name == "c" && !slices.Equal(m.PeerUrls, []string{"http://10.0.0.3:2380", "http://c.example:2380"}) {
			t.Errorf("c has the URLs %q", m.PeerUrls)
		}
	}
}

// Operators know these ids: etcd shows them for a member started without flags.
func TestIDsAreThoseOfEtcd(t *testing.T) {
	id := member.ID([]string{"http://localhost:2380"}, "etcd-cluster")
	if id != 0x8e9e05c52164694d {
		t.Errorf("member id %x, want 8e9e05c52164694d", id)
	}
	if cluster := member.ClusterID([]uint64{id}); cluster != 0xcdf818194e3a8c32 {
		t.Errorf("cluster id %x, want cdf818194e3a8c32", cluster)
	}
}

func TestEveryMemberDerivesTheSameCluster(t *testing.T) {
	first, err := member.Bootstrap(config())
	if err != nil {
		t.Fatal(err)
	}
	other := member.Config{
		Name:                     "c",
		InitialAdvertisePeerURLs: []string{"http://C.example:2380", "http://10.0.0.3:2380"},
		InitialCluster:           "c=http://C.Example:2380, b=http://10.0.0.2:2380 ,c=http://10.0.0.3:2380,a=http://10.0.0.1:2380",
		Token:                    "etcd-cluster",
	}
	second, err := member.Bootstrap(other)
	if err != nil {
		t.Fatal(err)
	}
	if first.ID != second.ID || !slices.Equal(first.ConfState().Voters, second.ConfState().Voters) {
		t.Errorf("cluster %x with %x, and %x with %x", first.ID, first.ConfState().Voters, second.ID, second.ConfState().Voters)
	}
	if first.Self == second.Self {
		t.Error("two members with one id")
	}
	other.Token = "another"
	third, err := member.Bootstrap(other)
	if err != nil {
		t.Fatal(err)
	}
	if third.ID == second.ID || third.Self == second.Self {
		t.Error("another token must give other ids")
	}
}

// Each refusal names what is wrong and what to do next.
func TestBootstrapRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*member.Config)
		is     error
		says   string
	}{
		{"empty", func(c *member.Config) { c.InitialCluster = " " }, member.ErrInitialCluster, "list every member"},
		{"no equals sign", func(c *member.Config) { c.InitialCluster = "a" }, member.ErrInitialCluster, "name=http://host:port"},
		{"no name", func(c *member.Config) { c.InitialCluster = "=http://a:1" }, member.ErrInitialCluster, "name=http://host:port"},
		{"trailing comma", func(c *member.Config) { c.InitialCluster += "," }, member.ErrInitialCluster, "name=http://host:port"},
		{"no port", func(c *member.Config) { c.InitialCluster = "b=http://10.0.0.2" }, member.ErrURL, "host:port"},
		{"port out of range", func(c *member.Config) { c.InitialCluster = "b=http://10.0.0.2:70000" }, member.ErrURL, "65535"},
		{"port 0", func(c *member.Config) { c.InitialCluster = "b=http://10.0.0.2:0" }, member.ErrURL, "port 0"},
		{"no host", func(c *member.Config) { c.InitialCluster = "b=http://:2380" }, member.ErrURL, "no host"},
		{"path", func(c *member.Config) { c.InitialCluster = "b=http://10.0.0.2:2380/raft" }, member.ErrURL, "path"},
		{"scheme", func(c *member.Config) { c.InitialCluster = "b=tcp://10.0.0.2:2380" }, member.ErrURL, "http, https, unix or unixs"},
		{"user", func(c *member.Config) { c.InitialCluster = "b=http://me@10.0.0.2:2380" }, member.ErrURL, "user"},
		{"two members, one URL", func(c *member.Config) { c.InitialCluster += ",a=http://10.0.0.2:2380" }, member.ErrInitialCluster, "members a and b both have"},
		{"name not listed", func(c *member.Config) { c.Name = "z" }, member.ErrMismatch, `no member "z" among a, b, c`},
		{"advertises another URL", func(c *member.Config) { c.InitialAdvertisePeerURLs = []string{"http://10.0.0.9:2380"} }, member.ErrMismatch, "write the same URLs in both"},
		{"advertises garbage", func(c *member.Config) { c.InitialAdvertisePeerURLs = []string{"\x00"} }, member.ErrURL, "--initial-advertise-peer-urls"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := config()
			tc.change(&c)
			_, err := member.Bootstrap(c)
			if !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v; want one that is %q and says %q", err, tc.is, tc.says)
			}
		})
	}
}

func TestParseURLs(t *testing.T) {
	urls, err := member.ParseURLs("http://127.0.0.1:0,https://[::1]:2379, http://:2380,unix:///run/coordd.sock,unixs:///run/tls.sock")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"http://127.0.0.1:0", "https://[::1]:2379", "http://:2380", "unix:///run/coordd.sock", "unixs:///run/tls.sock"}
	if !slices.Equal(urls, want) {
		t.Errorf("got %q, want %q", urls, want)
	}
	if _, err := member.ParseURLs("http://a:1,"); !errors.Is(err, member.ErrURL) {
		t.Errorf("a trailing comma gives %v", err)
	}
}

func FuzzParseInitialCluster(f *testing.F) {
	f.Add("a=http://a:1,b=unix://x", "t")
	f.Fuzz(func(t *testing.T, list, token string) {
		members, err := member.ParseInitialCluster(list, token)
		if err == nil && len(members) == 0 {
			t.Error("no error and no member")
		}
	})
}
