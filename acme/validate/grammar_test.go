package validate

import "regexp"

// issueValue is the ABNF of RFC 8659 section 4.2 as an expression.
var issueValue = func() *regexp.Regexp {
	const (
		wsp   = `[ \t]*`
		label = `[A-Za-z0-9](?:-*[A-Za-z0-9])*`
		param = label + wsp + `=` + wsp + `[\x21-\x3a\x3c-\x7e]*`
	)
	return regexp.MustCompile(`\A` + wsp + `(?:` + label + `(?:\.` + label + `)*` + wsp + `)?` +
		`(?:;` + wsp + `(?:` + param + wsp + `(?:;` + wsp + param + wsp + `)*)?)?\z`)
}()

func grammar(value string) bool { return issueValue.MatchString(value) }
