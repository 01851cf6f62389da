package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
)

// coordEvent is a line of a stream of coord.v1, as its JSON has it.
type coordEvent struct {
	Result struct {
		Waiting *coordPlace
		Granted *struct {
			coordPlace
			Token      string
			SlotTokens []string `json:"slot_tokens"`
			Key        string
			ValidForMs int `json:"valid_for_ms"`
		}
		Renewed *struct {
			ValidForMs int `json:"valid_for_ms"`
		}
		ReleaseAsked *struct{ Identity, Reason string } `json:"release_asked"`

		Leader *struct{ Value, Attempt string }
		Nobody *struct{}
	}
	Error *struct {
		Code    codes.Code
		Message string
	}
}

// coordPlace is what an acquisition is gone on with.
type coordPlace struct{ Session, Attempt string }

// curl is a curl that runs a stream of coord.v1.
type curl struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startCurl(t *testing.T, url, method string, request any) *curl {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t, time.Minute), "curl", "-sSN", url+"/coord.v1/"+method, "-d", string(body))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &curl{t, cmd, bufio.NewScanner(out)}
	t.Cleanup(c.kill)
	return c
}

func (c *curl) kill() {
	c.cmd.Process.Kill() // fails only where it has ended
	c.cmd.Wait()
}

// next returns the next line that is no renewal; false at the end.
func (c *curl) next() (e coordEvent, ok bool) {
	c.t.Helper()
	for c.lines.Scan() {
		e = coordEvent{}
		if err := json.Unmarshal(c.lines.Bytes(), &e); err != nil {
			c.t.Fatalf("%s: %v", c.lines.Text(), err)
		}
		if e.Result.Renewed == nil {
			return e, true
		}
	}
	return e, false
}

// begun returns what the first line says.
func (c *curl) begun() coordPlace {
	c.t.Helper()
	e, _ := c.next()
	if e.Result.Waiting == nil {
		c.t.Fatalf("no first event: %s", c.lines.Text())
	}
	return *e.Result.Waiting
}

// granted returns the token that is granted, and the place with it.
func (c *curl) granted() (token fence.Token, place coordPlace) {
	c.t.Helper()
	for {
		e, ok := c.next()
		switch {
		case !ok || e.Error != nil:
			c.t.Fatalf("nothing was granted: %s", c.lines.Text())
		case e.Result.Granted != nil:
			token, err := fence.Parse(e.Result.Granted.Token)
			if err != nil || e.Result.Granted.ValidForMs <= 0 {
				c.t.Fatalf("granted %s: %v", c.lines.Text(), err)
			}
			return token, e.Result.Granted.coordPlace
		}
	}
}

// ended returns the code with which the stream ends; nothing else may come before.
func (c *curl) ended() codes.Code {
	c.t.Helper()
	e, ok := c.next()
	if !ok {
		if err := c.cmd.Wait(); err != nil {
			c.t.Fatalf("curl: %v", err)
		}
		return codes.OK
	}
	if e.Error == nil {
		c.t.Fatalf("the stream goes on: %s", c.lines.Text())
	}
	return e.Error.Code
}

// coord makes a call that is no stream and returns its status and its answer.
func coord(t *testing.T, url, method string, request any) (int, map[string]any) {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(url+"/coord.v1/"+method, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	answer := map[string]any{}
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil {
		t.Fatalf("%s: %s, %v", method, text, err)
	}
	return response.StatusCode, answer
}

func coordStanding(t *testing.T, url string, token fence.Token) any {
	t.Helper()
	_, answer := coord(t, url, "holds/verify", body{"token": token})
	return answer["standing"]
}

func coordRelease(t *testing.T, url string, token fence.Token) (released bool) {
	t.Helper()
	status, answer := coord(t, url, "holds/release", body{"token": token})
	if status != http.StatusOK {
		t.Fatalf("release %s: %v", token, answer)
	}
	return answer["released"] == true
}

type body map[string]any

func newSession(t *testing.T, client *clientv3.Client) *recipes.Session {
	t.Helper()
	session, err := recipes.NewSession(within(t, time.Minute), client, &recipes.SessionOptions{TTLSeconds: 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

func rises(t *testing.T, first, then fence.Token) {
	t.Helper()
	if order, err := first.Compare(then); err != nil || order >= 0 {
		t.Errorf("tokens %s, then %s: %v", first, then, err)
	}
}

// TestCurlAndGoExcludeEachOther: a lock that curl holds keeps out programs that use the recipes, and theirs keeps out curl,
// in the order in which they came.
func TestCurlAndGoExcludeEachOther(t *testing.T) {
	url := startCluster(t, 1).Members[0].ClientURL
	ctx, client := within(t, time.Minute), newClient(t, url)
	session := newSession(t, client)
	name := "jobs/nightly über %"
	mutex, shared := recipes.NewMutex(session, name, nil), recipes.NewRWMutex(session, name, nil)

	holder := startCurl(t, url, "locks/acquire", body{"name": name})
	first, _ := holder.granted()
	if _, err := mutex.TryLock(ctx); !errors.Is(err, recipes.ErrLocked) {
		t.Fatalf("TryLock beside curl: %v", err)
	}
	if _, err := shared.TryRLock(ctx); !errors.Is(err, recipes.ErrLocked) {
		t.Fatalf("TryRLock beside curl: %v", err)
	}
	if got := startCurl(t, url, "locks/acquire", body{"name": name, "try": true}).ended(); got != codes.AlreadyExists {
		t.Fatalf("try beside curl: %v", got)
	}
	if got := coordStanding(t, url, first); got != "STANDING_CURRENT" {
		t.Errorf("the holder's token is %v", got)
	}
	if !coordRelease(t, url, first) || coordRelease(t, url, first) {
		t.Error("a first release did nothing, or a second something")
	}
	if got := holder.ended(); got != codes.OK {
		t.Errorf("after a release the stream ends with %v", got)
	}
	hold, err := mutex.Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rises(t, first, hold.Token())
	if got := coordStanding(t, url, first); got != "STANDING_STALE" {
		t.Errorf("the token of who was released is %v", got)
	}

	waiter := startCurl(t, url, "locks/acquire", body{"name": name})
	waiter.begun()
	awaitKeys(t, client, "/coordd/locks/", 2)
	if got := coordStanding(t, url, hold.Token()); got != "STANDING_CURRENT" {
		t.Errorf("the token of a Go program is %v", got)
	}
	if err := hold.Unlock(ctx); err != nil {
		t.Fatal(err)
	}
	second, _ := waiter.granted()
	rises(t, hold.Token(), second)

	// Somebody deletes the key.
	if _, err := client.Delete(ctx, "/coordd/locks/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if got := waiter.ended(); got != codes.Aborted {
		t.Errorf("after the key was deleted the stream ends with %v", got)
	}
	if got := coordStanding(t, url, second); got != "STANDING_STALE" {
		t.Errorf("the token of a deleted key is %v", got)
	}
}

// TestCurlShares: holders that share exclude those who do not.
func TestCurlShares(t *testing.T) {
	url := startCluster(t, 1).Members[0].ClientURL
	ctx, client := within(t, time.Minute), newClient(t, url)
	session := newSession(t, client)
	one, _ := startCurl(t, url, "locks/acquire", body{"name": "l", "shared": true}).granted()
	startCurl(t, url, "locks/acquire", body{"name": "l", "shared": true, "try": true}).granted()
	reader, err := recipes.NewRWMutex(session, "l", nil).TryRLock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := recipes.NewMutex(session, "l", nil).TryLock(ctx); !errors.Is(err, recipes.ErrLocked) {
		t.Fatalf("TryLock beside those who share: %v", err)
	}
	writer := startCurl(t, url, "locks/acquire", body{"name": "l"})
	writer.begun()
	awaitKeys(t, client, "/coordd/locks/", 4)
	if got := startCurl(t, url, "locks/acquire", body{"name": "l", "shared": true, "try": true}).ended(); got != codes.AlreadyExists {
		t.Errorf("a reader after a waiting writer: %v", got)
	}
	if _, err := client.Delete(ctx, "/coordd/locks/l/q/r/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	last, _ := writer.granted()
	rises(t, one, last)
	if err := reader.Verify(ctx); !errors.Is(err, recipes.ErrLost) {
		t.Errorf("a reader beside a writer: %v", err)
	}
}

// TestCurlAndGoShareASemaphore: both count, and the limit that is raised lets the first in.
func TestCurlAndGoShareASemaphore(t *testing.T) {
	url := startCluster(t, 1).Members[0].ClientURL
	ctx := within(t, time.Minute)
	semaphore := recipes.NewSemaphore(newSession(t, newClient(t, url)), "s", nil)
	token, _ := startCurl(t, url, "semaphores/acquire", body{"name": "s", "weight": 2, "limit": 3}).granted()
	if _, err := semaphore.TryAcquire(ctx, 2); !errors.Is(err, recipes.ErrLocked) {
		t.Fatalf("2 of 1: %v", err)
	}
	if _, err := semaphore.TryAcquire(ctx, 1); err != nil {
		t.Fatal(err)
	}
	waiter := startCurl(t, url, "semaphores/acquire", body{"name": "s"})
	waiter.begun()
	if status, answer := coord(t, url, "semaphores/setlimit", body{"name": "s", "limit": 4}); status != http.StatusOK {
		t.Fatal(answer)
	}
	last, _ := waiter.granted()
	if slot := last.Fields().Slot; slot != "3" {
		t.Errorf("the slot is %s", slot)
	}
	if _, answer := coord(t, url, "semaphores/getlimit", body{"name": "s"}); answer["limit"] != "4" {
		t.Errorf("the limit is %v", answer)
	}
	forged := token.Fields()
	forged.Slot = "7"
	other, err := fence.New(forged)
	if err != nil {
		t.Fatal(err)
	}
	if of, not := coordStanding(t, url, token), coordStanding(t, url, other); of != "STANDING_CURRENT" || not != "STANDING_STALE" {
		t.Errorf("tokens of a slot held: %v, and not held: %v", of, not)
	}
}

// TestCurlObservesAnElection: who looks on hears of each leader, of what it says, and that there is none.
func TestCurlObservesAnElection(t *testing.T) {
	url := startCluster(t, 1).Members[0].ClientURL
	observer := startCurl(t, url, "elections/observe", body{"name": "office"})
	sees := func(want string) {
		t.Helper()
		e, _ := observer.next()
		switch got := e.Result; {
		case want == "" && got.Nobody != nil:
		case want != "" && got.Leader != nil && got.Leader.Value == want:
		default:
			t.Fatalf("observed %s, want leader %q", observer.lines.Text(), want)
		}
	}
	sees("")
	one := startCurl(t, url, "elections/campaign", body{"name": "office", "value": "one"})
	term, _ := one.granted()
	sees("one")
	if status, answer := coord(t, url, "elections/proclaim", body{"token": term, "value": "uno"}); status != http.StatusOK {
		t.Fatal(answer)
	}
	sees("uno")
	passed := startCurl(t, url, "elections/campaign", body{"name": "office", "value": "two"})
	place := passed.begun()
	heir := startCurl(t, url, "elections/campaign", body{"name": "office", "value": "three"})
	candidate := heir.begun().Attempt
	awaitKeys(t, newClient(t, url), "/coordd/elections/office/q/", 4) // each with who it is
	nobody := strings.Repeat("0", 32)
	if status, answer := coord(t, url, "elections/transfer", body{"token": term, "candidate": nobody}); status != http.StatusNotFound {
		t.Fatalf("transfer to nobody: %v", answer)
	}
	if status, answer := coord(t, url, "elections/transfer", body{"token": term, "candidate": candidate}); status != http.StatusOK {
		t.Fatal(answer)
	}
	next, appointed := heir.granted()
	rises(t, term, next)
	if got := one.ended(); got != codes.OK || appointed.Attempt != candidate {
		t.Errorf("the stream of who transferred ends with %v; %s leads, want %s", got, appointed.Attempt, candidate)
	}
	sees("three")
	if status, _ := coord(t, url, "elections/proclaim", body{"token": term, "value": "late"}); status != http.StatusConflict {
		t.Errorf("who leads no more proclaims: %d", status)
	}
	if status, answer := coord(t, url, "holds/abandon", body{"session": place.Session}); status != http.StatusOK {
		t.Fatal(answer)
	}
	if got := passed.ended(); got != codes.Aborted {
		t.Errorf("a candidate whose session was ended: %v", got)
	}
	coordRelease(t, url, next)
	if got := heir.ended(); got != codes.OK {
		t.Errorf("who resigned: %v", got)
	}
	sees("")
	if status, _ := coord(t, url, "elections/getleader", body{"name": "office"}); status != http.StatusNotFound {
		t.Errorf("without a leader: %d", status)
	}
}

// TestCurlIsCutOff: what curl holds outlives its connection, and the member at the other end, for the session's time to
// live; taken up in time, at any member, it goes on with the same token, and otherwise the next has it.
func TestCurlIsCutOff(t *testing.T) {
	c := startCluster(t, 3)
	killed, left := splitLeader(t, c)
	ctx := within(t, time.Minute)
	client := newClient(t, left[0].ClientURL, left[1].ClientURL)
	session := newSession(t, client)
	mutex := recipes.NewMutex(session, "l", nil)

	holder := startCurl(t, killed.ClientURL, "locks/acquire", body{"name": "l", "ttl_seconds": 8})
	token, place := holder.granted()
	next := make(chan fence.Token, 1)
	go func() {
		hold, err := mutex.Lock(ctx)
		if err != nil {
			t.Errorf("the next: %v", err)
			next <- fence.Token{}
			return
		}
		next <- hold.Token()
	}()
	awaitKeys(t, client, "/coordd/locks/l/", 2)
	resume := func(url string) *curl {
		t.Helper()
		again := startCurl(t, url, "locks/acquire", body{"name": "l", "session": place.Session, "attempt": place.Attempt})
		if got, at := again.granted(); got != token || at != place {
			t.Fatalf("resumed with %s %v, want %s %v", got, at, token, place)
		}
		return again
	}
	holder.kill()
	holder = resume(killed.ClientURL)
	killed.Kill()
	if err := holder.cmd.Wait(); err == nil {
		t.Log("curl did not mind that its member was killed")
	}
	holder = resume(left[0].ClientURL)
	left[0].Stop()
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	if got := holder.ended(); got != codes.Unavailable {
		t.Errorf("a member that stops ends the stream with %v", got)
	}
	if err := killed.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	holder = resume(left[1].ClientURL)
	if got := coordStanding(t, left[1].ClientURL, token); got != "STANDING_CURRENT" {
		t.Errorf("the token after all that is %v", got)
	}
	select {
	case <-next:
		t.Fatal("two hold the lock")
	default:
	}
	holder.kill() // and not again
	rises(t, token, <-next)
	late := startCurl(t, left[1].ClientURL, "locks/acquire", body{"name": "l", "session": place.Session, "attempt": place.Attempt})
	if got := late.ended(); got != codes.Aborted {
		t.Errorf("resumed too late: %v", got)
	}
}

// TestCurlGivesUpItsPlace: who waits and wants no longer abandons the session.
func TestCurlGivesUpItsPlace(t *testing.T) {
	url := startCluster(t, 1).Members[0].ClientURL
	startCurl(t, url, "locks/acquire", body{"name": "l"}).granted()
	waiter := startCurl(t, url, "locks/acquire", body{"name": "l", "ttl_seconds": 60})
	place := waiter.begun()
	client := newClient(t, url)
	awaitKeys(t, client, "/coordd/locks/l/", 2)
	waiter.kill()
	if status, answer := coord(t, url, "holds/abandon", body{"session": place.Session}); status != http.StatusOK {
		t.Fatal(answer)
	}
	got, err := client.Get(context.Background(), "/coordd/locks/l/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || got.Count != 1 {
		t.Errorf("%d keys of the lock, %v", got.Count, err)
	}
}

// TestCurlSeesWhoHolds: the list tells who holds and who waits, whoever they are, with the tokens by which the holder is
// asked to release, which both Go and curl hear.
func TestCurlSeesWhoHolds(t *testing.T) {
	url := startCluster(t, 1).Members[0].ClientURL
	ctx, client := within(t, time.Minute), newClient(t, url)
	mutex := recipes.NewMutex(newSession(t, client), "l", &recipes.MutexOptions{Reason: "by Go"})
	hold, err := mutex.Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	waiter := startCurl(t, url, "locks/acquire", body{"name": "l", "identity": "curl", "reason": "by curl"})
	waiter.begun()
	awaitKeys(t, client, "/coordd/locks/l/", 2)
	list := func() (places []any) {
		t.Helper()
		status, answer := coord(t, url, "locks/list", body{"name": "l"})
		if places, _ = answer["places"].([]any); status != http.StatusOK {
			t.Fatal(answer)
		}
		return places
	}
	places := list()
	if len(places) != 2 {
		t.Fatalf("%v", places)
	}
	holder, waits := places[0].(map[string]any), places[1].(map[string]any)
	if holder["token"] != hold.Token().String() || holder["reason"] != "by Go" || waits["token"] != nil || waits["identity"] != "curl" {
		t.Fatalf("%v", places)
	}
	ask := body{"token": holder["token"], "identity": "me", "reason": "it is urgent"}
	if status, answer := coord(t, url, "holds/asktorelease", ask); status != http.StatusOK {
		t.Fatal(answer)
	}
	<-hold.ReleaseAsked()
	if by := hold.Asker(); by.Identity != "me" || by.Reason != "it is urgent" {
		t.Errorf("asked by %v", by)
	}
	if err := hold.Unlock(ctx); err != nil {
		t.Fatal(err)
	}
	token, _ := waiter.granted()
	if places := list(); len(places) != 1 || places[0].(map[string]any)["token"] != token.String() {
		t.Fatalf("%v", places)
	}
	if status, _ := coord(t, url, "holds/asktorelease", ask); status != http.StatusNotFound {
		t.Errorf("asking who is gone: %d", status)
	}
	ask["token"] = token
	if status, answer := coord(t, url, "holds/asktorelease", ask); status != http.StatusOK {
		t.Fatal(answer)
	}
	if e, _ := waiter.next(); e.Result.ReleaseAsked == nil || e.Result.ReleaseAsked.Identity != "me" {
		t.Errorf("asked: %s", waiter.lines.Text())
	}
	startCurl(t, url, "semaphores/acquire", body{"name": "s", "weight": 3, "limit": 5}).granted()
	_, answer := coord(t, url, "semaphores/list", body{"name": "s"})
	place := answer["places"].([]any)[0].(map[string]any)
	if slot, err := fence.Parse(place["token"].(string)); err != nil || place["slots"] != "0-2" || coordStanding(t, url, slot) != "STANDING_CURRENT" {
		t.Errorf("%v, %v", place, err)
	}
	term, _ := startCurl(t, url, "elections/campaign", body{"name": "e", "value": "v"}).granted()
	_, answer = coord(t, url, "elections/list", body{"name": "e"})
	place = answer["places"].([]any)[0].(map[string]any)
	if place["token"] != term.String() || place["value"] != "v" {
		t.Errorf("%v", place)
	}
}

// TestCurlWaitsAtABarrier: curl and programs in Go open and close the same gate.
func TestCurlWaitsAtABarrier(t *testing.T) {
	url := startCluster(t, 1).Members[0].ClientURL
	ctx, client := within(t, time.Minute), newClient(t, url)
	barrier := recipes.NewBarrier(newSession(t, client), "schema", nil)
	call := func(method string, want int) {
		t.Helper()
		if status, answer := coord(t, url, "barriers/"+method, body{"name": "schema"}); status != want {
			t.Fatalf("%s: %d %v, want %d", method, status, answer, want)
		}
	}
	call("wait", http.StatusOK) // it was never closed
	call("hold", http.StatusOK)
	call("hold", http.StatusConflict)
	if err := barrier.Hold(ctx); !errors.Is(err, recipes.ErrLocked) {
		t.Fatalf("a closed barrier is closed: %v", err)
	}
	waits := startCurl(t, url, "barriers/wait", body{"name": "schema"})
	passed := make(chan bool)
	go func() { passed <- waits.lines.Scan() }()
	select {
	case <-passed:
		t.Fatalf("a closed barrier is open: %s", waits.lines.Text())
	case <-time.After(100 * time.Millisecond): // it cannot be seen that somebody waits
	}
	if err := barrier.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if !<-passed || waits.lines.Text() != "{}" {
		t.Fatalf("an open barrier: %s", waits.lines.Text())
	}
	if err := barrier.Hold(ctx); err != nil {
		t.Fatal(err)
	}
	call("release", http.StatusOK)
	call("release", http.StatusOK)
	if err := barrier.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}
