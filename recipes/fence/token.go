// Package fence holds the fencing token, the proof of one acquisition of a lock, and what a resource needs to refuse a
// holder that was overtaken.
//
// A Token is worth something only if the resource looks at it. The resource keeps a Mark, the highest tokens that it has
// admitted, and admits no token below it. A Guard keeps the marks in memory, for a resource that lives in this process.
// The packages below keep them where the resource is: fencesql in the tables that are written, fencefile beside a file.
// fencehttp and fencegrpc bring a token from its holder to the service; they check it on the way, but the check that
// counts is the one that is made together with the write.
//
// The rules, which hold for every kit:
//
//   - A new holder advances the mark before its first read. Without that, a write of the holder before it still lands
//     between the read and the write that builds on it.
//   - A shared token passes if no exclusive one above it was seen, an exclusive one if none at all above it was.
//   - The same acquisition passes as often as it likes. To apply an operation once, remember it by (token, number).
//   - Two acquisitions with one revision cannot be told apart in time: whichever came second is refused.
//   - A higher epoch of the same cluster starts the marks anew, for its revisions did too; a lower one is stale. Tokens of
//     another cluster are refused until somebody who knows deletes the mark.
//   - Each slot of a semaphore has its own mark, because its holders are all legitimate.
//
// Tokens are the sequencers of Burrows, "The Chubby lock service for loosely-coupled distributed systems" (OSDI 2006,
// §2.4); Kleppmann, "How to do distributed locking" (2016), calls them fencing tokens.
package fence

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxTextBytes bounds the text form of every token.
const MaxTextBytes = 256

// Limits of the three variable parts of the text form, in bytes. Together with the fixed parts (version, cluster, epoch,
// mode, revision and seven separators: 65 bytes at most) they stay within MaxTextBytes.
const (
	maxResourceBytes = 90
	maxKeyBytes      = 52
	maxSlotBytes     = 48
)

const (
	textVersion = "f1"
	separator   = ":"
	// digestMark begins a part that was replaced by its digest. No literal part contains it.
	digestMark  = "~"
	digestBytes = len(digestMark) + 43
)

// Errors of this package.
var (
	// ErrMalformed is the error of Parse for anything but the text form of a token.
	ErrMalformed = errors.New("fence: malformed token")
	// ErrIncomparable is the error of comparing tokens of two clusters, epochs or resources, and of holding a token
	// against the mark of another cluster, resource or slot. No token at all is incomparable too.
	ErrIncomparable = errors.New("fence: tokens cannot be compared")
)

// Mode says what its holder may do. It is one lower-case letter in the text form.
type Mode byte

// The modes.
const (
	Exclusive Mode = 'x' // excludes every other holder
	Shared    Mode = 's' // excludes holders that are exclusive
)

// String is the mode's letter.
func (m Mode) String() string { return string(rune(m)) }

func (m Mode) known() bool { return m == Exclusive || m == Shared }

// Token identifies one acquisition. The zero Token is none. Tokens are values; == is identity of the acquisition.
//
// The text form is one line of printable ASCII without spaces:
//
//	f1:<cluster>:<epoch>:<mode>:<revision>:<slot>:<resource>:<key>
//
// cluster is 16 hexadecimal digits, epoch and revision are decimal. New canonicalises the last three: a part that is too
// long (slot 48, resource 90, key 52 bytes) or holds a byte outside [A-Za-z0-9._/%-] becomes "~" and the unpadded
// base64url SHA-256 of it. So every name gets a token, equal names get equal parts, and the limit holds.
type Token struct {
	cluster  uint64
	epoch    uint64
	mode     Mode
	revision int64
	slot     string
	resource string
	key      string
}

// Fields are the parts of a Token.
type Fields struct {
	Cluster  uint64 // id of the cluster that granted
	Epoch    uint64 // raised whenever the cluster is restored from a backup: revisions go back then
	Mode     Mode
	Resource string // what is locked: the lock's whole path in the store
	Revision int64  // store revision of the grant, above 0
	Slot     string // the part of the resource that is held, "" for all of it
	Key      string // the holder's key in the store, relative to Resource
}

// New makes a token. It refuses an unknown mode, a revision below 1, and an empty resource.
func New(f Fields) (Token, error) {
	switch {
	case !f.Mode.known():
		return Token{}, fmt.Errorf("fence: unknown mode %q", byte(f.Mode))
	case f.Revision < 1:
		return Token{}, fmt.Errorf("fence: revision %d is below 1", f.Revision)
	case f.Resource == "":
		return Token{}, errors.New("fence: empty resource")
	}
	return Token{
		cluster:  f.Cluster,
		epoch:    f.Epoch,
		mode:     f.Mode,
		revision: f.Revision,
		slot:     canonical(f.Slot, maxSlotBytes),
		resource: canonical(f.Resource, maxResourceBytes),
		key:      canonical(f.Key, maxKeyBytes),
	}, nil
}

// Fields returns the parts of t in canonical form: those that were too long for the text form are digests.
func (t Token) Fields() Fields {
	return Fields{Cluster: t.cluster, Epoch: t.epoch, Mode: t.mode, Resource: t.resource, Revision: t.revision, Slot: t.slot, Key: t.key}
}

// Revision is the store revision of the grant: it rises from holder to holder of one resource, cluster and epoch.
func (t Token) Revision() int64 { return t.revision }

// Attempt is what follows the last slash of the key. It names the acquisition: the keys of one acquisition in several
// modes, as of a writer that goes on as a reader, differ before it.
func (t Token) Attempt() string { return t.key[strings.LastIndexByte(t.key, '/')+1:] }

// IsZero reports whether t is no token.
func (t Token) IsZero() bool { return t == Token{} }

// Compare orders two tokens of the same cluster, epoch and resource by their revision: negative when t was granted
// before u. For others, and for the zero Token, it returns ErrIncomparable.
func (t Token) Compare(u Token) (int, error) {
	switch {
	case t.IsZero() || u.IsZero():
		return 0, fmt.Errorf("%w: no token", ErrIncomparable)
	case t.cluster != u.cluster:
		return 0, fmt.Errorf("%w: clusters %016x and %016x", ErrIncomparable, t.cluster, u.cluster)
	case t.epoch != u.epoch:
		return 0, fmt.Errorf("%w: epochs %d and %d", ErrIncomparable, t.epoch, u.epoch)
	case t.resource != u.resource:
		return 0, fmt.Errorf("%w: resources %s and %s", ErrIncomparable, t.resource, u.resource)
	}
	return cmp.Compare(t.revision, u.revision), nil
}

// String is the text form, "" for the zero Token.
func (t Token) String() string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s:%016x:%d:%s:%d:%s:%s:%s", textVersion, t.cluster, t.epoch, t.mode, t.revision, t.slot, t.resource, t.key)
}

// MarshalText is the text form; the zero Token has none and is an error.
func (t Token) MarshalText() ([]byte, error) {
	if t.IsZero() {
		return nil, fmt.Errorf("%w: no token", ErrMalformed)
	}
	return []byte(t.String()), nil
}

// UnmarshalText is Parse.
func (t *Token) UnmarshalText(text []byte) error {
	if len(text) > MaxTextBytes {
		return fmt.Errorf("%w: %d bytes", ErrMalformed, len(text))
	}
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// Parse reads the text form. Only what String writes is accepted, so equal tokens have equal texts; a mode this version
// does not know is refused, because a guard that guessed would admit what it must not. The error is ErrMalformed.
func Parse(text string) (Token, error) {
	if len(text) > MaxTextBytes {
		return Token{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(text))
	}
	parts := strings.Split(text, separator)
	if len(parts) != 8 || parts[0] != textVersion || len(parts[3]) != 1 {
		return Token{}, fmt.Errorf("%w: %q", ErrMalformed, text)
	}
	cluster, errCluster := strconv.ParseUint(parts[1], 16, 64)
	epoch, errEpoch := strconv.ParseUint(parts[2], 10, 64)
	revision, errRevision := strconv.ParseInt(parts[4], 10, 64)
	if err := errors.Join(errCluster, errEpoch, errRevision); err != nil {
		return Token{}, fmt.Errorf("%w: %q", ErrMalformed, text)
	}
	t := Token{
		cluster: cluster, epoch: epoch, mode: Mode(parts[3][0]), revision: revision,
		slot: parts[5], resource: parts[6], key: parts[7],
	}
	if !t.mode.known() || revision < 1 || t.resource == "" || !isCanonical(t.slot, maxSlotBytes) ||
		!isCanonical(t.resource, maxResourceBytes) || !isCanonical(t.key, maxKeyBytes) || t.String() != text {
		return Token{}, fmt.Errorf("%w: %q", ErrMalformed, text)
	}
	return t, nil
}

// canonical returns part itself when it may stand in the text form, and its digest otherwise. A digest is not taken
// again, so the parts of a token make that token.
func canonical(part string, limit int) string {
	if isCanonical(part, limit) {
		return part
	}
	sum := sha256.Sum256([]byte(part))
	return digestMark + base64.RawURLEncoding.EncodeToString(sum[:])
}

func isCanonical(part string, limit int) bool {
	if digest, ok := strings.CutPrefix(part, digestMark); ok {
		if _, err := base64.RawURLEncoding.Strict().DecodeString(digest); err != nil || len(part) != digestBytes {
			return false
		}
		return true
	}
	if len(part) > limit {
		return false
	}
	for i := range len(part) {
		if !plain(part[i]) {
			return false
		}
	}
	return true
}

func plain(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	return b == '.' || b == '_' || b == '/' || b == '%' || b == '-'
}
