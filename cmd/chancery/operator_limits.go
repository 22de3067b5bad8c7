package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"chancery/admin"
)

func limitsCommand() *cobra.Command {
	c := &cobra.Command{Use: "limits", Short: "Show how rate limits stand"}
	c.AddCommand(limitsShowCommand())
	return c
}

func limitsShowCommand() *cobra.Command {
	var account string
	var asJSON bool
	c := &cobra.Command{
		Use: "show --account ID", Short: "Show the limits of an account, and the names that fail", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withDoor(cmd, func(d *door) error {
				var l admin.AccountLimits
				if err := d.get(cmd.Context(), "/accounts/"+url.PathEscape(account)+"/limits", nil, &l); err != nil {
					return fmt.Errorf("account %s: %w", account, err)
				}
				if asJSON {
					return writeJSONLine(cmd.OutOrStdout(), l)
				}
				return limitsSheet(cmd.OutOrStdout(), l)
			})
		},
	}
	c.Flags().StringVar(&account, "account", "", "the account's `ID`")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	_ = c.MarkFlagRequired("account") // it exists
	return c
}

func limitsSheet(w io.Writer, l admin.AccountLimits) error {
	s := sheet{w: w}
	s.fact("Account", l.Account)
	if !l.Enabled {
		s.line("Nothing is limited: limits.enabled is false.")
	}
	if l.Concurrent > 0 {
		s.line("Validations at once: %d", l.Concurrent)
	}
	if len(l.Limits) > 0 {
		t := newTable()
		t.AppendHeader(table.Row{"limit", "name", "rate", "left", "full again", "set by"})
		for _, b := range l.Limits {
			t.AppendRow(table.Row{b.Limit, printable(b.Name), b.Rate, b.Left, stamp(b.FullAt), printable(b.Scope)})
		}
		s.line("\n%s", t.Render())
	}
	if len(l.Failing) == 0 {
		s.line("\nNo name fails.")
		return s.err
	}
	t := newTable()
	t.AppendHeader(table.Row{"failing name", "failures", "since", "last", "paused"})
	paused := false
	for _, f := range l.Failing {
		paused = paused || !f.PausedAt.IsZero()
		t.AppendRow(table.Row{printable(f.Name), f.Failures, stamp(f.Since), stamp(f.Last), stamp(f.PausedAt)})
	}
	s.line("\n%s", t.Render())
	if paused {
		s.line("\nWhen the cause is corrected: chancery account unpause %s [--name NAME]", printable(l.Account))
	}
	return s.err
}

func accountUnpauseCommand() *cobra.Command {
	var name string
	var asJSON bool
	c := &cobra.Command{
		Use: "unpause ID", Short: "Let a paused account try again", Args: cobra.ExactArgs(1),
		Long: "An account is paused for a name when its validations of it failed over and over.\nThis ends the pause for --name, or for all names; `chancery limits show` lists them.",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]string{}
			if name != "" {
				body["name"] = name
			}
			return withDoor(cmd, func(d *door) error {
				var u admin.Unpaused
				if err := d.post(cmd.Context(), "/accounts/"+url.PathEscape(args[0])+"/unpause", body, &u); err != nil {
					return fmt.Errorf("account %s: %w", args[0], err)
				}
				if asJSON {
					return writeJSONLine(cmd.OutOrStdout(), u)
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s may try again: %s.\n", printable(u.Account), printable(strings.Join(u.Names, " ")))
				return err
			})
		},
	}
	c.Flags().StringVar(&name, "name", "", "only for this `NAME`")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return c
}
