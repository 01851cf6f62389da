package rpc

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestWireErrors(t *testing.T) {
	for _, c := range []struct{ err, want error }{
		{kvcore.ErrCompacted, rpctypes.ErrGRPCCompacted},
		{fmt.Errorf("at revision 7: %w", kvcore.ErrFutureRevision), rpctypes.ErrGRPCFutureRev},
		{raftnode.ErrStopped, rpctypes.ErrGRPCStopped},
		{rpctypes.ErrGRPCNotLeader, rpctypes.ErrGRPCNotLeader},
		{context.Canceled, status.Error(codes.Canceled, "context canceled")},
		{context.DeadlineExceeded, status.Error(codes.DeadlineExceeded, "context deadline exceeded")},
		{errors.New("never heard of"), status.Error(codes.Unknown, "never heard of")},
	} {
		got := wireError(c.err)
		if status.Code(got) != status.Code(c.want) || got.Error() != c.want.Error() {
			t.Errorf("wireError(%v) = %v, want %v", c.err, got, c.want)
		}
	}
	if err := wireError(nil); err != nil {
		t.Errorf("wireError(nil) = %v", err)
	}
}

// An error that is not in the table would reach clients as Unknown, and they
// would neither know what it means nor try again.
func TestEverySentinelIsInTheTable(t *testing.T) {
	inTable := map[string]bool{"kvcore.ErrBumpTooLarge": true} // of restores, for which no client asks
	ast.Inspect(parseFile(t, "errors.go"), func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			inTable[fmt.Sprint(selector.X)+"."+selector.Sel.Name] = true
		}
		return true
	})
	checked := 0
	for pkg, dir := range map[string]string{"kvcore": "../../kvcore", "lease": "../../kvcore/lease", "raftnode": "../raftnode", "auth": "../../kvcore/auth"} {
		for _, name := range sentinels(t, dir) {
			if checked++; !inTable[pkg+"."+name] {
				t.Errorf("%s.%s has no entry in wireErrors", pkg, name)
			}
		}
	}
	if checked < 15 {
		t.Fatalf("only %d sentinels were found", checked)
	}
}

func sentinels(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for name := range parseFile(t, file).Scope.Objects {
			if strings.HasPrefix(name, "Err") {
				names = append(names, name)
			}
		}
	}
	return names
}

func parseFile(t *testing.T, path string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
