package slots

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)

func at(n int) *int { return &n }

// machines makes records of words like "a/zone/stage", all of group g.
func machines(words ...string) (records []Record) {
	for i, w := range words {
		parts := append(strings.Split(w, "/"), "", "")
		r := Record{ID: parts[0], Group: "g", Zone: parts[1], Since: noon.Add(-time.Hour), Fence: int64(i + 1)}
		if parts[2] != "" {
			r.Stage = int(parts[2][0] - '0')
		}
		records = append(records, r)
	}
	return records
}

func TestTurn(t *testing.T) {
	for _, test := range []struct {
		name    string
		rules   Rules
		holders []Record
		ahead   []Record
		want    Record
		refusal Refusal // "" for a grant, "full" for a FullError
		why     string
	}{
		{name: "alone", want: machines("a")[0]},
		{name: "full", holders: machines("b"), want: machines("a")[0], refusal: "full"},
		{name: "another group's holder", holders: []Record{{ID: "b", Group: "other"}}, want: machines("a")[0]},
		{name: "nobody may", rules: Rules{Group: Policy{Max: at(0)}}, want: machines("a")[0], refusal: "full"},
		{name: "the cluster is full", rules: Rules{Cluster: Policy{Max: at(1)}}, holders: []Record{{ID: "b", Group: "other"}}, want: machines("a")[0], refusal: RefusedCluster, why: "b"},
		{name: "group paused", rules: Rules{Standing: Standing{Pause: &Pause{By: "ann", Reason: "a storm"}}}, want: machines("a")[0], refusal: RefusedPaused, why: "the group is paused by ann"},
		{name: "cluster paused", rules: Rules{ClusterStanding: Standing{Pause: &Pause{By: "ann", Reason: "a storm"}}}, want: machines("a")[0], refusal: RefusedPaused, why: "a storm"},
		{name: "zone full", rules: Rules{Group: Policy{Max: at(5), PerZone: 1}}, holders: machines("b/z1"), want: machines("a/z1")[0], refusal: RefusedZone, why: `zone "z1"`},
		{name: "another zone", rules: Rules{Group: Policy{Max: at(5), PerZone: 1}}, holders: machines("b/z1"), want: machines("a/z2")[0]},
		{name: "too many zones", rules: Rules{Group: Policy{Max: at(5), Zones: 1}}, holders: machines("b/z1"), want: machines("a/z2")[0], refusal: RefusedZone, why: "1 other zones"},
		{name: "the same zone", rules: Rules{Group: Policy{Max: at(5), Zones: 1}}, holders: machines("b/z1"), want: machines("a/z1")[0]},
		{name: "zones of the cluster", rules: Rules{Cluster: Policy{Zones: 1}}, holders: []Record{{ID: "b", Group: "other", Zone: "z2"}}, want: machines("a/z1")[0], refusal: RefusedZone, why: "cluster"},
		{name: "two members of the store", rules: Rules{Group: Policy{Max: at(5)}}, holders: []Record{{ID: "b", Group: "other", Member: "m2"}}, want: Record{ID: "a", Group: "g", Member: "m1"}, refusal: RefusedMember, why: "b is a member of the store"},
		{name: "a member and another machine", rules: Rules{Group: Policy{Max: at(5)}}, holders: machines("b"), want: Record{ID: "a", Group: "g", Member: "m1"}},
		{name: "somebody is ahead", ahead: machines("b"), want: machines("a")[0], refusal: RefusedQueue, why: "the turn of b"},
		{name: "room for both", rules: Rules{Group: Policy{Max: at(2)}}, ahead: machines("b"), want: machines("a")[0]},
		{name: "who waits for its zone is passed", rules: Rules{Group: Policy{Max: at(2), Zones: 1}}, holders: machines("h/z1"), ahead: machines("b/z2"), want: machines("a/z1")[0]},
		{name: "a canary wants to go", ahead: machines("b//0"), rules: Rules{Group: Policy{Max: at(2)}}, want: machines("a//1")[0], refusal: RefusedStage, why: "b of stage 0"},
		{name: "a canary is on its way", holders: machines("b//0"), rules: Rules{Group: Policy{Max: at(2)}}, want: machines("a//1")[0], refusal: RefusedStage, why: "b of stage 0"},
		{name: "a later stage is on its way", holders: machines("b//1"), rules: Rules{Group: Policy{Max: at(2)}}, want: machines("a//0")[0]},
		{name: "a canary came back just now", rules: Rules{Group: Policy{SoakSeconds: 600}, Standing: Standing{Returned: map[int]time.Time{0: noon.Add(-9 * time.Minute)}}}, want: machines("a//1")[0], refusal: RefusedStage, why: "12:01:00"},
		{name: "a canary came back long ago", rules: Rules{Group: Policy{SoakSeconds: 600}, Standing: Standing{Returned: map[int]time.Time{0: noon.Add(-10 * time.Minute)}}}, want: machines("a//1")[0]},
		{name: "the canaries may not know yet", rules: Rules{Group: Policy{SoakSeconds: 7200}}, want: machines("a//1")[0], refusal: RefusedStage, why: "13:00:00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.rules.Turn(test.holders, test.ahead, test.want, noon)
			refused, isRefused := errors.AsType[*RefusedError](err)
			_, isFull := errors.AsType[*FullError](err)
			switch {
			case test.refusal == "" && err != nil, test.refusal == "full" && !isFull,
				test.refusal != "" && test.refusal != "full" && (!isRefused || refused.Kind != test.refusal),
				test.refusal != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.why)):
				t.Errorf("%v, want %q with %q", err, test.refusal, test.why)
			}
		})
	}
}

func TestPolicyValidate(t *testing.T) {
	for _, test := range []struct {
		policy Policy
		want   string // in the error, "" for none
	}{
		{Policy{}, ""},
		{Policy{Max: at(0), DeadHolder: Hold}, ""},
		{Policy{DeadHolder: ReleaseAfter, DeadAfterSeconds: 60, Breaker: at(0)}, ""},
		{Policy{Max: at(-1)}, "max of -1"},
		{Policy{PerZone: -1}, "per_zone"},
		{Policy{Zones: MaxSlots + 1}, "zones"},
		{Policy{Breaker: at(-2)}, "breaker"},
		{Policy{DeadHolder: "forget"}, `"forget"`},
		{Policy{DeadHolder: ReleaseAfter}, "needs dead_after_seconds"},
		{Policy{DeadAfterSeconds: 5}, "needs dead_holder"},
		{Policy{SoakSeconds: -1}, "soak_seconds"},
		{Policy{SoakSeconds: maxSeconds + 1}, "soak_seconds"},
	} {
		err := test.policy.Validate()
		if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.policy, err, test.want)
		}
	}
	for _, p := range []Policy{{Breaker: at(1)}, {SoakSeconds: 1}, {DeadHolder: Hold}} {
		if err := p.validateCluster(); !errors.Is(err, ErrPolicy) {
			t.Errorf("%+v for the cluster: %v, want ErrPolicy", p, err)
		}
	}
	limits := Policy{Max: at(3), PerZone: 2, Zones: 1}
	if err := limits.validateCluster(); err != nil {
		t.Error(err)
	}
}
