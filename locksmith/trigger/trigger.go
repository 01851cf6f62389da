// Package trigger knows why a reboot is wanted.
//
// A [Source] is one reason: a file, a command, needrestart, update_engine. It says
// what it sees and changes nothing. What cannot be read, has not ended in time, or
// makes no sense is an error, and never a wish for a reboot.
package trigger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// Source is one reason for which a reboot may be wanted.
type Source interface {
	// Name is what people call it, with what tells it from others of its kind.
	Name() string
	// Wanted returns why a reboot is wanted, on one line of at most 300 bytes, or "" if
	// it is not. It returns when ctx ends. With an error no reboot is wanted.
	Wanted(ctx context.Context) (why string, err error)
}

// Sources are all that may want a reboot of this machine. Its methods may be called concurrently.
type Sources struct {
	list    []Source
	engine  *updateEngine // nil: it is not listened to
	changed chan struct{}
}

// New checks the configuration and makes its sources. A program that does not exist is an error.
func New(c Config, log *slog.Logger) (*Sources, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Sources{changed: make(chan struct{}, 1)}
	if c.SentinelFile != "" {
		s.list = append(s.list, sentinelFile(c.SentinelFile))
	}
	if c.UpdateEngine {
		s.engine = newUpdateEngine(s.notify, log)
		s.list = append(s.list, s.engine)
	}
	if len(c.SentinelCommand) > 0 {
		source, err := newSentinelCommand(c.SentinelCommand)
		if err != nil {
			return nil, err
		}
		s.list = append(s.list, source)
	}
	if c.Needrestart {
		source, err := newNeedrestart(log)
		if err != nil {
			return nil, err
		}
		s.list = append(s.list, source)
	}
	return s, nil
}

// List returns the sources, in the order in which they are asked.
func (s *Sources) List() []Source { return s.list }

// Wanted asks all sources, one after another. reasons has a line for each that
// wants a reboot, "<name>: <why>". err joins what the others failed with; it takes
// nothing from the reasons.
func (s *Sources) Wanted(ctx context.Context) (reasons []string, err error) {
	var failed []error
	for _, source := range s.list {
		why, err := source.Wanted(ctx)
		switch {
		case err != nil:
			failed = append(failed, fmt.Errorf("trigger: %s: %w", source.Name(), err))
		case why != "":
			reasons = append(reasons, source.Name()+": "+why)
		}
	}
	return reasons, errors.Join(failed...)
}

// Changed has a value after a source has changed its mind by itself, so that
// Wanted is worth asking at once; files and commands do not tell. One caller may wait for it.
func (s *Sources) Changed() <-chan struct{} { return s.changed }

func (s *Sources) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run listens to the sources that tell by themselves, until ctx ends. Without it, such a source cannot be asked.
func (s *Sources) Run(ctx context.Context) {
	if s.engine != nil {
		s.engine.run(ctx)
	}
	<-ctx.Done()
}
