package fence

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

func mustNew(t *testing.T, f Fields) Token {
	t.Helper()
	tok, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestTextForm(t *testing.T) {
	tok := mustNew(t, Fields{Cluster: 0xcafe, Epoch: 2, Mode: Exclusive, Resource: "/locks/jobs%2Fnightly", Revision: 41, Key: "q/00ff"})
	const want = "f1:000000000000cafe:2:x:41::/locks/jobs%2Fnightly:q/00ff"
	if tok.String() != want {
		t.Fatalf("text is %s, want %s", tok, want)
	}
	back, err := Parse(want)
	if err != nil || back != tok {
		t.Fatalf("parsed %v, %v", back, err)
	}
	shared, err := Parse(strings.Replace(want, ":x:", ":s:", 1))
	if err != nil || shared.Fields().Mode != Shared || shared == tok {
		t.Fatalf("the shared one parsed %v, %v", shared, err)
	}
	data, err := json.Marshal(tok)
	if err != nil {
		t.Fatal(err)
	}
	var viaJSON Token
	if err := json.Unmarshal(data, &viaJSON); err != nil || viaJSON != tok {
		t.Fatalf("through JSON: %v, %v", viaJSON, err)
	}
}

func TestLongestTextStaysWithinLimit(t *testing.T) {
	widest := Fields{
		Cluster: math.MaxUint64, Epoch: math.MaxUint64, Mode: Exclusive, Revision: math.MaxInt64,
		Slot: strings.Repeat("s", maxSlotBytes), Resource: strings.Repeat("r", maxResourceBytes), Key: strings.Repeat("k", maxKeyBytes),
	}
	long := widest
	long.Slot, long.Resource, long.Key = strings.Repeat("s", 4000), strings.Repeat("r", 4000), strings.Repeat("k", 4000)
	for _, f := range []Fields{widest, long} {
		tok := mustNew(t, f)
		if n := len(tok.String()); n > MaxTextBytes {
			t.Errorf("%d bytes: %s", n, tok)
		}
		if back, err := Parse(tok.String()); err != nil || back != tok {
			t.Errorf("does not come back: %v, %v", back, err)
		}
		if again := mustNew(t, tok.Fields()); again != tok {
			t.Errorf("its parts make %s, not %s", again, tok)
		}
	}
}

func TestLongNamesStayDistinct(t *testing.T) {
	base := Fields{Mode: Exclusive, Revision: 1}
	names := []string{strings.Repeat("r", 4000), strings.Repeat("r", 4001), "with space", "with:colon", "~tilde", "line\nbreak", "é"}
	seen := map[string]string{}
	for _, name := range names {
		f := base
		f.Resource = name
		tok := mustNew(t, f)
		if other, ok := seen[tok.String()]; ok {
			t.Errorf("%q and %q share %s", name, other, tok)
		}
		seen[tok.String()] = name
		if back, err := Parse(tok.String()); err != nil || back != tok {
			t.Errorf("%q does not come back: %v", name, err)
		}
	}
}

func TestCompareOnlyWithinOneClusterEpochResource(t *testing.T) {
	older := Fields{Cluster: 1, Epoch: 1, Mode: Exclusive, Resource: "/a", Revision: 7, Key: "q/1"}
	newer := older
	newer.Revision, newer.Key = 9, "q/2"
	if c, err := mustNew(t, older).Compare(mustNew(t, newer)); err != nil || c >= 0 {
		t.Errorf("older against newer: %d, %v", c, err)
	}
	if c, err := mustNew(t, newer).Compare(mustNew(t, older)); err != nil || c <= 0 {
		t.Errorf("newer against older: %d, %v", c, err)
	}
	if c, err := mustNew(t, older).Compare(mustNew(t, older)); err != nil || c != 0 {
		t.Errorf("with itself: %d, %v", c, err)
	}
	for what, change := range map[string]func(*Fields){
		"cluster":  func(f *Fields) { f.Cluster = 2 },
		"epoch":    func(f *Fields) { f.Epoch = 2 },
		"resource": func(f *Fields) { f.Resource = "/b" },
	} {
		other := newer
		change(&other)
		if _, err := mustNew(t, older).Compare(mustNew(t, other)); !errors.Is(err, ErrIncomparable) {
			t.Errorf("another %s: %v", what, err)
		}
	}
	if _, err := (Token{}).Compare(mustNew(t, older)); !errors.Is(err, ErrIncomparable) {
		t.Errorf("the zero token: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for what, f := range map[string]Fields{
		"no mode":       {Resource: "/a", Revision: 1},
		"unknown mode":  {Mode: 'q', Resource: "/a", Revision: 1},
		"revision zero": {Mode: Exclusive, Resource: "/a"},
		"no resource":   {Mode: Exclusive, Revision: 1},
	} {
		if tok, err := New(f); err == nil {
			t.Errorf("%s: made %s", what, tok)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "f1", "f2:000000000000cafe:2:x:41::/a:q", "f1:cafe:2:x:41::/a:q", "f1:000000000000CAFE:2:x:41::/a:q",
		"f1:000000000000cafe:02:x:41::/a:q", "f1:000000000000cafe:2:x:+41::/a:q", "f1:000000000000cafe:2:x:0::/a:q",
		"f1:000000000000cafe:2:x:-1::/a:q", "f1:000000000000cafe:2:z:41::/a:q", "f1:000000000000cafe:2:x:41:::q",
		"f1:000000000000cafe:2:x:41::/a b:q", "f1:000000000000cafe:2:x:41::~short:q", "f1:000000000000cafe:2:x:41::/a:q\n",
		"f1:000000000000cafe:2:x:41::/a:q:more", "f1:000000000000cafe:2:x:41::" + strings.Repeat("a", 91) + ":q",
		"f1:000000000000cafe:2:x:99999999999999999999::/a:q", strings.Repeat("f", 10000),
	} {
		if tok, err := Parse(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v, %v", text, tok, err)
		}
	}
	if _, err := (Token{}).MarshalText(); !errors.Is(err, ErrMalformed) {
		t.Errorf("the zero token marshals: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("f1:000000000000cafe:2:x:41::/locks/jobs%2Fnightly:q/00ff")
	f.Add("f1:000000000000cafe:2:x:41:7:~" + strings.Repeat("A", 43) + ":")
	f.Add("f1:000000000000cafe:2:s:41:7:/locks/a:q/r/00ff")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := Parse(text)
		if err != nil {
			return
		}
		if tok.String() != text {
			t.Fatalf("%q parses to the token of %q", text, tok)
		}
		if again, err := New(tok.Fields()); err != nil || again != tok {
			t.Fatalf("%q: its parts make %q, %v", text, again, err)
		}
	})
}
