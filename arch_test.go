// Package arch holds the shape of the house as tests: who may import whom, that
// each package says what it is, and where goroutines are born.
package arch

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/coordd/coordd/"

// mayImport lists, for each part of the tree, which other parts of it its
// packages may import beside their own. The longest matching prefix counts.
var mayImport = map[string][]string{
	"proto":            {},
	"kvcore":           {"proto"},
	"coordd/disk":      {},
	"coordd/wal":       {"coordd/disk"},
	"coordd/snap":      {"coordd/disk"},
	"coordd/datadir":   {"coordd/disk", "coordd/wal"},
	"coordd/member":    {"proto"},
	"coordd/raftnode":  {"proto", "kvcore", "coordd/wal"},
	"coordd/tlsconfig": {},
	"coordd/peer":      {"proto", "kvcore", "coordd/snap", "coordd/member", "coordd/tlsconfig"},
	"coordd/token":     {"kvcore"},
	"coordd/rpc":       {"proto", "kvcore", "coordd/raftnode", "coordd/member", "coordd/token", "coordd/quota", "recipes"},
	"coordd/httpapi":   {"proto", "kvcore", "coordd/raftnode"},
	"coordd/quota":     {"kvcore"},
	"coordd/compact":   {"kvcore", "coordd/raftnode"},
	"coordd/corrupt":   {"kvcore", "coordd/raftnode"},
	"coordd/restore":   {"proto", "kvcore", "coordd/disk", "coordd/wal", "coordd/member", "coordd/datadir"},
	"coordd/expire":    {"proto", "kvcore", "coordd/raftnode"},
	"coordd":           {"proto", "kvcore", "coordd"},
	"recipes":          {},
	"recipes/fence":    {},
	"locksmith":        {"recipes"},
	"cmd/build":        {},
	"cmd/environment":  {},
	"cmd/coordd":       {"coordd", "cmd/build", "cmd/environment", "locksmith/fleetlock"},
	"cmd/coordctl":     {"recipes", "cmd/build", "proto", "kvcore", "coordd/disk", "coordd/wal", "coordd/snap", "coordd/datadir", "coordd/restore"},
	"cmd/locksmithd":   {"locksmith", "recipes", "cmd/build", "cmd/environment"},
	"cmd/locksmithctl": {"locksmith", "recipes", "cmd/build", "cmd/environment"},
	"e2e":              {},
	"e2e/bench":        {"proto", "recipes", "e2e/cluster"},
	"e2e/demo":         {"locksmith/slots", "e2e/cluster"},
	"e2e/prove":        {"recipes", "e2e/cluster", "e2e/history", "e2e/lincheck", "e2e/proxy"},
}

// startsGoroutines lists the only files in which a goroutine may be born.
var startsGoroutines = []string{
	"cmd/coordctl/check.go",
	"cmd/coordctl/check_datascale.go",
	"cmd/coordctl/check_perf.go",
	"cmd/coordctl/child.go",
	"cmd/coordctl/endpoint_health.go",
	"cmd/coordctl/locks_watch.go",
	"cmd/coordctl/make_mirror.go",
	"cmd/coordctl/progress.go",
	"cmd/coordctl/watch_interactive.go",
	"cmd/coordd/main.go",
	"cmd/locksmithd/serve.go",
	"cmd/locksmithctl/service.go",
	"coordd/clients.go",
	"coordd/expire/expire.go",
	"coordd/httpapi/listener.go",
	"coordd/peer/hasrun.go",
	"coordd/peer/members.go",
	"coordd/peer/sender.go",
	"coordd/peer/transport.go",
	"coordd/raftnode/node.go",
	"coordd/rpc/coord_hold.go",
	"coordd/rpc/intercept.go",
	"coordd/rpc/server.go",
	"coordd/rpc/session.go",
	"coordd/server.go",
	"coordd/upkeep.go",
	"coordd/wal/preparer.go",
	"locksmith/agent/run.go",
	"locksmith/blocker/blocker.go",
	"locksmith/blocker/quorum.go",
	"locksmith/health/checks.go",
	"recipes/session.go",
}

type goPackage struct {
	Dir        string
	ImportPath string
	GoFiles    []string
	Imports    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=Dir,ImportPath,GoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			pkgs = append(pkgs, p)
		}
	}
	if len(pkgs) < 10 {
		t.Fatalf("go list found %d packages only", len(pkgs))
	}
	return pkgs
}

// partOf returns the longest prefix of pkg that mayImport knows.
func partOf(pkg string) (part string, ok bool) {
	for candidate := range mayImport {
		if within(pkg, candidate) && len(candidate) > len(part) {
			part, ok = candidate, true
		}
	}
	return part, ok
}

func within(pkg, part string) bool { return pkg == part || strings.HasPrefix(pkg, part+"/") }

// forbidden returns why pkg may not import what it imports, or "".
func forbidden(pkg, imported string) string {
	part, ok := partOf(pkg)
	if !ok {
		return pkg + " stands in no part that the import table knows"
	}
	if within(imported, part) || slices.ContainsFunc(mayImport[part], func(p string) bool { return within(imported, p) }) {
		return ""
	}
	return pkg + " imports " + imported + "; " + part + " may import only " + strings.Join(mayImport[part], ", ")
}

func TestImports(t *testing.T) {
	for _, p := range listPackages(t) {
		pkg, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours || isTestSupport(pkg) {
			continue
		}
		for _, path := range p.Imports {
			if imported, ours := strings.CutPrefix(path, module); ours {
				if why := forbidden(pkg, imported); why != "" {
					t.Error(why)
				}
			}
		}
	}
}

// isTestSupport tells packages that only tests import.
func isTestSupport(pkg string) bool { return strings.HasSuffix(pkg, "test") }

// TestShippedCodeImportsNoTestSupport: what tests are made of, kvtest and coordtest among it, is in no binary.
func TestShippedCodeImportsNoTestSupport(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, path := range p.Imports {
			if strings.HasPrefix(path, module) && isTestSupport(path) && !isTestSupport(p.ImportPath) {
				t.Errorf("%s imports %s", p.ImportPath, path)
			}
		}
	}
}

func TestImportsAreChecked(t *testing.T) {
	for _, c := range [][2]string{
		{"kvcore/index", "coordd/wal"},
		{"recipes/fence", "coordd"},
		{"recipes/fence/fencehttp", "recipes"},
		{"locksmith/slots", "coordd/rpc"},
		{"coordd/wal", "coordd/raftnode"},
		{"util", "proto/coordpb"},
	} {
		if forbidden(c[0], c[1]) == "" {
			t.Errorf("%s may import %s", c[0], c[1])
		}
	}
}

// TestOnlyResourcesImportFencingKits: a program that holds locks does not carry the kits of those that check tokens.
func TestOnlyResourcesImportFencingKits(t *testing.T) {
	for _, p := range listPackages(t) {
		pkg := strings.TrimPrefix(p.ImportPath, module)
		for _, path := range p.Imports {
			if kit, ok := strings.CutPrefix(path, module+"recipes/fence/"); ok && within(pkg, "recipes") {
				t.Errorf("%s imports %s", pkg, kit)
			}
		}
	}
}

// TestStateMachineIsPure: kvcore has no clock, no network and no log line.
func TestStateMachineIsPure(t *testing.T) {
	for _, p := range listPackages(t) {
		pkg := strings.TrimPrefix(p.ImportPath, module)
		if !within(pkg, "kvcore") || isTestSupport(pkg) {
			continue
		}
		for _, path := range p.Imports {
			if path == "net" || strings.HasPrefix(path, "net/") || path == "log" || strings.HasPrefix(path, "log/") {
				t.Errorf("%s imports %s", pkg, path)
			}
		}
		for _, name := range p.GoFiles {
			if readsClock(parse(t, filepath.Join(p.Dir, name), 0)) {
				t.Errorf("%s/%s reads the clock", pkg, name)
			}
		}
	}
}

// readsClock finds calls of package time that depend on when they are made.
func readsClock(f *ast.File) bool {
	found := false
	ast.Inspect(f, func(node ast.Node) bool {
		if s, ok := node.(*ast.SelectorExpr); ok {
			pkg, ok := s.X.(*ast.Ident)
			found = found || ok && pkg.Name == "time" &&
				slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}, s.Sel.Name)
		}
		return !found
	})
	return found
}

func TestClockIsFound(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", "package p; import \"time\"; var t = time.Now()", 0)
	if err != nil {
		t.Fatal(err)
	}
	if !readsClock(f) {
		t.Error("time.Now is not found")
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range listPackages(t) {
		documented := slices.ContainsFunc(p.GoFiles, func(name string) bool {
			f := parse(t, filepath.Join(p.Dir, name), parser.PackageClauseOnly|parser.ParseComments)
			return f.Doc != nil
		})
		if !documented {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestGoroutinesAreBornInListedFiles(t *testing.T) {
	var born []string
	for _, p := range listPackages(t) {
		if isTestSupport(p.ImportPath) || strings.Contains(p.ImportPath, "/e2e") {
			continue
		}
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			if !startsGoroutine(parse(t, path, 0)) {
				continue
			}
			dir := strings.TrimPrefix(p.ImportPath, module)
			born = append(born, dir+"/"+name)
		}
	}
	slices.Sort(born)
	for _, file := range born {
		if !slices.Contains(startsGoroutines, file) {
			t.Errorf("%s starts a goroutine; it is not among the files that may", file)
		}
	}
	for _, file := range startsGoroutines {
		if !slices.Contains(born, file) {
			t.Errorf("%s starts no goroutine any more: strike it from the list", file)
		}
	}
}

func parse(t *testing.T, path string, mode parser.Mode) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// startsGoroutine finds go statements and calls of a Go method that takes one
// function, as sync.WaitGroup's and errgroup.Group's.
func startsGoroutine(f *ast.File) bool {
	found := false
	ast.Inspect(f, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.GoStmt:
			found = true
		case *ast.CallExpr:
			method, ok := node.Fun.(*ast.SelectorExpr)
			found = found || ok && method.Sel.Name == "Go" && len(node.Args) == 1
		}
		return !found
	})
	return found
}

func TestGoroutinesAreFound(t *testing.T) {
	for source, want := range map[string]bool{
		"package p; func f() { go f() }":                                    true,
		"package p; import \"sync\"; func f(w *sync.WaitGroup) { w.Go(f) }": true,
		"package p; func f() { f() }":                                       false,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := startsGoroutine(f); got != want {
			t.Errorf("startsGoroutine(%q) = %t, want %t", source, got, want)
		}
	}
}
