package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/tw"
	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
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

// printer writes results to a command's output in the format the user asked for.
type printer struct {
	out       io.Writer
	format    string
	hex       bool
	valueOnly bool
}

// printer returns an error if the format is unknown or if it is a table and the command has none: before the command
// does anything, because a change that was made but reported as an error invites a repetition.
func (s *session) printer(cmd *cobra.Command, tables bool) (*printer, error) {
	switch {
	case s.format == "simple", s.format == "fields", s.format == "json", s.format == "table" && tables:
		return &printer{out: cmd.OutOrStdout(), format: s.format, hex: s.hex}, nil
	case s.format == "table":
		return nil, withCode(exitBadFeature, fmt.Errorf("table not supported as output format of %q; use simple, json or fields", cmd.CommandPath()))
	}
	return nil, withCode(exitBadFeature, fmt.Errorf("unsupported output format %q; use simple, json, table or fields", s.format))
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
