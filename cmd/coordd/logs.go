package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/spf13/pflag"
)

// logFlags say what is logged, how and where.
type logFlags struct {
	level, format string
	outputs       list
}

func (l *logFlags) bind(f *pflag.FlagSet) section {
	flags := newFlagSet()
	flags.StringVar(&l.level, "log-level", "info", "debug, info, warn or error; SIGUSR1 switches to debug and back")
	flags.StringVar(&l.format, "log-format", "json", "json or text (etcd's word console is taken for text)")
	l.outputs = list{"default"}
	flags.Var(&l.outputs, "log-outputs", "stderr, stdout or files, to which is appended")
	f.AddFlagSet(flags)
	return section{"Log", flags}
}

// logs is where the program logs to. Its level may be changed while it does.
type logs struct {
	*slog.Logger
	level      *slog.LevelVar
	configured slog.Level
	files      []*os.File
}

// open makes the logger; stderr is where the log goes by default.
func (l *logFlags) open(stderr io.Writer) (opened *logs, err error) {
	opened = &logs{level: new(slog.LevelVar)}
	if opened.configured, err = parseLevel(l.level); err != nil {
		return nil, err
	}
	opened.level.Set(opened.configured)
	if !slices.Contains([]string{"json", "text", "console"}, l.format) {
		return nil, fmt.Errorf("--log-format %q: give json or text", l.format)
	}
	out, err := opened.openOutputs(l.outputs, stderr)
	if err != nil {
		return nil, errors.Join(err, opened.close())
	}
	options := &slog.HandlerOptions{Level: opened.level}
	if l.format == "json" {
		opened.Logger = slog.New(slog.NewJSONHandler(out, options))
	} else {
		opened.Logger = slog.New(slog.NewTextHandler(out, options))
	}
	return opened, nil
}

// parseLevel reads a level. etcd's above error are error: nothing here logs them.
func parseLevel(name string) (level slog.Level, err error) {
	if slices.Contains([]string{"dpanic", "panic", "fatal"}, name) {
		return slog.LevelError, nil
	}
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return level, fmt.Errorf("--log-level %q: give debug, info, warn or error", name)
	}
	return level, nil
}

func (l *logs) openOutputs(names []string, stderr io.Writer) (io.Writer, error) {
	var all []io.Writer
	opened := map[string]bool{}
	for _, name := range names {
		if name == "default" || name == "systemd/journal" { // the journal takes what a service writes there
			name = "stderr"
		}
		if opened[name] {
			continue
		}
		opened[name] = true
		switch name {
		case "":
			return nil, errors.New("--log-outputs: an empty name; give stderr, stdout or files")
		case "stderr":
			all = append(all, stderr)
		case "stdout":
			all = append(all, os.Stdout)
		default:
			file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
			if err != nil {
				return nil, fmt.Errorf("--log-outputs: %w", err)
			}
			l.files = append(l.files, file)
			all = append(all, file)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("--log-outputs is empty; give stderr, stdout or files")
	}
	return io.MultiWriter(all...), nil
}

func (l *logs) close() error {
	var errs []error
	for _, file := range l.files {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}

// toggle switches between the configured level and debug, and where that was
// configured, info.
func (l *logs) toggle() {
	to := slog.LevelDebug
	if l.level.Level() == slog.LevelDebug {
		to = l.configured
		if to == slog.LevelDebug {
			to = slog.LevelInfo
		}
	}
	l.level.Set(min(l.level.Level(), to)) // so that the change itself is logged
	l.Info("the log's level changes", "to", to.String())
	l.level.Set(to)
}
