package blocker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"github.com/coordd/coordd/locksmith/fetch"
)

// maxAlerts bounds the answer of Prometheus, in bytes: some ten thousand alerts.
const maxAlerts = 8 << 20

// prometheus are the alerts that fire. Silences are Alertmanager's, and unknown
// here: an alert that is not to forbid reboots is to be ignored by its name.
type prometheus struct {
	request fetch.Request
	ignore  *regexp.Regexp // nil: none
	only    *regexp.Regexp // nil: all
}

func newPrometheus(c Prometheus) (*prometheus, error) {
	alerts, err := url.JoinPath(c.URL, "api/v1/alerts")
	if err != nil {
		return nil, fmt.Errorf("blockers.prometheus.url: %w", err)
	}
	p := &prometheus{request: fetch.Request{URL: alerts, CAFile: c.CAFile, TokenFile: c.TokenFile, MaxBody: maxAlerts}}
	if c.Ignore != "" {
		p.ignore, err = whole(c.Ignore)
	}
	if err == nil && c.Only != "" {
		p.only, err = whole(c.Only)
	}
	return p, err
}

func (*prometheus) Name() string { return "prometheus" }

func (p *prometheus) Blocks(ctx context.Context) ([]string, error) {
	answer, err := fetch.Get(ctx, p.request)
	if err != nil {
		return nil, err
	}
	alerts, err := readAlerts(answer)
	if err != nil {
		return nil, err
	}
	count := map[string]int{}
	var names []string
	for _, a := range alerts {
		name := a.Labels["alertname"]
		if !a.fires() || p.ignore != nil && p.ignore.MatchString(name) || p.only != nil && !p.only.MatchString(name) {
			continue
		}
		if count[name]++; count[name] == 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var why []string
	for _, name := range names {
		text := fmt.Sprintf("alert %q fires", name)
		if n := count[name]; n > 1 {
			text += fmt.Sprintf(" %d times", n)
		}
		why = append(why, text)
	}
	return why, nil
}

type alert struct {
	Labels map[string]string `json:"labels"`
	State  string            `json:"state"`
}

// fires counts a state that is not known as well.
func (a *alert) fires() bool { return a.State != "pending" && a.State != "inactive" }

// readAlerts demands all that makes an answer one of Prometheus: the page of a
// proxy that asks for a login must not look like a system without alerts.
func readAlerts(answer fetch.Response) ([]alert, error) {
	var body struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			Alerts *[]alert `json:"alerts"`
		} `json:"data"`
	}
	err := json.Unmarshal(answer.Body, &body)
	switch {
	case err == nil && body.Status == "error":
		return nil, fmt.Errorf("status %d: %s", answer.Status, body.Error)
	case answer.Status != http.StatusOK:
		return nil, fmt.Errorf("status %d", answer.Status)
	case err != nil:
		return nil, fmt.Errorf("the answer is not Prometheus's: %w", err)
	case body.Status != "success" || body.Data.Alerts == nil:
		return nil, errors.New("the answer is not Prometheus's: it has no list of alerts")
	}
	return *body.Data.Alerts, nil
}
