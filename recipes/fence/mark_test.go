package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

const resource = "/coordd/locks/report"

// tokenOf makes a token of resource from an abbreviation: mode, revision, and a key if it is not the revision's own.
func tokenOf(t testing.TB, mode Mode, revision int64, key ...string) Token {
	t.Helper()
	f := Fields{Cluster: 0xcafe, Epoch: 3, Mode: mode, Resource: resource, Revision: revision, Key: fmt.Sprintf("q/%d", revision)}
	if len(key) > 0 {
		f.Key = key[0]
	}
	tok, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func changed(t testing.TB, tok Token, change func(*Fields)) Token {
	t.Helper()
	f := tok.Fields()
	change(&f)
	tok, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// admitted is the mark after tokens that all pass.
func admitted(t testing.TB, tokens ...Token) Mark {
	t.Helper()
	var m Mark
	for _, tok := range tokens {
		next, err := m.Admit(tok)
		if err != nil {
			t.Fatalf("%s after %s: %v", tok, m, err)
		}
		m = next
	}
	return m
}

// P2 and P4: what passes after what, within one epoch.
func TestMarkAdmits(t *testing.T) {
	x := func(revision int64, key ...string) Token { return tokenOf(t, Exclusive, revision, key...) }
	s := func(revision int64, key ...string) Token { return tokenOf(t, Shared, revision, key...) }
	for _, c := range []struct {
		what  string
		after []Token
		token Token
		stale bool
	}{
		{"the first exclusive", nil, x(5), false},
		{"the first shared", nil, s(5), false},
		{"a later exclusive", []Token{x(5)}, x(6), false},
		{"an overtaken exclusive", []Token{x(5), x(6)}, x(5), true},
		{"a reader below a reader", []Token{s(5), s(9)}, s(6), false},
		{"a writer below a reader", []Token{s(5), s(9)}, x(6), true},
		{"a reader below a writer", []Token{x(9)}, s(6), true},
		{"a reader between the last writer and a reader", []Token{x(5), s(9)}, s(6), false},
		{"a writer between the last writer and a reader", []Token{x(5), s(9)}, x(6), true},
		{"a writer above all", []Token{x(5), s(9)}, x(10), false},
		{"the reader after it", []Token{x(5), s(9), x(10)}, s(9), true},

		// P5: the same acquisition repeats.
		{"an exclusive repeats", []Token{x(5)}, x(5), false},
		{"a shared one repeats", []Token{s(5)}, s(5), false},
		{"a shared one repeats below another", []Token{s(5), s(7)}, s(5), false},
		{"a writer goes on as a reader", []Token{x(5, "q/w/a")}, s(5, "q/r/a"), false},
		{"a writer went on as a reader, and another came", []Token{x(5), s(5), s(6)}, x(5), true},

		// P7: another acquisition of the same revision.
		{"two writers tie", []Token{x(5, "q/a")}, x(5, "q/b"), true},
		{"a reader ties with a writer", []Token{x(5, "q/a")}, s(5, "q/b"), true},
		{"a writer ties with a reader", []Token{s(5, "q/a")}, x(5, "q/b"), true},
		{"two readers tie", []Token{s(5, "q/a")}, s(5, "q/b"), true},
		{"another reader ties with a writer", []Token{x(5, "q/w/a")}, s(5, "q/r/b"), true},
		{"a reader ties with a writer below a reader", []Token{x(5, "q/a"), s(7)}, s(5, "q/b"), true},
	} {
		before := admitted(t, c.after...)
		after, err := before.Admit(c.token)
		if c.stale != errors.Is(err, ErrStale) || !c.stale && err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		var stale *StaleError
		if c.stale && (!errors.As(err, &stale) || stale.Token != c.token || stale.Mark != before || after != before) {
			t.Errorf("%s: the refusal is %#v, the mark after it %s", c.what, err, after)
		}
	}
}

// P6: a restore moves revisions back and the epoch on.
func TestMarkStartsAnewWithTheEpoch(t *testing.T) {
	old := tokenOf(t, Exclusive, 900)
	reader := tokenOf(t, Shared, 950)
	restored := changed(t, tokenOf(t, Exclusive, 7), func(f *Fields) { f.Epoch++ })
	m := admitted(t, old, reader, restored)
	for _, tok := range []Token{old, reader, changed(t, tokenOf(t, Exclusive, 1<<40), func(f *Fields) { f.Epoch = 0 })} {
		if _, err := m.Admit(tok); !errors.Is(err, ErrStale) {
			t.Errorf("after the restore, %s: %v", tok, err)
		}
	}
	sharedFirst := admitted(t, old, changed(t, restored, func(f *Fields) { f.Mode = Shared }))
	if !sharedFirst.Write().IsZero() {
		t.Errorf("a writer of the former epoch is still in %s", sharedFirst)
	}
	admitted(t, old, restored, changed(t, restored, func(f *Fields) { f.Revision, f.Key = 8, "q/8" }))

	// Without a new epoch, the lock's rightful holder is refused: why a restore must raise it.
	same := changed(t, restored, func(f *Fields) { f.Epoch-- })
	if _, err := admitted(t, old).Admit(same); !errors.Is(err, ErrStale) {
		t.Errorf("a token that went backwards: %v", err)
	}
}

func TestMarkRefusesWhatIsNotItsOwn(t *testing.T) {
	tok := tokenOf(t, Exclusive, 5)
	m := admitted(t, tok)
	for what, other := range map[string]Token{
		"no token":         {},
		"another cluster":  changed(t, tok, func(f *Fields) { f.Cluster, f.Epoch, f.Revision = 1, 1<<40, 1<<40 }),
		"another resource": changed(t, tok, func(f *Fields) { f.Resource, f.Revision = "/coordd/locks/other", 6 }),
		"another slot":     changed(t, tok, func(f *Fields) { f.Slot, f.Revision = "1", 6 }),
	} {
		if after, err := m.Admit(other); !errors.Is(err, ErrIncomparable) || errors.Is(err, ErrStale) || after != m {
			t.Errorf("%s: %v, then %s", what, err, after)
		}
	}
	if _, err := (Mark{}).Admit(Token{}); !errors.Is(err, ErrIncomparable) {
		t.Errorf("no token for no mark: %v", err)
	}
}

// naiveMark remembers everything that was admitted.
type naiveMark []Token

func (n naiveMark) admits(t Token) bool {
	var highest int64
	for _, seen := range n {
		if seen.epoch == t.epoch {
			highest = max(highest, seen.revision)
		}
	}
	for _, seen := range n {
		conflict := seen.mode == Exclusive || t.mode == Exclusive
		switch {
		case seen.cluster != t.cluster, seen.epoch > t.epoch:
			return false
		case seen.epoch < t.epoch:
		case conflict && seen.revision > t.revision:
			return false
		case (conflict || t.revision == highest) && seen.revision == t.revision && seen.Attempt() != t.Attempt():
			return false
		}
	}
	return true
}

func TestMarkAgreesWithNaiveModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var m Mark
		var naive naiveMark
		for range 120 {
			tok := randomToken(t, r)
			next, err := m.Admit(tok)
			if want := naive.admits(tok); want != (err == nil) {
				t.Fatalf("seed %d: %s after %v: %v, the model admits: %t", seed, tok, naive, err, want)
			}
			if err == nil {
				naive = append(naive, tok)
			}
			checkRound(t, next)
			m = next
		}
	}
}

// randomToken has few revisions and few attempts for each, so that ties, repeats and mode changes are common; clusters and
// epochs other than the usual are rare.
func randomToken(t testing.TB, r *rand.Rand) Token {
	mode, revision := Exclusive, 1+r.Int64N(12)
	if r.IntN(3) > 0 {
		mode = Shared
	}
	attempt := 0
	if r.IntN(8) == 0 {
		attempt = 1
	}
	return changed(t, tokenOf(t, mode, revision, fmt.Sprintf("q/%s/%d.%d", mode, revision, attempt)), func(f *Fields) {
		if r.IntN(40) == 0 {
			f.Cluster++
		}
		if r.IntN(40) == 0 {
			f.Epoch += r.Uint64N(3)
		}
	})
}

func checkRound(t testing.TB, m Mark) {
	t.Helper()
	var back Mark
	text, err := m.MarshalText()
	if err := errors.Join(err, back.UnmarshalText(text)); err != nil || back != m {
		t.Fatalf("%q comes back as %q, %v", text, back, err)
	}
	if made, err := NewMark(m.Write(), m.All()); err != nil || made != m {
		t.Fatalf("%q is made as %q, %v", m, made, err)
	}
}

func TestMarkText(t *testing.T) {
	m := admitted(t, tokenOf(t, Exclusive, 5), tokenOf(t, Shared, 7))
	const want = "f1:000000000000cafe:3:s:7::/coordd/locks/report:q/7 f1:000000000000cafe:3:x:5::/coordd/locks/report:q/5"
	if m.String() != want {
		t.Errorf("text is %q, want %q", m, want)
	}
	data, err := json.Marshal(map[string]Mark{"m": m, "none": {}})
	var back map[string]Mark
	if err := errors.Join(err, json.Unmarshal(data, &back)); err != nil || back["m"] != m || !back["none"].IsZero() {
		t.Errorf("through JSON %s: %v, %v", data, back, err)
	}

	x5, x7, s5, s7 := tokenOf(t, Exclusive, 5), tokenOf(t, Exclusive, 7), tokenOf(t, Shared, 5), tokenOf(t, Shared, 7)
	for _, text := range []string{
		"-", " ", "- -", " -", s7.String(), s7.String() + " ", x5.String() + " -", "- " + x5.String(),
		s7.String() + " " + s5.String(), s5.String() + " " + x5.String(), s5.String() + " " + x7.String(),
		x7.String() + " " + x5.String(), s7.String() + "  " + x5.String(), s7.String() + " " + x5.String() + "\n",
		s7.String() + " " + changed(t, x5, func(f *Fields) { f.Epoch-- }).String(),
		s7.String() + " " + changed(t, x5, func(f *Fields) { f.Slot = "1" }).String(),
		strings.Repeat("f", 4000),
	} {
		back := m
		if err := back.UnmarshalText([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v, %v", text, back, err)
		}
	}
}

func TestStaleErrorNamesWhoOvertook(t *testing.T) {
	m := admitted(t, tokenOf(t, Exclusive, 5), tokenOf(t, Shared, 9))
	for tok, by := range map[Token]Token{
		tokenOf(t, Shared, 4):            m.Write(),
		tokenOf(t, Exclusive, 6):         m.All(),
		tokenOf(t, Shared, 9, "q/other"): m.All(),
	} {
		_, err := m.Admit(tok)
		if err == nil || !strings.Contains(err.Error(), tok.String()) || !strings.Contains(err.Error(), by.String()) {
			t.Errorf("%s: %v does not name %s", tok, err, by)
		}
	}
}

func FuzzMarkText(f *testing.F) {
	f.Add("")
	f.Add(tokenOf(f, Shared, 7).String() + " " + tokenOf(f, Exclusive, 5).String())
	f.Add(tokenOf(f, Exclusive, 7).String() + " " + tokenOf(f, Exclusive, 7).String())
	f.Add(tokenOf(f, Shared, 7).String() + " -")
	f.Fuzz(func(t *testing.T, text string) {
		var m Mark
		if m.UnmarshalText([]byte(text)) != nil {
			return
		}
		if m.String() != text {
			t.Fatalf("%q is read as %q", text, m)
		}
		checkRound(t, m)
	})
}
