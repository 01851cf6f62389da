package main

import (
	"github.com/coordd/coordd/cmd/build"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/version"
)

func newVersionCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:         "version",
		Short:       "Print the version of coordctl and of the API it speaks",
		Example:     `  coordctl version`,
		Annotations: map[string]string{offline: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, versionResult{})
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			return p.print(versionResult{build.Version(), version.APIVersion})
		},
	}
}

type versionResult struct {
	Version    string `json:"version"`
	APIVersion string `json:"api_version"`
}

func (r versionResult) simple(t *text) {
	t.line("coordctl version: " + r.Version)
	t.line("API version: " + r.APIVersion)
}

func (r versionResult) fields(t *text) {
	t.quoted("Version", r.Version)
	t.quoted("APIVersion", r.APIVersion)
}

func (r versionResult) value(bool) any { return r }
func (versionResult) isSentence()      {}
