package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"chancery/admin"
)

func accountCommand() *cobra.Command {
	c := &cobra.Command{Use: "account", Short: "List, show, deactivate and unpause ACME accounts"}
	c.AddCommand(accountListCommand(), accountShowCommand(), accountDeactivateCommand(), accountUnpauseCommand())
	return c
}

func accountListCommand() *cobra.Command {
	var l listing
	var status, key string
	c := &cobra.Command{
		Use: "list", Short: "List accounts, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, l, "/accounts", filters("status", status, "external_key", key), accountColumns)
		},
	}
	l.flags(c)
	c.Flags().StringVar(&status, "status", "", "that are `valid`, deactivated or revoked")
	c.Flags().StringVar(&key, "eab", "", "that were bound by the external account key with this `ID`")
	return c
}

var accountColumns = []column[admin.Account]{
	{"id", func(a admin.Account) string { return a.ID }},
	{"status", func(a admin.Account) string { return a.Status }},
	{"contact", func(a admin.Account) string { return nameList(a.Contact) }},
	{"created", func(a admin.Account) string { return stamp(a.CreatedAt) }},
	{"eab", func(a admin.Account) string { return a.ExternalKey }},
}

func accountShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "show ID", Short: "Show one account", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withDoor(cmd, func(d *door) error {
				var a admin.Account
				if err := d.get(cmd.Context(), "/accounts/"+url.PathEscape(args[0]), nil, &a); err != nil {
					return fmt.Errorf("account %s: %w", args[0], err)
				}
				if asJSON {
					return writeJSONLine(cmd.OutOrStdout(), a)
				}
				return accountSheet(cmd.OutOrStdout(), a)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return c
}

func accountSheet(w io.Writer, a admin.Account) error {
	s := sheet{w: w}
	s.fact("Account", a.ID)
	s.fact("Status", a.Status)
	s.fact("Contact", strings.Join(a.Contact, " "))
	s.fact("Key", a.Thumbprint)
	s.fact("External key", a.ExternalKey)
	s.fact("Created", stamp(a.CreatedAt))
	s.fact("Terms agreed", stamp(a.TermsAgreedAt))
	s.fact("Deactivated", stamp(a.DeactivatedAt))
	s.fact("Revoked", stamp(a.RevokedAt))
	return s.err
}

func accountDeactivateCommand() *cobra.Command {
	var yes, asJSON bool
	c := &cobra.Command{
		Use: "deactivate ID", Short: "End an account; its certificates stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withDoor(cmd, func(d *door) error {
				if err := confirm(cmd, yes, "End account "+args[0]+"? It can't be undone."); err != nil {
					return err
				}
				var a admin.Account
				if err := d.post(cmd.Context(), "/accounts/"+url.PathEscape(args[0])+"/deactivate", struct{}{}, &a); err != nil {
					return fmt.Errorf("account %s: %w", args[0], err)
				}
				if asJSON {
					return writeJSONLine(cmd.OutOrStdout(), a)
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is %s.\n", a.ID, a.Status)
				return err
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "don't ask")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return c
}
