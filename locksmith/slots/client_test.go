package slots

import (
	"os"
	"testing"

	"github.com/coordd/coordd/coordd/tlsconfig/certtest"
)

// TestClientCertificateIsRenewed: an agent runs for longer than its certificate lasts.
func TestClientCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	authority := certtest.NewAuthority(t, dir, "ca")
	first, second := authority.Issue(t, dir, "first", "first", nil), authority.Issue(t, dir, "second", "second", nil)
	c := ClientConfig{Endpoints: []string{"https://a:1"}, CertFile: first.CertFile, KeyFile: first.KeyFile}
	tlsConfig, err := c.tls()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second"} {
		shown, err := tlsConfig.GetClientCertificate(nil)
		if err != nil || shown.Leaf.Subject.CommonName != want {
			t.Fatalf("%+v, %v, want %s", shown, err, want)
		}
		for from, to := range map[string]string{second.CertFile: first.CertFile, second.KeyFile: first.KeyFile} {
			b, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.KeyFile = "/no/such/file"
	if _, err := c.tls(); err == nil {
		t.Error("a key that is not there is no error at the start")
	}
}
