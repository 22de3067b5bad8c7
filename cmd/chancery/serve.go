package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"chancery/ca/keystore"
	"chancery/cmd/chancery/app"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the CA in the foreground; the first start on an empty directory founds it", Args: cobra.NoArgs,
		Example: "  chancery serve --dir /var/lib/chancery --set acme.listen=0.0.0.0:14000 --set acme.url=https://ca.example:14000",
	}
	set := setFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := app.Open(cmd.Context(), app.Options{Dir: dirFlag(cmd), Set: *set, Env: os.Environ(), Log: os.Stderr})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprint(cmd.OutOrStdout(), a.Welcome(os.Geteuid() == 0)); err != nil {
			return fmt.Errorf("printing how to reach Chancery: %w", err)
		}
		return a.Run(cmd.Context())
	}
	return cmd
}

func initCommand() *cobra.Command {
	var name, keyType string
	var hostnames []string
	cmd := &cobra.Command{
		Use: "init", Short: "Found a CA: root, issuer, TLS certificate, configuration, database", Args: cobra.NoArgs,
		Example: "  chancery init --dir /var/lib/chancery --name 'Example Corp' --hostname ca.example",
	}
	cmd.Flags().StringVar(&name, "name", "", "the CA's name in its certificates (default \"Chancery\" and the host's name)")
	cmd.Flags().StringArrayVar(&hostnames, "hostname", nil, "one more name of this host for Chancery's own TLS certificate; may be repeated")
	cmd.Flags().StringVar(&keyType, "key-type", string(keystore.EC256), "keys of root and issuer: ec256, ec384, ec521, rsa2048, rsa3072, rsa4096 or ed25519")
	set := cmd.Flags().StringArray("set", nil, "a configuration key to write into chancery.yaml, `KEY=VALUE`; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		kind, err := keystore.ParseKeyKind(keyType)
		if err != nil {
			return usageError{fmt.Errorf("--key-type: %w", err)}
		}
		dir := dirFlag(cmd)
		err = app.Init(cmd.Context(), app.InitSpec{
			Dir: dir, Name: name, Hostnames: hostnames, KeyType: kind, Set: *set, Env: os.Environ(),
		})
		if err != nil {
			return err
		}
		note, err := app.InitNote(dir)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), note)
		return err
	}
	return cmd
}
