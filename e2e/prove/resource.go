package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coordd/coordd/recipes/fence"
)

// policy says how a resource checks tokens.
type policy string

const (
	unfenced policy = "unfenced" // not at all
	marked   policy = "marked"   // one mark for each slot of a name, as designed
	oneMark  policy = "one mark" // one mark for a name, whatever the slot
)

// access is one request to the resource.
type access struct {
	Do     string // "advance", "read" or "write"
	Policy policy
	Name   string // of what is locked
	Token  string // text form; "" only where it is not checked
	Value  int64  // to write
}

// accessed is the answer to an access.
type accessed struct {
	Refused bool
	Value   int64 // as it is after the access
}

// logged is an access in the order in which the resource saw them.
type logged struct {
	Asked  access
	Answer accessed
}

// resource is a server that keeps a number for each name, or each slot of one: what
// the locks are there to protect. It is a process of its own and never suffers faults.
type resource struct {
	mu     sync.Mutex
	values map[string]int64
	marks  map[string]fence.Mark
	log    []logged
}

// runResource serves until its input ends. The answer to each command is the log so far.
func runResource() int {
	r := &resource{values: map[string]int64{}, marks: map[string]fence.Mark{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic("resource: no free port: " + err.Error())
	}
	go http.Serve(l, r)
	return serve(func(string) resourceState {
		r.mu.Lock()
		defer r.mu.Unlock()
		return resourceState{Address: l.Addr().String(), Log: r.log}
	})
}

// resourceState is what a resource tells of itself.
type resourceState struct {
	Address string
	Log     []logged
}

func (r *resource) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var a access
	if err := json.NewDecoder(req.Body).Decode(&a); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := r.access(a)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	json.NewEncoder(w).Encode(answer)
}

func (r *resource) access(a access) (answer accessed, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	place := a.Name
	if a.Policy != unfenced {
		token, err := fence.Parse(a.Token)
		if err != nil {
			return answer, err
		}
		if a.Policy == marked {
			place = placeOf(a.Name, token)
		} else {
			token = unslotted(token)
		}
		r.marks[place], err = r.marks[place].Admit(token)
		if answer.Refused = errors.Is(err, fence.ErrStale); err != nil && !answer.Refused {
			return answer, err
		}
	}
	if a.Do == "write" && !answer.Refused {
		r.values[place] = a.Value
	}
	answer.Value = r.values[place]
	r.log = append(r.log, logged{a, answer})
	return answer, nil
}

// placeOf is where the number of a token's slot is.
func placeOf(name string, token fence.Token) string { return name + "#" + token.Fields().Slot }

// unslotted is a token as if all slots were one.
func unslotted(token fence.Token) fence.Token {
	f := token.Fields()
	f.Slot = ""
	token, err := fence.New(f)
	if err != nil {
		panic("resource: " + err.Error())
	}
	return token
}

// resourceClient asks a resource.
type resourceClient struct{ address string }

func (c resourceClient) do(ctx context.Context, a access) (answer accessed, err error) {
	body, err := json.Marshal(a)
	if err != nil {
		return accessed{}, fmt.Errorf("resource: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.address, bytes.NewReader(body))
	if err != nil {
		return accessed{}, fmt.Errorf("resource: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return accessed{}, fmt.Errorf("resource: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return accessed{}, fmt.Errorf("resource: %s: %s", resp.Status, text)
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return accessed{}, fmt.Errorf("resource: %w", err)
	}
	return answer, nil
}
