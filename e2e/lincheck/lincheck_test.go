package lincheck

import (
	"strings"
	"testing"
	"time"
)

// timed lets each operation be called after the one before has returned, unless that
// never does.
func timed(ops ...Op) []Op {
	for i := range ops {
		ops[i].Call = time.Duration(10 * i)
		if ops[i].Return == 0 {
			ops[i].Return = time.Duration(10*i + 5)
		}
	}
	return ops
}

func acquire(who string, token int64) Op { return Op{Do: Acquire, Who: who, Token: token} }
func read(who string, token int64) Op    { return Op{Do: Acquire, Who: who, Token: token, Shared: true} }
func weigh(who string, weight int64) Op  { return Op{Do: Acquire, Who: who, Weight: weight} }
func release(who string) Op              { return Op{Do: Release, Who: who} }
func lost(who string) Op                 { return Op{Do: Release, Who: who, Return: Never} }
func transfer(who, to string) Op         { return Op{Do: Transfer, Who: who, To: to} }
func leader(who string) Op               { return Op{Do: Leader, To: who} }

func advance(token int64) Op      { return Op{Do: Advance, Token: token} }
func get(token, value int64) Op   { return Op{Do: Read, Token: token, Value: value} }
func write(token, value int64) Op { return Op{Do: Write, Token: token, Value: value} }
func refused(op Op) Op            { op.Refused = true; return op }
func shared(op Op) Op             { op.Shared = true; return op }

func judge(t *testing.T, m Model, cases map[string][]Op) {
	t.Helper()
	for what, ops := range cases {
		err := m.Check(timed(ops...), time.Minute)
		if wrong := strings.HasPrefix(what, "wrong: "); wrong != (err != nil) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestMutex(t *testing.T) {
	judge(t, Mutex(), map[string][]Op{
		"one after the other":        {acquire("a", 1), release("a"), acquire("b", 2), release("b")},
		"lost before the next":       {acquire("a", 1), lost("a"), acquire("b", 2)},
		"wrong: two at once":         {acquire("a", 1), acquire("b", 2), release("a")},
		"wrong: the token goes back": {acquire("a", 2), release("a"), acquire("b", 1)},
		"wrong: the same token":      {acquire("a", 2), release("a"), acquire("b", 2)},
		"wrong: released by another": {acquire("a", 1), release("b")},
	})
	overlapping := []Op{
		{Do: Acquire, Who: "b", Token: 2, Call: 0, Return: 100}, {Do: Acquire, Who: "a", Token: 1, Call: 10, Return: 20},
		{Do: Release, Who: "a", Call: 30, Return: 40},
	}
	if err := Mutex().Check(overlapping, time.Minute); err != nil {
		t.Errorf("one waits while another holds: %v", err)
	}
}

func TestRWMutex(t *testing.T) {
	judge(t, RWMutex(), map[string][]Op{
		"readers together":                {read("a", 2), read("b", 1), release("b"), release("a"), acquire("c", 3)},
		"a writer that becomes a reader":  {acquire("a", 1), transfer("a", "r"), read("b", 2), release("r"), release("b")},
		"wrong: a reader beside a writer": {acquire("a", 1), read("b", 2), release("a")},
		"wrong: a writer beside a reader": {read("a", 1), acquire("b", 2), release("a")},
		"wrong: two writers":              {acquire("a", 1), acquire("b", 2), release("a")},
		"wrong: an old reader's token":    {acquire("a", 3), release("a"), read("b", 2)},
		"wrong: an old writer's token":    {read("a", 3), release("a"), acquire("b", 2)},
		"wrong: a reader that writes on":  {acquire("a", 1), transfer("a", "r"), acquire("b", 2)},
	})
}

func TestSemaphore(t *testing.T) {
	judge(t, Semaphore(3), map[string][]Op{
		"up to the limit":              {weigh("a", 1), weigh("b", 2), release("a"), weigh("c", 1)},
		"a grown limit":                {weigh("a", 3), {Do: SetLimit, Weight: 4}, weigh("b", 1)},
		"a shrunk one revokes nothing": {weigh("a", 3), {Do: SetLimit, Weight: 1}, release("a"), weigh("b", 1)},
		"wrong: beyond the limit":      {weigh("a", 2), weigh("b", 2), release("a")},
		"wrong: beyond a shrunk one":   {weigh("a", 1), {Do: SetLimit, Weight: 1}, weigh("b", 1), release("a")},
		"wrong: released twice":        {weigh("a", 1), release("a"), release("a")},
	})
}

func TestElection(t *testing.T) {
	judge(t, Election(), map[string][]Op{
		"in turn":                    {leader(""), acquire("a", 1), leader("a"), release("a"), leader(""), acquire("b", 2)},
		"a transfer":                 {acquire("a", 1), transfer("a", "c"), leader("c"), acquire("c", 2), release("c"), acquire("b", 3)},
		"wrong: two leaders":         {acquire("a", 1), acquire("b", 2), release("a")},
		"wrong: past the successor":  {acquire("a", 1), transfer("a", "c"), acquire("b", 2)},
		"wrong: led by nobody":       {acquire("a", 1), leader("")},
		"wrong: the old leader":      {acquire("a", 1), release("a"), acquire("b", 2), leader("a")},
		"wrong: the token goes back": {acquire("a", 2), transfer("a", "c"), acquire("c", 1)},
	})
}

func TestRegister(t *testing.T) {
	judge(t, Register(), map[string][]Op{
		"an old writer is refused":   {write(1, 10), advance(2), refused(write(1, 11)), get(2, 10), write(2, 20)},
		"readers share":              {write(1, 10), shared(get(3, 10)), shared(get(2, 10)), refused(write(1, 11)), write(4, 20), refused(shared(get(3, 0)))},
		"wrong: a stale write":       {advance(2), write(1, 10)},
		"wrong: a lost update":       {get(1, 0), get(2, 0), write(1, 1), get(2, 0)},
		"wrong: refused for nothing": {write(1, 10), refused(write(2, 20))},
		"wrong: an old value":        {write(1, 10), get(2, 0)},
		"wrong: a reader writes":     {shared(write(1, 10))},
	})
}

func TestNoVerdictIsAnError(t *testing.T) {
	var ops []Op // all at once, and none of them possible last
	for i := range 24 {
		ops = append(ops, Op{Do: Acquire, Who: string(rune('a' + i)), Weight: 1, Return: Never}, Op{Do: Release, Who: string(rune('a' + i)), Return: Never})
	}
	ops = append(ops, Op{Do: Release, Who: "nobody", Return: Never})
	if err := Semaphore(12).Check(ops, time.Millisecond); err == nil {
		t.Error("no complaint")
	}
}
