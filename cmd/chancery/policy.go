package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"chancery/cmd/chancery/app"
)

func policyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Look at the rules by which certificates are issued"}
	var reference bool
	printed := &cobra.Command{
		Use: "print", Short: "Print the rules that are in force here, and the tables that they come from", Args: cobra.NoArgs,
	}
	printed.Flags().BoolVar(&reference, "reference", false, "the tables alone, in Markdown, without a directory")
	set := setFlag(printed)
	printed.RunE = func(cmd *cobra.Command, _ []string) error {
		if !reference {
			c, err := app.ReadConfig(dirFlag(cmd), *set, os.Environ())
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), c.PolicyInForce(time.Now())); err != nil {
				return err
			}
		}
		_, err := fmt.Fprint(cmd.OutOrStdout(), app.PolicyReference())
		return err
	}
	cmd.AddCommand(printed)
	return cmd
}
