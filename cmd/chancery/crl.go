package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"chancery/cmd/chancery/app"
)

func crlCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "crl", Short: "Revocation lists that Chancery does not make by itself"}
	root := &cobra.Command{
		Use: "root", Short: "Sign the root's own revocation list anew, with the root's key", Args: cobra.NoArgs,
		Long: "Sign the root's own revocation list (root.crl) anew. It needs the root's key, once a year;\n" +
			"a Chancery that runs serves the new list after its next start.",
		Example: "  chancery crl root --dir /var/lib/chancery --key /media/safe/root.pem",
	}
	key := root.Flags().String("key", "", "`file` with the root's key (default keys/root.pem in the directory)")
	set := setFlag(root)
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		ends, err := app.RenewRootList(dirFlag(cmd), *set, *key, time.Now())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "The root's revocation list is made anew and ends on %s. Restart Chancery to have it served.\n", ends.UTC().Format(time.DateOnly))
		return err
	}
	cmd.AddCommand(root)
	return cmd
}
