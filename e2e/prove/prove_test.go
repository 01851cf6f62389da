package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/lincheck"
	"github.com/coordd/coordd/recipes/fence"
)

// TestMain lets the test's own processes play the other roles.
func TestMain(m *testing.M) {
	if code, ok := runRole(os.Args); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// All arms, with few trials each; make prove-locks is the whole.
func TestArms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes most of a minute")
	}
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	p := programs{server: filepath.Join(bin, "coordd"), ctl: filepath.Join(bin, "coordctl")}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	findings, err := prove(ctx, p, t.TempDir(), sizeOf(true), regexp.MustCompile(""))
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if !tabulate(&table, findings) {
		t.Errorf("not all arms came out as they must:\n%s", &table)
	}
}

func TestArmsThatComeOutOtherwise(t *testing.T) {
	for what, c := range map[string]struct {
		finding finding
		agrees  bool
	}{
		"found as it must":    {finding{arm: arm{found: true}, outcome: outcome{trials: 2, violations: 1}}, true},
		"none as it must":     {finding{outcome: outcome{trials: 2}}, true},
		"none was found":      {finding{arm: arm{found: true}, outcome: outcome{trials: 2}}, false},
		"one too many":        {finding{outcome: outcome{trials: 2, violations: 1}}, false},
		"nothing was tried":   {finding{}, false},
		"Valid was wrong":     {finding{outcome: outcome{trials: 2, falselyValid: 1}}, false},
		"it could not be run": {finding{outcome: outcome{trials: 2}, err: context.Canceled}, false},
	} {
		if got := c.finding.agrees(); got != c.agrees {
			t.Errorf("%s: agrees is %t", what, got)
		}
		var table strings.Builder
		if got := tabulate(&table, []finding{c.finding}); got != c.agrees {
			t.Errorf("%s: the table says %t:\n%s", what, got, &table)
		}
	}
}

func TestSkewTrialIsJudged(t *testing.T) {
	at := func(times ...time.Duration) (results []result) {
		for _, t := range times {
			results = append(results, result{At: t})
		}
		return results
	}
	if got := (skewTrial{}).judge(at(10, 20), at(11, 30)); got.violations != 0 || got.trials != 2 {
		t.Errorf("two that ended in time: %+v", got)
	}
	if got := (skewTrial{}).judge(at(10, 40), at(11, 30)); got.violations != 1 {
		t.Errorf("one that believed too long: %+v", got)
	}
}

// The judges of the soak complain about what is planted.
func TestDiariesAreJudged(t *testing.T) {
	acquired := func(who string, token int64, call, ret time.Duration) line {
		return line{Target: targets[0], Op: &lincheck.Op{Do: lincheck.Acquire, Who: who, Token: token, Call: call, Return: ret}}
	}
	released := func(who string, call, ret time.Duration) line {
		return line{Target: targets[0], Op: &lincheck.Op{Do: lincheck.Release, Who: who, Call: call, Return: ret}}
	}
	for what, c := range map[string]struct {
		lines []line
		want  string
	}{
		"in turn":         {[]line{acquired("a", 1, 0, 1), released("a", 2, 3), acquired("b", 2, 0, 4)}, ""},
		"lost in between": {[]line{acquired("a", 1, 0, 1), acquired("b", 2, 0, 4)}, ""},
		"believed too long": {[]line{acquired("a", 1, 0, 1), acquired("b", 2, 0, 4), {Target: targets[0], Who: "a", Believed: 5}},
			"a believed to hold 1ns after b"},
		"two at once": {[]line{acquired("a", 1, 0, 1), acquired("b", 2, 0, 2), released("a", 3, 4)}, "no order explains"},
		"a complaint": {[]line{acquired("a", 1, 0, 1), {Target: targets[0], Complaint: "refused"}}, "refused"},
		"never used":  {nil, "nobody ever had it"},
	} {
		var wrong []string
		for _, w := range judgeDiaries(c.lines) {
			if strings.HasPrefix(w, targets[0].Name+":") {
				wrong = append(wrong, w)
			}
		}
		if got := strings.Join(wrong, "; "); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: judged %q, want %q", what, got, c.want)
		}
	}
}

// A leader that was appointed and never knew it may have been seen by others.
func TestUnseenTermsAreCompleted(t *testing.T) {
	ops := []lincheck.Op{
		{Do: lincheck.Acquire, Who: "a", Token: 1, Call: 0, Return: 1},
		{Do: lincheck.Transfer, Who: "a", To: "b", Call: 2, Return: 3},
		{Do: lincheck.Leader, To: "b", Call: 4, Return: 5},
		{Do: lincheck.Leader, To: "c", Token: 3, Call: 6, Return: 7},
	}
	if err := lincheck.Election().Check(complete(ops), time.Minute); err != nil {
		t.Error(err)
	}
}

func TestResourceIsJudged(t *testing.T) {
	token := func(revision int64) string {
		token, err := fence.New(fence.Fields{Mode: fence.Exclusive, Resource: "r", Revision: revision, Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		return token.String()
	}
	write := func(revision, value int64) logged {
		return logged{access{Do: "write", Name: "n", Token: token(revision), Value: value}, accessed{Value: value}}
	}
	if wrong := judgeResource([]logged{write(1, 1), write(2, 2)}); len(wrong) > 0 {
		t.Errorf("in turn: %v", wrong)
	}
	if wrong := judgeResource([]logged{write(1, 1), write(2, 1)}); len(wrong) != 1 {
		t.Errorf("a lost update: %v", wrong)
	}
	if wrong := judgeResource([]logged{write(2, 1), write(1, 2)}); len(wrong) != 1 {
		t.Errorf("a stale write: %v", wrong)
	}
}
