// Package line makes of what others have written, into a file, the store or an
// answer, one line that is fit to be shown on a terminal and in a journal.
package line

import (
	"strings"
	"unicode"
)

// Printable puts a blank for everything that a terminal or a journal would act
// upon instead of showing it, line breaks among it, and for what is not UTF-8.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
}

const cut = "…"

// Of is Printable with blanks as between words, and at most so many bytes, at
// least three: of a longer one the beginning is left, with … behind it.
func Of(s string, most int) string {
	more := len(s) > 2*most // and not worth the work
	words := strings.Join(strings.Fields(Printable(s[:min(len(s), 2*most)])), " ")
	if !more && len(words) <= most {
		return words
	}
	return strings.ToValidUTF8(words[:min(len(words), most-len(cut))], "") + cut
}
