// Package strict reads JSON that strangers sent, and takes one reading only.
//
// encoding/json is kind to its input: it matches member names in any case,
// takes the last of two members of one name, replaces broken UTF-8, and says
// nothing about nesting. Where a signature stands over the text, such kindness
// lets two readers of one request see two requests. [Parse] therefore refuses
// members that occur twice, invalid UTF-8, lone surrogates, U+0000, a byte
// order mark, anything behind the value, and nesting or member counts beyond
// its bounds (RFC 8259 sections 4, 8.1, 9; RFC 7493).
//
// Names match exactly. Members that nobody asks for are read and forgotten
// (RFC 8555 section 7.1). Sizes are the caller's: it bounds the text first.
package strict
