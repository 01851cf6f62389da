package recipes_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/e2e/cluster"
	"github.com/coordd/coordd/recipes"
)

const etcd = "../e2e/peers/bin/etcd"

var onEtcd = flag.Bool("on-etcd", false, "run all tests on the etcd of e2e/peers, those too that run on coordd alone otherwise")

// TestMain stands outside of package recipes because coordd itself is made with it.
func TestMain(m *testing.M) {
	flag.Parse()
	recipes.AddStore("coordd", runCoordd)
	if _, err := os.Stat(etcd); err == nil {
		recipes.AddStore("etcd", runEtcd)
	}
	if *onEtcd {
		recipes.AddStore("coordd", runEtcd)
	}
	code := m.Run()
	recipes.StopStores()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runCoordd() (endpoint string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "recipes-test-")
	if err != nil {
		return "", nil, err
	}
	s, err := coorddtest.Run(dir, io.Discard)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s.ClientURLs()[0], func() {
		s.Stop()
		os.RemoveAll(dir)
	}, nil
}

func runEtcd() (endpoint string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "recipes-test-")
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Spec{Program: etcd, Size: 1, Dir: dir})
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return c.Members[0].ClientURL, func() {
		c.Kill()
		os.RemoveAll(dir)
	}, nil
}
