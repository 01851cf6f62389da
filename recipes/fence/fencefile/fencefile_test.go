//go:build unix && !aix && !solaris

package fencefile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coordd/coordd/recipes/fence"
)

const lock = "/coordd/locks/report"

func TestMain(m *testing.M) {
	if path := os.Getenv("FENCEFILE_CHILD"); path != "" {
		child(path)
	}
	os.Exit(m.Run())
}

// child is a holder in a process of its own. It writes its own name with the token of revision 5 when it is told to:
// "write" at once, "hang" after it was let in and never.
func child(path string) {
	f := File{Path: path, Resource: lock}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		err := f.Do(context.Background(), granted(5), func() error {
			if lines.Text() == "hang" {
				fmt.Println("hanging")
				lines.Scan() // until it is killed: nothing more is said
			}
			return replace(path, []byte("child"), 0o600)
		})
		fmt.Println(errors.Is(err, fence.ErrStale), err == nil)
	}
	os.Exit(0)
}

type process struct {
	*exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func startChild(t *testing.T, path string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0])}
	p.Env = append(os.Environ(), "FENCEFILE_CHILD="+path)
	p.Stderr = os.Stderr
	in, errIn := p.StdinPipe()
	out, errOut := p.StdoutPipe()
	if err := errors.Join(errIn, errOut, p.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	p.in, p.out = in, bufio.NewScanner(out)
	return p
}

func (p *process) say(line string) string {
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		return err.Error()
	}
	p.out.Scan()
	return p.out.Text()
}

func granted(revision int64) fence.Token {
	token, err := fence.New(fence.Fields{Cluster: 1, Mode: fence.Exclusive, Resource: lock, Revision: revision, Key: fmt.Sprint(revision)})
	if err != nil {
		panic(err)
	}
	return token
}

func newFile(t *testing.T) File {
	return File{Path: filepath.Join(t.TempDir(), "report"), Resource: lock}
}

func content(t *testing.T, f File) string {
	t.Helper()
	data, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestOvertakenProcessIsRefused(t *testing.T) {
	f := newFile(t)
	old := startChild(t, f.Path)
	if got := old.say("write"); got != "false true" {
		t.Fatalf("the first write: %s", got)
	}
	if err := f.Advance(t.Context(), granted(6)); err != nil {
		t.Fatal(err)
	}
	if got := content(t, f); got != "child" {
		t.Fatalf("the new holder reads %q", got)
	}
	if got := old.say("write"); got != "true false" {
		t.Errorf("the late write: %s", got)
	}
	if err := f.WriteFile(t.Context(), granted(6), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := content(t, f); got != "mine" {
		t.Errorf("the file holds %q", got)
	}
	if _, err := os.Stat(f.Path + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file: %v", err)
	}
}

// A process that dies in its write lets the others go on, and its mark stays.
func TestKilledInTheWrite(t *testing.T) {
	f := newFile(t)
	old := startChild(t, f.Path)
	if got := old.say("hang"); got != "hanging" {
		t.Fatalf("said %s", got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if err := f.Advance(ctx, granted(6)); !errors.Is(err, enough) {
		t.Errorf("while another is writing: %v", err)
	}
	for _, name := range []string{f.Path + ".tmp", f.Path + ".fence.tmp"} { // what it was writing
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(old.Process.Kill(), f.WriteFile(t.Context(), granted(6), []byte("mine"), 0o640)); err != nil {
		t.Fatal(err)
	}
	if err := f.Advance(t.Context(), granted(5)); !errors.Is(err, fence.ErrStale) {
		t.Errorf("an older token: %v", err)
	}
	info, err := os.Stat(f.Path)
	if got := content(t, f); err != nil || got != "mine" || info.Mode().Perm() != 0o640 {
		t.Errorf("the file holds %q, %v, %v", got, info, err)
	}
}

func TestRefusedWriteChangesNothing(t *testing.T) {
	f := newFile(t)
	other := f
	other.Resource = "/coordd/locks/other"
	if err := other.WriteFile(t.Context(), granted(9), nil, 0o600); !errors.Is(err, fence.ErrIncomparable) {
		t.Errorf("a token of another lock: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(f.Path)); err != nil || len(entries) != 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
	broken := errors.New("broken")
	if err := f.Do(t.Context(), granted(7), func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a write that fails: %v", err)
	}
	if err := f.Advance(t.Context(), granted(6)); !errors.Is(err, fence.ErrStale) {
		t.Errorf("the mark after it: %v", err)
	}
}

// A damaged mark is never taken for none.
func TestDamagedMarkRefusesEverybody(t *testing.T) {
	for _, text := range []string{"", "\n", "garbage\n", granted(5).String() + " " + granted(5).String()} {
		f := newFile(t)
		if err := os.WriteFile(f.Path+".fence", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := f.WriteFile(t.Context(), granted(9), []byte("mine"), 0o600)
		if _, statErr := os.Stat(f.Path); !errors.Is(err, fence.ErrMalformed) || !errors.Is(statErr, fs.ErrNotExist) {
			t.Errorf("%q: %v, then %v", text, err, statErr)
		}
	}
}

// Many writers race; each write that was acknowledged is by a token above all acknowledged before it.
func TestWritersRace(t *testing.T) {
	f := newFile(t)
	var wait sync.WaitGroup
	for writer := range 4 {
		wait.Go(func() {
			for i := range 12 {
				revision := int64(1 + i*4 + (i+writer)%4)
				err := f.Do(t.Context(), granted(revision), func() error { return raiseTo(f.Path, revision) })
				if err != nil && !errors.Is(err, fence.ErrStale) {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if got := content(t, f); got != "48" {
		t.Errorf("the last write is %s", got)
	}
	if data, err := os.ReadFile(f.Path + ".fence"); err != nil || !strings.HasPrefix(string(data), granted(48).String()+" ") {
		t.Errorf("the mark is %q, %v", data, err)
	}
}

// raiseTo writes the revision and fails if a higher one stands there already.
func raiseTo(path string, revision int64) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if stands, _ := strconv.ParseInt(string(data), 10, 64); stands > revision {
		return fmt.Errorf("%d was let in after %d", revision, stands)
	}
	return os.WriteFile(path, []byte(fmt.Sprint(revision)), 0o600)
}
