package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"chancery/admin"
	"chancery/ca"
)

func keyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "key", Short: "Block, unblock and list keys that may not be used",
		Long: "A blocked key is not certified and can't be an account's. Blocking one revokes every live\n" +
			"certificate with it, for keyCompromise, and the account that has it.",
	}
	c.AddCommand(keyBlockCommand(), keyUnblockCommand(), keyListCommand())
	return c
}

func keyBlockCommand() *cobra.Command {
	var comment string
	var yes, asJSON bool
	c := &cobra.Command{
		Use: "block FILE | SPKI-SHA256 | -", Short: "Block the keys in a file, and revoke every certificate with them", Args: cobra.ExactArgs(1),
		Long: "Blocks every key that is in FILE (- is standard input): certificates, CSRs, public or private keys in\n" +
			"PEM or DER, JWKs, SSH public keys, or SHA-256 hashes of SubjectPublicKeyInfos, one a line.\n" +
			"Only hashes leave this process. A file with a part that can't be read is refused as a whole.",
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := readReport(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			return withDoor(cmd, func(d *door) error {
				question := fmt.Sprintf("Block %d key(s), and revoke every certificate with them? Revocations can't be undone.", len(keys))
				if err := confirm(cmd, yes, question); err != nil {
					return err
				}
				for _, key := range keys {
					var k admin.NewBlockedKey
					body := map[string]string{"spki_sha256": hex.EncodeToString(key[:]), "comment": comment}
					if err := d.post(cmd.Context(), "/blocked-keys", body, &k); err != nil {
						return fmt.Errorf("key %x: %w", key, err)
					}
					if asJSON {
						err = writeJSONLine(cmd.OutOrStdout(), k)
					} else {
						_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is blocked, %d certificates revoked.\n", printable(k.SPKI), k.Revoked)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	f := c.Flags()
	f.StringVar(&comment, "comment", "", "why, in your `WORDS`")
	f.BoolVar(&yes, "yes", false, "don't ask")
	f.BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

// maxReport is a little more than what ca reads of a report, which says so then.
const maxReport = 2 << 20

// readReport finds the keys that an argument names.
func readReport(stdin io.Reader, arg string) ([][32]byte, error) {
	if key, ok := ca.ParseSPKIHash(arg); ok {
		return [][32]byte{key}, nil
	}
	from := stdin
	if arg != "-" {
		f, err := os.Open(arg)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // read only
		from = f
	}
	report, err := io.ReadAll(io.LimitReader(from, maxReport))
	if err != nil {
		return nil, err
	}
	keys, err := ca.ReadKeyReport(report)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; nothing was blocked", arg, err)
	}
	return keys, nil
}

func keyUnblockCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "unblock SPKI-SHA256", Short: "Take an operator's block back; revocations stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, ok := ca.ParseSPKIHash(args[0]); !ok {
				return usageError{errors.New("a key is named by the 64 lower-case hexadecimal digits that `chancery key list` shows")}
			}
			return withDoor(cmd, func(d *door) error {
				var answer struct {
					SPKI   string `json:"spki_sha256"`
					Status string `json:"status"`
				}
				if err := d.post(cmd.Context(), "/blocked-keys/"+url.PathEscape(args[0])+"/unblock", struct{}{}, &answer); err != nil {
					return fmt.Errorf("key %s: %w", args[0], err)
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is %s.\n", printable(answer.SPKI), printable(answer.Status))
				return err
			})
		},
	}
	return c
}

func keyListCommand() *cobra.Command {
	var l listing
	c := &cobra.Command{
		Use: "list", Short: "List blocked keys, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, l, "/blocked-keys", nil, blockedKeyColumns)
		},
	}
	l.flags(c)
	return c
}

var blockedKeyColumns = []column[admin.BlockedKey]{
	{"key (SHA-256 of SPKI)", func(k admin.BlockedKey) string { return k.SPKI }},
	{"blocked", func(k admin.BlockedKey) string { return stamp(k.BlockedAt) }},
	{"by", func(k admin.BlockedKey) string { return k.Source }},
	{"comment", func(k admin.BlockedKey) string { return k.Comment }},
}
