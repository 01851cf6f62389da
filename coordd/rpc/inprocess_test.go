package rpc

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestInProcess(t *testing.T) {
	r := newRig(t, nil)
	c := r.server.InProcess("")
	if _, err := c.Put(t.Context(), "a", "1"); err != nil {
		t.Fatal(err)
	}
	txn, err := c.Txn(t.Context()).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).Then(clientv3.OpPut("a", "2"), clientv3.OpDelete("b")).Commit()
	if err != nil || !txn.Succeeded {
		t.Fatalf("%+v, %v", txn, err)
	}
	if got, err := c.Get(t.Context(), "a"); err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "2" || got.Header.GetMemberId() != testMember {
		t.Errorf("%+v, %v", got, err)
	}
	if gone, err := c.Delete(t.Context(), "a"); err != nil || gone.Deleted != 1 {
		t.Errorf("%+v, %v", gone, err)
	}
	if _, err := c.Put(t.Context(), "", ""); !errors.Is(err, rpctypes.ErrEmptyKey) {
		t.Errorf("an empty key: %v", err)
	}
}

// A caller in this process has the rights of the user it acts for, or else of a certificate, and no others.
func TestInProcessAsksForPermission(t *testing.T) {
	r := newAuthRig(t, func(c *Config) { c.ClientCertAuth = true })
	r.withAlice(t)
	for name, c := range map[string]struct {
		ctx       context.Context
		user, key string
		want      error
	}{
		"nobody":                    {t.Context(), "", "mine/k", rpctypes.ErrUserEmpty},
		"alice":                     {t.Context(), "alice", "mine/k", nil},
		"alice elsewhere":           {t.Context(), "alice", "other", rpctypes.ErrPermissionDenied},
		"nobody's name":             {t.Context(), "bob", "mine/k", rpctypes.ErrPermissionDenied},
		"a certificate":             {incoming("alice"), "", "mine/k", nil},
		"a certificate elsewhere":   {incoming("alice"), "", "other", rpctypes.ErrPermissionDenied},
		"alice for one of more":     {incoming("root"), "alice", "other", rpctypes.ErrPermissionDenied},
		"alice with a wrong token":  {incoming("", rpctypes.TokenFieldNameGRPC, "wrong"), "alice", "mine/k", nil},
		"nobody with a wrong token": {incoming("", rpctypes.TokenFieldNameGRPC, "wrong"), "", "mine/k", rpctypes.ErrInvalidAuthToken},
	} {
		client := r.server.InProcess(c.user)
		if _, err := client.Put(c.ctx, c.key, ""); !errors.Is(err, c.want) {
			t.Errorf("%s: put: %v, want %v", name, err, c.want)
		}
		if _, err := client.Get(c.ctx, c.key); !errors.Is(err, c.want) {
			t.Errorf("%s: get: %v, want %v", name, err, c.want)
		}
		_, err := client.Txn(c.ctx).Then(clientv3.OpPut(c.key, "")).Commit()
		if !errors.Is(err, c.want) {
			t.Errorf("%s: txn: %v, want %v", name, err, c.want)
		}
	}
}

// Without a quorum a caller waits no longer than it wants to, writing or reading.
func TestInProcessWaitsNoLongerThanItsCaller(t *testing.T) {
	r := newRig(t, func(c *Config) { c.RequestTimeout = time.Hour }, 1, 2)
	c := r.server.InProcess("")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Put(ctx, "a", ""); err == nil {
		t.Error("a put has succeeded")
	}
	if _, err := c.Get(ctx, "a"); err == nil {
		t.Error("a get has succeeded")
	}
}
