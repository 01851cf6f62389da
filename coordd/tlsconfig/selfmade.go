package tlsconfig

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"
)

// SelfMade returns the files of a certificate that nobody has signed, for the
// hosts, which are of the form host:port. They stand in dir and are made where
// there are none or where their time is over. It hides what is said from those
// who listen, but proves to nobody who speaks.
func SelfMade(dir string, hosts []string, years uint, log *slog.Logger) (certFile, keyFile string, err error) {
	if err := removeExpired(filepath.Join(dir, "cert.pem"), time.Now()); err != nil {
		return "", "", fmt.Errorf("tlsconfig: replace the self-made certificate: %w", err)
	}
	info, err := transport.SelfCert(zap.NewNop(), dir, hosts, years)
	if err != nil {
		return "", "", fmt.Errorf("tlsconfig: make a certificate: %w", err)
	}
	log.Warn("a self-made certificate is used, which proves to nobody who this member is", "cert-file", info.CertFile)
	return info.CertFile, info.KeyFile, nil
}

// removeExpired removes a certificate whose time is over; SelfCert makes a pair
// anew where one of its files is missing.
func removeExpired(certFile string, now time.Time) error {
	data, err := os.ReadFile(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(data); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && now.Before(cert.NotAfter) {
			return nil
		}
	}
	return os.Remove(certFile)
}
