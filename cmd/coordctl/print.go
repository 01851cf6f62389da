package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/tw"
	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// A result is a server's answer in the forms a printer needs.
type result interface {
	simple(t *text)        // --write-out simple: for people and for shell scripts
	fields(t *text)        // --write-out fields: a line for each field
	value(hexIDs bool) any // --write-out json: what encoding/json turns into etcdctl's JSON
}

// A tabular result can also be written as a table.
type tabular interface {
	result
	table(t *text) (header []string, rows [][]string)
}

// A message result names the answer that --write-out protobuf writes where value is not that answer itself.
type message interface {
	result
	message() proto.Message
}

// A sentence is the result of a command that etcdctl answers with a line of text whatever the format. It has no table
// and perhaps no message: then it is that line.
type sentence interface {
	result
	isSentence()
}

// formats lists what --write-out takes.
var formats = []string{"fields", "json", "protobuf", "simple", "table"}

// printer writes results to a command's output in the format the user asked for.
type printer struct {
	out       io.Writer
	format    string
	hex       bool
	valueOnly bool
}

// printer returns an error if the format is unknown or if results like r, which may be a zero value, do not have it:
// before the command does anything, because a change that was made but reported as an error invites a repetition.
func (s *session) printer(cmd *cobra.Command, r result) (*printer, error) {
	if err := s.checkFormat(); err != nil {
		return nil, err
	}
	p := &printer{out: cmd.OutOrStdout(), format: s.format, hex: s.hex}
	if has := formatsOf(r); !slices.Contains(has, p.format) {
		if _, ok := r.(sentence); !ok {
			return nil, withCode(exitBadFeature, fmt.Errorf("%s not supported as output format of %q; use %s", p.format, cmd.CommandPath(), strings.Join(has, ", ")))
		}
		p.format = "simple"
	}
	return p, nil
}

func (s *session) checkFormat() error {
	if !slices.Contains(formats, s.format) {
		return withCode(exitBadFeature, fmt.Errorf("unsupported output format %q; use %s", s.format, strings.Join(formats, ", ")))
	}
	return nil
}

// formatsOf lists the formats that results like r have.
func formatsOf(r result) []string {
	_, isTable := r.(tabular)
	return slices.DeleteFunc(slices.Clone(formats), func(format string) bool {
		return format == "table" && !isTable || format == "protobuf" && !isMessage(r)
	})
}

func isMessage(r result) bool {
	if _, ok := r.(message); ok {
		return true
	}
	_, ok := r.value(false).(proto.Message)
	return ok
}

func messageOf(r result) proto.Message {
	if m, ok := r.(message); ok {
		return m.message()
	}
	return r.value(false).(proto.Message)
}

// print writes one result, in one Write.
func (p *printer) print(r result) error {
	t := &text{hex: p.hex, valueOnly: p.valueOnly}
	switch p.format {
	case "simple":
		r.simple(t)
	case "fields":
		r.fields(t)
	case "json":
		encoded, err := json.Marshal(r.value(p.hex))
		if err != nil {
			return fmt.Errorf("encode the answer as JSON: %w", err)
		}
		t.line(string(encoded))
	case "protobuf":
		encoded, err := proto.Marshal(messageOf(r))
		if err != nil {
			return fmt.Errorf("encode the answer as protobuf: %w", err)
		}
		t.Write(encoded) // and nothing after it: a reader takes all there is
	case "table":
		header, rows := r.(tabular).table(t)
		if err := t.grid(header, rows); err != nil {
			return fmt.Errorf("lay out the table: %w", err)
		}
	}
	_, err := t.WriteTo(p.out)
	return err
}

// text is output under construction.
type text struct {
	bytes.Buffer
	hex       bool
	valueOnly bool
}

func (t *text) line(s string) {
	t.WriteString(s)
	t.WriteByte('\n')
}

func (t *text) linef(format string, args ...any) {
	fmt.Fprintf(t, format, args...)
	t.WriteByte('\n')
}

// bytesOf returns b as is, or with --hex every byte as \x and two digits.
func (t *text) bytesOf(b []byte) string {
	if !t.hex {
		return string(b)
	}
	var s strings.Builder
	for _, c := range b {
		s.WriteString(`\x`)
		s.WriteString(hex.EncodeToString([]byte{c}))
	}
	return s.String()
}

// cell is bytesOf for a table: what a terminal would not show as it is stands quoted.
func (t *text) cell(b []byte) string {
	s := t.bytesOf(b)
	if strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return strconv.Quote(s)
	}
	return s
}

// pair writes a key and its value on a line each.
func (t *text) pair(kv *mvccpb.KeyValue) {
	if !t.valueOnly {
		t.line(t.bytesOf(kv.GetKey()))
	}
	t.line(t.bytesOf(kv.GetValue()))
}

// field writes one line of the fields format. Strings are quoted by the caller where etcdctl quotes them.
func (t *text) field(name string, value any) {
	t.linef("%q : %v", name, value)
}

func (t *text) quoted(name string, value string) {
	t.field(name, strconv.Quote(value))
}

// names writes one field with a list of names.
func (t *text) names(name string, list []string) {
	fmt.Fprintf(t, "%q :", name)
	for _, n := range list {
		fmt.Fprintf(t, " %q", n)
	}
	t.line("")
}

// memberID formats a member's or cluster's ID for the fields format.
func (t *text) memberID(id uint64) string {
	if t.hex {
		return strconv.FormatUint(id, 16)
	}
	return strconv.FormatUint(id, 10)
}

// leaseID formats a lease's ID for the fields format.
func (t *text) leaseID(id int64) string {
	if t.hex {
		return fmt.Sprintf("%016x", id)
	}
	return strconv.FormatInt(id, 10)
}

func (t *text) header(h *pb.ResponseHeader) {
	t.field("ClusterID", t.memberID(h.GetClusterId()))
	t.field("MemberID", t.memberID(h.GetMemberId()))
	if h.GetRevision() > 0 { // answers about anything but keys carry none
		t.field("Revision", h.GetRevision())
	}
	t.field("RaftTerm", h.GetRaftTerm())
}

func (t *text) keyValue(prefix string, kv *mvccpb.KeyValue) {
	t.quoted(prefix+"Key", string(kv.GetKey()))
	t.field(prefix+"CreateRevision", kv.GetCreateRevision())
	t.field(prefix+"ModRevision", kv.GetModRevision())
	t.field(prefix+"Version", kv.GetVersion())
	t.quoted(prefix+"Value", string(kv.GetValue()))
	t.field(prefix+"Lease", t.leaseID(kv.GetLease()))
}

func (t *text) grid(header []string, rows [][]string) error {
	cfg := tablewriter.NewConfigBuilder().WithRowAlignment(tw.AlignRight).Build()
	table := tablewriter.NewTable(t, tablewriter.WithConfig(cfg))
	table.Header(header)
	if err := table.Bulk(rows); err != nil {
		return err
	}
	return table.Render()
}
