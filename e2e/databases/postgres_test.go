package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// postgres is a server of our own: in a directory that goes with it, on a Unix socket, for local users without a password.
type postgres struct {
	dir string
	cmd *exec.Cmd
	log *os.File
}

// errNoPostgres is the error when no server is installed.
var errNoPostgres = errors.New("PostgreSQL is not installed: apt-get install postgresql")

// startPostgres waits until the server answers. It is called on the main goroutine, locked to a thread that lasts as long
// as the server may: the server is killed when that thread ends.
func startPostgres() (_ *postgres, err error) {
	bin, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pg") // short: a socket's path has 107 bytes at most
	if err != nil {
		return nil, err
	}
	p := &postgres{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	attributes, err := p.unprivileged()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attributes, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	if p.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off")
	cmd.SysProcAttr, cmd.Dir, cmd.Stdout, cmd.Stderr = attributes, dir, p.log, p.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.cmd = cmd
	return p, p.wait()
}

// postgresPrograms is the directory of initdb and postgres. Debian keeps them out of the path.
func postgresPrograms() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", errors.Join(err, errNoPostgres)
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// unprivileged makes the server run as another user where we are root, whom it refuses, and gives that user the directory.
func (p *postgres) unprivileged() (*syscall.SysProcAttr, error) {
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		return attributes, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, errUID := strconv.ParseUint(account.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(account.Gid, 10, 32)
	if err := errors.Join(errUID, errGID, os.Chown(p.dir, int(uid), int(gid))); err != nil {
		return nil, err
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attributes, nil
}

func (p *postgres) wait() error {
	db, err := sql.Open("pgx", p.dsn(""))
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for err = db.PingContext(ctx); err != nil && ctx.Err() == nil; err = db.PingContext(ctx) {
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		log, _ := os.ReadFile(p.log.Name())
		return fmt.Errorf("the server does not answer: %w: %s", err, log)
	}
	return nil
}

// dsn is the data source whose tables stand in schema, "" for the default one.
func (p *postgres) dsn(schema string) string {
	dsn := []string{"host=" + p.dir, "user=postgres", "dbname=postgres"}
	if schema != "" {
		dsn = append(dsn, "search_path="+schema)
	}
	return strings.Join(dsn, " ")
}

func (p *postgres) stop() error {
	var err error
	if p.cmd != nil {
		err = errors.Join(p.cmd.Process.Signal(syscall.SIGINT), p.cmd.Wait()) // fast shutdown
	}
	if p.log != nil {
		err = errors.Join(err, p.log.Close())
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}
